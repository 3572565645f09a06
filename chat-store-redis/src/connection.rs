//! Sends commands to the server or to the cluster, and waits for what passes.
//!
//! One connection carries the commands of all callers, each sent without waiting for the answers
//! before it. A server runs them in the order they were sent. Writes that wait for replicas have
//! connections of their own (see [`crate::replicas`]).

use std::time::Duration;

use chat_core::PartitionId;
use chat_core::ports::StoreError;
use redis::{Cmd, RedisError, Value};
use tokio::time::Instant;

use crate::config::{RedisConfig, Topology};
use crate::error::{Step, passes, store_error};
use crate::replicas::{Wait, Written};
use crate::way::{SendError, Way};

/// Sends commands; cheap to share.
#[derive(Debug)]
pub(crate) struct Connection {
    way: Way,
    waiting: Option<Waiting>,
    patience: Duration,
}

/// Where writes go that wait for replicas.
#[derive(Debug)]
struct Waiting {
    wait: Wait,
    /// Several in a cluster, so that few of a node's partitions wait for each other.
    ways: Vec<Way>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the server cannot be reached, [`StoreError::Invalid`] if it
    /// does not let this user in.
    pub(crate) async fn open(config: &RedisConfig) -> Result<Self, StoreError> {
        let way = Way::open(config).await?;
        let mut waiting = None;
        if let Some(wait) = Wait::new(config) {
            // The answer to the wait comes after the wait.
            let timeout = config.timeout.saturating_add(config.replica_timeout);
            let config = config.clone().with_timeout(timeout);
            let count = match config.topology {
                Topology::Server => 1,
                Topology::Cluster => WAITING_WAYS,
            };
            let mut ways = Vec::new();
            for _ in 0..count {
                ways.push(Way::open(&config).await?);
            }
            waiting = Some(Waiting { wait, ways });
        }
        Ok(Self { way, waiting, patience: config.patience })
    }

    /// Whether every key is on the same server, so that one command may touch all of them.
    pub(crate) fn is_one_server(&self) -> bool {
        self.way.is_one_server()
    }

    /// Whether writes wait for replicas.
    pub(crate) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Sends a command to the server that holds its first key.
    pub(crate) async fn run(&self, command: &Cmd, step: Step) -> Result<Value, RunError> {
        Ok(self.persist(&Order::Alone(command, step)).await?.answer)
    }

    /// Sends a command that changes what a partition holds, and waits for as many replicas as are
    /// wanted.
    pub(crate) async fn write(
        &self,
        command: &Cmd,
        partition: PartitionId,
    ) -> Result<Written, RunError> {
        let Some(Waiting { wait, ways }) = &self.waiting else {
            return self.persist(&Order::Alone(command, Step::Write)).await;
        };
        let chosen = usize::try_from(partition.0).ok().and_then(|id| id.checked_rem(ways.len()));
        let way = chosen.and_then(|index| ways.get(index)).unwrap_or(&self.way);
        let mut both = redis::Pipeline::with_capacity(2);
        both.add_command(command.clone()).add_command(wait.command.clone());
        self.persist(&Order::Awaited { way, both, wait }).await
    }

    /// Sends until there is an answer, or an error that does not pass.
    async fn persist(&self, order: &Order<'_>) -> Result<Written, RunError> {
        let step = order.step();
        let mut patience = Patience::new(self.patience);
        loop {
            let error = match self.attempt(order).await {
                Ok(written) => return Ok(written),
                Err(SendError::NotSent(error)) => {
                    patience.or_give_up(error, Step::Connect).await?;
                    continue;
                }
                Err(SendError::Failed(error)) => error,
            };
            if error.code() == Some("NOSCRIPT") {
                return Err(RunError::UnknownScript);
            }
            // What changes nothing may be done again, whatever became of it.
            let again = passes(&error) || (step == Step::Read && error.is_io_error());
            if !again {
                return Err(store_error(error, step).into());
            }
            patience.or_give_up(error, step).await?;
        }
    }

    async fn attempt(&self, order: &Order<'_>) -> Result<Written, SendError> {
        let (answer, copied) = match order {
            Order::Alone(command, _) => (self.way.send(command).await?, Ok(())),
            Order::Awaited { way, both, wait } => {
                let mut answers = way.send_all(both).await?.into_iter();
                let answer = answers.next().unwrap_or_default();
                (answer, wait.judge(answers.next().unwrap_or_default()))
            }
        };
        match answer {
            Value::ServerError(error) => Err(SendError::Failed(error.into())),
            answer => Ok(Written { answer, copied }),
        }
    }

    /// Sends commands whose answers are of no interest, to the server that holds their keys.
    pub(crate) async fn publish(&self, commands: &redis::Pipeline) -> Result<(), StoreError> {
        match self.way.send_all(commands).await {
            Ok(_) => Ok(()),
            Err(SendError::NotSent(error) | SendError::Failed(error)) => {
                Err(store_error(error, Step::Read))
            }
        }
    }

    /// Sends a command to every server that holds keys; their addresses and answers.
    pub(crate) async fn run_everywhere(
        &self,
        command: &Cmd,
    ) -> Result<Vec<(String, Value)>, StoreError> {
        let mut patience = Patience::new(self.patience);
        loop {
            let error = match self.way.send_everywhere(command).await {
                Ok(values) => return Ok(values),
                Err(SendError::NotSent(error) | SendError::Failed(error)) => error,
            };
            if !passes(&error) && !error.is_io_error() {
                return Err(store_error(error, Step::Read));
            }
            patience.or_give_up(error, Step::Read).await?;
        }
    }
}

/// Why a command has no answer.
#[derive(Debug)]
pub(crate) enum RunError {
    /// The server does not know the script; nothing happened.
    UnknownScript,
    /// Anything else.
    Store(StoreError),
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What is sent.
enum Order<'a> {
    Alone(&'a Cmd, Step),
    /// A write, and behind it the wait for replicas.
    Awaited {
        way: &'a Way,
        both: redis::Pipeline,
        wait: &'a Wait,
    },
}

impl Order<'_> {
    fn step(&self) -> Step {
        match self {
            Self::Alone(_, step) => *step,
            Self::Awaited { .. } => Step::Write,
        }
    }
}

/// Waits between tries, longer each time, until it has waited long enough.
struct Patience {
    end: Instant,
    wait: Duration,
}

impl Patience {
    fn new(patience: Duration) -> Self {
        Self { end: Instant::now() + patience, wait: FIRST_WAIT }
    }

    async fn or_give_up(&mut self, error: RedisError, step: Step) -> Result<(), StoreError> {
        if Instant::now() + self.wait > self.end {
            return Err(store_error(error, step));
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Ok(())
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Connections to a cluster for writes that wait for replicas.
const WAITING_WAYS: usize = 4;
