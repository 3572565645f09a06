//! Readers that check while others write: no gap, no double, one order for all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::fixture::{partitions, read_all, read_log};
use crate::event::RecordedEvent;
use crate::id::{EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{Direction, EventStore, PageLimit};

/// Follows one partition's log from its beginning.
#[derive(Debug)]
pub struct LogAuditor {
    store: Arc<dyn EventStore>,
    partition: PartitionId,
    after: Position,
    heads: HashMap<StreamId, Version>,
    ids: HashSet<(StreamId, EventId)>,
    seen: Vec<Arc<RecordedEvent>>,
}

impl LogAuditor {
    /// Starts before the first event.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, partition: PartitionId) -> Self {
        let (heads, ids, seen) = (HashMap::new(), HashSet::new(), Vec::new());
        Self { store, partition, after: Position::ZERO, heads, ids, seen }
    }

    /// Reads and checks one page; how many events it had.
    ///
    /// # Panics
    /// If the log has a gap, a double, a disorder, or an event elsewhere than its stream has it.
    pub async fn step(&mut self, limit: PageLimit) -> usize {
        let page = self.store.read_log(self.partition, self.after, limit).await;
        let page = page.unwrap_or_else(|error| panic!("the auditor reads the log: {error}"));
        let last = page.events.last().map_or(self.after, |event| event.position);
        assert_eq!(page.next, last, "next is the last event's position");
        assert!(page.head >= page.next, "the head {} lies before {}", page.head, page.next);
        for event in &page.events {
            self.check(event);
        }
        self.after = page.next;
        let count = page.events.len();
        self.seen.extend(page.events);
        count
    }

    fn check(&mut self, event: &RecordedEvent) {
        let (stream, position) = (&event.stream, event.position);
        let before = self.seen.last().map_or(Position::ZERO, |event| event.position);
        let floor = before.max(self.after);
        assert!(position > floor, "position {position} comes behind {floor}");
        let home = self.store.partition_of(stream);
        assert_eq!(home, self.partition, "{stream} is in the log of another partition");
        let head = self.heads.entry(stream.clone()).or_default();
        assert_eq!(event.version, head.next(), "{stream}: a gap, a double or a disorder");
        *head = event.version;
        let first = self.ids.insert((stream.clone(), event.event.id));
        assert!(first, "{stream} has {} twice", event.event.id);
    }

    /// Reads until `enough` events were seen, while others write.
    ///
    /// # Panics
    /// As [`step`](Self::step).
    pub async fn follow(&mut self, enough: usize, limit: PageLimit) {
        while self.seen.len() < enough {
            if self.step(limit).await == 0 {
                // Nothing new: let the writers write.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads the rest, now that nobody writes any more, and compares what was seen with the
    /// streams and with a second reading of the log.
    ///
    /// # Panics
    /// As [`step`](Self::step), or if an event was missed.
    pub async fn finish(mut self) -> Vec<Arc<RecordedEvent>> {
        let limit = PageLimit::events(PageLimit::MAX_EVENTS);
        while self.step(limit).await > 0 {}
        let again = read_log(&*self.store, self.partition, PageLimit::MAX_EVENTS).await;
        assert_eq!(self.seen, again, "a second reading of log {} differs", self.partition);
        let mut by_stream: HashMap<&StreamId, Vec<_>> = HashMap::new();
        for event in &self.seen {
            by_stream.entry(&event.stream).or_default().push(Arc::clone(event));
        }
        for (stream, events) in by_stream {
            let stored = read_all(&*self.store, stream).await;
            assert_eq!(events, stored, "{stream} differs from the log");
        }
        self.seen
    }
}

/// Follows one stream from its beginning, by pages, as a subscriber of a chat does.
#[derive(Debug)]
pub struct StreamAuditor {
    store: Arc<dyn EventStore>,
    stream: StreamId,
    seen: Vec<Arc<RecordedEvent>>,
}

impl StreamAuditor {
    /// Starts before the first event.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, stream: StreamId) -> Self {
        Self { store, stream, seen: Vec::new() }
    }

    /// Reads until `enough` events were seen, while others write.
    ///
    /// # Panics
    /// If the stream has a gap, a double or a disorder.
    pub async fn follow(&mut self, enough: usize, limit: PageLimit) {
        while self.seen.len() < enough {
            let from = Version(self.seen.len() as u64);
            let page = self.store.read_stream(&self.stream, Direction::Forward, from, limit).await;
            let page = page.unwrap_or_else(|error| panic!("the auditor reads a stream: {error}"));
            if page.events.is_empty() {
                tokio::task::yield_now().await;
            }
            for event in page.events {
                let next = Version(self.seen.len() as u64 + 1);
                assert_eq!(event.version, next, "{}: a gap, a double or a disorder", self.stream);
                assert!(page.head >= next, "the head {} lies before {next}", page.head);
                self.seen.push(event);
            }
        }
    }

    /// What was seen, in its order.
    #[must_use]
    pub fn into_seen(self) -> Vec<Arc<RecordedEvent>> {
        self.seen
    }
}

/// Reads a whole store that nobody writes to and checks it against itself; how many events it has.
///
/// # Panics
/// If logs and streams differ or break the contract.
pub async fn audit_all(store: &Arc<dyn EventStore>) -> usize {
    let mut count = 0;
    for partition in partitions(&**store).await {
        count += LogAuditor::new(Arc::clone(store), partition).finish().await.len();
    }
    count
}
