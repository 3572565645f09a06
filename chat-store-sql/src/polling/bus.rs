//! The port over a table of signals.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::Topic;
use chat_core::ports::{BusError, BusStream, EventBus, Signal, StoreError};
use tokio::sync::Mutex;

use super::SignalTable;
use super::poller;
use super::publisher::{Publisher, check};
use super::retention::Retention;
use super::topics::Topics;
use super::window::Window;

/// A bus over a table of signals. Cheap to clone; the bus closes when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct PollingBus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) table: Arc<dyn SignalTable>,
    pub(super) topics: Arc<Topics>,
    pub(super) retention: Retention,
    publisher: Publisher,
    polling: Mutex<Polling>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polling {
    Off,
    On,
}

impl PollingBus {
    pub(crate) fn new(table: Arc<dyn SignalTable>) -> Self {
        let shared = Shared {
            table,
            topics: Arc::new(Topics::new()),
            retention: Retention::default(),
            publisher: Publisher::default(),
            polling: Mutex::new(Polling::Off),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Ends all subscriptions; later calls are answered with [`BusError::Closed`].
    pub(crate) fn close(&self) {
        self.shared.topics.close();
    }
}

#[async_trait]
impl EventBus for PollingBus {
    async fn publish(&self, signals: &[Signal]) -> Result<(), BusError> {
        check(signals)?;
        if self.shared.topics.is_closed() {
            return Err(BusError::Closed);
        }
        if signals.is_empty() {
            return Ok(());
        }
        let table = &*self.shared.table;
        let added = self.shared.publisher.publish(table, signals).await;
        if let Some(last) = added.map_err(|error| unavailable("publish", error))? {
            self.shared.prune(last).await;
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusStream, BusError> {
        // First the queue, then the place in the table, so that nothing falls between.
        let stream = self.shared.topics.subscribe(topic).ok_or(BusError::Closed)?;
        self.shared.begin_polling().await.map_err(|error| unavailable("subscribe", error))?;
        Ok(stream)
    }
}

impl Shared {
    async fn begin_polling(self: &Arc<Self>) -> Result<(), StoreError> {
        let mut polling = self.polling.lock().await;
        if *polling == Polling::Off {
            let window = Window::behind(self.table.last().await?);
            tokio::spawn(poller::run(Arc::downgrade(self), window));
            *polling = Polling::On;
        }
        Ok(())
    }

    /// Whether the poller may end: nobody has subscribed meanwhile.
    pub(super) async fn end_polling(&self) -> bool {
        let mut polling = self.polling.lock().await;
        let nobody = self.topics.is_empty();
        if nobody {
            *polling = Polling::Off;
        }
        nobody
    }
}

fn unavailable(what: &str, error: StoreError) -> BusError {
    match error {
        StoreError::Closed => BusError::Closed,
        error => BusError::Unavailable { what: what.to_owned(), source: Some(Arc::new(error)) },
    }
}
