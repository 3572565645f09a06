//! Why a copy stopped. Whatever it was, what is in the target is a true beginning of the source.

use crate::id::{Epoch, EventId, PartitionId, StreamId, Version};
use crate::ports::{StoreError, ViewError};

/// Why a copy or a verification did not go on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] StoreError),
    /// The target, or the views beside it, cannot be read or written.
    #[error("the target cannot be used")]
    Target(#[source] StoreError),
    /// Source and target are one store.
    #[error("source and target are the same store")]
    SameStore,
    /// The target was not begun by a copy, and holds something.
    #[error("the target holds events (stream {stream}) and no record of a copy; use an empty one")]
    NotEmpty {
        /// A stream that it holds.
        stream: StreamId,
    },
    /// The target was begun as the copy of another store, or the source lost its tail or was
    /// restored since, so that what was copied may not be in it any more. Begin in an empty target.
    #[error("the target is a copy of another source, {recorded}; this one is {found}")]
    SourceChanged {
        /// The epoch that was copied from.
        recorded: Epoch,
        /// The source's epoch now.
        found: Epoch,
    },
    /// The target lost its tail or was restored since the copy began. Begin in an empty target.
    #[error("the target is not what it was when the copy began ({recorded}, now {found})")]
    TargetChanged {
        /// The epoch that was copied to.
        recorded: Epoch,
        /// The target's epoch now.
        found: Epoch,
    },
    /// The target does not take an event. Somebody else writes to it, or it takes an id only once
    /// where the source has it in two streams.
    #[error("the target refuses what the source holds; somebody else may be writing to it")]
    Refused(#[source] StoreError),
    /// Another copier is at work between the same stores.
    #[error("another copy is at work from partition {partition} of the same source")]
    Overtaken {
        /// The partition of the source in which it was met.
        partition: PartitionId,
    },
    /// The target holds something else than the source.
    #[error("the target differs: {0}")]
    Different(Difference),
    /// The source was written to during [`finish`](super::Copier::finish); not all writers have
    /// been stopped.
    #[error("the source is still being written: {behind} positions came meanwhile")]
    StillWritten {
        /// Positions that came in between.
        behind: u64,
    },
    /// The copy was finished before; the new house may be in use.
    #[error("this copy is finished; finishing it again copies what came since")]
    Finished,
}

/// The first difference found between a source and a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// The source holds it, the target does not.
    #[error("{stream} version {version} is missing")]
    Missing {
        /// Its stream.
        stream: StreamId,
        /// Its version.
        version: Version,
    },
    /// The target holds it, the source does not.
    #[error("{stream} version {version} is not in the source")]
    Extra {
        /// Its stream.
        stream: StreamId,
        /// Its version.
        version: Version,
    },
    /// Another event stands at this place.
    #[error("{stream} version {version} is another event: {found} instead of {expected}")]
    OtherEvent {
        /// Its stream.
        stream: StreamId,
        /// Its version.
        version: Version,
        /// The source's.
        expected: EventId,
        /// The target's.
        found: EventId,
    },
    /// It is the same event with something else in it.
    #[error("{stream} version {version} has another {part}")]
    OtherContent {
        /// Its stream.
        stream: StreamId,
        /// Its version.
        version: Version,
        /// What differs: `type`, `schema version`, `time`, `payload` or `metadata`.
        part: &'static str,
    },
    /// In the target's log it stands before an event that it came after.
    #[error("{stream} version {version} stands too early in the log of partition {partition}")]
    OtherOrder {
        /// Its stream.
        stream: StreamId,
        /// Its version.
        version: Version,
        /// The target's partition.
        partition: PartitionId,
    },
    /// The target's logs and its streams hold different numbers of events.
    #[error("the logs hold {found} events instead of {expected}")]
    OtherCount {
        /// Events in the source, and in the target's streams.
        expected: u64,
        /// Events in the target's logs.
        found: u64,
    },
}

impl CopyError {
    /// Whether the same call may succeed later without a change by the caller.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Source(error) | Self::Target(error) => error.is_retryable(),
            Self::SameStore
            | Self::NotEmpty { .. }
            | Self::SourceChanged { .. }
            | Self::TargetChanged { .. }
            | Self::Refused(_)
            | Self::Overtaken { .. }
            | Self::Different(_)
            | Self::StillWritten { .. }
            | Self::Finished => false,
        }
    }

    /// What the record of a copy answers: if it moved, somebody else moved it.
    pub(super) fn of_view(error: ViewError, partition: PartitionId) -> Self {
        match error {
            ViewError::CheckpointMoved { .. } => Self::Overtaken { partition },
            ViewError::Store(error) => Self::Target(error),
        }
    }
}

impl From<Difference> for CopyError {
    fn from(difference: Difference) -> Self {
        Self::Different(difference)
    }
}
