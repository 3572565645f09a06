//! The port for views over the same threads.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::{
    Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewPage, ViewStore,
    ViewValues,
};
use chat_core::{Checkpoint, ViewKey};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension as _, Row};
use tokio::sync::oneshot;

use super::reader::Reader;
use super::rows::{count, in_read, text};
use super::store::{SqliteStore, lost_answer};
use super::view_writer::negative;
use super::writer::Job;

#[async_trait]
impl ViewStore for SqliteStore {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        let gets = gets.to_vec();
        let read = move |reader: &Reader| {
            reader.one_look(|reader| gets.iter().map(|wanted| get(reader, wanted)).collect())
        };
        self.readers().read(read).await
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        let (view, range) = (view.clone(), range.clone());
        let limit = limit.clamp(1, ViewPage::MAX_ENTRIES);
        let read = move |reader: &Reader| {
            reader.one_look(|reader| scan(reader, &view, &range, direction, limit))
        };
        self.readers().read(read).await
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        if batches.is_empty() {
            return Vec::new();
        }
        let failed = |error: StoreError| {
            batches.iter().map(|_| Err(ViewError::Store(error.clone()))).collect()
        };
        let (sender, receiver) = oneshot::channel();
        if let Err(error) = self.push(Job::Views(batches.to_vec(), sender)).await {
            return failed(error);
        }
        receiver.await.unwrap_or_else(|_| failed(lost_answer()))
    }
}

fn get(reader: &Reader, wanted: &ViewGet) -> Result<ViewValues, StoreError> {
    let Some((id, checkpoint)) = head(reader, &wanted.view)? else {
        let values = wanted.keys.iter().map(|_| None).collect();
        return Ok(ViewValues { checkpoint: Checkpoint::ZERO, values });
    };
    let mut statement = reader.statement(&reader.sql.view_get)?;
    let mut values = Vec::with_capacity(wanted.keys.len());
    for key in &wanted.keys {
        let mut rows = statement.query((id, key.as_str())).map_err(in_read)?;
        let row = rows.next().map_err(in_read)?;
        values.push(row.map(|row| value(row, 0, &wanted.view)).transpose()?);
    }
    Ok(ViewValues { checkpoint, values })
}

fn scan(
    reader: &Reader,
    view: &ViewId,
    range: &KeyRange,
    direction: Direction,
    limit: usize,
) -> Result<ViewPage, StoreError> {
    let Some((id, checkpoint)) = head(reader, view)? else {
        let checkpoint = Checkpoint::ZERO;
        return Ok(ViewPage { checkpoint, entries: Vec::new(), finished: true });
    };
    let sql = match direction {
        Direction::Forward => &reader.sql.view_scan_forward,
        Direction::Backward => &reader.sql.view_scan_backward,
    };
    // Where the range is open: no text is less than the empty one, and every text is less than a
    // blob, by SQLite's order of types.
    let start = range.start.as_ref().map_or("", ViewKey::as_str);
    let end = match &range.end {
        Some(end) => ValueRef::Text(end.as_str().as_bytes()),
        None => ValueRef::Blob(&[]),
    };
    let mut statement = reader.statement(sql)?;
    // One more than asked tells whether there is more.
    let mut rows = statement
        .query((id, start, ToSqlOutput::Borrowed(end), count(limit + 1)))
        .map_err(in_read)?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next().map_err(in_read)? {
        if entries.len() == limit {
            return Ok(ViewPage { checkpoint, entries, finished: false });
        }
        let key = text(row, 0, "key").map_err(|what| corrupt(view, what))?;
        let key = ViewKey::new(key).map_err(|error| corrupt(view, error.to_string()))?;
        entries.push((key, value(row, 1, view)?));
    }
    Ok(ViewPage { checkpoint, entries, finished: true })
}

/// The row and the checkpoint of a view.
fn head(reader: &Reader, view: &ViewId) -> Result<Option<(i64, Checkpoint)>, StoreError> {
    let name = (view.scope.as_str(), view.projection.as_str());
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?));
    let head = reader.statement(&reader.sql.view_head)?.query_row(name, row).optional();
    let Some((id, checkpoint)) = head.map_err(in_read)? else { return Ok(None) };
    let checkpoint = u64::try_from(checkpoint).map_err(|_| negative(view))?;
    Ok(Some((id, Checkpoint(checkpoint))))
}

fn value(row: &Row<'_>, column: usize, view: &ViewId) -> Result<Arc<[u8]>, StoreError> {
    match row.get_ref(column).map_err(in_read)? {
        ValueRef::Blob(bytes) => Ok(bytes.into()),
        other => Err(corrupt(view, format!("a value is {}", other.data_type()))),
    }
}

fn corrupt(view: &ViewId, what: String) -> StoreError {
    StoreError::Corrupt { place: format!("view {} of {}", view.projection, view.scope), what }
}
