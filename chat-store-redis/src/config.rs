//! What a host may choose, and what an acknowledgement is worth then.

use std::fmt;
use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chat_core::Namespace;

use crate::url::{self, ConfigError};

/// Where the server is and how it is used. Plain data.
///
/// It can be written as a URL:
///
/// - `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`: one server;
/// - `redis+cluster://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…]`: some nodes of a cluster;
/// - `rediss://` and `rediss+cluster://`: the same over TLS (with the feature `tls`).
///
/// The parameters: `namespace`, `partitions`, `durability` (`server` or `always`),
/// `ca_file`, `replicas`, `replica_sync` (`memory` or `disk`), `replica_timeout_ms`, `connect_timeout_ms`,
/// `timeout_ms`, `patience_ms`. A character of a user's name or password that
/// means something in a URL is written as `%` and two digits.
///
/// ```
/// use chat_store_redis::{RedisConfig, RedisDurability};
///
/// let config: RedisConfig = "redis://localhost/2?durability=always".parse()?;
/// let same = RedisConfig::new("localhost", 6379)
///     .with_database(2)
///     .with_durability(RedisDurability::FsyncAlways);
/// assert_eq!(config, same);
/// # Ok::<(), chat_store_redis::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The server, or nodes of a cluster from which the others are learnt.
    pub hosts: Vec<(String, u16)>,
    /// One server or a cluster, [`Topology::Server`] by default.
    pub topology: Topology,
    /// Whether to encrypt, [`Tls::Off`] by default.
    pub tls: Tls,
    /// A file with the certificate, in PEM, of who signed the server's, for a server whose
    /// certificate the system does not trust. None by default. It is read whenever a connection is
    /// made.
    pub ca_file: Option<PathBuf>,
    /// The user; none by default.
    pub user: Option<String>,
    /// The password; none by default.
    pub password: Option<Secret>,
    /// The database of one server, 0 by default. A cluster has only 0.
    pub database: u16,
    /// Prefix of the keys, `chat` by default. Stores with different namespaces on one server never
    /// see each other.
    pub namespace: Namespace,
    /// How many partitions a namespace gets that is not there yet, at most
    /// [`RedisConfig::MAX_PARTITIONS`]. `None` takes what the namespace has, or 1 on one server,
    /// where all callers then share one group (twice as many appends a second as with 16 partitions),
    /// and 16 on a cluster, so that several nodes take part. It cannot change later.
    /// A number that differs from what the namespace has is an error.
    pub partitions: Option<NonZero<u32>>,
    /// What an acknowledged append survives, [`RedisDurability::AsTheServer`] by default.
    pub durability: RedisDurability,
    /// How many replicas must have an append, or a batch of views, before it is acknowledged; 0 by
    /// default. What is acknowledged then survives that a replica takes its master's place, if the
    /// cluster (or the operator) chooses one that has it: with one replica for each master, 1 is
    /// enough; with more, name all that may be promoted.
    ///
    /// | `replicas` | what is acknowledged is lost when |
    /// |---|---|
    /// | 0 | a replica is promoted that lacks what its master had not sent yet |
    /// | n | the master and n replicas are lost together, or one is promoted that was not of the n |
    ///
    /// Where fewer have it after [`replica_timeout`](Self::replica_timeout), the answer is
    /// [`OutcomeUnknown`](chat_core::ports::StoreError::OutcomeUnknown): it is written, but may be
    /// lost with the master. Repeating it with the same ids waits again. Readers may see an event
    /// before the replicas have it, so a promoted replica still begins a new epoch.
    pub replicas: u32,
    /// What a replica must have done with it, [`ReplicaSync::Memory`] by default.
    pub replica_sync: ReplicaSync,
    /// How long to wait for the replicas, 1 s by default.
    pub replica_timeout: Duration,
    /// How long making a connection may take, 5 s by default.
    pub connect_timeout: Duration,
    /// How long an answer may take, 30 s by default. After it, the outcome of an append is unknown,
    /// and the connection is made anew. The connection for signals is asked as often whether it lives.
    pub timeout: Duration,
    /// For how long to try again where the server says that it cannot do it now (it loads its data,
    /// a cluster elects a master) or cannot be reached, 10 s by default.
    pub patience: Duration,
}

/// One server or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// One server (or a master with replicas behind one address).
    #[default]
    Server,
    /// Redis Cluster.
    ///
    /// The driver follows a key that has moved, and sends a command again by itself when the
    /// connection to its node breaks. An append answers the same however often it arrives, as its
    /// ids tell. A batch of views cannot be told from another one: where a node went away,
    /// [`CheckpointMoved`](chat_core::ports::ViewError::CheckpointMoved) as well as
    /// [`OutcomeUnknown`](chat_core::ports::StoreError::OutcomeUnknown) may mean that this very call
    /// has written it. The caller reads the checkpoint then, as it does after losing to another.
    ///
    /// While a slot is moved, what names several keys of it is carried out only where all of them
    /// are: an append to a chat whose keys are half here and half there is refused by the servers
    /// (`TRYAGAIN`) and tried again for [`RedisConfig::patience`], then it is
    /// [`Unavailable`](chat_core::ports::StoreError::Unavailable). As a partition lies in one slot,
    /// this can last for most of the time that its keys take to move: so move few slots at a time,
    /// and allow more patience while doing it.
    Cluster,
}

/// Whether the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// It is not.
    #[default]
    Off,
    /// It is; the server's certificate must be signed by somebody whom the system
    /// trusts, or by the one of [`RedisConfig::ca_file`].
    On,
}

/// What an acknowledged append survives.
///
/// Redis answers before the disk has the data unless it is told otherwise:
///
/// | the server's settings | a kill of its process loses | a crash of its machine loses |
/// |---|---|---|
/// | `appendonly yes`, `appendfsync always` | nothing | nothing |
/// | `appendonly yes`, `appendfsync everysec` (or `no`) | what came while a sync of the disk was running, two seconds at most | what came since the last sync, about two seconds (`no`: as the system likes) |
/// | no append-only file | all since the last snapshot | all since the last snapshot |
///
/// With `always` the server waits for the disk once for all commands that arrived together. With
/// `everysec` it hands each write to the operating system before it answers, which outlives the
/// process; only while an earlier sync has not ended does it hold writes back. In none of these
/// does a promoted replica have what its master had not yet sent; [`RedisConfig::replicas`] is for
/// that. Whenever something may have been lost, a new epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RedisDurability {
    /// Whatever the server does; [`RedisStore::durability`](crate::RedisStore::durability) says
    /// what that is.
    #[default]
    AsTheServer,
    /// The server must run with `appendonly yes` and `appendfsync always`; else the store is not
    /// opened. A server that does not let its settings be seen is refused as well.
    FsyncAlways,
}

/// What a replica must have done before it counts in [`RedisConfig::replicas`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReplicaSync {
    /// It has the data in memory (`WAIT`). Lost if the machines of the master and of the replicas
    /// crash together, unless they sync always.
    #[default]
    Memory,
    /// The server and the replicas have flushed it to their disks (`WAITAOF`), whatever their
    /// `appendfsync` is. All of their machines may crash together. Needs Redis 7.2 or Valkey, and
    /// `appendonly yes`. With `appendfsync everysec` an answer takes up to two seconds, so
    /// [`RedisConfig::replica_timeout`] must be longer. This crate's tests use it where the server
    /// knows it; those on Redis 7.0 show only that it is refused there.
    Disk,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl RedisConfig {
    /// Most partitions of a namespace.
    pub const MAX_PARTITIONS: u32 = 4_096;
    /// Partitions of a namespace on one server, unless said otherwise.
    pub const SERVER_PARTITIONS: u32 = 1;
    /// Partitions of a namespace on a cluster, unless said otherwise.
    pub const CLUSTER_PARTITIONS: u32 = 16;

    /// This server, with every default.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            hosts: vec![(host.into(), port)],
            topology: Topology::default(),
            tls: Tls::default(),
            ca_file: None,
            user: None,
            password: None,
            database: 0,
            namespace: Namespace::default(),
            partitions: None,
            durability: RedisDurability::default(),
            replicas: 0,
            replica_sync: ReplicaSync::default(),
            replica_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(10),
        }
    }

    /// A cluster, known by some of its nodes.
    #[must_use]
    pub fn cluster(nodes: impl IntoIterator<Item = (String, u16)>) -> Self {
        let hosts = nodes.into_iter().collect();
        Self { hosts, topology: Topology::Cluster, ..Self::new("", 0) }
    }

    /// Reads a configuration written as a URL.
    ///
    /// # Errors
    /// [`ConfigError`] names the part that is wrong.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        url::parse(url)
    }

    /// Sets the user and the password.
    #[must_use]
    pub fn with_credentials(mut self, user: Option<String>, password: Secret) -> Self {
        self.user = user;
        self.password = Some(password);
        self
    }

    /// Sets whether to encrypt.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Sets who must have signed the server's certificate.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Sets the database.
    #[must_use]
    pub fn with_database(mut self, database: u16) -> Self {
        self.database = database;
        self
    }

    /// Sets the prefix of the keys.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets how many partitions the namespace must have, at most
    /// [`RedisConfig::MAX_PARTITIONS`].
    #[must_use]
    pub fn with_partitions(mut self, partitions: NonZero<u32>) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Sets what an acknowledged append survives.
    #[must_use]
    pub fn with_durability(mut self, durability: RedisDurability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how many replicas must have what is acknowledged, and what they must have done with it.
    #[must_use]
    pub fn with_replicas(mut self, replicas: u32, sync: ReplicaSync) -> Self {
        self.replicas = replicas;
        self.replica_sync = sync;
        self
    }

    /// Sets how long to wait for the replicas.
    #[must_use]
    pub fn with_replica_timeout(mut self, timeout: Duration) -> Self {
        self.replica_timeout = timeout;
        self
    }

    /// Sets how long making a connection may take.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long an answer may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets for how long to try again.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl FromStr for RedisConfig {
    type Err = ConfigError;
    fn from_str(url: &str) -> Result<Self, ConfigError> {
        Self::from_url(url)
    }
}
