//! Compares a source with its copy: everything that was copied, in both directions, in bounded
//! memory.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};

use super::compare::{by_stream, same};
use super::error::{CopyError, Difference};
use super::progress::{Place, Progress};
use crate::event::RecordedEvent;
use crate::id::{PartitionId, Position, StreamId, Version};
use crate::ports::{EventStore, PageLimit};

/// What was compared and found the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Streams.
    pub streams: u64,
    /// Events.
    pub events: u64,
    /// Bytes of the events, as [`NewEvent::size`](crate::NewEvent::size) counts.
    pub bytes: u64,
}

/// Streams of one page that are read from the target at once.
const READS_AT_ONCE: usize = 16;

pub(super) async fn verify(
    source: &dyn EventStore,
    target: &dyn EventStore,
    places: &[Place],
    page: PageLimit,
    on_page: impl FnMut(&Progress) + Send,
) -> Result<Verified, CopyError> {
    let copied: u64 = places.iter().map(|place| place.done.0).sum();
    let partitions = target.info().await.map_err(CopyError::Target)?.partitions;
    let mut total = copied;
    for partition in (0..partitions).map(PartitionId) {
        let page = target.read_log(partition, Position::ZERO, PageLimit::events(1)).await;
        total += page.map_err(CopyError::Target)?.head.0;
    }
    let mut pass = Pass {
        source,
        target,
        page,
        found: Verified::default(),
        listed: 0,
        progress: Progress { total, ..Progress::default() },
        on_page,
    };
    for (partition, place) in (0..).map(PartitionId).zip(places) {
        pass.all_copied(partition, place.done).await?;
    }
    for partition in (0..partitions).map(PartitionId) {
        pass.nothing_else(partition).await?;
    }
    pass.counted()?;
    Ok(pass.found)
}

struct Pass<'a, F> {
    source: &'a dyn EventStore,
    target: &'a dyn EventStore,
    page: PageLimit,
    found: Verified,
    /// Events in the target's logs.
    listed: u64,
    progress: Progress,
    on_page: F,
}

impl<F: FnMut(&Progress) + Send> Pass<'_, F> {
    /// Every event of a partition of the source, up to a position, is in the target, in its order.
    async fn all_copied(
        &mut self,
        partition: PartitionId,
        until: Position,
    ) -> Result<(), CopyError> {
        let mut after = Position::ZERO;
        let mut last: HashMap<PartitionId, Position> = HashMap::new();
        while after < until {
            let page = self.source.read_log(partition, after, self.page).await;
            let mut events = page.map_err(CopyError::Source)?.events;
            events.retain(|event| event.position <= until);
            let Some(end) = events.last().map(|event| event.position) else { return Ok(()) };
            self.in_order(&events, &mut last).await?;
            let bytes: usize = events.iter().map(|event| event.event.size()).sum();
            let firsts = events.iter().filter(|event| event.version == Version(1)).count();
            self.found.streams += firsts as u64;
            self.found.events += events.len() as u64;
            self.found.bytes += bytes as u64;
            self.tell(end.0 - after.0);
            after = end;
        }
        Ok(())
    }

    /// A page of the source is in the target, and in each of its partitions behind what came before.
    async fn in_order(
        &self,
        events: &[Arc<RecordedEvent>],
        last: &mut HashMap<PartitionId, Position>,
    ) -> Result<(), CopyError> {
        let reads = futures::stream::iter(by_stream(events)).map(|events| async move {
            let positions = same(self.target, &events).await?;
            Ok::<_, CopyError>(events.into_iter().zip(positions).collect::<Vec<_>>())
        });
        let found: Vec<_> = reads.buffered(READS_AT_ONCE).try_collect().await?;
        let mut found: Vec<_> = found.into_iter().flatten().collect();
        found.sort_unstable_by_key(|(event, _)| event.position);
        for (event, position) in found {
            let partition = self.target.partition_of(&event.stream);
            if last.insert(partition, position).is_some_and(|before| before >= position) {
                let (stream, version) = (event.stream.clone(), event.version);
                return Err(Difference::OtherOrder { stream, version, partition }.into());
            }
        }
        Ok(())
    }

    /// A partition of the target holds nothing that the source does not.
    async fn nothing_else(&mut self, partition: PartitionId) -> Result<(), CopyError> {
        let mut after = Position::ZERO;
        loop {
            let page = self.target.read_log(partition, after, self.page).await;
            let page = page.map_err(CopyError::Target)?;
            if page.events.is_empty() {
                return Ok(());
            }
            self.known_to_source(&page.events).await?;
            self.listed += page.events.len() as u64;
            self.tell(page.next.0 - after.0);
            after = page.next;
        }
    }

    /// The target's logs hold what its streams hold.
    fn counted(&self) -> Result<(), Difference> {
        let (expected, found) = (self.found.events, self.listed);
        if found == expected { Ok(()) } else { Err(Difference::OtherCount { expected, found }) }
    }

    async fn known_to_source(&self, events: &[Arc<RecordedEvent>]) -> Result<(), CopyError> {
        let streams = by_stream(events);
        let lasts = || streams.iter().filter_map(|events| events.last());
        let names: Vec<StreamId> = lasts().map(|event| event.stream.clone()).collect();
        let heads = self.source.heads(&names).await.map_err(CopyError::Source)?;
        for (last, head) in lasts().zip(heads) {
            if last.version > head {
                let (stream, version) = (last.stream.clone(), last.version);
                return Err(Difference::Extra { stream, version }.into());
            }
        }
        Ok(())
    }

    fn tell(&mut self, positions: u64) {
        self.progress.events = self.found.events;
        self.progress.bytes = self.found.bytes;
        self.progress.position += positions;
        (self.on_page)(&self.progress);
    }
}
