//! Why a handler did not take an event, and what is to be done about it.

use std::fmt;
use std::time::Duration;

use crate::ports::StoreError;

/// Why a handler did not take an event. The reason is stored and shown to operators: it must not
/// hold what people wrote.
#[derive(Debug, Clone)]
pub struct HandlerError {
    pub(super) kind: Kind,
    reason: String,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Retry {
        after: Option<Duration>,
    },
    Final,
    /// The store failed, not the event.
    Store(StoreError),
    /// The view is not what was read before; read it again.
    Moved,
}

impl HandlerError {
    /// Longest reason that is kept, in bytes.
    pub const MAX_REASON: usize = 1_000;

    /// It may work later: tried again after a while, as often as the configuration says.
    #[must_use]
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self::new(Kind::Retry { after: None }, &reason)
    }

    /// It may work after this time, which whoever refused asked for.
    #[must_use]
    pub fn retry_after(after: Duration, reason: impl fmt::Display) -> Self {
        Self::new(Kind::Retry { after: Some(after) }, &reason)
    }

    /// It will never work: parked at once.
    #[must_use]
    pub fn permanent(reason: impl fmt::Display) -> Self {
        Self::new(Kind::Final, &reason)
    }

    pub(super) fn moved() -> Self {
        Self::new(Kind::Moved, &"the view was changed meanwhile")
    }

    pub(super) fn new(kind: Kind, reason: &dyn fmt::Display) -> Self {
        let mut reason = reason.to_string();
        reason.truncate(reason.floor_char_boundary(Self::MAX_REASON));
        Self { kind, reason }
    }

    /// The reason, as it was given.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for HandlerError {}

/// A store that cannot be reached makes the subscription wait, and parks nothing; any other error
/// of a store is permanent.
impl From<StoreError> for HandlerError {
    fn from(error: StoreError) -> Self {
        let reason = error.to_string();
        let kind = if error.is_retryable() { Kind::Store(error) } else { Kind::Final };
        Self::new(kind, &reason)
    }
}
