//! The port for views.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::{
    Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewPage, ViewStore,
    ViewValues,
};
use chat_core::{Checkpoint, ViewKey};
use sqlx::postgres::PgRow;

use super::rows::{count, get, is_null, number, text};
use super::store::PostgresStore;
use super::view_writer::{Round, Run, corrupt, runs};

#[async_trait]
impl ViewStore for PostgresStore {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        if gets.is_empty() {
            return Ok(Vec::new());
        }
        let (mut scopes, mut projections, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for ViewGet { view, keys: wanted } in gets {
            let bare = wanted.is_empty().then_some(None);
            for key in bare.into_iter().chain(wanted.iter().map(|key| Some(key.as_str()))) {
                scopes.push(view.scope.as_str());
                projections.push(view.projection.as_str());
                keys.push(key);
            }
        }
        let query = || {
            let statement = sqlx::query(self.sql().view_get.clone());
            statement.bind(&scopes).bind(&projections).bind(&keys)
        };
        let rows: Vec<PgRow> = self.pool().read(query, collect).await?;
        let mut rows = rows.iter();
        gets.iter().map(|get| values(get, &mut rows)).collect()
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        let sql = match direction {
            Direction::Forward => &self.sql().view_scan_forward,
            Direction::Backward => &self.sql().view_scan_backward,
        };
        let limit = limit.clamp(1, ViewPage::MAX_ENTRIES);
        // Above every key: a key has fewer bytes, and no byte is greater.
        let above_all = "\u{10ffff}".repeat(ViewKey::MAX_BYTES / 4 + 1);
        let start = range.start.as_ref().map_or("", ViewKey::as_str);
        let end = range.end.as_ref().map_or(&*above_all, ViewKey::as_str);
        let query = || {
            sqlx::query(sql.clone())
                .bind(view.scope.as_str())
                .bind(view.projection.as_str())
                .bind(start)
                .bind(end)
                // One more than asked tells whether there is more.
                .bind(count(limit + 1))
        };
        let rows = self.pool().read(query, collect).await?;
        page(view, &rows, limit)
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        let mut answers: BTreeMap<usize, Result<(), ViewError>> = BTreeMap::new();
        let mut left: Vec<(usize, &ViewBatch)> = Vec::with_capacity(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            match i64::try_from(batch.next.0) {
                Ok(_) => left.push((index, batch)),
                Err(_) => {
                    let what = format!("the checkpoint {} is above {}", batch.next, i64::MAX);
                    answers.insert(index, Err(StoreError::Invalid { what }.into()));
                }
            }
        }
        // One round trip, unless batches to one view do not follow each other.
        while !left.is_empty() {
            let (now, later) = runs(left);
            left = later;
            self.commit_round(now, &mut answers, &mut left).await;
        }
        answers.into_values().collect()
    }
}

impl PostgresStore {
    /// Commits runs, each whole or not at all. What is to be tried again is put into `left`.
    async fn commit_round<'b>(
        &self,
        runs: Vec<Run<'b>>,
        answers: &mut BTreeMap<usize, Result<(), ViewError>>,
        left: &mut Vec<(usize, &'b ViewBatch)>,
    ) {
        let round = Round::new(&runs);
        let written = self.pool().write(|| round.query(&self.sql().commit_views)).await;
        match written.and_then(|row| checkpoints(row.as_ref())) {
            Err(error) => {
                let failed = |(index, _)| (index, Err(ViewError::Store(error.clone())));
                answers.extend(runs.into_iter().flat_map(|run| run.batches).map(failed));
            }
            Ok(actual) => {
                for (run, actual) in runs.into_iter().zip(actual) {
                    run.settle(actual, answers, left);
                }
                left.sort_unstable_by_key(|(index, _)| *index);
            }
        }
    }
}

fn collect(rows: &mut Vec<PgRow>, row: PgRow) -> Result<(), StoreError> {
    rows.push(row);
    Ok(())
}

/// The checkpoints that the views of a round had.
fn checkpoints(row: Option<&PgRow>) -> Result<Vec<i64>, StoreError> {
    let bug = |what| StoreError::Bug { what };
    let row = row.ok_or_else(|| bug("the database gave no checkpoints".into()))?;
    get(row, 0).map_err(bug)
}

fn values<'r>(
    wanted: &ViewGet,
    rows: &mut impl Iterator<Item = &'r PgRow>,
) -> Result<ViewValues, StoreError> {
    let mut checkpoint = Checkpoint::ZERO;
    let mut values = Vec::with_capacity(wanted.keys.len());
    for row in rows.take(wanted.keys.len().max(1)) {
        checkpoint = Checkpoint(number(row, 0).map_err(|what| corrupt(&wanted.view, what))?);
        let value = get::<Option<&[u8]>>(row, 1).map_err(|what| corrupt(&wanted.view, what))?;
        if values.len() < wanted.keys.len() {
            values.push(value.map(Arc::from));
        }
    }
    if values.len() != wanted.keys.len() {
        return Err(StoreError::Bug { what: "the database gave no row for a key".into() });
    }
    Ok(ViewValues { checkpoint, values })
}

fn page(view: &ViewId, rows: &[PgRow], limit: usize) -> Result<ViewPage, StoreError> {
    let damaged = |what| corrupt(view, what);
    let mut page = ViewPage { checkpoint: Checkpoint::ZERO, entries: Vec::new(), finished: true };
    for row in rows {
        page.checkpoint = Checkpoint(number(row, 0).map_err(damaged)?);
        if is_null(row, 1) {
            continue;
        }
        if page.entries.len() == limit {
            page.finished = false;
            break;
        }
        let key = text(row, 1).map_err(damaged)?;
        let key = ViewKey::new(key).map_err(|error| damaged(error.to_string()))?;
        let value = get::<&[u8]>(row, 2).map_err(damaged)?;
        page.entries.push((key, value.into()));
    }
    Ok(page)
}
