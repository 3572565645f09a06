//! Decides a batch of appends in memory, from what is known of the database: the end of the log,
//! the heads of streams, and (if they were looked up) the events that have its ids already. Knows
//! no connection.

use std::collections::HashMap;

use chat_core::ports::{Append, AppendResult, Appended, StoreError, StreamWrite, WrittenStream};
use chat_core::{EventId, NewEvent, Position, StreamId, Version};

use super::heads::Memory;

/// An event of the database that has an id of the batch.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) stream: StreamId,
    pub(super) version: Version,
    pub(super) position: Position,
    pub(super) event_type: String,
    pub(super) schema_version: u64,
    pub(super) payload: String,
}

/// The events that have ids of the batch.
pub(super) type StoredIds = HashMap<EventId, Stored>;

/// A row to be inserted.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRow<'a> {
    pub(super) position: u64,
    pub(super) stream: &'a StreamId,
    pub(super) version: u64,
    pub(super) event: &'a NewEvent,
}

/// What a batch comes to, if the database is as it was thought to be.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) rows: Vec<NewRow<'a>>,
    pub(super) answers: Vec<AppendResult>,
    /// Where the log and the streams end then.
    last: u64,
    heads: HashMap<&'a StreamId, u64>,
}

impl Plan<'_> {
    /// Remembers the database as it is now that the plan was carried out.
    pub(super) fn keep(&self, memory: &mut Memory) {
        memory.last = Some(self.last);
        for (stream, head) in &self.heads {
            memory.heads.put(stream, *head);
        }
    }
}

/// Decides the appends in their order; `None` if the ids must be looked up first, because not
/// everything holds and a repeat is answered as such whatever was expected.
///
/// The memory must know the end of the log and the head of each stream that is guarded or written,
/// except of those that a write expects not to exist: the insert finds out.
pub(super) fn plan<'a>(
    appends: &'a [Append],
    memory: &mut Memory,
    stored: Option<&StoredIds>,
) -> Option<Plan<'a>> {
    let last = memory.last.unwrap_or_default();
    let plan = Plan {
        rows: Vec::new(),
        answers: Vec::with_capacity(appends.len()),
        last,
        heads: HashMap::new(),
    };
    let mut planner = Planner { plan, memory, stored, ids: HashMap::new() };
    for append in appends {
        let answer = planner.decide(append)?;
        planner.plan.answers.push(answer);
    }
    Some(planner.plan)
}

struct Planner<'a, 'm> {
    plan: Plan<'a>,
    memory: &'m mut Memory,
    stored: Option<&'m StoredIds>,
    /// Ids of the plan's own rows, by their place among them.
    ids: HashMap<EventId, usize>,
}

/// Where an event with the id asked for stands.
#[derive(Clone, Copy)]
struct Found<'f> {
    stream: &'f StreamId,
    version: Version,
    position: Position,
    same_content: bool,
}

impl<'a> Planner<'a, '_> {
    fn decide(&mut self, append: &'a Append) -> Option<AppendResult> {
        match self.repeat(append) {
            Err(error) => return Some(Err(error)),
            Ok(Some(first)) => return Some(Ok(first)),
            Ok(None) => {}
        }
        if let Err(conflict) = self.check(append) {
            return self.stored.map(|_| Err(conflict));
        }
        let streams = append.writes().iter().map(|write| self.write(write)).collect();
        Some(Ok(Appended { streams, repeat: false }))
    }

    /// Checks the expectations of all writes and guards.
    fn check(&mut self, append: &'a Append) -> Result<(), StoreError> {
        let writes = append.writes().iter().map(|write| (&write.stream, write.expected));
        let guards = append.guards().iter().map(|guard| (&guard.stream, guard.expected));
        for (stream, expected) in writes.chain(guards) {
            let actual = Version(self.head(stream));
            if !expected.holds(actual) {
                return Err(StoreError::Conflict { stream: stream.clone(), expected, actual });
            }
        }
        Ok(())
    }

    /// The first answer, if all ids stand already where the append would put them, `None` if none
    /// does; anything else is refused.
    fn repeat(&self, append: &Append) -> Result<Option<Appended>, StoreError> {
        let events = || {
            let writes = append.writes().iter();
            writes.flat_map(|write| write.events.iter().map(move |event| (write, event)))
        };
        let Some((write, event)) = events().find(|(_, event)| self.find(event).is_some()) else {
            return Ok(None);
        };
        if events().any(|(_, event)| self.find(event).is_none()) {
            return Err(reused(write, event));
        }
        let mut streams = Vec::with_capacity(append.writes().len());
        for write in append.writes() {
            let mut run: Option<WrittenStream> = None;
            for event in &write.events {
                let stands = self.find(event).filter(|found| {
                    let in_order = run.is_none_or(|run| run.last.next() == found.version);
                    in_order && *found.stream == write.stream && found.same_content
                });
                let Some(Found { version, position, .. }) = stands else {
                    return Err(reused(write, event));
                };
                let first = run.map_or(version, |run| run.first);
                run = Some(WrittenStream { first, last: version, position });
            }
            streams.extend(run);
        }
        Ok(Some(Appended { streams, repeat: true }))
    }

    /// Puts the events of one write behind the stream's head.
    fn write(&mut self, write: &'a StreamWrite) -> WrittenStream {
        let before = self.head(&write.stream);
        let mut version = before;
        for event in &write.events {
            version += 1;
            self.plan.last += 1;
            self.ids.insert(event.id, self.plan.rows.len());
            let (position, stream) = (self.plan.last, &write.stream);
            self.plan.rows.push(NewRow { position, stream, version, event });
        }
        self.plan.heads.insert(&write.stream, version);
        let position = Position(self.plan.last);
        WrittenStream { first: Version(before + 1), last: Version(version), position }
    }

    fn head(&mut self, stream: &StreamId) -> u64 {
        match self.plan.heads.get(stream) {
            Some(head) => *head,
            None => self.memory.heads.get(stream).unwrap_or_default(),
        }
    }

    fn find(&self, event: &NewEvent) -> Option<Found<'_>> {
        if let Some(row) = self.ids.get(&event.id).and_then(|row| self.plan.rows.get(*row)) {
            return Some(Found {
                stream: row.stream,
                version: Version(row.version),
                position: Position(row.position),
                same_content: row.event.same_content(event),
            });
        }
        let stored = self.stored?.get(&event.id)?;
        Some(Found {
            stream: &stored.stream,
            version: stored.version,
            position: stored.position,
            same_content: stored.event_type == event.event_type.as_str()
                && stored.schema_version == u64::from(event.schema_version)
                && stored.payload == event.payload.as_str(),
        })
    }
}

fn reused(write: &StreamWrite, event: &NewEvent) -> StoreError {
    StoreError::IdReused { stream: write.stream.clone(), id: event.id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::ports::Expected;
    use chat_core::testkit::fixture::{event, event_with, multi, single, stream};

    fn memory(last: u64, heads: &[(&str, u64)]) -> Memory {
        let mut memory = Memory::new();
        memory.last = Some(last);
        for (name, head) in heads {
            memory.heads.put(&stream(name), *head);
        }
        memory
    }

    #[test]
    fn later_appends_see_earlier_ones() {
        let mut memory = memory(10, &[("a", 3)]);
        let (a, b) = (stream("a"), stream("b"));
        let appends = [
            single(&a, Expected::Exactly(Version(3)), vec![event(1)]),
            single(&a, Expected::Exactly(Version(4)), vec![event(2), event(3)]),
            single(&b, Expected::NoStream, vec![event(4)]),
            single(&a, Expected::Any, vec![event(1)]),
        ];
        let plan = plan(&appends, &mut memory, None).unwrap();
        let rows: Vec<_> =
            plan.rows.iter().map(|row| (row.position, row.stream.as_str(), row.version)).collect();
        assert_eq!(rows, [(11, "a", 4), (12, "a", 5), (13, "a", 6), (14, "b", 1)]);
        let repeat: Vec<_> = plan.answers.iter().map(|a| a.as_ref().unwrap().repeat).collect();
        assert_eq!(repeat, [false, false, false, true]);
        plan.keep(&mut memory);
        assert_eq!(
            (memory.last, memory.heads.get(&a), memory.heads.get(&b)),
            (Some(14), Some(6), Some(1))
        );
    }

    #[test]
    fn nothing_is_refused_before_the_ids_were_looked_up() {
        let mut memory = memory(1, &[("a", 1), ("b", 0)]);
        let refused = [
            single(&stream("a"), Expected::NoStream, vec![event(1)]),
            multi(
                vec![(&stream("b"), Expected::Any, vec![event(2)])],
                vec![(&stream("a"), Expected::NoStream)],
            ),
        ];
        assert!(plan(&refused, &mut memory, None).is_none());
        let looked_up = plan(&refused, &mut memory, Some(&StoredIds::new())).unwrap();
        assert!(looked_up.rows.is_empty());
        for answer in looked_up.answers {
            let Err(StoreError::Conflict { actual, .. }) = answer else { panic!("{answer:?}") };
            assert_eq!(actual, Version(1));
        }
    }

    #[test]
    fn an_id_is_a_repeat_only_with_the_same_content() {
        let a = stream("a");
        let there = Stored {
            stream: a.clone(),
            version: Version(1),
            position: Position(7),
            event_type: event(1).event_type.as_str().into(),
            schema_version: event(1).schema_version.into(),
            payload: event(1).payload.as_str().into(),
        };
        let stored = StoredIds::from([(event(1).id, there)]);
        let appends = [
            single(&a, Expected::NoStream, vec![event(1)]),
            single(&a, Expected::Any, vec![event_with(1, "{}")]),
            single(&stream("b"), Expected::Any, vec![event(1)]),
            single(&a, Expected::Any, vec![event(2), event(1)]),
        ];
        let plan = plan(&appends, &mut memory(7, &[("a", 1)]), Some(&stored)).unwrap();
        assert!(plan.answers[0].as_ref().unwrap().repeat);
        for answer in &plan.answers[1..] {
            assert!(matches!(answer, Err(StoreError::IdReused { .. })), "{answer:?}");
        }
        assert!(plan.rows.is_empty());
    }
}
