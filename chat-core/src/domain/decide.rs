//! What a chat answers to a command: one event, nothing, or a refusal. Pure; the event takes effect
//! only if the chat is still at the version that was looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::chat::ChatState;
use super::command::{ChatCommand, EditMessage, Mentions, NewGroup, SendMessage};
use super::derive::{chat_id_for_direct, chat_id_for_external_key};
use super::event::{
    Access, ChatCreated, ChatEvent, ChatHidden, ChatKind, ChatUpdated, HistoryVisibility,
    InviteDeclined, InviteRevoked, MarkedUnread, MemberInvited, MemberJoined, MemberLeft,
    MemberRemoved, MessageDeleted, MessageEdited, MessageSent, OwnershipTransferred, ReactionAdded,
    ReactionPolicy, ReactionRemoved, ReadAdvanced, Role, RoleChanged,
};
use super::limits::Limits;
use super::member::{Member, readable};
use super::message::MessageState;
use super::rejection::{LimitName, Rejection};
use crate::clock::Timestamp;
use crate::id::{ChatId, UserId, Version};

/// What a decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The chat as it stands.
    pub chat: &'a ChatState,
    /// Who asks.
    pub actor: &'a UserId,
    /// The time now, by the server's clock.
    pub now: Timestamp,
    /// What is allowed.
    pub limits: &'a Limits,
    /// The message that the command is about ([`ChatCommand::target`]), as it stands at the chat's
    /// version; `None` if the chat has no such message.
    pub target: Option<&'a MessageState>,
}

/// What comes of a command that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This happens.
    Event(ChatEvent),
    /// It is so already.
    NoChange,
}

type Decided = Result<Decision, Rejection>;

/// Decides a command on a chat that exists.
///
/// # Errors
/// [`Rejection`].
pub fn decide(context: &Context<'_>, command: &ChatCommand) -> Decided {
    if !context.chat.exists() {
        return Err(Rejection::ChatNotFound);
    }
    let by = context.actor.clone();
    match command {
        ChatCommand::Join => return context.join(by),
        ChatCommand::DeclineInvite => return context.decline_invite(by),
        _ => {}
    }
    let me = context.member()?;
    match command {
        ChatCommand::Join | ChatCommand::DeclineInvite => Ok(Decision::NoChange),
        ChatCommand::Update { name, topic, access } => context.update(
            me,
            ChatUpdated { by, name: name.clone(), topic: topic.clone(), access: *access },
        ),
        ChatCommand::Invite { user, role } => context.invite(me, by, user, *role),
        ChatCommand::RevokeInvite { user } => context.revoke_invite(me, by, user),
        ChatCommand::Add { user, role } => context.add(me, by, user, *role),
        ChatCommand::Leave => context.leave(me, by),
        ChatCommand::Remove { user, reason } => context.remove(me, by, user, reason.as_ref()),
        ChatCommand::ChangeRole { user, role } => context.change_role(me, by, user, *role),
        ChatCommand::TransferOwnership { to } => context.transfer(me, by, to),
        ChatCommand::Send(send) => context.send(me, by, send),
        ChatCommand::Edit(edit) => context.edit(me, by, edit),
        ChatCommand::Delete { reason, .. } => context.delete(me, by, reason.as_ref()),
        ChatCommand::React { key, .. } => context.react(me, by, key),
        ChatCommand::Unreact { key, .. } => context.unreact(me, by, key),
        ChatCommand::MarkRead { up_to } => Ok(context.mark_read(me, by, *up_to)),
        ChatCommand::MarkUnread { from } => context.mark_unread(me, by, *from),
        ChatCommand::Hide => Ok(match context.chat.is_hidden(context.actor) {
            true => Decision::NoChange,
            false => Decision::Event(ChatEvent::ChatHidden(ChatHidden { by })),
        }),
    }
}

/// Decides the making of a chat; the caller makes sure that it does not exist.
///
/// # Errors
/// [`Rejection`] if a value is out of bounds.
pub fn decide_creation(
    actor: &UserId,
    group: &NewGroup,
    limits: &Limits,
) -> Result<ChatCreated, Rejection> {
    check_chars(LimitName::NameChars, group.name.as_deref(), limits.name_chars)?;
    check_chars(LimitName::TopicChars, group.topic.as_deref(), limits.topic_chars)?;
    check(LimitName::InitialMembers, group.members.len(), limits.initial_members)?;
    if group.external_key.as_deref().is_some_and(str::is_empty) {
        return Err(Rejection::InvalidArgument { what: "the external key is empty" });
    }
    check_chars(LimitName::NameChars, group.external_key.as_deref(), limits.name_chars)?;
    if group.members.iter().any(|member| member.role >= Role::Owner) {
        return Err(Rejection::Forbidden { what: "a second owner" });
    }
    let mut members = group.members.clone();
    members.retain(|member| member.user != *actor);
    members.sort_by(|a, b| a.user.cmp(&b.user));
    if members.array_windows().any(|[a, b]| a.user == b.user) {
        return Err(Rejection::InvalidArgument { what: "a member is named twice" });
    }
    Ok(ChatCreated {
        by: actor.clone(),
        kind: ChatKind::Group,
        name: group.name.clone().filter(|name| !name.is_empty()),
        topic: group.topic.clone().filter(|topic| !topic.is_empty()),
        members,
        access: group.access,
        history: group.history,
        reactions: group.reactions,
        external_key: group.external_key.clone(),
    })
}

impl ChatCreated {
    /// The direct chat of the actor and these people (or the actor's notes, if there is nobody
    /// else), and its id.
    ///
    /// # Errors
    /// [`Rejection::LimitExceeded`] if they are too many.
    pub fn direct(
        actor: &UserId,
        others: &[UserId],
        limits: &Limits,
    ) -> Result<(ChatId, Self), Rejection> {
        let everybody: BTreeSet<&UserId> = others.iter().chain(std::iter::once(actor)).collect();
        check(LimitName::DirectMembers, everybody.len(), limits.direct_members)?;
        let id = chat_id_for_direct(everybody.iter().copied())
            .ok_or(Rejection::InvalidArgument { what: "the members" })?;
        let others = everybody.into_iter().filter(|user| *user != actor);
        let members: Vec<_> = others
            .map(|user| super::event::InvitedMember { user: user.clone(), role: Role::Member })
            .collect();
        let kind = if members.is_empty() { ChatKind::Notes } else { ChatKind::Direct };
        let created = Self {
            by: actor.clone(),
            kind,
            name: None,
            topic: None,
            members,
            access: Access::Invited,
            history: HistoryVisibility::Shared,
            reactions: ReactionPolicy::Distinct,
            external_key: None,
        };
        Ok((id, created))
    }

    /// The id that a group takes from its external key, if it has one.
    #[must_use]
    pub fn derived_id(&self) -> Option<ChatId> {
        self.external_key.as_deref().and_then(chat_id_for_external_key)
    }
}

impl Context<'_> {
    fn member(&self) -> Result<&Member, Rejection> {
        let member = readable(self.chat, self.actor)?;
        if member.is_active() { Ok(member) } else { Err(Rejection::NotMember) }
    }

    fn group(&self, what: &'static str) -> Result<(), Rejection> {
        match self.chat.kind {
            Some(ChatKind::Group) => Ok(()),
            _ => Err(Rejection::Forbidden { what }),
        }
    }

    fn rank(me: &Member, at_least: Role, what: &'static str) -> Result<(), Rejection> {
        if me.role >= at_least { Ok(()) } else { Err(Rejection::Forbidden { what }) }
    }

    fn join(&self, by: UserId) -> Decided {
        match self.member() {
            Ok(_) => return Ok(Decision::NoChange),
            Err(Rejection::NotMember) => {}
            Err(other) => return Err(other),
        }
        let welcome =
            self.chat.access == Access::Open || self.chat.invites.contains_key(self.actor);
        if !welcome {
            return Err(Rejection::NotMember);
        }
        let user = by.clone();
        Ok(Decision::Event(ChatEvent::MemberJoined(MemberJoined { by, user, role: None })))
    }

    fn decline_invite(&self, by: UserId) -> Decided {
        if self.chat.invites.contains_key(self.actor) {
            return Ok(Decision::Event(ChatEvent::InviteDeclined(InviteDeclined { by })));
        }
        self.member()?;
        Err(Rejection::NotInvited)
    }

    fn update(&self, me: &Member, change: ChatUpdated) -> Decided {
        self.group("changing a direct chat")?;
        Self::rank(me, Role::Moderator, "changing the chat")?;
        check_chars(LimitName::NameChars, change.name.as_deref(), self.limits.name_chars)?;
        check_chars(LimitName::TopicChars, change.topic.as_deref(), self.limits.topic_chars)?;
        let same = |new: &Option<String>, old: &Option<String>| {
            new.as_deref().is_none_or(|new| new == old.as_deref().unwrap_or_default())
        };
        let unchanged = same(&change.name, &self.chat.name)
            && same(&change.topic, &self.chat.topic)
            && change.access.is_none_or(|access| access == self.chat.access);
        if unchanged {
            return Ok(Decision::NoChange);
        }
        Ok(Decision::Event(ChatEvent::ChatUpdated(change)))
    }

    /// Whether `me` may bring somebody in as `role`.
    fn may_bring_in(&self, me: &Member, role: Role) -> Result<(), Rejection> {
        self.group("the members of a direct chat are fixed")?;
        if self.chat.access == Access::Invited {
            Self::rank(me, Role::Moderator, "bringing somebody in")?;
        }
        if role > Role::Member && role >= me.role {
            return Err(Rejection::Forbidden { what: "giving a role that is not below the own" });
        }
        Ok(())
    }

    /// Whether `me` may change what `user` is invited to, if anything.
    fn outranks_invitation(&self, me: &Member, user: &UserId) -> Result<(), Rejection> {
        match self.chat.invites.get(user) {
            Some(role) if *role > Role::Member && *role >= me.role => Err(Rejection::Forbidden {
                what: "changing an invitation to the own rank or above",
            }),
            _ => Ok(()),
        }
    }

    fn invite(&self, me: &Member, by: UserId, user: &UserId, role: Role) -> Decided {
        self.may_bring_in(me, role)?;
        let invited = self.chat.invites.get(user);
        if self.chat.active(user).is_some() || invited == Some(&role) {
            return Ok(Decision::NoChange);
        }
        self.outranks_invitation(me, user)?;
        if invited.is_none() {
            check(LimitName::Invites, self.chat.invites.len() + 1, self.limits.invites)?;
        }
        let user = user.clone();
        Ok(Decision::Event(ChatEvent::MemberInvited(MemberInvited { by, user, role })))
    }

    fn revoke_invite(&self, me: &Member, by: UserId, user: &UserId) -> Decided {
        self.group("the members of a direct chat are fixed")?;
        Self::rank(me, Role::Moderator, "taking an invitation back")?;
        if !self.chat.invites.contains_key(user) {
            return Ok(Decision::NoChange);
        }
        self.outranks_invitation(me, user)?;
        let user = user.clone();
        Ok(Decision::Event(ChatEvent::InviteRevoked(InviteRevoked { by, user })))
    }

    fn add(&self, me: &Member, by: UserId, user: &UserId, role: Role) -> Decided {
        self.may_bring_in(me, role)?;
        if self.chat.active(user).is_some() {
            return Ok(Decision::NoChange);
        }
        self.outranks_invitation(me, user)?;
        let joined = MemberJoined { by, user: user.clone(), role: Some(role) };
        Ok(Decision::Event(ChatEvent::MemberJoined(joined)))
    }

    fn leave(&self, me: &Member, by: UserId) -> Decided {
        self.group("a direct chat cannot be left; hide it")?;
        if me.role == Role::Owner {
            return Err(Rejection::LastOwner);
        }
        Ok(Decision::Event(ChatEvent::MemberLeft(MemberLeft { by })))
    }

    /// The member `user`, if `me` outranks that member.
    fn outranked(
        &self,
        me: &Member,
        user: &UserId,
        what: &'static str,
    ) -> Result<&Member, Rejection> {
        let other = self.chat.active(user).ok_or(Rejection::NoSuchMember)?;
        if me.role > other.role { Ok(other) } else { Err(Rejection::Forbidden { what }) }
    }

    fn remove(&self, me: &Member, by: UserId, user: &UserId, reason: Option<&String>) -> Decided {
        self.group("the members of a direct chat are fixed")?;
        Self::rank(me, Role::Moderator, "removing a member")?;
        check_chars(LimitName::TopicChars, reason.map(String::as_str), self.limits.topic_chars)?;
        let known = self.chat.members.get(user).ok_or(Rejection::NoSuchMember)?;
        if !known.is_active() {
            return Ok(Decision::NoChange);
        }
        self.outranked(me, user, "removing a member of the same or a higher rank")?;
        let removed = MemberRemoved { by, user: user.clone(), reason: reason.cloned() };
        Ok(Decision::Event(ChatEvent::MemberRemoved(removed)))
    }

    fn change_role(&self, me: &Member, by: UserId, user: &UserId, role: Role) -> Decided {
        self.group("a direct chat has no roles")?;
        let other = self.chat.active(user).ok_or(Rejection::NoSuchMember)?;
        if other.role == role {
            return Ok(Decision::NoChange);
        }
        if user == self.actor {
            if me.role == Role::Owner {
                return Err(Rejection::LastOwner);
            }
            if role > me.role {
                return Err(Rejection::Forbidden { what: "raising the own role" });
            }
        } else {
            Self::rank(me, Role::Moderator, "changing a role")?;
            self.outranked(me, user, "changing the role of the same or a higher rank")?;
            if role >= me.role {
                let what = "giving a role that is not below the own";
                return Err(Rejection::Forbidden { what });
            }
        }
        let user = user.clone();
        Ok(Decision::Event(ChatEvent::RoleChanged(RoleChanged { by, user, role })))
    }

    fn transfer(&self, me: &Member, by: UserId, to: &UserId) -> Decided {
        self.group("a direct chat has no owner")?;
        Self::rank(me, Role::Owner, "transferring the group")?;
        self.chat.active(to).ok_or(Rejection::NoSuchMember)?;
        if to == self.actor {
            return Ok(Decision::NoChange);
        }
        let transferred = OwnershipTransferred { by, to: to.clone() };
        Ok(Decision::Event(ChatEvent::OwnershipTransferred(transferred)))
    }

    fn check_content(&self, text: &str, mentions: &Mentions) -> Result<(), Rejection> {
        if text.is_empty() {
            return Err(Rejection::InvalidArgument { what: "the text is empty" });
        }
        // Bytes first: counting the characters of a huge text would cost what the limit saves.
        check(LimitName::EventBytes, text.len(), self.limits.event_bytes)?;
        check_chars(LimitName::TextChars, Some(text), self.limits.text_chars)?;
        check(LimitName::Mentions, mentions.users.len(), self.limits.mentions)
    }

    /// The message that the command is about, if the actor may see it.
    fn target(&self, me: &Member) -> Result<&MessageState, Rejection> {
        self.target.filter(|message| me.sees(message.seq)).ok_or(Rejection::MessageNotFound)
    }

    fn living_target(&self, me: &Member) -> Result<&MessageState, Rejection> {
        let message = self.target(me)?;
        if message.deleted.is_some() { Err(Rejection::MessageGone) } else { Ok(message) }
    }

    fn send(&self, me: &Member, by: UserId, send: &SendMessage) -> Decided {
        self.check_content(&send.text, &send.mentions)?;
        if send.reply_to.is_some() {
            self.living_target(me)?;
        }
        Ok(Decision::Event(ChatEvent::MessageSent(MessageSent {
            by,
            text: Arc::clone(&send.text),
            reply_to: send.reply_to,
            mentions: send.mentions.users.clone(),
            mention_all: send.mentions.everyone,
            client_message_id: send.client_message_id.clone(),
        })))
    }

    fn edit(&self, me: &Member, by: UserId, edit: &EditMessage) -> Decided {
        let message = self.living_target(me)?;
        if message.author != *self.actor {
            return Err(Rejection::Forbidden { what: "editing somebody else's message" });
        }
        self.check_content(&edit.text, &edit.mentions)?;
        if let Some(window) = self.limits.edit_window {
            let until = message.sent_at.plus(window);
            if self.now >= until {
                return Err(Rejection::EditWindowPassed { until });
            }
        }
        let current = message.revision();
        if edit.expected_revision.is_some_and(|expected| expected != current) {
            return Err(Rejection::RevisionConflict { current });
        }
        let same = message.text == edit.text
            && message.mentions == edit.mentions.users
            && message.mention_all == edit.mentions.everyone;
        if same {
            return Ok(Decision::NoChange);
        }
        let edits = message.edits.len() + 1;
        check(LimitName::EditsPerMessage, edits, self.limits.edits_per_message)?;
        Ok(Decision::Event(ChatEvent::MessageEdited(MessageEdited {
            by,
            target: message.reference(),
            text: Arc::clone(&edit.text),
            mentions: edit.mentions.users.clone(),
            mention_all: edit.mentions.everyone,
        })))
    }

    fn delete(&self, me: &Member, by: UserId, reason: Option<&String>) -> Decided {
        let message = self.target(me)?;
        check_chars(LimitName::TopicChars, reason.map(String::as_str), self.limits.topic_chars)?;
        if message.author != *self.actor {
            self.group("deleting somebody else's message")?;
            Self::rank(me, Role::Moderator, "deleting somebody else's message")?;
            let author = self.chat.active(&message.author).map(|author| author.role);
            if author.is_some_and(|role| role >= me.role) {
                let what = "deleting a message of the same or a higher rank";
                return Err(Rejection::Forbidden { what });
            }
        }
        if message.deleted.is_some() {
            return Ok(Decision::NoChange);
        }
        let target = message.reference();
        let deleted = MessageDeleted { by, target, reason: reason.cloned() };
        Ok(Decision::Event(ChatEvent::MessageDeleted(deleted)))
    }

    fn react(&self, me: &Member, by: UserId, key: &str) -> Decided {
        if key.is_empty() || key.chars().any(char::is_control) {
            return Err(Rejection::InvalidArgument { what: "the reaction is empty or not text" });
        }
        check(LimitName::ReactionBytes, key.len(), self.limits.reaction_bytes)?;
        let message = self.living_target(me)?;
        if message.has_reaction(key, self.actor) {
            return Ok(Decision::NoChange);
        }
        let distinct_policy = self.chat.reactions == ReactionPolicy::Distinct;
        if !message.reactions.contains_key(key) {
            // Where one takes the place of another, what only this member put there goes.
            let stays = |users: &&Vec<UserId>| distinct_policy || **users != [self.actor.clone()];
            let distinct = message.reactions.values().filter(stays).count() + 1;
            let limit = self.limits.reactions_per_message;
            check(LimitName::ReactionsPerMessage, distinct, limit)?;
        }
        if distinct_policy {
            let users = message.reactions.values();
            let own = users.filter(|users| users.contains(self.actor)).count() + 1;
            check(LimitName::ReactionsPerMember, own, self.limits.reactions_per_member)?;
        }
        let target = message.reference();
        let added = ReactionAdded { by, target, key: key.to_owned() };
        Ok(Decision::Event(ChatEvent::ReactionAdded(added)))
    }

    fn unreact(&self, me: &Member, by: UserId, key: &str) -> Decided {
        let message = self.living_target(me)?;
        if !message.has_reaction(key, self.actor) {
            return Ok(Decision::NoChange);
        }
        let target = message.reference();
        let removed = ReactionRemoved { by, target, key: key.to_owned() };
        Ok(Decision::Event(ChatEvent::ReactionRemoved(removed)))
    }

    fn mark_read(&self, me: &Member, by: UserId, up_to: Version) -> Decision {
        // Only messages can be unread; a read of what came behind the last one changes nothing.
        let reachable = up_to.min(self.chat.last_message_seq);
        if reachable <= me.read && me.marked_unread.is_none() {
            return Decision::NoChange;
        }
        Decision::Event(ChatEvent::ReadAdvanced(ReadAdvanced { by, up_to }))
    }

    fn mark_unread(&self, me: &Member, by: UserId, from: Version) -> Decided {
        if from == Version::ZERO || from > self.chat.version || !me.sees(from) {
            return Err(Rejection::MessageNotFound);
        }
        if me.marked_unread == Some(from) {
            return Ok(Decision::NoChange);
        }
        Ok(Decision::Event(ChatEvent::MarkedUnread(MarkedUnread { by, from })))
    }
}

fn check(name: LimitName, value: usize, limit: usize) -> Result<(), Rejection> {
    if value > limit { Err(Rejection::LimitExceeded { name, value, limit }) } else { Ok(()) }
}

fn check_chars(name: LimitName, text: Option<&str>, limit: usize) -> Result<(), Rejection> {
    let Some(text) = text else {
        return Ok(());
    };
    // A text has at least a quarter as many characters as bytes and at most as many.
    if text.len() <= limit {
        return Ok(());
    }
    check(name, text.chars().count(), limit)
}
