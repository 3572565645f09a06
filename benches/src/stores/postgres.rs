//! PostgreSQL, beside `COPY` and bare inserts through the same driver.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use chat_core::{Clock as _, SystemClock};
use futures::future::try_join_all;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::rows::{Pace, Turns};
use super::{Ceiling, Goals, Ground, Kind, Role, STREAMS, Subject};
use crate::load::{EVENT_TYPE, Load};
use crate::report::Unit;

pub(super) const ON: Subject = Subject {
    name: "PostgreSQL on",
    loses: "nothing, if the disk keeps what it says it has kept (`fsync=on`, \
            `synchronous_commit=on`)",
    kind: Kind::Postgres,
    parameters: "durability=on",
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "sqlx, `COPY` of 1,000 rows per commit into the same table with the same indexes",
            run: |ground, time| Box::pin(copy(ground, time, "on")),
        },
        Ceiling {
            role: Role::Single,
            what: "sqlx, one connection, a bare `INSERT` for each row",
            run: |ground, time| Box::pin(insert(ground, time, "on", 1)),
        },
        Ceiling {
            role: Role::Sixteen,
            what: "sqlx, 16 connections, a bare `INSERT` for each row",
            run: |ground, time| Box::pin(insert(ground, time, "on", 16)),
        },
    ],
    wants_group_commit: false,
    first: true,
    goals: Goals {
        append: &[
            (1, Role::Single, 0.85, Unit::Percent),
            (16, Role::Sixteen, 2.0, Unit::Times),
            (256, Role::Batched, 0.55, Unit::Percent),
            (1_024, Role::Batched, 0.65, Unit::Percent),
        ],
        across: Some(3.0),
        peer: Some(("postgres-es 0.5", 5_200.0)),
        space: None,
    },
    plain_read: Some(|ground, stream, times| Box::pin(read(ground, stream, times))),
    space: Some(|ground| Box::pin(space(ground))),
};

pub(super) const OFF: Subject = Subject {
    name: "PostgreSQL off",
    loses: "nothing when the process crashes; when the server or the machine does, about the last \
            second (three times `wal_writer_delay`, 0.6 s; `synchronous_commit=off`)",
    parameters: "durability=server&options=-c%20synchronous_commit%3Doff",
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "sqlx, `COPY` of 1,000 rows per commit into the same table with the same indexes",
            run: |ground, time| Box::pin(copy(ground, time, "off")),
        },
        Ceiling {
            role: Role::Single,
            what: "sqlx, one connection, a bare `INSERT` for each row",
            run: |ground, time| Box::pin(insert(ground, time, "off", 1)),
        },
        Ceiling {
            role: Role::Sixteen,
            what: "sqlx, 16 connections, a bare `INSERT` for each row",
            run: |ground, time| Box::pin(insert(ground, time, "off", 16)),
        },
    ],
    first: false,
    goals: Goals::NONE,
    ..ON
};

async fn connect(ground: &Ground, synchronous_commit: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(&ground.place)?;
    Ok(options.options([("synchronous_commit", synchronous_commit)]).connect().await?)
}

/// A statement of a file, with the name of the tables.
fn statement(text: &str, ground: &Ground) -> String {
    text.replace("{ns}", &ground.namespace)
}

async fn copy(ground: Arc<Ground>, time: Duration, level: &'static str) -> Result<f64> {
    let mut connection = connect(&ground, level).await?;
    let statement = statement(include_str!("sql/postgres_copy.sql"), &ground);
    let (load, mut turns) = (Load::new(), Turns::new(0..STREAMS));
    let mut text = String::new();
    let mut pace = Pace::alone(time);
    while pace.goes_on(turns.taken) {
        text.clear();
        for _ in 0..1_000 {
            let position = turns.taken + 1;
            let (stream, version) = turns.take()?;
            let (id, now, payload) = (load.uuid(), SystemClock.now().0, load.payload());
            text.push_str(&format!(
                "{position}\tchat/group-{stream}\t{version}\t{id}\t{EVENT_TYPE}\t1\t{now}\t{payload}\n"
            ));
        }
        let mut copy = connection.copy_in_raw(&statement).await?;
        copy.send(text.as_bytes()).await?;
        copy.finish().await?;
    }
    let rate = pace.rate(turns.taken);
    connection.close().await?;
    Ok(rate)
}

async fn insert(
    ground: Arc<Ground>,
    time: Duration,
    level: &'static str,
    writers: usize,
) -> Result<f64> {
    let statement: Arc<str> = statement(include_str!("sql/postgres_insert.sql"), &ground).into();
    let (load, position) = (Arc::new(Load::new()), Arc::new(AtomicI64::new(1)));
    let connections = try_join_all((0..writers).map(|_| connect(&ground, level))).await?;
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(writer, mut connection)| {
            let (load, position) = (Arc::clone(&load), Arc::clone(&position));
            let statement = Arc::clone(&statement);
            tokio::spawn(async move {
                let mut turns = Turns::part(STREAMS, writer, writers);
                let mut pace = Pace::beside_others(time);
                while pace.goes_on(turns.taken) {
                    let (stream, version) = turns.take()?;
                    sqlx::query(AssertSqlSafe(statement.to_string()))
                        .bind(position.fetch_add(1, Ordering::Relaxed))
                        .bind(format!("chat/group-{stream}"))
                        .bind(version)
                        .bind(load.uuid().to_string())
                        .bind(EVENT_TYPE)
                        .bind(1_i32)
                        .bind(i64::try_from(SystemClock.now().0)?)
                        .bind(load.payload())
                        .execute(&mut connection)
                        .await?;
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
    let mut connection = connect(&ground, "on").await?;
    let statement = statement(include_str!("sql/postgres_read.sql"), &ground);
    let mut seconds = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        let query = sqlx::query(AssertSqlSafe(statement.clone())).bind(&stream);
        let rows = query.fetch_all(&mut connection).await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let id = <[u8; 16]>::try_from(id_bytes(&row)?)?;
            let key: (i64, i64, [u8; 16]) = (row.try_get(0)?, row.try_get(1)?, id);
            let head: (String, i32, i64) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
            let body: (String, Option<String>) =
                (row.try_get_unchecked(6)?, row.try_get_unchecked(7)?);
            events.push((key, head, body));
        }
        seconds.push(start.elapsed().as_secs_f64());
        drop(std::hint::black_box(events));
    }
    connection.close().await?;
    Ok(seconds)
}

/// As the driver has got it.
fn id_bytes(row: &PgRow) -> Result<&[u8]> {
    row.try_get_raw(2)?.as_bytes().map_err(|error| anyhow!(error))
}

async fn space(ground: Arc<Ground>) -> Result<f64> {
    let mut connection = connect(&ground, "on").await?;
    let statement = statement(include_str!("sql/postgres_space.sql"), &ground);
    let bytes: i64 =
        sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(bytes as f64)
}

pub(super) async fn remove(ground: &Ground) -> Result<()> {
    let mut connection = connect(ground, "off").await?;
    let statement = statement(include_str!("sql/postgres_remove.sql"), ground);
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}
