//! Many writers over several handles, as several processes have them.

use std::sync::Arc;

use chat_core::ports::{EventStore, Expected, PageLimit};
use chat_core::testkit::audit::audit_all;
use chat_core::testkit::fixture::{event, multi, read_all, single, stream};
use chat_core::{PartitionId, Position, StreamId};
use chat_store_sql::mysql::MysqlStore;
use tokio::task::JoinSet;

use crate::support::Place;

async fn handles(place: &Place) -> Vec<MysqlStore> {
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(place.open().await);
    }
    handles
}

/// Reads the log as it grows until so many events were met.
async fn follow(store: MysqlStore, total: usize) -> Vec<(Position, StreamId, u64)> {
    let (mut seen, mut after) = (Vec::new(), Position::ZERO);
    while seen.len() < total {
        let page = store.read_log(PartitionId(0), after, PageLimit::events(50)).await.unwrap();
        after = page.next;
        seen.extend(page.events.iter().map(|e| (e.position, e.stream.clone(), e.version.0)));
        tokio::task::yield_now().await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_writers_on_one_chat_and_on_many_lose_nothing() {
    const EACH: u64 = 40;
    const WRITERS: u64 = 32;
    let place = Place::new();
    let handles = handles(&place).await;
    let total = usize::try_from(WRITERS * EACH).unwrap();
    let reading = tokio::spawn(follow(place.open().await, total));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = handles[usize::try_from(writer % 4).unwrap()].clone();
        writers.spawn(async move {
            for number in 0..EACH {
                let name = match number % 2 {
                    0 => stream("chat/shared"),
                    _ => stream(&format!("chat/{writer}")),
                };
                let append = single(&name, Expected::Any, vec![event(writer * 1_000 + number)]);
                let appended = store.append(&[append]).await.pop().unwrap().unwrap();
                assert!(!appended.repeat);
            }
        });
    }
    writers.join_all().await;
    let reading = tokio::time::timeout(std::time::Duration::from_secs(120), reading);
    let seen = reading.await.expect("the reader meets every event").unwrap();
    let again = follow(place.open().await, total).await;
    assert_eq!(seen, again, "the reader met another log");
    let shared = read_all(&handles[0], &stream("chat/shared")).await;
    assert_eq!(shared.len(), total / 2);
    let store: Arc<dyn EventStore> = Arc::new(handles[1].clone());
    assert_eq!(audit_all(&store).await, total);
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
