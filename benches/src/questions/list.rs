//! How fast does somebody with a thousand chats see the list of them?

use anyhow::{Result, ensure};
use chat_core::ports::{Direction, PageLimit};
use chat_core::{ChatListQuery, StreamId, UserHandle, UserId, Version};

use crate::measure::{Figure, median};
use crate::plan::Plan;
use crate::report::{Bar, Cell, Goal, Plot, Section, Table, Unit, count};
use crate::stores::{Kind, Subject};
use crate::world::{World, on_a_worker, timed};

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let chats = plan.size(1_000, 60);
    let mut section = Section {
        name: "list",
        title: "The list of somebody's chats",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    let mut table = Table::new(
        format!("a page of {PAGE} of {} chats", count(chats)),
        &["", "warm", "beside plain reads", "after a message", "first after a new start", "second"],
    );
    let mut bars = Vec::new();
    for &subject in &plan.firsts {
        let world = tokio::sync::Mutex::new(prepare(plan, subject, chats).await?);
        let mut samples: [Figure; 5] = std::array::from_fn(|_| Figure::default());
        for _ in 0..plan.rounds {
            let values =
                plan.quiet.measure(|| async { round(plan, &mut *world.lock().await).await });
            let values = values.await?;
            for (figure, value) in samples.iter_mut().zip(values) {
                figure.samples.push(value);
            }
        }
        world.into_inner().end().await?;
        let [warm, plain, moved, first, second] = samples;
        bars.push(Bar::new(format!("{}, warm", subject.name), &warm));
        bars.push(Bar::new(format!("{}, after a message", subject.name), &moved));
        bars.push(Bar::new(format!("{}, new start", subject.name), &first));
        if subject.kind == Kind::Sqlite {
            let what =
                format!("{}, list of {} chats, page of {PAGE}, warm", subject.name, count(chats));
            section.goals.push(Goal::at_most(what, &warm, 3_000.0, Unit::Micros));
        }
        let ratio = warm.over(&plain);
        let cells = [
            Cell::Figure(warm, Unit::Micros),
            Cell::Figure(ratio, Unit::Times),
            Cell::Figure(moved, Unit::Micros),
            Cell::Figure(first, Unit::Micros),
            Cell::Figure(second, Unit::Micros),
        ];
        table.row(subject.name, cells);
    }
    section.tables.push(table);
    section.plots.push(Plot::Bars {
        title: format!("A page of {PAGE} chats"),
        unit: Unit::Micros,
        bars,
    });
    Ok(section)
}

fn person() -> Result<UserId> {
    Ok(UserId::new("reader")?)
}

/// Chats of three, one of whom is in all of them, with ten messages each.
async fn prepare(plan: &Plan, subject: &Subject, chats: usize) -> Result<World> {
    let mut world = World::new(plan, subject).await?;
    world.add_chats(chats, 2, Some(&person()?)).await?;
    world.send_to_each(10).await?;
    world.engine.catch_up().await?;
    Ok(world)
}

/// Medians in microseconds: a page; plain reads; a page after a message; the first and the second
/// page after a new start.
async fn round(plan: &Plan, world: &mut World) -> Result<[f64; 5]> {
    let times = plan.size(100, 2);
    let (mut warm, mut plain, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    let user = world.engine.user(person()?);
    page(user.clone()).await?;
    for time in 0..times {
        warm.push(page(user.clone()).await?);
        plain.push(plain_reads(world).await?);
        // Chats far apart, so that most of them move up from below the page.
        let chat = time * 37 % world.chats.len();
        world.handle(chat, 0)?.send(world.load.message()?).await?;
        moved.push(page(user.clone()).await?);
    }
    world.restart().await?;
    let user = world.engine.user(person()?);
    let first = page(user.clone()).await?;
    let second = page(user).await?;
    Ok([median(&warm), median(&plain), median(&moved), first, second])
}

async fn page(user: UserHandle) -> Result<f64> {
    on_a_worker(timed(async move {
        let page = user.chats(ChatListQuery::top(PAGE)).await?;
        let whole = page.chats.iter().filter(|chat| chat.preview.is_some() && chat.unread > 0);
        ensure!(whole.count() == PAGE, "a page without its previews and counts");
        Ok(())
    }))
    .await
}

/// The newest event of each of so many chats, one chat after the other.
async fn plain_reads(world: &World) -> Result<f64> {
    let store = world.opened.events()?;
    let chats: Vec<_> = world.chats.iter().take(PAGE).cloned().collect();
    on_a_worker(timed(async move {
        for chat in chats {
            let (stream, limit) = (StreamId::new(format!("chat/{chat}"))?, PageLimit::events(1));
            let newest =
                store.read_stream(&stream, Direction::Backward, Version::MAX, limit).await?;
            ensure!(newest.events.len() == 1, "a chat without an event");
        }
        Ok(())
    }))
    .await
}

const PAGE: usize = 50;

const ABOUT: &str = "\
One person is in all of these chats, with two others in each and ten messages in each, all unread. A \
page holds the chats with the newest activity, each with its preview and its exact counts; the list \
is exact as of the call. In microseconds: with nothing new; right after a message into some chat; \
the first and the second page after a new start of the program. Beside it the plainest reads of the \
same size: the newest event of each of 50 chats, from the store, one after the other.";
