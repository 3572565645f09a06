//! Rows that somebody removed hide none of the others.

use chat_core::ports::{Direction, EventStore as _, Expected, PageLimit};
use chat_core::testkit::fixture::{events, read_log, stream, write};
use chat_core::{PartitionId, Version};
use sqlx::AssertSqlSafe;

use crate::support::Place;

#[tokio::test]
async fn reading_goes_on_behind_rows_that_were_removed() {
    let place = Place::new();
    let store = place.open().await;
    let name = stream("chat/a");
    write(&store, &name, Expected::NoStream, events(1..=9)).await;
    let remove = place.sql("DELETE FROM {ns}_events WHERE position IN (1, 4, 5, 8)");
    sqlx::query(AssertSqlSafe(remove)).execute(&mut place.raw().await).await.unwrap();

    let log = read_log(&store, PartitionId(0), PageLimit::MAX_EVENTS).await;
    let positions: Vec<_> = log.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, [2, 3, 6, 7, 9]);
    for (direction, from, expected) in [
        (Direction::Forward, 0, vec![vec![2, 3], vec![6, 7], vec![9]]),
        (Direction::Backward, u64::MAX, vec![vec![9], vec![7, 6], vec![3, 2]]),
    ] {
        let mut pages = Vec::new();
        let mut from = Version(from);
        loop {
            let page = store.read_stream(&name, direction, from, PageLimit::events(10)).await;
            let page = page.unwrap();
            let Some(last) = page.events.last() else { break };
            from = last.version;
            pages.push(page.events.iter().map(|event| event.version.0).collect::<Vec<_>>());
        }
        assert_eq!(pages, expected);
    }
}
