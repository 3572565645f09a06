//! What runs on the store's threads, from the opening of the file to its end.

use std::sync::Arc;
use std::thread;

use chat_core::ports::StoreError;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::checkpointer::Checkpointer;
use super::config::SqliteConfig;
use super::connection::{open_reader, open_writer};
use super::incarnation::Mark;
use super::migrate;
use super::queue::Queue;
use super::reader::{ReadJob, Reader};
use super::sql::Sql;
use super::writer::{self, Job, Writer};

/// What the writing thread starts with.
pub(super) struct WriterThread {
    pub(super) config: SqliteConfig,
    pub(super) sql: Arc<Sql>,
    pub(super) queue: Option<Arc<Queue<Job>>>,
    pub(super) ready: oneshot::Sender<Result<Vec<Connection>, StoreError>>,
    /// Dropped when the thread ends.
    pub(super) end: watch::Sender<()>,
}

impl WriterThread {
    /// Opens all connections, hands out the reading ones, and writes until the end.
    pub(super) fn run(self) {
        let Self { config, sql, queue, ready, end } = self;
        let Some(queue) = queue else {
            drop(ready.send(read_only(&config)));
            return;
        };
        // Whatever ends the thread, callers that wait must not wait for ever.
        let abandon = Abandon(&queue);
        match open_all(&config, &sql) {
            Err(error) => drop(ready.send(Err(error))),
            Ok(mut opened) => {
                match Writer::new(&opened.connection, &sql) {
                    Err(error) => drop(ready.send(Err(error))),
                    Ok(writer) => {
                        // If nobody waits any more for the store to open, nobody will write.
                        if ready.send(Ok(opened.readers)).is_ok() {
                            writer::run(writer, &queue);
                        }
                    }
                }
                opened.checkpointer.stop(&mut opened.connection);
                if let Some(mark) = opened.mark {
                    mark.take_away(&opened.connection, &sql);
                }
            }
        }
        drop(abandon);
        drop(end);
    }
}

/// What a store that writes consists of.
struct Opened {
    connection: Connection,
    readers: Vec<Connection>,
    checkpointer: Checkpointer,
    mark: Option<Mark>,
}

fn open_all(config: &SqliteConfig, sql: &Sql) -> Result<Opened, StoreError> {
    let (mut connection, hurry) = open_writer(config)?;
    migrate::migrate(&mut connection, &config.namespace, sql)?;
    let readers = (0..config.readers.get()).map(|_| open_reader(config));
    let readers = readers.collect::<Result<_, _>>()?;
    let checkpointer = Checkpointer::start(config, &mut connection, hurry)?;
    let mark = Mark::leave(&mut connection, config, sql)?;
    Ok(Opened { connection, readers, checkpointer, mark })
}

fn read_only(config: &SqliteConfig) -> Result<Vec<Connection>, StoreError> {
    let readers = (0..config.readers.get()).map(|_| {
        let connection = open_reader(config)?;
        migrate::check(&connection, &config.namespace)?;
        Ok(connection)
    });
    readers.collect()
}

/// What a reading thread starts with.
pub(super) struct ReaderThread {
    pub(super) reader: Reader,
    pub(super) queue: Arc<Queue<ReadJob>>,
    /// Dropped when the thread ends, after the connection.
    pub(super) end: watch::Sender<()>,
}

impl ReaderThread {
    pub(super) fn run(self) {
        let Self { reader, queue, end } = self;
        reader.run(&queue);
        drop(reader);
        drop(end);
    }
}

/// Drops what is queued when the thread ends, so that callers are answered.
pub(super) struct Abandon<'q, T>(pub(super) &'q Queue<T>);

impl<T> Drop for Abandon<'_, T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Starts a thread, which ends by itself.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| StoreError::Unavailable {
        what: format!("cannot start the thread {name}"),
        source: Some(Arc::new(error)),
    })
}
