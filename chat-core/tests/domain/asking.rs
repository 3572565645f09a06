//! Short words for what the tests ask of a chat.

use chat_core::UserId;
use chat_core::Version;
use chat_core::domain::{
    ChatCommand, ChatEvent, Decision, EditMessage, Mentions, MessageRef, NewGroup, Rejection, Role,
    SendMessage,
};
use chat_core::testkit::scenarios::PureChat;

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

/// Ann owns it, max is a moderator, bob and carl are members; dora is nobody.
pub(crate) fn group() -> PureChat {
    PureChat::group(&user("ann"), &staffed(NewGroup::named("tea")))
}

pub(crate) fn staffed(group: NewGroup) -> NewGroup {
    group
        .with_member(user("max"), Role::Moderator)
        .with_member(user("bob"), Role::Member)
        .with_member(user("carl"), Role::Member)
}

pub(crate) fn send(text: &str) -> ChatCommand {
    ChatCommand::Send(message(text))
}

pub(crate) fn message(text: &str) -> SendMessage {
    SendMessage {
        text: text.into(),
        reply_to: None,
        mentions: Mentions::default(),
        client_message_id: None,
    }
}

pub(crate) fn naming(users: &[&str], everyone: bool) -> Mentions {
    Mentions { users: users.iter().map(|name| user(name)).collect(), everyone }
}

pub(crate) fn edit(target: MessageRef, text: &str) -> ChatCommand {
    ChatCommand::Edit(new_text(target, text))
}

pub(crate) fn new_text(target: MessageRef, text: &str) -> EditMessage {
    EditMessage {
        target,
        text: text.into(),
        mentions: Mentions::default(),
        expected_revision: None,
    }
}

pub(crate) fn delete(target: MessageRef) -> ChatCommand {
    ChatCommand::Delete { target, reason: None }
}

pub(crate) fn react(target: MessageRef, key: &str) -> ChatCommand {
    ChatCommand::React { target, key: key.into() }
}

pub(crate) fn unreact(target: MessageRef, key: &str) -> ChatCommand {
    ChatCommand::Unreact { target, key: key.into() }
}

pub(crate) fn add(name: &str, role: Role) -> ChatCommand {
    ChatCommand::Add { user: user(name), role }
}

pub(crate) fn invite(name: &str, role: Role) -> ChatCommand {
    ChatCommand::Invite { user: user(name), role }
}

pub(crate) fn revoke(name: &str) -> ChatCommand {
    ChatCommand::RevokeInvite { user: user(name) }
}

pub(crate) fn remove(name: &str) -> ChatCommand {
    ChatCommand::Remove { user: user(name), reason: None }
}

pub(crate) fn change_role(name: &str, role: Role) -> ChatCommand {
    ChatCommand::ChangeRole { user: user(name), role }
}

pub(crate) fn transfer(name: &str) -> ChatCommand {
    ChatCommand::TransferOwnership { to: user(name) }
}

pub(crate) fn read(up_to: u64) -> ChatCommand {
    ChatCommand::MarkRead { up_to: Version(up_to) }
}

pub(crate) fn unread(from: u64) -> ChatCommand {
    ChatCommand::MarkUnread { from: Version(from) }
}

/// The answer, of which the tests compare the parts.
pub(crate) type Answer = Result<Decision, Rejection>;

/// When somebody asks for something …
pub(crate) fn when(chat: &mut PureChat, name: &str, command: &ChatCommand) -> Answer {
    let (before, answer) = (chat.clone(), chat.ask(&user(name), command));
    if !matches!(answer, Ok(Decision::Event(_))) {
        assert_eq!(chat.state, before.state, "what is refused changes nothing");
    }
    answer
}

/// … then this happens.
pub(crate) fn then(event: ChatEvent) -> Answer {
    Ok(Decision::Event(event))
}

/// … then nothing has to happen.
pub(crate) fn no_change() -> Answer {
    Ok(Decision::NoChange)
}

/// … then it is not allowed, to whoever asks.
pub(crate) fn assert_forbidden(answer: &Answer) {
    assert!(matches!(answer, Err(Rejection::Forbidden { .. })), "forbidden, got {answer:?}");
}
