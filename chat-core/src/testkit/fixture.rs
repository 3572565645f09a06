//! Events and streams to write in a check, and short ways to write and read them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use uuid::Uuid;

use super::harness::{Answers, StoreHarness};
use crate::clock::Timestamp;
use crate::event::{EventType, Json, NewEvent, RecordedEvent};
use crate::id::{EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Appended, Direction, EventStore, EventStoreExt as _, Expected, Guard,
    PageLimit, StoreError, StreamWrite,
};

/// The stream of this name.
#[must_use]
pub fn stream(name: &str) -> StreamId {
    StreamId::new(name).expect("a name within the rules")
}

/// The id of this number; ids sort as their numbers do.
#[must_use]
pub fn event_id(number: u64) -> EventId {
    EventId(Uuid::from_u128((0x0190_0000_0000_7000_8000 << 48) | u128::from(number)))
}

/// An event with the id of this number, and content that tells it from others.
#[must_use]
pub fn event(number: u64) -> NewEvent {
    event_with(number, &format!(r#"{{"number":{number}}}"#))
}

/// An event with this payload.
#[must_use]
pub fn event_with(number: u64, payload: &str) -> NewEvent {
    NewEvent {
        id: event_id(number),
        event_type: EventType::from_static("noted"),
        schema_version: 1,
        recorded_at: Timestamp(1_700_000_000_000 + number),
        payload: Json::from_text(payload),
        metadata: None,
    }
}

/// The events of these numbers.
pub fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<NewEvent> {
    numbers.into_iter().map(event).collect()
}

/// An append to one stream.
#[must_use]
pub fn single(stream: &StreamId, expected: Expected, events: Vec<NewEvent>) -> Append {
    Append::single(stream.clone(), expected, events).expect("an append within the bounds")
}

/// An append to several streams.
#[must_use]
pub fn multi(
    writes: Vec<(&StreamId, Expected, Vec<NewEvent>)>,
    guards: Vec<(&StreamId, Expected)>,
) -> Append {
    let write = |(stream, expected, events): (&StreamId, _, _)| StreamWrite {
        stream: stream.clone(),
        expected,
        events,
    };
    let guard = |(stream, expected): (&StreamId, _)| Guard { stream: stream.clone(), expected };
    let (writes, guards) =
        (writes.into_iter().map(write).collect(), guards.into_iter().map(guard).collect());
    Append::multi(writes, guards).expect("an append within the bounds")
}

/// Carries out an append to one stream.
///
/// # Errors
/// As the store says.
pub async fn try_write(
    store: &dyn EventStore,
    stream: &StreamId,
    expected: Expected,
    events: Vec<NewEvent>,
) -> AppendResult {
    store.append_one(single(stream, expected, events)).await
}

/// Carries out an append to one stream that must succeed.
pub async fn write(
    store: &dyn EventStore,
    stream: &StreamId,
    expected: Expected,
    events: Vec<NewEvent>,
) -> Appended {
    let result = try_write(store, stream, expected, events).await;
    result.unwrap_or_else(|error| panic!("append to {stream}, expecting {expected:?}: {error}"))
}

/// Writes the events of these numbers, each in a call of its own.
pub async fn write_each(
    store: &dyn EventStore,
    stream: &StreamId,
    numbers: impl IntoIterator<Item = u64>,
) {
    for number in numbers {
        write(store, stream, Expected::Any, vec![event(number)]).await;
    }
}

/// Every event of a stream, read in pages.
pub async fn read_all(store: &dyn EventStore, stream: &StreamId) -> Vec<Arc<RecordedEvent>> {
    let mut all: Vec<Arc<RecordedEvent>> = Vec::new();
    loop {
        let from = all.last().map_or(Version::ZERO, |event| event.version);
        let limit = PageLimit::events(PageLimit::MAX_EVENTS);
        let page = store.read_stream(stream, Direction::Forward, from, limit).await;
        let page = page.unwrap_or_else(|error| panic!("reading {stream}: {error}"));
        if page.events.is_empty() {
            assert_eq!(page.head, from, "{stream}: an empty page stands at the head");
            return all;
        }
        all.extend(page.events);
    }
}

/// Every event of a partition's log, read in pages of this many.
pub async fn read_log(
    store: &dyn EventStore,
    partition: PartitionId,
    events: usize,
) -> Vec<Arc<RecordedEvent>> {
    let mut all = Vec::new();
    let mut after = Position::ZERO;
    loop {
        let page = store.read_log(partition, after, PageLimit::events(events)).await;
        let page = page.unwrap_or_else(|error| panic!("reading log {partition}: {error}"));
        let last = page.events.last().map_or(after, |event| event.position);
        assert_eq!(page.next, last, "next is the last event's position");
        assert!(page.next <= page.head, "{} is behind the head {}", page.next, page.head);
        if page.events.is_empty() {
            assert_eq!(page.next, page.head, "an empty page stands at the head");
            return all;
        }
        all.extend(page.events);
        after = page.next;
    }
}

/// All partitions of a store.
pub async fn partitions(store: &dyn EventStore) -> Vec<PartitionId> {
    let info = store.info().await.expect("info");
    assert!(info.partitions >= 1, "a store has a partition");
    (0..info.partitions).map(PartitionId).collect()
}

/// The ids of events, in their order.
#[must_use]
pub fn ids(events: &[Arc<RecordedEvent>]) -> Vec<EventId> {
    events.iter().map(|event| event.event.id).collect()
}

/// Checks that a stream holds the events of these numbers, as they were made, under 1, 2, 3, …
pub async fn assert_holds(
    store: &dyn EventStore,
    stream: &StreamId,
    numbers: impl IntoIterator<Item = u64>,
) {
    let stored = read_all(store, stream).await;
    let expected = events(numbers);
    assert_eq!(stored.len(), expected.len(), "events in {stream}");
    for ((index, stored), expected) in stored.iter().enumerate().zip(&expected) {
        assert_eq!(stored.version, Version(index as u64 + 1), "a hole or a repeat in {stream}");
        assert_eq!(&stored.event, expected, "{stream} at {}", stored.version);
        assert_eq!(&stored.stream, stream);
    }
}

/// Checks that an append was done now, as far as that can be known.
pub fn assert_new(harness: &dyn StoreHarness, appended: &Appended) {
    if harness.answers() == Answers::Certain {
        assert!(!appended.repeat, "a new append is answered as a repeat: {appended:?}");
    }
}

/// Checks that an append was refused by an expectation that did not hold.
pub fn assert_conflict(
    result: &AppendResult,
    stream: &StreamId,
    expected: Expected,
    actual: Version,
) {
    match result {
        Err(StoreError::Conflict { stream: named, expected: asked, actual: found }) => {
            assert_eq!((named, *asked, *found), (stream, expected, actual), "what a conflict says");
        }
        other => panic!("expected a conflict of {stream}, got {other:?}"),
    }
}

/// Checks that an append was refused since an id stands for something else.
pub fn assert_id_reused(result: &AppendResult, stream: &StreamId, id: EventId) {
    match result {
        Err(StoreError::IdReused { stream: named, id: found }) => {
            assert_eq!((named, *found), (stream, id), "what a reused id says");
        }
        other => panic!("expected {id} to be reused in {stream}, got {other:?}"),
    }
}

/// Checks that a store has no event at all in these streams, by any way of reading.
pub async fn assert_absent(store: &dyn EventStore, streams: &[&StreamId], ids: &[EventId]) {
    for stream in streams {
        assert!(read_all(store, stream).await.is_empty(), "events in {stream}");
        assert_eq!(store.head(stream).await.expect("head"), Version::ZERO, "head of {stream}");
        for id in ids {
            let found = store.find(stream, *id).await.expect("find");
            assert!(found.is_none(), "{id} found in {stream}");
        }
    }
    for partition in partitions(store).await {
        let log = read_log(store, partition, PageLimit::MAX_EVENTS).await;
        let there = log.iter().find(|event| streams.contains(&&event.stream));
        assert!(there.is_none(), "in the log: {there:?}");
    }
}

/// Polls a future this often, then drops it; its output if it was ready by then.
pub async fn give_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
