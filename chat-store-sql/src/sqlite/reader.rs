//! The threads that read, each on a connection of its own, beside the writer.

use std::cell::RefCell;
use std::sync::Arc;

use chat_core::ports::StoreError;
use chat_core::{StreamId, Version};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _};
use tokio::sync::oneshot;

use super::queue::Queue;
use super::rows::{in_read, number, text};
use super::sql::Sql;
use crate::recent::Recent;

/// Something to read.
pub(super) type ReadJob = Box<dyn FnOnce(&Reader) + Send>;

/// A reading connection.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    pub(super) sql: Arc<Sql>,
    names: RefCell<Recent<i64, StreamId>>,
}

impl Reader {
    pub(super) fn new(connection: Connection, sql: Arc<Sql>) -> Self {
        Self { connection, sql, names: RefCell::new(Recent::new(REMEMBERED_NAMES)) }
    }

    /// Carries out jobs until the queue is closed and empty.
    pub(super) fn run(&self, queue: &Queue<ReadJob>) {
        while let Some(job) = queue.take() {
            job(self);
        }
    }

    /// A statement, prepared at its first use.
    pub(super) fn statement(&self, sql: &str) -> Result<CachedStatement<'_>, StoreError> {
        self.connection.prepare_cached(sql).map_err(in_read)
    }

    /// Runs several statements in one consistent look.
    pub(super) fn one_look<T>(
        &self,
        look: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !self.connection.is_autocommit() {
            // The end of the last look failed. A look that stays open would see the past for ever.
            self.statement("ROLLBACK")?.execute(()).map_err(in_read)?;
        }
        self.statement("BEGIN")?.execute(()).map_err(in_read)?;
        let seen = look(self);
        // What was seen stays true whatever becomes of the end of the look.
        drop(self.statement("COMMIT").and_then(|mut end| end.execute(()).map_err(in_read)));
        seen
    }

    /// The row and the last version of a stream.
    pub(super) fn stream(&self, stream: &StreamId) -> Result<Option<(i64, Version)>, StoreError> {
        let mut statement = self.statement(&self.sql.stream_head)?;
        let mut rows = statement.query((stream.as_str(),)).map_err(in_read)?;
        let Some(row) = rows.next().map_err(in_read)? else { return Ok(None) };
        let version = number(row, 1, "last version")
            .map_err(|what| StoreError::Corrupt { place: format!("stream {stream}"), what })?;
        Ok(Some((row.get(0).map_err(in_read)?, Version(version))))
    }

    /// The name of a stream's row. A row never gets another name, so it is remembered.
    pub(super) fn name(&self, id: i64) -> Result<StreamId, StoreError> {
        if let Some(name) = self.names.borrow_mut().get(&id) {
            return Ok(name);
        }
        let corrupt = |what| StoreError::Corrupt { place: format!("stream number {id}"), what };
        let mut statement = self.statement(&self.sql.stream_name)?;
        let mut rows = statement.query((id,)).map_err(in_read)?;
        let Some(row) = rows.next().map_err(in_read)? else {
            return Err(corrupt("it has no name".into()));
        };
        let name = text(row, 0, "name").map_err(corrupt)?;
        let name = StreamId::new(name).map_err(|error| corrupt(error.to_string()))?;
        self.names.borrow_mut().put(&id, name.clone());
        Ok(name)
    }

    /// One text from the table of odds and ends.
    pub(super) fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let mut statement = self.statement(&self.sql.meta_get)?;
        statement.query_row((key,), |row| row.get(0)).optional().map_err(in_read)
    }
}

/// Carries out reads on the reading threads.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    queue: Arc<Queue<ReadJob>>,
}

impl Readers {
    pub(super) fn new() -> Self {
        Self { queue: Arc::new(Queue::new(WAITING_READS)) }
    }

    pub(super) fn queue(&self) -> &Arc<Queue<ReadJob>> {
        &self.queue
    }

    /// Reads on one of the threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job = move |reader: &Reader| {
            // Nobody waits for a read whose caller has gone.
            if !sender.is_closed() {
                drop(sender.send(read(reader)));
            }
        };
        self.queue.push(Box::new(job), 1).await?;
        receiver.await.map_err(|_| StoreError::Unavailable {
            what: "the reading thread ended before it answered".into(),
            source: None,
        })?
    }
}

const WAITING_READS: u32 = 1_024;
/// Names kept in memory by each thread, at most twice as many.
const REMEMBERED_NAMES: usize = 8_192;
