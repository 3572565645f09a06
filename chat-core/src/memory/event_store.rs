//! Event streams in the memory of one process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use uuid::Uuid;

use super::hash::stable_hash;
use super::partition::Partition;
use crate::event::RecordedEvent;
use crate::id::{Epoch, EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Direction, Durability, EventStore, LogPage, PageLimit, StoreError,
    StoreInfo, StreamPage,
};

/// An [`EventStore`] that lives and dies with the process.
///
/// A clone is a second handle on the same data. It reads the contract at its strictest: streams
/// whose keys fall into different partitions cannot be written together, positions have holes,
/// and one id in two streams is two events.
///
/// ```
/// # use chat_core::{memory::MemoryEventStore, ports::*, *};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryEventStore::new();
/// let event = NewEvent {
///     id: RandomIds.event_id(SystemClock.now()),
///     event_type: EventType::from_static("greeted"),
///     schema_version: 1,
///     recorded_at: SystemClock.now(),
///     payload: Json::encode(&"hello")?,
///     metadata: None,
/// };
/// let append = Append::single(StreamId::new("chat/lobby")?, Expected::NoStream, vec![event])?;
/// let first = store.append_one(append.clone()).await?;
/// let again = store.append_one(append).await?;
/// assert_eq!(first.streams, again.streams);
/// assert!(again.repeat && !first.repeat);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct MemoryEventStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: Box<[Mutex<Partition>]>,
    epoch: RwLock<Epoch>,
}

impl MemoryEventStore {
    /// An empty store with one partition.
    #[must_use]
    pub fn new() -> Self {
        Self::with_partitions(1)
    }

    /// An empty store with this many partitions, at least one.
    #[must_use]
    pub fn with_partitions(partitions: u32) -> Self {
        let partitions = (0..partitions.max(1)).map(|_| Mutex::default()).collect();
        Self(Arc::new(Shared { partitions, epoch: RwLock::new(Epoch(Uuid::new_v4())) }))
    }

    /// Starts a new incarnation, as a restored backup would; every handle sees it.
    pub fn renew_epoch(&self) {
        *self.0.epoch.write().unwrap_or_else(PoisonError::into_inner) = Epoch(Uuid::new_v4());
    }

    fn count(&self) -> u32 {
        u32::try_from(self.0.partitions.len()).unwrap_or(u32::MAX)
    }

    /// The streams that must be written together, checked to be in one partition.
    fn partition_of_append(&self, append: &Append) -> Result<PartitionId, StoreError> {
        let written = append.writes().iter().map(|write| &write.stream);
        let mut streams = written.chain(append.guards().iter().map(|guard| &guard.stream));
        let Some(first) = streams.next() else {
            return Err(StoreError::Bug { what: "an append without writes".into() });
        };
        let partition = self.partition_of(first);
        match streams.find(|stream| self.partition_of(stream) != partition) {
            None => Ok(partition),
            Some(second) => {
                Err(StoreError::CrossPartition { first: first.clone(), second: second.clone() })
            }
        }
    }

    fn lock(&self, partition: PartitionId) -> Result<MutexGuard<'_, Partition>, StoreError> {
        let count = self.count();
        let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
        let Some(partition) = self.0.partitions.get(index) else {
            let what = format!("partition {partition}, the store has {count}");
            return Err(StoreError::Invalid { what });
        };
        partition.lock().map_err(|_| poisoned(index))
    }
}

/// A panic while the lock was held may have left half an append: nothing more is answered.
fn poisoned(partition: usize) -> StoreError {
    StoreError::Bug { what: format!("a panic broke partition {partition} of the memory store") }
}

impl Default for MemoryEventStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl EventStore for MemoryEventStore {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        fair_share().await;
        let mut results = Vec::with_capacity(appends.len());
        let mut held: Option<(PartitionId, MutexGuard<'_, Partition>)> = None;
        for append in appends {
            let result = self.partition_of_append(append).and_then(|wanted| {
                if held.as_ref().is_none_or(|(partition, _)| *partition != wanted) {
                    // The old lock goes before the new one is taken, else two calls could wait
                    // for each other.
                    held = None;
                    held = Some((wanted, self.lock(wanted)?));
                }
                match &mut held {
                    Some((_, partition)) => partition.append(append),
                    None => Err(poisoned(0)),
                }
            });
            results.push(result);
        }
        results
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        fair_share().await;
        Ok(self.lock(self.partition_of(stream))?.read_stream(stream, direction, from, limit))
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        fair_share().await;
        Ok(self.lock(partition)?.read_log(after, limit))
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        fair_share().await;
        Ok(self.lock(self.partition_of(stream))?.event(stream, id).cloned())
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        fair_share().await;
        // One look over several partitions needs all their locks, taken in one order everywhere.
        let mut wanted: Vec<_> = streams.iter().map(|stream| self.partition_of(stream)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut held = Vec::with_capacity(wanted.len());
        for partition in wanted {
            held.push((partition, self.lock(partition)?));
        }
        let head = |stream: &StreamId| {
            let partition = self.partition_of(stream);
            let found = held.binary_search_by_key(&partition, |(id, _)| *id).ok();
            let guard = found.and_then(|index| held.get(index));
            guard.map_or(Version::ZERO, |(_, partition)| partition.head(stream))
        };
        Ok(streams.iter().map(head).collect())
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        fair_share().await;
        let epoch = *self.0.epoch.read().unwrap_or_else(PoisonError::into_inner);
        Ok(StoreInfo { epoch, partitions: self.count(), durability: Durability::Process })
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        // Most stores have one partition; they need no hash.
        match self.count() {
            0 | 1 => PartitionId(0),
            count => PartitionId(stable_hash(stream.partition_key()) % count),
        }
    }
}

/// Lets other tasks run now and then: a caller in a loop would never wait here, and so would
/// keep its thread for itself.
pub(super) async fn fair_share() {
    tokio::task::coop::consume_budget().await;
}
