//! What can happen in a chat. These are the stored shapes: see `wire` for how they are written.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{ClientMessageId, EventId, UserId, Version};

/// Names a message: the id of the event that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub Uuid);

impl From<EventId> for MessageId {
    fn from(id: EventId) -> Self {
        Self(id.0)
    }
}

impl From<MessageId> for EventId {
    fn from(id: MessageId) -> Self {
        Self(id.0)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for MessageId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// What kind of chat it is; never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatKind {
    /// Has an owner and roles; members come and go.
    Group,
    /// A fixed set of people; its id follows from the set.
    Direct,
    /// One person's notes.
    #[serde(rename = "self")]
    Notes,
}

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Whoever was invited or is added.
    #[default]
    Invited,
    /// Everybody.
    Open,
}

/// What a new member sees of the time before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryVisibility {
    /// Everything.
    #[default]
    Shared,
    /// Nothing before the join.
    Joined,
}

/// How many reactions one member may put on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReactionPolicy {
    /// Several, each key once.
    #[default]
    Distinct,
    /// One; a new one takes the place of the old.
    Unique,
}

/// What a member may do; a later variant outranks an earlier one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Writes and reads.
    #[default]
    Member,
    /// Also adds and removes members and deletes what lower ranks wrote.
    Moderator,
    /// Also gives roles. A group has exactly one.
    Owner,
}

/// A member named at creation or by an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitedMember {
    /// Who.
    pub user: UserId,
    /// As what.
    #[serde(default)]
    pub role: Role,
}

/// A message by id and by its version in the chat's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRef {
    /// Its id.
    pub message: MessageId,
    /// The version of the event that sent it.
    pub seq: Version,
}

/// Something that happened in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatEvent {
    /// The first event of every chat.
    ChatCreated(ChatCreated),
    /// Name, topic or access changed.
    ChatUpdated(ChatUpdated),
    /// Somebody may come in.
    MemberInvited(MemberInvited),
    /// An invitation was taken back.
    InviteRevoked(InviteRevoked),
    /// An invitation was declined.
    InviteDeclined(InviteDeclined),
    /// Somebody is a member from here on.
    MemberJoined(MemberJoined),
    /// A member went.
    MemberLeft(MemberLeft),
    /// A member was removed by another.
    MemberRemoved(MemberRemoved),
    /// A member has another role.
    RoleChanged(RoleChanged),
    /// The owner became a moderator and another member the owner.
    OwnershipTransferred(OwnershipTransferred),
    /// A message.
    MessageSent(MessageSent),
    /// A message has another text.
    MessageEdited(MessageEdited),
    /// A message is gone for everybody.
    MessageDeleted(MessageDeleted),
    /// A reaction was put on a message.
    ReactionAdded(ReactionAdded),
    /// A reaction was taken off a message.
    ReactionRemoved(ReactionRemoved),
    /// A member has read up to somewhere.
    ReadAdvanced(ReadAdvanced),
    /// A member wants to see the chat as unread; only that member is told.
    MarkedUnread(MarkedUnread),
    /// A member took the chat off the own list until something new comes; only that member is told.
    ChatHidden(ChatHidden),
    /// An event of a type or version that this release does not know. Changes nothing here.
    Unknown,
    /// An event whose stored form cannot be read. Changes nothing, and is counted.
    Unreadable,
}

/// See [`ChatEvent::ChatCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatCreated {
    /// Who made it; the owner of a group.
    pub by: UserId,
    /// What it is.
    pub kind: ChatKind,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Members beside the creator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<InvitedMember>,
    /// Who may come in.
    #[serde(default)]
    pub access: Access,
    /// What a new member sees.
    #[serde(default)]
    pub history: HistoryVisibility,
    /// How reactions work.
    #[serde(default)]
    pub reactions: ReactionPolicy,
    /// The host's own key for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_key: Option<String>,
}

/// See [`ChatEvent::ChatUpdated`]. What is `None` stays; an empty text removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatUpdated {
    /// Who changed it.
    pub by: UserId,
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Who may come in from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// See [`ChatEvent::MemberInvited`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInvited {
    /// Who invites.
    pub by: UserId,
    /// Who is invited.
    pub user: UserId,
    /// As what.
    #[serde(default)]
    pub role: Role,
}

/// See [`ChatEvent::InviteRevoked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRevoked {
    /// Who takes it back.
    pub by: UserId,
    /// Whose invitation.
    pub user: UserId,
}

/// See [`ChatEvent::InviteDeclined`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteDeclined {
    /// Who declines.
    pub by: UserId,
}

/// See [`ChatEvent::MemberJoined`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberJoined {
    /// Who acted: the member, or who added the member.
    pub by: UserId,
    /// The member.
    pub user: UserId,
    /// As what; `None`: as invited, else a plain member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// See [`ChatEvent::MemberLeft`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLeft {
    /// Who went.
    pub by: UserId,
}

/// See [`ChatEvent::MemberRemoved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRemoved {
    /// Who removes.
    pub by: UserId,
    /// Who is removed.
    pub user: UserId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`ChatEvent::RoleChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChanged {
    /// Who changes it.
    pub by: UserId,
    /// Whose role.
    pub user: UserId,
    /// The new one.
    pub role: Role,
}

/// See [`ChatEvent::OwnershipTransferred`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipTransferred {
    /// The owner until now.
    pub by: UserId,
    /// The owner from now on.
    pub to: UserId,
}

/// See [`ChatEvent::MessageSent`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSent {
    /// The author.
    pub by: UserId,
    /// The text, byte for byte as given. Emptied when a deleted message is read again.
    pub text: Arc<str>,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageRef>,
    /// The people whom it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    /// It names everybody who is a member at that moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mention_all: bool,
    /// The author's key for it, for the author's other devices to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
}

/// Shows the length of the text only: logs must not hold what people wrote.
impl fmt::Debug for MessageSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSent")
            .field("by", &self.by)
            .field("text_bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// See [`ChatEvent::MessageEdited`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEdited {
    /// Who edited it.
    pub by: UserId,
    /// Which message.
    #[serde(flatten)]
    pub target: MessageRef,
    /// The new text. Emptied when a deleted message is read again.
    pub text: Arc<str>,
    /// The people whom it names now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    /// It names everybody now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mention_all: bool,
}

/// Shows the length of the text only: logs must not hold what people wrote.
impl fmt::Debug for MessageEdited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageEdited")
            .field("by", &self.by)
            .field("target", &self.target)
            .field("text_bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// See [`ChatEvent::MessageDeleted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDeleted {
    /// Who deleted it.
    pub by: UserId,
    /// Which message.
    #[serde(flatten)]
    pub target: MessageRef,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`ChatEvent::ReactionAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionAdded {
    /// Whose.
    pub by: UserId,
    /// On which message.
    #[serde(flatten)]
    pub target: MessageRef,
    /// Which, such as an emoji.
    pub key: String,
}

/// See [`ChatEvent::ReactionRemoved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionRemoved {
    /// Whose.
    pub by: UserId,
    /// Off which message.
    #[serde(flatten)]
    pub target: MessageRef,
    /// Which.
    pub key: String,
}

/// See [`ChatEvent::ReadAdvanced`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAdvanced {
    /// Who read.
    pub by: UserId,
    /// Up to which version, as asked; the fold never goes back and never beyond the chat's end.
    pub up_to: Version,
}

/// See [`ChatEvent::MarkedUnread`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedUnread {
    /// Whose list.
    pub by: UserId,
    /// The first version that counts as unread again.
    pub from: Version,
}

/// See [`ChatEvent::ChatHidden`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatHidden {
    /// Whose list.
    pub by: UserId,
}

impl ChatEvent {
    /// Who did it; `None` for events that this release cannot read.
    #[must_use]
    pub fn actor(&self) -> Option<&UserId> {
        Some(match self {
            Self::ChatCreated(e) => &e.by,
            Self::ChatUpdated(e) => &e.by,
            Self::MemberInvited(e) => &e.by,
            Self::InviteRevoked(e) => &e.by,
            Self::InviteDeclined(e) => &e.by,
            Self::MemberJoined(e) => &e.by,
            Self::MemberLeft(e) => &e.by,
            Self::MemberRemoved(e) => &e.by,
            Self::RoleChanged(e) => &e.by,
            Self::OwnershipTransferred(e) => &e.by,
            Self::MessageSent(e) => &e.by,
            Self::MessageEdited(e) => &e.by,
            Self::MessageDeleted(e) => &e.by,
            Self::ReactionAdded(e) => &e.by,
            Self::ReactionRemoved(e) => &e.by,
            Self::ReadAdvanced(e) => &e.by,
            Self::MarkedUnread(e) => &e.by,
            Self::ChatHidden(e) => &e.by,
            Self::Unknown | Self::Unreadable => return None,
        })
    }

    /// The only user who may see the event; `None`: every member.
    #[must_use]
    pub fn private_to(&self) -> Option<&UserId> {
        match self {
            Self::MarkedUnread(e) => Some(&e.by),
            Self::ChatHidden(e) => Some(&e.by),
            _ => None,
        }
    }

    /// The message whose state it changes, if it is about one that was sent before.
    #[must_use]
    pub fn target(&self) -> Option<MessageRef> {
        match self {
            Self::MessageEdited(e) => Some(e.target),
            Self::MessageDeleted(e) => Some(e.target),
            Self::ReactionAdded(e) => Some(e.target),
            Self::ReactionRemoved(e) => Some(e.target),
            _ => None,
        }
    }

    /// The user whose membership ends with it.
    #[must_use]
    pub fn ended_member(&self) -> Option<&UserId> {
        match self {
            Self::MemberLeft(e) => Some(&e.by),
            Self::MemberRemoved(e) => Some(&e.user),
            _ => None,
        }
    }

    /// The same event without its text, as it is read once its message was deleted.
    #[must_use]
    pub fn without_content(&self) -> Self {
        match self {
            Self::MessageSent(e) => Self::MessageSent(MessageSent {
                text: Arc::from(""),
                mentions: Vec::new(),
                mention_all: false,
                ..e.clone()
            }),
            Self::MessageEdited(e) => Self::MessageEdited(MessageEdited {
                text: Arc::from(""),
                mentions: Vec::new(),
                mention_all: false,
                ..e.clone()
            }),
            other => other.clone(),
        }
    }
}
