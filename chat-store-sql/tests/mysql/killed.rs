//! The server killed under load, and the writing process killed at random moments. Short here; with
//! `CHAT_SOAK=1` a hundred times each.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_core::PartitionId;
use chat_core::ports::{EventStore, EventStoreExt as _, Expected, PageLimit, StoreError};
use chat_core::testkit::audit::audit_all;
use chat_core::testkit::fixture::{event, event_id, events, read_log, single, stream};
use chat_store_sql::mysql::MysqlStore;
use tokio::sync::watch;

use crate::support::Place;

fn times(short: usize) -> usize {
    if std::env::var_os("CHAT_SOAK").is_some() { 100 } else { short }
}

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
    for _ in 0..times(3) {
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

    let known = std::mem::take(&mut *known.lock().unwrap());
    let log = read_log(&store, PartitionId(0), PageLimit::MAX_EVENTS).await;
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

const PLACE: &str = "CHAT_MYSQL_TEST_NAMESPACE";
const ROUND: &str = "CHAT_MYSQL_TEST_ROUND";
const TEST: &str = "killed::a_killed_process_loses_nothing_that_was_acknowledged";

fn start(place: &Place, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(PLACE, place.namespace().as_str())
        .env(ROUND, round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let Ok(namespace) = std::env::var(PLACE) {
        return append_until_killed(&namespace).await;
    }
    let place = Place::new();
    let store = place.open().await;
    for round in 0..times(5) {
        let mut child = start(&place, round);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The test program's own lines may stand before a word without a line's end between.
        let mut heard = lines.filter_map(|line| {
            let line = line.ok()?;
            line.split_once("acknowledged ").map(|(_, rest)| rest.to_owned())
        });
        let wanted = 1 + round * 37 % 400;
        let mut acknowledged: Vec<_> = heard.by_ref().take(wanted).collect();
        assert_eq!(acknowledged.len(), wanted, "the process ended before it was killed");
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(heard);
        check(&store, round, &acknowledged).await;
    }
    audit_all(&store.events()).await;
}

async fn append_until_killed(namespace: &str) {
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let config = Place::new().config();
    let config = config.with_namespace(chat_core::Namespace::new(namespace).unwrap());
    let store = MysqlStore::connect(config).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let name = stream(&format!("chat/{}", task % 3));
            for number in 0.. {
                let id = id_of(round, task, number);
                let pair = single(&name, Expected::Any, events([id, id + 1]));
                store.append_one(pair).await.unwrap();
                println!("acknowledged {task} {number}");
            }
        });
    }
    tasks.join_all().await;
}

fn id_of(round: u64, task: u64, number: u64) -> u64 {
    (round * TASKS + task) * 1_000_000 + number * 2
}

async fn check(store: &MysqlStore, round: usize, acknowledged: &[String]) {
    let round = u64::try_from(round).unwrap();
    let mut next: HashMap<u64, u64> = (0..TASKS).map(|task| (task, 0)).collect();
    for line in acknowledged {
        let words: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        // The last line may have been cut off by the kill.
        let [task, number] = words[..] else { continue };
        let name = stream(&format!("chat/{}", task % 3));
        let there = store.find(&name, event_id(id_of(round, task, number))).await.unwrap();
        assert!(there.is_some(), "{line} was acknowledged and is lost");
        next.insert(task, number + 1);
    }
    // What was under way at the kill is settled by a repeat, and once in the end.
    for (task, number) in next {
        let id = id_of(round, task, number);
        let name = stream(&format!("chat/{}", task % 3));
        for first in [false, true] {
            let again = single(&name, Expected::Any, vec![event(id), event(id + 1)]);
            let settled = store.append_one(again).await.unwrap();
            assert!(settled.repeat || !first, "{id}");
        }
    }
}
