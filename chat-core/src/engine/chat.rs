//! What a user does in one chat.

use std::sync::{Arc, Mutex, Weak};

use super::builder::Owner;
use super::cell::ChatCell;
use super::error::ChatError;
use super::execute::{Ack, Asked, Keyed, execute};
use super::follower::Follower;
use super::history::{
    HistoryPage, HistoryQuery, MemberPage, MemberQuery, MessageVersion, ReadState,
};
use super::list::ChatSummary;
use super::presence;
use super::shared::{Shared, lock};
use super::subscription::{SubscribeFrom, Subscription};
use super::token::SyncToken;
use crate::domain::{
    Access, ChatCommand, EditMessage, Mentions, MessageId, MessageRef, MessageState, Rejection,
    Role, SendMessage, command_event_id, message_event_id, readable,
};
use crate::id::{ChatId, ClientMessageId, CommandId, UserId, Version};

/// One chat, seen and used by one user. Copies are cheap.
///
/// # Commands
/// Each command is carried out once: with a key (a client message id, a command id) it can be
/// repeated at any later time, from any process, and gives its first answer again, marked as
/// deduplicated. (An answer that said that nothing had to change is not kept: the repeat is decided
/// anew.) It takes effect only if the rules allow it at the very place in the log where it
/// lands.
///
/// # Errors of commands
/// [`ChatError::Rejected`] if the rules do not allow it, [`ChatError::IdempotencyConflict`] if the
/// key was used for something else, [`ChatError::Overloaded`], [`ChatError::ShuttingDown`], or what
/// the store says.
///
/// # Cancel safety of commands
/// Once a command was accepted it goes its way, whether or not its future is dropped. Repeating it
/// with the same key tells how it ended.
#[derive(Debug, Clone)]
pub struct ChatHandle {
    owner: Arc<Owner>,
    user: UserId,
    chat: ChatId,
    /// The chat in memory when it was used last. Weak, so that a handle keeps no chat there.
    cell: Arc<Mutex<Weak<ChatCell>>>,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct NewMessage {
    text: Arc<str>,
    reply_to: Option<MessageId>,
    mentions: Mentions,
    client_message_id: Option<ClientMessageId>,
}

impl NewMessage {
    /// A message with this text, kept byte for byte.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            reply_to: None,
            mentions: Mentions::default(),
            client_message_id: None,
        }
    }

    /// The key that makes sending safe to repeat. A UUIDv7 is the cheapest for the store.
    pub fn with_client_id(mut self, id: ClientMessageId) -> Self {
        self.client_message_id = Some(id);
        self
    }

    /// Answers another message.
    pub fn reply_to(mut self, message: MessageId) -> Self {
        self.reply_to = Some(message);
        self
    }

    /// Names a user.
    pub fn mention(mut self, user: UserId) -> Self {
        self.mentions.users.push(user);
        self
    }

    /// Names everybody who is a member when the message is stored.
    pub fn mention_all(mut self) -> Self {
        self.mentions.everyone = true;
        self
    }
}

/// A new text for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct MessageEdit {
    text: Arc<str>,
    mentions: Mentions,
    expected_revision: Option<u32>,
}

impl MessageEdit {
    /// This text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), mentions: Mentions::default(), expected_revision: None }
    }

    /// Names a user.
    pub fn mention(mut self, user: UserId) -> Self {
        self.mentions.users.push(user);
        self
    }

    /// Names everybody.
    pub fn mention_all(mut self) -> Self {
        self.mentions.everyone = true;
        self
    }

    /// Only if the message is at this revision.
    pub fn expecting_revision(mut self, revision: u32) -> Self {
        self.expected_revision = Some(revision);
        self
    }
}

impl<T: Into<Arc<str>>> From<T> for MessageEdit {
    fn from(text: T) -> Self {
        Self::text(text)
    }
}

/// What to change of a chat. `None` stays, an empty text removes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatUpdate {
    /// The new name.
    pub name: Option<String>,
    /// The new topic.
    pub topic: Option<String>,
    /// Who may come in.
    pub access: Option<Access>,
}

/// A chat as it is when somebody opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenChat {
    /// What the user's list says of it.
    pub summary: ChatSummary,
    /// The newest messages.
    pub page: HistoryPage,
    /// Subscribing from here gives everything that is not in this look, and nothing that is.
    pub token: SyncToken,
}

impl ChatHandle {
    pub(super) fn new(owner: Arc<Owner>, user: UserId, chat: ChatId) -> Self {
        Self { owner, user, chat, cell: Arc::default() }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    fn cell(&self) -> Result<Arc<ChatCell>, ChatError> {
        let mut known = lock(&self.cell);
        if let Some(cell) = known.upgrade() {
            self.shared().touch(&cell);
            return Ok(cell);
        }
        let cell = self.shared().cell(&self.chat)?;
        *known = Arc::downgrade(&cell);
        Ok(cell)
    }

    /// The chat's id.
    #[must_use]
    pub fn id(&self) -> &ChatId {
        &self.chat
    }

    /// The user who acts.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Sends a message.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn send(&self, message: NewMessage) -> Result<Ack, ChatError> {
        let reply_to = message.reply_to.map(unplaced);
        let (id, keyed) = match &message.client_message_id {
            Some(key) => (message_event_id(&self.chat, &self.user, key), Keyed::Yes),
            None => (self.shared().ids.event_id(self.shared().clock.now()), Keyed::No),
        };
        let mut command = ChatCommand::Send(SendMessage {
            text: message.text,
            reply_to,
            mentions: message.mentions,
            client_message_id: message.client_message_id,
        });
        let cell = self.cell()?;
        Self::place(&cell, &mut command);
        let asked = Asked::Command(command);
        execute(self.shared(), &cell, self.user.clone(), asked, id, keyed).await
    }

    /// Carries out any command but sending, which is [`send`](Self::send)'s.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn command(
        &self,
        mut command: ChatCommand,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        if matches!(command, ChatCommand::Send(_)) {
            // A message's key is the client message id; a second key would let it in twice.
            let what = "a message is sent by `send`";
            return Err(Rejection::InvalidArgument { what }.into());
        }
        let (id, keyed) = match &key {
            Some(key) => (command_event_id(&self.chat, &self.user, key), Keyed::Yes),
            None => (self.shared().ids.event_id(self.shared().clock.now()), Keyed::No),
        };
        let cell = self.cell()?;
        Self::place(&cell, &mut command);
        let asked = Asked::Command(command);
        execute(self.shared(), &cell, self.user.clone(), asked, id, keyed).await
    }

    /// Says where the message stands that the command is about, if that is at hand. If not, the
    /// chat's queue finds it, so that commands keep the order in which they were given.
    fn place(cell: &ChatCell, command: &mut ChatCommand) {
        if let Some(target) = command.target_mut() {
            let place = cell.lock().messages.place(target.message);
            target.seq = place.unwrap_or(Version::MAX);
        }
    }

    /// Edits an own message.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn edit(
        &self,
        message: MessageId,
        edit: impl Into<MessageEdit>,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        let MessageEdit { text, mentions, expected_revision } = edit.into();
        let target = unplaced(message);
        let edit = EditMessage { target, text, mentions, expected_revision };
        self.command(ChatCommand::Edit(edit), key).await
    }

    /// Deletes a message for everybody, for ever.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn delete(
        &self,
        message: MessageId,
        reason: Option<String>,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::Delete { target: unplaced(message), reason }, key).await
    }

    /// Puts a reaction on a message.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn react(
        &self,
        message: MessageId,
        reaction: impl Into<String>,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        let (target, reaction) = (unplaced(message), reaction.into());
        self.command(ChatCommand::React { target, key: reaction }, key).await
    }

    /// Takes an own reaction off a message.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn unreact(
        &self,
        message: MessageId,
        reaction: impl Into<String>,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        let (target, reaction) = (unplaced(message), reaction.into());
        self.command(ChatCommand::Unreact { target, key: reaction }, key).await
    }

    /// Says how far the user has read. Never goes back; beyond the end it means the end.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn mark_read(
        &self,
        up_to: Version,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::MarkRead { up_to }, key).await
    }

    /// Shows the chat as unread to this user, from a version on, until the next read. Nobody else
    /// is told.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn mark_unread(
        &self,
        from: Version,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::MarkUnread { from }, key).await
    }

    /// Takes the chat off the user's list until something new comes.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn hide(&self, key: Option<CommandId>) -> Result<Ack, ChatError> {
        self.command(ChatCommand::Hide, key).await
    }

    /// Comes in: the chat is open, or the user is invited.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn join(&self, key: Option<CommandId>) -> Result<Ack, ChatError> {
        self.command(ChatCommand::Join, key).await
    }

    /// Goes.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn leave(&self, key: Option<CommandId>) -> Result<Ack, ChatError> {
        self.command(ChatCommand::Leave, key).await
    }

    /// Brings somebody in.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn add(
        &self,
        user: UserId,
        role: Role,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::Add { user, role }, key).await
    }

    /// Lets somebody come in.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn invite(
        &self,
        user: UserId,
        role: Role,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::Invite { user, role }, key).await
    }

    /// Takes an invitation back.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn revoke_invite(
        &self,
        user: UserId,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::RevokeInvite { user }, key).await
    }

    /// Declines the user's invitation.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn decline_invite(&self, key: Option<CommandId>) -> Result<Ack, ChatError> {
        self.command(ChatCommand::DeclineInvite, key).await
    }

    /// Removes a member of lower rank.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn remove(
        &self,
        user: UserId,
        reason: Option<String>,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::Remove { user, reason }, key).await
    }

    /// Gives a role below the own to a member of lower rank.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn change_role(
        &self,
        user: UserId,
        role: Role,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::ChangeRole { user, role }, key).await
    }

    /// Makes another member the owner; the owner until now becomes a moderator.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn transfer_ownership(
        &self,
        to: UserId,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        self.command(ChatCommand::TransferOwnership { to }, key).await
    }

    /// Changes name, topic or access.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn update(
        &self,
        update: ChatUpdate,
        key: Option<CommandId>,
    ) -> Result<Ack, ChatError> {
        let ChatUpdate { name, topic, access } = update;
        self.command(ChatCommand::Update { name, topic, access }, key).await
    }

    /// The chat as it is now, with its newest messages and the place to subscribe from, in one look.
    ///
    /// # Errors
    /// [`Rejection::NotMember`] or [`Rejection::ChatNotFound`] for whoever is no member; see
    /// [`ChatError`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn open(&self, limit: usize) -> Result<OpenChat, ChatError> {
        let cell = self.cell()?;
        let shared = self.shared();
        // Asked first: an epoch that changes meanwhile makes the token one of the old log.
        let epoch = shared.epoch().await?;
        let (summary, page) = shared.open(&cell, &self.user, limit).await?;
        let token = SyncToken::seal(&shared.token_key, &self.user, &self.chat, epoch, page.version);
        Ok(OpenChat { summary, page, token })
    }

    /// A page of messages. At most [`EngineConfig::history_page`](super::EngineConfig) of them.
    ///
    /// # Errors
    /// As [`open`](Self::open); whoever was a member may read up to the end of the membership.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Cost
    /// Follows the page: one range read of the events, at most one of what changed since.
    pub async fn history(
        &self,
        query: HistoryQuery,
        limit: usize,
    ) -> Result<HistoryPage, ChatError> {
        self.shared().history(&self.cell()?, &self.user, query, limit).await
    }

    /// A message as it stands.
    ///
    /// # Errors
    /// [`Rejection::MessageNotFound`]; as [`history`](Self::history).
    pub async fn message(&self, id: MessageId) -> Result<Arc<MessageState>, ChatError> {
        self.shared().message(&self.cell()?, &self.user, id).await
    }

    /// The texts that a message had, oldest first; none once it was deleted.
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub async fn versions(&self, id: MessageId) -> Result<Vec<MessageVersion>, ChatError> {
        self.shared().versions(&self.cell()?, &self.user, id).await
    }

    /// A page of members, for members.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn members(&self, query: MemberQuery) -> Result<MemberPage, ChatError> {
        self.shared().members(&self.cell()?, &self.user, &query).await
    }

    /// How far the user has read, and how much is unread.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn read_state(&self) -> Result<ReadState, ChatError> {
        self.shared().read_state(&self.cell()?, &self.user).await
    }

    /// Follows the chat.
    ///
    /// # Errors
    /// [`ChatError::InvalidToken`]; as [`open`](Self::open). A token that is valid but of another
    /// log is no error: the subscription then says so as its end.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn subscribe(&self, from: SubscribeFrom) -> Result<Subscription, ChatError> {
        Subscription::open(self.shared(), &self.cell()?, &self.user, from).await
    }

    /// Follows the chat for as long as the user may read it, going on by itself after every
    /// interruption: with the chat as it is now, with at most `limit` messages, then everything
    /// that happens. With a token it goes on from there instead, as far as that is possible.
    #[must_use]
    pub fn follow(&self, limit: usize, from: Option<SyncToken>) -> Follower {
        Follower::new(self.clone(), limit, from)
    }

    pub(super) fn random_byte(&self) -> u8 {
        self.shared().ids.secret().first().copied().unwrap_or_default()
    }

    /// Says that the user types, or stopped. Lapses by itself; a message ends it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn typing(&self, on: bool) -> Result<(), ChatError> {
        let cell = self.cell()?;
        // Whoever is live here follows the chat anyway; typing comes often.
        let follows = cell.lock().tail.is_some();
        if !follows {
            self.shared().refresh(&cell).await?;
        }
        self.must_be_member(&cell)?;
        presence::typing(self.shared(), &cell, &self.user, on);
        Ok(())
    }

    fn must_be_member(&self, cell: &ChatCell) -> Result<(), Rejection> {
        let inner = cell.lock();
        let is_member = readable(&inner.state, &self.user)?.is_active();
        if is_member { Ok(()) } else { Err(Rejection::NotMember) }
    }

    /// The members who are online, for members.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn online(&self) -> Result<Vec<UserId>, ChatError> {
        let cell = self.cell()?;
        self.shared().refresh(&cell).await?;
        self.must_be_member(&cell)?;
        Ok(presence::online_members(self.shared(), &cell))
    }
}

/// A message whose place is not known yet.
fn unplaced(message: MessageId) -> MessageRef {
    MessageRef { message, seq: Version::ZERO }
}
