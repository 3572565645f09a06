//! How long does a message take from one process to another?

use anyhow::{Context as _, Result};

use crate::child::Actor;
use crate::contest::{Entry, contest};
use crate::measure::{Figure, percentile, shared_clock};
use crate::plan::Plan;
use crate::report::{Bar, Cell, Goal, Plot, Section, Table, Unit};
use crate::stores::{Kind, Subject};
use crate::world::{World, member};

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "across",
        title: "From a send in one process to its delivery in another",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    let subjects: Vec<_> =
        plan.subjects.iter().filter(|subject| subject.kind != Kind::Memory).collect();
    if subjects.is_empty() {
        return Ok(section);
    }
    let entries = subjects
        .iter()
        .map(|&&subject| Entry::new(subject.name, move || deliver(plan, subject)))
        .collect();
    let figures = contest(plan, entries).await?;
    let mut table = Table::new("", &["", "median", "99th of 100"]);
    let mut bars = Vec::new();
    for (subject, figures) in subjects.into_iter().zip(figures) {
        let [middle, late] = <[Figure; 2]>::try_from(figures).ok().context("two figures")?;
        bars.push(Bar::new(subject.name, &middle));
        section.sum_up(subject.name, "delivery, two processes", Unit::Millis.show(middle.median()));
        if let Some(wanted) = subject.goals.across {
            let what = format!("{}, delivery in another process, median", subject.name);
            section.goals.push(Goal::at_most(what, &middle, wanted, Unit::Millis));
        }
        let cells = [middle, late].map(|figure| Cell::Figure(figure, Unit::Millis));
        table.row(subject.name, cells);
    }
    section.tables.push(table);
    section.plots.push(Plot::Bars {
        title: "From a send to its delivery in another process, median".to_owned(),
        unit: Unit::Millis,
        bars,
    });
    Ok(section)
}

async fn deliver(plan: &Plan, subject: &Subject) -> Result<Vec<f64>> {
    let world = World::with_chats(plan, subject, 1, 3).await?;
    let (author, reader) = (world.handle(0, 0)?, member(0, 1)?);
    let role = ["follow", &world.opened.ground.url, author.id().as_str(), reader.as_str()];
    let mut actor = Actor::start(plan, &role).await?;
    let mut latencies = Vec::new();
    let start = std::time::Instant::now();
    while latencies.len() < LEAST || start.elapsed() < plan.sample {
        let sent = shared_clock();
        author.send(world.load.message()?).await?;
        let arrived: u64 = actor.hear().await?.parse()?;
        latencies.push(arrived.saturating_sub(sent) as f64 / 1e6);
    }
    actor.end().await?;
    world.end().await?;
    Ok(vec![percentile(&latencies, 0.5), percentile(&latencies, 0.99)])
}

const LEAST: usize = 10;

const ABOUT: &str = "\
One person sends through an engine in this process, one message at a time; another listens through an \
engine in a second process on the same database. From the call of `send` until the subscriber has the \
event, by the clock that both processes share, in milliseconds. Stores that bring a bus ring the \
other process; SQLite has none, there the second engine polls every 20 ms.";
