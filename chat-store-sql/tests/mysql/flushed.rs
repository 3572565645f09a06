//! What a reader is shown is on the disk, also on a server that shows a commit before that.

use std::time::Duration;

use chat_core::ports::{EventStore as _, EventStoreExt as _, Expected, PageLimit, StoreError};
use chat_core::testkit::fixture::{
    event, event_id, event_with, read_all, read_log, single, stream, write,
};
use chat_core::{PartitionId, Position};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, Row as _};

use crate::support::Place;

/// How often readers had the server write its log.
async fn flushes(place: &Place) -> u64 {
    let sql = place.sql("SELECT CAST(SUM(times) AS UNSIGNED) FROM {ns}_flushes");
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut place.raw().await).await.unwrap();
    row.get::<u64, _>(0)
}

/// The connections of others, by what they do at the moment and for how many milliseconds.
async fn others(raw: &mut MySqlConnection, doing: impl Fn(&str, &str, f64) -> bool) -> Vec<i64> {
    let all = "SELECT ID, CAST(COMMAND AS CHAR), CAST(COALESCE(INFO, '') AS BINARY),
                      CAST(TIME_MS AS DOUBLE)
               FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID()";
    let rows = sqlx::query(all).fetch_all(&mut *raw).await.unwrap();
    let found = rows.iter().filter(|row| {
        // What a statement binds need not be text.
        let info: Vec<u8> = row.get_unchecked(2);
        doing(row.get_unchecked(1), &String::from_utf8_lossy(&info), row.get_unchecked(3))
    });
    found.map(|row| row.get_unchecked(0)).collect()
}

async fn has_binary_log(place: &Place) -> bool {
    let row = sqlx::query("SELECT CAST(@@GLOBAL.log_bin AS UNSIGNED)");
    row.fetch_one(&mut place.raw().await).await.unwrap().get::<u64, _>(0) != 0
}

#[tokio::test]
async fn a_reader_waits_for_the_disk_where_the_server_did_not() {
    let place = Place::new();
    // With a binary log the server itself waits before it shows a commit.
    let cost = u64::from(!has_binary_log(&place).await);
    let (writer, reader) = (place.open().await, place.open().await);
    let name = stream("chat/a");
    write(&writer, &name, Expected::NoStream, vec![event(1), event(2)]).await;
    assert_eq!(read_all(&writer, &name).await.len(), 2);
    assert_eq!(flushes(&place).await, 0, "who wrote knows");
    assert_eq!(read_all(&reader, &name).await.len(), 2);
    assert_eq!(flushes(&place).await, cost, "others make sure");
    assert_eq!(read_log(&reader, PartitionId(0), PageLimit::MAX_EVENTS).await.len(), 2);
    assert!(reader.find(&name, event_id(2)).await.unwrap().is_some());
    assert_eq!(flushes(&place).await, cost, "once is enough");

    write(&writer, &name, Expected::Any, vec![event(3)]).await;
    assert!(reader.find(&name, event_id(1)).await.unwrap().is_some());
    assert_eq!(flushes(&place).await, cost, "the first was there before");
    assert!(reader.find(&name, event_id(3)).await.unwrap().is_some());
    assert_eq!(flushes(&place).await, 2 * cost);

    // A repeat is an acknowledgement too.
    write(&writer, &name, Expected::Any, vec![event(4)]).await;
    let repeat = reader.append_one(single(&name, Expected::Any, vec![event(4)])).await.unwrap();
    assert!(repeat.repeat);
    assert_eq!(flushes(&place).await, 3 * cost);
    let limit = PageLimit::events(10);
    let page = reader.read_log(PartitionId(0), Position(3), limit).await.unwrap();
    assert_eq!((page.events.len(), flushes(&place).await), (1, 3 * cost));

    // In the host's transaction as well, which would not wait for the disk for its own sake.
    write(&writer, &name, Expected::Any, vec![event(5)]).await;
    let mut raw = place.raw().await;
    let mut transaction = raw.begin().await.unwrap();
    let again = single(&name, Expected::Any, vec![event(5)]);
    assert!(reader.append_in(&mut transaction, again).await.unwrap().repeat);
    assert_eq!(flushes(&place).await, 4 * cost);
    let new = single(&name, Expected::Any, vec![event(6)]);
    assert!(!reader.append_in(&mut transaction, new.clone()).await.unwrap().repeat);
    assert!(reader.append_in(&mut transaction, new).await.unwrap().repeat, "by itself");
    transaction.commit().await.unwrap();
    assert_eq!(flushes(&place).await, 4 * cost);
}

/// The rest of a page that is too long is left to a connection that is closed; another one waits.
#[tokio::test]
async fn a_page_that_is_cut_off_waits_for_the_disk_too() {
    let place = Place::new();
    let cost = u64::from(!has_binary_log(&place).await);
    let (writer, reader) = (place.open().await, place.open().await);
    let name = stream("chat/a");
    let long = format!("\"{}\"", "x".repeat(400 << 10));
    for number in 1..=6 {
        write(&writer, &name, Expected::Any, vec![event_with(number, &long)]).await;
    }
    let limit = PageLimit { events: 500, bytes: 700 << 10 };
    let page = reader.read_log(PartitionId(0), Position::ZERO, limit).await.unwrap();
    assert_eq!(page.events.len(), 2);
    assert_eq!(flushes(&place).await, cost);
    let page = reader.read_log(PartitionId(0), page.next, limit).await.unwrap();
    assert_eq!(page.events.len(), 2);
    assert_eq!(flushes(&place).await, 2 * cost);
}

/// Behind a connection that broke the server may be another run, which has lost what was read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_connection_does_not_trust_what_others_made_sure_of() {
    let server = tokio::task::spawn_blocking(test_servers::MariaDb::start).await.unwrap().unwrap();
    let place = Place::on(&server.url());
    let (writer, store) = (place.open().await, place.open().await);
    let name = stream("chat/a");
    write(&writer, &name, Expected::NoStream, vec![event(1)]).await;
    writer.close().await;

    // Nobody can have the log written meanwhile.
    let mut raw = place.raw().await;
    sqlx::raw_sql("FLUSH TABLES WITH READ LOCK").execute(&mut raw).await.unwrap();
    let read = || {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move { store.find(&name, event_id(1)).await })
    };
    let first = read();
    let flush = place.sql("UPDATE {ns}_flushes");
    let flushing = |_: &str, info: &str, _: f64| info.starts_with(&flush);
    until(async || !others(&mut raw, flushing).await.is_empty()).await;
    // The second has read, and waits for the first.
    let second = read();
    let rests = |command: &str, _: &str, time: f64| command == "Sleep" && time > 500.0;
    until(async || !others(&mut raw, rests).await.is_empty()).await;
    assert!(!second.is_finished());
    for id in others(&mut raw, rests).await {
        // One may have ended by itself.
        drop(sqlx::query(AssertSqlSafe(format!("KILL {id}"))).execute(&mut raw).await);
    }
    sqlx::raw_sql("UNLOCK TABLES").execute(&mut raw).await.unwrap();
    assert!(first.await.unwrap().unwrap().is_some());
    let second = second.await.unwrap();
    assert!(matches!(second, Err(StoreError::Unavailable { .. })), "{second:?}");
    assert!(store.find(&name, event_id(1)).await.unwrap().is_some());
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

/// Looks again and again until it is so.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it comes about");
}
