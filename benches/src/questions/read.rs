//! How fast is a long stream read?

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use chat_core::ports::{Append, Direction, EventStore, EventStoreExt as _, Expected, PageLimit};
use chat_core::{RecordedEvent, StreamId, Version};

use crate::contest::{Entry, contest};
use crate::load::Load;
use crate::measure::{Figure, median};
use crate::plan::Plan;
use crate::report::{Bar, Cell, Goal, Plot, Section, Table, Unit};
use crate::stores::{Opened, Subject};
use crate::world::on_a_worker;

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "read",
        title: "Reading 10,000 events of one stream",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    let columns = ["", "events read", "by the plainest query", "of the plainest query"];
    let mut table = Table::new("", &columns);
    let mut bars = Vec::new();
    for &subject in &plan.subjects {
        let opened = &prepare(plan, subject).await?;
        let mut entries = vec![Entry::new(subject.name, move || by_store(plan, opened))];
        if let Some(plain) = subject.plain_read {
            let name = format!("{}: the plainest query", subject.name);
            entries.push(Entry::new(name, move || async move {
                let ground = Arc::clone(&opened.ground);
                let times = plain(ground, STREAM.to_owned(), plan.size(5, 1)).await?;
                Ok(vec![READ_EVENTS as f64 / median(&times)])
            }));
        }
        let mut figures = contest(plan, entries).await?.into_iter().flatten();
        let own = figures.next().context("a figure is missing")?;
        bars.push(Bar::new(subject.name, &own));
        section.sum_up(subject.name, "events read", Unit::PerSecond.show(own.median()));
        let plain: Option<Figure> = figures.next();
        let mut cells = vec![Cell::Figure(own.clone(), Unit::PerSecond), Cell::Empty, Cell::Empty];
        if let Some(plain) = plain {
            let share = own.over(&plain);
            bars.push(Bar::new(format!("{}, plainest query", subject.name), &plain));
            let what = format!("{}, reading, beside the plainest query", subject.name);
            section.goals.push(Goal::at_least(what, &share, 0.60, Unit::Percent));
            section.sum_up(subject.name, "of a plain query", Unit::Percent.show(share.median()));
            cells.truncate(1);
            cells
                .extend([Cell::Figure(plain, Unit::PerSecond), Cell::Figure(share, Unit::Percent)]);
        }
        table.row(subject.name, cells);
    }
    section.tables.push(table);
    section.plots.push(Plot::Bars {
        title: "Reading 10,000 events of one stream".to_owned(),
        unit: Unit::PerSecond,
        bars,
    });
    Ok(section)
}

async fn prepare(plan: &Plan, subject: &Subject) -> Result<Opened> {
    let opened = subject.open(plan).await?;
    let (store, load) = (opened.events()?, Load::new());
    for _ in (0..READ_EVENTS).step_by(PAGE) {
        let events = (0..PAGE).map(|_| load.event()).collect();
        store.append_one(Append::single(StreamId::new(STREAM)?, Expected::Any, events)?).await?;
    }
    Ok(opened)
}

async fn by_store(plan: &Plan, opened: &Opened) -> Result<Vec<f64>> {
    let (store, times) = (opened.events()?, plan.size(5, 1));
    on_a_worker(async move {
        let mut seconds = Vec::new();
        for _ in 0..times {
            let start = Instant::now();
            let all = read(&*store).await?;
            seconds.push(start.elapsed().as_secs_f64());
            // As beside it, what becomes of the events is no part of the reading.
            drop(all);
        }
        Ok(vec![READ_EVENTS as f64 / median(&seconds)])
    })
    .await
}

async fn read(store: &dyn EventStore) -> Result<Vec<Arc<RecordedEvent>>> {
    let (stream, mut at) = (StreamId::new(STREAM)?, Version::ZERO);
    let mut all = Vec::with_capacity(READ_EVENTS);
    while all.len() < READ_EVENTS {
        let limit = PageLimit::events(PAGE);
        let page = store.read_stream(&stream, Direction::Forward, at, limit).await?;
        ensure!(!page.events.is_empty(), "fewer events than were appended");
        at = page.events.last().map_or(at, |event| event.version);
        all.extend(page.events);
    }
    Ok(all)
}

pub(crate) const READ_EVENTS: usize = 10_000;
const PAGE: usize = 1_000;
const STREAM: &str = "chat/long";

const ABOUT: &str = "\
The store gives them as ten pages of 1,000 events each, every page with the stream's head in the same \
look. Beside it the plainest query of the same driver: all rows of the stream at once, each column \
taken into a value of the program (of Redis: one `XRANGE` of entries of the same size). From memory \
the store hands out references.";
