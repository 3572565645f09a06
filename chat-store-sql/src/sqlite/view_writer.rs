//! Carries out one batch of a view inside a transaction that is open already. The checkpoint is
//! compared before anything is written, so a refused batch leaves nothing behind.

use chat_core::Checkpoint;
use chat_core::ports::{StoreError, ViewBatch, ViewError, ViewId, ViewOp};
use rusqlite::{Connection, OptionalExtension as _, Row, Statement};

use super::heads::ViewHead;
use super::rows::stored;
use super::sql::Sql;
use crate::recent::Recent;

/// Writes views. Remembers their checkpoints between transactions.
#[derive(Debug)]
pub(super) struct ViewWriter<'c> {
    head: Statement<'c>,
    insert: Statement<'c>,
    move_to: Statement<'c>,
    put: Statement<'c>,
    delete: Statement<'c>,
    clear: Statement<'c>,
    last_ids: Statement<'c>,
    heads: Recent<ViewId, ViewHead>,
    last: Option<i64>,
}

impl<'c> ViewWriter<'c> {
    pub(super) fn new(connection: &'c Connection, sql: &Sql) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            head: connection.prepare(&sql.view_head)?,
            insert: connection.prepare(&sql.view_insert)?,
            move_to: connection.prepare(&sql.view_move)?,
            put: connection.prepare(&sql.view_put)?,
            delete: connection.prepare(&sql.view_delete)?,
            clear: connection.prepare(&sql.view_clear)?,
            last_ids: connection.prepare(&sql.last_ids)?,
            heads: Recent::new(REMEMBERED_VIEWS),
            last: None,
        })
    }

    /// Forgets what the database held: somebody else wrote, or a transaction was rolled back.
    pub(super) fn forget(&mut self) {
        self.heads.clear();
        self.last = None;
    }

    /// Carries out a batch or says why not. An error of the database is the outer one.
    pub(super) fn commit(
        &mut self,
        batch: &ViewBatch,
    ) -> Result<Result<(), ViewError>, rusqlite::Error> {
        let head = self.head(&batch.view)?;
        let actual = match u64::try_from(head.map_or(0, |head| head.checkpoint)) {
            Ok(checkpoint) => Checkpoint(checkpoint),
            Err(_) => return Ok(Err(negative(&batch.view).into())),
        };
        if actual != batch.expected {
            let (view, expected) = (batch.view.clone(), batch.expected);
            return Ok(Err(ViewError::CheckpointMoved { view, expected, actual }));
        }
        let checkpoint = match stored(batch.next.0, "checkpoint") {
            Ok(checkpoint) => checkpoint,
            Err(error) => return Ok(Err(error.into())),
        };
        let id = self.move_to(&batch.view, head, checkpoint)?;
        for op in &batch.ops {
            match op {
                ViewOp::Put(key, value) => self.put.execute((id, key.as_str(), &**value))?,
                ViewOp::Delete(key) => self.delete.execute((id, key.as_str()))?,
                ViewOp::Clear => self.clear.execute((id,))?,
            };
        }
        Ok(Ok(()))
    }

    /// Sets the checkpoint and gives the view's row, made if there is none.
    fn move_to(
        &mut self,
        view: &ViewId,
        head: Option<ViewHead>,
        checkpoint: i64,
    ) -> Result<i64, rusqlite::Error> {
        let id = match head {
            Some(head) => {
                if head.checkpoint != checkpoint {
                    self.move_to.execute((head.id, checkpoint))?;
                }
                head.id
            }
            None => {
                let id = self.last()? + 1;
                let (scope, projection) = (view.scope.as_str(), view.projection.as_str());
                self.insert.execute((id, scope, projection, checkpoint))?;
                self.last = Some(id);
                id
            }
        };
        self.heads.put(view, ViewHead { id, checkpoint });
        Ok(id)
    }

    fn head(&mut self, view: &ViewId) -> Result<Option<ViewHead>, rusqlite::Error> {
        if let Some(head) = self.heads.get(view) {
            return Ok(Some(head));
        }
        let row = |row: &Row<'_>| Ok(ViewHead { id: row.get(0)?, checkpoint: row.get(1)? });
        let name = (view.scope.as_str(), view.projection.as_str());
        let head = self.head.query_row(name, row).optional()?;
        if let Some(head) = head {
            self.heads.put(view, head);
        }
        Ok(head)
    }

    fn last(&mut self) -> Result<i64, rusqlite::Error> {
        match self.last {
            Some(last) => Ok(last),
            None => self.last_ids.query_row((), |row| row.get(2)),
        }
    }
}

/// A checkpoint that no release has written.
pub(super) fn negative(view: &ViewId) -> StoreError {
    let place = format!("view {} of {}", view.projection, view.scope);
    StoreError::Corrupt { place, what: "its checkpoint is negative".into() }
}

/// Checkpoints kept in memory, at most twice as many: 10 to 20 MB.
const REMEMBERED_VIEWS: usize = 65_536;
