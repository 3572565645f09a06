//! The state of a chat: what decisions, counts and the chat list need; no message texts. A fold over
//! the chat's events that never fails: what was stored is true.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{
    Access, ChatCreated, ChatEvent, ChatKind, HistoryVisibility, ReactionPolicy, Role,
};
use super::member::{Member, Membership};
use super::tally::{Counts, Tally};
use crate::clock::Timestamp;
use crate::id::{UserId, Version};

/// A chat after its event [`version`](Self::version).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChatState {
    /// The last event that is folded in; zero: the chat does not exist.
    pub version: Version,
    /// What kind of chat it is; `None` if it does not exist.
    pub kind: Option<ChatKind>,
    /// Its name.
    pub name: Option<String>,
    /// What it is about.
    pub topic: Option<String>,
    /// Who may come in.
    pub access: Access,
    /// What a new member sees.
    pub history: HistoryVisibility,
    /// How reactions work.
    pub reactions: ReactionPolicy,
    /// The host's key for it.
    pub external_key: Option<String>,
    /// Who made it.
    pub creator: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its last event was recorded; new events are never earlier.
    pub recorded_at: Timestamp,
    /// When its last message was sent.
    pub last_message_at: Option<Timestamp>,
    /// The version of its last message; zero if there was none.
    pub last_message_seq: Version,
    /// Members, past and present.
    pub members: BTreeMap<UserId, Member>,
    /// Open invitations.
    pub invites: BTreeMap<UserId, Role>,
    /// Events that could not be read.
    pub unreadable: u64,
    /// Which versions hold messages. Kept apart in snapshots.
    #[serde(skip)]
    pub tally: Tally,
}

impl ChatState {
    /// Folds the next event in. The caller brings the events in the order of their versions, each
    /// once.
    pub fn apply(&mut self, version: Version, at: Timestamp, event: &ChatEvent) {
        self.version = version;
        self.recorded_at = self.recorded_at.max(at);
        match event {
            ChatEvent::ChatCreated(e) => self.created(version, at, e),
            ChatEvent::ChatUpdated(e) => {
                set_text(&mut self.name, e.name.as_ref());
                set_text(&mut self.topic, e.topic.as_ref());
                self.access = e.access.unwrap_or(self.access);
            }
            ChatEvent::MemberInvited(e) => {
                self.invites.insert(e.user.clone(), e.role);
            }
            ChatEvent::InviteRevoked(e) => {
                self.invites.remove(&e.user);
            }
            ChatEvent::InviteDeclined(e) => {
                self.invites.remove(&e.by);
            }
            ChatEvent::MemberJoined(e) => {
                let invited = self.invites.remove(&e.user);
                self.join(version, at, &e.user, e.role.or(invited).unwrap_or_default());
            }
            ChatEvent::MemberLeft(e) => self.end(&e.by, Membership::Left(version), version),
            ChatEvent::MemberRemoved(e) => self.end(&e.user, Membership::Removed(version), version),
            ChatEvent::RoleChanged(e) => self.set_role(&e.user, e.role),
            ChatEvent::OwnershipTransferred(e) => {
                self.set_role(&e.by, Role::Moderator);
                self.set_role(&e.to, Role::Owner);
            }
            ChatEvent::MessageSent(e) => {
                self.last_message_at = Some(at);
                self.last_message_seq = version;
                self.tally.sent(version, &e.by, &e.mentions, e.mention_all);
            }
            ChatEvent::MessageEdited(e) => {
                self.tally.edited(version, e.target.seq, &e.mentions, e.mention_all);
            }
            ChatEvent::MessageDeleted(e) => self.tally.deleted(version, e.target.seq),
            ChatEvent::ReadAdvanced(e) => {
                if let Some(member) = self.members.get_mut(&e.by) {
                    let end = Version(version.0.saturating_sub(1));
                    member.read = member.read.max(e.up_to.min(end));
                    member.marked_unread = None;
                }
            }
            ChatEvent::MarkedUnread(e) => {
                if let Some(member) = self.members.get_mut(&e.by) {
                    member.marked_unread = Some(e.from);
                }
            }
            ChatEvent::ChatHidden(e) => {
                if let Some(member) = self.members.get_mut(&e.by) {
                    member.hidden_at = Some(version);
                }
            }
            ChatEvent::Unreadable => self.unreadable += 1,
            ChatEvent::ReactionAdded(_) | ChatEvent::ReactionRemoved(_) | ChatEvent::Unknown => {}
        }
    }

    /// Whether the chat exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.version > Version::ZERO
    }

    /// A user who is a member now.
    #[must_use]
    pub fn active(&self, user: &UserId) -> Option<&Member> {
        self.members.get(user).filter(|member| member.is_active())
    }

    /// The users who are members now.
    pub fn active_members(&self) -> impl Iterator<Item = (&UserId, &Member)> {
        self.members.iter().filter(|(_, member)| member.is_active())
    }

    /// Messages that are unread for a member; zero for anybody else.
    #[must_use]
    pub fn unread(&self, user: &UserId) -> u64 {
        self.counts(user).messages
    }

    /// Unread messages that name the member.
    #[must_use]
    pub fn unread_mentions(&self, user: &UserId) -> u64 {
        self.counts(user).mentions
    }

    fn counts(&self, user: &UserId) -> Counts {
        let Some(member) = self.active(user) else {
            return Counts::default();
        };
        let from = member.unread_from();
        let mut counts = Counts::default();
        for (start, end) in member.visible_ranges() {
            let (first, last) = (from.max(*start), self.version.min(*end));
            let part = self.tally.count(user, first, last, member.joined);
            counts.messages += part.messages;
            counts.mentions += part.mentions;
        }
        counts
    }

    /// The first message that is unread for a member, among those that the member may see.
    #[must_use]
    pub fn first_unread(&self, user: &UserId) -> Option<Version> {
        let member = self.active(user)?;
        let from = member.unread_from();
        let mut ranges = member.visible_ranges().iter();
        ranges.find_map(|(start, end)| {
            self.tally.first_unread(user, from.max(*start), self.version.min(*end))
        })
    }

    /// The last message that a user may see and that is not deleted.
    #[must_use]
    pub fn last_message(&self, user: &UserId) -> Option<Version> {
        let member = self.members.get(user)?;
        let ranges = member.visible_ranges().iter().rev();
        ranges
            .filter_map(|(start, end)| self.tally.last_alive(*start, self.version.min(*end)))
            .next()
    }

    /// When something last happened that moves the chat up in this member's list; `None` if the
    /// chat is not in it (not a member, hidden, or a direct chat that nobody has written in yet
    /// and somebody else opened).
    #[must_use]
    pub fn activity(&self, user: &UserId) -> Option<Timestamp> {
        let member = self.active(user).filter(|member| !self.hides(member))?;
        let latent = self.kind == Some(ChatKind::Direct)
            && self.last_message_at.is_none()
            && self.creator.as_ref() != Some(user);
        if latent {
            return None;
        }
        Some(member.joined_at.max(self.last_message_at.unwrap_or(member.joined_at)))
    }

    /// Hidden, and no message came since.
    fn hides(&self, member: &Member) -> bool {
        member.hidden_at.is_some_and(|hidden| hidden > self.last_message_seq)
    }

    /// Whether the chat is off this member's list until something new comes.
    #[must_use]
    pub fn is_hidden(&self, user: &UserId) -> bool {
        self.active(user).is_some_and(|member| self.hides(member))
    }

    fn created(&mut self, version: Version, at: Timestamp, event: &ChatCreated) {
        self.kind = Some(event.kind);
        set_text(&mut self.name, event.name.as_ref());
        set_text(&mut self.topic, event.topic.as_ref());
        self.access = event.access;
        self.history = event.history;
        self.reactions = event.reactions;
        self.external_key.clone_from(&event.external_key);
        self.creator = Some(event.by.clone());
        self.created_at = at;
        let creator_role = match event.kind {
            ChatKind::Group => Role::Owner,
            ChatKind::Direct | ChatKind::Notes => Role::Member,
        };
        for member in &event.members {
            self.join(version, at, &member.user, member.role);
        }
        self.join(version, at, &event.by, creator_role);
    }

    fn join(&mut self, version: Version, at: Timestamp, user: &UserId, role: Role) {
        match self.members.get_mut(user) {
            // Only by hand can a member join twice; the first join stays.
            Some(member) if member.is_active() => {}
            Some(member) => member.rejoin(role, version, at, self.history),
            None => {
                let member = Member::new(role, version, at, self.history);
                self.members.insert(user.clone(), member);
            }
        }
    }

    fn end(&mut self, user: &UserId, membership: Membership, version: Version) {
        if let Some(member) = self.members.get_mut(user).filter(|member| member.is_active()) {
            member.end(membership, version);
        }
    }

    fn set_role(&mut self, user: &UserId, role: Role) {
        if let Some(member) = self.members.get_mut(user) {
            member.role = role;
        }
    }
}

fn set_text(text: &mut Option<String>, new: Option<&String>) {
    if let Some(new) = new {
        *text = (!new.is_empty()).then(|| new.clone());
    }
}
