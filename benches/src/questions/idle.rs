//! What does a subscription cost that waits?

use anyhow::{Context as _, Result};
use chat_core::SubscribeFrom;

use crate::measure::{Figure, resident_bytes};
use crate::plan::Plan;
use crate::report::{Bar, Cell, Goal, Plot, Section, Table, Unit};
use crate::world::World;

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let count = plan.size(100_000, 10_000);
    let subject = plan.subjects.first().context("no store")?;
    let world = World::with_chats(plan, subject, 1, 3).await?;
    let reader = world.handle(0, 1)?;
    let mut subscriptions = Vec::with_capacity(count);
    // What is made once by the first is not a part of each.
    subscriptions.push(reader.subscribe(SubscribeFrom::Now).await?);
    let before = resident_bytes()?;
    for _ in 1..count {
        subscriptions.push(reader.subscribe(SubscribeFrom::Now).await?);
    }
    let held = resident_bytes()? - before;
    for mut subscription in subscriptions {
        tokio::spawn(async move { while subscription.next().await.is_some() {} });
    }
    // A message that has reached all of them says that all have been waiting for it.
    let (mut last, author) = (reader.subscribe(SubscribeFrom::Now).await?, world.handle(0, 0)?);
    author.send(world.load.message()?).await?;
    crate::world::take(&mut last, 1).await?;
    tokio::task::yield_now().await;
    let waiting = resident_bytes()? - before;
    world.end().await?;

    let each = |bytes: f64| Figure { samples: vec![bytes / count as f64] };
    let (held, waiting) = (each(held), each(waiting));
    let mut section = Section {
        name: "idle",
        title: "Subscriptions that wait",
        about: format!(
            "{} subscriptions of one chat that has nothing new, by the growth of the process's \
             resident memory: held only, and each with a task of its own that waits for the next \
             event (the task and its waker included).",
            crate::report::count(count)
        ),
        ..Section::default()
    };
    let mut table = Table::new("", &["", "each"]);
    table.row("held", [Cell::Figure(held.clone(), Unit::Bytes)]);
    table.row("waiting in a task", [Cell::Figure(waiting.clone(), Unit::Bytes)]);
    section.tables.push(table);
    section.goals.push(Goal::at_most(
        "an idle subscription with its task",
        &waiting,
        1_024.0,
        Unit::Bytes,
    ));
    section.plots.push(Plot::Bars {
        title: "Memory of an idle subscription".to_owned(),
        unit: Unit::Bytes,
        bars: vec![Bar::new("held", &held), Bar::new("waiting in a task", &waiting)],
    });
    Ok(section)
}
