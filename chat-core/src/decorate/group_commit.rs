//! Many callers, one transaction: appends that come while another is under way go together.

use std::sync::Arc;

use async_trait::async_trait;

use super::lane::{Lane, Limits};
use crate::event::RecordedEvent;
use crate::id::{EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Direction, EventStore, LogPage, PageLimit, StoreError, StoreInfo,
    StreamPage,
};

/// An event store that turns concurrent appends into one append of the store below.
///
/// Each partition has a lane, and a lane has at most one append of the store below under way. A
/// caller who finds the lane idle goes at once, on its own task, with what it has; no time is
/// spent waiting for company. Those who come meanwhile queue, and go together as soon as the lane
/// is free: as many as the batch holds, in the order they came.
///
/// # Cancel safety
/// As the port. Nobody's fate hangs on another caller: a batch of several callers runs on a task
/// of its own, and a caller who is dropped while it holds the lane leaves it to those who wait.
/// Appends whose caller is gone before they were sent are not sent.
///
/// # Errors
/// As the store below, and: if the runtime stops (or the store below panics) in the middle of a
/// batch, those in it get [`StoreError::OutcomeUnknown`], those behind it
/// [`StoreError::Unavailable`].
///
/// # Cost
/// Queued appends are copied (payloads are shared). A full queue makes callers wait in the order
/// they came. Outside of a Tokio runtime every call goes straight to the store below.
#[derive(Debug)]
pub struct GroupCommit<T: ?Sized> {
    lanes: Box<[Arc<Lane<T>>]>,
    inner: Arc<T>,
}

/// Partitions beyond this share lanes.
const LANES: u32 = 64;

impl<T: EventStore + ?Sized> GroupCommit<T> {
    /// Wraps a store: batches of up to 1,000 events or 4 MiB, queues of up to 16,384 events or
    /// 64 MiB for each partition.
    #[must_use]
    pub fn new(inner: Arc<T>) -> Self {
        Self::with_limits(inner, Limits::default())
    }

    /// Wraps a store with other bounds. A batch holds one call at least, however large it is, and
    /// so does the queue; the queue's bound in bytes is 4 KiB for each event.
    #[must_use]
    pub fn bounded(
        inner: Arc<T>,
        batch_events: usize,
        batch_bytes: usize,
        queue_events: u32,
    ) -> Self {
        Self::with_limits(inner, Limits { batch_events, batch_bytes, queue_events })
    }

    fn with_limits(inner: Arc<T>, limits: Limits) -> Self {
        let lane = |_| Arc::new(Lane::new(Arc::clone(&inner), limits));
        Self { lanes: (0..LANES).map(lane).collect(), inner }
    }

    /// The lane of an append is that of its first stream; what belongs together shares it.
    fn lane_of(&self, append: &Append) -> u32 {
        let first = append.writes().first();
        first.map_or(0, |write| self.inner.partition_of(&write.stream).0 % LANES)
    }

    async fn append_run(&self, run: &[Append]) -> Vec<AppendResult> {
        let lane = run.first().map_or(0, |append| self.lane_of(append));
        match self.lanes.get(usize::try_from(lane).unwrap_or(0)) {
            Some(lane) => lane.append(run).await,
            None => self.inner.append(run).await,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: EventStore + ?Sized> EventStore for GroupCommit<T> {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        // One lane is the rule. If there are several, they are served one after the other, since
        // the appends of one call take effect in their order.
        let mut runs = appends.chunk_by(|one, two| self.lane_of(one) == self.lane_of(two));
        let Some(first) = runs.next() else { return Vec::new() };
        let mut results = self.append_run(first).await;
        for run in runs {
            results.extend(self.append_run(run).await);
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
        self.inner.read_stream(stream, direction, from, limit).await
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        self.inner.read_log(partition, after, limit).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        self.inner.find(stream, id).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        self.inner.heads(streams).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.inner.info().await
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.inner.partition_of(stream)
    }
}
