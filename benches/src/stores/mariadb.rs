//! MariaDB, beside inserts of 1,000 rows and bare inserts through the same driver.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chat_core::{Clock as _, SystemClock};
use futures::future::try_join_all;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::rows::{Pace, Turns};
use super::{Ceiling, Goals, Ground, Kind, Role, STREAMS, Subject};
use crate::load::{EVENT_TYPE, Load};
use crate::report::Unit;

pub(super) const EACH_COMMIT: Subject = Subject {
    name: "MariaDB 1",
    loses: "nothing, if the disk keeps what it says it has kept \
            (`innodb_flush_log_at_trx_commit=1`, no binary log)",
    kind: Kind::MariaDb,
    parameters: "durability=full",
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "sqlx, `INSERT` of 1,000 rows per commit into the same table with the same indexes",
            run: |ground, time| Box::pin(batched(ground, time)),
        },
        Ceiling {
            role: Role::Single,
            what: "sqlx, one connection, a bare `INSERT` for each row",
            run: |ground, time| Box::pin(insert(ground, time, 1)),
        },
        Ceiling {
            role: Role::Sixteen,
            what: "sqlx, 16 connections, a bare `INSERT` for each row",
            run: |ground, time| Box::pin(insert(ground, time, 16)),
        },
    ],
    wants_group_commit: false,
    first: true,
    goals: Goals {
        append: &[
            (1, Role::Single, 0.80, Unit::Percent),
            (256, Role::Batched, 0.45, Unit::Percent),
            (1_024, Role::Batched, 0.50, Unit::Percent),
        ],
        across: Some(25.0),
        peer: None,
        space: None,
    },
    plain_read: Some(|ground, stream, times| Box::pin(read(ground, stream, times))),
    space: Some(|ground| Box::pin(space(ground))),
};

pub(super) const EACH_SECOND: Subject = Subject {
    name: "MariaDB 2",
    loses: "nothing when the server crashes; when the machine does, about the last second \
            (`innodb_flush_log_at_trx_commit=2`)",
    kind: Kind::LazyMariaDb,
    parameters: "durability=server",
    first: false,
    goals: Goals::NONE,
    ..EACH_COMMIT
};

async fn connect(url: &str) -> Result<MySqlConnection> {
    Ok(MySqlConnectOptions::from_str(url)?.connect().await?)
}

async fn connect_to(ground: &Ground) -> Result<MySqlConnection> {
    let options = MySqlConnectOptions::from_str(&ground.place)?;
    Ok(options.database(database(ground)?).connect().await?)
}

/// The database of a measurement, by its URL.
fn database(ground: &Ground) -> Result<&str> {
    let (place, _) = ground.url.split_once('?').unwrap_or((&ground.url, ""));
    Ok(place.rsplit_once('/').context("a URL without a database")?.1)
}

pub(super) async fn create(url: &str, name: &str) -> Result<()> {
    let mut connection = connect(url).await?;
    let statement = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(statement).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

pub(super) async fn remove(ground: &Ground) -> Result<()> {
    let mut connection = connect(&ground.place).await?;
    let statement = AssertSqlSafe(format!("DROP DATABASE {}", database(ground)?));
    sqlx::raw_sql(statement).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// The columns of a row, bound to a statement.
macro_rules! bind {
    ($query:expr, $position:expr, $turns:expr, $load:expr) => {{
        let (stream, version) = $turns.take()?;
        $query
            .bind($position)
            .bind(format!("chat/group-{stream}").into_bytes())
            .bind(version)
            .bind($load.uuid().as_bytes().to_vec())
            .bind(EVENT_TYPE)
            .bind(1_u16)
            .bind(SystemClock.now().0)
            .bind($load.payload())
    }};
}

async fn batched(ground: Arc<Ground>, time: Duration) -> Result<f64> {
    const ROWS: usize = 1_000;
    let mut connection = connect_to(&ground).await?;
    let mut statement = INSERT.trim_end().to_owned();
    statement.push_str(&format!(", {ROW}").repeat(ROWS - 1));
    let (load, mut turns) = (Load::new(), Turns::new(0..STREAMS));
    let mut pace = Pace::alone(time);
    while pace.goes_on(turns.taken) {
        let mut query = sqlx::query(AssertSqlSafe(statement.clone()));
        for _ in 0..ROWS {
            query = bind!(query, turns.taken as u64 + 1, turns, load);
        }
        query.execute(&mut connection).await?;
    }
    let rate = pace.rate(turns.taken);
    connection.close().await?;
    Ok(rate)
}

async fn insert(ground: Arc<Ground>, time: Duration, writers: usize) -> Result<f64> {
    let (load, position) = (Arc::new(Load::new()), Arc::new(AtomicU64::new(1)));
    let connections = try_join_all((0..writers).map(|_| connect_to(&ground))).await?;
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(writer, mut connection)| {
            let (load, position) = (Arc::clone(&load), Arc::clone(&position));
            tokio::spawn(async move {
                let mut turns = Turns::part(STREAMS, writer, writers);
                let mut pace = Pace::beside_others(time);
                while pace.goes_on(turns.taken) {
                    let position = position.fetch_add(1, Ordering::Relaxed);
                    let query = bind!(sqlx::query(INSERT), position, turns, load);
                    query.execute(&mut connection).await?;
                }
                let rate = pace.rate(turns.taken);
                connection.close().await?;
                anyhow::Ok(rate)
            })
        })
        .collect();
    let mut rate = 0.0;
    for task in tasks {
        rate += task.await??;
    }
    Ok(rate)
}

async fn read(ground: Arc<Ground>, stream: String, times: usize) -> Result<Vec<f64>> {
    let mut connection = connect_to(&ground).await?;
    let mut seconds = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        let query = sqlx::query(include_str!("sql/mariadb_read.sql")).bind(stream.as_bytes());
        let rows = query.fetch_all(&mut connection).await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let key: (u64, u64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let head: (String, u16, u64) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
            let body: (String, Option<String>) = (row.try_get(6)?, row.try_get(7)?);
            events.push((key, head, body));
        }
        seconds.push(start.elapsed().as_secs_f64());
        drop(std::hint::black_box(events));
    }
    connection.close().await?;
    Ok(seconds)
}

async fn space(ground: Arc<Ground>) -> Result<f64> {
    let mut connection = connect_to(&ground).await?;
    let query = sqlx::query_scalar(include_str!("sql/mariadb_space.sql"));
    let bytes: u64 =
        query.bind(format!("{}/%", database(&ground)?)).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(bytes as f64)
}

const INSERT: &str = include_str!("sql/mariadb_insert.sql");
const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?)";
