//! Why a chat refuses a command.

use crate::clock::Timestamp;

/// A command that the rules of the chat do not allow. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// There is no such chat, or the actor may not know of it.
    #[error("no such chat")]
    ChatNotFound,
    /// There is a chat with this id already, made otherwise.
    #[error("the chat exists already")]
    ChatExists,
    /// The actor is not a member (any more).
    #[error("not a member of the chat")]
    NotMember,
    /// The actor's role or the kind of chat does not allow it.
    #[error("not allowed: {what}")]
    Forbidden {
        /// What was tried.
        what: &'static str,
    },
    /// The named user is not a member.
    #[error("the user is not a member of the chat")]
    NoSuchMember,
    /// The named user has no open invitation.
    #[error("the user is not invited")]
    NotInvited,
    /// The owner has to transfer the group before leaving it.
    #[error("the owner cannot leave; transfer the group first")]
    LastOwner,
    /// No such message in this chat, or none that the actor may see.
    #[error("no such message")]
    MessageNotFound,
    /// The message was deleted.
    #[error("the message was deleted")]
    MessageGone,
    /// The message was edited meanwhile.
    #[error("the message is at revision {current}")]
    RevisionConflict {
        /// The revision that it has.
        current: u32,
    },
    /// The time for edits is over.
    #[error("the message could be edited until {until:?}")]
    EditWindowPassed {
        /// When it ended.
        until: Timestamp,
    },
    /// A value is above a limit.
    #[error("{name}: {value} is above the limit of {limit}")]
    LimitExceeded {
        /// Which limit.
        name: LimitName,
        /// The value given.
        value: usize,
        /// The greatest value allowed.
        limit: usize,
    },
    /// A value makes no sense.
    #[error("invalid argument: {what}")]
    InvalidArgument {
        /// What is wrong.
        what: &'static str,
    },
}

/// The limits of a chat, by the names that `Limits` has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitName {
    /// Characters of a text.
    TextChars,
    /// Bytes of an event.
    EventBytes,
    /// Characters of a name.
    NameChars,
    /// Characters of a topic or reason.
    TopicChars,
    /// People named in a message.
    Mentions,
    /// Bytes of a reaction's key.
    ReactionBytes,
    /// Different reactions on a message.
    ReactionsPerMessage,
    /// Reactions of a member on a message.
    ReactionsPerMember,
    /// Edits of a message.
    EditsPerMessage,
    /// Members of a direct chat.
    DirectMembers,
    /// Members named at creation.
    InitialMembers,
    /// Open invitations.
    Invites,
}

impl std::fmt::Display for LimitName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TextChars => "characters of the text",
            Self::EventBytes => "bytes of the event",
            Self::NameChars => "characters of the name",
            Self::TopicChars => "characters of the topic or reason",
            Self::Mentions => "mentions in a message",
            Self::ReactionBytes => "bytes of the reaction",
            Self::ReactionsPerMessage => "different reactions on a message",
            Self::ReactionsPerMember => "reactions of a member on a message",
            Self::EditsPerMessage => "edits of a message",
            Self::DirectMembers => "members of a direct chat",
            Self::InitialMembers => "members named at creation",
            Self::Invites => "open invitations",
        })
    }
}
