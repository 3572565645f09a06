//! Does a chat get slower as it grows?

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use chat_core::domain::{ChatEvent, MessageSent, encode};
use chat_core::ports::{Append, Direction, EventStore, EventStoreExt as _, Expected, PageLimit};
use chat_core::{ChatHandle, Clock as _, HistoryQuery, NewEvent, StreamId, SystemClock, Version};

use crate::load::Load;
use crate::measure::{Figure, median};
use crate::plan::Plan;
use crate::report::{Cell, Goal, Plot, Section, Series, Table, Unit, count};
use crate::stores::Subject;
use crate::world::{World, member, on_a_worker, timed};

/// What is measured of each chat, in the order of the table.
const MEASURES: [&str; 6] = [
    "newest page",
    "page anywhere",
    "plain read of 50 events anywhere",
    "send",
    "cold load",
    "cold open",
];
const COLD: usize = 4;

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "history",
        title: "Small chats and large ones",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    for &subject in &plan.firsts {
        let largest = if subject.kind.is_local() { 1_000_000 } else { 100_000 };
        let sizes = plan.size([100, 10_000, largest], [100, 300, 1_000]);
        let figures = measure(plan, subject, sizes).await?;
        show(subject, sizes, &figures, &mut section)?;
    }
    Ok(section)
}

type Figures = [[Figure; MEASURES.len()]; 3];

fn show(
    subject: &Subject,
    sizes: [usize; 3],
    figures: &Figures,
    section: &mut Section,
) -> Result<()> {
    let names = sizes.map(|size| format!("{} events", count(size)));
    let [small, middle, large] = names.each_ref().map(String::as_str);
    let mut table =
        Table::new(subject.name, &["", small, middle, large, "largest beside smallest"]);
    let mut series = Vec::new();
    for (at, name) in MEASURES.iter().enumerate() {
        let own: Vec<_> = figures.iter().filter_map(|figures| figures.get(at)).collect();
        let [small, middle, large] = <[&Figure; 3]>::try_from(own).ok().context("three sizes")?;
        let ratio = large.over(small);
        let all = [small, middle, large].map(|figure| Cell::Figure(figure.clone(), Unit::Micros));
        table.row(*name, all.into_iter().chain([Cell::Figure(ratio.clone(), Unit::Times)]));
        let medians = [small, middle, large].map(Figure::median);
        let points = sizes.iter().map(|size| *size as f64).zip(medians).collect();
        series.push(Series { name: (*name).to_owned(), points });
        let [least, _, most] = sizes;
        let what =
            format!("{}, {name}, {} events beside {}", subject.name, count(most), count(least));
        match *name {
            "newest page" | "page anywhere" | "send" => {
                section.goals.push(Goal::at_most(what, &ratio, 1.3, Unit::Times));
            }
            "cold load" => {
                let what = format!("{}, cold load of the largest chat", subject.name);
                section.goals.push(Goal::at_most(what, large, 10_000.0, Unit::Micros));
            }
            _ => {}
        }
    }
    section.tables.push(table);
    section.plots.push(Plot::Lines {
        title: format!("By the size of the chat, {}", subject.name),
        across: "events in the chat",
        unit: Unit::Micros,
        series,
    });
    Ok(())
}

async fn measure(plan: &Plan, subject: &Subject, sizes: [usize; 3]) -> Result<Figures> {
    let mut world = World::with_chats(plan, subject, sizes.len(), MEMBERS).await?;
    for (chat, size) in sizes.into_iter().enumerate() {
        fill(&world, chat, size - BEHIND).await?;
    }
    // The engine reads it all once and writes its lists and snapshots.
    world.engine.catch_up().await?;
    for chat in 0..sizes.len() {
        world.handle(chat, 0)?.read_state().await?;
    }
    world.restart().await?;
    for (chat, size) in sizes.into_iter().enumerate() {
        fill(&world, chat, size).await?;
    }
    world.engine.catch_up().await?;

    let mut figures: Figures = Default::default();
    for _ in 0..plan.rounds {
        let cold = plan.quiet.measure(|| cold_round(plan, &world)).await?;
        for (figures, values) in figures.iter_mut().zip(cold) {
            keep(figures.iter_mut().skip(COLD), values);
        }
    }
    for _ in 0..plan.rounds {
        let warm = plan.quiet.measure(|| warm_round(plan, &world, sizes)).await?;
        for (figures, values) in figures.iter_mut().zip(warm) {
            keep(figures.iter_mut(), values);
        }
    }
    world.end().await?;
    Ok(figures)
}

fn keep<'f>(figures: impl Iterator<Item = &'f mut Figure>, values: impl IntoIterator<Item = f64>) {
    for (figure, value) in figures.zip(values) {
        figure.samples.push(value);
    }
}

/// Appends messages to a chat until it has so many events.
async fn fill(world: &World, chat: usize, size: usize) -> Result<()> {
    let store = world.opened.events()?;
    let stream = stream_of(&world.handle(chat, 0)?)?;
    let load = Arc::clone(&world.load);
    on_a_worker(async move {
        let mut version = store.head(&stream).await?;
        while version.0 < size as u64 {
            let missing = size as u64 - version.0;
            let events = (0..missing.min(Append::MAX_EVENTS as u64))
                .map(|number| message(&load, chat, number))
                .collect::<Result<_>>()?;
            let append = Append::single(stream.clone(), Expected::Exactly(version), events)?;
            let done = store.append_one(append).await?;
            version = done.streams.first().context("an append without a stream")?.last;
        }
        Ok(())
    })
    .await
}

/// A message as the engine would store it, by one of the members.
fn message(load: &Load, chat: usize, number: u64) -> Result<NewEvent> {
    let sent = MessageSent {
        by: member(chat, usize::try_from(number)? % MEMBERS)?,
        text: load.text(),
        reply_to: None,
        mentions: Vec::new(),
        mention_all: false,
        client_message_id: Some(load.key()?),
    };
    let encoded = encode(&ChatEvent::MessageSent(sent))?;
    Ok(NewEvent {
        id: chat_core::EventId(load.uuid()),
        event_type: encoded.event_type,
        schema_version: encoded.schema_version,
        recorded_at: SystemClock.now(),
        payload: encoded.payload,
        metadata: None,
    })
}

/// Loads each chat in engines that know nothing yet. They are dropped without a shutdown, so that
/// they leave no newer snapshot.
async fn cold_round(plan: &Plan, world: &World) -> Result<Vec<[f64; 2]>> {
    let times = plan.size(5, 1);
    let mut samples: Vec<[Vec<f64>; 2]> = vec![Default::default(); world.chats.len()];
    for _ in 0..times {
        for (chat, [load, open]) in samples.iter_mut().enumerate() {
            let id = world.handle(chat, 1)?.id().clone();
            let engine = world.fresh_engine().await?;
            let handle = engine.user(member(chat, 1)?).chat(&id);
            load.push(on_a_worker(async move { Ok(timed(handle.read_state()).await?) }).await?);
            let engine = world.fresh_engine().await?;
            let handle = engine.user(member(chat, 1)?).chat(&id);
            open.push(on_a_worker(async move { Ok(timed(handle.open(PAGE)).await?) }).await?);
        }
    }
    Ok(samples.into_iter().map(|samples| samples.map(|samples| median(&samples))).collect())
}

async fn warm_round(plan: &Plan, world: &World, sizes: [usize; 3]) -> Result<Vec<[f64; COLD]>> {
    let times = plan.size(300, 3);
    let mut handles = Vec::new();
    for (chat, size) in sizes.into_iter().enumerate() {
        handles.push((world.handle(chat, 0)?, size));
    }
    let (store, load) = (world.opened.events()?, Arc::clone(&world.load));
    let samples = on_a_worker(async move {
        let mut samples: Vec<[Vec<f64>; COLD]> = vec![Default::default(); handles.len()];
        for _ in 0..times {
            for ((chat, size), [newest, anywhere, plain, send]) in handles.iter().zip(&mut samples)
            {
                let place = load.uuid().as_u64_pair().1 % (size - PAGE) as u64;
                let place = Version(place + 2 + PAGE as u64);
                newest.push(timed(page(chat, HistoryQuery::Latest)).await?);
                anywhere.push(timed(page(chat, HistoryQuery::Before(place))).await?);
                plain.push(timed(plain_page(&*store, chat, place)).await?);
                send.push(timed(chat.send(load.message()?)).await?);
            }
        }
        Ok(samples)
    });
    let samples = samples.await?.into_iter();
    Ok(samples.map(|samples| samples.map(|samples| median(&samples))).collect())
}

async fn page(chat: &ChatHandle, query: HistoryQuery) -> Result<()> {
    let page = chat.history(query, PAGE).await?;
    ensure!(page.messages.len() == PAGE, "a page of {} messages", page.messages.len());
    Ok(())
}

async fn plain_page(store: &dyn EventStore, chat: &ChatHandle, before: Version) -> Result<()> {
    let limit = PageLimit::events(PAGE);
    let stream = stream_of(chat)?;
    let page = store.read_stream(&stream, Direction::Backward, before, limit).await?;
    ensure!(page.events.len() == PAGE, "a page of {} events", page.events.len());
    Ok(())
}

fn stream_of(chat: &ChatHandle) -> Result<StreamId> {
    Ok(StreamId::new(format!("chat/{}", chat.id()))?)
}

const MEMBERS: usize = 20;
const PAGE: usize = 50;
/// Events behind the newest snapshot: nearly as many as the engine leaves behind at most.
const BEHIND: usize = 90;

const ABOUT: &str = "\
Chats of 20 members and of three sizes, side by side in one store; each operation goes to the three \
in turn, one at a time. In microseconds: the newest 50 messages; 50 messages before a place anywhere \
in the chat, and beside it 50 events from there read from the store without looking into them; a \
send; a cold load (a new engine, which reads the snapshot and the 90 events behind it); and a cold \
`open`, with the newest page. A page anywhere in a large chat is read from memory that no cache of \
the processor holds, whereas that of the smallest is always there.";
