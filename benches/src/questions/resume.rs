//! How fast does a reader catch up?

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use chat_core::ports::{Direction, EventStore, PageLimit};
use chat_core::{ChatHandle, StreamId, SubscribeFrom, SyncToken, Version};

use crate::contest::{Entry, contest};
use crate::measure::{Figure, median, micros};
use crate::plan::Plan;
use crate::report::{Bar, Cell, Plot, Section, Table, Unit};
use crate::stores::Subject;
use crate::world::{World, on_a_worker, take, timed};

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "resume",
        title: "Subscribing and resuming",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    let mut table = Table::new(
        "",
        &[
            "",
            "from the start, 1,000 events",
            "beside a plain read",
            "by token, 100 missed",
            "beside a plain read",
            "1,000 resumes at once",
            "the same after a new start",
        ],
    );
    let mut bars = Vec::new();
    for &subject in &plan.firsts {
        let entries = vec![
            Entry::new(format!("{}: one reader", subject.name), move || one(plan, subject)),
            Entry::new(format!("{}: many readers", subject.name), move || many(plan, subject)),
        ];
        let figures: Vec<_> = contest(plan, entries).await?.into_iter().flatten().collect();
        let [start, plain_start, token, plain_token, warm, cold] =
            <[Figure; 6]>::try_from(figures).ok().context("six figures of each")?;
        let (start_ratio, token_ratio) = (start.over(&plain_start), token.over(&plain_token));
        bars.push(Bar::new(format!("{}, 1,000 events", subject.name), &start));
        bars.push(Bar::new(format!("{}, by token", subject.name), &token));
        bars.push(Bar::new(format!("{}, 1,000 resumes", subject.name), &warm));
        bars.push(Bar::new(format!("{}, new start", subject.name), &cold));
        let cells = [
            Cell::Figure(start, Unit::Millis),
            Cell::Figure(start_ratio, Unit::Times),
            Cell::Figure(token, Unit::Millis),
            Cell::Figure(token_ratio, Unit::Times),
            Cell::Figure(warm, Unit::Millis),
            Cell::Figure(cold, Unit::Millis),
        ];
        table.row(subject.name, cells);
    }
    section.tables.push(table);
    section.plots.push(Plot::Bars {
        title: "Until the last missed event is there".to_owned(),
        unit: Unit::Millis,
        bars,
    });
    Ok(section)
}

/// One reader of a chat of 1,000 events: from the start, a plain read of the same, by a token from
/// 100 events ago, a plain read of the same.
async fn one(plan: &Plan, subject: &Subject) -> Result<Vec<f64>> {
    let world = World::with_chats(plan, subject, 1, 3).await?;
    let reader = world.handle(0, 1)?;
    // The creation is an event too.
    world.send_to_each(EVENTS - MISSED - 1).await?;
    let token = reader.subscribe(SubscribeFrom::Now).await?.token();
    world.send_to_each(MISSED).await?;
    let store = world.opened.events()?;
    let stream = StreamId::new(format!("chat/{}", reader.id()))?;
    let times = plan.size(50, 3);
    let values = on_a_worker(async move {
        let mut samples: [Vec<f64>; 4] = std::array::from_fn(|_| Vec::new());
        for _ in 0..times {
            let [start, plain_start, by_token, plain_token] = &mut samples;
            start.push(timed(catch_up(&reader, SubscribeFrom::Start, EVENTS)).await?);
            plain_start.push(timed(read(&*store, &stream, 0)).await?);
            let from = SubscribeFrom::Token(token.clone());
            by_token.push(timed(catch_up(&reader, from, MISSED)).await?);
            plain_token.push(timed(read(&*store, &stream, EVENTS - MISSED)).await?);
        }
        Ok(samples.map(|samples| median(&samples) / 1_000.0).to_vec())
    });
    let values = values.await?;
    world.end().await?;
    Ok(values)
}

/// Everybody at once, each with 100 events missed, in ten readers' chats: with the chats in memory,
/// and after a new start.
async fn many(plan: &Plan, subject: &Subject) -> Result<Vec<f64>> {
    let (chats, readers) = (plan.size(100, 5), 10);
    let mut world = World::with_chats(plan, subject, chats, readers).await?;
    let mut tokens = Vec::new();
    for chat in 0..chats {
        for reader in 0..readers {
            let handle = world.handle(chat, reader)?;
            tokens.push((chat, reader, handle.subscribe(SubscribeFrom::Now).await?.token()));
        }
    }
    world.send_to_each(MISSED).await?;
    let warm = all_at_once(&world, &tokens).await?;
    world.restart().await?;
    let cold = all_at_once(&world, &tokens).await?;
    world.end().await?;
    Ok(vec![warm, cold])
}

async fn all_at_once(world: &World, tokens: &[(usize, usize, SyncToken)]) -> Result<f64> {
    let mut work = Vec::with_capacity(tokens.len());
    for (chat, reader, token) in tokens {
        work.push((world.handle(*chat, *reader)?, SubscribeFrom::Token(token.clone())));
    }
    on_a_worker(async move {
        let start = Instant::now();
        let tasks: Vec<_> = work
            .into_iter()
            .map(|(chat, from)| tokio::spawn(async move { catch_up(&chat, from, MISSED).await }))
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(micros(start.elapsed()) / 1_000.0)
    })
    .await
}

async fn catch_up(chat: &ChatHandle, from: SubscribeFrom, events: usize) -> Result<()> {
    let mut subscription = chat.subscribe(from).await?;
    take(&mut subscription, events).await
}

/// Reads the events of a stream behind a version, as pages of the size that the engine uses.
async fn read(store: &dyn EventStore, stream: &StreamId, after: usize) -> Result<()> {
    let mut at = Version(after as u64);
    loop {
        let page =
            store.read_stream(stream, Direction::Forward, at, PageLimit::events(PAGE)).await?;
        let Some(last) = page.events.last() else { bail!("fewer events than were appended") };
        at = last.version;
        if at >= page.head {
            return Ok(());
        }
    }
}

const EVENTS: usize = 1_000;
const MISSED: usize = 100;
const PAGE: usize = 500;

const ABOUT: &str = "\
From the call of `subscribe` until the last event that was there is delivered, in milliseconds: a \
reader from the start of a chat of 1,000 events; by a token, with 100 events missed; and 1,000 \
readers of 100 chats who come back at the same moment, each with 100 events missed, once with the \
chats in memory and once after a new start of the program. Beside it the same events read from the \
store as pages, without looking into them.";
