//! Reactions: sets of users by key, under both policies.

use std::collections::BTreeMap;

use chat_core::domain::{
    ChatCommand, ChatEvent, MessageRef, NewGroup, ReactionAdded, ReactionPolicy, ReactionRemoved,
    Rejection,
};
use chat_core::testkit::scenarios::PureChat;

use crate::asking::*;

fn written(policy: ReactionPolicy) -> (PureChat, MessageRef) {
    let group = staffed(NewGroup::named("x").with_reactions(policy));
    let mut chat = PureChat::group(&user("ann"), &group);
    let seq = chat.must(&user("ann"), &send("x"));
    let target = chat.at(seq);
    (chat, target)
}

fn on(chat: &PureChat, target: MessageRef) -> BTreeMap<String, Vec<String>> {
    let reactions = &chat.message(target.seq).reactions;
    let names = |users: &Vec<chat_core::UserId>| users.iter().map(ToString::to_string).collect();
    reactions.iter().map(|(key, users)| (key.clone(), names(users))).collect()
}

fn expected(reactions: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let names = |users: &[&str]| users.iter().map(ToString::to_string).collect();
    reactions.iter().map(|(key, users)| ((*key).to_owned(), names(users))).collect()
}

#[test]
fn a_reaction_is_put_once_and_taken_off_once() {
    let (mut chat, target) = written(ReactionPolicy::Distinct);
    let added = ReactionAdded { by: user("bob"), target, key: "👍".into() };
    let answer = when(&mut chat, "bob", &react(target, "👍"));
    assert_eq!(answer, then(ChatEvent::ReactionAdded(added)));
    assert_eq!(when(&mut chat, "bob", &react(target, "👍")), no_change());
    assert_eq!(on(&chat, target), expected(&[("👍", &["bob"])]));
    let removed = ReactionRemoved { by: user("bob"), target, key: "👍".into() };
    let answer = when(&mut chat, "bob", &unreact(target, "👍"));
    assert_eq!(answer, then(ChatEvent::ReactionRemoved(removed)));
    assert_eq!(when(&mut chat, "bob", &unreact(target, "👍")), no_change());
    assert_eq!(on(&chat, target), expected(&[]));
}

#[test]
fn several_people_and_keys_stand_beside_each_other() {
    let (mut chat, target) = written(ReactionPolicy::Distinct);
    for (name, key) in [("carl", "a"), ("bob", "a"), ("bob", "b"), ("ann", "a")] {
        chat.must(&user(name), &react(target, key));
    }
    assert_eq!(on(&chat, target), expected(&[("a", &["carl", "bob", "ann"]), ("b", &["bob"])]));
    chat.must(&user("bob"), &unreact(target, "a"));
    assert_eq!(on(&chat, target), expected(&[("a", &["carl", "ann"]), ("b", &["bob"])]));
    assert_eq!(when(&mut chat, "carl", &unreact(target, "b")), no_change());
}

#[test]
fn keys_are_compared_by_their_bytes() {
    let (mut chat, target) = written(ReactionPolicy::Distinct);
    chat.must(&user("bob"), &react(target, "é"));
    chat.must(&user("bob"), &react(target, "e\u{301}"));
    chat.must(&user("bob"), &react(target, "❤"));
    chat.must(&user("bob"), &react(target, "❤\u{fe0f}"));
    assert_eq!(on(&chat, target).len(), 4);
}

#[test]
fn with_the_unique_policy_a_new_reaction_takes_the_place_of_the_old_in_one_event() {
    let (mut chat, target) = written(ReactionPolicy::Unique);
    chat.must(&user("bob"), &react(target, "a"));
    chat.must(&user("carl"), &react(target, "a"));
    let version = chat.must(&user("bob"), &react(target, "b"));
    assert_eq!(chat.state.version, version);
    assert_eq!(on(&chat, target), expected(&[("a", &["carl"]), ("b", &["bob"])]));
    assert_eq!(when(&mut chat, "bob", &unreact(target, "a")), no_change());
    chat.must(&user("carl"), &react(target, "b"));
    assert_eq!(on(&chat, target), expected(&[("b", &["bob", "carl"])]));
}

#[test]
fn with_the_unique_policy_a_replacement_needs_no_more_room_than_it_frees() {
    let (mut chat, target) = written(ReactionPolicy::Unique);
    chat.limits.reactions_per_message = 2;
    chat.must(&user("bob"), &react(target, "a"));
    chat.must(&user("carl"), &react(target, "b"));
    chat.must(&user("bob"), &react(target, "c"));
    assert_eq!(on(&chat, target), expected(&[("b", &["carl"]), ("c", &["bob"])]));
    chat.must(&user("max"), &react(target, "c"));
    let answer = when(&mut chat, "max", &react(target, "d"));
    assert!(matches!(answer, Err(Rejection::LimitExceeded { .. })), "{answer:?}");
}

#[test]
fn a_key_is_visible_text() {
    let (mut chat, target) = written(ReactionPolicy::Distinct);
    for key in ["", "\n", "a\u{0}b", "\u{85}"] {
        let answer = when(&mut chat, "bob", &react(target, key));
        assert!(matches!(answer, Err(Rejection::InvalidArgument { .. })), "{key:?}: {answer:?}");
    }
}

#[test]
fn who_is_gone_keeps_the_reactions_but_changes_them_no_more() {
    let (mut chat, target) = written(ReactionPolicy::Distinct);
    chat.must(&user("bob"), &react(target, "a"));
    chat.must(&user("bob"), &ChatCommand::Leave);
    assert_eq!(when(&mut chat, "bob", &unreact(target, "a")), Err(Rejection::NotMember));
    assert_eq!(on(&chat, target), expected(&[("a", &["bob"])]));
}
