//! Appends inside a transaction of the host.

use std::time::Duration;

use chat_core::Topic;
use chat_core::ports::{BusItem, EventStore, EventStoreExt as _, Expected, StoreError};
use chat_core::testkit::fixture::{assert_holds, event, event_with, events, single, stream, write};
use chat_store_sql::postgres::PostgresStore;
use futures::StreamExt as _;
use sqlx::{Connection as _, PgConnection};

use crate::support::{Place, url};

/// A connection and a table of the host.
async fn host(place: &Place) -> (PgConnection, String) {
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    let table = format!("{}_host", place.namespace());
    let create = format!("CREATE TABLE {table} (id integer PRIMARY KEY)");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    (connection, table)
}

async fn rows(connection: &mut PgConnection, table: &str) -> i64 {
    let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(count).fetch_one(connection).await.unwrap()
}

async fn insert(connection: &mut PgConnection, table: &str, id: i32) {
    let insert = sqlx::AssertSqlSafe(format!("INSERT INTO {table} VALUES ({id})"));
    sqlx::raw_sql(insert).execute(connection).await.unwrap();
}

#[tokio::test]
async fn what_the_host_commits_is_there_with_its_own_rows_and_rings() {
    let place = Place::new();
    let store = place.open().await;
    let name = stream("chat/a");
    // So that the writer remembers the head, and then another one has moved it.
    write(&store, &name, Expected::Any, events([1])).await;
    let mut log = store.bus().subscribe(&Topic::new("log").unwrap()).await.unwrap();
    let (mut connection, table) = host(&place).await;

    let mut transaction = connection.begin().await.unwrap();
    insert(&mut transaction, &table, 1).await;
    let append = single(&name, Expected::Exactly(chat_core::Version(1)), events([2, 3]));
    let appended = store.append_in(&mut transaction, append.clone()).await.unwrap();
    assert_eq!((appended.streams[0].first.0, appended.streams[0].last.0), (2, 3));
    assert!(!appended.repeat);
    let again = store.append_in(&mut transaction, append.clone()).await.unwrap();
    assert!(again.repeat && again.streams == appended.streams);
    transaction.commit().await.unwrap();

    let rung = tokio::time::timeout(Duration::from_secs(60), log.next()).await.unwrap().unwrap();
    assert!(matches!(rung, BusItem::Signal(_)), "{rung:?}");
    assert_eq!(rows(&mut connection, &table).await, 1);
    assert_holds(&store, &name, [1, 2, 3]).await;
    // The writer goes on behind it, in one order.
    let next = write(&store, &name, Expected::Any, events([4])).await;
    assert_eq!(next.streams[0].first.0, 4);
    assert!(next.streams[0].position > appended.streams[0].position);
    let repeat = store.append_one(append).await.unwrap();
    assert!(repeat.repeat && repeat.streams == appended.streams);
}

#[tokio::test]
async fn what_the_host_rolls_back_never_was() {
    let place = Place::new();
    let store = place.open().await;
    let name = stream("chat/a");
    let mut log = store.bus().subscribe(&Topic::new("log").unwrap()).await.unwrap();
    let (mut connection, table) = host(&place).await;

    let mut transaction = connection.begin().await.unwrap();
    insert(&mut transaction, &table, 1).await;
    let append = single(&name, Expected::NoStream, events([1, 2]));
    store.append_in(&mut transaction, append.clone()).await.unwrap();
    transaction.rollback().await.unwrap();

    assert_eq!(rows(&mut connection, &table).await, 0);
    assert_holds(&store, &name, []).await;
    // The ids are free, also for something else.
    write(&store, &name, Expected::NoStream, vec![event_with(1, "{\"other\":1}")]).await;
    // The first ring is the one that is sent now: the other was never sent.
    let topic = Topic::new("log").unwrap();
    let body = chat_core::ports::SignalBody::Ring(chat_core::Version(77));
    let signal = chat_core::ports::Signal { topic, body };
    store.bus().publish(std::slice::from_ref(&signal)).await.unwrap();
    let rung = tokio::time::timeout(Duration::from_secs(60), log.next()).await.unwrap().unwrap();
    assert_eq!(rung, BusItem::Signal(signal));
}

#[tokio::test]
async fn a_refused_append_leaves_the_hosts_transaction_in_order() {
    let place = Place::new();
    let store = place.open().await;
    let name = stream("chat/a");
    write(&store, &name, Expected::Any, events([1])).await;
    let (mut connection, table) = host(&place).await;

    let mut transaction = connection.begin().await.unwrap();
    insert(&mut transaction, &table, 1).await;
    let refused = [
        (Expected::NoStream, event(2)),
        (Expected::Any, event_with(1, "{\"other\":1}")),
        (Expected::Any, event_with(3, "no {json")),
        (Expected::Any, event_with(4, "\"\0\"")),
    ];
    let mut answers = Vec::new();
    for (expected, event) in refused {
        let append = single(&name, expected, vec![event]);
        answers.push(store.append_in(&mut transaction, append).await.unwrap_err());
    }
    assert!(matches!(answers[0], StoreError::Conflict { .. }), "{}", answers[0]);
    assert!(matches!(answers[1], StoreError::IdReused { .. }), "{}", answers[1]);
    assert!(matches!(answers[2], StoreError::Invalid { .. }), "{}", answers[2]);
    assert!(matches!(answers[3], StoreError::Invalid { .. }), "{}", answers[3]);
    store.append_in(&mut transaction, single(&name, Expected::Any, events([5]))).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(rows(&mut connection, &table).await, 1);
    assert_holds(&store, &name, [1, 5]).await;
}

#[tokio::test]
async fn a_snapshot_older_than_the_lock_is_refused() {
    let place = Place::new();
    let store = place.open().await;
    let (mut connection, _) = host(&place).await;
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let append = single(&stream("chat/a"), Expected::Any, events([1]));
    let refused = store.append_in(&mut transaction, append).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid { .. }), "{refused}");
}

/// The log's order is that of the commits, however long the host takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_host_holds_back_others_and_hides_nothing_from_readers() {
    let place = Place::new();
    let (store, other) = (place.open().await, place.open().await);
    let (mut connection, _) = host(&place).await;
    let mut transaction = connection.begin().await.unwrap();
    let append = single(&stream("chat/a"), Expected::Any, events([1]));
    let first = store.append_in(&mut transaction, append).await.unwrap();
    let behind = tokio::spawn(async move {
        let other: PostgresStore = other;
        write(&other, &stream("chat/b"), Expected::Any, events([2])).await
    });
    place.wait_for_a_waiting_append().await;
    let page = store
        .read_log(
            chat_core::PartitionId(0),
            chat_core::Position::ZERO,
            chat_core::ports::PageLimit::events(10),
        )
        .await
        .unwrap();
    assert!(page.events.is_empty() && page.head == page.next, "{page:?}");
    transaction.commit().await.unwrap();
    let second = behind.await.unwrap();
    assert!(second.streams[0].position > first.streams[0].position);
}
