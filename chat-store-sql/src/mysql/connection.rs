//! Connections and statements: every connection has the session that the SQL counts on, every
//! statement has a time limit.

use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use chat_core::ports::StoreError;
use sqlx::mysql::{
    MySqlArguments, MySqlConnectOptions, MySqlPoolOptions, MySqlQueryResult, MySqlRow,
};
use sqlx::pool::PoolConnection;
use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, MySql, MySqlConnection,
    MySqlPool, Row as _,
};
use tokio::time::timeout;

use super::config::MysqlConfig;
use super::error::{Failure, Step};

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    options: MySqlConnectOptions,
    session: Arc<str>,
    connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
}

/// Without the options, which hold the password.
impl Debug for Connector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(config: &MysqlConfig) -> Self {
        let options = config
            .server
            .clone()
            .charset("utf8mb4")
            .timezone(None)
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .disable_statement_logging();
        // The server counts whole seconds. A wait that ends is begun again while there is time.
        let lock_wait = config.lock_timeout.as_secs().clamp(1, LONGEST_LOCK_WAIT);
        let session = SESSION.trim().replace("{lock_wait}", &lock_wait.to_string()).into();
        let (connect_timeout, statement_timeout) =
            (config.connect_timeout, config.statement_timeout);
        Self { options, session, connect_timeout, statement_timeout }
    }

    /// A connection of its own for the writer, with room for its many statements.
    pub(super) async fn connect(&self) -> Result<MySqlConnection, Failure> {
        let connecting = async {
            let options = self.options.clone().statement_cache_capacity(WRITERS_STATEMENTS);
            let mut connection = options.connect().await?;
            self.set_up(&mut connection).await?;
            Ok(connection)
        };
        limited(self.connect_timeout, Step::Open, connecting).await
    }

    /// Connections that are made when they are needed.
    pub(super) fn pool(&self, max_connections: u32) -> MySqlPool {
        let connector = self.clone();
        MySqlPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(self.connect_timeout)
            // Whether a connection still stands is asked only where it was idle for a while: each
            // question is a round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    if state.idle_for < ASK_AFTER {
                        return Ok(true);
                    }
                    connection.ping().await.map(|()| true)
                })
            })
            .after_connect(move |connection, _| {
                let connector = connector.clone();
                Box::pin(async move { connector.set_up(connection).await })
            })
            .connect_lazy_with(self.options.clone())
    }

    async fn set_up(&self, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        let session = AssertSqlSafe(Arc::clone(&self.session));
        sqlx::raw_sql(session).execute(connection).await.map(drop)
    }
}

/// A connection with the time limit of its statements.
#[derive(Debug)]
pub(super) struct Session<'c> {
    pub(super) connection: &'c mut MySqlConnection,
    pub(super) limit: Duration,
}

impl<'c> Session<'c> {
    pub(super) fn new(connection: &'c mut MySqlConnection, limit: Duration) -> Self {
        Self { connection, limit }
    }

    /// Carries out a prepared statement.
    pub(super) async fn execute(
        &mut self,
        sql: &Arc<str>,
        values: Values,
        step: Step,
    ) -> Result<(), Failure> {
        self.done(sql, values, step).await.map(drop)
    }

    /// Inserts rows into a table that numbers them; says the number of the first.
    pub(super) async fn insert(
        &mut self,
        sql: &Arc<str>,
        values: Values,
        step: Step,
    ) -> Result<u64, Failure> {
        self.done(sql, values, step).await.map(|done| done.last_insert_id())
    }

    pub(super) async fn done(
        &mut self,
        sql: &Arc<str>,
        values: Values,
        step: Step,
    ) -> Result<MySqlQueryResult, Failure> {
        let (values, prepared) = values.finish()?;
        let statement = sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), values)
            .persistent(prepared == Prepared::Kept);
        limited(self.limit, step, statement.execute(&mut *self.connection)).await
    }

    /// All rows of a prepared statement.
    pub(super) async fn rows(
        &mut self,
        sql: &Arc<str>,
        values: Values,
        step: Step,
    ) -> Result<Vec<MySqlRow>, Failure> {
        let (values, prepared) = values.finish()?;
        let statement = sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), values)
            .persistent(prepared == Prepared::Kept);
        limited(self.limit, step, statement.fetch_all(&mut *self.connection)).await
    }

    /// All rows of statements without values, in one round trip.
    pub(super) async fn raw(
        &mut self,
        sql: impl Into<Arc<str>>,
        step: Step,
    ) -> Result<Vec<MySqlRow>, Failure> {
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.into()));
        limited(self.limit, step, statements.fetch_all(&mut *self.connection)).await
    }

    /// Asks whether the connection still stands.
    pub(super) async fn ping(&mut self, step: Step) -> Result<(), Failure> {
        limited(self.limit, step, self.connection.ping()).await
    }

    /// Most bytes that the server takes in one statement.
    pub(super) async fn packet_limit(&mut self) -> Result<usize, Failure> {
        let rows = self.raw(PACKET_LIMIT, Step::Open).await?;
        let limit = rows.first().and_then(|row| row.try_get::<u64, _>(0).ok());
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.map(|limit| limit.min(LARGEST_PACKET));
        limit.ok_or_else(|| {
            let what = "the server does not tell its max_allowed_packet".into();
            Failure::of(StoreError::Bug { what })
        })
    }
}

/// Values for the places of a statement.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: MySqlArguments,
    once: bool,
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepared {
    /// For the life of the connection.
    Kept,
    /// For this one time.
    Once,
}

impl Values {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// For a statement that will hardly come again.
    pub(super) fn once() -> Self {
        Self { once: true, ..Self::default() }
    }

    pub(super) fn with<'v, T>(mut self, value: T) -> Self
    where
        T: sqlx::Encode<'v, MySql> + sqlx::Type<MySql>,
    {
        self.add(value);
        self
    }

    pub(super) fn add<'v, T>(&mut self, value: T)
    where
        T: sqlx::Encode<'v, MySql> + sqlx::Type<MySql>,
    {
        if let Err(error) = self.values.add(value) {
            self.error = Some(error.to_string());
        }
    }

    pub(super) fn reserve(&mut self, values: usize, bytes: usize) {
        self.values.reserve(values, bytes);
    }

    pub(super) fn finish(self) -> Result<(MySqlArguments, Prepared), Failure> {
        match self.error {
            Some(what) => Err(Failure::of(StoreError::Bug { what })),
            None if self.once => Ok((self.values, Prepared::Once)),
            None => Ok((self.values, Prepared::Kept)),
        }
    }
}

/// A connection of the pool, on loan. Who is dropped while using it leaves it in the middle of
/// something, and the driver may then wait for ever for an answer that does not come. So it is
/// closed unless what was done last is known to be [settled](Self::settled).
#[derive(Debug)]
pub(super) struct Lent {
    connection: PoolConnection<MySql>,
    settled: bool,
}

/// Lends a connection.
pub(super) async fn acquire(pool: &MySqlPool) -> Result<Lent, Failure> {
    // The pool itself limits the time.
    let connection = pool.acquire().await.map_err(|error| Failure::new(error, Step::Open))?;
    Ok(Lent { connection, settled: true })
}

impl Lent {
    /// Notes how the last use ended: after a failure the connection is given up, as it broke or
    /// may be in the middle of something.
    pub(super) fn settled<T>(&mut self, result: Result<T, Failure>) -> Result<T, StoreError> {
        self.settled = result.is_ok();
        result.map_err(|failure| failure.error)
    }

    /// Notes that the last use left the connection whole, however it ended.
    pub(super) fn is_whole(&mut self) {
        self.settled = true;
    }

    /// Gives the connection up.
    pub(super) fn close(mut self) {
        self.settled = false;
    }
}

impl Deref for Lent {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        self.settled = false;
        &mut self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.settled {
            self.connection.close_on_drop();
        }
    }
}

/// Waits for an answer, for a while.
pub(super) async fn limited<T>(
    limit: Duration,
    step: Step,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Failure> {
    match timeout(limit, statement).await {
        Ok(answer) => answer.map_err(|error| Failure::new(error, step)),
        Err(_) => Err(Failure::timed_out(step)),
    }
}

const SESSION: &str = include_str!("sql/session.sql");
const PACKET_LIMIT: &str = "SELECT CAST(@@SESSION.max_allowed_packet AS UNSIGNED)";
/// A connection that was idle for longer is asked whether it still stands, so that a restart of
/// the server in between is no error of the next statement.
pub(super) const ASK_AFTER: Duration = Duration::from_secs(1);
/// Below the size at which the protocol splits a packet.
const LARGEST_PACKET: usize = (16 << 20) - 1;
const LONGEST_LOCK_WAIT: u64 = 5;
/// More than the writer's statements of different lengths, so that none is prepared twice.
const WRITERS_STATEMENTS: usize = 160;
