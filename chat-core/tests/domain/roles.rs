//! Roles, rank, and the one owner.

use chat_core::domain::{ChatEvent, OwnershipTransferred, Rejection, Role, RoleChanged};
use chat_core::testkit::scenarios::PureChat;

use crate::asking::*;

fn role(chat: &PureChat, name: &str) -> Role {
    chat.state.active(&user(name)).unwrap().role
}

fn owners(chat: &PureChat) -> Vec<String> {
    let owners = chat.state.active_members().filter(|(_, member)| member.role == Role::Owner);
    owners.map(|(user, _)| user.to_string()).collect()
}

#[test]
fn the_owner_raises_and_lowers_others() {
    let mut chat = group();
    let (by, other) = (user("ann"), user("bob"));
    let event = ChatEvent::RoleChanged(RoleChanged { by, user: other, role: Role::Moderator });
    assert_eq!(when(&mut chat, "ann", &change_role("bob", Role::Moderator)), then(event));
    assert_eq!(role(&chat, "bob"), Role::Moderator);
    assert_eq!(when(&mut chat, "ann", &change_role("bob", Role::Moderator)), no_change());
    chat.must(&user("ann"), &change_role("max", Role::Member));
    assert_eq!(role(&chat, "max"), Role::Member);
}

#[test]
fn no_role_is_given_at_or_above_the_own_and_nobody_raises_oneself() {
    let mut chat = group();
    chat.must(&user("ann"), &add("mia", Role::Moderator));
    for (name, command) in [
        ("ann", change_role("bob", Role::Owner)),
        ("max", change_role("bob", Role::Moderator)),
        ("max", change_role("bob", Role::Owner)),
        ("max", change_role("mia", Role::Member)),
        ("max", change_role("ann", Role::Member)),
        ("max", change_role("max", Role::Owner)),
        ("bob", change_role("bob", Role::Moderator)),
        ("bob", change_role("carl", Role::Moderator)),
    ] {
        assert_forbidden(&when(&mut chat, name, &command));
    }
}

#[test]
fn a_moderator_may_step_down_and_the_owner_may_not() {
    let mut chat = group();
    chat.must(&user("max"), &change_role("max", Role::Member));
    assert_eq!(role(&chat, "max"), Role::Member);
    for lower in [Role::Member, Role::Moderator] {
        let answer = when(&mut chat, "ann", &change_role("ann", lower));
        assert_eq!(answer, Err(Rejection::LastOwner));
    }
    assert_eq!(when(&mut chat, "ann", &change_role("ann", Role::Owner)), no_change());
}

#[test]
fn a_role_is_changed_of_members_only() {
    let mut chat = group();
    let answer = when(&mut chat, "ann", &change_role("dora", Role::Moderator));
    assert_eq!(answer, Err(Rejection::NoSuchMember));
    chat.must(&user("bob"), &chat_core::domain::ChatCommand::Leave);
    let answer = when(&mut chat, "ann", &change_role("bob", Role::Moderator));
    assert_eq!(answer, Err(Rejection::NoSuchMember));
}

#[test]
fn a_transfer_is_one_event_that_makes_one_owner_of_another() {
    let mut chat = group();
    let event = OwnershipTransferred { by: user("ann"), to: user("bob") };
    let answer = when(&mut chat, "ann", &transfer("bob"));
    assert_eq!(answer, then(ChatEvent::OwnershipTransferred(event)));
    assert_eq!(owners(&chat), ["bob"]);
    assert_eq!(role(&chat, "ann"), Role::Moderator);
    assert_forbidden(&when(&mut chat, "ann", &transfer("carl")));
    chat.must(&user("bob"), &transfer("ann"));
    assert_eq!(owners(&chat), ["ann"]);
}

#[test]
fn a_transfer_goes_from_the_owner_to_another_member() {
    let mut chat = group();
    for name in ["bob", "max"] {
        assert_forbidden(&when(&mut chat, name, &transfer("carl")));
        assert_forbidden(&when(&mut chat, name, &transfer(name)));
    }
    assert_eq!(when(&mut chat, "ann", &transfer("dora")), Err(Rejection::NoSuchMember));
    assert_eq!(when(&mut chat, "ann", &transfer("ann")), no_change());
    assert_eq!(owners(&chat), ["ann"]);
}

#[test]
fn roles_count_at_the_moment_of_the_decision() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    chat.must(&user("ann"), &change_role("max", Role::Member));
    assert_forbidden(&when(&mut chat, "max", &delete(target)));
    assert_forbidden(&when(&mut chat, "max", &remove("bob")));
}
