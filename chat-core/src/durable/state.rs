//! What is stored of a partition: its place, its lease, its parked events.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::name::Generation;
use crate::clock::Timestamp;
use crate::id::{Epoch, EventId, PartitionId, Position, Scope, StreamId, Version, ViewKey};
use crate::ports::{StoreError, ViewOp};

/// A partition of one generation. Only the holder of the lease writes it, and whoever takes or
/// revokes the lease; each write raises the view's checkpoint by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardState {
    /// The store's incarnation that the position is of.
    pub(super) epoch: Epoch,
    /// Which start of the subscription this goes on from.
    pub(super) run: u64,
    /// Everything up to here is done or parked.
    pub(super) position: u64,
    /// The fencing token: raised with each change of the owner.
    pub(super) token: u64,
    /// The number of the owner's try to write. A number is never used twice, so that an owner
    /// knows its own write when the answer was lost.
    pub(super) seq: u64,
    pub(super) owner: Option<String>,
    pub(super) expires: Timestamp,
    /// The event that is being tried, as far as that was worth a note.
    pub(super) in_flight: Option<InFlight>,
    /// How many are parked.
    pub(super) parked: u32,
    pub(super) halt: Option<Halt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InFlight {
    pub(super) position: u64,
    pub(super) attempts: u32,
}

impl ShardState {
    /// A partition that nobody has worked on.
    pub(super) fn fresh(epoch: Epoch, run: u64, position: u64) -> Self {
        Self {
            epoch,
            run,
            position,
            token: 0,
            seq: 0,
            owner: None,
            expires: Timestamp::default(),
            in_flight: None,
            parked: 0,
            halt: None,
        }
    }

    /// Whether somebody else's lease holds.
    pub(super) fn is_held(&self, by_others_than: &str, now: Timestamp) -> bool {
        self.owner.as_deref().is_some_and(|owner| owner != by_others_than) && now < self.expires
    }

    /// Attempts that are known of the event at this place.
    pub(super) fn attempts(&self, position: u64) -> u32 {
        self.in_flight.filter(|event| event.position == position).map_or(0, |event| event.attempts)
    }
}

/// Why a partition does not go on. It stays as it is until that changes; others go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Halt {
    /// The store is another incarnation; see [`OnNewEpoch`](super::OnNewEpoch).
    NewEpoch {
        /// Its epoch now.
        found: Epoch,
    },
    /// No further event can be parked: drive or drop some.
    TooManyParked {
        /// How many may be.
        limit: u32,
    },
    /// What comes next in the source cannot be read. Tried again at each poll; an operator may
    /// [skip](super::Operator::skip_to) it.
    Corrupt {
        /// What the store says.
        what: String,
    },
    /// The store or the views do not do what is needed, and not for a moment only: there is no
    /// room left, they may not be written, or they cannot be reached by who looks. Tried again
    /// every few moments.
    Store {
        /// What they say.
        what: String,
    },
}

impl Halt {
    pub(super) fn of(error: &StoreError) -> Self {
        let what = error.to_string();
        match error {
            StoreError::Corrupt { .. } => Self::Corrupt { what },
            StoreError::Conflict { .. }
            | StoreError::IdReused { .. }
            | StoreError::CrossPartition { .. }
            | StoreError::Invalid { .. }
            | StoreError::Unavailable { .. }
            | StoreError::OutcomeUnknown { .. }
            | StoreError::StorageFull { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Closed
            | StoreError::Bug { .. } => Self::Store { what },
        }
    }
}

/// How far a projected view has come: stands in the view itself, in each batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Every event up to here was taken, but those skipped.
    pub(super) position: u64,
    /// Places of events that are parked for this view.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) skipped: Vec<u64>,
}

impl Progress {
    pub(super) fn wants(&self, place: u64) -> bool {
        place > self.position || self.skipped.contains(&place)
    }

    pub(super) fn take(&mut self, place: u64) {
        self.position = self.position.max(place);
        self.skipped.retain(|skipped| *skipped != place);
    }

    pub(super) fn skip(&mut self, place: u64) {
        self.take(place);
        self.skipped.push(place);
    }
}

/// A parked event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ParkedRecord {
    pub(super) position: u64,
    pub(super) stream: StreamId,
    pub(super) version: Version,
    pub(super) id: EventId,
    pub(super) scope: Option<Scope>,
    pub(super) reason: String,
    pub(super) attempts: u32,
    pub(super) at: Timestamp,
    pub(super) wish: Option<Wish>,
    /// How often the wish was tried.
    pub(super) tries: u32,
}

/// What an operator wants of a parked event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wish {
    Drive,
    Drop,
}

/// An event that a handler did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// The generation that parked it.
    pub generation: Generation,
    /// Its partition.
    pub partition: PartitionId,
    /// Its place in the source.
    pub position: Position,
    /// Its stream.
    pub stream: StreamId,
    /// Its version there.
    pub version: Version,
    /// Its id.
    pub id: EventId,
    /// The view that does not have it; `None` for an effect handler, or if it could not be routed.
    pub scope: Option<Scope>,
    /// What the handler said last.
    pub reason: String,
    /// How often the handler had it.
    pub attempts: u32,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// What will become of it.
    pub state: ParkedState,
}

/// What will become of a parked event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParkedState {
    /// It waits for an operator.
    Waiting,
    /// It will be given to the handler again.
    Driving,
    /// It will be dropped.
    Dropping,
}

impl ParkedRecord {
    pub(super) fn shown(self, generation: Generation, partition: PartitionId) -> ParkedEvent {
        ParkedEvent {
            generation,
            partition,
            position: Position(self.position),
            stream: self.stream,
            version: self.version,
            id: self.id,
            scope: self.scope,
            reason: self.reason,
            attempts: self.attempts,
            parked_at: self.at,
            state: match self.wish {
                None => ParkedState::Waiting,
                Some(Wish::Drive) => ParkedState::Driving,
                Some(Wish::Drop) => ParkedState::Dropping,
            },
        }
    }
}

/// Sets a key to a value as JSON.
pub(super) fn put(key: ViewKey, value: &impl Serialize) -> Result<ViewOp, StoreError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| StoreError::Bug { what: format!("{key} cannot be written: {error}") })?;
    Ok(ViewOp::Put(key, Arc::from(bytes)))
}

/// Reads a value; `place` says whose it is if it is broken.
pub(super) fn read<T: DeserializeOwned>(
    place: impl std::fmt::Debug,
    bytes: &[u8],
) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt {
        place: format!("{place:?}"),
        what: error.to_string(),
    })
}
