//! Many writers over several handles, as several processes have them.

use std::sync::Arc;
use std::time::Duration;

use chat_core::ports::{EventStore, EventStoreExt as _, Expected, PageLimit};
use chat_core::testkit::fixture::{event, single, stream};
use chat_core::testkit::processes::write_in_opposite_orders;
use chat_core::testkit::scenarios::world::soak;
use chat_core::{PartitionId, Position};
use rusqlite::Connection;

use crate::support::Place;

const SOON: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_to_several_streams_in_opposite_orders_never_meet_a_deadlock() {
    let place = Place::new();
    let mut handles: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..4 {
        handles.push(place.open().await.events());
    }
    write_in_opposite_orders(&handles).await;
}

/// Positions in the log as a reader meets them who begins before everybody and ends with the last.
async fn follow(store: Arc<dyn EventStore>, total: usize) -> Vec<u64> {
    let (mut met, mut after) = (Vec::new(), Position::ZERO);
    while met.len() < total {
        let page = store.read_log(PartitionId(0), after, PageLimit::events(7)).await.unwrap();
        after = page.next;
        met.extend(page.events.iter().map(|event| event.position.0));
        tokio::task::yield_now().await;
    }
    met
}

/// Takes a position, lets time go by, and commits: as a program of the host's own could.
fn write_slowly(file: &Connection, times: u32) {
    file.busy_timeout(SOON).unwrap();
    for number in 1..=times {
        file.execute_batch("BEGIN IMMEDIATE").unwrap();
        file.execute("INSERT OR IGNORE INTO chat_streams (name) VALUES ('chat/host')", ()).unwrap();
        let position = "INSERT INTO chat_events SELECT
                (SELECT coalesce(max(position), 0) + 1 FROM chat_events),
                (SELECT id FROM chat_streams WHERE name = 'chat/host'),
                ?1, ?2, 'noted', 1, 0, '{}', NULL";
        file.execute(position, (number, uuid::Uuid::from_u128(number.into()).as_bytes())).unwrap();
        let dawdle =
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000)
            SELECT count(*) FROM n";
        file.query_row(dawdle, (), |_| Ok(())).unwrap();
        file.execute_batch("COMMIT").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_misses_nothing_of_a_writer_whose_commits_are_held_up() {
    let (slow, quick) = (soak(1_000, 50), soak(20_000, 1_000));
    let place = Place::new();
    let store = place.open().await;
    let reader = tokio::spawn(follow(place.open().await.events(), slow + quick));
    let (file, times) = (place.raw(), u32::try_from(slow).unwrap());
    let host = tokio::task::spawn_blocking(move || write_slowly(&file, times));
    for number in 0..quick as u64 {
        let append = single(&stream("chat/a"), Expected::Any, vec![event(1_000_000 + number)]);
        store.append_one(append).await.unwrap();
    }
    host.await.unwrap();
    let met = tokio::time::timeout(SOON, reader).await.expect("the reader meets all").unwrap();
    assert_eq!(met, (1..=(slow + quick) as u64).collect::<Vec<_>>());
}
