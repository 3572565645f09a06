//! Turns stored rows back into values, and says where a row is that cannot be.

use std::sync::Arc;

use chat_core::ports::StoreError;
use chat_core::{
    EventId, EventType, Json, NewEvent, Position, RecordedEvent, StreamId, Timestamp, Version,
};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use uuid::Uuid;

use super::error::{Step, store_error};

/// Reads an event from the columns `position, stream, version, event_id, type, schema_version,
/// recorded_at, payload, metadata`. Most events of a page are of one type, so `types` is the one read
/// last, which costs less than another copy of it.
pub(super) fn event(
    row: &Row<'_>,
    stream: StreamId,
    types: &mut Option<EventType>,
) -> Result<Arc<RecordedEvent>, StoreError> {
    match parse(row, types) {
        Ok((version, position, event)) => {
            Ok(Arc::new(RecordedEvent { stream, version, position, event }))
        }
        Err(what) => Err(StoreError::Corrupt { place: place(row, &stream), what }),
    }
}

fn parse(
    row: &Row<'_>,
    types: &mut Option<EventType>,
) -> Result<(Version, Position, NewEvent), String> {
    let name = text(row, 4, "type")?;
    let event_type = match types {
        Some(last) if last.as_str() == name => last.clone(),
        _ => types.insert(EventType::new(name).map_err(|error| error.to_string())?).clone(),
    };
    let id = match value(row, 3)? {
        ValueRef::Blob(bytes) => Uuid::from_slice(bytes).map_err(|error| error.to_string())?,
        other => return Err(format!("the id is {}", other.data_type())),
    };
    let event = NewEvent {
        id: EventId(id),
        event_type,
        schema_version: u16::try_from(number(row, 5, "schema version")?)
            .map_err(|error| format!("the schema version: {error}"))?,
        recorded_at: Timestamp(number(row, 6, "time")?),
        payload: Json::from_text(text(row, 7, "payload")?),
        metadata: match value(row, 8)? {
            ValueRef::Null => None,
            _ => Some(Json::from_text(text(row, 8, "metadata")?)),
        },
    };
    let version = Version(number(row, 2, "version")?);
    let position = Position(number(row, 0, "position")?);
    Ok((version, position, event))
}

/// Reads a number that cannot be negative.
pub(super) fn number(row: &Row<'_>, column: usize, name: &str) -> Result<u64, String> {
    match value(row, column)? {
        ValueRef::Integer(number) => {
            u64::try_from(number).map_err(|_| format!("the {name} is {number}"))
        }
        other => Err(format!("the {name} is {}", other.data_type())),
    }
}

/// Reads text.
pub(super) fn text<'r>(row: &'r Row<'_>, column: usize, name: &str) -> Result<&'r str, String> {
    match value(row, column)? {
        ValueRef::Text(bytes) => {
            std::str::from_utf8(bytes).map_err(|error| format!("the {name}: {error}"))
        }
        other => Err(format!("the {name} is {}", other.data_type())),
    }
}

fn value<'r>(row: &'r Row<'_>, column: usize) -> Result<ValueRef<'r>, String> {
    row.get_ref(column).map_err(|error| error.to_string())
}

fn place(row: &Row<'_>, stream: &StreamId) -> String {
    let number = |column| match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        _ => "?".to_owned(),
    };
    format!("stream {stream}, version {} (position {})", number(2), number(0))
}

/// A number as SQLite can hold it; a caller's number may be too great.
pub(super) fn stored(number: u64, name: &str) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Invalid {
        what: format!("the {name} is {number}, at most {} is allowed", i64::MAX),
    })
}

/// A bound of a search: a number too great to be stored bounds as well as the greatest that is.
pub(super) fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of rows.
pub(super) fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// An error of the driver in a read.
pub(super) fn in_read(error: rusqlite::Error) -> StoreError {
    store_error(error, Step::Read)
}
