//! Turns stored rows back into values, and says where a row is that cannot be.

use std::sync::Arc;

use chat_core::ports::StoreError;
use chat_core::{
    EventId, EventType, Json, NewEvent, Position, RecordedEvent, StreamId, Timestamp, Version,
};
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
use uuid::Uuid;

/// Reads an event from the columns `position, stream, version, event_id, type, schema_version,
/// recorded_at, payload, metadata`. `stream` is its name where that is known.
pub(super) fn event(
    row: &MySqlRow,
    stream: Option<&StreamId>,
) -> Result<Arc<RecordedEvent>, StoreError> {
    parse(row, stream).map_err(|what| StoreError::Corrupt { place: place(row), what })
}

fn parse(row: &MySqlRow, stream: Option<&StreamId>) -> Result<Arc<RecordedEvent>, String> {
    let event = NewEvent {
        id: id(row, 3)?,
        event_type: EventType::new(text(row, 4, "type")?).map_err(|error| error.to_string())?,
        schema_version: u16::try_from(number(row, 5, "schema version")?)
            .map_err(|error| format!("the schema version: {error}"))?,
        recorded_at: Timestamp(number(row, 6, "time")?),
        payload: Json::from_text(text(row, 7, "payload")?),
        metadata: get::<Option<&str>>(row, 8, "metadata")?.map(Json::from_text),
    };
    let stream = match stream {
        Some(stream) => stream.clone(),
        None => name(row, 1)?,
    };
    let version = Version(number(row, 2, "version")?);
    let position = Position(number(row, 0, "position")?);
    Ok(Arc::new(RecordedEvent { stream, version, position, event }))
}

/// Reads a number that cannot be negative.
pub(super) fn number(row: &MySqlRow, column: usize, name: &str) -> Result<u64, String> {
    get(row, column, name)
}

/// Reads a number from a row that may be missing, or a null; either is zero.
pub(super) fn number_or_zero(
    row: Option<&MySqlRow>,
    column: usize,
    name: &str,
) -> Result<u64, String> {
    let number = row.map(|row| get::<Option<u64>>(row, column, name)).transpose()?;
    Ok(number.flatten().unwrap_or_default())
}

/// Reads text.
pub(super) fn text<'r>(row: &'r MySqlRow, column: usize, name: &str) -> Result<&'r str, String> {
    get(row, column, name)
}

/// Reads bytes.
pub(super) fn bytes<'r>(row: &'r MySqlRow, column: usize, name: &str) -> Result<&'r [u8], String> {
    get(row, column, name)
}

/// Reads the id of an event.
pub(super) fn id(row: &MySqlRow, column: usize) -> Result<EventId, String> {
    let id = Uuid::from_slice(bytes(row, column, "id")?);
    id.map(EventId).map_err(|error| error.to_string())
}

/// Reads the name of a stream.
pub(super) fn name(row: &MySqlRow, column: usize) -> Result<StreamId, String> {
    let name = utf8(row, column, "stream")?;
    StreamId::new(name).map_err(|error| error.to_string())
}

/// Reads a name that is stored as bytes.
pub(super) fn utf8<'r>(row: &'r MySqlRow, column: usize, name: &str) -> Result<&'r str, String> {
    std::str::from_utf8(bytes(row, column, name)?).map_err(|error| format!("the {name}: {error}"))
}

/// Reads a column. A statement may come to another type than it looks like (the databases differ
/// in how they join numbers of two types), so the type is compared: better an error than a number
/// read wrongly.
pub(super) fn get<'r, T>(row: &'r MySqlRow, column: usize, name: &str) -> Result<T, String>
where
    T: sqlx::Decode<'r, sqlx::MySql> + sqlx::Type<sqlx::MySql>,
{
    row.try_get(column).map_err(|error| format!("the {name}: {error}"))
}

fn place(row: &MySqlRow) -> String {
    let number = |column| get::<u64>(row, column, "").map_or("?".to_owned(), |n| n.to_string());
    let stream = name(row, 1).map_or("?".to_owned(), |name| name.to_string());
    format!("stream {stream}, version {} (position {})", number(2), number(0))
}

/// A number of rows.
pub(super) fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
