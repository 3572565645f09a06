//! A store that was opened: its ports, and how to end it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use crate::ports::{EventBus, EventStore, ViewStore};

/// The ports of one store. They are handles: clone what is needed, and keep this to
/// [`close`](Self::close) the store at the end.
///
/// Without `close` the store ends when its last handle is dropped, as its adapter does it: nothing
/// that was acknowledged is lost, but nobody waits for it.
#[non_exhaustive]
pub struct Opened {
    /// The events.
    pub events: Arc<dyn EventStore>,
    /// The views, beside the events.
    pub views: Arc<dyn ViewStore>,
    /// What wakes other processes, if this store brings it. Without, they poll.
    pub bus: Option<Arc<dyn EventBus>>,
    /// Only ever taken out whole; the lock makes it shareable.
    closing: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Opened {
    /// A store that needs no end.
    #[must_use]
    pub fn new(events: Arc<dyn EventStore>, views: Arc<dyn ViewStore>) -> Self {
        Self { events, views, bus: None, closing: Mutex::new(None) }
    }

    /// Adds a bus.
    #[must_use]
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Says how the store ends. The future is not polled before [`close`](Self::close).
    #[must_use]
    pub fn with_close(mut self, closing: impl Future<Output = ()> + Send + 'static) -> Self {
        self.closing = Mutex::new(Some(Box::pin(closing)));
        self
    }

    /// Ends the store: what it has begun is done, threads, connections and files are given back.
    /// Handles that are still held answer [`StoreError::Closed`](crate::ports::StoreError::Closed).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the store closing, or open until its last handle is dropped.
    pub async fn close(self) {
        let closing = self.closing.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(closing) = closing {
            closing.await;
        }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, views, bus, closing: _ } = self;
        f.debug_struct("Opened")
            .field("events", events)
            .field("views", views)
            .field("bus", bus)
            .finish_non_exhaustive()
    }
}
