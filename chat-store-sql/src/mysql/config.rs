//! What a host may choose, and what an acknowledgement is worth then.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;
use std::time::Duration;

use chat_core::Namespace;
use sqlx::mysql::MySqlConnectOptions;

/// Where the server is and how it is used. Plain data; every default is the safe one.
///
/// It can be written as a URL: `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, or `mariadb:` for the
/// same. Beside the driver's parameters (`ssl-mode`, `ssl-ca`, `ssl-cert`, `ssl-key`, `socket`) it
/// may have `namespace`, `durability` (`full` or `server`), `migrate` (`auto` or `never`),
/// `max_connections`, `connect_timeout_ms`, `statement_timeout_ms`, `lock_timeout_ms` and
/// `poll_interval_ms`.
///
/// ```
/// use chat_store_sql::mysql::{MysqlConfig, MysqlMigrate};
///
/// let config: MysqlConfig = "mysql://chat:secret@localhost/app?migrate=never".parse()?;
/// assert_eq!(config.migrate, MysqlMigrate::Never);
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), chat_store_sql::mysql::ConfigError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct MysqlConfig {
    /// Server, user, password, database and TLS, as the driver takes them. The database must
    /// exist. Character set and time zone are set by the store.
    pub server: MySqlConnectOptions,
    /// Prefix of the tables, `chat` by default. Stores with different namespaces in one database
    /// never see each other.
    pub namespace: Namespace,
    /// What an acknowledged append must survive, [`MysqlDurability::Full`] by default.
    pub durability: MysqlDurability,
    /// Whether to make and change tables, [`MysqlMigrate::Auto`] by default.
    pub migrate: MysqlMigrate,
    /// Connections for reads, views and the bus, 8 by default; the writer has one more.
    pub max_connections: NonZero<u32>,
    /// How long to wait for a connection, 10 s by default.
    pub connect_timeout: Duration,
    /// How long to wait for the answer to a statement, 30 s by default. A commit that is not
    /// answered by then is
    /// [`OutcomeUnknown`](chat_core::ports::StoreError::OutcomeUnknown).
    pub statement_timeout: Duration,
    /// How long an append waits for others that write (or hold back their transaction), 15 s by
    /// default. After it, the answer is
    /// [`Unavailable`](chat_core::ports::StoreError::Unavailable).
    pub lock_timeout: Duration,
    /// How often the bus looks for signals while somebody is subscribed, every 10 ms by default.
    pub poll_interval: Duration,
}

/// What an acknowledged append survives is decided by the server's settings
/// `innodb_flush_log_at_trx_commit`, `log_bin` and `sync_binlog`, which a session cannot change.
/// A store can only refuse a server that promises less, and
/// [`info`](chat_core::ports::EventStore::info) tells what it promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MysqlDurability {
    /// A crash of the machine: the server must flush its log at each commit
    /// (`innodb_flush_log_at_trx_commit=1`) and, if it writes a binary log, that too
    /// (`sync_binlog=1`). A server that does not is refused when the store connects.
    #[default]
    Full,
    /// What the server promises, down to nothing. With `innodb_flush_log_at_trx_commit=2` a crash
    /// of the machine loses about the last second, with `0` a crash of the server does.
    Server,
}

/// Whether the store makes and changes its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MysqlMigrate {
    /// Makes what is missing when it connects.
    #[default]
    Auto,
    /// Refuses tables that are missing or old. For a user without the right to make tables.
    Never,
}

impl MysqlConfig {
    /// This server, with every default.
    #[must_use]
    pub fn new(server: MySqlConnectOptions) -> Self {
        Self {
            server,
            namespace: Namespace::default(),
            durability: MysqlDurability::default(),
            migrate: MysqlMigrate::default(),
            max_connections: DEFAULT_CONNECTIONS,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(15),
            poll_interval: Duration::from_millis(10),
        }
    }

    /// Reads a configuration written as a URL.
    ///
    /// # Errors
    /// [`ConfigError`] names the part that is wrong, and never shows the password.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let rest = url.strip_prefix("mysql:").or_else(|| url.strip_prefix("mariadb:"));
        let rest = rest.ok_or(ConfigError::Scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (own, drivers): (Vec<_>, Vec<_>) = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .partition(|pair| !DRIVERS_PARAMETERS.contains(&name_of(pair)));
        let url = format!("mysql:{place}?{}", drivers.join("&"));
        // The driver's message may show the URL.
        let server = MySqlConnectOptions::from_str(&url).map_err(|_| ConfigError::Server)?;
        if server.get_database().is_none() {
            return Err(ConfigError::NoDatabase);
        }
        let mut config = Self::new(server);
        for pair in own {
            let value = pair.split_once('=').map_or("", |(_, value)| value);
            config.set(name_of(pair), value)?;
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let wrong = |expected| ConfigError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let millis = || {
            let millis = value.parse().map_err(|_| wrong("a number of milliseconds"))?;
            Ok(Duration::from_millis(millis))
        };
        match name {
            "namespace" => {
                let expected = "lower-case letters, digits and `_`, a letter first, 24 at most";
                self.namespace = Namespace::new(value).map_err(|_| wrong(expected))?;
            }
            "durability" => {
                self.durability = match value {
                    "full" => MysqlDurability::Full,
                    "server" => MysqlDurability::Server,
                    _ => return Err(wrong("`full` or `server`")),
                }
            }
            "migrate" => {
                self.migrate = match value {
                    "auto" => MysqlMigrate::Auto,
                    "never" => MysqlMigrate::Never,
                    _ => return Err(wrong("`auto` or `never`")),
                }
            }
            "max_connections" => {
                self.max_connections = value.parse().map_err(|_| wrong("a number from 1"))?;
            }
            "connect_timeout_ms" => self.connect_timeout = millis()?,
            "statement_timeout_ms" => self.statement_timeout = millis()?,
            "lock_timeout_ms" => self.lock_timeout = millis()?,
            "poll_interval_ms" => self.poll_interval = millis()?,
            _ => return Err(ConfigError::Parameter { name: name.to_owned() }),
        }
        Ok(())
    }

    /// Sets the prefix of the tables.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets what an acknowledged append must survive.
    #[must_use]
    pub fn with_durability(mut self, durability: MysqlDurability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets whether to make and change tables.
    #[must_use]
    pub fn with_migrate(mut self, migrate: MysqlMigrate) -> Self {
        self.migrate = migrate;
        self
    }

    /// Sets the number of connections beside the writer's.
    #[must_use]
    pub fn with_max_connections(mut self, max_connections: NonZero<u32>) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// Sets how long to wait for a connection.
    #[must_use]
    pub fn with_connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Sets how long to wait for the answer to a statement.
    #[must_use]
    pub fn with_statement_timeout(mut self, statement_timeout: Duration) -> Self {
        self.statement_timeout = statement_timeout;
        self
    }

    /// Sets how long an append waits for others that write.
    #[must_use]
    pub fn with_lock_timeout(mut self, lock_timeout: Duration) -> Self {
        self.lock_timeout = lock_timeout;
        self
    }

    /// Sets how often the bus looks for signals.
    #[must_use]
    pub fn with_poll_interval(mut self, poll_interval: Duration) -> Self {
        self.poll_interval = poll_interval;
        self
    }
}

impl FromStr for MysqlConfig {
    type Err = ConfigError;
    fn from_str(url: &str) -> Result<Self, ConfigError> {
        Self::from_url(url)
    }
}

/// Without the password.
impl fmt::Debug for MysqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlConfig")
            .field("host", &self.server.get_host())
            .field("port", &self.server.get_port())
            .field("socket", &self.server.get_socket())
            .field("user", &self.server.get_username())
            .field("database", &self.server.get_database())
            .field("ssl_mode", &self.server.get_ssl_mode())
            .field("namespace", &self.namespace)
            .field("durability", &self.durability)
            .field("migrate", &self.migrate)
            .field("max_connections", &self.max_connections)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("poll_interval", &self.poll_interval)
            .finish()
    }
}

/// What is wrong with a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It does not start with `mysql:` or `mariadb:`.
    #[error("the URL of a MySQL store starts with `mysql:` or `mariadb:`")]
    Scheme,
    /// Host, user or a parameter of the driver cannot be read.
    #[error("the URL is not of the form `mysql://USER:PASSWORD@HOST:PORT/DATABASE`")]
    Server,
    /// It names no database.
    #[error("the URL names no database; write `mysql://USER@HOST/DATABASE`")]
    NoDatabase,
    /// A parameter that does not exist.
    #[error("the parameter `{name}` is not known")]
    Parameter {
        /// Its name.
        name: String,
    },
    /// A value that its parameter cannot take.
    #[error("`{value}` is not a value for `{name}`, which takes {expected}")]
    Value {
        /// The parameter.
        name: String,
        /// The value given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Parameters that go to the driver as they are.
const DRIVERS_PARAMETERS: [&str; 9] = [
    "ssl-mode", "sslmode", "ssl-ca", "sslca", "ssl-cert", "sslcert", "ssl-key", "sslkey", "socket",
];

const DEFAULT_CONNECTIONS: NonZero<u32> = NonZero::new(8).unwrap();

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::mysql::MySqlSslMode;

    #[test]
    fn a_url_sets_every_field() {
        let url = "mariadb://me:p%40ss@db.example:3307/app?ssl-mode=REQUIRED&namespace=team\
                   &durability=server&migrate=never&max_connections=3&connect_timeout_ms=1\
                   &statement_timeout_ms=2&lock_timeout_ms=3&poll_interval_ms=4";
        let config = MysqlConfig::from_url(url).unwrap();
        let server = &config.server;
        assert_eq!((server.get_host(), server.get_port()), ("db.example", 3307));
        assert_eq!((server.get_username(), server.get_database()), ("me", Some("app")));
        assert!(matches!(server.get_ssl_mode(), MySqlSslMode::Required));
        assert_eq!(config.namespace.as_str(), "team");
        assert_eq!(config.durability, MysqlDurability::Server);
        assert_eq!(config.migrate, MysqlMigrate::Never);
        assert_eq!(config.max_connections.get(), 3);
        let times = [
            config.connect_timeout,
            config.statement_timeout,
            config.lock_timeout,
            config.poll_interval,
        ];
        assert_eq!(times.map(|time| time.as_millis()), [1, 2, 3, 4]);
        let shown = format!("{config:?}");
        assert!(shown.contains("db.example") && !shown.contains("p@ss"), "{shown}");
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_part_that_is_wrong() {
        let error = |url: &str| MysqlConfig::from_url(url).unwrap_err();
        assert_eq!(error("postgres:x"), ConfigError::Scheme);
        assert_eq!(error("mysql://me:secret@[/db"), ConfigError::Server);
        assert_eq!(error("mysql://me@localhost"), ConfigError::NoDatabase);
        let parameter = ConfigError::Parameter { name: "durable".into() };
        assert_eq!(error("mysql://me@localhost/db?durable=1"), parameter);
        for wrong in [
            "durability=off",
            "migrate=down",
            "namespace=Team",
            "lock_timeout_ms=soon",
            "max_connections=0",
        ] {
            let (wrong_name, wrong_value) = wrong.split_once('=').unwrap();
            match error(&format!("mysql://me@localhost/db?{wrong}")) {
                ConfigError::Value { name, value, .. } => {
                    assert_eq!((&*name, &*value), (wrong_name, wrong_value));
                }
                other => panic!("{wrong}: {other}"),
            }
        }
    }
}
