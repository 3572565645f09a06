//! What a chat must look like, counted out of the plain list of its events again and again. Slow on
//! purpose: each answer is a loop that can be read against the rule.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::domain::{
    ChatEvent, ChatKind, HistoryVisibility, MessageRef, MessageSent, ReactionPolicy, Role,
};
use crate::engine::ChatRecord;
use crate::id::{UserId, Version};

/// The events of one chat, from the first on, without a hole.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    log: &'a [ChatRecord],
}

/// A membership: from the event that began it to the event that ended it.
type Period = (Version, Option<Version>);

impl<'a> Reference<'a> {
    /// Looks at these events.
    #[must_use]
    pub fn new(log: &'a [ChatRecord]) -> Self {
        Self { log }
    }

    fn created(&self) -> Option<&'a crate::domain::ChatCreated> {
        self.log.iter().find_map(|record| match &record.event {
            ChatEvent::ChatCreated(created) => Some(created),
            _ => None,
        })
    }

    /// The messages that were sent, deleted or not.
    #[must_use]
    pub fn messages(&self) -> Vec<MessageRef> {
        let sent = self.log.iter().filter(|r| matches!(r.event, ChatEvent::MessageSent(_)));
        sent.map(|r| MessageRef { message: r.id.into(), seq: r.version }).collect()
    }

    /// Everybody who ever was a member.
    #[must_use]
    pub fn people(&self) -> BTreeSet<UserId> {
        let mut people = BTreeSet::new();
        for record in self.log {
            match &record.event {
                ChatEvent::ChatCreated(e) => {
                    people.insert(e.by.clone());
                    people.extend(e.members.iter().map(|member| member.user.clone()));
                }
                ChatEvent::MemberJoined(e) => {
                    people.insert(e.user.clone());
                }
                _ => {}
            }
        }
        people
    }

    /// A user's memberships, oldest first.
    #[must_use]
    pub fn periods(&self, user: &UserId) -> Vec<Period> {
        let mut periods: Vec<Period> = Vec::new();
        for record in self.log {
            let joins = match &record.event {
                ChatEvent::ChatCreated(e) => {
                    e.by == *user || e.members.iter().any(|member| member.user == *user)
                }
                ChatEvent::MemberJoined(e) => e.user == *user,
                _ => false,
            };
            if joins {
                periods.push((record.version, None));
            }
            if record.event.ended_member() == Some(user)
                && let Some(last) = periods.last_mut()
            {
                last.1 = Some(record.version);
            }
        }
        periods
    }

    /// Whether the user is a member after the last event.
    #[must_use]
    pub fn is_member(&self, user: &UserId) -> bool {
        self.periods(user).last().is_some_and(|(_, end)| end.is_none())
    }

    /// Whether the user may see the event of a version.
    #[must_use]
    pub fn sees(&self, user: &UserId, version: Version) -> bool {
        let periods = self.periods(user);
        let Some((_, last_end)) = periods.last() else { return false };
        match self.created().map(|created| created.history) {
            Some(HistoryVisibility::Shared) => last_end.is_none_or(|end| version <= end),
            _ => periods
                .iter()
                .any(|(start, end)| version >= *start && end.is_none_or(|end| version <= end)),
        }
    }

    /// The events that are delivered to a user who starts at the beginning.
    #[must_use]
    pub fn delivered(&self, user: &UserId) -> Vec<&'a ChatRecord> {
        let visible = self.log.iter().filter(|record| self.sees(user, record.version));
        visible.filter(|record| record.event.private_to().is_none_or(|one| one == user)).collect()
    }

    /// How far a user has read: never back, never beyond the end, at least to the joining.
    #[must_use]
    pub fn read(&self, user: &UserId) -> Version {
        let mut read = Version::ZERO;
        for (start, _) in self.periods(user) {
            read = read.max(start);
        }
        for record in self.log {
            if let ChatEvent::ReadAdvanced(e) = &record.event
                && e.by == *user
            {
                read = read.max(e.up_to.min(Version(record.version.0 - 1)));
            }
        }
        read
    }

    /// From where on a user marked the chat as unread, if nothing took the mark away.
    #[must_use]
    pub fn marked(&self, user: &UserId) -> Option<Version> {
        let mut marked = None;
        for record in self.log {
            match &record.event {
                ChatEvent::MarkedUnread(e) if e.by == *user => marked = Some(e.from),
                ChatEvent::ReadAdvanced(e) if e.by == *user => marked = None,
                ChatEvent::MemberJoined(e) if e.user == *user => marked = None,
                other if other.ended_member() == Some(user) => marked = None,
                _ => {}
            }
        }
        marked
    }

    /// The messages that are not deleted: where, as sent, and whom each names now.
    fn alive(&self) -> Vec<(Version, &'a MessageSent, &'a [UserId], bool)> {
        let sent = self.log.iter().filter_map(|record| match &record.event {
            ChatEvent::MessageSent(sent) => Some((record.version, sent)),
            _ => None,
        });
        sent.filter(|(seq, _)| !self.is_deleted(*seq))
            .map(|(seq, sent)| {
                let (mut named, mut everyone) = (sent.mentions.as_slice(), sent.mention_all);
                for record in self.log {
                    if let ChatEvent::MessageEdited(e) = &record.event
                        && e.target.seq == seq
                    {
                        (named, everyone) = (e.mentions.as_slice(), e.mention_all);
                    }
                }
                (seq, sent, named, everyone)
            })
            .collect()
    }

    /// Whether the message that was sent at a version was deleted.
    #[must_use]
    pub fn is_deleted(&self, seq: Version) -> bool {
        self.log.iter().any(
            |record| matches!(&record.event, ChatEvent::MessageDeleted(e) if e.target.seq == seq),
        )
    }

    /// The messages that are unread for a user; none for whoever is no member.
    #[must_use]
    pub fn unread(&self, user: &UserId) -> Vec<Version> {
        let alive = self.alive();
        alive.iter().filter(|(seq, ..)| self.is_unread(user, *seq)).map(|(seq, ..)| *seq).collect()
    }

    fn is_unread(&self, user: &UserId, seq: Version) -> bool {
        let from = self.read(user).next();
        let from = self.marked(user).map_or(from, |marked| marked.min(from));
        let own = self.log.iter().any(|record| {
            record.version == seq
                && matches!(&record.event, ChatEvent::MessageSent(e) if e.by == *user)
        });
        self.is_member(user) && seq >= from && self.sees(user, seq) && !own
    }

    /// Those of them that name the user, by name or as a member at that time.
    #[must_use]
    pub fn unread_mentions(&self, user: &UserId) -> Vec<Version> {
        let joined = self.periods(user).last().map(|(start, _)| *start);
        let names = |seq: Version, named: &[UserId], everyone: bool| {
            // Whoever was not there yet was not named.
            Some(seq) > joined && (everyone || named.contains(user))
        };
        let alive = self.alive().into_iter();
        let named = alive.filter(|(seq, _, named, everyone)| names(*seq, named, *everyone));
        named.map(|(seq, ..)| seq).filter(|seq| self.is_unread(user, *seq)).collect()
    }

    /// The last message that a user sees and that is not deleted.
    #[must_use]
    pub fn last_message(&self, user: &UserId) -> Option<Version> {
        let seen = self.alive().into_iter().map(|(seq, ..)| seq);
        seen.filter(|seq| self.sees(user, *seq)).max()
    }

    /// When something last moved the chat up in a user's list; `None`: it is not there.
    #[must_use]
    pub fn activity(&self, user: &UserId) -> Option<Timestamp> {
        let created = self.created()?;
        let (joined, _) = self.periods(user).pop().filter(|(_, end)| end.is_none())?;
        let mut messages = self.log.iter().filter(|r| matches!(r.event, ChatEvent::MessageSent(_)));
        let last = messages.next_back();
        let mut hides = self.log.iter().filter(
            |r| matches!(&r.event, ChatEvent::ChatHidden(e) if e.by == *user && r.version > joined),
        );
        let hidden = hides.next_back();
        if hidden.is_some_and(|hidden| last.is_none_or(|last| last.version < hidden.version)) {
            return None;
        }
        if created.kind == ChatKind::Direct && created.by != *user && last.is_none() {
            return None;
        }
        let joined_at = self.log.iter().find(|r| r.version == joined).map(|r| r.at)?;
        Some(last.map_or(joined_at, |last| last.at.max(joined_at)))
    }

    /// The members after the last event, with their roles.
    #[must_use]
    pub fn roles(&self) -> BTreeMap<UserId, Role> {
        let mut roles = BTreeMap::new();
        let mut invited: BTreeMap<&UserId, Role> = BTreeMap::new();
        for record in self.log {
            match &record.event {
                ChatEvent::ChatCreated(e) => {
                    roles.extend(e.members.iter().map(|m| (m.user.clone(), m.role)));
                    let own = if e.kind == ChatKind::Group { Role::Owner } else { Role::Member };
                    roles.insert(e.by.clone(), own);
                }
                ChatEvent::MemberInvited(e) => {
                    invited.insert(&e.user, e.role);
                }
                ChatEvent::InviteRevoked(e) => {
                    invited.remove(&e.user);
                }
                ChatEvent::InviteDeclined(e) => {
                    invited.remove(&e.by);
                }
                ChatEvent::MemberJoined(e) => {
                    let role = invited.remove(&e.user);
                    roles.insert(e.user.clone(), e.role.or(role).unwrap_or(Role::Member));
                }
                ChatEvent::RoleChanged(e) => {
                    roles.insert(e.user.clone(), e.role);
                }
                ChatEvent::OwnershipTransferred(e) => {
                    roles.insert(e.by.clone(), Role::Moderator);
                    roles.insert(e.to.clone(), Role::Owner);
                }
                other => {
                    if let Some(gone) = other.ended_member() {
                        roles.remove(gone);
                    }
                }
            }
        }
        roles
    }

    /// The text of a message now; `None` once it is deleted.
    #[must_use]
    pub fn text(&self, seq: Version) -> Option<&'a str> {
        self.texts(seq).last().copied()
    }

    /// All texts that a message had, oldest first; none once it is deleted.
    #[must_use]
    pub fn texts(&self, seq: Version) -> Vec<&'a str> {
        if self.is_deleted(seq) {
            return Vec::new();
        }
        let texts = self.log.iter().filter_map(|record| match &record.event {
            ChatEvent::MessageSent(e) if record.version == seq => Some(&*e.text),
            ChatEvent::MessageEdited(e) if e.target.seq == seq => Some(&*e.text),
            _ => None,
        });
        texts.collect()
    }

    /// Who reacted with what to a message.
    #[must_use]
    pub fn reactions(&self, seq: Version) -> BTreeSet<(String, UserId)> {
        let mut reactions = BTreeSet::new();
        let unique =
            self.created().is_some_and(|created| created.reactions == ReactionPolicy::Unique);
        for record in self.log {
            match &record.event {
                ChatEvent::ReactionAdded(e) if e.target.seq == seq => {
                    if unique {
                        reactions.retain(|(_, user)| *user != e.by);
                    }
                    reactions.insert((e.key.clone(), e.by.clone()));
                }
                ChatEvent::ReactionRemoved(e) if e.target.seq == seq => {
                    reactions.remove(&(e.key.clone(), e.by.clone()));
                }
                ChatEvent::MessageDeleted(e) if e.target.seq == seq => reactions.clear(),
                _ => {}
            }
        }
        reactions
    }
}
