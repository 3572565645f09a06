//! A namespace that nobody else uses, and short ways to open stores in it.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::time::Duration;

use chat_core::Namespace;
use chat_store_sql::postgres::{PostgresConfig, PostgresStore};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// The server that the tests share.
pub(crate) fn url() -> String {
    std::env::var("CHAT_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "CHAT_TEST_POSTGRES is not set; run `cargo xtask services up` and set what it prints, \
             or run `cargo xtask test`"
        )
    })
}

/// A namespace in a database.
#[derive(Debug)]
pub(crate) struct Place {
    url: String,
    namespace: Namespace,
    others: Mutex<HashMap<Namespace, Namespace>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::at(url())
    }

    pub(crate) fn at(url: String) -> Self {
        Self { url, namespace: unused_namespace(), others: Mutex::default() }
    }

    /// The same place in another process.
    pub(crate) fn named(namespace: Namespace) -> Self {
        Self { namespace, ..Self::new() }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Few connections: the tests share a server.
    pub(crate) fn config(&self) -> PostgresConfig {
        let mut config = PostgresConfig::from_url(&self.url).unwrap();
        // So that a test finds its own connections on the server.
        config.server = config.server.application_name(self.namespace.as_str());
        config.with_namespace(self.namespace.clone()).with_max_connections(NonZero::new(2).unwrap())
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::connect(self.config()).await.unwrap()
    }

    /// A store of a namespace that is called thus in the test.
    pub(crate) async fn open_named(&self, name: &Namespace) -> PostgresStore {
        let namespace = {
            let mut others = self.others.lock().unwrap();
            others.entry(name.clone()).or_insert_with(unused_namespace).clone()
        };
        PostgresStore::connect(self.config().with_namespace(namespace)).await.unwrap()
    }
}

impl Place {
    /// Returns when some append of this namespace waits for the lock that another one holds.
    pub(crate) async fn wait_for_a_waiting_append(&self) {
        let waiting = format!(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
             AND (classid::bigint << 32) | objid::bigint = hashtextextended('{}_events', 0)",
            self.namespace
        );
        let arrives = async {
            while number(&waiting).await == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, arrives).await.expect("an append waits");
    }
}

impl Place {
    /// Ends all connections of this namespace's stores, as an operator or a fail-over does.
    pub(crate) async fn end_connections(&self) -> i64 {
        number(&format!(
            "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
             WHERE application_name = '{}'",
            self.namespace
        ))
        .await
    }
}

/// Longer than anything takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Runs statements as the server's administrator.
pub(crate) async fn try_execute(sql: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(&url()).await?;
    let answer = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await;
    connection.close().await?;
    answer.map(drop)
}

pub(crate) async fn execute(sql: &str) {
    try_execute(sql).await.unwrap();
}

/// The number that a statement gives.
pub(crate) async fn number(sql: &str) -> i64 {
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    let sql = sqlx::AssertSqlSafe(sql);
    let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    number
}

fn unused_namespace() -> Namespace {
    let id = Uuid::new_v4().simple().to_string();
    Namespace::new(format!("t{}", &id[..20])).unwrap()
}
