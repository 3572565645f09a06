//! Faults of stores.

use std::sync::Arc;

use async_trait::async_trait;

use super::faulty::{Fault, Faulty};
use crate::event::RecordedEvent;
use crate::id::{EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Direction, EventStore, KeyRange, LogPage, PageLimit, StoreError,
    StoreInfo, StreamPage, ViewBatch, ViewError, ViewGet, ViewId, ViewPage, ViewStore, ViewValues,
};

fn unavailable(what: &str) -> StoreError {
    StoreError::Unavailable { what: format!("injected fault: {what}"), source: None }
}

fn unknown(what: &str) -> StoreError {
    StoreError::OutcomeUnknown { what: format!("injected fault: {what}"), source: None }
}

impl<T: ?Sized> Faulty<T> {
    async fn read<R>(
        &self,
        read: impl Future<Output = Result<R, StoreError>>,
    ) -> Result<R, StoreError> {
        self.faults.pause().await;
        if self.faults.strikes(Fault::Before) {
            return Err(unavailable("before the read"));
        }
        let answer = read.await;
        if self.faults.strikes(Fault::Lost) {
            return Err(unavailable("after the read"));
        }
        answer
    }

    /// What happens to a write of this many appends or batches.
    async fn hit(&self, items: usize) -> Hit {
        self.faults.pause().await;
        if self.faults.strikes(Fault::Before) {
            Hit::Before
        } else if self.faults.strikes(Fault::Cut) {
            Hit::Unknown { done: self.faults.below(items + 1) }
        } else if self.faults.strikes(Fault::Lost) {
            Hit::Unknown { done: items }
        } else {
            Hit::Nothing
        }
    }
}

enum Hit {
    Nothing,
    Before,
    /// The first few are done, and nobody learns of it.
    Unknown {
        done: usize,
    },
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: EventStore + ?Sized> EventStore for Faulty<T> {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        match self.hit(appends.len()).await {
            Hit::Nothing => self.inner.append(appends).await,
            Hit::Before => appends.iter().map(|_| Err(unavailable("before the append"))).collect(),
            Hit::Unknown { done } => {
                let _lost = self.inner.append(appends.get(..done).unwrap_or(appends)).await;
                appends.iter().map(|_| Err(unknown("after the append"))).collect()
            }
        }
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        self.read(self.inner.read_stream(stream, direction, from, limit)).await
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        self.read(self.inner.read_log(partition, after, limit)).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        self.read(self.inner.find(stream, id)).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        self.read(self.inner.heads(streams)).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.read(self.inner.info()).await
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.inner.partition_of(stream)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: ViewStore + ?Sized> ViewStore for Faulty<T> {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        self.read(self.inner.get(gets)).await
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        self.read(self.inner.scan(view, range, direction, limit)).await
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        match self.hit(batches.len()).await {
            Hit::Nothing => self.inner.commit(batches).await,
            Hit::Before => {
                batches.iter().map(|_| Err(unavailable("before the commit").into())).collect()
            }
            Hit::Unknown { done } => {
                let _lost = self.inner.commit(batches.get(..done).unwrap_or(batches)).await;
                batches.iter().map(|_| Err(unknown("after the commit").into())).collect()
            }
        }
    }
}
