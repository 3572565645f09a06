//! The port for views: reads here, writes in `view_writer`.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::{
    Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewPage, ViewStore,
    ViewValues,
};
use chat_core::{Checkpoint, ProjectionName, Scope, ViewKey};
use sqlx::mysql::MySqlRow;

use super::connection::{Session, Values, acquire};
use super::error::{Failure, Step};
use super::events::one_look;
use super::rows::{bytes, count, get, utf8};
use super::sql::{Sql, filled, padded, padding};
use super::store::MysqlStore;
use super::view_writer;

#[async_trait]
impl ViewStore for MysqlStore {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        if gets.is_empty() {
            return Ok(Vec::new());
        }
        let parts = parts(gets);
        let mut connection = acquire(self.pool()).await?;
        let (limit, several) = (self.statement_timeout(), parts.len() > 1);
        let found = one_look(&mut connection, limit, several, async |session| {
            let mut found = Found::default();
            for part in &parts {
                found.read(session, self.sql(), part).await?;
            }
            Ok(found)
        });
        let found = found.await;
        let found = connection.settled(found)?;
        Ok(gets.iter().map(|wanted| found.values(wanted)).collect())
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        let limit = limit.clamp(1, ViewPage::MAX_ENTRIES);
        let sql = match direction {
            Direction::Forward => &self.sql().view_scan_forward,
            Direction::Backward => &self.sql().view_scan_backward,
        };
        let (scope, projection) = names(view);
        // Where the range is open: no key is less than the empty one, and no text reaches 0xFF.
        let start = range.start.as_ref().map_or(&[][..], |key| key.as_str().as_bytes());
        let end = range.end.as_ref().map_or(&[0xFF][..], |key| key.as_str().as_bytes());
        let values = Values::new().with(scope).with(projection).with(scope).with(projection);
        // One more than asked tells whether there is more.
        let values = values.with(start).with(end).with(count(limit + 1));
        let mut connection = acquire(self.pool()).await?;
        let rows = self.session(&mut connection).rows(sql, values, Step::Read).await;
        let rows = connection.settled(rows)?;
        page(view, &rows, limit)
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        view_writer::commit(self, batches).await
    }
}

fn page(view: &ViewId, rows: &[MySqlRow], limit: usize) -> Result<ViewPage, StoreError> {
    let mut checkpoint = Checkpoint::ZERO;
    let mut entries = Vec::new();
    for row in rows {
        let corrupt = |what| corrupt(view, what);
        match get::<Option<u64>>(row, 0, "checkpoint").map_err(corrupt)? {
            Some(number) => checkpoint = Checkpoint(number),
            None => entries.push((key(row, 1).map_err(corrupt)?, value(row, 2).map_err(corrupt)?)),
        }
    }
    let finished = entries.len() <= limit;
    entries.truncate(limit);
    Ok(ViewPage { checkpoint, entries, finished })
}

/// A piece of what is asked for that goes into one statement.
#[derive(Debug, Default)]
struct Part<'g> {
    views: Vec<&'g ViewId>,
    keys: Vec<(&'g ViewId, &'g ViewKey)>,
}

fn parts(gets: &[ViewGet]) -> Vec<Part<'_>> {
    let mut parts = vec![Part::default()];
    for wanted in gets {
        let mut keys = wanted.keys.iter().map(|key| (&wanted.view, key)).peekable();
        loop {
            let full = |part: &Part<'_>| {
                part.views.len() >= VIEWS_AT_ONCE || part.keys.len() >= KEYS_AT_ONCE
            };
            if parts.last().is_none_or(full) {
                parts.push(Part::default());
            }
            let Some(part) = parts.last_mut() else { break };
            part.views.push(&wanted.view);
            let room = KEYS_AT_ONCE - part.keys.len();
            part.keys.extend(keys.by_ref().take(room));
            if keys.peek().is_none() {
                break;
            }
        }
    }
    parts
}

/// What was found of views and keys.
#[derive(Debug, Default)]
struct Found {
    checkpoints: HashMap<ViewId, Checkpoint>,
    values: HashMap<ViewId, HashMap<ViewKey, Arc<[u8]>>>,
}

impl Found {
    async fn read(
        &mut self,
        session: &mut Session<'_>,
        sql: &Sql,
        part: &Part<'_>,
    ) -> Result<(), Failure> {
        let text = if part.keys.is_empty() { &sql.view_heads } else { &sql.view_get };
        let text = filled(text, "{views}", VIEW, " OR ", padded(part.views.len()));
        let text = filled(&text, "{keys}", KEY, " OR ", padded(part.keys.len()));
        let mut values = Values::new();
        for view in padding(&part.views) {
            let (scope, projection) = names(view);
            values.add(scope);
            values.add(projection);
        }
        for (view, key) in padding(&part.keys) {
            let (scope, projection) = names(view);
            values.add(scope);
            values.add(projection);
            values.add(key.as_str().as_bytes());
        }
        for row in session.rows(&text.into(), values, Step::Read).await? {
            self.take(&row).map_err(|what| super::lookup::corrupt("a view", what))?;
        }
        Ok(())
    }

    fn take(&mut self, row: &MySqlRow) -> Result<(), String> {
        let view = view_id(row)?;
        match get::<Option<u64>>(row, 2, "checkpoint")? {
            Some(checkpoint) => {
                self.checkpoints.insert(view, Checkpoint(checkpoint));
            }
            None => {
                self.values.entry(view).or_default().insert(key(row, 3)?, value(row, 4)?);
            }
        }
        Ok(())
    }

    fn values(&self, wanted: &ViewGet) -> ViewValues {
        let values = self.values.get(&wanted.view);
        let value = |key| values.and_then(|values| values.get(key)).cloned();
        ViewValues {
            checkpoint: self.checkpoints.get(&wanted.view).copied().unwrap_or_default(),
            values: wanted.keys.iter().map(value).collect(),
        }
    }
}

/// Reads the view's name from the first two columns.
pub(super) fn view_id(row: &MySqlRow) -> Result<ViewId, String> {
    let scope = Scope::new(utf8(row, 0, "scope")?).map_err(|error| error.to_string())?;
    let projection = ProjectionName::new(utf8(row, 1, "projection")?);
    Ok(ViewId { scope, projection: projection.map_err(|error| error.to_string())? })
}

fn key(row: &MySqlRow, column: usize) -> Result<ViewKey, String> {
    ViewKey::new(utf8(row, column, "key")?).map_err(|error| error.to_string())
}

fn value(row: &MySqlRow, column: usize) -> Result<Arc<[u8]>, String> {
    bytes(row, column, "value").map(Arc::from)
}

/// The view's name as it is stored.
pub(super) fn names(view: &ViewId) -> (&[u8], &[u8]) {
    (view.scope.as_str().as_bytes(), view.projection.as_str().as_bytes())
}

fn corrupt(view: &ViewId, what: String) -> StoreError {
    StoreError::Corrupt { place: format!("view {} of {}", view.projection, view.scope), what }
}

/// A condition that names one view, and one that names one key.
pub(super) const VIEW: &str = "(scope = ? AND projection = ?)";
pub(super) const KEY: &str = "(scope = ? AND projection = ? AND vkey = ?)";
/// Bounds of one statement. The databases look up every value of a list by the index as long as
/// the list is not too long.
pub(super) const VIEWS_AT_ONCE: usize = 256;
pub(super) const KEYS_AT_ONCE: usize = 1_024;
