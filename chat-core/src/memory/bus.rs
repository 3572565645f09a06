//! A bus inside one process.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::stream;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::id::Topic;
use crate::ports::{BusError, BusItem, BusStream, EventBus, Signal, SignalBody};

/// An [`EventBus`] for the subscribers of one process. A clone is a second handle on the same bus;
/// it closes when the last handle is dropped.
///
/// Signals are sent when `publish` is called, before its future is polled. Nothing is lost but
/// what a subscriber does not read in time: it keeps the newest signals of its topic, as many as
/// the capacity says, and is told [`BusItem::Missed`]. A topic that somebody is subscribed to
/// holds room for its capacity, about 80 bytes for each signal.
#[derive(Debug, Clone)]
pub struct MemoryBus {
    topics: Arc<Mutex<Topics>>,
    capacity: usize,
}

type Topics = HashMap<Topic, broadcast::Sender<Signal>>;

impl MemoryBus {
    /// Signals of one topic that a slow subscriber may be behind.
    pub const DEFAULT_CAPACITY: usize = 128;

    /// A bus with the default capacity.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY)
    }

    /// A bus whose subscribers may be this many signals behind, 1 to 65,536.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { topics: Arc::default(), capacity: capacity.clamp(1, 1 << 16) }
    }

    /// How many topics somebody is subscribed to.
    #[must_use]
    pub fn topics(&self) -> usize {
        lock(&self.topics).len()
    }

    fn send(&self, signals: &[Signal]) -> Result<(), BusError> {
        let limit = SignalBody::MAX_EPHEMERAL_BYTES;
        let sizes = signals.iter().map(|signal| match &signal.body {
            SignalBody::Ring(_) => 0,
            SignalBody::Ephemeral(json) => json.as_str().len(),
        });
        if let Some(bytes) = sizes.max().filter(|bytes| *bytes > limit) {
            return Err(BusError::TooLarge { bytes, limit });
        }
        let topics = lock(&self.topics);
        for signal in signals {
            if let Some(sender) = topics.get(&signal.topic) {
                // It fails only if nobody is subscribed any more, and then nobody wants it.
                let _receivers = sender.send(signal.clone());
            }
        }
        Ok(())
    }
}

/// The map is whole between any two of its operations, so a panic elsewhere does not matter.
fn lock(topics: &Mutex<Topics>) -> MutexGuard<'_, Topics> {
    topics.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

/// Written without `async_trait`'s macro: its future would take memory for every publish.
impl EventBus for MemoryBus {
    fn publish<'a: 'r, 'b: 'r, 'r>(
        &'a self,
        signals: &'b [Signal],
    ) -> Pin<Box<dyn Future<Output = Result<(), BusError>> + Send + 'r>>
    where
        Self: 'r,
    {
        match self.send(signals) {
            Ok(()) => Box::pin(Sent),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn subscribe<'a: 'r, 'b: 'r, 'r>(
        &'a self,
        topic: &'b Topic,
    ) -> Pin<Box<dyn Future<Output = Result<BusStream, BusError>> + Send + 'r>>
    where
        Self: 'r,
    {
        Box::pin(async move {
            let mut topics = lock(&self.topics);
            let receiver = match topics.get(topic) {
                Some(sender) => sender.subscribe(),
                None => {
                    let (sender, receiver) = broadcast::channel(self.capacity);
                    topics.insert(topic.clone(), sender);
                    receiver
                }
            };
            let topics = Arc::downgrade(&self.topics);
            let subscription =
                Subscription { receiver: Some(receiver), topic: topic.clone(), topics };
            let items = stream::unfold(subscription, |mut subscription| async move {
                let item = subscription.next().await?;
                Some((item, subscription))
            });
            Ok(Box::pin(items) as BusStream)
        })
    }
}

/// Done already. It has no size, so that its box takes no memory.
struct Sent;

impl Future for Sent {
    type Output = Result<(), BusError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

struct Subscription {
    /// `None` only while it is dropped.
    receiver: Option<broadcast::Receiver<Signal>>,
    topic: Topic,
    /// Weak, so that the streams end when the last handle of the bus goes.
    topics: Weak<Mutex<Topics>>,
}

impl Subscription {
    async fn next(&mut self) -> Option<BusItem> {
        match self.receiver.as_mut()?.recv().await {
            Ok(signal) => Some(BusItem::Signal(signal)),
            Err(RecvError::Lagged(_)) => Some(BusItem::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(topics) = self.topics.upgrade() else { return };
        let mut topics = lock(&topics);
        // Under the lock, so that nobody subscribes between the look and the removal.
        self.receiver = None;
        if topics.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}
