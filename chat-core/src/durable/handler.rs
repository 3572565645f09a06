//! What a host writes: a projection into views, or a handler with effects elsewhere.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::edit::ViewEdit;
use crate::event::RecordedEvent;
use crate::id::{EventId, PartitionId, Scope, ViewKey};
use crate::ports::StoreError;

/// Turns events into views. Each event enters each view exactly once, in the order of its
/// partition, whatever crashes.
///
/// The views are a function of the events and of what the view holds: a projection must not look
/// at the clock or at anything else, or a rebuild comes to another result.
///
/// # Cancel safety
/// The futures may be dropped at any point; nothing of a dropped one is written.
#[async_trait]
pub trait Projection: Debug + Send + Sync + 'static {
    /// The scopes whose views this event changes. Always the same for the same event.
    ///
    /// # Errors
    /// [`HandlerError`] if the event cannot be read; it is parked as a whole.
    fn route(&self, event: &RecordedEvent) -> Result<Vec<Scope>, HandlerError>;

    /// Keys that [`project`](Self::project) will want to see, so that they are read for all views
    /// of a batch in one round trip. Others may be read as well, each with a round trip.
    fn reads(&self, _scope: &Scope, _events: &[Arc<RecordedEvent>]) -> Vec<ViewKey> {
        Vec::new()
    }

    /// Changes one view by events that it has not taken yet, in order.
    ///
    /// # Errors
    /// [`HandlerError`]: nothing of this call is written. Of a batch, the events are tried one by
    /// one; the one that still fails is retried or parked.
    async fn project(
        &self,
        view: &mut ViewEdit<'_>,
        events: &[Arc<RecordedEvent>],
    ) -> Result<(), HandlerError>;
}

/// Does something with events elsewhere: sends, indexes, pays. Each event is delivered at least
/// once, in the order of its partition, unless it is parked.
///
/// # Cancel safety
/// The future may be dropped at any point (the lease was lost, the time is over); the event is
/// then delivered again.
#[async_trait]
pub trait EventHandler: Debug + Send + Sync + 'static {
    /// Takes one event.
    ///
    /// # Errors
    /// [`HandlerError`]: retried or parked.
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError>;
}

/// An event on its way to an [`EventHandler`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The event.
    pub event: Arc<RecordedEvent>,
    /// The partition that it comes from.
    pub partition: PartitionId,
    /// 1 if the event was certainly never delivered before; more if it was, or if it may have been
    /// when a process died.
    pub attempt: u32,
}

impl Delivery {
    /// The same for each delivery of the same event: who has seen it has had the event.
    #[must_use]
    pub fn idempotency_key(&self) -> EventId {
        self.event.event.id
    }
}

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
