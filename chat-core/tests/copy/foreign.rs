//! What does not belong together is kept apart, with an error that says what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chat_core::copy::{Copier, CopyError, Difference};
use chat_core::memory::{MemoryEventStore, MemoryViewStore};
use chat_core::ports::{
    Append, AppendResult, Direction, EventStore, Expected, LogPage, PageLimit, StoreError,
    StoreInfo, StreamPage,
};
use chat_core::testkit::fixture::{event, stream, write};
use chat_core::{EventId, PartitionId, Position, RecordedEvent, StreamId, Version};

use super::support::{Houses, assert_same, page};

#[tokio::test]
async fn a_target_that_holds_something_is_refused() {
    let houses = Houses::new(1, 4);
    houses.fill(0..5).await;
    let name = stream("chat/of somebody else");
    write(&houses.target, &name, Expected::Any, vec![event(1)]).await;
    match houses.begin().await {
        Err(CopyError::NotEmpty { stream }) => assert_eq!(stream, name),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_store_is_not_copied_onto_itself() {
    let store = Arc::new(MemoryEventStore::new());
    let same = Copier::begin(store.clone(), store, Arc::new(MemoryViewStore::new())).await;
    assert!(matches!(same, Err(CopyError::SameStore)), "{same:?}");
}

#[tokio::test]
async fn a_store_that_was_restored_meanwhile_is_not_gone_on_with() {
    let houses = Houses::new(1, 1);
    houses.fill(0..5).await;
    let mut copier = houses.copier().await;
    copier.catch_up(|_| ()).await.unwrap();
    houses.source.renew_epoch();
    for result in [copier.catch_up(|_| ()).await.err(), houses.begin().await.err()] {
        assert!(matches!(result, Some(CopyError::SourceChanged { .. })), "{result:?}");
    }
    let houses = Houses::new(1, 1);
    let mut copier = houses.copier().await;
    houses.target.renew_epoch();
    for result in [copier.finish(|_| ()).await.err(), houses.begin().await.err()] {
        assert!(matches!(result, Some(CopyError::TargetChanged { .. })), "{result:?}");
    }
}

/// The stream of number 2 of [`Houses::fill`], and its next event.
const NAME: &str = "2/{room 2}";

#[tokio::test]
async fn a_foreign_event_in_a_copied_stream_stops_the_copy_at_its_place() {
    let houses = Houses::new(1, 2);
    houses.fill(0..10).await;
    houses.copier().await.catch_up(|_| ()).await.unwrap();
    write(&houses.target, &stream(NAME), Expected::Exactly(Version(1)), vec![event(77)]).await;
    // Its stream does not go on in the source: verifying finds it.
    let extra = houses.copier().await.verify(|_| ()).await.unwrap_err();
    match extra {
        CopyError::Different(Difference::Extra { stream, version }) => {
            assert_eq!((stream.as_str(), version), (NAME, Version(2)));
        }
        other => panic!("{other:?}"),
    }
    // It does: the copy stops there.
    write(&houses.source, &stream(NAME), Expected::Exactly(Version(1)), vec![event(78)]).await;
    let other = houses.copier().await.catch_up(|_| ()).await.unwrap_err();
    match &other {
        CopyError::Different(Difference::OtherEvent { stream, version, expected, found }) => {
            assert_eq!((stream.as_str(), *version), (NAME, Version(2)));
            assert_eq!((*expected, *found), (event(78).id, event(77).id));
        }
        other => panic!("{other:?}"),
    }
    let text = "the target differs: 2/{room 2} version 2 is another event";
    assert!(other.to_string().starts_with(text) && !other.is_retryable(), "{other}");
}

#[tokio::test]
async fn a_foreign_stream_is_found_by_verifying() {
    let houses = Houses::new(2, 3);
    houses.fill(0..10).await;
    houses.copier().await.finish(|_| ()).await.unwrap();
    write(&houses.target, &stream("stranger"), Expected::Any, vec![event(1)]).await;
    let found = houses.copier().await.verify(|_| ()).await.unwrap_err();
    let CopyError::Different(Difference::Extra { stream, .. }) = found else { panic!("{found:?}") };
    assert_eq!(stream.as_str(), "stranger");
}

#[tokio::test]
async fn events_that_the_target_lost_are_missed() {
    let houses = Houses::new(1, 1);
    houses.fill(0..10).await;
    houses.copier().await.catch_up(|_| ()).await.unwrap();
    // The record stays, the events are gone, and the store does not tell.
    let emptied = Arc::new(Odd::new(MemoryEventStore::new(), Oddity::None));
    emptied.pose_as(&houses.target).await;
    let source = Arc::new(houses.source.clone());
    let mut copier = Copier::begin(source, emptied, houses.views.clone()).await.unwrap();
    let missing = copier.verify(|_| ()).await.unwrap_err();
    assert!(matches!(missing, CopyError::Different(Difference::Missing { .. })), "{missing:?}");
    write(&houses.source, &stream(NAME), Expected::Exactly(Version(1)), vec![event(78)]).await;
    match copier.catch_up(|_| ()).await {
        Err(CopyError::Different(Difference::Missing { stream, version })) => {
            assert_eq!((stream.as_str(), version), (NAME, Version(1)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_source_that_is_never_quiet_is_followed_but_not_finished() {
    let houses = Houses::new(1, 2);
    let restless = Arc::new(Odd::new(houses.source.clone(), Oddity::WritesWhenRead));
    let target = Arc::new(houses.target.clone());
    let mut copier = Copier::begin(restless, target, houses.views.clone()).await.unwrap();
    for _ in 0..5 {
        copier.catch_up(|_| ()).await.unwrap();
    }
    match copier.finish(|_| ()).await {
        Err(CopyError::StillWritten { behind }) => assert!(behind > 0),
        other => panic!("{other:?}"),
    }
    assert!(!copier.is_finished());
    // Its writers have stopped now.
    super::support::finish(&houses).await;
}

#[tokio::test]
async fn a_target_that_takes_no_guard_across_keys_keeps_the_order_too() {
    let houses = Houses::new(2, 2);
    houses.fill(0..100).await;
    let strict = Arc::new(Odd::new(houses.target.clone(), Oddity::OneKeyEach));
    let source = Arc::new(houses.source.clone());
    let copier = Copier::begin(source, strict, houses.views.clone()).await.unwrap();
    let mut copier = copier.with_page(page(16));
    copier.finish(|_| ()).await.unwrap();
    copier.verify(|_| ()).await.unwrap();
    assert_same(&houses.source, &houses.target).await;
}

/// What is odd about a store.
#[derive(Debug, PartialEq)]
enum Oddity {
    None,
    /// Each read of the log finds that one more event was written.
    WritesWhenRead,
    /// It writes no streams together, nor guards, that differ in their key.
    OneKeyEach,
}

#[derive(Debug)]
struct Odd {
    inner: MemoryEventStore,
    oddity: Oddity,
    next: AtomicU64,
    info: std::sync::Mutex<Option<StoreInfo>>,
}

impl Odd {
    fn new(inner: MemoryEventStore, oddity: Oddity) -> Self {
        Self { inner, oddity, next: AtomicU64::new(5_000), info: std::sync::Mutex::default() }
    }

    /// Answers with another store's epoch.
    async fn pose_as(&self, other: &MemoryEventStore) {
        let info = other.info().await.unwrap();
        *self.info.lock().unwrap() = Some(info);
    }
}

#[async_trait]
impl EventStore for Odd {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        let mut results = Vec::new();
        for append in appends {
            let streams = append.writes().iter().map(|write| &write.stream);
            let mut streams = streams.chain(append.guards().iter().map(|guard| &guard.stream));
            let first = streams.next().unwrap();
            let second = streams.find(|second| second.partition_key() != first.partition_key());
            match second {
                Some(second) if self.oddity == Oddity::OneKeyEach => {
                    let (first, second) = (first.clone(), second.clone());
                    results.push(Err(StoreError::CrossPartition { first, second }));
                }
                _ => results.extend(self.inner.append(std::slice::from_ref(append)).await),
            }
        }
        results
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        self.inner.read_stream(stream, direction, from, limit).await
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        let page = self.inner.read_log(partition, after, limit).await;
        if self.oddity == Oddity::WritesWhenRead {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            write(&self.inner, &stream("restless"), Expected::Any, vec![event(number)]).await;
        }
        page
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        self.inner.find(stream, id).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        self.inner.heads(streams).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let posed = self.info.lock().unwrap().clone();
        match posed {
            Some(info) => Ok(info),
            None => self.inner.info().await,
        }
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.inner.partition_of(stream)
    }
}
