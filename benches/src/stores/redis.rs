//! Redis and Redis Cluster, beside `redis-benchmark` and bare `XADD`s through the same driver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::{AsyncConnectionConfig, Client, Cmd, Value};
use tokio::process::Command;

use super::rows::{Pace, Turns};
use super::{Ceiling, Goals, Ground, Kind, Role, STREAMS, Subject};
use crate::load::{EVENT_TYPE, Load};
use crate::report::Unit;

pub(super) const ALWAYS: Subject = Subject {
    name: "Redis always",
    loses: "nothing, if the disk keeps what it says it has kept (`appendonly yes`, \
            `appendfsync always`); a fail-over to a replica loses what had not reached it",
    kind: Kind::Redis,
    parameters: "durability=always",
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "redis-benchmark, `XADD` of the same payload, 64 deep on 4 connections",
            run: |ground, time| Box::pin(benchmark(ground, time)),
        },
        Ceiling {
            role: Role::Single,
            what: "redis (the crate), one caller, a bare `XADD` for each event",
            run: |ground, time| Box::pin(bare(ground, time, 1)),
        },
        Ceiling {
            role: Role::Sixteen,
            what: "the same with 16 callers on one connection",
            run: |ground, time| Box::pin(bare(ground, time, 16)),
        },
    ],
    wants_group_commit: false,
    first: true,
    goals: Goals {
        append: &[
            (16, Role::Sixteen, 0.60, Unit::Percent),
            (256, Role::Batched, 0.45, Unit::Percent),
            (1_024, Role::Batched, 0.45, Unit::Percent),
        ],
        across: Some(3.0),
        peer: None,
        space: Some(1.6),
    },
    plain_read: Some(|ground, stream, times| Box::pin(read(ground, stream, times))),
    space: Some(|ground| Box::pin(space(ground))),
};

pub(super) const EVERY_SECOND: Subject = Subject {
    name: "Redis everysec",
    loses: "nothing when the server crashes; when the machine does, up to the last two seconds \
            (`appendfsync everysec`)",
    kind: Kind::LazyRedis,
    parameters: "durability=server",
    first: false,
    goals: Goals { across: None, ..ALWAYS.goals },
    ..ALWAYS
};

pub(super) const CLUSTER: Subject = Subject {
    name: "Redis Cluster",
    loses: "nothing when nodes restart (`appendfsync always` on each of three masters with a replica \
            each); a fail-over loses what had not reached the replica",
    kind: Kind::RedisCluster,
    parameters: "durability=always",
    goals: Goals { append: &[], across: Some(3.0), peer: None, space: None },
    ..ALWAYS
};

/// A connection that sends what callers give it as they come, and waits for answers for as long as
/// they take.
async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let settings = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(Client::open(url)?.get_multiplexed_async_connection_with_config(&settings).await?)
}

async fn benchmark(ground: Arc<Ground>, time: Duration) -> Result<f64> {
    let load = Load::new();
    // The program takes a number, not a time; so many a second is what it does here at most.
    let count = (time.as_secs_f64() * 150_000.0).max(2_000.0);
    let address = ground.place.trim_start_matches("redis://");
    let (host, port) = address.rsplit_once(':').context("a URL without a port")?;
    let port = port.split('/').next().unwrap_or_default();
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", host, "-p", port, "-P", "64", "-c", "4", "-q", "-n"]);
    command.args([&format!("{count:.0}"), "-r", &STREAMS.to_string()]);
    let cluster = ground.kind == Kind::RedisCluster;
    if cluster {
        command.arg("--cluster");
    }
    let tag = if cluster { "{tag}" } else { "" };
    let key = format!("{}:bare{tag}:__rand_int__", ground.namespace);
    command.args(["XADD", &key, "*", "e", &envelope(1), "p", load.payload()]);
    let output = command.output().await.context("start redis-benchmark, which comes with Redis")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "redis-benchmark failed: {text}");
    per_second(&text).with_context(|| format!("redis-benchmark says no rate: {text}"))
}

/// The last rate that redis-benchmark tells.
fn per_second(text: &str) -> Option<f64> {
    let (before, _) = text.rsplit_once(" requests per second")?;
    before.rsplit([' ', ':', '\r', '\n']).next()?.parse().ok()
}

async fn bare(ground: Arc<Ground>, time: Duration, callers: usize) -> Result<f64> {
    if ground.kind == Kind::RedisCluster {
        let connection =
            ClusterClient::new([ground.place.as_str()])?.get_async_connection().await?;
        return call(connection, &ground, time, callers).await;
    }
    call(connect(&ground.place).await?, &ground, time, callers).await
}

async fn call(
    connection: impl ConnectionLike + Clone + Send + 'static,
    ground: &Ground,
    time: Duration,
    callers: usize,
) -> Result<f64> {
    let load = Arc::new(Load::new());
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (mut connection, load) = (connection.clone(), Arc::clone(&load));
            let prefix = format!("{}:bare:", ground.namespace);
            tokio::spawn(async move {
                let mut turns = Turns::part(STREAMS, caller, callers);
                let mut pace = Pace::beside_others(time);
                while pace.goes_on(turns.taken) {
                    let (stream, version) = turns.take()?;
                    let add = add(&format!("{prefix}{stream}"), version, &load);
                    add.query_async::<Value>(&mut connection).await?;
                }
                anyhow::Ok(pace.rate(turns.taken))
            })
        })
        .collect();
    let mut rate = 0.0;
    for task in tasks {
        rate += task.await??;
    }
    Ok(rate)
}

/// Adds an event of two fields, under its version.
fn add(key: &str, version: i64, load: &Load) -> Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(key).arg(format!("{version}-0"));
    command.arg("e").arg(envelope(version)).arg("p").arg(load.payload());
    command
}

/// As many bytes as a store needs beside the payload: id, times, type, version.
fn envelope(version: i64) -> String {
    format!("{:-<27}{EVENT_TYPE}{version:08}", "")
}

/// Reads a stream like the store's, written here: how the store names its keys is its own matter.
async fn read(ground: Arc<Ground>, _stream: String, times: usize) -> Result<Vec<f64>> {
    let key = format!("{}:bare:read", ground.namespace);
    if ground.kind == Kind::RedisCluster {
        let connection =
            ClusterClient::new([ground.place.as_str()])?.get_async_connection().await?;
        return read_key(connection, &key, times).await;
    }
    read_key(connect(&ground.place).await?, &key, times).await
}

async fn read_key(
    mut connection: impl ConnectionLike + Send,
    key: &str,
    times: usize,
) -> Result<Vec<f64>> {
    let (load, events) = (Load::new(), crate::questions::READ_EVENTS);
    let there: usize = redis::cmd("XLEN").arg(key).query_async(&mut connection).await?;
    for version in there..events {
        let add = add(key, i64::try_from(version + 1)?, &load);
        add.query_async::<Value>(&mut connection).await?;
    }
    let mut seconds = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        let mut range = redis::cmd("XRANGE");
        let entries: Value = range.arg(key).arg("-").arg("+").query_async(&mut connection).await?;
        seconds.push(start.elapsed().as_secs_f64());
        drop(std::hint::black_box(entries));
    }
    Ok(seconds)
}

/// Bytes of all masters.
async fn space(ground: Arc<Ground>) -> Result<f64> {
    let used = try_join_all(masters(&ground).await?.into_iter().map(|mut node| async move {
        let text: String = redis::cmd("INFO").arg("memory").query_async(&mut node).await?;
        let line = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        anyhow::Ok(line.context("no used_memory in INFO")?.trim().parse::<f64>()?)
    }));
    Ok(used.await?.into_iter().sum())
}

/// A connection to each server that takes writes.
async fn masters(ground: &Ground) -> Result<Vec<MultiplexedConnection>> {
    let mut connection = connect(&ground.place).await?;
    if ground.kind != Kind::RedisCluster {
        return Ok(vec![connection]);
    }
    let text: String = redis::cmd("CLUSTER").arg("NODES").query_async(&mut connection).await?;
    let nodes = text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (address, flags) = (fields.next()?, fields.next()?);
        flags.contains("master").then(|| address.split('@').next())?
    });
    try_join_all(nodes.map(|node| async move { connect(&format!("redis://{node}")).await })).await
}

/// Empties the servers, and lets them rewrite an append-only file that has grown large.
pub(super) async fn remove(ground: &Ground) -> Result<()> {
    if !ground.private {
        return Ok(());
    }
    for mut node in masters(ground).await? {
        redis::cmd("FLUSHALL").exec_async(&mut node).await?;
        if number(&mut node, "aof_current_size").await? > LARGE {
            redis::cmd("BGREWRITEAOF").exec_async(&mut node).await?;
            while number(&mut node, "aof_rewrite_in_progress").await? > 0
                || number(&mut node, "aof_rewrite_scheduled").await? > 0
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    Ok(())
}

/// A number that the server tells of its persistence.
async fn number(node: &mut MultiplexedConnection, name: &str) -> Result<u64> {
    let text: String = redis::cmd("INFO").arg("persistence").query_async(node).await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("no {name} in INFO"))?.trim().parse()?)
}

const LARGE: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_rate_is_taken() {
        let text = "XADD k: rps=1.0 (overall)\rXADD k {\"a\": 1}: 123456.79 requests per second, p50=1.2 msec\n";
        assert_eq!(per_second(text), Some(123_456.79));
        assert_eq!(per_second("nothing"), None);
    }
}
