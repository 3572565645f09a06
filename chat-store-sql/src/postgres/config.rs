//! What a host may choose, and what an acknowledgement is worth then.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;
use std::time::Duration;

use chat_core::Namespace;
use sqlx::postgres::PgConnectOptions;

/// Which database to use, and how. Plain data; every default is the safe one.
///
/// It can be written as a URL, `postgres://user:password@host:port/database`, with the parameters
/// of libpq for TLS and the rest (`sslmode`, `sslrootcert`, `sslcert`, `sslkey`,
/// `application_name`, `options`, …) and these of its own: `namespace`, `durability` (`server`,
/// `remote_apply`, `on`, `remote_write`, `local`), `migrate` (`auto`, `never`),
/// `max_connections`, `acquire_timeout_ms`, `statement_timeout_ms`.
///
/// `Debug` shows neither the password nor any other secret.
///
/// ```
/// use chat_store_sql::postgres::{PostgresConfig, PostgresDurability};
///
/// let url = "postgres://chat:secret@db.example/app?sslmode=verify-full&namespace=team";
/// let config: PostgresConfig = url.parse()?;
/// assert_eq!(config.namespace.as_str(), "team");
/// assert_eq!(config.durability, PostgresDurability::Server);
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), chat_store_sql::postgres::ConfigError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// Where the server is and who asks, as `sqlx` takes it.
    pub server: PgConnectOptions,
    /// Prefix of the tables and functions, `chat` by default. Stores with different namespaces in
    /// one database never see each other.
    pub namespace: Namespace,
    /// What an acknowledged append survives, [`PostgresDurability::Server`] by default.
    pub durability: PostgresDurability,
    /// Whether to make and change tables, [`PostgresMigrate::Auto`] by default.
    pub migrate: PostgresMigrate,
    /// Most connections for reads and views, 8 by default. One more appends, and there is one each
    /// for sending and for receiving signals if the bus is used.
    pub max_connections: NonZero<usize>,
    /// How long to wait for a connection, 5 s by default.
    pub acquire_timeout: Duration,
    /// How long one statement may take, 30 s by default.
    pub statement_timeout: Duration,
}

/// What an acknowledged append survives: `synchronous_commit` of the connections of this store.
///
/// With any of them, what is in the database is whole and in order after any crash: a crash can
/// only cut off the newest appends.
///
/// `off` is not offered: a crash of the server would take away what was acknowledged, and readers
/// who have seen it could not know. Where the server itself is set to `off`, or runs with
/// `fsync=off`, [`StoreInfo`](chat_core::ports::StoreInfo) says so, and after a crash of the server
/// an operator has to call [`PostgresStore::renew_epoch`](super::PostgresStore::renew_epoch). The
/// same is true of a fail-over to a standby that had not received everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PostgresDurability {
    /// What the server, the database or the role has set; `on` unless somebody changed it.
    #[default]
    Server,
    /// A crash of the server and of its synchronous standbys: they have also applied it, so a read
    /// from them sees it.
    RemoteApply,
    /// A crash of the server and, where synchronous standbys are set up, the loss of the server:
    /// they have it on their disks too.
    On,
    /// A crash of the server and its loss, but not a crash of the standby's machine at the same
    /// moment.
    RemoteWrite,
    /// A crash of the server. Its loss takes away what no standby has received yet.
    Local,
}

impl PostgresDurability {
    /// The value of `synchronous_commit`, if one is to be set.
    pub(super) fn setting(self) -> Option<&'static str> {
        match self {
            Self::Server => None,
            Self::RemoteApply => Some("remote_apply"),
            Self::On => Some("on"),
            Self::RemoteWrite => Some("remote_write"),
            Self::Local => Some("local"),
        }
    }
}

/// Whether the tables are made and changed when a store connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PostgresMigrate {
    /// Yes, if they are not there or are those of an older release.
    #[default]
    Auto,
    /// No; connecting fails if they are not those of this release. For a role that may not create
    /// anything, after another role has connected once with [`PostgresMigrate::Auto`].
    Never,
}

impl PostgresConfig {
    /// This server, with every default.
    #[must_use]
    pub fn new(server: PgConnectOptions) -> Self {
        Self {
            server,
            namespace: Namespace::default(),
            durability: PostgresDurability::default(),
            migrate: PostgresMigrate::default(),
            max_connections: DEFAULT_CONNECTIONS,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }

    /// Reads a configuration written as a URL.
    ///
    /// # Errors
    /// [`ConfigError`] names the part that is wrong, never the password.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(ConfigError::Scheme);
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let (own, theirs): (Vec<_>, Vec<_>) = pairs
            .map(|pair| (pair.split_once('=').unwrap_or((pair, "")), pair))
            .partition(|((name, _), _)| OWN_PARAMETERS.contains(name));
        // The driver lets unknown ones pass, and a misspelt `sslmode` must not.
        let unknown = theirs.iter().find(|((name, _), _)| !is_of_the_driver(name));
        if let Some(((name, _), _)) = unknown {
            // A password with a `?` in it would look like a parameter.
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
            return Err(
                match name.chars().all(is_name) && base.contains('@') == url.contains('@') {
                    true => ConfigError::Parameter { name: (*name).to_owned() },
                    false => ConfigError::Server,
                },
            );
        }
        let theirs: Vec<_> = theirs.into_iter().map(|(_, pair)| pair).collect();
        let url = format!("{base}?{}", theirs.join("&"));
        // The driver's error may quote the URL, and with it the password.
        let server = url.parse().map_err(|_| ConfigError::Server)?;
        let mut config = Self::new(server);
        for ((name, value), _) in own {
            config.set(name, value)?;
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
            let millis = value.parse().ok().filter(|millis| *millis > 0);
            millis.map(Duration::from_millis).ok_or_else(|| wrong("milliseconds, from 1"))
        };
        match name {
            "namespace" => {
                let expected = "lower-case letters, digits and `_`, a letter first, 24 at most";
                self.namespace = Namespace::new(value).map_err(|_| wrong(expected))?;
            }
            "durability" => {
                self.durability = match value {
                    "server" => PostgresDurability::Server,
                    "remote_apply" => PostgresDurability::RemoteApply,
                    "on" => PostgresDurability::On,
                    "remote_write" => PostgresDurability::RemoteWrite,
                    "local" => PostgresDurability::Local,
                    _ => {
                        let expected = "`server`, `remote_apply`, `on`, `remote_write` or `local`";
                        return Err(wrong(expected));
                    }
                }
            }
            "migrate" => {
                self.migrate = match value {
                    "auto" => PostgresMigrate::Auto,
                    "never" => PostgresMigrate::Never,
                    _ => return Err(wrong("`auto` or `never`")),
                }
            }
            "max_connections" => {
                self.max_connections = value.parse().map_err(|_| wrong("a number from 1"))?;
            }
            "acquire_timeout_ms" => self.acquire_timeout = millis()?,
            _ => self.statement_timeout = millis()?,
        }
        Ok(())
    }

    /// Sets the prefix of the tables and functions.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets what an acknowledged append survives.
    #[must_use]
    pub fn with_durability(mut self, durability: PostgresDurability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets whether to make and change tables.
    #[must_use]
    pub fn with_migrate(mut self, migrate: PostgresMigrate) -> Self {
        self.migrate = migrate;
        self
    }

    /// Sets how many connections there are for reads and views.
    #[must_use]
    pub fn with_max_connections(mut self, max_connections: NonZero<usize>) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// Sets how long to wait for a connection.
    #[must_use]
    pub fn with_acquire_timeout(mut self, acquire_timeout: Duration) -> Self {
        self.acquire_timeout = acquire_timeout;
        self
    }

    /// Sets how long one statement may take.
    #[must_use]
    pub fn with_statement_timeout(mut self, statement_timeout: Duration) -> Self {
        self.statement_timeout = statement_timeout;
        self
    }
}

impl FromStr for PostgresConfig {
    type Err = ConfigError;
    fn from_str(url: &str) -> Result<Self, ConfigError> {
        Self::from_url(url)
    }
}

/// Written by hand: the driver's own would show the password.
impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            namespace,
            durability,
            migrate,
            max_connections,
            acquire_timeout,
            statement_timeout,
        } = self;
        f.debug_struct("PostgresConfig")
            .field("host", &server.get_host())
            .field("port", &server.get_port())
            .field("user", &server.get_username())
            .field("database", &server.get_database())
            .field("ssl_mode", &server.get_ssl_mode())
            .field("namespace", namespace)
            .field("durability", durability)
            .field("migrate", migrate)
            .field("max_connections", max_connections)
            .field("acquire_timeout", acquire_timeout)
            .field("statement_timeout", statement_timeout)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It does not start with `postgres://` or `postgresql://`.
    #[error("the URL of a PostgreSQL store starts with `postgres://`")]
    Scheme,
    /// The part that names the server, or a parameter of the driver, cannot be read.
    #[error("the URL is not `postgres://user:password@host:port/database?parameters`")]
    Server,
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

const DEFAULT_CONNECTIONS: NonZero<usize> = NonZero::new(8).unwrap();
/// Parameters of the URL that are not the driver's.
const OWN_PARAMETERS: [&str; 6] = [
    "namespace",
    "durability",
    "migrate",
    "max_connections",
    "acquire_timeout_ms",
    "statement_timeout_ms",
];

/// Parameters that `sqlx` reads.
const DRIVER_PARAMETERS: [&str; 19] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
    "username",
];

fn is_of_the_driver(name: &str) -> bool {
    DRIVER_PARAMETERS.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgSslMode;

    use super::*;

    #[test]
    fn a_url_sets_every_field_and_passes_the_drivers_on() {
        let url = "postgresql://ann:s3cret@db:5433/app?sslmode=require&namespace=team\
                   &durability=local&migrate=never&max_connections=3&acquire_timeout_ms=250\
                   &statement_timeout_ms=1000&application_name=tests";
        let config = PostgresConfig::from_url(url).unwrap();
        assert_eq!(config.namespace, Namespace::new("team").unwrap());
        assert_eq!(config.durability, PostgresDurability::Local);
        assert_eq!(config.migrate, PostgresMigrate::Never);
        assert_eq!(config.max_connections.get(), 3);
        assert_eq!(config.acquire_timeout, Duration::from_millis(250));
        assert_eq!(config.statement_timeout, Duration::from_secs(1));
        let server = &config.server;
        assert_eq!((server.get_host(), server.get_port()), ("db", 5433));
        assert_eq!((server.get_username(), server.get_database()), ("ann", Some("app")));
        assert!(matches!(server.get_ssl_mode(), PgSslMode::Require));
        assert_eq!(server.get_application_name(), Some("tests"));
        let shown = format!("{config:?}");
        assert!(!shown.contains("s3cret") && shown.contains("ann"), "{shown}");
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_part_that_is_wrong() {
        let error = |url: &str| PostgresConfig::from_url(url).unwrap_err();
        // A `?` in a password must be written as `%3F`; what follows it is not told.
        for url in ["postgres://ann:?s3cret@db/app", "postgres://ann:a?s3cret=1@db/app"] {
            assert!(!error(url).to_string().contains("s3cret"), "{}", error(url));
        }
        assert_eq!(error("mysql://db/app"), ConfigError::Scheme);
        assert_eq!(error("postgres://a:secret@db:port/app"), ConfigError::Server);
        assert_eq!(error("postgres://a:secret@db/app?sslmode=perhaps"), ConfigError::Server);
        let unknown = ConfigError::Parameter { name: "sslmod".into() };
        assert_eq!(error("postgres://db/app?sslmod=require"), unknown);
        for wrong in [
            "durability=full",
            "migrate=yes",
            "namespace=Team",
            "max_connections=0",
            "acquire_timeout_ms=soon",
            "statement_timeout_ms=0",
        ] {
            let (wrong_name, wrong_value) = wrong.split_once('=').unwrap();
            match error(&format!("postgres://db/app?{wrong}")) {
                ConfigError::Value { name, value, .. } => {
                    assert_eq!((&*name, &*value), (wrong_name, wrong_value));
                }
                other => panic!("{wrong}: {other}"),
            }
        }
    }
}
