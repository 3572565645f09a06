//! What the server's and the driver's errors mean to a caller: one function for every command.

use std::sync::Arc;

use chat_core::ports::StoreError;
use redis::{ErrorKind, RedisError};

use crate::config::RedisDurability;

/// What was being done when the error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Making a connection; nothing has been sent on it yet.
    Connect,
    /// A command that changes nothing.
    Read,
    /// A command that changes something, and may have reached the server.
    Write,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect to the server",
            Self::Read => "read from the server",
            Self::Write => "write to the server",
        }
    }
}

/// Maps an error of the driver.
///
/// An error that the server answers with says that the command was not carried out: each of this
/// adapter's commands is refused whole or not at all, as long as nobody else writes to its keys. An
/// error on the way leaves it open.
pub(crate) fn store_error(error: RedisError, step: Step) -> StoreError {
    let what = format!("cannot {}: {error}", step.name());
    let named = || step.name().to_owned();
    match error.code() {
        Some("OOM") => StoreError::StorageFull { what },
        Some("MISCONF") if what.contains("No space left") => StoreError::StorageFull { what },
        Some("READONLY") => StoreError::ReadOnly { what },
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => StoreError::Invalid { what },
        Some("WRONGTYPE") => StoreError::Corrupt { place: "a key of the store".into(), what },
        Some("ERR") if what.contains("max number of clients") => unavailable(named(), error),
        // Of all that is written, only the log of a partition can be further than what its state says
        // (as after a server that lost a part of its keys).
        Some("ERR") if what.contains("The ID specified in XADD is equal or smaller") => {
            StoreError::Corrupt { place: "the log of a partition".into(), what }
        }
        Some(code) if PASSING.contains(&code) => unavailable(named(), error),
        Some(_) => StoreError::Bug { what },
        None => match error.kind() {
            ErrorKind::Io | ErrorKind::Parse if step == Step::Write => {
                StoreError::OutcomeUnknown { what: named(), source: Some(Arc::new(error)) }
            }
            ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => {
                unavailable(named(), error)
            }
            ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::RESP3NotSupported => StoreError::Invalid { what },
            _ => StoreError::Bug { what },
        },
    }
}

/// Whether the server refused the command only for now, so that the same one may do a little later.
pub(crate) fn passes(error: &RedisError) -> bool {
    error.code().is_some_and(|code| PASSING.contains(&code) || code == "READONLY")
}

/// States of a server or a cluster that pass.
const PASSING: [&str; 10] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOREPLICAS",
    "NOSCRIPT",
    "TRYAGAIN",
];

fn unavailable(what: String, error: RedisError) -> StoreError {
    StoreError::Unavailable { what, source: Some(Arc::new(error)) }
}

/// Why a store was not opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server removes keys when its memory is full. History would get holes.
    #[error(
        "the server's maxmemory-policy is {policy}, which removes history when memory is full; \
         set `maxmemory-policy noeviction` in its configuration"
    )]
    Evicts {
        /// The policy found.
        policy: String,
    },
    /// The server does not keep what the configuration asks for.
    #[error("the configuration asks for {wanted:?}, but {found}")]
    Durability {
        /// What was asked for.
        wanted: RedisDurability,
        /// What is so instead, and how to mend it.
        found: String,
    },
    /// Replicas cannot be waited for until their disks have it.
    #[error(
        "the configuration waits for the disks of replicas (`replica_sync=disk`), which needs \
         Redis 7.2 or Valkey with `appendonly yes`: {found}"
    )]
    ReplicaSync {
        /// What the server says.
        found: String,
    },
    /// The namespace was made with another number of partitions, which cannot change.
    #[error("the namespace has {found} partitions, the configuration asks for {wanted}")]
    Partitions {
        /// The number that the namespace has.
        found: u32,
        /// The number that the configuration asks for.
        wanted: u32,
    },
    /// `rediss:` without the feature `tls`.
    #[error("this program was built without the feature `tls` of chat-store-redis")]
    NoTls,
    /// Anything else: the server cannot be reached, refuses the user, or holds something unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn kind(error: &StoreError) -> &'static str {
        match error {
            StoreError::Unavailable { .. } => "unavailable",
            StoreError::OutcomeUnknown { .. } => "unknown",
            StoreError::StorageFull { .. } => "full",
            StoreError::ReadOnly { .. } => "read-only",
            StoreError::Corrupt { .. } => "corrupt",
            StoreError::Invalid { .. } => "invalid",
            StoreError::Bug { .. } => "bug",
            other => panic!("{other}"),
        }
    }

    /// The error that the driver makes of an answer.
    fn answered(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn an_answer_of_the_server_says_that_it_did_not_happen() {
        let table = [
            ("OOM command not allowed when used memory > 'maxmemory'.", "full"),
            ("MISCONF Errors writing to the AOF file: No space left on device", "full"),
            ("MISCONF Redis is configured to save RDB snapshots", "unavailable"),
            ("READONLY You can't write against a read only replica.", "read-only"),
            ("LOADING Redis is loading the dataset in memory", "unavailable"),
            ("BUSY Redis is busy running a script.", "unavailable"),
            ("CLUSTERDOWN The cluster is down", "unavailable"),
            ("TRYAGAIN Multiple keys request during rehashing of slot", "unavailable"),
            ("MOVED 3999 127.0.0.1:6381", "unavailable"),
            ("ASK 3999 127.0.0.1:6381", "unavailable"),
            ("MASTERDOWN Link with MASTER is down", "unavailable"),
            ("NOREPLICAS Not enough good replicas to write.", "unavailable"),
            ("NOSCRIPT No matching script.", "unavailable"),
            ("ERR max number of clients reached", "unavailable"),
            ("ERR The ID specified in XADD is equal or smaller than the target", "corrupt"),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "corrupt"),
            ("NOAUTH Authentication required.", "invalid"),
            ("WRONGPASS invalid username-password pair", "invalid"),
            ("NOPERM this user has no permissions", "invalid"),
            ("CROSSSLOT Keys in request don't hash to the same slot", "bug"),
            ("ERR unknown command 'XADD'", "bug"),
        ];
        for (line, expected) in table {
            for step in [Step::Connect, Step::Read, Step::Write] {
                assert_eq!(kind(&store_error(answered(line), step)), expected, "{line} {step:?}");
            }
        }
    }

    #[test]
    fn an_error_on_the_way_leaves_a_write_open() {
        let kinds = [
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::TimedOut,
            io::ErrorKind::NotConnected,
        ];
        for io in kinds {
            let error = || RedisError::from(io::Error::from(io));
            assert_eq!(kind(&store_error(error(), Step::Connect)), "unavailable", "{io}");
            assert_eq!(kind(&store_error(error(), Step::Read)), "unavailable", "{io}");
            assert_eq!(kind(&store_error(error(), Step::Write)), "unknown", "{io}");
        }
    }
}
