//! Batches of views as the columns that one call of the database's function takes.

use std::collections::BTreeMap;

use chat_core::ViewKey;
use chat_core::ports::{ViewBatch, ViewOp};
use sqlx::SqlStr;

use super::connection::PgQuery;
use super::rows::bound;

/// Batches of which no two belong to the same view.
#[derive(Debug, Default)]
pub(super) struct Round<'a> {
    scopes: Vec<&'a str>,
    projections: Vec<&'a str>,
    expected: Vec<i64>,
    next: Vec<i64>,
    op_batch: Vec<i64>,
    op_key: Vec<Option<&'a str>>,
    op_value: Vec<Option<&'a [u8]>>,
}

impl<'a> Round<'a> {
    pub(super) fn new(batches: impl Iterator<Item = &'a ViewBatch>) -> Self {
        let mut round = Self::default();
        for (number, batch) in (1_i64..).zip(batches) {
            round.scopes.push(batch.view.scope.as_str());
            round.projections.push(batch.view.projection.as_str());
            // A checkpoint too great to be stored is never met.
            let expected = i64::try_from(batch.expected.0).unwrap_or(NEVER);
            round.expected.push(expected);
            round.next.push(bound(batch.next.0));
            round.push_changes(number, &batch.ops);
        }
        round
    }

    /// Leaves one change for each key: later ones win.
    fn push_changes(&mut self, batch: i64, ops: &'a [ViewOp]) {
        let mut changes: BTreeMap<&ViewKey, Option<&[u8]>> = BTreeMap::new();
        let mut cleared = false;
        for op in ops {
            match op {
                ViewOp::Put(key, value) => drop(changes.insert(key, Some(value))),
                // After a clear there is nothing else to remove.
                ViewOp::Delete(key) if cleared => drop(changes.remove(key)),
                ViewOp::Delete(key) => drop(changes.insert(key, None)),
                ViewOp::Clear => {
                    cleared = true;
                    changes.clear();
                }
            }
        }
        if cleared {
            self.push(batch, None, None);
        }
        for (key, value) in changes {
            self.push(batch, Some(key.as_str()), value);
        }
    }

    fn push(&mut self, batch: i64, key: Option<&'a str>, value: Option<&'a [u8]>) {
        self.op_batch.push(batch);
        self.op_key.push(key);
        self.op_value.push(value);
    }

    /// Writes the batches whose views are at the expected checkpoints; answers with the checkpoint
    /// that each view had.
    pub(super) fn query(&self, sql: &SqlStr) -> PgQuery<'_> {
        sqlx::query(sql.clone())
            .bind(&self.scopes)
            .bind(&self.projections)
            .bind(&self.expected)
            .bind(&self.next)
            .bind(&self.op_batch)
            .bind(&self.op_key)
            .bind(&self.op_value)
    }
}

const NEVER: i64 = -1;
