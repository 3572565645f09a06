//! The chats that a tab follows at one time: their subscriptions, polled as one stream.

use std::collections::HashMap;

use chat_core::{ChatId, Delivery, Subscription, SyncToken};
use futures::StreamExt as _;
use futures::future::AbortHandle;
use futures::stream::{Abortable, BoxStream, SelectAll, unfold};

/// Most chats that one tab follows.
const MOST_FOLLOWED: usize = 32;

/// What came from one of the chats, and where to go on behind it.
pub(super) struct Followed {
    pub(super) room: ChatId,
    pub(super) delivery: Delivery,
    pub(super) token: SyncToken,
}

/// See the module.
#[derive(Default)]
pub(super) struct Following {
    deliveries: SelectAll<BoxStream<'static, Followed>>,
    stops: HashMap<ChatId, AbortHandle>,
}

impl Following {
    /// Follows a chat, in place of an older subscription to it. Says no if they are too many.
    pub(super) fn start(&mut self, room: ChatId, subscription: Subscription) -> bool {
        self.stop(&room);
        if self.stops.len() >= MOST_FOLLOWED {
            return false;
        }
        let named = room.clone();
        let deliveries = unfold(subscription, move |mut subscription| {
            let room = named.clone();
            async move {
                let delivery = subscription.next().await?;
                let token = subscription.token();
                Some((Followed { room, delivery, token }, subscription))
            }
        });
        let (stop, registration) = AbortHandle::new_pair();
        self.deliveries.push(Abortable::new(deliveries, registration).boxed());
        self.stops.insert(room, stop);
        true
    }

    /// Follows a chat no longer. Nothing of it comes after this.
    pub(super) fn stop(&mut self, room: &ChatId) {
        if let Some(stop) = self.stops.remove(room) {
            stop.abort();
        }
    }

    /// The next from any of the chats; waits if there is none.
    pub(super) async fn next(&mut self) -> Followed {
        // Without any chat the stream ends, and can be asked again when there is one.
        match self.deliveries.next().await {
            Some(followed) => followed,
            None => std::future::pending().await,
        }
    }
}
