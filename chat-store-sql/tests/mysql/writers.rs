//! Many writers over several handles, as several processes have them.

use std::sync::Arc;

use chat_core::Namespace;
use chat_core::ports::{EventStore, EventStoreExt as _, Expected};
use chat_core::testkit::audit::audit_all;
use chat_core::testkit::crowd;
use chat_core::testkit::fixture::{event, multi, single, stream};
use chat_store_sql::mysql::MysqlStore;
use sqlx::Connection as _;
use tokio::task::JoinSet;

use crate::support::Place;

async fn handles(place: &Place) -> Vec<MysqlStore> {
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(place.open().await);
    }
    handles
}

const HELD_BACK: u64 = 10;

/// Everybody stands still between taking a position and the commit, each time for another while;
/// and a host takes its place in the log and commits only when another append waits for a lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_four_processes_lose_nothing_and_a_reader_misses_nothing() {
    if let Some(part) = test_servers::part() {
        let (namespace, process) = part.split_once(' ').unwrap();
        let place = Place::named(Namespace::new(namespace).unwrap());
        return crowd::write(&place.open().await.events(), process.parse().unwrap()).await;
    }
    let place = Place::new();
    let (store, mut connection) = (place.open().await, place.raw().await);
    let dawdle = "CREATE TRIGGER {ns}_dawdle AFTER INSERT ON {ns}_events
                  FOR EACH ROW DO SLEEP(RAND() * 0.004)";
    let dawdle = sqlx::AssertSqlSafe(place.sql(dawdle));
    sqlx::raw_sql(dawdle).execute(&mut connection).await.unwrap();
    let others = usize::try_from(2 * HELD_BACK).unwrap();
    let reading = tokio::spawn(crowd::follow(place.open().await.events(), others));
    let test = "writers::writers_in_four_processes_lose_nothing_and_a_reader_misses_nothing";
    let part = |process| format!("{} {process}", place.namespace());
    let start = |process| test_servers::again(test, &part(process)).unwrap().spawn().unwrap();
    let children: Vec<_> = (0..crowd::PROCESSES).map(start).collect();
    for number in 0..HELD_BACK {
        let append = |id| single(&stream("chat/shared"), Expected::Any, vec![event(id)]);
        // A deadlock may end a transaction; then it is begun again.
        let transaction = loop {
            let mut transaction = connection.begin().await.unwrap();
            match store.append_in(&mut transaction, append(1_000_000_000 + number)).await {
                Ok(_) => break transaction,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        };
        let behind = tokio::spawn({
            let (store, append) = (store.clone(), append(2_000_000_000 + number));
            async move { store.append_one(append).await.unwrap() }
        });
        place.wait_for_a_waiting_append().await;
        transaction.commit().await.unwrap();
        behind.await.unwrap();
    }
    reading.await.unwrap();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_to_several_streams_in_opposite_orders_never_meet_a_deadlock() {
    let appends: u64 = if std::env::var_os("CHAT_SOAK").is_some() { 10_000 } else { 300 };
    let place = Place::new();
    let handles = handles(&place).await;
    let mut writers = JoinSet::new();
    for writer in 0..8_u64 {
        let store = handles[usize::try_from(writer % 4).unwrap()].clone();
        writers.spawn(async move {
            for number in (writer..appends).step_by(8) {
                let mut names = ["a/{k}", "b/{k}", "c/{k}"].map(stream);
                if writer % 2 == 1 {
                    names.reverse();
                }
                let write = |index: usize| {
                    let id = number * 10 + u64::try_from(index).unwrap();
                    (&names[index], Expected::Any, vec![event(id)])
                };
                let append = multi(vec![write(0), write(1), write(2)], vec![]);
                store.append(&[append]).await.pop().unwrap().unwrap();
            }
        });
    }
    writers.join_all().await;
    let store: Arc<dyn EventStore> = Arc::new(handles[0].clone());
    assert_eq!(audit_all(&store).await, usize::try_from(appends * 3).unwrap());
}
