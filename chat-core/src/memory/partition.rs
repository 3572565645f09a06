//! One partition of the memory store: its streams and its log, behind one lock that the store
//! holds. All rules of an append stand here; nothing here waits.

use std::sync::Arc;

use super::hash::KeyedMap;
use crate::event::RecordedEvent;
use crate::id::{EventId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Appended, Direction, LogPage, PageLimit, StoreError, StreamPage,
    StreamWrite, WrittenStream,
};

/// Every position that is a multiple of this is left out, so that nobody comes to rely on
/// positions without holes, which the contract does not promise.
const HOLE_EVERY: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct Partition {
    streams: KeyedMap<StreamId, Stream>,
    log: Vec<Arc<RecordedEvent>>,
}

#[derive(Debug)]
struct Stream {
    /// Shared by its events; the names that callers bring are copies of their own.
    name: StreamId,
    events: Vec<Arc<RecordedEvent>>,
    versions: KeyedMap<EventId, Version>,
}

impl Partition {
    pub(super) fn append(&mut self, append: &Append) -> AppendResult {
        if let Some(repeat) = self.repeat(append)? {
            return Ok(repeat);
        }
        let writes = append.writes().iter().map(|write| (&write.stream, write.expected));
        let guards = append.guards().iter().map(|guard| (&guard.stream, guard.expected));
        for (stream, expected) in writes.chain(guards) {
            let actual = self.head(stream);
            if !expected.holds(actual) {
                return Err(StoreError::Conflict { stream: stream.clone(), expected, actual });
            }
        }
        let streams = append.writes().iter().map(|write| self.write(write)).collect();
        Ok(Appended { streams, repeat: false })
    }

    /// The first answer, if the append is a repeat (guarantee 5).
    fn repeat(&self, append: &Append) -> Result<Option<Appended>, StoreError> {
        let mut known = None;
        let mut all = true;
        for write in append.writes() {
            let stream = self.streams.get(&write.stream);
            for event in &write.events {
                let found = stream.and_then(|stream| stream.versions.get(&event.id));
                if found.is_some() {
                    known = known.or(Some((&write.stream, event.id)));
                }
                all &= found.is_some();
            }
        }
        let Some((stream, id)) = known else { return Ok(None) };
        if !all {
            return Err(StoreError::IdReused { stream: stream.clone(), id });
        }
        let standing = append.writes().iter().map(|write| self.standing(write));
        let streams = standing.collect::<Result<_, _>>()?;
        Ok(Some(Appended { streams, repeat: true }))
    }

    /// Where a write stands already: as one run, in its order, with its content.
    fn standing(&self, write: &StreamWrite) -> Result<WrittenStream, StoreError> {
        let mut expected: Option<Version> = None;
        let mut run: Option<WrittenStream> = None;
        for event in &write.events {
            let reused = || StoreError::IdReused { stream: write.stream.clone(), id: event.id };
            let stored = self.event(&write.stream, event.id).ok_or_else(reused)?;
            let in_order = expected.is_none_or(|version| version == stored.version);
            if !in_order || !stored.event.same_content(event) {
                return Err(reused());
            }
            expected = Some(stored.version.next());
            let (last, position) = (stored.version, stored.position);
            let first = run.map_or(last, |run| run.first);
            run = Some(WrittenStream { first, last, position });
        }
        run.ok_or_else(|| StoreError::Bug { what: "a write without events".into() })
    }

    fn write(&mut self, write: &StreamWrite) -> WrittenStream {
        // All maps of a partition share its secret: making one costs as much as an append.
        let hash = *self.streams.hasher();
        let stream = self.streams.entry(write.stream.clone()).or_insert_with_key(|name| Stream {
            name: name.clone(),
            events: Vec::new(),
            versions: KeyedMap::with_hasher(hash),
        });
        let first = Version(stream.events.len() as u64).next();
        let mut written = WrittenStream { first, last: first, position: Position::ZERO };
        let mut version = first;
        for event in &write.events {
            let position = position_of(self.log.len());
            let recorded = Arc::new(RecordedEvent {
                stream: stream.name.clone(),
                version,
                position,
                event: event.clone(),
            });
            stream.versions.insert(event.id, version);
            stream.events.push(Arc::clone(&recorded));
            self.log.push(recorded);
            written = WrittenStream { first, last: version, position };
            version = version.next();
        }
        written
    }

    pub(super) fn head(&self, stream: &StreamId) -> Version {
        self.streams.get(stream).map_or(Version::ZERO, |stream| Version(stream.events.len() as u64))
    }

    pub(super) fn event(&self, stream: &StreamId, id: EventId) -> Option<&Arc<RecordedEvent>> {
        let stream = self.streams.get(stream)?;
        let version = stream.versions.get(&id)?;
        stream.events.get(index(version.0).checked_sub(1)?)
    }

    pub(super) fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> StreamPage {
        let Some(stream) = self.streams.get(stream) else {
            return StreamPage { events: Vec::new(), head: Version::ZERO };
        };
        let all = stream.events.as_slice();
        let events = match direction {
            Direction::Forward => page(all.get(index(from.0)..).unwrap_or_default().iter(), limit),
            Direction::Backward => {
                let before = index(from.0).saturating_sub(1).min(all.len());
                page(all.get(..before).unwrap_or_default().iter().rev(), limit)
            }
        };
        StreamPage { events, head: Version(all.len() as u64) }
    }

    pub(super) fn read_log(&self, after: Position, limit: PageLimit) -> LogPage {
        let seen = index(after.0 - after.0 / HOLE_EVERY);
        let events = page(self.log.get(seen..).unwrap_or_default().iter(), limit);
        let next = events.last().map_or(after, |event| event.position);
        let head = self.log.last().map_or(Position::ZERO, |event| event.position);
        LogPage { events, next, head }
    }
}

/// The position of the event with this index in the log.
fn position_of(index: usize) -> Position {
    let index = index as u64;
    Position(index + index / (HOLE_EVERY - 1) + 1)
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// As [`PageLimit::cut`], without first taking what is cut off.
fn page<'a>(
    events: impl Iterator<Item = &'a Arc<RecordedEvent>>,
    limit: PageLimit,
) -> Vec<Arc<RecordedEvent>> {
    let mut page = Vec::new();
    let mut bytes = 0_usize;
    for event in events.take(limit.clamped_events()) {
        page.push(Arc::clone(event));
        bytes = bytes.saturating_add(event.event.size());
        if bytes >= limit.bytes {
            break;
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_rise_leave_holes_and_lead_back_to_their_index() {
        let mut before = 0;
        for index in 0..1_000 {
            let Position(position) = position_of(index);
            assert!(position > before && position % HOLE_EVERY != 0);
            let after_it = position - position / HOLE_EVERY;
            assert_eq!(after_it, index as u64 + 1, "events up to position {position}");
            before = position;
        }
    }
}
