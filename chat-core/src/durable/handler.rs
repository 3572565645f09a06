//! What a host writes: a projection into views, or a handler with effects elsewhere.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::edit::ViewEdit;
use super::refusal::HandlerError;
use crate::event::RecordedEvent;
use crate::id::{EventId, PartitionId, Scope, ViewKey};

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
    /// of a batch in one round trip. Others may be read as well, each with a round trip. If it
    /// panics, that is as if [`project`](Self::project) had.
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
