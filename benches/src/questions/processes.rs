//! How many events go into one database by several processes?

use anyhow::{Context as _, Result};
use futures::future::try_join_all;

use crate::child::Actor;
use crate::contest::{Entry, contest};
use crate::measure::Figure;
use crate::plan::Plan;
use crate::report::{Cell, Plot, Section, Series, Table, Unit};
use crate::stores::{Kind, Subject};

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "processes",
        title: "Several processes on one database",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    let subjects: Vec<_> =
        plan.subjects.iter().filter(|subject| subject.kind != Kind::Memory).collect();
    let processes = plan.size(&[1, 2, 4][..], &[1, 2]);
    let mut entries = Vec::new();
    for &&subject in &subjects {
        for &processes in processes {
            let name = format!("{}: appending from {processes}", subject.name);
            entries.push(Entry::new(name, move || write(plan, subject, processes)));
        }
    }
    if entries.is_empty() {
        return Ok(section);
    }
    let mut figures = contest(plan, entries).await?.into_iter().flatten();
    let mut columns = vec![String::new()];
    columns.extend(processes.iter().map(|processes| match processes {
        1 => "1 process".to_owned(),
        more => format!("{more} processes"),
    }));
    columns.push("most beside one".to_owned());
    let columns: Vec<_> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new("", &columns);
    let mut series = Vec::new();
    for subject in subjects {
        let own: Vec<Figure> = figures.by_ref().take(processes.len()).collect();
        let first = own.first().context("a figure is missing")?;
        let last = own.last().context("a figure is missing")?;
        let ratio = Cell::Figure(last.over(first), Unit::Times);
        let points = processes.iter().zip(&own);
        let points = points.map(|(processes, figure)| (*processes as f64, figure.median()));
        series.push(Series { name: subject.name.to_owned(), points: points.collect() });
        let cells = own.iter().map(|figure| Cell::Figure(figure.clone(), Unit::PerSecond));
        table.row(subject.name, cells.chain([ratio]));
    }
    section.tables.push(table);
    section.plots.push(Plot::Lines {
        title: "Appending by several processes".to_owned(),
        across: "processes",
        unit: Unit::PerSecond,
        series,
    });
    Ok(section)
}

/// Events per second of all processes together.
async fn write(plan: &Plan, subject: &Subject, processes: usize) -> Result<Vec<f64>> {
    // The first store makes the tables, so that starting takes no part in it.
    let opened = subject.open(plan).await?;
    let (url, seconds) = (&opened.ground.url, plan.sample.as_secs_f64().to_string());
    let callers = CALLERS.to_string();
    let (url, seconds, callers) = (url.as_str(), seconds.as_str(), callers.as_str());
    let mut actors = try_join_all((0..processes).map(|writer| async move {
        Actor::start(plan, &["write", url, &writer.to_string(), callers, seconds]).await
    }))
    .await?;
    for actor in &mut actors {
        actor.go().await?;
    }
    let mut rate = 0.0;
    for actor in &mut actors {
        let line = actor.hear().await?;
        let (written, took) = line.split_once(' ').context("no rate")?;
        rate += written.parse::<f64>()? / took.parse::<f64>()?;
    }
    for actor in actors {
        actor.end().await?;
    }
    opened.close().await?;
    Ok(vec![rate])
}

/// In each process.
const CALLERS: usize = 64;

const ABOUT: &str = "\
Processes of this program, each with a store of its own on the same database and 64 callers on streams \
of their own, append for the same time; events per second of all together. The processes share the \
processors of this machine with the server.";
