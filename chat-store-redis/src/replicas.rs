//! Waits for replicas: what follows a write on its connection, and what the answer to that says.
//!
//! `WAIT` counts the replicas that have everything which its own connection has written, and that
//! connection does nothing else meanwhile. So writes that are waited for have connections of their
//! own, on which nobody reads. A repeat makes its script write something too, as what it repeats may
//! have been written on another connection.

use std::sync::Arc;
use std::time::Duration;

use chat_core::ports::StoreError;
use redis::{Cmd, RedisError, Value};

use crate::config::{RedisConfig, ReplicaSync};

/// What follows a write.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) command: Cmd,
    replicas: u32,
    timeout: Duration,
}

/// A write's answer, and whether as many replicas as it needs have it.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) answer: Value,
    pub(crate) copied: Result<(), StoreError>,
}

impl Wait {
    /// `None` where no replica is waited for.
    pub(crate) fn new(config: &RedisConfig) -> Option<Self> {
        let (replicas, timeout) = (config.replicas, config.replica_timeout);
        // 0 would wait for ever.
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        let command = match config.replica_sync {
            ReplicaSync::Memory => redis::cmd("WAIT"),
            ReplicaSync::Disk => redis::cmd("WAITAOF").arg(1).take(),
        };
        let command = command.clone().arg(replicas).arg(millis).take();
        (replicas > 0).then_some(Self { command, replicas, timeout })
    }

    /// What the server says of its replicas.
    pub(crate) fn judge(&self, answer: Value) -> Result<(), StoreError> {
        let (here, there) = match answer {
            Value::Int(there) => (1, there),
            Value::Array(numbers) => match numbers[..] {
                [Value::Int(here), Value::Int(there)] => (here, there),
                _ => return Err(StoreError::Bug { what: "the server counted nothing".into() }),
            },
            // A master that turns into a replica ends the wait with an error.
            Value::ServerError(error) => return Err(unknown(WAITING, Some(error.into()))),
            _ => return Err(StoreError::Bug { what: "the server counted nothing".into() }),
        };
        if here >= 1 && there >= i64::from(self.replicas) {
            return Ok(());
        }
        let (wanted, millis) = (self.replicas, self.timeout.as_millis());
        let disk = if here >= 1 { "" } else { ", nor has the server's own disk" };
        let what = format!("{there} of {wanted} replicas have it after {millis} ms{disk}");
        Err(unknown(&what, None))
    }
}

fn unknown(what: &str, error: Option<RedisError>) -> StoreError {
    let source = error.map(|error| Arc::new(error) as Arc<dyn std::error::Error + Send + Sync>);
    StoreError::OutcomeUnknown { what: what.to_owned(), source }
}

const WAITING: &str = "wait for replicas";
/// Milliseconds: an hour.
const LONGEST: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(sync: ReplicaSync) -> Wait {
        Wait::new(&RedisConfig::new("a", 1).with_replicas(2, sync)).unwrap()
    }

    #[test]
    fn nothing_is_waited_for_unless_asked() {
        assert!(Wait::new(&RedisConfig::new("a", 1)).is_none());
    }

    #[test]
    fn the_command_names_how_many_and_how_long() {
        let sent = |sync| String::from_utf8(wait(sync).command.get_packed_command()).unwrap();
        assert_eq!(sent(ReplicaSync::Memory), "*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n1000\r\n");
        let disk = "*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n2\r\n$4\r\n1000\r\n";
        assert_eq!(sent(ReplicaSync::Disk), disk);
    }

    #[test]
    fn too_few_replicas_leave_the_outcome_open() {
        let memory = wait(ReplicaSync::Memory);
        assert!(memory.judge(Value::Int(2)).is_ok());
        assert!(memory.judge(Value::Int(3)).is_ok());
        let disk = wait(ReplicaSync::Disk);
        let both = |here, there| Value::Array(vec![Value::Int(here), Value::Int(there)]);
        assert!(disk.judge(both(1, 2)).is_ok());
        for short in [memory.judge(Value::Int(1)), disk.judge(both(1, 1)), disk.judge(both(0, 2))] {
            assert!(matches!(short, Err(StoreError::OutcomeUnknown { .. })), "{short:?}");
        }
        assert!(matches!(memory.judge(Value::Nil), Err(StoreError::Bug { .. })));
    }
}
