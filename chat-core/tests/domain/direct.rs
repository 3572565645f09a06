//! Direct chats and notes: a fixed set of people, and nobody above another.

use chat_core::UserId;
use chat_core::domain::{
    Access, ChatCommand, ChatCreated, ChatKind, LimitName, Limits, Rejection, Role,
};
use chat_core::testkit::scenarios::PureChat;

use crate::asking::*;

fn direct(actor: &str, others: &[&str]) -> (chat_core::ChatId, ChatCreated) {
    let others: Vec<UserId> = others.iter().map(|name| user(name)).collect();
    ChatCreated::direct(&user(actor), &others, &Limits::default()).unwrap()
}

#[test]
fn order_repeats_and_naming_oneself_give_the_same_chat() {
    let (id, created) = direct("ann", &["bob", "carl"]);
    for others in [["carl", "bob"].as_slice(), &["bob", "carl", "ann"], &["bob", "carl", "bob"]] {
        assert_eq!(direct("ann", others), (id.clone(), created.clone()), "{others:?}");
    }
    assert_eq!(direct("bob", &["ann", "carl"]).0, id);
    assert_eq!(direct("carl", &["bob", "ann", "carl"]).0, id);
    assert_ne!(direct("ann", &["bob"]).0, id);
    assert_ne!(direct("ann", &["bob", "dora"]).0, id);
}

#[test]
fn alone_it_is_the_notes_of_one() {
    let (id, created) = direct("ann", &[]);
    assert_eq!((created.kind, created.members.len()), (ChatKind::Notes, 0));
    assert_eq!(direct("ann", &["ann", "ann"]), (id.clone(), created));
    assert_ne!(direct("bob", &[]).0, id);
}

#[test]
fn nobody_in_a_direct_chat_outranks_another() {
    let chat = PureChat::direct(&user("ann"), &[user("bob"), user("carl")]);
    assert_eq!(chat.state.kind, Some(ChatKind::Direct));
    let roles: Vec<_> = chat.state.active_members().map(|(_, member)| member.role).collect();
    assert_eq!(roles, [Role::Member; 3]);
}

#[test]
fn what_changes_a_group_is_forbidden_in_direct_chats_and_notes() {
    let direct = PureChat::direct(&user("ann"), &[user("bob")]);
    let notes = PureChat::direct(&user("ann"), &[]);
    let update = ChatCommand::Update { name: Some("x".into()), topic: None, access: None };
    let open = ChatCommand::Update { name: None, topic: None, access: Some(Access::Open) };
    let commands = [
        update,
        open,
        add("dora", Role::Member),
        invite("dora", Role::Member),
        revoke("dora"),
        remove("bob"),
        change_role("bob", Role::Moderator),
        transfer("bob"),
        ChatCommand::Leave,
    ];
    for chat in [direct, notes] {
        for command in &commands {
            let answer = when(&mut chat.clone(), "ann", command);
            assert!(
                matches!(answer, Err(Rejection::Forbidden { .. })),
                "{command:?} in {:?}: {answer:?}",
                chat.state.kind
            );
        }
    }
}

#[test]
fn in_a_direct_chat_nobody_deletes_or_edits_what_the_other_wrote() {
    let mut chat = PureChat::direct(&user("ann"), &[user("bob")]);
    let seq = chat.must(&user("bob"), &send("mine"));
    let target = chat.at(seq);
    assert_forbidden(&when(&mut chat, "ann", &delete(target)));
    assert_forbidden(&when(&mut chat, "ann", &edit(target, "yours")));
    chat.must(&user("bob"), &edit(target, "still mine"));
    chat.must(&user("bob"), &delete(target));
}

#[test]
fn a_stranger_learns_nothing_of_a_direct_chat() {
    let mut chat = PureChat::direct(&user("ann"), &[user("bob")]);
    for command in [ChatCommand::Join, send("x"), ChatCommand::DeclineInvite, read(1)] {
        assert_eq!(when(&mut chat, "dora", &command), Err(Rejection::ChatNotFound));
    }
    assert_eq!(when(&mut chat, "ann", &ChatCommand::Join), no_change());
}

#[test]
fn an_empty_direct_chat_is_only_in_the_list_of_who_opened_it() {
    let (ann, bob) = (user("ann"), user("bob"));
    let mut chat = PureChat::direct(&ann, std::slice::from_ref(&bob));
    assert!(chat.state.activity(&ann).is_some());
    assert_eq!(chat.state.activity(&bob), None);
    let seq = chat.must(&ann, &send("hi"));
    assert!(chat.state.activity(&bob).is_some());
    let target = chat.at(seq);
    chat.must(&ann, &delete(target));
    assert!(chat.state.activity(&bob).is_some(), "it was written in, so it stays");
    let notes = PureChat::direct(&ann, &[]);
    assert!(notes.state.activity(&ann).is_some());
}

#[test]
fn the_number_of_people_is_limited_and_repeats_do_not_count() {
    let limit = Limits::default().direct_members;
    let mut others: Vec<_> = (1..limit).map(|n| user(&format!("u{n}"))).collect();
    others.extend(others.clone());
    others.push(user("ann"));
    let made = ChatCreated::direct(&user("ann"), &others, &Limits::default()).unwrap();
    assert_eq!(made.1.members.len(), limit - 1);
    others.push(user("one-more"));
    let (name, value) = (LimitName::DirectMembers, limit + 1);
    assert_eq!(
        ChatCreated::direct(&user("ann"), &others, &Limits::default()),
        Err(Rejection::LimitExceeded { name, value, limit })
    );
}
