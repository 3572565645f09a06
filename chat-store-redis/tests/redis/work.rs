//! Chats that are written to and followed while servers come and go. Every chat has one writer,
//! which repeats an append until its outcome is known.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_core::ports::{EventStore as _, Expected, LogPage, PageLimit, StoreError};
use chat_core::testkit::fixture::{
    event, event_id, partitions, read_all, read_log, single, stream,
};
use chat_core::{Epoch, EventId, PartitionId, Position, RecordedEvent, StreamId, Version};
use chat_store_redis::RedisStore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Place, SOON, settled};

/// What was acknowledged to the writer of one chat, in that order.
pub(crate) struct Written {
    stream: StreamId,
    acknowledged: Vec<(EventId, Version)>,
}

/// Writers and followers at work.
pub(crate) struct Work {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    writers: JoinSet<Written>,
    followers: JoinSet<Follower>,
}

const CHATS: u64 = 100;
const HANDLES: usize = 4;

impl Work {
    /// Starts writers of so many chats over several handles, and a follower of each log.
    pub(crate) async fn start(place: &Place) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut handles = Vec::new();
        for _ in 0..HANDLES {
            handles.push(place.open().await);
        }
        let mut writers = JoinSet::new();
        for (chat, store) in (0..CHATS).zip(handles.iter().cycle()) {
            writers.spawn(write(store.clone(), chat, Arc::clone(&stop), Arc::clone(&count)));
        }
        let reader = place.open().await;
        let mut followers = JoinSet::new();
        for partition in partitions(&reader).await {
            let follower = Follower::new(reader.clone(), partition);
            followers.spawn(follower.follow(Arc::clone(&stop)));
        }
        Self { stop, count, writers, followers }
    }

    /// Waits until so many more appends were acknowledged.
    pub(crate) async fn more(&self, appends: u64) {
        let wanted = self.count.load(Ordering::Relaxed) + appends;
        let until = Instant::now() + SOON;
        while self.count.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < until, "{appends} more appends take too long");
            tokio::time::sleep(PACE).await;
        }
    }

    /// Ends the work; the followers must have seen what is there, in order and once.
    pub(crate) async fn end(self) -> Vec<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.writers.join_all().await;
        for follower in self.followers.join_all().await {
            follower.finish().await;
        }
        written
    }
}

async fn write(
    store: RedisStore,
    chat: u64,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Written {
    let stream = stream(&format!("chat/{chat}"));
    let mut acknowledged = Vec::new();
    for number in chat * 1_000_000.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let append = single(&stream, Expected::Any, vec![event(number)]);
        let appended = settled(&store, append).await;
        acknowledged.push((event_id(number), appended.streams[0].first));
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
    Written { stream, acknowledged }
}

/// Reads a log from its beginning, and once more from there when a new epoch begins.
struct Follower {
    store: RedisStore,
    partition: PartitionId,
    epoch: Option<Epoch>,
    after: Position,
    seen: Vec<Arc<RecordedEvent>>,
}

impl Follower {
    fn new(store: RedisStore, partition: PartitionId) -> Self {
        Self { store, partition, epoch: None, after: Position::ZERO, seen: Vec::new() }
    }

    async fn follow(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            self.step().await;
            tokio::time::sleep(PACE).await;
        }
        self
    }

    /// One page; how many events it had.
    async fn step(&mut self) -> usize {
        match self.page().await {
            Ok(page) => {
                self.after = page.next;
                let count = page.events.len();
                self.seen.extend(page.events);
                count
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                1
            }
        }
    }

    async fn page(&mut self) -> Result<LogPage, StoreError> {
        let epoch = self.store.info().await?.epoch;
        if self.epoch != Some(epoch) {
            (self.epoch, self.after) = (Some(epoch), Position::ZERO);
            self.seen.clear();
        }
        self.store.read_log(self.partition, self.after, PageLimit::events(100)).await
    }

    async fn finish(mut self) {
        while self.step().await > 0 {}
        let again = read_log(&self.store, self.partition, PageLimit::MAX_EVENTS).await;
        assert_eq!(self.seen.len(), again.len(), "the log of {}", self.partition);
        assert_eq!(self.seen, again, "the log of {}", self.partition);
    }
}

/// How many acknowledged events are gone. The others stand where their writers were told; each
/// chat is whole, and what is gone of it was its tail at some moment.
pub(crate) async fn lost(place: &Place, written: &[Written]) -> usize {
    let store = place.open().await;
    let mut gone = 0;
    for Written { stream, acknowledged } in written {
        let events = read_all(&store, stream).await;
        let there: HashMap<_, _> =
            events.iter().map(|event| (event.event.id, event.version)).collect();
        assert_eq!(there.len(), events.len(), "{stream} has an event twice");
        let mut tail = None;
        for (id, version) in acknowledged {
            match there.get(id) {
                Some(found) => {
                    assert_eq!(found, version, "{stream}: {id} is elsewhere");
                    let next = tail.take().unwrap_or(version);
                    assert_eq!(version, next, "{stream} goes on where its tail was lost");
                }
                None => {
                    gone += 1;
                    tail = tail.or(Some(version));
                }
            }
        }
    }
    chat_core::testkit::audit::audit_all(&store.events()).await;
    gone
}

/// Between two steps of one task: the servers shall have something to do, not the disk be filled.
const PACE: Duration = Duration::from_millis(5);
