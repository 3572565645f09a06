//! Turns stored rows back into values, and says where a row is that cannot be.

use std::sync::Arc;

use chat_core::ports::StoreError;
use chat_core::{
    EventId, EventType, Json, NewEvent, Position, RecordedEvent, StreamId, Timestamp, Version,
};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row as _, Type, ValueRef as _};
use uuid::Uuid;

/// Reads an event from the columns `position, stream, version, event_id, type, schema_version,
/// recorded_at, payload, metadata`, of which the first has the given number.
pub(super) fn event(
    row: &PgRow,
    first: usize,
    stream: Option<&StreamId>,
) -> Result<Arc<RecordedEvent>, StoreError> {
    parse(row, first, stream).map_err(|what| StoreError::Corrupt { place: place(row, first), what })
}

fn parse(
    row: &PgRow,
    first: usize,
    stream: Option<&StreamId>,
) -> Result<Arc<RecordedEvent>, String> {
    let stream = match stream {
        Some(stream) => stream.clone(),
        None => StreamId::new(text(row, first + 1)?).map_err(|error| error.to_string())?,
    };
    let event = NewEvent {
        id: EventId(get::<Uuid>(row, first + 3)?),
        event_type: event_type(row, first + 4)?,
        schema_version: schema_version(row, first + 5)?,
        recorded_at: Timestamp(number(row, first + 6)?),
        payload: Json::from_text(text(row, first + 7)?),
        metadata: optional_text(row, first + 8)?.map(Json::from_text),
    };
    let (position, version) = (Position(number(row, first)?), Version(number(row, first + 2)?));
    Ok(Arc::new(RecordedEvent { stream, version, position, event }))
}

pub(super) fn event_type(row: &PgRow, column: usize) -> Result<EventType, String> {
    EventType::new(text(row, column)?).map_err(|error| error.to_string())
}

pub(super) fn schema_version(row: &PgRow, column: usize) -> Result<u16, String> {
    u16::try_from(get::<i32>(row, column)?).map_err(|error| format!("the schema version: {error}"))
}

/// Reads a number that cannot be negative.
pub(super) fn number(row: &PgRow, column: usize) -> Result<u64, String> {
    let number = get::<i64>(row, column)?;
    u64::try_from(number).map_err(|_| format!("the number in column {column} is {number}"))
}

/// Reads a value of the type that the column has.
pub(super) fn get<'r, T>(row: &'r PgRow, column: usize) -> Result<T, String>
where
    T: sqlx::Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(column).map_err(|error| error.to_string())
}

/// Reads text, or JSON as its text.
pub(super) fn text(row: &PgRow, column: usize) -> Result<&str, String> {
    optional_text(row, column)?.ok_or_else(|| format!("column {column} is null"))
}

pub(super) fn optional_text(row: &PgRow, column: usize) -> Result<Option<&str>, String> {
    let value = row.try_get_raw(column).map_err(|error| error.to_string())?;
    if value.is_null() {
        return Ok(None);
    }
    value.as_str().map(Some).map_err(|error| error.to_string())
}

/// Whether a column is null.
pub(super) fn is_null(row: &PgRow, column: usize) -> bool {
    row.try_get_raw(column).is_ok_and(|value| value.is_null())
}

fn place(row: &PgRow, first: usize) -> String {
    let shown = |column| number(row, column).map_or_else(|_| "?".to_owned(), |n| n.to_string());
    let stream = text(row, first + 1).unwrap_or("?");
    format!("stream {stream}, version {} (position {})", shown(first + 2), shown(first))
}

/// A bound of a search: a number too great to be stored bounds as well as the greatest that is.
pub(super) fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of rows.
pub(super) fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
