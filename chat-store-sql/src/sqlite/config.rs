//! What a host may choose, and what an acknowledgement is worth then.

use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chat_core::Namespace;
use chat_core::ports::Durability;

/// Where the file is and how it is used. Plain data; every default is the safe one.
///
/// It can be written as a URL: `sqlite:PATH` or `sqlite://PATH`, with the parameters `durability`
/// (`full` or `normal`), `namespace`, `mode` (`rw` or `ro`), `busy_timeout_ms`, `readers` and
/// `max_pages`. A character of the path that means something in a URL (`?`, `%`, `#`) is written
/// as `%` and two digits.
///
/// ```
/// use chat_store_sql::sqlite::{SqliteConfig, SqliteDurability};
///
/// let config: SqliteConfig = "sqlite:data/chat.db?durability=normal".parse()?;
/// assert_eq!(config, SqliteConfig::new("data/chat.db").with_durability(SqliteDurability::Normal));
/// # Ok::<(), chat_store_sql::sqlite::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// The file; made if it is missing, its directory is not.
    pub path: PathBuf,
    /// Prefix of the tables, `chat` by default. Stores with different namespaces in one file
    /// never see each other.
    pub namespace: Namespace,
    /// What an acknowledged append survives, [`SqliteDurability::Full`] by default.
    pub durability: SqliteDurability,
    /// Whether to write at all, [`SqliteAccess::ReadWrite`] by default.
    pub access: SqliteAccess,
    /// How long to wait for another process that is writing, 5 s by default. After it, the answer
    /// is [`StoreError::Unavailable`](chat_core::ports::StoreError::Unavailable).
    pub busy_timeout: Duration,
    /// How many threads read, 4 by default.
    pub readers: NonZero<usize>,
    /// A quota for what this store writes: it lets the file grow to at most this many pages (of 4,096 bytes, unless the file was
    /// made otherwise). At the quota, the answer is
    /// [`StoreError::StorageFull`](chat_core::ports::StoreError::StorageFull). None by default.
    pub max_pages: Option<u32>,
}

/// What an acknowledged append survives.
///
/// With either, what is in the file is whole and in order after any crash: a crash can only cut
/// off the newest appends, never leave a hole or half an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SqliteDurability {
    /// A crash of the process and of the machine, and loss of power: each commit waits for the
    /// disk (`synchronous=FULL`). Loses nothing that was acknowledged, if the disk keeps what it
    /// says it has kept.
    #[default]
    Full,
    /// A crash of the process (`synchronous=NORMAL`): commits do not wait for the disk. A crash of
    /// the machine or loss of power loses what was acknowledged since the last checkpoint, up to
    /// the newest 64 MiB of changes or so. Positions are then given out a second time, so the store
    /// gets a new epoch when it is next opened. On Linux that happens by itself; elsewhere the
    /// operator calls [`SqliteStore::renew_epoch`](super::SqliteStore::renew_epoch).
    Normal,
}

impl From<SqliteDurability> for Durability {
    fn from(durability: SqliteDurability) -> Self {
        match durability {
            SqliteDurability::Full => Self::MachineCrash,
            SqliteDurability::Normal => Self::ProcessCrash,
        }
    }
}

/// Whether the store writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SqliteAccess {
    /// Reads and writes; makes the file and its tables if they are missing.
    #[default]
    ReadWrite,
    /// Reads a file that is there. Every append is answered with
    /// [`StoreError::ReadOnly`](chat_core::ports::StoreError::ReadOnly).
    ReadOnly,
}

impl SqliteConfig {
    /// This file, with every default.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            namespace: Namespace::default(),
            durability: SqliteDurability::default(),
            access: SqliteAccess::default(),
            busy_timeout: Duration::from_secs(5),
            readers: DEFAULT_READERS,
            max_pages: None,
        }
    }

    /// Reads a configuration written as a URL.
    ///
    /// # Errors
    /// [`ConfigError`] names the part that is wrong.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let rest = url.strip_prefix("sqlite:").ok_or(ConfigError::Scheme)?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() {
            return Err(ConfigError::NoPath);
        }
        if path == ":memory:" {
            return Err(ConfigError::InMemory);
        }
        let mut config = Self::new(percent_decoded(path)?);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
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
        match name {
            "durability" => {
                self.durability = match value {
                    "full" => SqliteDurability::Full,
                    "normal" => SqliteDurability::Normal,
                    _ => return Err(wrong("`full` or `normal`")),
                }
            }
            "mode" => {
                self.access = match value {
                    "rw" => SqliteAccess::ReadWrite,
                    "ro" => SqliteAccess::ReadOnly,
                    _ => return Err(wrong("`rw` or `ro`")),
                }
            }
            "namespace" => {
                let expected = "lower-case letters, digits and `_`, a letter first, 24 at most";
                self.namespace = Namespace::new(value).map_err(|_| wrong(expected))?;
            }
            "busy_timeout_ms" => {
                let millis = value.parse().map_err(|_| wrong("a number of milliseconds"))?;
                self.busy_timeout = Duration::from_millis(millis);
            }
            "readers" => {
                self.readers = value.parse().map_err(|_| wrong("a number from 1"))?;
            }
            "max_pages" => {
                self.max_pages = Some(value.parse().map_err(|_| wrong("a number of pages"))?);
            }
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

    /// Sets what an acknowledged append survives.
    #[must_use]
    pub fn with_durability(mut self, durability: SqliteDurability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets whether to write.
    #[must_use]
    pub fn with_access(mut self, access: SqliteAccess) -> Self {
        self.access = access;
        self
    }

    /// Sets how long to wait for another process that is writing.
    #[must_use]
    pub fn with_busy_timeout(mut self, busy_timeout: Duration) -> Self {
        self.busy_timeout = busy_timeout;
        self
    }

    /// Sets how many threads read.
    #[must_use]
    pub fn with_readers(mut self, readers: NonZero<usize>) -> Self {
        self.readers = readers;
        self
    }

    /// Bounds the size of the file.
    #[must_use]
    pub fn with_max_pages(mut self, max_pages: u32) -> Self {
        self.max_pages = Some(max_pages);
        self
    }
}

impl FromStr for SqliteConfig {
    type Err = ConfigError;
    fn from_str(url: &str) -> Result<Self, ConfigError> {
        Self::from_url(url)
    }
}

/// What is wrong with a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It does not start with `sqlite:`.
    #[error("the URL of an SQLite store starts with `sqlite:`")]
    Scheme,
    /// It names no file.
    #[error("the URL names no file; write `sqlite:PATH`")]
    NoPath,
    /// It asks for a database in memory.
    #[error("`:memory:` is not supported; use the memory store of chat-core")]
    InMemory,
    /// The path holds a `%` that is not followed by two digits, or is not UTF-8 when decoded.
    #[error("the path `{path}` is not a percent-encoded text")]
    Path {
        /// The path as given.
        path: String,
    },
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

fn percent_decoded(path: &str) -> Result<PathBuf, ConfigError> {
    let wrong = || ConfigError::Path { path: path.to_owned() };
    let mut bytes = Vec::with_capacity(path.len());
    let mut parts = path.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or_else(wrong)?;
        if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map(PathBuf::from).map_err(|_| wrong())
}

const DEFAULT_READERS: NonZero<usize> = NonZero::new(4).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_sets_every_field() {
        let url = "sqlite:///var/my%20chat.db?durability=normal&namespace=team&mode=ro\
                   &busy_timeout_ms=250&readers=2&max_pages=1000";
        let config = SqliteConfig::new("/var/my chat.db")
            .with_durability(SqliteDurability::Normal)
            .with_namespace(Namespace::new("team").unwrap())
            .with_access(SqliteAccess::ReadOnly)
            .with_busy_timeout(Duration::from_millis(250))
            .with_readers(NonZero::new(2).unwrap())
            .with_max_pages(1000);
        assert_eq!(SqliteConfig::from_url(url), Ok(config));
        assert_eq!(SqliteConfig::from_url("sqlite:a.db"), Ok(SqliteConfig::new("a.db")));
        assert_eq!(SqliteConfig::from_url("sqlite://a.db"), Ok(SqliteConfig::new("a.db")));
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_part_that_is_wrong() {
        let error = |url: &str| SqliteConfig::from_url(url).unwrap_err();
        assert_eq!(error("postgres:x"), ConfigError::Scheme);
        assert_eq!(error("sqlite:"), ConfigError::NoPath);
        assert_eq!(error("sqlite://?mode=ro"), ConfigError::NoPath);
        assert_eq!(error("sqlite::memory:"), ConfigError::InMemory);
        assert_eq!(error("sqlite:a%2"), ConfigError::Path { path: "a%2".into() });
        assert_eq!(error("sqlite:a%+2"), ConfigError::Path { path: "a%+2".into() });
        assert_eq!(error("sqlite:a%ff"), ConfigError::Path { path: "a%ff".into() });
        assert_eq!(error("sqlite:a?sync=1"), ConfigError::Parameter { name: "sync".into() });
        for wrong in [
            "durability=off",
            "mode=w",
            "namespace=Team",
            "busy_timeout_ms=soon",
            "readers=0",
            "max_pages=-1",
        ] {
            let (wrong_name, wrong_value) = wrong.split_once('=').unwrap();
            match error(&format!("sqlite:a?{wrong}")) {
                ConfigError::Value { name, value, .. } => {
                    assert_eq!((&*name, &*value), (wrong_name, wrong_value));
                }
                other => panic!("{wrong}: {other}"),
            }
        }
    }
}
