//! SQLite at both durabilities, beside the least that its driver needs for the same rows.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use chat_core::{Clock as _, SystemClock};
use futures::future::BoxFuture;
use rusqlite::{Connection, Statement};

use super::rows::{Pace, Turns};
use super::{Ceiling, Goals, Ground, Kind, Role, STREAMS, Subject};
use crate::load::{EVENT_TYPE, Load};
use crate::report::Unit;

pub(super) const FULL: Subject = Subject {
    name: "SQLite FULL",
    loses: "nothing, if the disk keeps what it says it has kept (`synchronous=FULL`)",
    kind: Kind::Sqlite,
    parameters: "durability=full",
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "rusqlite, 1,000 rows per transaction, same table and indexes, nothing checked",
            run: |ground, time| blocking(move || batched(&ground, time, "FULL")),
        },
        Ceiling {
            role: Role::Single,
            what: "rusqlite, one connection, each row its own commit",
            run: |ground, time| blocking(move || single(&ground, time, "FULL")),
        },
        Ceiling {
            role: Role::Sixteen,
            what: "rusqlite, 16 connections, each row its own commit",
            run: |ground, time| blocking(move || sixteen(&ground, time, "FULL")),
        },
    ],
    wants_group_commit: false,
    first: true,
    goals: Goals {
        append: &[
            (1, Role::Single, 0.60, Unit::Percent),
            (16, Role::Sixteen, 4.0, Unit::Times),
            (256, Role::Batched, 0.45, Unit::Percent),
            (1_024, Role::Batched, 0.55, Unit::Percent),
        ],
        across: Some(25.0),
        peer: Some(("mire 0.4", 3_100.0)),
        space: None,
    },
    plain_read: Some(|ground, stream, times| blocking(move || read(&ground, &stream, times))),
    space: Some(|ground| blocking(move || space(&ground))),
};

pub(super) const NORMAL: Subject = Subject {
    name: "SQLite NORMAL",
    loses: "nothing when the process crashes; when the machine does, what came since the last \
            checkpoint, at most the newest 64 MiB (`synchronous=NORMAL`)",
    parameters: "durability=normal",
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "rusqlite, 1,000 rows per transaction, same table and indexes, nothing checked",
            run: |ground, time| blocking(move || batched(&ground, time, "NORMAL")),
        },
        Ceiling {
            role: Role::Single,
            what: "rusqlite, one connection, each row its own commit",
            run: |ground, time| blocking(move || single(&ground, time, "NORMAL")),
        },
        Ceiling {
            role: Role::Sixteen,
            what: "rusqlite, 16 connections, each row its own commit",
            run: |ground, time| blocking(move || sixteen(&ground, time, "NORMAL")),
        },
    ],
    first: false,
    goals: Goals::NONE,
    ..FULL
};

fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> BoxFuture<'static, Result<T>> {
    Box::pin(async { tokio::task::spawn_blocking(work).await? })
}

/// Opens the file with the store's own settings.
fn connect(ground: &Ground, synchronous: &str) -> Result<Connection> {
    let connection = Connection::open(&ground.place)?;
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
    turns: Turns,
}

impl<'c> Rows<'c> {
    fn new(connection: &'c Connection, load: &'c Load, turns: Turns) -> Result<Self> {
        let insert = connection.prepare(include_str!("sql/sqlite_insert.sql"))?;
        Ok(Self { insert, load, turns })
    }

    fn write(&mut self) -> Result<()> {
        let (stream, version) = self.turns.take()?;
        let stream = i64::try_from(stream + 1)?;
        let now = i64::try_from(SystemClock.now().0)?;
        let id = self.load.uuid();
        let row = (stream, version, id.as_bytes(), EVENT_TYPE, 1, now, self.load.payload());
        self.insert.execute(row)?;
        Ok(())
    }
}

fn batched(ground: &Ground, time: Duration, synchronous: &str) -> Result<f64> {
    let (connection, load) = (connect(ground, synchronous)?, Load::new());
    let mut rows = Rows::new(&connection, &load, Turns::new(0..STREAMS))?;
    let mut begin = connection.prepare("BEGIN IMMEDIATE")?;
    let mut commit = connection.prepare("COMMIT")?;
    let mut pace = Pace::alone(time);
    while pace.goes_on(rows.turns.taken) {
        begin.execute(())?;
        for _ in 0..1_000 {
            rows.write()?;
        }
        commit.execute(())?;
    }
    Ok(pace.rate(rows.turns.taken))
}

fn single(ground: &Ground, time: Duration, synchronous: &str) -> Result<f64> {
    let (connection, load) = (connect(ground, synchronous)?, Load::new());
    let mut rows = Rows::new(&connection, &load, Turns::new(0..STREAMS))?;
    let mut pace = Pace::alone(time);
    while pace.goes_on(rows.turns.taken) {
        rows.write()?;
    }
    Ok(pace.rate(rows.turns.taken))
}

fn sixteen(ground: &Ground, time: Duration, synchronous: &str) -> Result<f64> {
    let load = Load::new();
    let connections: Vec<_> =
        (0..16).map(|_| connect(ground, synchronous)).collect::<Result<_>>()?;
    let writers = connections.len();
    let start_together = Barrier::new(writers);
    let write = |(number, connection): (usize, Connection)| {
        // No early return before the barrier, or the others wait for ever.
        let rows = Rows::new(&connection, &load, Turns::part(STREAMS, number, writers));
        start_together.wait();
        let mut rows = rows?;
        let mut pace = Pace::beside_others(time);
        while pace.goes_on(rows.turns.taken) {
            rows.write()?;
        }
        Ok(pace.rate(rows.turns.taken))
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

fn read(ground: &Arc<Ground>, stream: &str, times: usize) -> Result<Vec<f64>> {
    let connection = Connection::open(&ground.place)?;
    let mut select = connection.prepare(include_str!("sql/sqlite_read.sql"))?;
    let mut seconds = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        let rows = select.query_map([stream], |row| {
            let key: (i64, i64, [u8; 16]) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let head: (String, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let body: (String, Option<String>) = (row.get(6)?, row.get(7)?);
            Ok((key, head, body))
        })?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        seconds.push(start.elapsed().as_secs_f64());
        drop(std::hint::black_box(rows));
    }
    Ok(seconds)
}

fn space(ground: &Arc<Ground>) -> Result<f64> {
    let connection = Connection::open(&ground.place)?;
    let pages: f64 =
        connection.query_row(include_str!("sql/sqlite_space.sql"), [], |row| row.get(0))?;
    Ok(pages)
}
