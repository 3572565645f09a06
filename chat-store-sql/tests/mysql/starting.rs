//! Tables are made, completed and refused.

use chat_core::ports::{Durability, EventStore, Expected, StoreError};
use chat_core::testkit::fixture::{event, read_all, stream, write};
use chat_store_sql::mysql::{MysqlMigrate, MysqlStore};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;

use crate::support::Place;

async fn run(place: &Place, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(place.sql(sql))).execute(&mut place.raw().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_start_at_once_on_an_empty_database_agree() {
    let place = Place::new();
    let mut starting = JoinSet::new();
    for number in 0..8 {
        let config = place.config();
        starting.spawn(async move {
            let store = MysqlStore::connect(config).await.unwrap();
            write(&store, &stream("chat"), Expected::Any, vec![event(number)]).await;
            store.info().await.unwrap().epoch
        });
    }
    let epochs = starting.join_all().await;
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    assert_eq!(read_all(&place.open().await, &stream("chat")).await.len(), 8);
}

#[tokio::test]
async fn a_migration_that_stopped_half_way_is_completed() {
    let place = Place::new();
    let store = place.open().await;
    write(&store, &stream("chat"), Expected::Any, vec![event(1)]).await;
    let before = store.info().await.unwrap();
    store.close().await;
    // As after a crash in the middle of the first file: nothing noted, some tables missing.
    run(&place, "DELETE FROM {ns}_migrations; DROP TABLE {ns}_views; DROP VIEW {ns}_chats").await;
    let store = place.open().await;
    assert_eq!(store.info().await.unwrap(), before);
    assert_eq!(read_all(&store, &stream("chat")).await.len(), 1);
    run(&place, "SELECT * FROM {ns}_views; SELECT * FROM {ns}_chats").await;
}

#[tokio::test]
async fn tables_of_a_newer_release_are_refused() {
    let place = Place::new();
    place.open().await.close().await;
    run(&place, "INSERT INTO {ns}_migrations (version, name) VALUES (1000, 'newer')").await;
    let refused = MysqlStore::connect(place.config()).await;
    assert!(matches!(refused, Err(StoreError::NewerSchema { found: 1000, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_store_that_may_not_make_tables_says_so() {
    let place = Place::new();
    let config = place.config().with_migrate(MysqlMigrate::Never);
    let refused = MysqlStore::connect(config.clone()).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    place.open().await.close().await;
    MysqlStore::connect(config).await.unwrap();
}

#[tokio::test]
async fn tables_can_be_removed_again() {
    let place = Place::new();
    // Also where there are none, and twice.
    MysqlStore::remove_tables(&place.config()).await.unwrap();
    let store = place.open().await;
    write(&store, &stream("chat"), Expected::Any, vec![event(1)]).await;
    store.close().await;
    MysqlStore::remove_tables(&place.config()).await.unwrap();
    MysqlStore::remove_tables(&place.config()).await.unwrap();
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE '{ns}%'";
    let tables = sqlx::raw_sql(AssertSqlSafe(place.sql(tables)));
    assert_eq!(tables.fetch_all(&mut place.raw().await).await.unwrap().len(), 0);
    assert!(read_all(&place.open().await, &stream("chat")).await.is_empty());
}

#[tokio::test]
async fn a_new_epoch_is_seen_by_every_handle() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let before = one.info().await.unwrap();
    assert_eq!(before.durability, Durability::MachineCrash);
    let renewed = one.renew_epoch().await.unwrap();
    assert_ne!(renewed, before.epoch);
    assert_eq!(two.info().await.unwrap().epoch, renewed);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let place = Place::new();
    let store = place.open().await;
    store.close().await;
    store.close().await;
    let append = chat_core::testkit::fixture::single(&stream("a"), Expected::Any, vec![event(1)]);
    let answer = store.append(&[append]).await.pop().unwrap();
    assert!(matches!(answer, Err(StoreError::Closed)), "{answer:?}");
    let read = store.heads(&[stream("a")]).await;
    assert!(matches!(read, Err(StoreError::Closed)), "{read:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_a_wrong_user_invalid() {
    let place = Place::new();
    // A port that nobody listens on: it was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = place.config();
    config.server = config.server.port(free);
    let refused = MysqlStore::connect(config).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    let mut config = place.config();
    config.server = config.server.username("nobody_of_that_name").password("wrong");
    let refused = MysqlStore::connect(config).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}
