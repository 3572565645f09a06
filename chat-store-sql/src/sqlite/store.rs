//! The store: opens the file, starts the threads, hands work to them, and ends them.

use std::sync::Arc;

use chat_core::Epoch;
use chat_core::ports::{EventBus, EventStore, StoreError, ViewStore};
use tokio::sync::{oneshot, watch};

use super::bus::SignalThread;
use super::config::{SqliteAccess, SqliteConfig, SqliteDurability};
use super::queue::Queue;
use super::reader::{Reader, Readers};
use super::sql::Sql;
use super::threads::{ReaderThread, WriterThread, spawn};
use super::writer::{self, Job};
use crate::polling::PollingBus;

/// Events, views and a bus in one SQLite file and one beside it. Cheap to clone; all clones share the threads, which end
/// with [`close`](Self::close) or when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: SqliteConfig,
    /// `None` if the store only reads.
    writer: Option<Arc<Queue<Job>>>,
    readers: Readers,
    bus: PollingBus,
    signals: Arc<SignalThread>,
    reading: watch::Receiver<()>,
    writing: watch::Receiver<()>,
}

impl SqliteStore {
    /// Opens the file, brings its tables up to date and starts the threads.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] if the file may not be written, [`StoreError::NewerSchema`] if a
    /// newer release has changed it, [`StoreError::Corrupt`] if it is no database,
    /// [`StoreError::Unavailable`] if it cannot be opened now, [`StoreError::Invalid`] if it
    /// cannot be used as it is (no write-ahead log on its file system, an encoding that is not
    /// UTF-8).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the file ready or as it was, and no thread.
    pub async fn open(config: SqliteConfig) -> Result<Self, StoreError> {
        let sql = Arc::new(Sql::new(&config.namespace));
        let (write_end, writing) = watch::channel(());
        let (read_end, reading) = watch::channel(());
        let writer = (config.access == SqliteAccess::ReadWrite).then(writer::queue);
        let (ready, opened) = oneshot::channel();
        let thread = WriterThread {
            config: config.clone(),
            sql: Arc::clone(&sql),
            queue: writer.clone(),
            ready,
            end: write_end,
        };
        // Made before the thread, so that the thread ends with it wherever this future is dropped.
        let signals = Arc::new(SignalThread::new(&config, &sql));
        let bus = PollingBus::new(Arc::clone(&signals) as _);
        let readers = Readers::new();
        let shared = Shared { config, writer, readers, bus, signals, reading, writing };
        let store = Self { shared: Arc::new(shared) };
        spawn("chat-sqlite-writer", move || thread.run())?;
        let gone = |_| unavailable("the thread that opens the database ended");
        for connection in opened.await.map_err(gone)?? {
            let reader = Reader::new(connection, Arc::clone(&sql));
            let queue = Arc::clone(store.readers().queue());
            let thread = ReaderThread { reader, queue, end: read_end.clone() };
            spawn("chat-sqlite-reader", move || thread.run())?;
        }
        Ok(store)
    }

    /// The store as the port for events.
    #[must_use]
    pub fn events(&self) -> Arc<dyn EventStore> {
        Arc::new(self.clone())
    }

    /// The store as the port for views.
    #[must_use]
    pub fn views(&self) -> Arc<dyn ViewStore> {
        Arc::new(self.clone())
    }

    /// The store as the port for signals between processes on one machine. A subscription keeps the
    /// store open, until it is dropped or the store is [closed](Self::close). A store that was opened
    /// for reading sends and receives none.
    #[must_use]
    pub fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.clone())
    }

    /// Gives the store a new incarnation. For an operator who has put back a backup: readers that
    /// hold positions of the time behind the backup are told to start again.
    ///
    /// # Errors
    /// As [`EventStore::append`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves it done or not done.
    pub async fn renew_epoch(&self) -> Result<Epoch, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.push(Job::RenewEpoch(sender)).await?;
        receiver.await.map_err(|_| lost_answer())?
    }

    /// Ends the threads after what is queued; what comes later is answered with
    /// [`StoreError::Closed`]. Returns when the file is closed. May be called more than once.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the store closing; calling again waits for the end.
    pub async fn close(&self) {
        let shared = &self.shared;
        shared.bus.close();
        shared.signals.close().await;
        // The writer closes the file last: only then does SQLite put the log into the database
        // file and remove it.
        shared.readers.queue().close();
        ended(shared.reading.clone()).await;
        if let Some(queue) = &shared.writer {
            queue.close();
        }
        ended(shared.writing.clone()).await;
    }

    pub(super) async fn push(&self, job: Job) -> Result<(), StoreError> {
        let Some(queue) = &self.shared.writer else {
            let what = format!("{} was opened for reading", self.shared.config.path.display());
            return Err(StoreError::ReadOnly { what });
        };
        let weight = job.weight();
        queue.push(job, weight).await
    }

    pub(super) fn polling_bus(&self) -> &PollingBus {
        &self.shared.bus
    }

    pub(super) fn readers(&self) -> &Readers {
        &self.shared.readers
    }

    pub(super) fn durability(&self) -> SqliteDurability {
        self.shared.config.durability
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.readers.queue().close();
        if let Some(queue) = &self.writer {
            queue.close();
        }
    }
}

/// Waits until every sender of the channel is dropped.
pub(super) async fn ended(mut threads: watch::Receiver<()>) {
    while threads.changed().await.is_ok() {}
}

pub(super) fn lost_answer() -> StoreError {
    let what = "the writing thread ended before it answered".into();
    StoreError::OutcomeUnknown { what, source: None }
}

fn unavailable(what: &str) -> StoreError {
    StoreError::Unavailable { what: what.into(), source: None }
}
