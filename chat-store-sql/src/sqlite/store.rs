//! The store: opens the file, starts the threads, hands work to them, and ends them.

use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use chat_core::ports::{
    Append, AppendResult, Direction, EventStore, LogPage, PageLimit, StoreError, StoreInfo,
    StreamPage, ViewStore,
};
use chat_core::{Epoch, EventId, PartitionId, Position, RecordedEvent, StreamId, Version};
use rusqlite::{Connection, Rows};
use tokio::sync::{oneshot, watch};

use super::checkpointer::Checkpointer;
use super::config::{SqliteAccess, SqliteConfig};
use super::connection::{open_reader, open_writer};
use super::incarnation::Mark;
use super::migrate::{self, EPOCH};
use super::queue::Queue;
use super::reader::{ReadJob, Reader, Readers};
use super::rows::{bound, count, event, in_read};
use super::sql::Sql;
use super::writer::{self, Job, Writer};

/// Events and views in one SQLite file. Cheap to clone; all clones share the threads, which end
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
        let readers = Readers::new();
        let (write_end, writing) = watch::channel(());
        let (read_end, reading) = watch::channel(());
        let queue = (config.access == SqliteAccess::ReadWrite).then(writer::queue);

        let (ready, opened) = oneshot::channel();
        let writer_thread = WriterThread {
            config: config.clone(),
            sql: Arc::clone(&sql),
            queue: queue.clone(),
            ready,
            end: write_end,
        };
        spawn("chat-sqlite-writer", move || writer_thread.run())?;
        let gone = |_| unavailable("the thread that opens the database ended");
        let connections = opened.await.map_err(gone)??;

        let shared = Shared { config, writer: queue, readers, reading, writing };
        let store = Self { shared: Arc::new(shared) };
        for connection in connections {
            let reader = Reader::new(connection, Arc::clone(&sql));
            let thread = ReaderThread {
                reader,
                queue: Arc::clone(store.shared.readers.queue()),
                end: read_end.clone(),
            };
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

    pub(super) fn readers(&self) -> &Readers {
        &self.shared.readers
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

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        if appends.is_empty() {
            return Vec::new();
        }
        let failed = |error: StoreError| appends.iter().map(|_| Err(error.clone())).collect();
        let (sender, receiver) = oneshot::channel();
        if let Err(error) = self.push(Job::Append(appends.to_vec(), sender)).await {
            return failed(error);
        }
        receiver.await.unwrap_or_else(|_| failed(lost_answer()))
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        let stream = stream.clone();
        let read = move |reader: &Reader| {
            reader.one_look(|reader| read_stream(reader, &stream, direction, from, limit))
        };
        self.readers().read(read).await
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        if partition != PARTITION {
            let what = format!("partition {partition}, this store has only partition {PARTITION}");
            return Err(StoreError::Invalid { what });
        }
        let read = move |reader: &Reader| reader.one_look(|reader| read_log(reader, after, limit));
        self.readers().read(read).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        let stream = stream.clone();
        let read = move |reader: &Reader| reader.one_look(|reader| find(reader, &stream, id));
        self.readers().read(read).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        let streams = streams.to_vec();
        let head = |reader: &Reader, stream: &StreamId| {
            Ok(reader.stream(stream)?.map_or(Version::ZERO, |(_, version)| version))
        };
        let read = move |reader: &Reader| {
            reader.one_look(|reader| streams.iter().map(|stream| head(reader, stream)).collect())
        };
        self.readers().read(read).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let epoch = self.readers().read(read_epoch).await?;
        let durability = self.shared.config.durability.into();
        Ok(StoreInfo { epoch, partitions: 1, durability })
    }

    fn partition_of(&self, _stream: &StreamId) -> PartitionId {
        PARTITION
    }
}

fn read_stream(
    reader: &Reader,
    stream: &StreamId,
    direction: Direction,
    from: Version,
    limit: PageLimit,
) -> Result<StreamPage, StoreError> {
    let Some((id, head)) = reader.stream(stream)? else {
        return Ok(StreamPage { events: Vec::new(), head: Version::ZERO });
    };
    let sql = match direction {
        Direction::Forward => &reader.sql.read_forward,
        Direction::Backward => &reader.sql.read_backward,
    };
    let mut statement = reader.statement(sql)?;
    let asked = count(limit.clamped_events());
    let rows = statement.query((id, bound(from.0), asked)).map_err(in_read)?;
    Ok(StreamPage { events: page(rows, limit, |_| Ok(stream.clone()))?, head })
}

fn read_log(reader: &Reader, after: Position, limit: PageLimit) -> Result<LogPage, StoreError> {
    let head: i64 =
        reader.statement(&reader.sql.log_head)?.query_row((), |row| row.get(0)).map_err(in_read)?;
    let mut statement = reader.statement(&reader.sql.read_log)?;
    let rows = statement.query((bound(after.0), count(limit.clamped_events()))).map_err(in_read)?;
    let events = page(rows, limit, |id| reader.name(id))?;
    let next = events.last().map_or(after, |event| event.position);
    Ok(LogPage { events, next, head: Position(head.unsigned_abs()) })
}

fn find(
    reader: &Reader,
    stream: &StreamId,
    id: EventId,
) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
    let Some((row, _)) = reader.stream(stream)? else { return Ok(None) };
    let mut statement = reader.statement(&reader.sql.find_event)?;
    let mut rows = statement.query((id.0.as_bytes().as_slice(), row)).map_err(in_read)?;
    rows.next().map_err(in_read)?.map(|row| event(row, stream)).transpose()
}

fn read_epoch(reader: &Reader) -> Result<Epoch, StoreError> {
    let corrupt = |what| StoreError::Corrupt { place: "the store's epoch".into(), what };
    let text = reader.meta(EPOCH)?.ok_or_else(|| corrupt("it is missing".to_owned()))?;
    let uuid = uuid::Uuid::parse_str(&text).map_err(|error| corrupt(error.to_string()))?;
    Ok(Epoch(uuid))
}

/// Reads rows until the page is full. What lies behind its bound in bytes is not read at all.
fn page(
    mut rows: Rows<'_>,
    limit: PageLimit,
    name: impl Fn(i64) -> Result<StreamId, StoreError>,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    let mut events = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = rows.next().map_err(in_read)? {
        let event = event(row, &name(row.get(1).map_err(in_read)?)?)?;
        bytes = bytes.saturating_add(event.event.size());
        events.push(event);
        if bytes >= limit.bytes {
            break;
        }
    }
    Ok(events)
}

/// What the writing thread starts with.
struct WriterThread {
    config: SqliteConfig,
    sql: Arc<Sql>,
    queue: Option<Arc<Queue<Job>>>,
    ready: oneshot::Sender<Result<Vec<Connection>, StoreError>>,
    /// Dropped when the thread ends.
    end: watch::Sender<()>,
}

impl WriterThread {
    /// Opens all connections, hands out the reading ones, and writes until the end.
    fn run(self) {
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
    let mut connection = open_writer(config)?;
    migrate::migrate(&mut connection, &config.namespace, sql)?;
    let readers = (0..config.readers.get()).map(|_| open_reader(config));
    let readers = readers.collect::<Result<_, _>>()?;
    let checkpointer = Checkpointer::start(config, &mut connection)?;
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

struct ReaderThread {
    reader: Reader,
    queue: Arc<Queue<ReadJob>>,
    /// Dropped when the thread ends, after the connection.
    end: watch::Sender<()>,
}

impl ReaderThread {
    fn run(self) {
        let Self { reader, queue, end } = self;
        reader.run(&queue);
        drop(reader);
        drop(end);
    }
}

/// Drops what is queued when the thread ends, so that callers are answered.
struct Abandon<'q>(&'q Queue<Job>);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| StoreError::Unavailable {
        what: format!("cannot start the thread {name}"),
        source: Some(Arc::new(error)),
    })
}

/// Waits until every sender of the channel is dropped.
async fn ended(mut threads: watch::Receiver<()>) {
    while threads.changed().await.is_ok() {}
}

pub(super) fn lost_answer() -> StoreError {
    let what = "the writing thread ended before it answered".into();
    StoreError::OutcomeUnknown { what, source: None }
}

fn unavailable(what: &str) -> StoreError {
    StoreError::Unavailable { what: what.into(), source: None }
}

const PARTITION: PartitionId = PartitionId(0);
