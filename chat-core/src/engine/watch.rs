//! Tells a user's devices that something in the user's list of chats may have changed. A hint: who
//! is told asks the list again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;

use super::shared::{Shared, lock};
use crate::domain::ChatState;
use crate::id::{ChatId, UserId};

/// The watches of this process.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    by_user: Mutex<HashMap<UserId, Vec<Weak<Changes>>>>,
}

/// What one watch was told and has not given out yet. Bounded by the number of chats of its user.
#[derive(Debug, Default)]
struct Changes {
    chats: Mutex<BTreeSet<ChatId>>,
    wake: Notify,
}

impl Watchers {
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.by_user).is_empty()
    }

    /// Tells every member of a chat who watches.
    pub(super) fn tell_members(&self, state: &ChatState, chat: &ChatId) {
        let users: Vec<UserId> = {
            let by_user = lock(&self.by_user);
            // The smaller side is gone through: many watch, or many are members.
            if state.members.len() <= by_user.len() {
                let members = state.active_members().map(|(user, _)| user);
                members.filter(|user| by_user.contains_key(*user)).cloned().collect()
            } else {
                by_user.keys().filter(|user| state.active(user).is_some()).cloned().collect()
            }
        };
        for user in users {
            self.tell(&user, chat);
        }
    }

    pub(super) fn tell(&self, user: &UserId, chat: &ChatId) {
        let mut by_user = lock(&self.by_user);
        let Some(watches) = by_user.get_mut(user) else {
            return;
        };
        watches.retain(|watch| {
            let Some(changes) = watch.upgrade() else {
                return false;
            };
            lock(&changes.chats).insert(chat.clone());
            changes.wake.notify_one();
            true
        });
        if watches.is_empty() {
            by_user.remove(user);
        }
    }
}

/// Gives the chats whose entry in the user's list may have changed. Dropping it ends the watch.
#[derive(Debug)]
pub struct ChatWatch {
    changes: Arc<Changes>,
    shared: Arc<Shared>,
    user: UserId,
}

impl ChatWatch {
    pub(super) fn new(shared: Arc<Shared>, user: UserId) -> Self {
        let changes = Arc::new(Changes::default());
        let mut by_user = lock(&shared.watchers.by_user);
        by_user.entry(user.clone()).or_default().push(Arc::downgrade(&changes));
        drop(by_user);
        Self { changes, shared, user }
    }

    /// The next chat whose entry may have changed; several changes of one chat are one. `None` when
    /// the engine has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ChatId> {
        loop {
            if let Some(chat) = lock(&self.changes.chats).pop_first() {
                return Some(chat);
            }
            if self.shared.is_stopped() {
                return None;
            }
            tokio::select! {
                () = self.changes.wake.notified() => {}
                () = self.shared.stopped() => {}
            }
        }
    }
}

impl Drop for ChatWatch {
    fn drop(&mut self) {
        let mut by_user = lock(&self.shared.watchers.by_user);
        if let Some(watches) = by_user.get_mut(&self.user) {
            let own = Arc::downgrade(&self.changes);
            watches.retain(|watch| !watch.ptr_eq(&own));
            if watches.is_empty() {
                by_user.remove(&self.user);
            }
        }
    }
}
