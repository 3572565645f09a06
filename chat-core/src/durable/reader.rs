//! Reads a source by pages, the log and a stream alike.

use std::sync::Arc;

use super::config::{Source, Start};
use crate::event::RecordedEvent;
use crate::id::{Epoch, PartitionId, Position, StreamId, Version};
use crate::ports::{Direction, EventStore, PageLimit, StoreError};

/// Events behind a place, and the end as it is now.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Arc<RecordedEvent>>,
    pub(super) head: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) source: Source,
}

/// How often it is looked again what a start means, while the store becomes another one.
const ATTEMPTS: u32 = 8;

impl Reader {
    pub(super) async fn page(
        &self,
        partition: PartitionId,
        after: u64,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        match &self.source {
            Source::Log => {
                let page = self.store.read_log(partition, Position(after), limit).await?;
                Ok(Page { events: page.events, head: page.head.0 })
            }
            Source::Stream(stream) => {
                let (forward, from) = (Direction::Forward, Version(after));
                let page = self.store.read_stream(stream, forward, from, limit).await?;
                Ok(Page { events: page.events, head: page.head.0 })
            }
        }
    }

    /// The place of an event in this source.
    pub(super) fn place(&self, event: &RecordedEvent) -> u64 {
        match self.source {
            Source::Log => event.position.0,
            Source::Stream(_) => event.version.0,
        }
    }

    /// The end of a partition as it is now.
    pub(super) async fn head(&self, partition: PartitionId) -> Result<u64, StoreError> {
        match &self.source {
            // Nothing lies behind the greatest position, so no event is read that may be broken.
            Source::Log => {
                let last = Position::MAX;
                Ok(self.store.read_log(partition, last, PageLimit::events(1)).await?.head.0)
            }
            Source::Stream(stream) => {
                let heads = self.store.heads(std::slice::from_ref(stream)).await?;
                Ok(heads.first().copied().unwrap_or_default().0)
            }
        }
    }

    /// The partition of this source that holds a stream.
    pub(super) fn partition_of(&self, stream: &StreamId) -> PartitionId {
        match self.source {
            Source::Log => self.store.partition_of(stream),
            Source::Stream(_) => PartitionId(0),
        }
    }

    /// How many partitions this source has.
    pub(super) fn partitions(&self, of_store: u32) -> u32 {
        match self.source {
            Source::Log => of_store,
            Source::Stream(_) => 1,
        }
    }

    /// The places that a start means now, one for each partition, and the store's incarnation that
    /// they are of.
    pub(super) async fn resolve(
        &self,
        start: &Start,
        partitions: u32,
    ) -> Result<(Epoch, Vec<u64>), StoreError> {
        for _ in 0..ATTEMPTS {
            let epoch = self.store.info().await?.epoch;
            let places = self.places(start, partitions).await?;
            if self.store.info().await?.epoch == epoch {
                return Ok((epoch, places));
            }
        }
        let what = "the store kept becoming another incarnation".into();
        Err(StoreError::Unavailable { what, source: None })
    }

    async fn places(&self, start: &Start, partitions: u32) -> Result<Vec<u64>, StoreError> {
        let mut places = Vec::new();
        for partition in (0..partitions).map(PartitionId) {
            places.push(match start {
                Start::Beginning => 0,
                Start::Now => self.head(partition).await?,
                Start::After(given) => {
                    let given = given.iter().find(|(of, _)| *of == partition);
                    given.map_or(0, |(_, position)| position.0)
                }
            });
        }
        Ok(places)
    }
}
