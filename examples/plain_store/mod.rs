//! The contract of `EventStore`, kept by a list under a lock. Every question is answered by looking
//! through the list, so that each rule is one expression.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chat_core::ports::{
    Append, AppendResult, Appended, Direction, Durability, EventStore, LogPage, PageLimit,
    StoreError, StoreInfo, StreamPage, WrittenStream,
};
use chat_core::{Epoch, EventId, PartitionId, Position, RecordedEvent, StreamId, Version};
use uuid::Uuid;

/// A clone is another handle on the same list.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlainStore {
    log: Arc<Mutex<Vec<Arc<RecordedEvent>>>>,
}

type Log = Vec<Arc<RecordedEvent>>;

fn stream<'a>(log: &'a Log, name: &'a StreamId) -> impl Iterator<Item = &'a Arc<RecordedEvent>> {
    log.iter().filter(move |event| event.stream == *name)
}

fn head(log: &Log, name: &StreamId) -> Version {
    Version(stream(log, name).count() as u64)
}

fn append_one(log: &mut Log, append: &Append) -> AppendResult {
    // Guarantee 5 comes first: has all of this happened before?
    let mut known = Vec::new();
    for write in append.writes() {
        for event in &write.events {
            let found = stream(log, &write.stream).find(|stored| stored.event.id == event.id);
            known.push((write, event, found.cloned()));
        }
    }
    let first_known = known.iter().find(|(.., found)| found.is_some());
    let repeat = first_known.is_some();
    if let Some((write, event, _)) = first_known
        && known.iter().any(|(.., found)| found.is_none())
    {
        return Err(StoreError::IdReused { stream: write.stream.clone(), id: event.id });
    }
    let mut before: Option<(&StreamId, Version)> = None;
    for (write, event, found) in &known {
        let Some(stored) = found else { continue };
        let follows = before.is_none_or(|(stream, version)| {
            *stream != write.stream || stored.version == version.next()
        });
        if !follows || !stored.event.same_content(event) {
            return Err(StoreError::IdReused { stream: write.stream.clone(), id: event.id });
        }
        before = Some((&write.stream, stored.version));
    }
    // Guarantee 4: every expectation, before anything is written.
    let writes = append.writes().iter().map(|write| (&write.stream, write.expected));
    let guards = append.guards().iter().map(|guard| (&guard.stream, guard.expected));
    for (stream, expected) in writes.chain(guards).filter(|_| !repeat) {
        let actual = head(log, stream);
        if !expected.holds(actual) {
            return Err(StoreError::Conflict { stream: stream.clone(), expected, actual });
        }
    }
    let mut streams = Vec::new();
    for write in append.writes() {
        for event in write.events.iter().filter(|_| !repeat) {
            log.push(Arc::new(RecordedEvent {
                stream: write.stream.clone(),
                version: head(log, &write.stream).next(),
                position: Position(log.len() as u64 + 1),
                event: event.clone(),
            }));
        }
        let ids: Vec<EventId> = write.events.iter().map(|event| event.id).collect();
        let mut landed = stream(log, &write.stream).filter(|stored| ids.contains(&stored.event.id));
        let bug = || StoreError::Bug { what: "an event that was written is not there".into() };
        let first = landed.next().ok_or_else(bug)?;
        let last = landed.last().unwrap_or(first);
        let (first, last, position) = (first.version, last.version, last.position);
        streams.push(WrittenStream { first, last, position });
    }
    Ok(Appended { streams, repeat })
}

#[async_trait]
impl EventStore for PlainStore {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        appends.iter().map(|append| append_one(&mut log, append)).collect()
    }

    async fn read_stream(
        &self,
        name: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events: Log = match direction {
            Direction::Forward => {
                stream(&log, name).filter(|e| e.version > from).cloned().collect()
            }
            Direction::Backward => {
                stream(&log, name).filter(|e| e.version < from).cloned().collect()
            }
        };
        if direction == Direction::Backward {
            events.reverse();
        }
        limit.cut(&mut events);
        Ok(StreamPage { events, head: head(&log, name) })
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        if partition != PartitionId(0) {
            return Err(StoreError::Invalid { what: format!("partition {partition} of 1") });
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events: Log = log.iter().filter(|e| e.position > after).cloned().collect();
        limit.cut(&mut events);
        let next = events.last().map_or(after, |event| event.position);
        Ok(LogPage { events, next, head: Position(log.len() as u64) })
    }

    async fn find(
        &self,
        name: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stream(&log, name).find(|stored| stored.event.id == id).cloned())
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(streams.iter().map(|name| head(&log, name)).collect())
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let (epoch, durability) = (Epoch(Uuid::nil()), Durability::Process);
        Ok(StoreInfo { epoch, partitions: 1, durability })
    }

    fn partition_of(&self, _: &StreamId) -> PartitionId {
        PartitionId(0)
    }
}
