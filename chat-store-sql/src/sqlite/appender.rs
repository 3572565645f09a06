//! Carries out one append inside a transaction that is open already. Everything that can refuse an
//! append is checked before its first row is written, so a refused one leaves nothing behind and
//! the others of the same transaction are not touched.

use chat_core::ports::{Append, AppendResult, Appended, StoreError, StreamWrite, WrittenStream};
use chat_core::{NewEvent, Position, StreamId, Version};
use rusqlite::{Connection, OptionalExtension as _, Row, Statement};

use super::error::is_duplicate;
use super::heads::StreamHead;
use super::rows::{number, stored, text};
use super::sql::Sql;
use crate::recent::Recent;

/// Writes events. Remembers the heads of streams between transactions.
#[derive(Debug)]
pub(super) struct Appender<'c> {
    insert_event: Statement<'c>,
    insert_stream: Statement<'c>,
    stream_head: Statement<'c>,
    find_id: Statement<'c>,
    last_ids: Statement<'c>,
    heads: Recent<StreamId, StreamHead>,
    last: Option<Last>,
}

/// The greatest keys in use.
#[derive(Debug, Clone, Copy)]
struct Last {
    position: i64,
    stream: i64,
}

/// Why an append ends early.
enum Stop {
    /// It is refused, and nothing was written for it.
    Refused(StoreError),
    /// The database failed; the transaction must be rolled back.
    Failed(rusqlite::Error),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// An event that has the id asked for.
struct Found {
    stream: i64,
    version: Version,
    position: Position,
    same_content: bool,
}

impl<'c> Appender<'c> {
    pub(super) fn new(connection: &'c Connection, sql: &Sql) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            insert_event: connection.prepare(&sql.insert_event)?,
            insert_stream: connection.prepare(&sql.insert_stream)?,
            stream_head: connection.prepare(&sql.stream_head)?,
            find_id: connection.prepare(&sql.find_id)?,
            last_ids: connection.prepare(&sql.last_ids)?,
            heads: Recent::new(REMEMBERED_STREAMS),
            last: None,
        })
    }

    /// Forgets what the database held: somebody else wrote, or a transaction was rolled back.
    pub(super) fn forget(&mut self) {
        self.heads.clear();
        self.last = None;
    }

    /// Carries out an append or says why not. An error of the database is the outer one.
    pub(super) fn append(&mut self, append: &Append) -> Result<AppendResult, rusqlite::Error> {
        let answer = match append.writes() {
            [write] if write.events.len() == 1 => self.append_one(append, write),
            _ => self.append_many(append),
        };
        match answer {
            Ok(appended) => Ok(Ok(appended)),
            Err(Stop::Refused(error)) => Ok(Err(error)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// One event: the index on the ids finds a repeat when the row is inserted, so the common case
    /// needs no look-up of the id.
    fn append_one(&mut self, append: &Append, write: &StreamWrite) -> Result<Appended, Stop> {
        let head = self.head(&write.stream)?;
        if let Err(refusal) = self.check(append) {
            // A repeat is answered as such whatever was expected.
            return self.repeat(append)?.ok_or(refusal);
        }
        check_times(append)?;
        match self.write(write, head) {
            Err(Stop::Failed(error)) if is_duplicate(&error) => {
                self.repeat(append)?.ok_or(Stop::Failed(error))
            }
            written => Ok(Appended { streams: vec![written?], repeat: false }),
        }
    }

    fn append_many(&mut self, append: &Append) -> Result<Appended, Stop> {
        if let Some(first) = self.repeat(append)? {
            return Ok(first);
        }
        self.check(append)?;
        check_times(append)?;
        let mut streams = Vec::with_capacity(append.writes().len());
        for write in append.writes() {
            let head = self.head(&write.stream)?;
            streams.push(self.write(write, head)?);
        }
        Ok(Appended { streams, repeat: false })
    }

    /// Checks the expectations of all writes and guards.
    fn check(&mut self, append: &Append) -> Result<(), Stop> {
        let writes = append.writes().iter().map(|write| (&write.stream, write.expected));
        let guards = append.guards().iter().map(|guard| (&guard.stream, guard.expected));
        for (stream, expected) in writes.chain(guards) {
            let head = self.head(stream)?.map_or(0, |head| head.version);
            let actual = Version(head.unsigned_abs());
            if !expected.holds(actual) {
                let stream = stream.clone();
                return Err(StoreError::Conflict { stream, expected, actual }.into());
            }
        }
        Ok(())
    }

    /// The first answer, if all ids stand already where the append would put them, `None` if none
    /// does; anything else is refused.
    fn repeat(&mut self, append: &Append) -> Result<Option<Appended>, Stop> {
        let mut found = Vec::new();
        for write in append.writes() {
            for event in &write.events {
                found.push((write, event, self.find(event)?));
            }
        }
        let Some((write, event, _)) = found.iter().find(|(_, _, found)| found.is_some()) else {
            return Ok(None);
        };
        if found.iter().any(|(_, _, found)| found.is_none()) {
            return Err(reused(write, event));
        }
        let mut found = found.into_iter();
        let mut streams = Vec::with_capacity(append.writes().len());
        for write in append.writes() {
            let row = self.head(&write.stream)?.map(|head| head.id);
            let mut run: Option<WrittenStream> = None;
            for (write, event, found) in found.by_ref().take(write.events.len()) {
                let stands = found.filter(|found| {
                    let in_order = run.is_none_or(|run| run.last.next() == found.version);
                    in_order && Some(found.stream) == row && found.same_content
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

    /// Inserts the events of one write behind the stream's head.
    fn write(
        &mut self,
        write: &StreamWrite,
        head: Option<StreamHead>,
    ) -> Result<WrittenStream, Stop> {
        let mut last = self.last()?;
        let id = head.map_or(last.stream + 1, |head| head.id);
        let before = head.map_or(0, |head| head.version);
        let mut version = before;
        for event in &write.events {
            version += 1;
            last.position += 1;
            self.insert_event.execute((
                last.position,
                id,
                version,
                event.id.0.as_bytes().as_slice(),
                event.event_type.as_str(),
                event.schema_version,
                event.recorded_at.0.cast_signed(),
                event.payload.as_str(),
                event.metadata.as_ref().map(chat_core::Json::as_str),
            ))?;
        }
        // Behind the events: when the first of them is refused as a duplicate, no stream without
        // events is left.
        if head.is_none() {
            self.insert_stream.execute((id, write.stream.as_str()))?;
            last.stream = id;
        }
        self.heads.put(&write.stream, StreamHead { id, version });
        self.last = Some(last);
        Ok(WrittenStream {
            first: Version(before.unsigned_abs() + 1),
            last: Version(version.unsigned_abs()),
            position: Position(last.position.unsigned_abs()),
        })
    }

    fn head(&mut self, stream: &StreamId) -> Result<Option<StreamHead>, Stop> {
        if let Some(head) = self.heads.get(stream) {
            return Ok(Some(head));
        }
        let row = |row: &Row<'_>| Ok(StreamHead { id: row.get(0)?, version: row.get(1)? });
        let head = self.stream_head.query_row((stream.as_str(),), row).optional()?;
        if let Some(head) = head {
            if head.version < 0 {
                let (place, version) = (format!("stream {stream}"), head.version);
                let what = format!("its last version is {version}");
                return Err(StoreError::Corrupt { place, what }.into());
            }
            self.heads.put(stream, head);
        }
        Ok(head)
    }

    fn last(&mut self) -> Result<Last, rusqlite::Error> {
        if let Some(last) = self.last {
            return Ok(last);
        }
        let row = |row: &Row<'_>| Ok(Last { position: row.get(0)?, stream: row.get(1)? });
        let last = self.last_ids.query_row((), row)?;
        self.last = Some(last);
        Ok(last)
    }

    fn find(&mut self, event: &NewEvent) -> Result<Option<Found>, Stop> {
        let mut rows = self.find_id.query((event.id.0.as_bytes().as_slice(),))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let found = || -> Result<Found, String> {
            Ok(Found {
                position: Position(number(row, 0, "position")?),
                stream: number(row, 1, "stream")?.cast_signed(),
                version: Version(number(row, 2, "version")?),
                same_content: text(row, 3, "type")? == event.event_type.as_str()
                    && number(row, 4, "schema version")? == u64::from(event.schema_version)
                    && text(row, 5, "payload")? == event.payload.as_str(),
            })
        };
        let corrupt = |what| StoreError::Corrupt { place: format!("event {}", event.id), what };
        Ok(Some(found().map_err(corrupt)?))
    }
}

fn reused(write: &StreamWrite, event: &NewEvent) -> Stop {
    StoreError::IdReused { stream: write.stream.clone(), id: event.id }.into()
}

/// Refuses times that SQLite cannot hold.
fn check_times(append: &Append) -> Result<(), StoreError> {
    let mut events = append.writes().iter().flat_map(|write| &write.events);
    events.try_for_each(|event| stored(event.recorded_at.0, "time of an event").map(drop))
}

/// Heads kept in memory, at most twice as many: 10 to 20 MB.
const REMEMBERED_STREAMS: usize = 65_536;
