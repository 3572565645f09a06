//! Connections: how each is set up, and the pool of those that read and write views.
//!
//! The pool never asks the server whether a connection is alive, except after a pause: that would
//! be a round trip for every use. A connection that turns out to be broken takes the idle ones
//! with it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chat_core::ports::StoreError;
use futures::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::config::PostgresConfig;
use super::error::{Class, Step, classify, store_error};

/// Makes connections that are set up as the store needs them.
#[derive(Clone)]
pub(super) struct Connector {
    options: PgConnectOptions,
    patience: Duration,
    statement_timeout: Duration,
}

impl Connector {
    pub(super) fn new(config: &PostgresConfig) -> Self {
        let statement_timeout = config.statement_timeout.as_millis().to_string();
        let mut settings = vec![
            // What is looked at under the lock must be what was committed before it was taken.
            ("default_transaction_isolation", "read committed"),
            ("statement_timeout", &statement_timeout),
        ];
        if let Some(setting) = config.durability.setting() {
            settings.push(("synchronous_commit", setting));
        }
        let options = config.server.clone().disable_statement_logging().options(settings);
        let patience = config.acquire_timeout;
        Self { options, patience, statement_timeout: config.statement_timeout }
    }

    /// The same with one more setting.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        Self { options: self.options.clone().options([(name, value)]), ..self.clone() }
    }

    pub(super) async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        self.options.connect().await
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// How long to wait for a connection.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        match timeout(self.patience, self.open()).await {
            Ok(connected) => connected.map_err(|error| store_error(error, Step::Connect)),
            Err(_) => Err(busy("connect to the database")),
        }
    }

    /// How long to wait for an answer before the connection is given up: longer than the server
    /// takes to give up by itself, so this is for servers that are out of reach.
    pub(super) fn answer_timeout(&self) -> Duration {
        self.statement_timeout.saturating_add(Duration::from_secs(5))
    }
}

/// Says nothing: the options hold the password.
impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// A statement with its values.
pub(super) type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

/// A bounded number of connections, made when needed.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    places: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// What to do with rows that are still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Read,
    Leave,
}

impl Pool {
    pub(super) fn new(connector: Connector, size: usize) -> Self {
        let places = Semaphore::new(size.min(Semaphore::MAX_PERMITS));
        Self { connector, places, idle: Mutex::default() }
    }

    /// Lends a connection. It goes back with [`Lease::give_back`]; one that is dropped in the
    /// middle of something is closed.
    pub(super) async fn take(&self) -> Result<Lease<'_>, StoreError> {
        let place = match timeout(self.connector.patience, self.places.acquire()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(StoreError::Closed),
            Err(_) => return Err(busy("wait for a connection to the database")),
        };
        while let Some(mut idle) = self.pop() {
            let fresh = idle.since.elapsed() < TRUSTED_FOR;
            if fresh || alive(&mut idle.connection).await {
                return Ok(Lease {
                    connection: idle.connection,
                    fresh: false,
                    _place: place,
                    pool: self,
                });
            }
        }
        let connection = self.connector.connect().await?;
        Ok(Lease { connection, fresh: true, _place: place, pool: self })
    }

    /// Reads rows one by one into a value. What fails because an idle connection was broken is done
    /// again on a new one, from the start.
    pub(super) async fn read<'q, T: Default>(
        &self,
        query: impl Fn() -> PgQuery<'q>,
        add: impl Fn(&mut T, PgRow) -> Result<(), StoreError>,
    ) -> Result<T, StoreError> {
        self.read_until(query, |value, row| add(value, row).map(|()| Rest::Read)).await
    }

    /// The same, up to where `add` wants no more. The connection is given up then, as what is left
    /// on it may be much.
    pub(super) async fn read_until<'q, T: Default>(
        &self,
        query: impl Fn() -> PgQuery<'q>,
        add: impl Fn(&mut T, PgRow) -> Result<Rest, StoreError>,
    ) -> Result<T, StoreError> {
        let read = async |connection: &mut PgConnection| {
            let mut value = T::default();
            let mut rows = query().fetch(connection);
            let mut damage = None;
            while let Some(row) = rows.try_next().await? {
                // What comes behind a damaged row is read off the connection all the same.
                if damage.is_none() {
                    match add(&mut value, row) {
                        Ok(Rest::Read) => {}
                        Ok(Rest::Leave) => return Ok((Ok(value), Rest::Leave)),
                        Err(error) => damage = Some(error),
                    }
                }
            }
            Ok((damage.map_or(Ok(value), Err), Rest::Read))
        };
        loop {
            let mut lease = self.take().await?;
            let limit = self.connector.answer_timeout();
            let error = match timeout(limit, read(&mut lease.connection)).await {
                Ok(Ok((value, Rest::Read))) => {
                    lease.give_back();
                    return value;
                }
                Ok(Ok((value, Rest::Leave))) => return value,
                Ok(Err(error)) => error,
                Err(_) => return Err(busy("read from the database in time")),
            };
            let again = lease.failed(&error);
            if !again {
                return Err(store_error(error, Step::Read));
            }
        }
    }

    /// Writes in one statement that commits by itself. Never done again once it may have happened.
    pub(super) async fn write<'q>(
        &self,
        query: impl Fn() -> PgQuery<'q>,
    ) -> Result<Option<PgRow>, StoreError> {
        let mut retries = 0;
        loop {
            let mut lease = self.take().await?;
            let limit = self.connector.answer_timeout();
            let error = match timeout(limit, query().fetch_optional(&mut lease.connection)).await {
                Ok(Ok(row)) => {
                    lease.give_back();
                    return Ok(row);
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    let what = "the database did not answer in time".into();
                    return Err(StoreError::OutcomeUnknown { what, source: None });
                }
            };
            lease.failed(&error);
            if classify(&error) != Class::Retry || retries == RETRIES {
                return Err(store_error(error, Step::Commit));
            }
            pause(retries).await;
            retries += 1;
        }
    }

    /// Closes the idle connections; nothing more is lent.
    pub(super) async fn close(&self) {
        self.places.close();
        while let Some(idle) = self.pop() {
            // It is closed in any case; a server that is gone cannot be told.
            drop(idle.connection.close().await);
        }
    }

    fn pop(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn push(&self, connection: PgConnection) {
        let idle = Idle { connection, since: Instant::now() };
        if !self.places.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
        }
    }

    fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection on loan.
#[derive(Debug)]
pub(super) struct Lease<'p> {
    pub(super) connection: PgConnection,
    /// Made for this loan, so that it cannot have broken while it was idle.
    fresh: bool,
    _place: SemaphorePermit<'p>,
    pool: &'p Pool,
}

impl Lease<'_> {
    pub(super) fn give_back(self) {
        self.pool.push(self.connection);
    }

    /// Ends the loan after an error; says whether a new connection may do better.
    fn failed(self, error: &sqlx::Error) -> bool {
        match classify(error) {
            Class::Broken => {
                self.pool.forget_idle();
                !self.fresh
            }
            Class::Retry | Class::Duplicate | Class::Data | Class::Forbidden => {
                self.give_back();
                false
            }
            _ => false,
        }
    }
}

/// Whether a connection that was idle still answers.
pub(super) async fn alive(connection: &mut PgConnection) -> bool {
    matches!(timeout(Duration::from_secs(2), connection.ping()).await, Ok(Ok(())))
}

/// Waits before the same is tried again after a deadlock or a lock timeout.
pub(super) async fn pause(retries: u32) {
    tokio::time::sleep(Duration::from_millis(1 << retries.min(6))).await;
}

fn busy(what: &str) -> StoreError {
    StoreError::Unavailable { what: format!("cannot {what}"), source: None }
}

/// How often what the database refused for the moment is tried again.
pub(super) const RETRIES: u32 = 5;
/// A connection that was in use so recently is used without asking whether it is alive.
pub(super) const TRUSTED_FOR: Duration = Duration::from_secs(1);
