//! How many events go into a store, by how many callers that each wait for their own append?

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chat_core::StreamId;
use chat_core::decorate::GroupCommit;
use chat_core::ports::{Append, EventStore, EventStoreExt as _, Expected};

use crate::contest::{Entry, contest};
use crate::load::Load;
use crate::measure::Figure;
use crate::plan::Plan;
use crate::report::{Cell, Goal, Plot, Section, Series, Table, Unit, count};
use crate::stores::{Ceiling, Role, STREAMS, Subject};

pub(crate) const CALLERS: &[usize] = &[1, 16, 256, 1_024];

/// Where callers append to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Each to streams of its own, knowing their version.
    Many,
    /// All to the same stream.
    One,
}

/// A way of appending that is measured.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    target: Target,
    grouped: bool,
}

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "append",
        title: "Appending to the store",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    for subject in &plan.subjects {
        ask_one(plan, subject, &mut section).await?;
    }
    Ok(section)
}

async fn ask_one(plan: &Plan, subject: &'static Subject, section: &mut Section) -> Result<()> {
    let ways = ways(subject);
    let mut entries = Vec::new();
    for ceiling in subject.ceilings {
        let name = format!("{}: {}", subject.name, ceiling.what);
        entries.push(Entry::new(name, move || async move {
            Ok(vec![ceiling.measure(&plan.data, plan.sample).await?])
        }));
    }
    for way in &ways {
        for &callers in callers(plan) {
            let name = format!("{}: {}, {callers} callers", subject.name, way.name);
            let Way { target, grouped, .. } = *way;
            entries.push(Entry::new(name, move || async move {
                Ok(vec![append_for(plan, subject, target, grouped, callers).await?])
            }));
        }
    }
    let mut figures = contest(plan, entries).await?.into_iter().flatten();
    let ceilings: Ceilings = subject.ceilings.iter().zip(figures.by_ref()).collect();
    show(plan, subject, &ceilings, &ways, figures, section)
}

type Ceilings = Vec<(&'static Ceiling, Figure)>;

fn of(ceilings: &Ceilings, role: Role) -> Option<&Figure> {
    ceilings.iter().find(|(ceiling, _)| ceiling.role == role).map(|(_, figure)| figure)
}

fn show(
    plan: &Plan,
    subject: &Subject,
    ceilings: &Ceilings,
    ways: &[Way],
    mut figures: impl Iterator<Item = Figure>,
    section: &mut Section,
) -> Result<()> {
    let columns = ["", "callers", "events", "of the batched", "beside single", "beside 16 writers"];
    let mut table = Table::new(subject.name, &columns);
    let mut series = Vec::new();
    let beside = |figure: &Figure, role, unit| {
        of(ceilings, role).map_or(Cell::Empty, |to| Cell::Figure(figure.over(to), unit))
    };
    for (ceiling, figure) in ceilings {
        let name = ceiling.role.name();
        let rate = Cell::Figure(figure.clone(), Unit::PerSecond);
        let ratio = beside(figure, Role::Batched, Unit::Percent);
        table.row(name, [Cell::Empty, rate, ratio, Cell::Empty, Cell::Empty]);
        let ends = callers(plan).iter().map(|callers| (*callers as f64, figure.median()));
        series.push(Series { name: name.to_owned(), points: ends.collect() });
    }
    for way in ways {
        let mut points = Vec::new();
        for &callers in callers(plan) {
            let figure = figures.next().context("a figure is missing")?;
            points.push((callers as f64, figure.median()));
            let cells = [
                Cell::Text(count(callers)),
                Cell::Figure(figure.clone(), Unit::PerSecond),
                beside(&figure, Role::Batched, Unit::Percent),
                beside(&figure, Role::Single, Unit::Times),
                beside(&figure, Role::Sixteen, Unit::Times),
            ];
            table.row(way.name, cells);
            if subject.has_goals && way.target == Target::Many {
                section.goals.extend(goal(subject, callers, &figure, ceilings));
            }
        }
        series.push(Series { name: way.name.to_owned(), points });
    }
    section.tables.push(table);
    section.plots.push(Plot::Lines {
        title: format!("Appending, {}", subject.name),
        across: "callers",
        unit: Unit::PerSecond,
        series,
    });
    Ok(())
}

fn ways(subject: &Subject) -> Vec<Way> {
    let (many, one) = (Target::Many, Target::One);
    let mut ways = vec![
        Way { name: "1,024 streams", target: many, grouped: false },
        Way { name: "one stream", target: one, grouped: false },
    ];
    if subject.wants_group_commit {
        ways.push(Way { name: "1,024 streams, group commit", target: many, grouped: true });
        ways.push(Way { name: "one stream, group commit", target: one, grouped: true });
    }
    ways
}

fn goal(subject: &Subject, callers: usize, figure: &Figure, ceilings: &Ceilings) -> Option<Goal> {
    let (role, wanted, unit, beside) = match callers {
        1 => (Role::Single, 0.60, Unit::Percent, "a connection that commits each row"),
        16 => (Role::Sixteen, 4.0, Unit::Times, "16 connections that each commit a row"),
        256 => (Role::Batched, 0.45, Unit::Percent, "the batched insert"),
        1_024 => (Role::Batched, 0.55, Unit::Percent, "the batched insert"),
        _ => return None,
    };
    let what = format!("{}, append by {}, beside {beside}", subject.name, count(callers));
    Some(Goal::at_least(what, &figure.over(of(ceilings, role)?), wanted, unit))
}

pub(crate) fn callers(plan: &Plan) -> &'static [usize] {
    plan.size(CALLERS, CALLERS.get(..2).unwrap_or_default())
}

/// Appends events to a new store for a time; gives events per second.
pub(crate) async fn append_for(
    plan: &Plan,
    subject: &Subject,
    target: Target,
    grouped: bool,
    callers: usize,
) -> Result<f64> {
    let mut opened = subject.open(&plan.data).await?;
    let mut store = opened.database.events();
    if grouped {
        store = Arc::new(GroupCommit::new(store));
    }
    let load = Arc::new(Load::new());
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (store, load) = (Arc::clone(&store), Arc::clone(&load));
            tokio::spawn(call(store, load, target, caller, callers, start, plan.sample))
        })
        .collect();
    let mut written = 0;
    for task in tasks {
        written += task.await??;
    }
    let rate = written as f64 / start.elapsed().as_secs_f64();
    drop(store);
    opened.database.close().await;
    Ok(rate)
}

async fn call(
    store: Arc<dyn EventStore>,
    load: Arc<Load>,
    target: Target,
    caller: usize,
    callers: usize,
    start: Instant,
    time: Duration,
) -> Result<u64> {
    let own = match target {
        Target::Many => (caller % STREAMS..STREAMS).step_by(callers),
        Target::One => (0..1).step_by(1),
    };
    let mut streams = Vec::new();
    for stream in own {
        streams.push((StreamId::new(format!("chat/group-{stream}"))?, Expected::NoStream));
    }
    let mut written = 0;
    loop {
        for (stream, expected) in &mut streams {
            if target == Target::One {
                *expected = Expected::Any;
            }
            let append = Append::single(stream.clone(), *expected, vec![load.event()])?;
            let done = store.append_one(append).await?;
            let last = done.streams.first().context("an append without a stream")?.last;
            *expected = Expected::Exactly(last);
            written += 1;
            if start.elapsed() >= time {
                return Ok(written);
            }
        }
    }
}

const ABOUT: &str = "\
Callers on a Tokio runtime append one event each and wait for the answer before the next. With 1,024 \
streams each caller expects the version that it left; on one stream nobody expects anything. Each \
figure is measured on a new database. The programs that the store is compared with write the same \
rows into the same tables with the same settings, and check nothing.";
