//! What a reader is shown is on the disk, also on a server that shows a commit before that.

use chat_core::ports::{EventStore as _, EventStoreExt as _, Expected, PageLimit};
use chat_core::testkit::fixture::{event, event_id, read_all, read_log, single, stream, write};
use chat_core::{PartitionId, Position};
use sqlx::{AssertSqlSafe, Row as _};

use crate::support::Place;

/// How often readers had the server write its log.
async fn flushes(place: &Place) -> u64 {
    let sql = place.sql("SELECT CAST(SUM(times) AS UNSIGNED) FROM {ns}_flushes");
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut place.raw().await).await.unwrap();
    row.get::<u64, _>(0)
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
}
