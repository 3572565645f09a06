//! The store: connects, hands work to the writer and to the pool, and closes both.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chat_core::Epoch;
use chat_core::ports::{Durability, EventBus, EventStore, StoreError, StoreInfo, ViewStore};
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, MySqlPool};
use uuid::Uuid;

use super::bus::Signals;
use super::config::{MysqlConfig, MysqlDurability};
use super::connection::{Connector, Session, Values, acquire};
use super::error::{Failure, Step};
use super::flush::Flushed;
use super::migrate::{self, EPOCH};
use super::queue::Queue;
use super::rows::{get, number};
use super::sql::Sql;
use super::writer::Writer;
use crate::polling::PollingBus;

/// Events and views in one database. Cheap to clone; all clones share the connections, which end
/// with [`close`](Self::close) or when the last clone is dropped.
///
/// It lives on the runtime that it was made on.
#[derive(Debug, Clone)]
pub struct MysqlStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    config: MysqlConfig,
    sql: Arc<Sql>,
    pool: MySqlPool,
    queue: Queue,
    bus: PollingBus,
    flushed: Arc<Flushed>,
    /// Most bytes of one statement.
    packet_limit: usize,
}

impl MysqlStore {
    /// Connects, and brings the tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the server cannot be reached now, [`StoreError::Invalid`] if
    /// it refuses the user, if the database is missing, if the tables are missing or old and the
    /// store may not change them, or if the server does not flush its commits and the
    /// configuration asks for it; [`StoreError::NewerSchema`] if a newer release has changed the
    /// tables.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tables ready or as they were, or half made; connecting again
    /// completes them.
    pub async fn connect(config: MysqlConfig) -> Result<Self, StoreError> {
        let sql = Arc::new(Sql::new(&config.namespace));
        let connector = Connector::new(&config);
        let mut connection = connector.connect().await?;
        let mut session = Session::new(&mut connection, config.statement_timeout);
        migrate::migrate(&mut session, &config.namespace, &sql, config.migrate).await?;
        let (info, shows_early) = look(&mut session, &sql).await?;
        if config.durability == MysqlDurability::Full && info.durability < Durability::MachineCrash
        {
            let what = "the server may lose acknowledged events when it crashes: set \
                        innodb_flush_log_at_trx_commit=1 and, with a binary log, sync_binlog=1; or \
                        accept it with `durability=server`";
            return Err(StoreError::Invalid { what: what.into() });
        }
        let packet_limit = session.packet_limit().await?;
        drop(connection);
        let pool = connector.pool(config.max_connections.get());
        let flushed = Arc::new(Flushed::new(shows_early, Arc::clone(&sql.flush)));
        let writer =
            Writer::new(connector, Arc::clone(&sql), Arc::clone(&flushed), config.lock_timeout);
        let queue = Queue::start(writer);
        let interval = config.poll_interval;
        let shared = Arc::new_cyclic(|shared| {
            let signals = Signals { store: Weak::clone(shared), interval };
            let bus = PollingBus::new(Arc::new(signals));
            Shared { config, sql, pool, queue, bus, flushed, packet_limit }
        });
        Ok(Self { shared })
    }

    /// Removes the tables of the configured namespace, with everything in them. For development
    /// and tests: there is no way back.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Dropping the future may leave some tables; calling again removes them.
    pub async fn remove_tables(config: &MysqlConfig) -> Result<(), StoreError> {
        let mut connection = Connector::new(config).connect().await?;
        let mut session = Session::new(&mut connection, config.statement_timeout);
        migrate::remove(&mut session, &config.namespace, &Sql::new(&config.namespace)).await
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

    /// The store as the port for signals between processes: rows of a table that each process with
    /// a subscriber looks at every few milliseconds
    /// ([`poll_interval`](MysqlConfig::poll_interval)). A subscription keeps the store open, until it
    /// is dropped or the store is [closed](Self::close).
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
        let epoch = Epoch(Uuid::new_v4());
        let mut connection = acquire(self.pool()).await?;
        let values = Values::new().with(EPOCH).with(epoch.to_string());
        let put = &self.sql().meta_put;
        let written = self.session(&mut connection).execute(put, values, Step::Commit).await;
        connection.settled(written)?;
        Ok(epoch)
    }

    /// Ends the writer after what is queued and closes the connections; what comes later is
    /// answered with [`StoreError::Closed`]. May be called more than once.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the store closing; calling again waits for the end.
    pub async fn close(&self) {
        self.shared.bus.close();
        self.shared.queue.close().await;
        self.shared.pool.close().await;
    }

    pub(super) fn from_shared(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn polling_bus(&self) -> &PollingBus {
        &self.shared.bus
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    pub(super) fn pool(&self) -> &MySqlPool {
        &self.shared.pool
    }

    pub(super) fn sql(&self) -> &Sql {
        &self.shared.sql
    }

    pub(super) fn flushed(&self) -> &Flushed {
        &self.shared.flushed
    }

    pub(super) fn shared_sql(&self) -> Arc<Sql> {
        Arc::clone(&self.shared.sql)
    }

    pub(super) fn packet_limit(&self) -> usize {
        self.shared.packet_limit
    }

    pub(super) fn lock_timeout(&self) -> Duration {
        self.shared.config.lock_timeout
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.shared.config.statement_timeout
    }

    pub(super) fn session<'c>(&self, connection: &'c mut MySqlConnection) -> Session<'c> {
        Session::new(connection, self.statement_timeout())
    }
}

/// What the store is, as of now.
pub(super) async fn info(session: &mut Session<'_>, sql: &Sql) -> Result<StoreInfo, Failure> {
    look(session, sql).await.map(|(info, _)| info)
}

/// The same, and whether the server shows a commit to others before it is on the disk.
async fn look(session: &mut Session<'_>, sql: &Sql) -> Result<(StoreInfo, bool), Failure> {
    let rows = session.rows(&sql.info, Values::new(), Step::Read).await?;
    let read = |row: &MySqlRow| {
        let epoch: Option<&str> = get(row, 0, "epoch")?;
        let epoch = Uuid::parse_str(epoch.ok_or("the epoch is missing")?);
        let epoch = epoch.map_err(|error| format!("the epoch: {error}"))?;
        let (flush, log, sync) =
            (number(row, 1, "flush")?, number(row, 2, "log_bin")?, number(row, 3, "sync_binlog")?);
        Ok((Epoch(epoch), durability(flush, log != 0, sync), log == 0))
    };
    let found = rows.first().map_or_else(|| Err("no row".to_owned()), read);
    let (epoch, durability, shows_early) =
        found.map_err(|what| super::lookup::corrupt("the store", what))?;
    Ok((StoreInfo { epoch, partitions: 1, durability }, shows_early))
}

/// What a commit survives. A binary log that is not flushed decides after a crash which commits
/// stay, so it counts as much as the engine's own log.
fn durability(flush: u64, binary_log: bool, sync_binary_log: u64) -> Durability {
    match (flush, binary_log, sync_binary_log) {
        (0, _, _) => Durability::Process,
        (1 | 3, false, _) | (1 | 3, true, 1) => Durability::MachineCrash,
        _ => Durability::ProcessCrash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_what_the_server_flushes() {
        assert_eq!(durability(1, false, 0), Durability::MachineCrash);
        assert_eq!(durability(1, true, 1), Durability::MachineCrash);
        assert_eq!(durability(3, false, 0), Durability::MachineCrash);
        assert_eq!(durability(1, true, 0), Durability::ProcessCrash);
        assert_eq!(durability(2, false, 1), Durability::ProcessCrash);
        assert_eq!(durability(0, true, 1), Durability::Process);
    }
}
