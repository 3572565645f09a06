//! What a chat knows of one member, past or present.

use serde::{Deserialize, Serialize};

use super::chat::ChatState;
use super::event::{Access, HistoryVisibility, Role};
use super::rejection::Rejection;
use crate::clock::Timestamp;
use crate::id::{UserId, Version};

/// Whether somebody is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// Is a member.
    Active,
    /// Went, with the event of this version.
    Left(Version),
    /// Was removed, with the event of this version.
    Removed(Version),
}

/// One member, past or present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The role, or the last one.
    pub role: Role,
    /// Whether the user is a member now.
    pub membership: Membership,
    /// The event that brought the user in (the last time).
    pub joined: Version,
    /// When that was.
    pub joined_at: Timestamp,
    /// Read up to here; never goes back.
    pub read: Version,
    /// Marked as unread from here on; cleared by the next read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked_unread: Option<Version>,
    /// Taken off the own list with the event of this version; back with the next message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_at: Option<Version>,
    /// What the user may see, as closed ranges of versions; the last is open while active.
    visible: Vec<(Version, Version)>,
}

impl Member {
    /// Most separate ranges that are kept; of somebody who comes and goes more often than that in
    /// a chat that hides the past, the oldest are forgotten.
    const MAX_RANGES: usize = 64;

    pub(super) fn new(
        role: Role,
        version: Version,
        at: Timestamp,
        history: HistoryVisibility,
    ) -> Self {
        Self {
            role,
            membership: Membership::Active,
            joined: version,
            joined_at: at,
            read: version,
            marked_unread: None,
            hidden_at: None,
            visible: vec![(first_visible(version, history), Version::MAX)],
        }
    }

    pub(super) fn rejoin(
        &mut self,
        role: Role,
        version: Version,
        at: Timestamp,
        history: HistoryVisibility,
    ) {
        self.role = role;
        self.membership = Membership::Active;
        self.joined = version;
        self.joined_at = at;
        self.read = self.read.max(version);
        self.marked_unread = None;
        self.hidden_at = None;
        if history == HistoryVisibility::Shared {
            self.visible.clear();
        }
        if self.visible.len() >= Self::MAX_RANGES {
            self.visible.remove(0);
        }
        self.visible.push((first_visible(version, history), Version::MAX));
    }

    pub(super) fn end(&mut self, membership: Membership, version: Version) {
        self.membership = membership;
        self.marked_unread = None;
        if let Some((_, end)) = self.visible.last_mut() {
            *end = version;
        }
    }

    /// Whether the user is a member now.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.membership == Membership::Active
    }

    /// Whether the user may see the event of this version.
    #[must_use]
    pub fn sees(&self, version: Version) -> bool {
        self.visible.iter().any(|(start, end)| (*start..=*end).contains(&version))
    }

    /// Whether the user may see the chat from its beginning to its end.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.visible == [(Version(1), Version::MAX)]
    }

    /// The first version that the user may see.
    #[must_use]
    pub fn first_visible(&self) -> Version {
        self.visible.first().map_or(Version::MAX, |(start, _)| *start)
    }

    /// The last version that the user may see; [`Version::MAX`] while a member.
    #[must_use]
    pub fn last_visible(&self) -> Version {
        self.visible.last().map_or(Version::ZERO, |(_, end)| *end)
    }

    /// The first version that counts as unread if it holds a message.
    #[must_use]
    pub fn unread_from(&self) -> Version {
        let next = self.read.next();
        self.marked_unread.map_or(next, |marked| marked.min(next))
    }

    pub(super) fn visible_ranges(&self) -> &[(Version, Version)] {
        &self.visible
    }
}

fn first_visible(joined: Version, history: HistoryVisibility) -> Version {
    match history {
        HistoryVisibility::Shared => Version(1),
        HistoryVisibility::Joined => joined,
    }
}

/// The member of a chat, past or present, as whom a user may read it.
///
/// # Errors
/// [`Rejection::NotMember`] if the user never was one but may know of the chat;
/// [`Rejection::ChatNotFound`] otherwise.
pub fn readable<'a>(chat: &'a ChatState, user: &UserId) -> Result<&'a Member, Rejection> {
    match chat.members.get(user) {
        Some(member) => Ok(member),
        None if chat.access == Access::Open && chat.exists() => Err(Rejection::NotMember),
        None if chat.invites.contains_key(user) => Err(Rejection::NotMember),
        // Whoever has nothing to do with a closed chat does not learn that it exists.
        None => Err(Rejection::ChatNotFound),
    }
}
