//! Name and topic, leaving, removing, coming back.

use chat_core::domain::{
    Access, ChatCommand, ChatEvent, ChatUpdated, MemberLeft, MemberRemoved, Membership, NewGroup,
    Rejection, Role,
};
use chat_core::testkit::scenarios::PureChat;
use chat_core::{Timestamp, Version};

use crate::asking::*;

const LEAVE: ChatCommand = ChatCommand::Leave;

fn update(name: Option<&str>, topic: Option<&str>, access: Option<Access>) -> ChatCommand {
    ChatCommand::Update { name: name.map(Into::into), topic: topic.map(Into::into), access }
}

#[test]
fn name_and_topic_change_by_what_is_given_and_an_empty_text_removes() {
    let mut chat = group();
    let answer = when(&mut chat, "max", &update(None, Some("leaves"), None));
    let by = user("max");
    let event = ChatUpdated { by, name: None, topic: Some("leaves".into()), access: None };
    assert_eq!(answer, then(ChatEvent::ChatUpdated(event)));
    assert_eq!(chat.state.name.as_deref(), Some("tea"));
    assert_eq!(chat.state.topic.as_deref(), Some("leaves"));
    chat.must(&user("ann"), &update(Some(""), Some("more leaves"), None));
    assert_eq!(
        (chat.state.name.as_deref(), chat.state.topic.as_deref()),
        (None, Some("more leaves"))
    );
}

#[test]
fn what_is_so_already_is_no_change() {
    let mut chat = group();
    for command in [
        update(None, None, None),
        update(Some("tea"), None, None),
        update(None, Some(""), None),
        update(Some("tea"), Some(""), Some(Access::Invited)),
    ] {
        assert_eq!(when(&mut chat, "ann", &command), no_change(), "{command:?}");
    }
    chat.must(&user("ann"), &update(Some("tea"), None, Some(Access::Open)));
    assert_eq!(chat.state.access, Access::Open);
}

#[test]
fn only_moderators_change_the_chat() {
    let mut chat = group();
    assert_forbidden(&when(&mut chat, "bob", &update(Some("x"), None, None)));
    assert_forbidden(&when(&mut chat, "bob", &update(None, None, None)));
    chat.must(&user("max"), &update(Some("x"), None, None));
}

#[test]
fn who_leaves_is_a_member_no_more() {
    let mut chat = group();
    let left = ChatEvent::MemberLeft(MemberLeft { by: user("bob") });
    assert_eq!(when(&mut chat, "bob", &LEAVE), then(left));
    assert_eq!(chat.state.members[&user("bob")].membership, Membership::Left(Version(2)));
    for command in [LEAVE, send("x"), read(1), ChatCommand::Hide, ChatCommand::DeclineInvite] {
        assert_eq!(when(&mut chat, "bob", &command), Err(Rejection::NotMember), "{command:?}");
    }
}

#[test]
fn who_is_removed_is_a_member_no_more_and_the_reason_is_kept() {
    let mut chat = group();
    let why = Some("noise".to_owned());
    let command = ChatCommand::Remove { user: user("bob"), reason: why.clone() };
    let removed = MemberRemoved { by: user("max"), user: user("bob"), reason: why };
    assert_eq!(when(&mut chat, "max", &command), then(ChatEvent::MemberRemoved(removed)));
    assert_eq!(chat.state.members[&user("bob")].membership, Membership::Removed(Version(2)));
    assert_eq!(when(&mut chat, "max", &remove("bob")), no_change());
    assert_eq!(when(&mut chat, "max", &remove("nobody")), Err(Rejection::NoSuchMember));
    assert_eq!(when(&mut chat, "bob", &ChatCommand::Join), Err(Rejection::NotMember));
}

#[test]
fn nobody_is_removed_by_the_same_or_a_lower_rank() {
    let mut chat = group();
    chat.must(&user("ann"), &add("mia", Role::Moderator));
    for (name, command) in [
        ("bob", remove("carl")),
        ("bob", remove("max")),
        ("bob", remove("bob")),
        ("max", remove("mia")),
        ("max", remove("ann")),
        ("max", remove("max")),
        ("ann", remove("ann")),
    ] {
        assert_forbidden(&when(&mut chat, name, &command));
    }
    chat.must(&user("ann"), &remove("mia"));
}

#[test]
fn the_owner_stays_until_the_group_has_another() {
    let mut chat = group();
    assert_eq!(when(&mut chat, "ann", &LEAVE), Err(Rejection::LastOwner));
    let mut alone = PureChat::group(&user("ann"), &NewGroup::named("x"));
    assert_eq!(when(&mut alone, "ann", &LEAVE), Err(Rejection::LastOwner));
    chat.must(&user("ann"), &transfer("bob"));
    chat.must(&user("ann"), &LEAVE);
    assert_eq!(when(&mut chat, "bob", &LEAVE), Err(Rejection::LastOwner));
}

#[test]
fn who_comes_back_is_a_new_member_with_the_role_that_is_given_now() {
    let mut chat = group();
    chat.now = Timestamp(2_000_000_000_000);
    chat.must(&user("max"), &LEAVE);
    chat.now = Timestamp(2_000_000_005_000);
    let joined = chat.must(&user("ann"), &add("max", Role::Member));
    let member = chat.state.active(&user("max")).unwrap();
    assert_eq!((member.role, member.joined, member.read), (Role::Member, joined, joined));
    assert_eq!(member.joined_at, Timestamp(2_000_000_005_000));
    assert_forbidden(&when(&mut chat, "max", &remove("bob")));
}

#[test]
fn who_was_removed_from_an_open_group_may_come_back_as_a_plain_member() {
    let mut chat = PureChat::group(&user("ann"), &staffed(NewGroup::named("x").open()));
    chat.must(&user("ann"), &remove("max"));
    chat.must(&user("max"), &ChatCommand::Join);
    assert_eq!(chat.state.active(&user("max")).unwrap().role, Role::Member);
}
