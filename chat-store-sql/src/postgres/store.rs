//! The store: connects, starts the task that appends, and ends everything.

use std::sync::Arc;

use chat_core::Epoch;
use chat_core::ports::{EventBus, EventStore, StoreError, ViewStore};
use sqlx::PgConnection;
use tokio::sync::watch;
use uuid::Uuid;

use super::bus::PostgresBus;
use super::config::PostgresConfig;
use super::connection::{Connector, Pool};
use super::error::{Step, store_error};
use super::migrate::migrate;
use super::queue::Queue;
use super::sql::Sql;
use super::writer::Writer;

/// Events, views and a bus in one PostgreSQL database. Cheap to clone; all clones share the
/// connections, which end with [`close`](Self::close) or when the last clone is dropped.
///
/// It lives on the Tokio runtime on which it was connected.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sql: Arc<Sql>,
    pool: Pool,
    queue: Queue,
    bus: PostgresBus,
    /// Ends when the task that appends has ended.
    appending: watch::Receiver<()>,
}

impl PostgresStore {
    /// Connects, brings the tables up to date and starts the task that appends.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the server cannot be reached now, [`StoreError::Invalid`] if
    /// it refuses the role or the database, if the database's encoding is not UTF-8, or if tables
    /// are missing that the store must not or may not make, [`StoreError::NewerSchema`] if a newer
    /// release has changed them.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tables ready or as they were, and no connection.
    pub async fn connect(config: PostgresConfig) -> Result<Self, StoreError> {
        let connector = Connector::new(&config);
        // The writer's connection keeps plans that it made while the log was short.
        let writers = connector.with("enable_seqscan", "off");
        // It would plan anew each time: a plan for one row looks cheaper than one for any number.
        let writers = writers.with("plan_cache_mode", "force_generic_plan");
        let mut connection = writers.connect().await?;
        check_encoding(&mut connection).await?;
        migrate(&mut connection, &config).await?;
        let sql = Arc::new(Sql::new(&config.namespace));
        let pool = Pool::new(connector.clone(), config.max_connections.get());
        let bus = PostgresBus::start(&connector, &config, Arc::clone(&sql));
        let writer = Writer::new(writers, Arc::clone(&sql), connection);
        let (end, appending) = watch::channel(());
        let (queue, task) = Queue::start(writer);
        tokio::spawn(async move {
            task.await;
            drop(end);
        });
        Ok(Self { shared: Arc::new(Shared { sql, pool, queue, bus, appending }) })
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

    /// The bus between all processes that have a store of this namespace.
    #[must_use]
    pub fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.shared.bus.clone())
    }

    /// Gives the store a new incarnation. For an operator who has put back a backup, or has failed
    /// over to a standby that had not received everything: readers that hold positions of the time
    /// before are told to start again.
    ///
    /// # Errors
    /// As [`EventStore::append`]; [`StoreError::ReadOnly`] if the role may not do it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it done or not done.
    pub async fn renew_epoch(&self) -> Result<Epoch, StoreError> {
        let epoch = Epoch(Uuid::new_v4());
        let query = || sqlx::query(self.sql().renew_epoch.clone()).bind(epoch.to_string());
        self.pool().write(query).await?;
        Ok(epoch)
    }

    /// Ends the connections after what is queued; what comes later is answered with
    /// [`StoreError::Closed`]. Returns when all appends are answered. May be called more than
    /// once.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the store closing; calling again waits for the end.
    pub async fn close(&self) {
        let shared = &self.shared;
        shared.queue.close().await;
        let mut appending = shared.appending.clone();
        while appending.changed().await.is_ok() {}
        shared.bus.close();
        shared.pool.close().await;
    }

    pub(super) fn sql(&self) -> &Sql {
        &self.shared.sql
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// The channel of the bus.
    pub(super) fn channel(&self) -> &str {
        self.shared.bus.channel()
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.shared.queue
    }
}

/// Names and texts may hold every character.
async fn check_encoding(connection: &mut PgConnection) -> Result<(), StoreError> {
    let encoding: String = sqlx::query_scalar("SELECT current_setting('server_encoding')")
        .fetch_one(connection)
        .await
        .map_err(|error| store_error(error, Step::Connect))?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let what = format!("the database has the encoding {encoding}, UTF8 is needed");
    Err(StoreError::Invalid { what })
}
