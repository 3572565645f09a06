//! Appends inside the host's own transaction.

use chat_core::ports::{
    BusItem, EventBus as _, EventStore, EventStoreExt as _, Expected, LOG_TOPIC, PageLimit, Signal,
    SignalBody, StoreError,
};
use chat_core::testkit::audit::{LogAuditor, audit_all};
use chat_core::testkit::fixture::{event, events, read_all, single, stream, write};
use chat_core::{PartitionId, Topic, Version};
use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _};
use std::sync::Arc;

use crate::support::Place;

const LEVELS: [&str; 2] = ["REPEATABLE READ", "READ COMMITTED"];

async fn connection(place: &Place, level: &str) -> sqlx::MySqlConnection {
    let mut connection = place.raw().await;
    let sql = format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_nothing() {
    for level in LEVELS {
        let place = Place::new();
        let store = place.open().await;
        let (name, topic) = (stream("chat/a"), Topic::new("chat/a").unwrap());
        let mut heard = store.subscribe(&topic).await.unwrap();
        let ring =
            |version| Signal { topic: topic.clone(), body: SignalBody::Ring(Version(version)) };
        let mut connection = connection(&place, level).await;

        let mut tx = connection.begin().await.unwrap();
        let append = single(&name, Expected::NoStream, vec![event(1)]);
        let appended = store.append_in(&mut tx, append.clone()).await.unwrap();
        assert_eq!((appended.streams[0].first, appended.repeat), (Version(1), false));
        store.publish_in(&mut tx, &[ring(1)]).await.unwrap();
        tx.rollback().await.unwrap();
        assert!(read_all(&store, &name).await.is_empty());
        // The id is free: other content may have it.
        let other = chat_core::testkit::fixture::event_with(1, "{\"other\":1}");
        write(&store, &name, Expected::NoStream, vec![other]).await;

        let mut tx = connection.begin().await.unwrap();
        let answer = store.append_in(&mut tx, append).await;
        assert!(matches!(answer, Err(StoreError::IdReused { .. })), "{answer:?}");
        // The transaction goes on.
        let append = single(&name, Expected::Exactly(Version(1)), events([2, 3]));
        store.append_in(&mut tx, append.clone()).await.unwrap();
        let again = store.append_in(&mut tx, append).await.unwrap();
        assert!(again.repeat);
        store.publish_in(&mut tx, &[ring(3)]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(read_all(&store, &name).await.len(), 3);
        // Nothing was heard of the first ring; that its id was given up may be told.
        let mut item = heard.next().await.unwrap();
        while item == BusItem::Missed {
            item = heard.next().await.unwrap();
        }
        assert_eq!(item, BusItem::Signal(ring(3)));
        write(&store, &name, Expected::Exactly(Version(3)), vec![event(4)]).await;
        audit_all(&(Arc::new(store) as Arc<dyn EventStore>)).await;
    }
}

#[tokio::test]
async fn a_commit_wakes_those_who_follow_the_log() {
    let place = Place::new();
    let (store, other) = (place.open().await, place.open().await);
    let mut heard = other.subscribe(&Topic::new(LOG_TOPIC).unwrap()).await.unwrap();
    let mut connection = place.raw().await;
    let append = |number| single(&stream("chat/a"), Expected::Any, vec![event(number)]);
    let mut tx = connection.begin().await.unwrap();
    store.append_in(&mut tx, append(1)).await.unwrap();
    tx.rollback().await.unwrap();
    for number in [2, 3] {
        let mut tx = connection.begin().await.unwrap();
        store.append_in(&mut tx, append(number)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut rings = Vec::new();
    while rings.len() < 2 {
        match heard.next().await.unwrap() {
            BusItem::Signal(Signal { body: SignalBody::Ring(version), .. }) => {
                rings.push(version.0);
            }
            // An id of the table that was rolled back may have been given up meanwhile.
            BusItem::Missed => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rings, [1, 2], "the first two that are there");
}

#[tokio::test]
async fn an_old_look_at_the_database_does_not_matter() {
    for level in LEVELS {
        let place = Place::new();
        let (store, name) = (place.open().await, stream("chat/a"));
        write(&store, &name, Expected::Any, vec![event(1)]).await;
        let mut connection = connection(&place, level).await;
        let mut tx = connection.begin().await.unwrap();
        // From here on a plain read at REPEATABLE READ sees the past.
        let look = AssertSqlSafe(place.sql("SELECT COUNT(*) FROM {ns}_events"));
        sqlx::raw_sql(look).execute(&mut *tx).await.unwrap();
        write(&store, &name, Expected::Any, events([2, 3])).await;
        let append = single(&name, Expected::Exactly(Version(3)), vec![event(4)]);
        let appended = store.append_in(&mut tx, append).await.unwrap();
        assert_eq!(appended.streams[0].last, Version(4));
        let repeat = single(&name, Expected::Any, vec![event(3)]);
        assert!(store.append_in(&mut tx, repeat).await.unwrap().repeat);
        tx.commit().await.unwrap();
        audit_all(&(Arc::new(store) as Arc<dyn EventStore>)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_among_many_writers_all_succeed() {
    const EACH: u64 = 30;
    for level in LEVELS {
        let place = Place::new();
        let store = place.open().await;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4_u64 {
            let store = store.clone();
            tasks.spawn(async move {
                for number in 0..EACH {
                    let id = 1_000 * (task + 1) + number;
                    write(&store, &stream("chat/a"), Expected::Any, vec![event(id)]).await;
                }
            });
        }
        let mut connection = connection(&place, level).await;
        for number in 0..EACH {
            // A deadlock may end a transaction; then it is begun again.
            loop {
                let mut tx = connection.begin().await.unwrap();
                let append = single(&stream("chat/a"), Expected::Any, vec![event(number)]);
                match store.append_in(&mut tx, append).await {
                    Ok(appended) => {
                        assert!(!appended.repeat);
                        tx.commit().await.unwrap();
                        break;
                    }
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
        }
        tasks.join_all().await;
        let store: Arc<dyn EventStore> = Arc::new(store);
        assert_eq!(audit_all(&store).await, usize::try_from(5 * EACH).unwrap());
    }
}

/// A host takes its place in the log and commits only when another append waits behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_misses_nothing_behind_a_transaction_that_is_held_open() {
    const ROUNDS: usize = 10;
    for level in LEVELS {
        let place = Place::new();
        let (store, name) = (place.open().await, stream("chat/a"));
        let mut auditor = LogAuditor::new(place.open().await.events(), PartitionId(0));
        let mut connection = connection(&place, level).await;
        for number in 0..ROUNDS {
            let append = |id| single(&name, Expected::Any, vec![event(id)]);
            let first = 10 * number as u64;
            let mut tx = connection.begin().await.unwrap();
            store.append_in(&mut tx, append(first)).await.unwrap();
            let behind = tokio::spawn({
                let (store, append) = (place.open().await, append(first + 1));
                async move { store.append_one(append).await.unwrap() }
            });
            place.wait_for_a_waiting_append().await;
            assert_eq!(auditor.step(PageLimit::events(50)).await, 0, "it is not committed");
            tx.commit().await.unwrap();
            behind.await.unwrap();
            auditor.follow(2 * (number + 1), PageLimit::events(50)).await;
        }
        assert_eq!(auditor.finish().await.len(), 2 * ROUNDS);
    }
}
