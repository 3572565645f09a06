//! Who is subscribed to what, in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chat_core::Topic;
use chat_core::ports::{BusItem, BusStream, Signal};
use futures::stream;
use tokio::sync::broadcast::{self, error::RecvError};

/// Subscribers by topic, each with a bounded queue: who does not read misses the oldest.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// `None` once the bus is closed.
    senders: Mutex<Option<HashMap<Topic, broadcast::Sender<BusItem>>>>,
}

impl Topics {
    pub(super) fn new() -> Self {
        Self { senders: Mutex::new(Some(HashMap::new())) }
    }

    /// The signals of a topic from now on; `None` if the bus is closed.
    pub(super) fn subscribe(self: &Arc<Self>, topic: &Topic) -> Option<BusStream> {
        let receiver = {
            let mut senders = self.lock();
            let senders = senders.as_mut()?;
            match senders.get(topic) {
                Some(sender) => sender.subscribe(),
                None => {
                    let (sender, receiver) = broadcast::channel(CAPACITY);
                    senders.insert(topic.clone(), sender);
                    receiver
                }
            }
        };
        let topics = Arc::downgrade(self);
        let subscription = Subscription { receiver: Some(receiver), topic: topic.clone(), topics };
        Some(Box::pin(stream::unfold(subscription, |mut subscription| async move {
            let item = subscription.next().await?;
            Some((item, subscription))
        })))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().as_ref().is_none_or(HashMap::is_empty)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_none()
    }

    pub(super) fn send(&self, signals: impl Iterator<Item = Signal>) {
        let senders = self.lock();
        let Some(senders) = senders.as_ref() else { return };
        for signal in signals {
            if let Some(sender) = senders.get(&signal.topic) {
                // It fails only if nobody is subscribed any more, and then nobody wants it.
                drop(sender.send(BusItem::Signal(signal)));
            }
        }
    }

    /// Tells everybody that signals were lost.
    pub(super) fn missed(&self) {
        let senders = self.lock();
        for sender in senders.iter().flat_map(HashMap::values) {
            drop(sender.send(BusItem::Missed));
        }
    }

    /// Ends all subscriptions.
    pub(super) fn close(&self) {
        let closed = self.lock().take();
        drop(closed);
    }

    /// The map is whole between any two of its operations, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<Topic, broadcast::Sender<BusItem>>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Subscription {
    /// `None` only while it is dropped.
    receiver: Option<broadcast::Receiver<BusItem>>,
    topic: Topic,
    /// Weak, so that the streams end when the last handle of the bus goes.
    topics: Weak<Topics>,
}

impl Subscription {
    async fn next(&mut self) -> Option<BusItem> {
        match self.receiver.as_mut()?.recv().await {
            Ok(item) => Some(item),
            Err(RecvError::Lagged(_)) => Some(BusItem::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(topics) = self.topics.upgrade() else { return };
        let mut senders = topics.lock();
        // Under the lock, so that nobody subscribes between the look and the removal.
        self.receiver = None;
        if let Some(senders) = senders.as_mut()
            && senders.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0)
        {
            senders.remove(&self.topic);
        }
    }
}

/// Signals of one topic that a slow subscriber may be behind.
const CAPACITY: usize = 128;
