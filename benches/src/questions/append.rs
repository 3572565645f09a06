//! How many events go into a store, by how many callers that each wait for their own append?

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chat_core::StreamId;
use chat_core::decorate::GroupCommit;
use chat_core::ports::{Append, EventStore, EventStoreExt as _, Expected};

use crate::contest::{Entry, contest};
use crate::load::Load;
use crate::measure::{Figure, warm_up};
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
            Ok(vec![ceiling.measure(subject, plan).await?])
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
            if way.target == Target::Many && way.grouped == subject.wants_group_commit {
                section.goals.extend(goals(subject, callers, &figure, ceilings));
                summarize(subject, callers, &figure, ceilings, section);
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

fn goals(subject: &Subject, callers: usize, figure: &Figure, ceilings: &Ceilings) -> Vec<Goal> {
    let name = format!("{}, append by {}", subject.name, count(callers));
    let wanted = subject.goals.append.iter().filter(|(of, ..)| *of == callers);
    let mut goals: Vec<_> = wanted
        .filter_map(|&(_, role, wanted, unit)| {
            let what = format!("{name}, beside *{}*", role.name());
            Some(Goal::at_least(what, &figure.over(of(ceilings, role)?), wanted, unit))
        })
        .collect();
    if let (16, Some((peer, best))) = (callers, subject.goals.peer) {
        let what = format!(
            "{name}, four times {peer} ({}, measured earlier on a machine of this kind, not in \
             this run)",
            Unit::PerSecond.show(best)
        );
        goals.push(Goal::at_least(what, figure, 4.0 * best, Unit::PerSecond));
    }
    goals
}

/// Events per second by the number of callers, and how much of the ceiling the best of them is.
fn summarize(
    subject: &Subject,
    callers: usize,
    figure: &Figure,
    ceilings: &Ceilings,
    section: &mut Section,
) {
    let column = match callers {
        1 => "1 caller",
        16 => "16",
        256 => "256",
        _ => "1,024",
    };
    section.sum_up(subject.name, column, Unit::PerSecond.show(figure.median()));
    if let (1_024, Some(most)) = (callers, of(ceilings, Role::Batched)) {
        let share = Unit::Percent.show(figure.over(most).median());
        section.sum_up(subject.name, "of the batched ceiling", share);
    }
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
    let opened = subject.open(plan).await?;
    let mut store = opened.events()?;
    if grouped {
        store = Arc::new(GroupCommit::new(store));
    }
    let (written, took) = append_to(store, PREFIX, target, callers, plan.sample).await?;
    opened.close().await?;
    Ok(written as f64 / took.as_secs_f64())
}

/// Appends events for a time, after as much as warms up; gives how many, and in which time.
pub(crate) async fn append_to(
    store: Arc<dyn EventStore>,
    prefix: &str,
    target: Target,
    callers: usize,
    time: Duration,
) -> Result<(u64, Duration)> {
    let load = Arc::new(Load::new());
    // What is answered from here on counts.
    let start = Instant::now() + warm_up(time);
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (store, load, prefix) = (Arc::clone(&store), Arc::clone(&load), prefix.to_owned());
            tokio::spawn(async move {
                let own = match target {
                    Target::Many => (caller % STREAMS..STREAMS).step_by(callers),
                    Target::One => (0..1).step_by(1),
                };
                let mut streams = Vec::new();
                for stream in own {
                    let stream = StreamId::new(format!("{prefix}{stream}"))?;
                    streams.push((stream, Expected::NoStream));
                }
                call(store, load, target, streams, start, time).await
            })
        })
        .collect();
    let mut written = 0;
    for task in tasks {
        written += task.await??;
    }
    Ok((written, start.elapsed()))
}

async fn call(
    store: Arc<dyn EventStore>,
    load: Arc<Load>,
    target: Target,
    mut streams: Vec<(StreamId, Expected)>,
    start: Instant,
    time: Duration,
) -> Result<u64> {
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
            let now = Instant::now();
            written += u64::from(now >= start);
            if now >= start + time {
                return Ok(written);
            }
        }
    }
}

const PREFIX: &str = "chat/group-";

const ABOUT: &str = "\
Callers on a Tokio runtime append one event each and wait for the answer before the next. With 1,024 \
streams each caller expects the version that it left; on one stream nobody expects anything. Each \
figure is measured on a new database, after half as long again that does not count, in which \
statements are prepared (redis-benchmark counts from its first command). The programs that the store is compared with write the same rows into the \
same tables with the same settings, and check nothing.";
