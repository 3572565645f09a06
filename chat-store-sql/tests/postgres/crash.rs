//! `kill -9` of the server under load, and of processes that write: what was acknowledged is there
//! once, what was not is settled by its ids, and everybody goes on by themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_core::ports::{EventStore as _, EventStoreExt as _, Expected, PageLimit, StoreError};
use chat_core::testkit::fixture::{event, event_id, read_all, single, stream};
use chat_core::testkit::scenarios::world::soak;
use chat_core::{EventId, PartitionId, Position, Version};
use chat_store_sql::postgres::PostgresStore;

use crate::support::{PATIENCE, Place};

const WRITERS: u64 = 16;

/// What the writers and the reader share with the one who kills.
#[derive(Debug, Default)]
struct Run {
    acknowledged: AtomicU64,
    over: AtomicBool,
    /// All writers have ended.
    settled: AtomicBool,
}

/// Appends until it is over, each append until it is settled. Gives what was acknowledged.
async fn append_on(store: PostgresStore, writer: u64, run: Arc<Run>) -> HashMap<EventId, Version> {
    let name = stream(&format!("chat/{}", writer % 4));
    let mut acknowledged = HashMap::new();
    let mut number = 0;
    while !run.over.load(Ordering::Relaxed) {
        number += 1;
        let first = (writer * 1_000_000 + number) * 2;
        let append = single(&name, Expected::Any, vec![event(first), event(first + 1)]);
        let appended = loop {
            match store.append_one(append.clone()).await {
                Ok(appended) => break appended,
                Err(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        acknowledged.insert(event_id(first), appended.streams[0].first);
        acknowledged.insert(event_id(first + 1), appended.streams[0].last);
        run.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// Follows the log through all crashes, to its end once it is over.
async fn follow(store: PostgresStore, run: Arc<Run>) -> Vec<EventId> {
    let (mut after, mut seen) = (Position::ZERO, Vec::new());
    loop {
        let over = run.settled.load(Ordering::Acquire);
        match store.read_log(PartitionId(0), after, PageLimit::events(100)).await {
            Ok(page) if page.events.is_empty() && over => return seen,
            Ok(page) => {
                after = page.next;
                seen.extend(page.events.iter().map(|event| event.event.id));
                if page.events.is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let mut server =
        tokio::task::spawn_blocking(|| test_servers::Postgres::start().unwrap()).await.unwrap();
    let place = Place::at(server.url());
    let run = Arc::<Run>::default();
    let mut writers = tokio::task::JoinSet::new();
    for handle in 0..2 {
        let store = place.open().await;
        for writer in (0..WRITERS).filter(|writer| writer % 2 == handle) {
            writers.spawn(append_on(store.clone(), writer, Arc::clone(&run)));
        }
    }
    let store = place.open().await;
    let epoch = store.info().await.unwrap().epoch;
    let follower = tokio::spawn(follow(place.open().await, Arc::clone(&run)));
    for kill in 0..soak(100, 5) {
        // At another moment each time, always in the middle of the work.
        let wanted = run.acknowledged.load(Ordering::Relaxed) + 1 + (kill * 37) % 400;
        let arrives = async {
            while run.acknowledged.load(Ordering::Relaxed) < wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, arrives).await.expect("the writers go on by themselves");
        server = tokio::task::spawn_blocking(move || {
            server.kill().unwrap();
            server.restart().unwrap();
            server
        })
        .await
        .unwrap();
    }
    let wanted = run.acknowledged.load(Ordering::Relaxed) + 100;
    let last = async {
        while run.acknowledged.load(Ordering::Relaxed) < wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, last).await.expect("the writers go on by themselves");
    run.over.store(true, Ordering::Relaxed);
    let mut acknowledged = HashMap::new();
    while let Some(written) = writers.join_next().await {
        acknowledged.extend(written.unwrap());
    }
    run.settled.store(true, Ordering::Release);
    let seen = follower.await.unwrap();
    check(&store, &acknowledged, &seen).await;
    assert_eq!(
        store.info().await.unwrap().epoch,
        epoch,
        "nothing was lost, so it is the same store"
    );
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

/// Every event was acknowledged, every acknowledged event is there, once, and where it was said.
async fn check(store: &PostgresStore, acknowledged: &HashMap<EventId, Version>, seen: &[EventId]) {
    let mut there = HashMap::new();
    for chat in 0..4 {
        let events = read_all(store, &stream(&format!("chat/{chat}"))).await;
        for (version, event) in (1..).zip(&events) {
            assert_eq!(event.version.0, version, "a hole or a repeat");
            assert_eq!(there.insert(event.event.id, event.version), None, "twice");
        }
    }
    assert_eq!(&there, acknowledged);
    let unique: std::collections::HashSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "the reader met an event twice");
    assert!(seen.iter().all(|id| there.contains_key(id)), "the reader met what was lost");
    assert_eq!(seen.len(), there.len(), "the reader missed something");
}
