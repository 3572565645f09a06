//! Thirty-two writers in four processes, on one chat and on many, and a reader of the log who must
//! not miss anything. How processes are started, and what holds their commits up, is the adapter's.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::audit::LogAuditor;
use super::fixture::{event, partitions, single, stream};
use super::scenarios::world::soak;
use crate::id::Version;
use crate::ports::{EventStore, Expected, PageLimit};

/// How many processes there are, counted from zero.
pub const PROCESSES: u64 = 4;
const WRITERS: u64 = 8;

fn appends() -> u64 {
    soak(500, 25)
}

/// How many events the whole crowd writes. Numbers of the fixture's events from a billion on are
/// free for others.
#[must_use]
pub fn size() -> usize {
    let size = PROCESSES * WRITERS * appends() * 2;
    usize::try_from(size).expect("a small number")
}

/// The part of one process: writers who all write to one chat and, knowing its version, each to one
/// of its own.
///
/// # Panics
/// If an append fails or is taken for a repeat.
pub async fn write(store: &Arc<dyn EventStore>, process: u64) {
    let mut writers = JoinSet::new();
    for writer in process * WRITERS..(process + 1) * WRITERS {
        let store = Arc::clone(store);
        writers.spawn(async move {
            let (shared, own) = (stream("chat/shared"), stream(&format!("chat/own/{writer}")));
            for number in 0..appends() {
                let id = writer * 1_000_000 + number * 2;
                let appends = [
                    single(&shared, Expected::Any, vec![event(id)]),
                    single(&own, Expected::Exactly(Version(number)), vec![event(id + 1)]),
                ];
                for answer in store.append(&appends).await {
                    assert!(!answer.expect("the append").repeat);
                }
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("a writer");
    }
}

/// Reads all logs from their beginnings while the crowd writes, until its events and so many
/// `others` have come, then compares what came with the streams and a second reading.
///
/// # Panics
/// If an event is missed, is there twice or stands in another order than in its stream.
pub async fn follow(store: Arc<dyn EventStore>, others: usize) {
    let total = size() + others;
    let logs = partitions(&*store).await.into_iter();
    let mut auditors: Vec<_> =
        logs.map(|partition| LogAuditor::new(Arc::clone(&store), partition)).collect();
    let following = async {
        let mut seen = 0;
        while seen < total {
            let before = seen;
            for auditor in &mut auditors {
                seen += auditor.step(PageLimit::events(13)).await;
            }
            if seen == before {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, following).await.expect("every event comes");
    let mut seen = 0;
    for auditor in auditors {
        seen += auditor.finish().await.len();
    }
    assert_eq!(seen, total);
}

/// Longer than the long form takes on a slow machine with a slow database.
const PATIENCE: Duration = Duration::from_secs(600);
