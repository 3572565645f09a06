//! Whatever is changed in a target, verifying finds it.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::copy::{Copier, CopyError, Difference, Verified};
use chat_core::memory::MemoryEventStore;
use chat_core::ports::{
    Append, AppendResult, Direction, EventStore, LogPage, PageLimit, StoreError, StoreInfo,
    StreamPage,
};
use chat_core::testkit::fixture::{event_id, stream};
use chat_core::{
    EventId, EventType, Json, PartitionId, Position, RecordedEvent, StreamId, Timestamp, Version,
};

use super::support::Houses;

/// Number 2 of [`Houses::fill`] is version 1 of this stream.
const STREAM: &str = "2/{room 2}";

type Change = fn(&mut RecordedEvent);

/// Shows one event changed, in the stream and in the log alike, or leaves it out of the log.
#[derive(Debug)]
struct Tampered {
    inner: MemoryEventStore,
    change: Change,
    unlisted: bool,
}

impl Tampered {
    fn show(&self, events: &mut [Arc<RecordedEvent>]) {
        for event in events {
            if event.stream.as_str() == STREAM && event.version == Version(1) {
                (self.change)(Arc::make_mut(event));
            }
        }
    }
}

#[async_trait]
impl EventStore for Tampered {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        self.inner.append(appends).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        let mut page = self.inner.read_stream(stream, direction, from, limit).await?;
        self.show(&mut page.events);
        Ok(page)
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        let mut page = self.inner.read_log(partition, after, limit).await?;
        if self.unlisted {
            page.events.retain(|event| event.stream != stream(STREAM));
        }
        Ok(page)
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
        self.inner.info().await
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.inner.partition_of(stream)
    }
}

async fn verify(change: Change, unlisted: bool) -> Result<Verified, CopyError> {
    let houses = Houses::new(1, 1);
    houses.fill(0..40).await;
    houses.copier().await.finish(|_| ()).await.unwrap();
    let target = Tampered { inner: houses.target.clone(), change, unlisted };
    let source = Arc::new(houses.source.clone());
    let copier = Copier::begin(source, Arc::new(target), houses.views.clone()).await;
    copier.unwrap().verify(|_| ()).await
}

#[tokio::test]
async fn nothing_changed_is_nothing_found() {
    let verified = verify(|_| (), false).await.unwrap();
    assert!(verified.events > 40 && verified.streams > 10, "{verified:?}");
}

#[tokio::test]
async fn every_part_of_an_event_is_compared() {
    let changes: [(&str, Change); 5] = [
        ("type", |e| e.event.event_type = EventType::from_static("denied")),
        ("schema version", |e| e.event.schema_version += 1),
        ("time", |e| e.event.recorded_at = Timestamp(1)),
        // The same JSON in other bytes is another payload.
        ("payload", |e| e.event.payload = Json::from_text(r#"{ "number":2}"#)),
        ("metadata", |e| e.event.metadata = Some(Json::from_text("{}"))),
    ];
    for (changed, change) in changes {
        match verify(change, false).await {
            Err(CopyError::Different(Difference::OtherContent { stream, version, part })) => {
                assert_eq!((stream.as_str(), version, part), (STREAM, Version(1), changed));
            }
            other => panic!("{changed}: {other:?}"),
        }
    }
    let other = verify(|e| e.event.id = event_id(9_999), false).await;
    assert!(matches!(other, Err(CopyError::Different(Difference::OtherEvent { .. }))), "{other:?}");
    let hole = verify(|e| e.version = Version(2), false).await;
    assert!(matches!(hole, Err(CopyError::Different(Difference::Missing { .. }))), "{hole:?}");
}

#[tokio::test]
async fn an_event_that_is_early_in_the_log_is_found() {
    match verify(|e| e.position = Position(1), false).await {
        Err(CopyError::Different(Difference::OtherOrder { stream, partition, .. })) => {
            assert_eq!((stream.as_str(), partition), (STREAM, PartitionId(0)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_event_that_no_log_lists_is_found() {
    match verify(|_| (), true).await {
        Err(CopyError::Different(Difference::OtherCount { expected, found })) => {
            assert!(found < expected, "{found} of {expected}");
        }
        other => panic!("{other:?}"),
    }
}
