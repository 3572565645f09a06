//! Random histories. A step is eight bytes, so that a history is as easily drawn from a seed as
//! shrunk by a property test.

use super::pure::PureChat;
use crate::domain::{
    Access, ChatCommand, EditMessage, HistoryVisibility, Mentions, MessageRef, NewGroup,
    ReactionPolicy, Role, SendMessage,
};
use crate::id::{UserId, Version};

/// Something that somebody tries. Many steps are refused, which is as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step(pub [u8; 8]);

/// Random numbers that follow from a seed (SplitMix64: Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts the numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % bound.max(1) as u64).unwrap_or(0)
    }
}

/// Those who act in random histories; the first makes the chat.
pub const PEOPLE: [&str; 5] = ["ann", "bob", "carl", "dora", "evi"];

/// Texts with what breaks careless code: nothing visible, controls, combining marks, direction
/// overrides, the ends of the planes.
pub const TEXTS: [&str; 8] = [
    "hello",
    "\u{0}\u{1}\u{7f}\u{85}\r\n\t\u{2028}\u{2029}",
    "e\u{301} \u{e9} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{202e}reversed\u{202c} \u{feff}",
    "\u{fffd}\u{ffff}\u{10ffff}\u{e000}",
    "\"quoted\" \\ back </script> <b>&amp;",
    " ",
    "**bold** _it_ `code`\n\n> quote",
];

const REACTIONS: [&str; 3] = ["👍", "a", "\u{1f1e9}\u{1f1ea}"];

/// One of [`PEOPLE`].
#[must_use]
pub fn person(index: u8) -> UserId {
    let name = PEOPLE[usize::from(index) % PEOPLE.len()];
    UserId::new(name).expect("a name within the rules")
}

impl Step {
    /// The next step of a seeded history.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        Self(random.draw().to_le_bytes())
    }

    /// Who acts: mostly one of the members, else anybody.
    #[must_use]
    pub fn actor(&self, members: &[UserId]) -> UserId {
        let index = usize::from(self.0[0] & 0x3F);
        let member = members.get(index % members.len().max(1)).filter(|_| self.0[0] < 208);
        member.cloned().unwrap_or_else(|| person(self.0[0]))
    }

    /// How much later than the step before it happens, in milliseconds. Often at the same time.
    #[must_use]
    pub fn pause(&self) -> u64 {
        u64::from(self.0[1] & 3)
    }

    fn other(&self) -> UserId {
        person(self.0[3])
    }

    fn role(&self) -> Role {
        [Role::Member, Role::Member, Role::Moderator, Role::Owner][usize::from(self.0[4] & 3)]
    }

    fn text(&self) -> &'static str {
        TEXTS[usize::from(self.0[5]) % TEXTS.len()]
    }

    fn mentions(&self) -> Mentions {
        let named = (0_u8..5).filter(|person| self.0[6] & (1 << person) != 0 && self.0[7] < 160);
        Mentions { users: named.map(person).collect(), everyone: self.0[6] & 0xE0 == 0xE0 }
    }

    fn target(&self, messages: &[MessageRef]) -> Option<MessageRef> {
        // Mostly one of the last few, where things happen.
        let reach = if self.0[4] & 0x80 == 0 { 4 } else { messages.len() };
        let first = messages.len().saturating_sub(reach);
        let recent = messages.get(first..)?;
        recent.get(usize::from(self.0[2]) % recent.len().max(1)).copied()
    }

    fn version(&self, head: Version) -> Version {
        // Somewhere in the chat, and now and then beyond its end.
        Version(u64::from(self.0[2]) * (head.0 + 3) / 256)
    }

    /// What is asked of a chat that has these messages and this version.
    #[must_use]
    pub fn command(&self, messages: &[MessageRef], head: Version) -> ChatCommand {
        let user = self.other();
        if self.0[0] >= 240 {
            return ChatCommand::Join;
        }
        let send = || {
            ChatCommand::Send(SendMessage {
                text: self.text().into(),
                reply_to: self.target(messages).filter(|_| self.0[4] & 4 == 4),
                mentions: self.mentions(),
                client_message_id: None,
            })
        };
        let Some(target) = self.target(messages) else {
            return send();
        };
        match self.0[1] >> 2 {
            0..=18 => send(),
            19..=25 => ChatCommand::Edit(EditMessage {
                target,
                text: self.text().into(),
                mentions: self.mentions(),
                expected_revision: (self.0[4] & 0x70 == 0).then_some(u32::from(self.0[4] & 1)),
            }),
            26..=29 => ChatCommand::Delete { target, reason: None },
            30..=33 => ChatCommand::React { target, key: self.reaction() },
            34..=35 => ChatCommand::Unreact { target, key: self.reaction() },
            36..=40 => ChatCommand::MarkRead { up_to: self.version(head) },
            41..=43 => ChatCommand::MarkUnread { from: self.version(head) },
            44 => ChatCommand::Hide,
            45..=46 => ChatCommand::Join,
            47..=48 => ChatCommand::Leave,
            49..=52 => ChatCommand::Add { user, role: self.role() },
            53..=55 => ChatCommand::Invite { user, role: self.role() },
            56 => ChatCommand::RevokeInvite { user },
            57 => ChatCommand::DeclineInvite,
            58 => ChatCommand::Remove { user, reason: None },
            59 => ChatCommand::ChangeRole { user, role: self.role() },
            60..=61 => ChatCommand::TransferOwnership { to: user },
            _ => {
                let access = [None, Some(Access::Open), Some(Access::Invited)];
                let name = [None, Some(String::new()), Some(self.text().to_owned())];
                let pick = |byte: u8| usize::from(byte) % 3;
                let (name, topic) = (name[pick(self.0[5])].clone(), name[pick(self.0[6])].clone());
                ChatCommand::Update { name, topic, access: access[pick(self.0[7])] }
            }
        }
    }

    fn reaction(&self) -> String {
        REACTIONS[usize::from(self.0[5]) % REACTIONS.len()].to_owned()
    }

    /// Tries the step on a chat; whether something happened.
    pub fn take(&self, chat: &mut PureChat) -> bool {
        let messages: Vec<_> = chat.messages.values().map(|m| m.reference()).collect();
        let members: Vec<_> = chat.state.active_members().map(|(user, _)| user.clone()).collect();
        let (actor, head) = (self.actor(&members), chat.state.version);
        chat.now.0 += self.pause();
        let _refused = chat.ask(&actor, &self.command(&messages, head));
        chat.state.version > head
    }
}

/// A group for a random history; the kinds from 0 to 31 differ.
#[must_use]
pub fn random_group(kind: u8) -> NewGroup {
    let mut group = NewGroup::named("random");
    if kind & 1 == 1 {
        group = group.open();
    }
    if kind & 2 == 2 {
        group = group.with_history(HistoryVisibility::Joined);
    }
    if kind & 4 == 4 {
        group = group.with_reactions(ReactionPolicy::Unique);
    }
    if kind & 8 == 8 {
        group = group.with_member(person(1), Role::Moderator);
    }
    if kind & 16 == 16 {
        group = group.with_member(person(2), Role::Member).with_member(person(3), Role::Member);
    }
    group
}
