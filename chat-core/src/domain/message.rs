//! What has become of one message: a fold over the events that are about it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{ChatEvent, MessageId, MessageRef, MessageSent, ReactionPolicy};
use crate::clock::Timestamp;
use crate::id::{ClientMessageId, UserId, Version};

/// A message as it stands after the event [`at`](Self::at).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageState {
    /// Its id.
    pub id: MessageId,
    /// Its place in the chat.
    pub seq: Version,
    /// The last event that is folded in here.
    pub at: Version,
    /// Who wrote it.
    pub author: UserId,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// The author's key for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// The text now; empty if deleted.
    pub text: Arc<str>,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageRef>,
    /// Whom it names now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    /// It names everybody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mention_all: bool,
    /// The events that edited it. The revision is their number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Version>,
    /// When it was edited last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// If it was deleted: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deletion>,
    /// Who reacted with what, in the order of coming.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reactions: BTreeMap<String, Vec<UserId>>,
}

/// How a message was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// By whom.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Shows no text: logs must not hold what people wrote.
impl fmt::Debug for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageState")
            .field("id", &self.id)
            .field("seq", &self.seq)
            .field("at", &self.at)
            .field("author", &self.author)
            .field("text_bytes", &self.text.len())
            .field("revision", &self.revision())
            .field("deleted", &self.deleted.is_some())
            .field("reactions", &self.reactions.len())
            .finish_non_exhaustive()
    }
}

impl MessageState {
    /// A message as it was sent.
    #[must_use]
    pub fn sent(id: MessageId, seq: Version, sent_at: Timestamp, event: &MessageSent) -> Self {
        Self {
            id,
            seq,
            at: seq,
            author: event.by.clone(),
            sent_at,
            client_message_id: event.client_message_id.clone(),
            text: event.text.clone(),
            reply_to: event.reply_to,
            mentions: event.mentions.clone(),
            mention_all: event.mention_all,
            edits: Vec::new(),
            edited_at: None,
            deleted: None,
            reactions: BTreeMap::new(),
        }
    }

    /// How often it was edited.
    #[must_use]
    pub fn revision(&self) -> u32 {
        u32::try_from(self.edits.len()).unwrap_or(u32::MAX)
    }

    /// Its id and place.
    #[must_use]
    pub fn reference(&self) -> MessageRef {
        MessageRef { message: self.id, seq: self.seq }
    }

    /// Folds an event of the chat in. Events that are folded in already, or are about another
    /// message, change nothing.
    pub fn apply(
        &mut self,
        version: Version,
        at: Timestamp,
        event: &ChatEvent,
        policy: ReactionPolicy,
    ) {
        let about_this = event.target().is_some_and(|target| target.seq == self.seq);
        if version <= self.at || !about_this {
            return;
        }
        self.at = version;
        if self.deleted.is_some() {
            return;
        }
        match event {
            ChatEvent::MessageEdited(e) => {
                self.text = e.text.clone();
                self.mentions = e.mentions.clone();
                self.mention_all = e.mention_all;
                self.edits.push(version);
                self.edited_at = Some(at);
            }
            ChatEvent::MessageDeleted(e) => {
                self.deleted = Some(Deletion { by: e.by.clone(), at, reason: e.reason.clone() });
                self.text = Arc::from("");
                self.mentions.clear();
                self.mention_all = false;
                self.edits.clear();
                self.reactions.clear();
            }
            ChatEvent::ReactionAdded(e) => self.react(&e.key, &e.by, policy),
            ChatEvent::ReactionRemoved(e) => self.unreact(&e.key, &e.by),
            _ => {}
        }
    }

    /// Whether this member has put this reaction on it.
    #[must_use]
    pub fn has_reaction(&self, key: &str, user: &UserId) -> bool {
        self.reactions.get(key).is_some_and(|users| users.contains(user))
    }

    fn react(&mut self, key: &str, user: &UserId, policy: ReactionPolicy) {
        if self.has_reaction(key, user) {
            return;
        }
        if policy == ReactionPolicy::Unique {
            self.reactions.retain(|_, users| {
                users.retain(|other| other != user);
                !users.is_empty()
            });
        }
        self.reactions.entry(key.to_owned()).or_default().push(user.clone());
    }

    fn unreact(&mut self, key: &str, user: &UserId) {
        if let Some(users) = self.reactions.get_mut(key) {
            users.retain(|other| other != user);
            if users.is_empty() {
                self.reactions.remove(key);
            }
        }
    }
}
