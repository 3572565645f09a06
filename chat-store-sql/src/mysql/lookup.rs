//! Asks the database for what a plan must know, many values in one statement.

use std::collections::HashMap;
use std::sync::Arc;

use chat_core::ports::StoreError;
use chat_core::{EventId, Position, StreamId, Version};
use sqlx::mysql::MySqlRow;

use super::connection::{Session, Values};
use super::error::{Failure, Step};
use super::plan::{Stored, StoredIds};
use super::rows::{id, name, number, text};
use super::sql::{Sql, filled, padded, padding};

/// The heads of streams; a stream without events is left out. Each is found by one step into the
/// index, however long the stream is.
pub(super) async fn heads(
    session: &mut Session<'_>,
    sql: &Sql,
    streams: &[&StreamId],
    step: Step,
) -> Result<HashMap<StreamId, u64>, Failure> {
    let mut heads = HashMap::with_capacity(streams.len());
    for streams in streams.chunks(HEADS_AT_ONCE) {
        let count = padded(streams.len());
        let text = filled("{heads}", "{heads}", &sql.stream_head, "\nUNION ALL\n", count);
        let mut values = Values::new();
        for stream in padding(streams) {
            values.add(stream.as_str().as_bytes());
        }
        for row in session.rows(&text.into(), values, step).await? {
            let (stream, head) = name(&row, 0)
                .and_then(|stream| Ok((stream, number(&row, 1, "version")?)))
                .map_err(|what| corrupt("the head of a stream", what))?;
            heads.insert(stream, head);
        }
    }
    Ok(heads)
}

/// The events that have these ids.
pub(super) async fn ids(
    session: &mut Session<'_>,
    find: &str,
    ids: &[EventId],
    step: Step,
) -> Result<StoredIds, Failure> {
    let mut stored = StoredIds::new();
    for ids in ids.chunks(IDS_AT_ONCE) {
        let text: Arc<str> = filled(find, "{ids}", "?", ",", padded(ids.len())).into();
        let mut values = Values::new();
        for id in padding(ids) {
            values.add(id.0.as_bytes().as_slice());
        }
        for row in session.rows(&text, values, step).await? {
            let (id, event) = stored_event(&row).map_err(|what| corrupt("an event", what))?;
            stored.insert(id, event);
        }
    }
    Ok(stored)
}

fn stored_event(row: &MySqlRow) -> Result<(EventId, Stored), String> {
    let event = Stored {
        position: Position(number(row, 0, "position")?),
        stream: name(row, 1)?,
        version: Version(number(row, 2, "version")?),
        event_type: text(row, 4, "type")?.to_owned(),
        schema_version: number(row, 5, "schema version")?,
        payload: text(row, 6, "payload")?.to_owned(),
    };
    Ok((id(row, 3)?, event))
}

pub(super) fn corrupt(place: &str, what: String) -> Failure {
    Failure::of(StoreError::Corrupt { place: place.to_owned(), what })
}

pub(super) const HEADS_AT_ONCE: usize = 128;
const IDS_AT_ONCE: usize = 1_024;
