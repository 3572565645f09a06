//! Why the engine did not do what was asked.

use crate::domain::Rejection;
use crate::id::EventId;
use crate::ports::{StoreError, ViewError};

/// The error of every call on the engine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The rules of the chat do not allow it. Nothing happened.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The key was used before for something else. Nothing happened now.
    #[error("the key was used before for something else, as event {original}")]
    IdempotencyConflict {
        /// The event that has the key.
        original: EventId,
    },
    /// The token is not one of this engine's for this user and chat.
    #[error("the token is not valid")]
    InvalidToken,
    /// Too many commands are under way. Nothing happened; try again later.
    #[error("{pending} commands are under way, at most {limit} are allowed")]
    Overloaded {
        /// How many are under way.
        pending: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Others kept changing the chat. Nothing happened; try again.
    #[error("the chat changed {attempts} times while the command was decided")]
    Contended {
        /// How often it was decided.
        attempts: u32,
    },
    /// The store failed; see there whether the command may have taken effect.
    #[error(transparent)]
    Store(StoreError),
    /// The engine is shutting down. Nothing happened.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

impl ChatError {
    /// Whether the same call may succeed later. Repeating a command that carries a key is safe.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. } | Self::Contended { .. } => true,
            Self::Store(error) => error.is_retryable(),
            Self::Rejected(_)
            | Self::IdempotencyConflict { .. }
            | Self::InvalidToken
            | Self::ShuttingDown => false,
        }
    }
}

impl From<StoreError> for ChatError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::ShuttingDown,
            other => Self::Store(other),
        }
    }
}

impl From<ViewError> for ChatError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Store(error) => error.into(),
            // Whoever meets a moved checkpoint reads again; one that comes this far came too often.
            moved @ ViewError::CheckpointMoved { .. } => {
                Self::Store(StoreError::Unavailable { what: moved.to_string(), source: None })
            }
        }
    }
}
