//! How long does a message take from one person to the other?

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use chat_core::StreamId;
use chat_core::SubscribeFrom;
use chat_core::ports::{Append, EventStoreExt as _, Expected};
use tokio::sync::mpsc;

use crate::contest::{Entry, contest};
use crate::load::Load;
use crate::measure::{Figure, micros, percentile};
use crate::plan::Plan;
use crate::report::{Bar, Cell, Plot, Section, Table, Unit};
use crate::stores::Subject;
use crate::world::{World, on_a_worker, take};

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "delivery",
        title: "From a send to its delivery",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    let mut entries = Vec::new();
    for &subject in &plan.subjects {
        entries.push(Entry::new(subject.name, move || through_engine(plan, subject)));
        let name = format!("{}: append and channel", subject.name);
        entries.push(Entry::new(name, move || plainly(plan, subject)));
    }
    let mut figures = contest(plan, entries).await?.into_iter();
    let mut table = Table::new(
        "",
        &["", "median", "99th of 100", "append and channel, median", "99th of 100", "beside it"],
    );
    let mut bars = Vec::new();
    for subject in &plan.subjects {
        let [middle, late] = pair(figures.next())?;
        let [plain, plain_late] = pair(figures.next())?;
        bars.push(Bar::new(format!("{}, engine", subject.name), &middle));
        bars.push(Bar::new(format!("{}, append and channel", subject.name), &plain));
        let shown = Unit::Micros.show(middle.median());
        section.sum_up(subject.name, "delivery, one process", shown);
        let ratio = middle.over(&plain);
        let figures = [middle, late, plain, plain_late];
        let cells = figures.map(|figure| Cell::Figure(figure, Unit::Micros));
        table.row(subject.name, cells.into_iter().chain([Cell::Figure(ratio, Unit::Times)]));
    }
    section.tables.push(table);
    section.plots.push(Plot::Bars {
        title: "From a send to its delivery, median".to_owned(),
        unit: Unit::Micros,
        bars,
    });
    Ok(section)
}

fn pair(figures: Option<Vec<Figure>>) -> Result<[Figure; 2]> {
    figures.and_then(|figures| figures.try_into().ok()).context("two figures of each")
}

async fn through_engine(plan: &Plan, subject: &Subject) -> Result<Vec<f64>> {
    let world = World::with_chats(plan, subject, 1, 3).await?;
    let (author, reader) = (world.handle(0, 0)?, world.handle(0, 1)?);
    let mut subscription = reader.subscribe(SubscribeFrom::Now).await?;
    let (arrived, arrivals) = mpsc::channel(1);
    tokio::spawn(async move {
        while take(&mut subscription, 1).await.is_ok() {
            if arrived.send(Instant::now()).await.is_err() {
                return;
            }
        }
    });
    let load = Arc::clone(&world.load);
    let latencies = measure(plan, arrivals, move || {
        let (author, load) = (author.clone(), Arc::clone(&load));
        async move {
            author.send(load.message()?).await?;
            Ok(())
        }
    });
    let latencies = latencies.await?;
    world.end().await?;
    Ok(latencies)
}

/// The least that any program does that tells only what is stored.
async fn plainly(plan: &Plan, subject: &Subject) -> Result<Vec<f64>> {
    let opened = subject.open(plan).await?;
    let store = opened.events()?;
    let (sender, mut receiver) = mpsc::channel::<Arc<str>>(16);
    let (arrived, arrivals) = mpsc::channel(1);
    tokio::spawn(async move {
        while receiver.recv().await.is_some() {
            if arrived.send(Instant::now()).await.is_err() {
                return;
            }
        }
    });
    let (load, stream) = (Arc::new(Load::new()), StreamId::new("chat/group-0")?);
    let latencies = measure(plan, arrivals, move || {
        let (store, load) = (Arc::clone(&store), Arc::clone(&load));
        let (stream, sender) = (stream.clone(), sender.clone());
        async move {
            let append = Append::single(stream, Expected::Any, vec![load.event()])?;
            store.append_one(append).await?;
            Ok(sender.send(load.payload().into()).await?)
        }
    });
    let latencies = latencies.await?;
    opened.close().await?;
    Ok(latencies)
}

/// Sends one after the other, each when the one before has arrived; microseconds.
async fn measure<F>(
    plan: &Plan,
    mut arrivals: mpsc::Receiver<Instant>,
    send: impl Fn() -> F + Send + 'static,
) -> Result<Vec<f64>>
where
    F: Future<Output = Result<()>> + Send,
{
    let time = plan.sample;
    on_a_worker(async move {
        let (start, mut latencies) = (Instant::now(), Vec::new());
        while latencies.is_empty() || start.elapsed() < time {
            let sent = Instant::now();
            send().await?;
            let arrived = arrivals.recv().await.context("the reader has gone")?;
            latencies.push(micros(arrived - sent));
        }
        Ok(vec![percentile(&latencies, 0.5), percentile(&latencies, 0.99)])
    })
    .await
}

const ABOUT: &str = "\
One person sends, one listens, one message at a time: from the call of `send` until the subscriber's \
task has it. Beside it the least that a program does which tells only what is stored: append to the \
same store, then hand the text to the reader's task through a channel.";
