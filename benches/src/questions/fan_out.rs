//! How fast does a message reach everybody who listens to one chat?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chat_core::{ChatHandle, Delivery, SubscribeFrom};
use futures::future::{join_all, try_join_all};
use tokio::sync::{Notify, broadcast};

use crate::contest::{Entry, contest};
use crate::load::Load;
use crate::measure::{Figure, micros, percentile};
use crate::plan::Plan;
use crate::report::{Bar, Cell, Goal, Plot, Section, Series, Table, Unit, count};
use crate::stores::Subject;
use crate::world::{World, on_a_worker};

const BURSTS: [usize; 2] = [1, 32];

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "fan-out",
        title: "Fan-out: one chat, one publisher, many subscribers",
        about: ABOUT.to_owned(),
        ..Section::default()
    };
    let mut bars = Vec::new();
    for burst in BURSTS {
        ask_one(plan, burst, &mut section, &mut bars).await?;
    }
    section.plots.push(Plot::Bars {
        title: "Last delivery of a message to the largest crowd, 99th of 100".to_owned(),
        unit: Unit::Millis,
        bars,
    });
    Ok(section)
}

async fn ask_one(
    plan: &Plan,
    burst: usize,
    section: &mut Section,
    bars: &mut Vec<Bar>,
) -> Result<()> {
    let columns = [
        "",
        "subscribers",
        "deliveries",
        "beside broadcast",
        "last delivery, median",
        "last delivery, 99th of 100",
    ];
    let mut table = Table::new(format!("{burst} at a time"), &columns);
    let names = std::iter::once("broadcast").chain(plan.firsts.iter().map(|one| one.name));
    let mut series: Vec<_> =
        names.map(|name| Series { name: name.to_owned(), points: Vec::new() }).collect();
    let crowds = plan.size([1, 100, 10_000], [1, 10, 50]);
    for crowd in crowds {
        let figures = contest(plan, entries(plan, crowd, burst)).await?;
        let plain = figures.first().and_then(|figures| figures.first()).cloned();
        let plain = plain.context("no figure of broadcast")?;
        for (figures, line) in figures.into_iter().zip(&mut series) {
            let [rate, middle, late] =
                <[Figure; 3]>::try_from(figures).ok().context("three figures of each")?;
            let ratio = rate.over(&plain);
            line.points.push((crowd as f64, rate.median()));
            if Some(&crowd) == crowds.last() {
                bars.push(Bar::new(format!("{}, {burst} at a time", line.name), &late));
                if line.name == "memory" {
                    goals(section, crowd, burst, &ratio, &late);
                }
            }
            let cells = [
                Cell::Text(count(crowd)),
                Cell::Figure(rate, Unit::PerSecond),
                Cell::Figure(ratio, Unit::Times),
                Cell::Figure(middle, Unit::Millis),
                Cell::Figure(late, Unit::Millis),
            ];
            table.row(line.name.clone(), cells);
        }
    }
    section.tables.push(table);
    section.plots.push(Plot::Lines {
        title: format!("Deliveries, {burst} at a time"),
        across: "subscribers",
        unit: Unit::PerSecond,
        series,
    });
    Ok(())
}

/// Broadcast first, then each store.
fn entries(plan: &Plan, crowd: usize, burst: usize) -> Vec<Entry<'_>> {
    let time = plan.sample;
    let mut entries =
        vec![Entry::new(format!("broadcast to {crowd}"), move || to_broadcast(time, crowd, burst))];
    for &subject in &plan.firsts {
        let name = format!("{} to {crowd}", subject.name);
        entries.push(Entry::new(name, move || to_chat(plan, subject, crowd, burst)));
    }
    entries
}

fn goals(section: &mut Section, crowd: usize, burst: usize, ratio: &Figure, late: &Figure) {
    let what = format!("fan-out to {}, {burst} at a time, beside broadcast", count(crowd));
    section.goals.push(Goal::at_least(what, ratio, 1.0, Unit::Times));
    if burst == 1 {
        let what = format!("fan-out to {}, last delivery of a message, 99th of 100", count(crowd));
        section.goals.push(Goal::at_most(what, late, 10.0, Unit::Millis));
    }
}

/// Deliveries per second, and the last delivery of a burst in milliseconds, at the middle and late.
async fn to_chat(plan: &Plan, subject: &Subject, crowd: usize, burst: usize) -> Result<Vec<f64>> {
    let world = World::with_chats(plan, subject, 1, 3).await?;
    let reader = world.handle(0, 1)?;
    let gate = Arc::new(Gate::new(crowd));
    for number in 0..crowd {
        let mut subscription = reader.subscribe(SubscribeFrom::Now).await?;
        let gate = Arc::clone(&gate);
        tokio::spawn(async move {
            while let Some(delivery) = subscription.next().await {
                match delivery {
                    Delivery::Events(events) => gate.pass(number, events.len()),
                    // Nobody can lag: the publisher waits for the slowest.
                    Delivery::Ended(_) => return,
                    _ => {}
                }
            }
        });
    }
    // The first goes to all before the clock runs: after it all of them wait for the next.
    let author = world.handle(0, 0)?;
    let (time, load) = (plan.sample, Arc::clone(&world.load));
    let values =
        on_a_worker(
            async move { publish(time, burst, &gate, || send(&author, &load, burst)).await },
        );
    let values = values.await?;
    world.end().await?;
    Ok(values)
}

async fn send(chat: &ChatHandle, load: &Load, burst: usize) -> Result<()> {
    let messages: Vec<_> = (0..burst).map(|_| load.message()).collect::<Result<_>>()?;
    try_join_all(messages.into_iter().map(|message| chat.send(message))).await?;
    Ok(())
}

async fn to_broadcast(time: Duration, crowd: usize, burst: usize) -> Result<Vec<f64>> {
    let (sender, _) = broadcast::channel::<Arc<str>>(1_024);
    let gate = Arc::new(Gate::new(crowd));
    let readers: Vec<_> = (0..crowd)
        .map(|number| {
            let (mut receiver, gate) = (sender.subscribe(), Arc::clone(&gate));
            tokio::spawn(async move {
                while receiver.recv().await.is_ok() {
                    gate.pass(number, 1);
                }
            })
        })
        .collect();
    let values = on_a_worker(async move {
        let load = Load::new();
        publish(time, burst, &gate, || {
            let sent = (0..burst).try_for_each(|_| {
                sender.send(load.payload().into()).map(|_| ()).context("nobody listens")
            });
            std::future::ready(sent)
        })
        .await
    });
    let values = values.await?;
    join_all(readers).await;
    Ok(values)
}

/// Publishes bursts for a time; each waits for the last delivery of the one before.
async fn publish<F: Future<Output = Result<()>>>(
    time: Duration,
    burst: usize,
    gate: &Gate,
    send: impl Fn() -> F,
) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    gate.expect(burst);
    send().await?;
    gate.passed().await;
    let start = Instant::now();
    while latencies.is_empty() || start.elapsed() < time {
        let sent = Instant::now();
        gate.expect(burst);
        send().await?;
        gate.passed().await;
        latencies.push(micros(sent.elapsed()) / 1_000.0);
    }
    let deliveries = latencies.len() * burst * gate.crowd;
    let rate = deliveries as f64 / start.elapsed().as_secs_f64();
    Ok(vec![rate, percentile(&latencies, 0.5), percentile(&latencies, 0.99)])
}

/// Knows when everybody has got everything. Counts in groups, so that counting isn't what takes
/// the time.
#[derive(Debug)]
struct Gate {
    crowd: usize,
    groups: Vec<Group>,
    open: AtomicUsize,
    passed: Notify,
}

/// What the subscribers of a group still have to get; on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Group(AtomicUsize);

impl Gate {
    fn new(crowd: usize) -> Self {
        let groups = (0..crowd.min(64)).map(|_| Group(AtomicUsize::new(0))).collect();
        Self { crowd, groups, open: AtomicUsize::new(0), passed: Notify::new() }
    }

    fn expect(&self, each: usize) {
        let count = self.groups.len();
        self.open.store(count, Ordering::SeqCst);
        for (number, Group(left)) in self.groups.iter().enumerate() {
            let members = (number..self.crowd).step_by(count).count();
            left.store(members * each, Ordering::SeqCst);
        }
    }

    fn pass(&self, subscriber: usize, events: usize) {
        let Some(Group(left)) = self.groups.get(subscriber % self.groups.len()) else { return };
        let last = left.fetch_sub(events, Ordering::SeqCst) == events;
        if last && self.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.passed.notify_one();
        }
    }

    async fn passed(&self) {
        self.passed.notified().await;
    }
}

const ABOUT: &str = "\
Each subscriber is a task. The publisher sends one event (or 32 at once), waits until the last \
subscriber has it, and sends the next; beside it the same by `tokio::sync::broadcast`, whose event is \
the text of the message behind an `Arc`. An event of a chat goes all the way from the command: it is \
decided, appended and only then delivered, so that on SQLite the disk takes part in each turn. The \
last delivery counts from the call of `send` until the last subscriber has the event.";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gate_opens_with_the_last_delivery() {
        for crowd in [1, 63, 64, 65, 1_000] {
            let gate = Gate::new(crowd);
            for _ in 0..2 {
                gate.expect(3);
                for number in 0..crowd {
                    gate.pass(number, 1);
                    assert!(futures::FutureExt::now_or_never(gate.passed()).is_none());
                    gate.pass(number, 2);
                }
                gate.passed().await;
            }
        }
    }
}
