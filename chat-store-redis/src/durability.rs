//! What servers keep when they stop: looked at when the store is opened, and whenever another server
//! may have taken the place of one.

use chat_core::ports::{Durability, StoreError};
use redis::{Cmd, Value};

use crate::config::{RedisConfig, RedisDurability, ReplicaSync};
use crate::connection::Connection;
use crate::error::ConnectError;
use crate::reply::{array, line, optional_text};

/// What the server says of how it keeps data. `None` where it does not let its settings be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerDurability {
    /// When it writes to the disk.
    pub sync: Option<Sync>,
    /// What it does when its memory is full (`maxmemory-policy`).
    pub eviction: Option<String>,
    /// How many replicas have what is acknowledged, as the configuration asks for.
    pub replicas: u32,
}

/// When a server writes to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Sync {
    /// Snapshots at most: a stop loses everything since the last one.
    Snapshots,
    /// `appendfsync everysec` or `no`, or no sync while the file is rewritten
    /// (`no-appendfsync-on-rewrite yes`): a crash of the machine loses the last seconds.
    Later,
    /// `appendfsync always`: before each answer.
    Always,
}

/// Every server, as it was when it was looked at.
#[derive(Debug)]
pub(crate) struct Servers {
    /// What the weakest does.
    pub(crate) weakest: ServerDurability,
    /// The runs of those that sync before each answer, with a space between.
    pub(crate) always: String,
}

impl Servers {
    pub(crate) async fn look(
        connection: &Connection,
        config: &RedisConfig,
    ) -> Result<Self, StoreError> {
        // Who they are comes first: a server that takes the place of another in between has settings
        // that are taken for those of a run that is over.
        let runs = ask(connection, redis::cmd("INFO").arg("server")).await?.unwrap_or_default();
        let mut settings = redis::cmd("CONFIG");
        settings.arg("GET").arg("*append*").arg("maxmemory-policy").arg("appendfsync");
        let settings = match ask(connection, &settings).await? {
            Some(settings) => settings,
            // Managed servers do not let their settings be seen, but this one.
            None => ask(connection, redis::cmd("INFO").arg("memory")).await?.unwrap_or_default(),
        };
        let mut weakest =
            ServerDurability { sync: None, eviction: None, replicas: config.replicas };
        let mut always = Vec::new();
        for (address, settings) in settings {
            let node = ServerDurability::of(settings)?;
            let run = runs.iter().find(|(known, _)| *known == address);
            if let Some((_, info)) = run.filter(|_| node.sync == Some(Sync::Always)) {
                always.extend(line(info, "run_id"));
            }
            weakest.sync =
                if weakest.sync.is_none() { node.sync } else { weakest.sync.min(node.sync) };
            if weakest.eviction.as_ref().is_none_or(|policy| policy == "noeviction") {
                weakest.eviction = node.eviction;
            }
        }
        Ok(Self { weakest, always: always.join(" ") })
    }
}

/// The answers of all servers with their addresses; nothing if they do not answer this to this user.
async fn ask(
    connection: &Connection,
    command: &Cmd,
) -> Result<Option<Vec<(String, Value)>>, StoreError> {
    match connection.run_everywhere(command).await {
        Ok(answers) => Ok(Some(answers)),
        Err(StoreError::Bug { .. } | StoreError::Invalid { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds out whether disks of replicas can be waited for, if they are to be.
pub(crate) async fn probe(
    connection: &Connection,
    config: &RedisConfig,
) -> Result<(), ConnectError> {
    if config.replicas == 0 || config.replica_sync != ReplicaSync::Disk {
        return Ok(());
    }
    // As nothing was written on this connection, it answers at once.
    let probe = redis::cmd("WAITAOF").arg(1).arg(0).arg(1).take();
    connection.run_everywhere(&probe).await.map_err(|error| match error {
        StoreError::Bug { what } | StoreError::Invalid { what } => {
            ConnectError::ReplicaSync { found: what }
        }
        error => error.into(),
    })?;
    Ok(())
}

impl ServerDurability {
    fn of(answer: Value) -> Result<Self, StoreError> {
        if let Some(eviction) = line(&answer, "maxmemory_policy") {
            return Ok(Self { sync: None, eviction: Some(eviction), replicas: 0 });
        }
        let pairs = match answer {
            Value::Map(pairs) => pairs,
            other => {
                let mut flat = array(other)?.into_iter();
                let mut pairs = Vec::new();
                while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
                    pairs.push((name, value));
                }
                pairs
            }
        };
        let (mut only, mut fsync, mut rewrite, mut eviction) = (None, None, None, None);
        for (name, value) in pairs {
            let value = optional_text(Some(value))?;
            match optional_text(Some(name))?.as_deref() {
                Some("appendonly") => only = value,
                Some("appendfsync") => fsync = value,
                Some("no-appendfsync-on-rewrite") => rewrite = value,
                Some("maxmemory-policy") => eviction = value,
                _ => {}
            }
        }
        let sync = match (only.as_deref(), fsync.as_deref()) {
            // With `no-appendfsync-on-rewrite` nothing is synced while the file is rewritten.
            (Some("yes"), Some("always")) if rewrite.as_deref() != Some("yes") => {
                Some(Sync::Always)
            }
            (Some("yes"), _) => Some(Sync::Later),
            (Some(_), _) => Some(Sync::Snapshots),
            (None, _) => None,
        };
        Ok(Self { sync, eviction, replicas: 0 })
    }

    /// Refuses a server that does not keep what it must.
    pub(crate) fn check(&self, config: &RedisConfig) -> Result<(), ConnectError> {
        let wanted = config.durability;
        if let Some(policy) = self.eviction.as_ref().filter(|policy| *policy != "noeviction") {
            return Err(ConnectError::Evicts { policy: policy.clone() });
        }
        let refused = |found: &str| ConnectError::Durability { wanted, found: found.to_owned() };
        match (wanted, self.sync) {
            (RedisDurability::FsyncAlways, Some(Sync::Always)) => Ok(()),
            (RedisDurability::FsyncAlways, Some(_)) => Err(refused(
                "the server does not sync before it answers; set `appendonly yes`, \
                 `appendfsync always` and `no-appendfsync-on-rewrite no` in its configuration",
            )),
            (RedisDurability::FsyncAlways, None) => Err(refused(
                "the server does not let its settings be seen; allow this user `CONFIG GET`, or \
                 take what the server gives (`durability=server`)",
            )),
            (RedisDurability::AsTheServer, _) => Ok(()),
        }
    }

    /// The level in the terms of the port.
    pub(crate) fn level(&self) -> Durability {
        match self.sync {
            Some(Sync::Always) => Durability::MachineCrash,
            Some(Sync::Later) => Durability::ProcessCrash,
            Some(Sync::Snapshots) | None => Durability::Process,
        }
    }
}

impl std::fmt::Display for ServerDurability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.sync {
            None => "unknown: the server does not let its settings be seen",
            Some(Sync::Snapshots) => "a stop of the server loses all since its last snapshot",
            Some(Sync::Later) => "a crash of the server's machine loses up to two seconds",
            Some(Sync::Always) => "a crash loses nothing",
        })?;
        match self.replicas {
            0 => f.write_str("; a promoted replica may lack what its master had not sent"),
            1 => f.write_str("; one replica has what is acknowledged"),
            replicas => write!(f, "; {replicas} replicas have what is acknowledged"),
        }
    }
}
