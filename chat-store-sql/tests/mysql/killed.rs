//! The server killed under load. A few times here; with `CHAT_SOAK=1` a hundred times.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_core::ports::{EventStore, EventStoreExt as _, Expected, PageLimit, StoreError};
use chat_core::testkit::audit::audit_all;
use chat_core::testkit::fixture::{event_id, events, read_log, single, stream};
use chat_core::testkit::scenarios::world::soak;
use chat_core::{EventId, PartitionId, Position};
use chat_store_sql::mysql::MysqlStore;
use tokio::sync::watch;

use crate::support::Place;

/// What callers know of their appends: the number, and whether it was acknowledged.
type Known = Arc<Mutex<Vec<(u64, bool)>>>;

const TASKS: u64 = 8;

/// Appends until told to stop. What was not acknowledged is left for the audit.
async fn append(store: MysqlStore, task: u64, known: Known, mut stop: watch::Receiver<bool>) {
    let name = stream(&format!("chat/{}", task % 3));
    for number in 0.. {
        if *stop.borrow_and_update() {
            return;
        }
        let id = task * 10_000_000 + number * 2;
        let pair = single(&name, Expected::Any, events([id, id + 1]));
        match store.append_one(pair).await {
            Ok(appended) => {
                assert!(!appended.repeat, "{id} was there already");
                known.lock().unwrap().push((id, true));
            }
            Err(StoreError::OutcomeUnknown { .. }) => known.lock().unwrap().push((id, false)),
            Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
            Err(error) => panic!("{id}: {error}"),
        }
    }
}

/// Reads the log as another process does, to its end once nobody writes any more; what it was
/// shown, in order.
async fn follow(store: MysqlStore, settled: watch::Receiver<bool>) -> Vec<(u64, EventId)> {
    let (mut shown, mut after) = (Vec::new(), Position::ZERO);
    loop {
        let at_rest = *settled.borrow();
        match store.read_log(PartitionId(0), after, PageLimit::events(100)).await {
            Ok(page) => {
                after = page.next;
                shown.extend(page.events.iter().map(|event| (event.position.0, event.event.id)));
                if at_rest && page.events.is_empty() {
                    return shown;
                }
            }
            Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let server = tokio::task::spawn_blocking(test_servers::MariaDb::start).await.unwrap();
    let server = Arc::new(Mutex::new(server.unwrap()));
    let place = Place::on(&server.lock().unwrap().url());
    let store = place.open().await;
    let known = Known::default();
    let (stop, stopped) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(append(store.clone(), task, Arc::clone(&known), stopped.clone()));
    }
    let (settle, settled) = watch::channel(false);
    let follower = tokio::spawn(follow(place.open().await, settled));
    for _ in 0..soak(100, 3) {
        // Under load: some appends later than the last time.
        let wanted = known.lock().unwrap().len() + 150;
        until(|| known.lock().unwrap().len() >= wanted).await;
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || {
            let mut server = server.lock().unwrap();
            server.kill().unwrap();
            server.restart().unwrap();
        })
        .await
        .unwrap();
    }
    // The store goes on by itself.
    let wanted = known.lock().unwrap().len() + 150;
    until(|| known.lock().unwrap().len() >= wanted).await;
    stop.send(true).unwrap();
    tasks.join_all().await;
    settle.send_replace(true);

    let known = std::mem::take(&mut *known.lock().unwrap());
    let log = read_log(&store, PartitionId(0), PageLimit::MAX_EVENTS).await;
    // What a reader was once shown stays, and nothing came in behind its back.
    let places: Vec<_> = log.iter().map(|event| (event.position.0, event.event.id)).collect();
    let shown = follower.await.unwrap();
    let differs = shown.iter().zip(&places).position(|(shown, place)| shown != place);
    assert_eq!((differs, shown.len()), (None, places.len()));
    let mut there = HashMap::new();
    for stored in &log {
        assert!(there.insert(stored.event.id, stored.version.0).is_none(), "twice");
    }
    for (id, acknowledged) in known {
        let (one, two) = (there.get(&event_id(id)), there.get(&event_id(id + 1)));
        assert_eq!(one.map(|one| one + 1), two.copied(), "{id} is torn");
        assert!(one.is_some() || !acknowledged, "{id} was acknowledged and is lost");
        if !acknowledged {
            let name = stream(&format!("chat/{}", id / 10_000_000 % 3));
            let again = single(&name, Expected::Any, events([id, id + 1]));
            let settled = store.append_one(again).await.unwrap();
            assert_eq!(settled.repeat, one.is_some(), "{id}");
        }
    }
    let store: Arc<dyn EventStore> = Arc::new(store);
    audit_all(&store).await;
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), waiting).await.expect("it comes about");
}
