//! The port through which events are written and read. Knows streams, versions and positions,
//! nothing of chats.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::event::{NewEvent, RecordedEvent};
use crate::id::{Epoch, EventId, PartitionId, Position, StreamId, Version};

/// Append-only event streams in one namespace of one database.
///
/// # Guarantees
///
/// 1. **Atomic.** All writes of one [`Append`] become visible together, or none does. Streams
///    with the same [partition key](StreamId::partition_key) can always be written together;
///    across keys a store may answer [`StoreError::CrossPartition`], never split.
/// 2. **Durable before acknowledged**, at the level that [`StoreInfo::durability`] names.
/// 3. **Dense versions.** The events of a stream have the versions 1..n, no hole, no repeat.
/// 4. **Expectations.** An append happens only if every [`Expected`] of its writes and guards
///    holds at that moment; else [`StoreError::Conflict`] names the actual version and nothing is
///    written. [`Expected::Any`] never conflicts. Of n concurrent creators exactly one wins.
/// 5. **Idempotent for ever.** If all ids of an append stand in their streams already, as one run
///    in the order given and with the same [content](NewEvent::same_content), the answer is the
///    first one with [`Appended::repeat`] set, whatever was expected. If some id stands there with
///    other content, or only some of them do: [`StoreError::IdReused`]. This is checked before the
///    expectations, without a time window.
/// 6. **One order for all.** Each partition is one log in commit order that keeps the order of
///    each stream. Reading the log after a position never skips an event that commits later.
///    Positions are plain integers that rise; holes are possible.
/// 7. **Bounded pages**, each one consistent look, forwards and backwards, from any version. A page
///    that is not empty makes progress whatever its bound in bytes.
/// 8. **Incarnation.** [`StoreInfo::epoch`] stays the same for as long as no acknowledged event
///    is lost; a restored backup or a lost tail gets a new one.
/// 9. **Honest errors.** See [`StoreError`]; each says whether the append happened.
/// 10. **Cancel safe.** See below.
/// 11. **Namespaces.** Two stores with different namespaces on one database never see each other.
///
/// Ids are meant to be unique in the whole store, as random or derived ids are. Using one id in
/// two streams is a caller's mistake: a store accepts it or answers [`StoreError::IdReused`], and
/// never mixes the two up.
///
/// # Order and visibility
/// The appends of one call to [`append`](Self::append) take effect in the order given: a later one
/// sees the earlier ones. Each stands alone: an append that fails leaves the others untouched. An
/// acknowledged append is visible to every read that starts after the acknowledgement.
///
/// # Cancel safety
/// Dropping the future of an append leaves each of its appends done or not done, never half.
/// Repeating them with the same ids settles them. Dropping a read has no effect.
///
/// # Cost
/// One call to `append` is one transaction, and one round trip where the database allows it,
/// whatever the number of appends. Each read is one round trip, or a few where the adapter says so.
#[async_trait]
pub trait EventStore: Debug + Send + Sync + 'static {
    /// Carries out appends in order and answers each, in the same order, one answer per append.
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult>;

    /// Reads one stream: events after `from` (forward) or before it (backward), nearest first.
    ///
    /// # Errors
    /// [`StoreError`]; a stream that does not exist is an empty page with head zero, not an error.
    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError>;

    /// Reads a partition's log: the events after `after`, in log order.
    ///
    /// # Errors
    /// [`StoreError`]; a partition out of range is [`StoreError::Invalid`].
    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError>;

    /// Finds an event of a stream by its id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError>;

    /// The last version of each stream, in the order asked; zero where there is none. One
    /// consistent look.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError>;

    /// What this store is and promises, as of now.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn info(&self) -> Result<StoreInfo, StoreError>;

    /// The partition that holds a stream; less than [`StoreInfo::partitions`], and always the
    /// same for streams with the same partition key.
    fn partition_of(&self, stream: &StreamId) -> PartitionId;
}

/// Conveniences on every store.
#[async_trait]
pub trait EventStoreExt: EventStore {
    /// Carries out one append.
    ///
    /// # Errors
    /// As [`EventStore::append`].
    async fn append_one(&self, append: Append) -> AppendResult {
        let mut results = self.append(&[append]).await;
        results.pop().unwrap_or_else(|| {
            Err(StoreError::Bug { what: "the store gave no answer to an append".into() })
        })
    }

    /// The last version of one stream; zero if there is none.
    ///
    /// # Errors
    /// As [`EventStore::heads`].
    async fn head(&self, stream: &StreamId) -> Result<Version, StoreError> {
        let heads = self.heads(std::slice::from_ref(stream)).await?;
        Ok(heads.first().copied().unwrap_or_default())
    }
}

impl<S: EventStore + ?Sized> EventStoreExt for S {}

/// What must be true of a stream when an append takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Any,
    /// The stream has no event.
    NoStream,
    /// The stream has at least one event.
    Exists,
    /// The stream's last version is this one. `Exactly(Version::ZERO)` is the same as `NoStream`.
    Exactly(Version),
}

impl Expected {
    /// Whether a stream whose last version is `actual` meets this.
    #[must_use]
    pub fn holds(self, actual: Version) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == Version::ZERO,
            Self::Exists => actual != Version::ZERO,
            Self::Exactly(version) => actual == version,
        }
    }
}

/// Events for one stream, inside an [`Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamWrite {
    /// Where to.
    pub stream: StreamId,
    /// On which condition.
    pub expected: Expected,
    /// What, in order; at least one.
    pub events: Vec<NewEvent>,
}

/// A condition on a stream that is read but not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Which stream.
    pub stream: StreamId,
    /// What must be true of it.
    pub expected: Expected,
}

/// One atomic append, checked when made: no empty write, no stream twice, no id twice, in bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    writes: Vec<StreamWrite>,
    guards: Vec<Guard>,
}

impl Append {
    /// Most events in one append.
    pub const MAX_EVENTS: usize = 1_000;
    /// Most streams written and guarded by one append.
    pub const MAX_STREAMS: usize = 64;
    /// Most bytes of one event's payload and metadata together.
    pub const MAX_EVENT_BYTES: usize = 1 << 20;

    /// One write to one stream.
    ///
    /// # Errors
    /// As [`Append::multi`].
    pub fn single(
        stream: StreamId,
        expected: Expected,
        events: Vec<NewEvent>,
    ) -> Result<Self, AppendError> {
        Self::multi(vec![StreamWrite { stream, expected, events }], Vec::new())
    }

    /// Writes to several streams, under guards.
    ///
    /// # Errors
    /// [`AppendError`] names what is out of bounds.
    pub fn multi(writes: Vec<StreamWrite>, guards: Vec<Guard>) -> Result<Self, AppendError> {
        let streams = writes.len() + guards.len();
        if streams > Self::MAX_STREAMS {
            return Err(AppendError::TooManyStreams { streams, limit: Self::MAX_STREAMS });
        }
        if writes.is_empty() || writes.iter().any(|write| write.events.is_empty()) {
            return Err(AppendError::Empty);
        }
        let events = writes.iter().map(|write| write.events.len()).sum();
        if events > Self::MAX_EVENTS {
            return Err(AppendError::TooManyEvents { events, limit: Self::MAX_EVENTS });
        }
        for event in writes.iter().flat_map(|write| &write.events) {
            if event.size() > Self::MAX_EVENT_BYTES {
                let (bytes, limit) = (event.size(), Self::MAX_EVENT_BYTES);
                return Err(AppendError::EventTooLarge { bytes, limit });
            }
            if event.schema_version == 0 {
                return Err(AppendError::SchemaVersionZero);
            }
        }
        // The one-event append is the hot path; it cannot repeat anything.
        if streams > 1 || events > 1 {
            let mut names: Vec<_> = writes.iter().map(|write| &write.stream).collect();
            names.extend(guards.iter().map(|guard| &guard.stream));
            names.sort_unstable();
            if let Some([twice, _]) = names.array_windows().find(|[a, b]| a == b) {
                return Err(AppendError::StreamTwice { stream: (*twice).clone() });
            }
            let mut ids: Vec<_> =
                writes.iter().flat_map(|write| &write.events).map(|event| event.id).collect();
            ids.sort_unstable();
            if let Some([twice, _]) = ids.array_windows().find(|[a, b]| a == b) {
                return Err(AppendError::IdTwice { id: *twice });
            }
        }
        Ok(Self { writes, guards })
    }

    /// The writes, at least one.
    #[must_use]
    pub fn writes(&self) -> &[StreamWrite] {
        &self.writes
    }

    /// The guards.
    #[must_use]
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// The parts, to take events out without a copy.
    #[must_use]
    pub fn into_parts(self) -> (Vec<StreamWrite>, Vec<Guard>) {
        (self.writes, self.guards)
    }

    /// Bytes that bounds count.
    #[must_use]
    pub fn size(&self) -> usize {
        self.writes.iter().flat_map(|write| &write.events).map(NewEvent::size).sum()
    }
}

/// An append that no store would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// No write, or a write without events.
    #[error("an append needs at least one event in each write")]
    Empty,
    /// More events than one append may hold.
    #[error("an append of {events} events, at most {limit} are allowed")]
    TooManyEvents {
        /// How many were given.
        events: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// More streams than one append may name.
    #[error("an append over {streams} streams, at most {limit} are allowed")]
    TooManyStreams {
        /// How many were given.
        streams: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// An event above the size that every store takes.
    #[error("an event of {bytes} bytes, at most {limit} are allowed")]
    EventTooLarge {
        /// Its size.
        bytes: usize,
        /// The size allowed.
        limit: usize,
    },
    /// Schema versions start at 1.
    #[error("schema version 0 is not allowed")]
    SchemaVersionZero,
    /// The same stream in two writes or guards.
    #[error("stream {stream} is named twice in one append")]
    StreamTwice {
        /// Which stream.
        stream: StreamId,
    },
    /// The same id on two events.
    #[error("event id {id} stands twice in one append")]
    IdTwice {
        /// Which id.
        id: EventId,
    },
}

/// The answer to one append.
pub type AppendResult = Result<Appended, StoreError>;

/// An append that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Where each write landed, in the order of the append's writes.
    pub streams: Vec<WrittenStream>,
    /// It was there already (guarantee 5); nothing was written now.
    pub repeat: bool,
}

/// Where the events of one write landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenStream {
    /// Version of the first event; the others follow it without a hole.
    pub first: Version,
    /// Version of the last event.
    pub last: Version,
    /// Log position of the last event.
    pub position: Position,
}

/// Which way a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Rising versions, those greater than the given one.
    Forward,
    /// Falling versions, those less than the given one ([`Version::MAX`] starts at the end).
    Backward,
}

/// How much one page may hold. At least one event is given if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Most events; 1 to [`PageLimit::MAX_EVENTS`], values outside are brought in.
    pub events: usize,
    /// The page ends with the event that reaches this many bytes ([`NewEvent::size`]).
    pub bytes: usize,
}

impl PageLimit {
    /// Most events that any page holds.
    pub const MAX_EVENTS: usize = 1_000;
    /// Bytes after which a page ends unless said otherwise.
    pub const DEFAULT_BYTES: usize = 4 << 20;

    /// At most this many events, and the default number of bytes.
    #[must_use]
    pub fn events(events: usize) -> Self {
        Self { events: events.clamp(1, Self::MAX_EVENTS), bytes: Self::DEFAULT_BYTES }
    }

    /// Ends the page with the event that reaches this many bytes.
    #[must_use]
    pub fn with_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// The number of events to ask a database for.
    #[must_use]
    pub fn clamped_events(self) -> usize {
        self.events.clamp(1, Self::MAX_EVENTS)
    }

    /// Cuts a list after the event that reaches the bound in bytes. Adapters call it on what
    /// they read.
    pub fn cut(self, events: &mut Vec<Arc<RecordedEvent>>) {
        let mut bytes = 0_usize;
        let reached = events.iter().position(|event| {
            bytes = bytes.saturating_add(event.event.size());
            bytes >= self.bytes
        });
        if let Some(index) = reached {
            events.truncate(index + 1);
        }
        events.truncate(self.clamped_events());
    }
}

/// A piece of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPage {
    /// The events, nearest to the starting point first.
    pub events: Vec<Arc<RecordedEvent>>,
    /// The stream's last version in the same look; zero if it has no event.
    pub head: Version,
}

/// A piece of a partition's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The events, in log order.
    pub events: Vec<Arc<RecordedEvent>>,
    /// Where to go on: the position of the last event here, else where the read began.
    pub next: Position,
    /// The last position that this look could see in the partition; `next == head` is the end.
    pub head: Position,
}

/// What a store is and promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// Its incarnation.
    pub epoch: Epoch,
    /// The number of its logs, at least 1, fixed for the life of the namespace.
    pub partitions: u32,
    /// What an acknowledged append survives.
    pub durability: Durability,
}

/// What an acknowledged append survives, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: it is gone with the process.
    Process,
    /// A crash of the process; a crash of the machine may lose the last moments.
    ProcessCrash,
    /// A crash of the machine.
    MachineCrash,
}

/// Why a store did not do what was asked.
///
/// Each variant says whether an append happened: only [`OutcomeUnknown`](Self::OutcomeUnknown)
/// leaves it open, and repeating the append with the same ids settles that.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An expectation did not hold. Nothing was written.
    #[error("stream {stream} is at version {actual}, expected {expected:?}")]
    Conflict {
        /// The stream whose expectation failed.
        stream: StreamId,
        /// What was expected.
        expected: Expected,
        /// The version it had.
        actual: Version,
    },
    /// The id is taken by an event with other content (or the append repeats only in part).
    /// Nothing was written.
    #[error("event id {id} is in use in stream {stream} for something else")]
    IdReused {
        /// The stream that was to be written.
        stream: StreamId,
        /// The id.
        id: EventId,
    },
    /// This store cannot write these streams in one append. Nothing was written.
    #[error("streams {first} and {second} are in different partitions of this store")]
    CrossPartition {
        /// One stream.
        first: StreamId,
        /// A stream that cannot be written with it.
        second: StreamId,
    },
    /// A value out of its bounds. Nothing was written.
    #[error("invalid request: {what}")]
    Invalid {
        /// What was wrong, and the limit.
        what: String,
    },
    /// It did not happen; later it may.
    #[error("the store is unavailable: {what}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// The driver's error.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// It may have happened or not. Repeat it with the same ids.
    #[error("the outcome is unknown: {what}")]
    OutcomeUnknown {
        /// What was tried.
        what: String,
        /// The driver's error.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// No room is left on the device. Nothing was written.
    #[error("the storage is full: {what}")]
    StorageFull {
        /// Where.
        what: String,
    },
    /// The database may be read but not written. Nothing was written.
    #[error("the store is read-only: {what}")]
    ReadOnly {
        /// Where.
        what: String,
    },
    /// The database was made by a newer release of this adapter.
    #[error("the schema has version {found}, this release knows up to {supported}")]
    NewerSchema {
        /// The version found.
        found: u64,
        /// The newest version known.
        supported: u64,
    },
    /// Something stored cannot be read back.
    #[error("{place} is corrupt: {what}")]
    Corrupt {
        /// Stream and version, or whatever else locates it.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The store was closed. Nothing was written.
    #[error("the store is closed")]
    Closed,
    /// An error in an adapter.
    #[error("bug: {what}")]
    Bug {
        /// What went wrong.
        what: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without a change by the caller. Repeating an
    /// append is safe, as its ids make it happen once.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Conflict { .. }
            | Self::IdReused { .. }
            | Self::CrossPartition { .. }
            | Self::Invalid { .. }
            | Self::StorageFull { .. }
            | Self::ReadOnly { .. }
            | Self::NewerSchema { .. }
            | Self::Corrupt { .. }
            | Self::Closed
            | Self::Bug { .. } => false,
        }
    }
}
