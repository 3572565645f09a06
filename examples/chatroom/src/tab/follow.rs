//! The chats that a tab follows at one time. A task of its own reads each subscription, so that the
//! engine's futures are always driven, however long the connection is busy with something else: a
//! future that is left standing may hold a turn that everybody else in that chat waits for.

use std::collections::HashMap;

use chat_core::{ChatId, Delivery, Subscription, SyncToken};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// Most chats that one tab follows.
const MOST_FOLLOWED: usize = 32;
/// Deliveries that wait for the connection. When they are this many, the subscriptions are not
/// read on, and the engine decides when one lags too far.
const WAITING: usize = 8;

/// What came from one of the chats, and where to go on behind it.
pub(super) struct Followed {
    pub(super) room: ChatId,
    pub(super) delivery: Delivery,
    pub(super) token: SyncToken,
    round: u64,
}

/// See the module. Dropping it ends its tasks.
pub(super) struct Following {
    sender: mpsc::Sender<Followed>,
    receiver: mpsc::Receiver<Followed>,
    readers: JoinSet<()>,
    rooms: HashMap<ChatId, (u64, AbortHandle)>,
    rounds: u64,
}

impl Following {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver, readers: JoinSet::new(), rooms: HashMap::new(), rounds: 0 }
    }

    /// Follows a chat, in place of an older subscription to it. Says no if they are too many.
    pub(super) fn start(&mut self, room: ChatId, subscription: Subscription) -> bool {
        self.stop(&room);
        while self.readers.try_join_next().is_some() {}
        if self.rooms.len() >= MOST_FOLLOWED {
            return false;
        }
        self.rounds += 1;
        let round = self.rounds;
        let reader = read(room.clone(), round, subscription, self.sender.clone());
        self.rooms.insert(room, (round, self.readers.spawn(reader)));
        true
    }

    /// Follows a chat no longer. Nothing of it comes after this.
    pub(super) fn stop(&mut self, room: &ChatId) {
        if let Some((_, reader)) = self.rooms.remove(room) {
            reader.abort();
        }
    }

    /// The next from any of the chats; waits if there is none.
    pub(super) async fn next(&mut self) -> Followed {
        loop {
            let Some(followed) = self.receiver.recv().await else {
                return std::future::pending().await;
            };
            // What was under way when its chat was stopped or begun anew is not wanted any more.
            if self.rooms.get(&followed.room).is_some_and(|(round, _)| *round == followed.round) {
                return followed;
            }
        }
    }
}

async fn read(
    room: ChatId,
    round: u64,
    mut subscription: Subscription,
    sender: mpsc::Sender<Followed>,
) {
    while let Some(delivery) = subscription.next().await {
        let token = subscription.token();
        let followed = Followed { room: room.clone(), delivery, token, round };
        if sender.send(followed).await.is_err() {
            return;
        }
    }
}
