//! Coming in: by invitation, through an open door, or brought by somebody.

use chat_core::domain::{
    Access, ChatCommand, ChatEvent, InviteDeclined, InviteRevoked, MemberInvited, MemberJoined,
    NewGroup, Rejection, Role,
};
use chat_core::testkit::scenarios::PureChat;

use crate::asking::*;

const JOIN: ChatCommand = ChatCommand::Join;
const DECLINE: ChatCommand = ChatCommand::DeclineInvite;

fn invited(by: &str, name: &str, role: Role) -> ChatEvent {
    ChatEvent::MemberInvited(MemberInvited { by: user(by), user: user(name), role })
}

fn joined(by: &str, name: &str, role: Option<Role>) -> ChatEvent {
    ChatEvent::MemberJoined(MemberJoined { by: user(by), user: user(name), role })
}

fn open_group() -> PureChat {
    PureChat::group(&user("ann"), &staffed(NewGroup::named("tea").open()))
}

#[test]
fn who_was_invited_comes_in_as_invited_and_the_invitation_is_used_up() {
    let mut chat = group();
    let answer = when(&mut chat, "ann", &invite("dora", Role::Moderator));
    assert_eq!(answer, then(invited("ann", "dora", Role::Moderator)));
    assert_eq!(when(&mut chat, "dora", &send("x")), Err(Rejection::NotMember));
    assert_eq!(when(&mut chat, "dora", &JOIN), then(joined("dora", "dora", None)));
    assert_eq!(chat.state.active(&user("dora")).unwrap().role, Role::Moderator);
    chat.must(&user("dora"), &ChatCommand::Leave);
    assert_eq!(when(&mut chat, "dora", &JOIN), Err(Rejection::NotMember));
}

#[test]
fn an_invitation_can_be_declined_once() {
    let mut chat = group();
    chat.must(&user("max"), &invite("dora", Role::Member));
    let declined = ChatEvent::InviteDeclined(InviteDeclined { by: user("dora") });
    assert_eq!(when(&mut chat, "dora", &DECLINE), then(declined));
    assert_eq!(when(&mut chat, "dora", &DECLINE), Err(Rejection::ChatNotFound));
    assert_eq!(when(&mut chat, "dora", &JOIN), Err(Rejection::ChatNotFound));
    assert_eq!(when(&mut chat, "bob", &DECLINE), Err(Rejection::NotInvited));
}

#[test]
fn an_invitation_can_be_taken_back_which_ends_it() {
    let mut chat = group();
    chat.must(&user("max"), &invite("dora", Role::Member));
    let revoked = InviteRevoked { by: user("ann"), user: user("dora") };
    let answer = when(&mut chat, "ann", &revoke("dora"));
    assert_eq!(answer, then(ChatEvent::InviteRevoked(revoked)));
    assert_eq!(when(&mut chat, "ann", &revoke("dora")), no_change());
    assert_eq!(when(&mut chat, "dora", &JOIN), Err(Rejection::ChatNotFound));
}

#[test]
fn inviting_again_or_a_member_changes_nothing_and_another_role_replaces() {
    let mut chat = group();
    chat.must(&user("ann"), &invite("dora", Role::Member));
    assert_eq!(when(&mut chat, "max", &invite("dora", Role::Member)), no_change());
    assert_eq!(when(&mut chat, "ann", &invite("bob", Role::Moderator)), no_change());
    let answer = when(&mut chat, "ann", &invite("dora", Role::Moderator));
    assert_eq!(answer, then(invited("ann", "dora", Role::Moderator)));
    chat.must(&user("dora"), &JOIN);
    assert_eq!(chat.state.active(&user("dora")).unwrap().role, Role::Moderator);
}

#[test]
fn a_closed_group_lets_only_moderators_bring_people_in() {
    let mut chat = group();
    assert_forbidden(&when(&mut chat, "bob", &invite("dora", Role::Member)));
    assert_forbidden(&when(&mut chat, "bob", &add("dora", Role::Member)));
    assert_forbidden(&when(&mut chat, "bob", &revoke("dora")));
    let answer = when(&mut chat, "max", &add("dora", Role::Member));
    assert_eq!(answer, then(joined("max", "dora", Some(Role::Member))));
}

#[test]
fn an_open_group_lets_members_bring_members_in_and_strangers_come() {
    let mut chat = open_group();
    chat.must(&user("bob"), &invite("evi", Role::Member));
    chat.must(&user("bob"), &add("fred", Role::Member));
    assert_forbidden(&when(&mut chat, "bob", &invite("gus", Role::Moderator)));
    assert_forbidden(&when(&mut chat, "bob", &revoke("evi")));
    assert_eq!(when(&mut chat, "dora", &send("x")), Err(Rejection::NotMember));
    assert_eq!(when(&mut chat, "dora", &JOIN), then(joined("dora", "dora", None)));
    assert_eq!(when(&mut chat, "dora", &JOIN), no_change());
    assert_eq!(chat.state.active(&user("dora")).unwrap().role, Role::Member);
}

#[test]
fn a_role_that_is_given_is_below_the_givers() {
    for command in [add, invite] {
        let mut chat = group();
        assert_forbidden(&when(&mut chat, "max", &command("dora", Role::Moderator)));
        assert_forbidden(&when(&mut chat, "max", &command("dora", Role::Owner)));
        assert_forbidden(&when(&mut chat, "ann", &command("dora", Role::Owner)));
        chat.must(&user("ann"), &command("dora", Role::Moderator));
    }
}

#[test]
fn nobody_changes_an_invitation_to_the_own_rank_or_above() {
    let mut chat = open_group();
    chat.must(&user("ann"), &invite("dora", Role::Moderator));
    for (name, command) in [
        ("bob", invite("dora", Role::Member)),
        ("bob", add("dora", Role::Member)),
        ("max", invite("dora", Role::Member)),
        ("max", add("dora", Role::Member)),
        ("max", revoke("dora")),
    ] {
        assert_forbidden(&when(&mut chat, name, &command));
    }
    chat.must(&user("ann"), &invite("dora", Role::Member));
    chat.must(&user("max"), &revoke("dora"));
}

#[test]
fn adding_a_member_changes_nothing_and_uses_an_invitation_up() {
    let mut chat = group();
    assert_eq!(when(&mut chat, "ann", &add("bob", Role::Moderator)), no_change());
    assert_eq!(chat.state.active(&user("bob")).unwrap().role, Role::Member);
    chat.must(&user("ann"), &invite("dora", Role::Moderator));
    chat.must(&user("ann"), &add("dora", Role::Member));
    assert_eq!(chat.state.active(&user("dora")).unwrap().role, Role::Member);
    assert!(chat.state.invites.is_empty());
}

#[test]
fn a_closed_group_is_not_there_for_strangers() {
    let mut chat = group();
    for command in [JOIN, DECLINE, send("x"), read(1), ChatCommand::Hide, remove("bob")] {
        assert_eq!(when(&mut chat, "dora", &command), Err(Rejection::ChatNotFound));
    }
}

#[test]
fn closing_the_door_keeps_members_in_and_strangers_out() {
    let mut chat = open_group();
    chat.must(&user("dora"), &JOIN);
    let close = ChatCommand::Update { name: None, topic: None, access: Some(Access::Invited) };
    chat.must(&user("max"), &close);
    assert_eq!(when(&mut chat, "evi", &JOIN), Err(Rejection::ChatNotFound));
    chat.must(&user("dora"), &send("still here"));
}
