//! A chat without store and engine: commands are decided and folded in memory, one after the other.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::domain::{
    ChatCommand, ChatCreated, ChatEvent, ChatState, Context, Decision, Limits, MessageRef,
    MessageState, NewGroup, Rejection, decide, decide_creation,
};
use crate::engine::ChatRecord;
use crate::id::{UserId, Version};
use crate::testkit::fixture::event_id;

/// A chat as the rules alone make it.
#[derive(Debug, Clone)]
pub struct PureChat {
    /// The fold of the log.
    pub state: ChatState,
    /// The folds of the messages, by the version that sent them.
    pub messages: BTreeMap<Version, MessageState>,
    /// What happened.
    pub log: Vec<ChatRecord>,
    /// What is allowed.
    pub limits: Limits,
    /// The time at which the next command is decided.
    pub now: Timestamp,
}

impl PureChat {
    /// A chat that does not exist.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            state: ChatState::default(),
            messages: BTreeMap::new(),
            log: Vec::new(),
            limits: Limits::default(),
            now: Timestamp(1_700_000_000_000),
        }
    }

    /// A chat that begins with this event.
    #[must_use]
    pub fn created(event: ChatCreated) -> Self {
        let mut chat = Self::empty();
        chat.fold(ChatEvent::ChatCreated(event));
        chat
    }

    /// A group, made by its owner.
    ///
    /// # Panics
    /// If the rules refuse the group.
    #[must_use]
    pub fn group(owner: &UserId, group: &NewGroup) -> Self {
        let created = decide_creation(owner, group, &Limits::default());
        Self::created(created.unwrap_or_else(|refused| panic!("no group: {refused}")))
    }

    /// The direct chat of two or more people, or the notes of one.
    ///
    /// # Panics
    /// If the rules refuse the chat.
    #[must_use]
    pub fn direct(actor: &UserId, others: &[UserId]) -> Self {
        let created = ChatCreated::direct(actor, others, &Limits::default());
        Self::created(created.unwrap_or_else(|refused| panic!("no direct chat: {refused}")).1)
    }

    /// What the chat answers. Nothing happens.
    ///
    /// # Errors
    /// As the rules say.
    pub fn decide(&self, actor: &UserId, command: &ChatCommand) -> Result<Decision, Rejection> {
        let target = command.target().and_then(|target| {
            self.messages.get(&target.seq).filter(|message| message.id == target.message)
        });
        let (chat, limits, now) = (&self.state, &self.limits, self.now);
        decide(&Context { chat, actor, now, limits, target }, command)
    }

    /// What the chat answers; if it is an event, it happens.
    ///
    /// # Errors
    /// As the rules say.
    pub fn ask(&mut self, actor: &UserId, command: &ChatCommand) -> Result<Decision, Rejection> {
        let decision = self.decide(actor, command)?;
        if let Decision::Event(event) = &decision {
            self.fold(event.clone());
        }
        Ok(decision)
    }

    /// Something that must happen; the event's version.
    ///
    /// # Panics
    /// If the rules refuse it, or if nothing had to change.
    pub fn must(&mut self, actor: &UserId, command: &ChatCommand) -> Version {
        match self.ask(actor, command) {
            Ok(Decision::Event(_)) => self.state.version,
            other => panic!("{actor:?}: {command:?} must happen, got {other:?}"),
        }
    }

    /// Something that happened; the event's version.
    pub fn fold(&mut self, event: ChatEvent) -> Version {
        let (version, at) = (self.state.version.next(), self.now.max(self.state.recorded_at));
        self.replay(ChatRecord { version, id: event_id(version.0), at, event });
        version
    }

    /// Something that happened in another chat happens in this one, as it is.
    pub fn replay(&mut self, record: ChatRecord) {
        let ChatRecord { version, id, at, event } = record;
        self.state.apply(version, at, &event);
        let policy = self.state.reactions;
        if let ChatEvent::MessageSent(sent) = &event {
            self.messages.insert(version, MessageState::sent(id.into(), version, at, sent));
        }
        if let Some(target) = event.target()
            && let Some(message) = self.messages.get_mut(&target.seq)
        {
            message.apply(version, at, &event, policy);
        }
        self.log.push(ChatRecord { version, id, at, event });
    }

    /// The message that was sent at a version.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn message(&self, seq: Version) -> &MessageState {
        self.messages.get(&seq).unwrap_or_else(|| panic!("{seq} sent no message"))
    }

    /// How a command names the message that was sent at a version.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn at(&self, seq: Version) -> MessageRef {
        self.message(seq).reference()
    }
}
