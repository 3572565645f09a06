//! The exact way: what each append of a group does, given what stands in the database while
//! nobody else can write.

use std::collections::{HashMap, HashSet};

use chat_core::ports::{Append, AppendResult, Appended, StoreError, StreamWrite, WrittenStream};
use chat_core::{EventId, Json, NewEvent, Position, StreamId, Timestamp, Version};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::insert::{Rows, check};
use super::rows::{event_type, get, is_null, number, schema_version, text};

/// What stands in the database, and what the group adds to it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The last position in the log.
    pub(super) base: i64,
    pub(super) heads: HashMap<StreamId, i64>,
    found: HashMap<EventId, Found>,
}

/// An event that has one of the group's ids.
#[derive(Debug)]
struct Found {
    stream: StreamId,
    version: Version,
    position: Position,
    /// Of which only the content is true.
    event: NewEvent,
}

/// What a group comes to.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) answers: Vec<AppendResult>,
    pub(super) rows: Rows<'a>,
}

/// The streams and ids that a decision depends on.
pub(super) fn concerned<'a>(appends: &[&'a Append]) -> (Vec<&'a StreamId>, Vec<Uuid>) {
    let mut streams = HashSet::new();
    let mut ids = Vec::new();
    for append in appends {
        streams.extend(append.writes().iter().map(|write| &write.stream));
        streams.extend(append.guards().iter().map(|guard| &guard.stream));
        let events = append.writes().iter().flat_map(|write| &write.events);
        ids.extend(events.map(|event| event.id.0));
    }
    (streams.into_iter().collect(), ids)
}

impl Standing {
    /// Reads what the database said about these streams.
    pub(super) fn read(streams: &[&StreamId], rows: &[PgRow]) -> Result<Self, StoreError> {
        let mut standing = Self::default();
        for row in rows {
            let corrupt = |what| StoreError::Corrupt { place: "an event".into(), what };
            standing.add(streams, row).map_err(corrupt)?;
        }
        Ok(standing)
    }

    fn add(&mut self, streams: &[&StreamId], row: &PgRow) -> Result<(), String> {
        if is_null(row, 0) {
            let id = EventId(get(row, 5)?);
            let event = NewEvent {
                id,
                event_type: event_type(row, 6)?,
                schema_version: schema_version(row, 7)?,
                recorded_at: Timestamp(0),
                payload: Json::from_text(text(row, 8)?),
                metadata: None,
            };
            let stream = StreamId::new(text(row, 3)?).map_err(|error| error.to_string())?;
            let (version, position) = (Version(number(row, 4)?), Position(number(row, 2)?));
            self.found.insert(id, Found { stream, version, position, event });
            return Ok(());
        }
        let head = get::<i64>(row, 1)?;
        let ordinal = usize::try_from(number(row, 0)?).map_err(|error| error.to_string())?;
        match ordinal.checked_sub(1).and_then(|index| streams.get(index)) {
            Some(stream) => {
                self.heads.insert((*stream).clone(), head);
            }
            None => self.base = head,
        }
        Ok(())
    }

    /// Decides on each append in order; a later one sees the earlier ones. `unfit` are the places
    /// of those that PostgreSQL cannot hold.
    pub(super) fn decide<'a>(
        &mut self,
        appends: &[&'a Append],
        unfit: &HashSet<usize>,
    ) -> Decision<'a> {
        let mut rows = Rows::default();
        let mut answers = Vec::with_capacity(appends.len());
        for (index, append) in appends.iter().enumerate() {
            answers.push(self.append(append, unfit.contains(&index), &mut rows));
        }
        Decision { answers, rows }
    }

    fn append<'a>(&mut self, append: &'a Append, unfit: bool, rows: &mut Rows<'a>) -> AppendResult {
        if let Some(first) = self.repeat(append)? {
            return Ok(first);
        }
        self.check_expectations(append)?;
        check(append)?;
        if unfit {
            let what = "a payload or metadata is not JSON that PostgreSQL can hold".into();
            return Err(StoreError::Invalid { what });
        }
        let streams = append.writes().iter().map(|write| self.write(write, rows)).collect();
        Ok(Appended { streams, repeat: false })
    }

    /// The first answer, if all ids stand already where the append would put them, `None` if none
    /// does; anything else is refused.
    fn repeat(&self, append: &Append) -> Result<Option<Appended>, StoreError> {
        let found = |event: &NewEvent| self.found.get(&event.id);
        let mut events = append
            .writes()
            .iter()
            .flat_map(|write| write.events.iter().map(move |event| (write, event)));
        let Some((write, event)) = events.clone().find(|(_, event)| found(event).is_some()) else {
            return Ok(None);
        };
        if events.any(|(_, event)| found(event).is_none()) {
            return Err(reused(write, event));
        }
        let mut streams = Vec::with_capacity(append.writes().len());
        for write in append.writes() {
            let mut run: Option<WrittenStream> = None;
            for event in &write.events {
                let stands = found(event).filter(|found| {
                    let in_order = run.is_none_or(|run| run.last.next() == found.version);
                    in_order && found.stream == write.stream && found.event.same_content(event)
                });
                let Some(Found { version, position, .. }) = stands else {
                    return Err(reused(write, event));
                };
                let first = run.map_or(*version, |run| run.first);
                run = Some(WrittenStream { first, last: *version, position: *position });
            }
            streams.extend(run);
        }
        Ok(Some(Appended { streams, repeat: true }))
    }

    fn check_expectations(&self, append: &Append) -> Result<(), StoreError> {
        let writes = append.writes().iter().map(|write| (&write.stream, write.expected));
        let guards = append.guards().iter().map(|guard| (&guard.stream, guard.expected));
        for (stream, expected) in writes.chain(guards) {
            let actual = Version(self.head(stream).unsigned_abs());
            if !expected.holds(actual) {
                let stream = stream.clone();
                return Err(StoreError::Conflict { stream, expected, actual });
            }
        }
        Ok(())
    }

    fn write<'a>(&mut self, write: &'a StreamWrite, rows: &mut Rows<'a>) -> WrittenStream {
        let before = self.head(&write.stream);
        let mut at = WrittenStream {
            first: Version(before.unsigned_abs() + 1),
            last: Version(before.unsigned_abs()),
            position: Position(self.base.unsigned_abs() + rows.len() as u64),
        };
        rows.push(write, before);
        for event in &write.events {
            (at.last, at.position) = (at.last.next(), at.position.next());
            let found = Found {
                stream: write.stream.clone(),
                version: at.last,
                position: at.position,
                event: event.clone(),
            };
            self.found.insert(event.id, found);
        }
        self.heads.insert(write.stream.clone(), at.last.0.cast_signed());
        at
    }

    fn head(&self, stream: &StreamId) -> i64 {
        self.heads.get(stream).copied().unwrap_or(0)
    }
}

fn reused(write: &StreamWrite, event: &NewEvent) -> StoreError {
    StoreError::IdReused { stream: write.stream.clone(), id: event.id }
}
