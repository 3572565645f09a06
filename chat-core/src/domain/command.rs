//! What can be asked of a chat.

use std::fmt;
use std::sync::Arc;

use super::event::{Access, HistoryVisibility, InvitedMember, MessageRef, ReactionPolicy, Role};
use crate::id::{ClientMessageId, UserId, Version};

/// Whom a message names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mentions {
    /// These people.
    pub users: Vec<UserId>,
    /// Everybody who is a member when the message is stored.
    pub everyone: bool,
}

/// A message to send.
#[derive(Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// Kept byte for byte. Markdown by convention.
    pub text: Arc<str>,
    /// The message that it answers.
    pub reply_to: Option<MessageRef>,
    /// Whom it names.
    pub mentions: Mentions,
    /// The author's key for it.
    pub client_message_id: Option<ClientMessageId>,
}

/// Shows the length of the text only.
impl fmt::Debug for SendMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendMessage({} bytes)", self.text.len())
    }
}

/// A new text for a message.
#[derive(Clone, PartialEq, Eq)]
pub struct EditMessage {
    /// Which message.
    pub target: MessageRef,
    /// The new text.
    pub text: Arc<str>,
    /// Whom it names now.
    pub mentions: Mentions,
    /// The revision that the author saw; another one refuses the edit.
    pub expected_revision: Option<u32>,
}

/// Shows the length of the text only.
impl fmt::Debug for EditMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EditMessage({:?}, {} bytes)", self.target, self.text.len())
    }
}

/// A group to make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewGroup {
    /// Its name.
    pub name: Option<String>,
    /// What it is about.
    pub topic: Option<String>,
    /// Members beside the creator, who becomes the owner.
    pub members: Vec<InvitedMember>,
    /// Who may come in.
    pub access: Access,
    /// What a new member sees of the time before.
    pub history: HistoryVisibility,
    /// How reactions work.
    pub reactions: ReactionPolicy,
    /// The host's own key: the same key always means the same group.
    pub external_key: Option<String>,
}

impl NewGroup {
    /// A group with this name that people are invited to.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Everybody may join.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.access = Access::Open;
        self
    }

    /// What it is about.
    #[must_use]
    pub fn with_topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// With this member from the start.
    #[must_use]
    pub fn with_member(mut self, user: UserId, role: Role) -> Self {
        self.members.push(InvitedMember { user, role });
        self
    }

    /// What a new member sees of the time before.
    #[must_use]
    pub fn with_history(mut self, history: HistoryVisibility) -> Self {
        self.history = history;
        self
    }

    /// How reactions work.
    #[must_use]
    pub fn with_reactions(mut self, reactions: ReactionPolicy) -> Self {
        self.reactions = reactions;
        self
    }

    /// The host's own key for it.
    #[must_use]
    pub fn with_external_key(mut self, key: impl Into<String>) -> Self {
        self.external_key = Some(key.into());
        self
    }
}

/// Something asked of a chat that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatCommand {
    /// Change name, topic or access. `None` stays, an empty text removes.
    Update {
        /// The new name.
        name: Option<String>,
        /// The new topic.
        topic: Option<String>,
        /// Who may come in.
        access: Option<Access>,
    },
    /// Let somebody come in.
    Invite {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// Take an invitation back.
    RevokeInvite {
        /// Whose.
        user: UserId,
    },
    /// Decline the own invitation.
    DeclineInvite,
    /// Come in, by invitation or because the chat is open.
    Join,
    /// Bring somebody in.
    Add {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// Go.
    Leave,
    /// Remove somebody of lower rank.
    Remove {
        /// Who.
        user: UserId,
        /// Why.
        reason: Option<String>,
    },
    /// Give a role below the own.
    ChangeRole {
        /// Whose.
        user: UserId,
        /// The new one.
        role: Role,
    },
    /// Make somebody else the owner.
    TransferOwnership {
        /// Whom.
        to: UserId,
    },
    /// Send a message.
    Send(SendMessage),
    /// Edit an own message.
    Edit(EditMessage),
    /// Delete an own message, or one of a lower rank.
    Delete {
        /// Which.
        target: MessageRef,
        /// Why.
        reason: Option<String>,
    },
    /// Put a reaction on a message.
    React {
        /// Which.
        target: MessageRef,
        /// The reaction.
        key: String,
    },
    /// Take an own reaction off a message.
    Unreact {
        /// Which.
        target: MessageRef,
        /// The reaction.
        key: String,
    },
    /// Say how far the actor has read.
    MarkRead {
        /// Up to this version.
        up_to: Version,
    },
    /// Show the chat as unread to the actor, from a version on.
    MarkUnread {
        /// The first version that counts again.
        from: Version,
    },
    /// Take the chat off the actor's list until something new comes.
    Hide,
}

impl ChatCommand {
    /// The message whose state the decision needs.
    #[must_use]
    pub fn target(&self) -> Option<MessageRef> {
        match self {
            Self::Send(send) => send.reply_to,
            Self::Edit(edit) => Some(edit.target),
            Self::Delete { target, .. }
            | Self::React { target, .. }
            | Self::Unreact { target, .. } => Some(*target),
            Self::Update { .. }
            | Self::Invite { .. }
            | Self::RevokeInvite { .. }
            | Self::DeclineInvite
            | Self::Join
            | Self::Add { .. }
            | Self::Leave
            | Self::Remove { .. }
            | Self::ChangeRole { .. }
            | Self::TransferOwnership { .. }
            | Self::MarkRead { .. }
            | Self::MarkUnread { .. }
            | Self::Hide => None,
        }
    }

    /// As [`target`](Self::target), to be placed.
    pub fn target_mut(&mut self) -> Option<&mut MessageRef> {
        match self {
            Self::Send(send) => send.reply_to.as_mut(),
            Self::Edit(edit) => Some(&mut edit.target),
            Self::Delete { target, .. }
            | Self::React { target, .. }
            | Self::Unreact { target, .. } => Some(target),
            _ => None,
        }
    }
}
