//! Who in this process listens to which topic. Every queue is bounded: a subscriber who does not
//! read keeps the newest signals and is told that it missed some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chat_core::Topic;
use chat_core::ports::{BusItem, BusStream, Signal};
use futures::stream;
use tokio::sync::broadcast::{self, error::RecvError};

/// The subscribers of one process.
#[derive(Debug, Default)]
pub(super) struct Topics {
    senders: Mutex<HashMap<Topic, broadcast::Sender<BusItem>>>,
}

impl Topics {
    /// The signals of a topic. What is to be kept lives as long as the subscription.
    pub(super) fn subscribe<K: Send + 'static>(
        self: &Arc<Self>,
        topic: &Topic,
        keep: K,
    ) -> BusStream {
        let mut senders = self.lock();
        let new = || broadcast::channel(CAPACITY).0;
        let receiver = senders.entry(topic.clone()).or_insert_with(new).subscribe();
        let subscription = Subscription {
            receiver: Some(receiver),
            topic: topic.clone(),
            topics: Arc::downgrade(self),
        };
        Box::pin(stream::unfold((subscription, keep), |(mut subscription, keep)| async move {
            let item = subscription.next().await?;
            Some((item, (subscription, keep)))
        }))
    }

    pub(super) fn send(&self, signals: Vec<Signal>) {
        let senders = self.lock();
        for signal in signals {
            if let Some(sender) = senders.get(&signal.topic) {
                // It fails only if nobody is subscribed any more, and then nobody wants it.
                drop(sender.send(BusItem::Signal(signal)));
            }
        }
    }

    /// Tells everybody that signals may have been lost.
    pub(super) fn missed(&self) {
        for sender in self.lock().values() {
            drop(sender.send(BusItem::Missed));
        }
    }

    /// Ends every subscription.
    pub(super) fn end(&self) {
        self.lock().clear();
    }

    /// The map is whole between any two of its operations, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, broadcast::Sender<BusItem>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Subscription {
    /// `None` only while it is dropped.
    receiver: Option<broadcast::Receiver<BusItem>>,
    topic: Topic,
    /// Weak, so that the streams end with the bus.
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
        if senders.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            senders.remove(&self.topic);
        }
    }
}

/// Signals of one topic that a subscriber may be behind.
const CAPACITY: usize = 128;
