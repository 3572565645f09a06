//! What goes wrong when a subscription is started or operated.

use super::name::Generation;
use crate::id::{EventId, PartitionId};
use crate::ports::StoreError;

/// Why a subscription was not started, or an operator's wish was not noted.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// A subscription of this name exists and is of another kind or reads another source.
    #[error("the subscription exists and {what}")]
    Mismatch {
        /// What differs.
        what: &'static str,
    },
    /// Something needed is missing, or a value is out of its bounds.
    #[error("invalid: {what}")]
    Invalid {
        /// What.
        what: String,
    },
    /// Nobody has started a subscription of this name.
    #[error("there is no subscription of this name")]
    Unknown,
    /// No such event is parked.
    #[error("event {id} is not parked in partition {partition} of generation {generation}")]
    NotParked {
        /// The event.
        id: EventId,
        /// Its partition.
        partition: PartitionId,
        /// The generation looked into.
        generation: Generation,
    },
    /// The store or the views failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DurableError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Mismatch { .. }
            | Self::Invalid { .. }
            | Self::Unknown
            | Self::NotParked { .. } => false,
        }
    }
}
