//! The servers of a run: private ones, started once, or those that the environment names.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use test_servers::{Fsync, MariaDb, Postgres, Redis, RedisCluster};

use super::{Kind, Subject};

/// Where servers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// Private ones are started, in durable settings.
    Own,
    /// Those of `CHAT_TEST_POSTGRES`, `CHAT_TEST_MYSQL`, `CHAT_TEST_REDIS` and
    /// `CHAT_TEST_REDIS_CLUSTER`; a store whose server is not named, or whose durability cannot be
    /// chosen there, is left out.
    Environment,
    /// None: only what needs no server.
    None,
}

/// How to reach a server.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) url: String,
    pub(crate) private: bool,
}

/// The servers that run; private ones end with this.
#[derive(Default)]
pub(crate) struct Servers {
    reaches: BTreeMap<Kind, Reach>,
    running: Vec<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl Servers {
    /// Starts what these need; blocks for seconds. Must be called on the thread that lives longest:
    /// a server ends with the thread that started it.
    pub(crate) fn start(from: From, subjects: &[&'static Subject]) -> Result<Self> {
        let mut servers = Self::default();
        for kind in subjects.iter().map(|subject| subject.kind) {
            if servers.reaches.contains_key(&kind) {
                continue;
            }
            match from {
                From::Own => servers.start_own(kind)?,
                From::Environment => {
                    if let Some(url) = variable(kind).and_then(|name| std::env::var(name).ok()) {
                        servers.reaches.insert(kind, Reach { url, private: false });
                    }
                }
                From::None => {}
            }
        }
        Ok(servers)
    }

    fn start_own(&mut self, kind: Kind) -> Result<()> {
        let (url, server): (String, Box<dyn Any + Send + Sync>) = match kind {
            Kind::Memory | Kind::Sqlite => return Ok(()),
            Kind::Postgres => {
                let server = Postgres::start()?;
                (server.url(), Box::new(server))
            }
            Kind::MariaDb => {
                let server = MariaDb::start()?;
                (server.url(), Box::new(server))
            }
            Kind::LazyMariaDb => {
                let server = MariaDb::start()?;
                server.query("SET GLOBAL innodb_flush_log_at_trx_commit = 2")?;
                (server.url(), Box::new(server))
            }
            Kind::Redis | Kind::LazyRedis => {
                let lazy = kind == Kind::LazyRedis;
                let fsync = if lazy { Fsync::EverySecond } else { Fsync::Always };
                let server = Redis::start_with(fsync)?;
                server.command(&NO_REWRITE)?;
                (server.url(), Box::new(server))
            }
            Kind::RedisCluster => {
                let server = RedisCluster::start()?;
                for node in 0..server.urls().len() {
                    server.command(node, &NO_REWRITE)?;
                }
                (server.url(), Box::new(server))
            }
        };
        self.running.push(server);
        self.reaches.insert(kind, Reach { url, private: true });
        Ok(())
    }

    /// Whether databases of this kind can be made.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Memory | Kind::Sqlite) || self.reaches.contains_key(&kind)
    }

    pub(super) fn reach(&self, kind: Kind) -> Result<Reach> {
        self.reaches.get(&kind).cloned().with_context(|| format!("no server for {kind:?}"))
    }
}

/// What names a server of this kind.
fn variable(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Postgres => Some("CHAT_TEST_POSTGRES"),
        Kind::MariaDb => Some("CHAT_TEST_MYSQL"),
        Kind::Redis => Some("CHAT_TEST_REDIS"),
        Kind::RedisCluster => Some("CHAT_TEST_REDIS_CLUSTER"),
        // A setting of the whole server, which a shared one keeps.
        Kind::Memory | Kind::Sqlite | Kind::LazyMariaDb | Kind::LazyRedis => None,
    }
}

/// The append-only file is rewritten between measurements, so that no rewriting falls into one.
const NO_REWRITE: [&str; 4] = ["CONFIG", "SET", "auto-aof-rewrite-percentage", "0"];
