//! The stores under test, as data. Another backend is a file here and a row in [`SUBJECTS`].

mod ground;
mod mariadb;
mod memory;
mod opened;
mod postgres;
mod redis;
mod rows;
mod servers;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;

use crate::plan::Plan;
use crate::report::Unit;

pub(crate) use ground::Ground;
pub(crate) use opened::{Opened, engine_on, open_url, shared_config};
pub use servers::From;
pub(crate) use servers::Servers;

/// A backend at one durability.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// What an acknowledged append may lose, at worst.
    pub(crate) loses: &'static str,
    pub(crate) kind: Kind,
    /// Of the store's URL.
    parameters: &'static str,
    /// What the same backend does at best, at the same durability.
    pub(crate) ceilings: &'static [Ceiling],
    /// Callers meet in one append only if somebody gathers them.
    pub(crate) wants_group_commit: bool,
    /// Stands for its backend in the questions about the engine.
    pub(crate) first: bool,
    pub(crate) goals: Goals,
    /// Reads a stream by the plainest query of the same driver; memory has none.
    pub(crate) plain_read: Option<PlainRead>,
    /// Bytes that the database holds, on disk or in memory; memory is asked as a process.
    pub(crate) space: Option<Space>,
}

pub(crate) const SUBJECTS: &[Subject] = &[
    memory::MEMORY,
    sqlite::FULL,
    sqlite::NORMAL,
    postgres::ON,
    postgres::OFF,
    mariadb::EACH_COMMIT,
    mariadb::EACH_SECOND,
    redis::ALWAYS,
    redis::EVERY_SECOND,
    redis::CLUSTER,
];

/// Where a database is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Memory,
    Sqlite,
    Postgres,
    /// That flushes at each commit.
    MariaDb,
    /// That flushes once a second.
    LazyMariaDb,
    /// That flushes before it answers.
    Redis,
    /// That flushes once a second.
    LazyRedis,
    RedisCluster,
}

impl Kind {
    /// Whether it lives without a server.
    pub(crate) fn is_local(self) -> bool {
        matches!(self, Self::Memory | Self::Sqlite)
    }
}

/// What is wanted of a subject.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    /// By so many callers, at least so much of a ceiling.
    pub(crate) append: &'static [(usize, Role, f64, Unit)],
    /// Milliseconds from an append in one process to its delivery in another.
    pub(crate) across: Option<f64>,
    /// The fastest Rust event store that runs on it, measured earlier, and its events per second
    /// with 16 callers: four times as much is wanted.
    pub(crate) peer: Option<(&'static str, f64)>,
    /// Bytes held for each stored byte of an event, at most.
    pub(crate) space: Option<f64>,
}

impl Goals {
    const NONE: Self = Self { append: &[], across: None, peer: None, space: None };
}

/// A program that does the least, to compare with.
#[derive(Debug)]
pub(crate) struct Ceiling {
    pub(crate) role: Role,
    pub(crate) what: &'static str,
    /// Writes to a new database, whose tables are there, for a time; gives events per second.
    run: fn(Arc<Ground>, Duration) -> BoxFuture<'static, Result<f64>>,
}

/// Reads a stream so often, as the store has written it; gives the seconds of each reading.
pub(crate) type PlainRead = fn(Arc<Ground>, String, usize) -> BoxFuture<'static, Result<Vec<f64>>>;

pub(crate) type Space = fn(Arc<Ground>) -> BoxFuture<'static, Result<f64>>;

/// What a ceiling is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The most that goes through.
    Batched,
    /// One writer, one event at a time.
    Single,
    /// Sixteen writers, each one event at a time.
    Sixteen,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batched => "plain, batched",
            Self::Single => "plain, single",
            Self::Sixteen => "plain, 16 writers",
        }
    }
}

impl Subject {
    /// The store on a new database.
    pub(crate) async fn open(&self, plan: &Plan) -> Result<Opened> {
        Opened::new(Arc::new(self.ground(plan).await?)).await
    }

    /// A new database.
    pub(crate) async fn ground(&self, plan: &Plan) -> Result<Ground> {
        Ground::new(self.kind, self.parameters, &plan.data, &plan.servers).await
    }

    /// Its name, what it may lose, what it is compared with.
    pub(crate) fn describe(&self) -> [String; 3] {
        let ceilings: Vec<_> = self
            .ceilings
            .iter()
            .map(|ceiling| format!("*{}*: {}", ceiling.role.name(), ceiling.what))
            .collect();
        [self.name.to_owned(), self.loses.to_owned(), ceilings.join("; ")]
    }
}

impl Ceiling {
    /// Events per second.
    pub(crate) async fn measure(&self, subject: &Subject, plan: &Plan) -> Result<f64> {
        let ground = Arc::new(subject.ground(plan).await?);
        // The store makes its tables.
        open_url(&ground.url).await?.close().await;
        let rate = (self.run)(Arc::clone(&ground), plan.sample).await?;
        ground.remove().await?;
        Ok(rate)
    }
}

/// Streams that writers spread over.
pub(crate) const STREAMS: usize = 1_024;
/// The table's name begins so, where a database of its own needs no other.
const NAMESPACE: &str = "chat";
