//! What a user does outside of any one chat.

use std::sync::Arc;

use super::builder::Owner;
use super::chat::ChatHandle;
use super::error::ChatError;
use super::execute::{Ack, Asked, Keyed, execute};
use super::list::{self, ChatListQuery, ChatPage};
use super::presence::PresenceGuard;
use super::shared::Shared;
use super::watch::ChatWatch;
use crate::domain::{ChatCreated, NewGroup, command_event_id, creation_event_id, decide_creation};
use crate::id::{ChatId, CommandId, UserId};

/// Acts as one user. Copies are cheap.
#[derive(Debug, Clone)]
pub struct UserHandle {
    owner: Arc<Owner>,
    user: UserId,
}

/// A chat that was made, or found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// Its id.
    pub chat: ChatId,
    /// The answer to the command.
    pub ack: Ack,
}

impl UserHandle {
    pub(super) fn new(owner: Arc<Owner>, user: UserId) -> Self {
        Self { owner, user }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// A chat, seen and used by this user. Costs nothing and says nothing about the chat.
    #[must_use]
    pub fn chat(&self, chat: &ChatId) -> ChatHandle {
        ChatHandle::new(Arc::clone(&self.owner), self.user.clone(), chat.clone())
    }

    /// Makes a group, owned by this user.
    ///
    /// With an external key the same key always means the same group: if there is one, it is found
    /// and left as it is. Without, the same command id means the same group.
    ///
    /// # Errors
    /// [`ChatError::Rejected`] if a value is out of bounds; [`ChatError::IdempotencyConflict`] if
    /// the command id made another group; see [`ChatError`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the group made or not; repeating the call with the same command
    /// id or external key settles it.
    pub async fn create_group(
        &self,
        group: NewGroup,
        command: Option<CommandId>,
    ) -> Result<Created, ChatError> {
        let created = decide_creation(&self.user, &group, &self.shared().limits)?;
        let (chat, existing_is_fine) = match (created.derived_id(), &command) {
            (Some(chat), _) => (chat, true),
            (None, Some(command)) => (group_id(&self.user, command)?, false),
            (None, None) => {
                let id = self.shared().ids.event_id(self.shared().clock.now());
                let chat = ChatId::new(format!("group-{}", id.0.simple()));
                (chat.map_err(super::shared::bug)?, false)
            }
        };
        self.create(chat, created, existing_is_fine).await
    }

    /// The direct chat of this user and these people; made if there is none yet. The order does not
    /// matter, nor does it whether this user is among them. With nobody else: the user's notes.
    ///
    /// # Errors
    /// [`ChatError::Rejected`] if they are too many; see [`ChatError`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the chat made or not; repeating the call settles it.
    pub async fn open_direct(&self, others: &[UserId]) -> Result<Created, ChatError> {
        let (chat, created) = ChatCreated::direct(&self.user, others, &self.shared().limits)?;
        self.create(chat, created, true).await
    }

    async fn create(
        &self,
        chat: ChatId,
        created: ChatCreated,
        existing_is_fine: bool,
    ) -> Result<Created, ChatError> {
        let cell = self.shared().cell(&chat)?;
        // Whoever makes the chat, the event is the same one.
        let id = creation_event_id(&chat);
        let asked = Asked::Create { created, existing_is_fine };
        let ack = execute(self.shared(), &cell, self.user.clone(), asked, id, Keyed::Yes).await?;
        Ok(Created { chat, ack })
    }

    /// A page of the user's chats, last activity first, with exact counts.
    ///
    /// # Errors
    /// See [`ChatError`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Cost
    /// Follows the page, not the number of chats or messages: one range read, one look at the
    /// heads of the chats in the page, and a load for each of them that is not in memory.
    pub async fn chats(&self, query: ChatListQuery) -> Result<ChatPage, ChatError> {
        list::page(self.shared(), &self.user, &query).await
    }

    /// Tells when something in the user's list may have changed, from now on.
    #[must_use]
    pub fn watch(&self) -> ChatWatch {
        ChatWatch::new(Arc::clone(self.shared()), self.user.clone())
    }

    /// Says that the user is here, with one device, for as long as the guard lives.
    #[must_use]
    pub fn connect(&self) -> PresenceGuard {
        PresenceGuard::new(Arc::clone(self.shared()), self.user.clone())
    }
}

/// The group that a command makes, when neither the host nor the members name it.
fn group_id(user: &UserId, command: &CommandId) -> Result<ChatId, ChatError> {
    let place = ChatId::new("new-group").map_err(super::shared::bug)?;
    let id = command_event_id(&place, user, command);
    ChatId::new(format!("group-{}", id.0.simple())).map_err(super::shared::bug)
}
