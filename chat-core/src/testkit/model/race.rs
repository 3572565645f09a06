//! Histories of many callers at once. Their order is the store's; what is checked is that there is
//! one order in which every answer is right, namely that of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::Mismatch;
use super::history::{Record, examine};
use crate::decorate::dice::Dice;
use crate::id::{StreamId, Version};
use crate::ports::{Append, EventStore, EventStoreExt as _, Expected};
use crate::testkit::StoreHarness;
use crate::testkit::fixture::{event, events, multi, single, stream};

/// What a race came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RaceReport {
    /// Appends that were sent.
    pub sent: usize,
    /// Appends that are in the store.
    pub done: usize,
    /// Events in the store.
    pub events: usize,
}

const WRITERS: u64 = 6;
const ROUNDS: u64 = 12;

/// Lets callers race on an empty store, as the seed says, and examines the result.
///
/// # Errors
/// [`Mismatch`] with what is inconsistent.
///
/// # Panics
/// If the store cannot be read, or its logs and streams contradict each other.
pub async fn race_seed(harness: &dyn StoreHarness, seed: u64) -> Result<RaceReport, Mismatch> {
    let clock = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let dice = Dice::new(seed.wrapping_mul(WRITERS).wrapping_add(writer));
        let store = harness.open().await;
        let writer = Writer { writer, store, dice, clock: Arc::clone(&clock) };
        writers.spawn(writer.run());
    }
    let records: Vec<Record> = writers.join_all().await.into_iter().flatten().collect();
    let store = harness.open().await;
    let report = examine(&store, &records).await;
    report.map_err(|what| Mismatch { step: 0, what })
}

struct Writer {
    writer: u64,
    store: Arc<dyn EventStore>,
    dice: Dice,
    /// Ticks before and after each call: which call ended before which began.
    clock: Arc<AtomicU64>,
}

impl Writer {
    async fn run(self) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        for round in 0..ROUNDS {
            let number = (self.writer * ROUNDS + round) * 10 + 1_000;
            let append = match records.len() {
                0 => self.plan(number).await,
                // Now and then something of one's own once more.
                sent if self.dice.happens(0.2) => records[self.dice.below(sent)].append.clone(),
                _ => self.plan(number).await,
            };
            if self.dice.happens(0.5) {
                // What was read meanwhile may be out of date when it is acted on.
                tokio::task::yield_now().await;
            }
            let began = self.clock.fetch_add(1, Ordering::SeqCst);
            let result = self.store.append_one(append.clone()).await;
            let ended = self.clock.fetch_add(1, Ordering::SeqCst);
            records.push(Record { append, result, began, ended });
        }
        records
    }

    async fn plan(&self, number: u64) -> Append {
        let names: [StreamId; 3] = ["1/{one}", "2/{one}", "3/{one}"].map(stream);
        let (one, two) = (&names[self.dice.below(3)], self.dice.below(3));
        let two = if names[two] == *one { &names[(two + 1) % 3] } else { &names[two] };
        let count = self.dice.below(3) as u64;
        let new = || events(number..=number + count);
        match self.dice.below(7) {
            0 => single(one, Expected::Any, new()),
            1 => single(one, self.head(one).await, new()),
            2 => single(&stream("5"), Expected::Any, new()),
            // An append that several writers send: the same ids and content.
            3 => single(one, Expected::Any, events([self.dice.below(8) as u64 * 3 + index(one)])),
            4 => {
                let guard = (two, self.head(two).await);
                multi(vec![(one, Expected::Any, new())], vec![guard])
            }
            5 => {
                let writes = vec![
                    (one, self.head(one).await, new()),
                    (two, Expected::Any, vec![event(number + 5)]),
                ];
                multi(writes, vec![])
            }
            _ => single(&stream(&format!("new/{}", number % 7)), Expected::NoStream, new()),
        }
    }

    async fn head(&self, name: &StreamId) -> Expected {
        let head: Version = self.store.head(name).await.expect("a head");
        Expected::Exactly(head)
    }
}

/// Shared ids belong to one stream each.
fn index(name: &StreamId) -> u64 {
    u64::from(name.as_str().as_bytes()[0] - b'1')
}
