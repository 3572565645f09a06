//! SQLite at both durabilities, beside the least that its driver needs for the same rows.

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use chat_core::ports::{EventStore, ViewStore};
use chat_core::{Clock as _, SystemClock};
use chat_store_sql::sqlite::{SqliteConfig, SqliteDurability, SqliteStore};
use rusqlite::{Connection, Statement};
use std::sync::Arc;

use super::{Ceiling, Database, Role, STREAMS, Subject};
use crate::load::{EVENT_TYPE, Load};

pub(super) const FULL: Subject = Subject {
    name: "SQLite FULL",
    loses: "nothing, if the disk keeps what it says it has kept (`synchronous=FULL`)",
    open: |directory| Box::pin(open(directory, SqliteDurability::Full)),
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "rusqlite, 1,000 rows per transaction, same table and indexes, nothing checked",
            run: |directory, time| batched(directory, time, "FULL"),
        },
        Ceiling {
            role: Role::Single,
            what: "rusqlite, one connection, each row its own commit",
            run: |directory, time| single(directory, time, "FULL"),
        },
        Ceiling {
            role: Role::Sixteen,
            what: "rusqlite, 16 connections, each row its own commit",
            run: |directory, time| sixteen(directory, time, "FULL"),
        },
    ],
    wants_group_commit: false,
    has_goals: true,
};

pub(super) const NORMAL: Subject = Subject {
    name: "SQLite NORMAL",
    loses: "nothing when the process crashes; when the machine does, what came since the last \
            checkpoint, at most the newest 64 MiB (`synchronous=NORMAL`)",
    open: |directory| Box::pin(open(directory, SqliteDurability::Normal)),
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "rusqlite, 1,000 rows per transaction, same table and indexes, nothing checked",
            run: |directory, time| batched(directory, time, "NORMAL"),
        },
        Ceiling {
            role: Role::Single,
            what: "rusqlite, one connection, each row its own commit",
            run: |directory, time| single(directory, time, "NORMAL"),
        },
        Ceiling {
            role: Role::Sixteen,
            what: "rusqlite, 16 connections, each row its own commit",
            run: |directory, time| sixteen(directory, time, "NORMAL"),
        },
    ],
    wants_group_commit: false,
    has_goals: false,
};

#[derive(Debug)]
struct Sqlite {
    config: SqliteConfig,
    store: SqliteStore,
}

fn config(directory: &Path) -> SqliteConfig {
    SqliteConfig::new(directory.join("chat.db"))
}

async fn open(directory: PathBuf, durability: SqliteDurability) -> Result<Box<dyn Database>> {
    let config = config(&directory).with_durability(durability);
    let store = SqliteStore::open(config.clone()).await?;
    Ok(Box::new(Sqlite { config, store }))
}

#[async_trait]
impl Database for Sqlite {
    fn events(&self) -> Arc<dyn EventStore> {
        self.store.events()
    }

    fn views(&self) -> Arc<dyn ViewStore> {
        self.store.views()
    }

    async fn restart(&mut self) -> Result<()> {
        self.store.close().await;
        self.store = SqliteStore::open(self.config.clone()).await?;
        Ok(())
    }

    async fn close(&mut self) {
        self.store.close().await;
    }
}

/// Makes the tables as the store makes them, and opens the file with the store's own settings.
fn prepare(directory: &Path, synchronous: &str) -> Result<Connection> {
    let path = directory.join("chat.db");
    if !path.exists() {
        let config = config(directory);
        tokio::runtime::Handle::current().block_on(async {
            SqliteStore::open(config).await?.close().await;
            anyhow::Ok(())
        })?;
    }
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", 16_000)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    Ok(connection)
}

/// Writes the rows that the store would write.
#[derive(Debug)]
struct Rows<'c> {
    insert: Statement<'c>,
    load: &'c Load,
    streams: std::ops::Range<usize>,
    versions: Vec<i64>,
    written: usize,
}

impl<'c> Rows<'c> {
    fn new(
        connection: &'c Connection,
        load: &'c Load,
        streams: std::ops::Range<usize>,
    ) -> Result<Self> {
        let insert = connection.prepare(
            "INSERT INTO chat_events (stream, version, event_id, type, schema_version, recorded_at,
                 payload, metadata)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)",
        )?;
        let versions = vec![0; streams.len()];
        Ok(Self { insert, load, streams, versions, written: 0 })
    }

    fn write(&mut self) -> Result<()> {
        let at = self.written % self.streams.len();
        let version = self.versions.get_mut(at).context("no such stream")?;
        *version += 1;
        let stream = i64::try_from(self.streams.start + at + 1)?;
        let now = i64::try_from(SystemClock.now().0)?;
        let id = self.load.uuid();
        let row = (stream, *version, id.as_bytes(), EVENT_TYPE, 1, now, self.load.payload());
        self.insert.execute(row)?;
        self.written += 1;
        Ok(())
    }
}

fn batched(directory: &Path, time: Duration, synchronous: &str) -> Result<f64> {
    let (connection, load) = (prepare(directory, synchronous)?, Load::new());
    let mut rows = Rows::new(&connection, &load, 0..STREAMS)?;
    let mut begin = connection.prepare("BEGIN IMMEDIATE")?;
    let mut commit = connection.prepare("COMMIT")?;
    let start = Instant::now();
    while rows.written == 0 || start.elapsed() < time {
        begin.execute(())?;
        for _ in 0..1_000 {
            rows.write()?;
        }
        commit.execute(())?;
    }
    Ok(rows.written as f64 / start.elapsed().as_secs_f64())
}

fn single(directory: &Path, time: Duration, synchronous: &str) -> Result<f64> {
    let (connection, load) = (prepare(directory, synchronous)?, Load::new());
    let mut rows = Rows::new(&connection, &load, 0..STREAMS)?;
    let start = Instant::now();
    while rows.written == 0 || start.elapsed() < time {
        rows.write()?;
    }
    Ok(rows.written as f64 / start.elapsed().as_secs_f64())
}

fn sixteen(directory: &Path, time: Duration, synchronous: &str) -> Result<f64> {
    let load = Load::new();
    let connections: Vec<_> =
        (0..16).map(|_| prepare(directory, synchronous)).collect::<Result<_>>()?;
    let start_together = Barrier::new(connections.len());
    let each = STREAMS / connections.len();
    let write = |(number, connection): (usize, Connection)| {
        // No early return before the barrier, or the others wait for ever.
        let rows = Rows::new(&connection, &load, number * each..(number + 1) * each);
        start_together.wait();
        let mut rows = rows?;
        let start = Instant::now();
        while rows.written == 0 || start.elapsed() < time {
            rows.write()?;
        }
        Ok(rows.written as f64 / start.elapsed().as_secs_f64())
    };
    let write = &write;
    std::thread::scope(|scope| {
        let threads: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|work| scope.spawn(move || write(work)))
            .collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(rate) => rate,
            Err(_) => Err(anyhow!("a writing thread panicked")),
        });
        ended.sum()
    })
}
