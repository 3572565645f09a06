//! The room's own facts (accounts, sessions, the directory of rooms) as events in the engine's store:
//! one database, one backup, one durability. Knows how facts are written and read, not what they mean.

use std::sync::Arc;
use std::time::Duration;

use chat_core::ports::{
    Append, Appended, Direction, EventStore, EventStoreExt as _, Expected, PageLimit, StoreError,
};
use chat_core::{
    Clock, EventId, EventType, IdSource, Json, NewEvent, RecordedEvent, StreamId, Timestamp,
    Version,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Tries of an append whose store is busy or gave no answer; the id makes it happen once.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// A fact that is stored: its type's name, and its shape by serde.
pub(crate) trait Fact: Serialize + DeserializeOwned {
    const TYPE: &'static str;
}

/// Writes and reads facts.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl Journal {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        Self { store, clock, ids }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A fresh id.
    pub(crate) fn event_id(&self) -> EventId {
        self.ids.event_id(self.clock.now())
    }

    /// Writes one fact. It is durable when this returns; the same id twice is one fact.
    pub(crate) async fn write<F: Fact>(
        &self,
        stream: &StreamId,
        expected: Expected,
        id: EventId,
        fact: &F,
    ) -> Result<Appended, StoreError> {
        let bug = |what: String| StoreError::Bug { what };
        let event = NewEvent {
            id,
            event_type: EventType::from_static(F::TYPE),
            schema_version: 1,
            recorded_at: self.now(),
            payload: Json::encode(fact).map_err(|error| bug(error.to_string()))?,
            metadata: None,
        };
        let append = Append::single(stream.clone(), expected, vec![event])
            .map_err(|error| bug(error.to_string()))?;
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.store.append_one(append.clone()).await {
                Err(error) if error.is_retryable() => tokio::time::sleep(pause).await,
                answer => return answer,
            }
            pause *= 2;
        }
        self.store.append_one(append).await
    }

    /// The facts of a stream after a version: a page, and whether it reaches the stream's end.
    pub(crate) async fn read(
        &self,
        stream: &StreamId,
        after: Version,
    ) -> Result<(Vec<Arc<RecordedEvent>>, bool), StoreError> {
        let limit = PageLimit::events(PageLimit::MAX_EVENTS);
        let page = self.store.read_stream(stream, Direction::Forward, after, limit).await?;
        let last = page.events.last().map_or(after, |event| event.version);
        Ok((page.events, last >= page.head))
    }
}

/// The fact in a recorded event, if it is one of this type.
pub(crate) fn fact<F: Fact>(event: &RecordedEvent) -> Result<Option<F>, StoreError> {
    if event.event.event_type.as_str() != F::TYPE {
        return Ok(None);
    }
    event.event.payload.decode().map(Some).map_err(|error| StoreError::Corrupt {
        place: format!("{} version {}", event.stream, event.version),
        what: error.to_string(),
    })
}
