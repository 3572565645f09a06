//! A namespace of its own for each test, and short ways to look at it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZero;
use std::time::Duration;

use chat_core::Namespace;
use chat_store_sql::mysql::{MysqlConfig, MysqlStore};
use sqlx::{Connection as _, MySqlConnection, Row as _};
use uuid::Uuid;

/// A namespace of the shared server that nobody else uses.
#[derive(Debug)]
pub(crate) struct Place {
    url: String,
    namespace: Namespace,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::on(&shared_server())
    }

    /// A namespace of another server.
    pub(crate) fn on(url: &str) -> Self {
        let name = format!("t{}", &Uuid::new_v4().simple().to_string()[..10]);
        Self { url: url.to_owned(), namespace: Namespace::new(name).unwrap() }
    }

    /// The same place in another process.
    pub(crate) fn named(namespace: Namespace) -> Self {
        Self { namespace, ..Self::new() }
    }

    /// Returns when some append comes that cannot pass, as somebody else has the end of the log.
    pub(crate) async fn wait_for_a_waiting_append(&self) {
        let [insert, turn] = ["INSERT INTO {ns}_events", "{ns}_turn"].map(|text| self.sql(text));
        let mut connection = self.raw().await;
        let arrives = async {
            loop {
                // Only the first words of a statement: what it binds need not be text.
                let all = sqlx::query("SHOW PROCESSLIST").fetch_all(&mut connection).await.unwrap();
                let waits = |row: &sqlx::mysql::MySqlRow| {
                    let info: Option<Vec<u8>> = row.get_unchecked("Info");
                    let info = info.unwrap_or_default();
                    let info = String::from_utf8_lossy(&info);
                    info.contains(&insert) || info.contains(&turn)
                };
                if all.iter().any(waits) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, arrives).await.expect("an append waits");
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(crate) fn config(&self) -> MysqlConfig {
        let config = MysqlConfig::from_url(&self.url).unwrap();
        config.with_namespace(self.namespace.clone()).with_max_connections(NonZero::new(3).unwrap())
    }

    /// Another namespace, told apart from those of other tests by the name of this one.
    pub(crate) fn other(&self, namespace: &Namespace) -> MysqlConfig {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let name = format!("{}_{:08x}", self.namespace, hasher.finish() >> 32);
        self.config().with_namespace(Namespace::new(name).unwrap())
    }

    pub(crate) async fn open(&self) -> MysqlStore {
        MysqlStore::connect(self.config()).await.unwrap()
    }

    /// The database as a person with a client has it.
    pub(crate) async fn raw(&self) -> MySqlConnection {
        MySqlConnection::connect_with(&self.config().server).await.unwrap()
    }

    /// A statement with `{ns}` for the namespace.
    pub(crate) fn sql(&self, text: &str) -> String {
        text.replace("{ns}", self.namespace.as_str())
    }
}

/// Longer than anything takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn shared_server() -> String {
    std::env::var("CHAT_TEST_MYSQL").expect(
        "CHAT_TEST_MYSQL is not set; run `cargo xtask services up` and set what it prints, or run \
         `cargo xtask test`",
    )
}
