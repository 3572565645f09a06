//! Is a store that holds very much as fast as one that holds little?

use anyhow::{Context as _, Result, ensure};
use chat_core::domain::{ChatEvent, MessageSent, encode};
use chat_core::ports::{Append, Expected};
use chat_core::{ChatId, ChatListQuery, EventId, HistoryQuery, NewEvent, StreamId, UserId};
use futures::{StreamExt as _, TryStreamExt as _};

use super::append::{Target, append_to};
use crate::contest::{Entry, contest};
use crate::load::Load;
use crate::measure::{Figure, median};
use crate::plan::Plan;
use crate::report::{Bar, Cell, Goal, Plot, Section, Table, Unit, count};
use crate::stores::{Kind, Subject};
use crate::world::{World, member, on_a_worker, timed};

/// What is measured, and whether more of it is better.
const MEASURES: [(&str, Unit, bool); 6] = [
    ("append, 1 caller", Unit::PerSecond, true),
    ("append, 256 callers", Unit::PerSecond, true),
    ("page of 50", Unit::Micros, false),
    ("send", Unit::Micros, false),
    ("cold load", Unit::Micros, false),
    ("list of 50 chats", Unit::Micros, false),
];

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "full",
        title: "A store that is full",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    let Some(events) = plan.full else { return Ok(section) };
    let mut bars = Vec::new();
    for &subject in plan.firsts.iter().filter(|subject| subject.kind != Kind::Memory) {
        let small = prepare(plan, subject, LISTED).await?;
        let full = prepare(plan, subject, (events / EACH).max(LISTED)).await?;
        let entries = [&small, &full].map(|world| {
            Entry::new(format!("{}: {} chats", subject.name, world.chats.len()), move || {
                measure(plan, world)
            })
        });
        let mut figures = contest(plan, entries.into()).await?.into_iter();
        let (before, after) = (figures.next().context("two")?, figures.next().context("two")?);
        let names =
            [&small, &full].map(|world| format!("{} events", count(world.chats.len() * EACH)));
        let [little, much] = names.each_ref().map(String::as_str);
        let mut table = Table::new(subject.name, &["", little, much, "how much slower"]);
        for (((name, unit, more), before), after) in MEASURES.into_iter().zip(before).zip(after) {
            let slower: Figure = if more { before.over(&after) } else { after.over(&before) };
            bars.push(Bar::new(format!("{}, {name}", subject.name), &slower));
            let what = format!("{}, {name}, with {much} beside {little}", subject.name);
            section.goals.push(Goal::at_most(what, &slower, 1.5, Unit::Times));
            let cells = [
                Cell::Figure(before, unit),
                Cell::Figure(after, unit),
                Cell::Figure(slower, Unit::Times),
            ];
            table.row(name, cells);
        }
        section.tables.push(table);
        small.end().await?;
        full.end().await?;
    }
    section.plots.push(Plot::Bars {
        title: "How much slower a full store is".to_owned(),
        unit: Unit::Times,
        bars,
    });
    Ok(section)
}

/// Chats of three members and [`EACH`] events; one person is in the first [`LISTED`] of them.
async fn prepare(plan: &Plan, subject: &Subject, chats: usize) -> Result<World> {
    let mut world = World::new(plan, subject).await?;
    world.add_chats(LISTED, 2, Some(&person()?)).await?;
    world.add_chats(chats - LISTED, 3, None).await?;
    let store = world.opened.events()?;
    let load = &Load::seeded(SEED);
    let ids: Vec<_> = world.chats.iter().enumerate().collect();
    // Made in the order of the chats; only the writing is beside one another.
    let calls = ids.chunks(TOGETHER).map(|chats| {
        let appends = chats.iter().map(|(chat, id)| conversation(load, *chat, id));
        let (appends, store) = (appends.collect::<Result<Vec<_>>>(), store.clone());
        async move {
            for done in store.append(&appends?).await {
                done?;
            }
            anyhow::Ok(())
        }
    });
    futures::stream::iter(calls).buffer_unordered(4).try_collect::<()>().await?;
    world.engine.catch_up().await?;
    Ok(world)
}

async fn measure(plan: &Plan, world: &World) -> Result<Vec<f64>> {
    let times = plan.size(50, 3);
    let mut values = Vec::with_capacity(MEASURES.len());
    for callers in [1, 256] {
        let prefix = format!("chat/more-{}-", world.load.uuid());
        let store = world.opened.events()?;
        let (written, took) = append_to(store, &prefix, Target::Many, callers, plan.sample).await?;
        values.push(written as f64 / took.as_secs_f64());
    }
    world.engine.catch_up().await?;
    let (mut pages, mut sends, mut loads, mut lists) = (vec![], vec![], vec![], vec![]);
    for _ in 0..times {
        let at = world.load.uuid().as_u64_pair().1 % world.chats.len() as u64;
        let at = usize::try_from(at)?;
        let chat = world.handle(at, 0)?;
        let cold = world.fresh_engine().await?;
        let stranger = cold.user(member(at, 0)?).chat(chat.id());
        loads.push(on_a_worker(async move { Ok(timed(stranger.read_state()).await?) }).await?);
        chat.read_state().await?;
        let message = world.load.message()?;
        let (page, send) = on_a_worker(async move {
            let page = timed(chat.history(HistoryQuery::Latest, PAGE)).await?;
            Ok((page, timed(chat.send(message)).await?))
        })
        .await?;
        pages.push(page);
        sends.push(send);
        let user = world.engine.user(person()?);
        let list = timed(async move {
            let page = user.chats(ChatListQuery::top(PAGE)).await?;
            ensure!(page.chats.len() == PAGE, "a list of {} chats", page.chats.len());
            Ok(())
        });
        lists.push(on_a_worker(list).await?);
    }
    values.extend([pages, sends, loads, lists].map(|samples| median(&samples)));
    Ok(values)
}

/// The messages of one chat, behind its creation.
fn conversation(load: &Load, chat: usize, id: &ChatId) -> Result<Append> {
    let stream = StreamId::new(format!("chat/{id}"))?;
    let events = (1..EACH).map(|_| message(load, member(chat, 0)?));
    Ok(Append::single(stream, Expected::Any, events.collect::<Result<_>>()?)?)
}

/// A message as the engine would store it.
fn message(load: &Load, by: UserId) -> Result<NewEvent> {
    let sent = MessageSent {
        by,
        text: load.text(),
        reply_to: None,
        mentions: Vec::new(),
        mention_all: false,
        client_message_id: Some(load.key()?),
    };
    let encoded = encode(&ChatEvent::MessageSent(sent))?;
    Ok(NewEvent {
        id: EventId(load.uuid()),
        event_type: encoded.event_type,
        schema_version: encoded.schema_version,
        recorded_at: load.now(),
        payload: encoded.payload,
        metadata: None,
    })
}

fn person() -> Result<UserId> {
    Ok(UserId::new("reader")?)
}

/// Of the ids and times of what fills the stores.
const SEED: u32 = 20_260_101;
/// Events of a chat.
const EACH: usize = 100;
/// Chats that one person is in.
const LISTED: usize = 1_000;
/// Chats in one call to the store.
const TOGETHER: usize = 10;
const PAGE: usize = 50;

const ABOUT: &str = "\
Two stores of one backend side by side, one with 1,000 chats of 100 events, the other with so many \
more, filled through the store's own append by a loader whose chats, ids and times are the same in \
every run. By turns: appends to streams of their own; the newest page of a \
chat anywhere, and a send into it; its cold load by an engine that knows nothing; and the list of a \
person who is in 1,000 of the chats.";
