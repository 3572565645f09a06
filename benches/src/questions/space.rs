//! How many bytes does an event take?

use std::sync::Arc;

use anyhow::{Context as _, Result};
use chat_core::StreamId;
use chat_core::ports::{Append, EventStore, Expected};

use crate::child::Actor;
use crate::load::Load;
use crate::measure::Figure;
use crate::plan::Plan;
use crate::report::{Bar, Cell, Goal, Plot, Section, Table, Unit, count};
use crate::stores::{STREAMS, Subject};

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let events = plan.size(100_000, 10_000);
    let stored = stored_bytes(&Load::new());
    let mut section = Section {
        name: "space",
        title: "What an event takes",
        about: format!(
            "By how much the store grows with {} events in 1,024 streams, for each: the pages of the \
             file, the table with its indexes, the memory of Redis (of all masters together), the \
             resident memory of a process that holds them in the memory store. An event's own bytes \
             are {stored:.0}: its payload, type, id, times and versions.",
            count(events)
        ),
        ..Section::default()
    };
    let mut table = Table::new("", &["", "for each event", "beside its own bytes"]);
    let mut bars = Vec::new();
    for &subject in &plan.subjects {
        let each = Figure { samples: vec![grown(plan, subject, events).await? / events as f64] };
        let ratio = Figure { samples: vec![each.median() / stored] };
        bars.push(Bar::new(subject.name, &each));
        section.sum_up(subject.name, "bytes for an event", Unit::Bytes.show(each.median()));
        if let Some(wanted) = subject.goals.space {
            let what = format!("{}, memory for each byte of an event", subject.name);
            section.goals.push(Goal::at_most(what, &ratio, wanted, Unit::Times));
        }
        table
            .row(subject.name, [Cell::Figure(each, Unit::Bytes), Cell::Figure(ratio, Unit::Times)]);
    }
    section.tables.push(table);
    section.plots.push(Plot::Bars {
        title: "Bytes for an event".to_owned(),
        unit: Unit::Bytes,
        bars,
    });
    Ok(section)
}

/// What has to be kept of an event: payload, type, id (16), schema version (2), time, version and
/// position (8 each).
fn stored_bytes(load: &Load) -> f64 {
    let event = load.event();
    (event.payload.as_str().len() + event.event_type.as_str().len() + 16 + 2 + 3 * 8) as f64
}

async fn grown(plan: &Plan, subject: &Subject, events: usize) -> Result<f64> {
    let Some(space) = subject.space else {
        // A process of its own, as this one's memory is full of holes.
        let mut actor = Actor::start(plan, &["hold", &events.to_string()]).await?;
        let grown = actor.hear().await?.parse()?;
        actor.end().await?;
        return Ok(grown);
    };
    let opened = subject.open(plan).await?;
    let before = space(Arc::clone(&opened.ground)).await?;
    fill_streams(&*opened.events()?, events).await?;
    let after = space(Arc::clone(&opened.ground)).await?;
    opened.close().await?;
    Ok(after - before)
}

/// Appends events one by one to streams in turn, 1,000 in each call.
pub(crate) async fn fill_streams(store: &dyn EventStore, events: usize) -> Result<()> {
    let load = Load::new();
    let mut streams = Vec::with_capacity(STREAMS);
    for stream in 0..STREAMS {
        streams.push(StreamId::new(format!("chat/group-{stream}"))?);
    }
    let mut next = streams.iter().cycle();
    let mut left = events;
    while left > 0 {
        let appends = (0..left.min(1_000)).map(|_| {
            let stream = next.next().context("no stream")?.clone();
            Ok(Append::single(stream, Expected::Any, vec![load.event()])?)
        });
        let appends = appends.collect::<Result<Vec<_>>>()?;
        left -= appends.len();
        for done in store.append(&appends).await {
            done?;
        }
    }
    Ok(())
}
