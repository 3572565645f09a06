//! Who may see what: ranges of history, and events that are for one alone.

use chat_core::Version;
use chat_core::domain::{ChatCommand, HistoryVisibility, NewGroup, Rejection, Role, readable};
use chat_core::testkit::scenarios::PureChat;

use crate::asking::*;

fn seen(chat: &PureChat, name: &str) -> Vec<u64> {
    let Some(member) = chat.state.members.get(&user(name)) else { return vec![] };
    (1..=chat.state.version.0).filter(|version| member.sees(Version(*version))).collect()
}

/// 1 created, 2 message, 3 dora joins, 4 message, 5 dora leaves, 6 message, 7 dora joins, 8 message.
fn with_dora(history: HistoryVisibility) -> PureChat {
    let group = staffed(NewGroup::named("x").with_history(history));
    let mut chat = PureChat::group(&user("ann"), &group);
    chat.must(&user("ann"), &send("2"));
    chat.must(&user("ann"), &add("dora", Role::Member));
    chat.must(&user("ann"), &send("4"));
    chat.must(&user("dora"), &ChatCommand::Leave);
    chat.must(&user("ann"), &send("6"));
    chat.must(&user("ann"), &add("dora", Role::Member));
    chat.must(&user("ann"), &send("8"));
    chat
}

#[test]
fn joined_history_begins_with_each_joining_and_ends_with_each_leaving() {
    let mut chat = with_dora(HistoryVisibility::Joined);
    assert_eq!(seen(&chat, "dora"), [3, 4, 5, 7, 8]);
    chat.must(&user("max"), &remove("dora"));
    chat.must(&user("ann"), &send("10"));
    assert_eq!(seen(&chat, "dora"), [3, 4, 5, 7, 8, 9]);
    assert_eq!(seen(&chat, "bob"), (1..=10).collect::<Vec<_>>());
    assert_eq!(chat.state.last_message(&user("dora")), Some(Version(8)));
}

#[test]
fn shared_history_begins_at_the_beginning_and_ends_with_the_last_leaving() {
    let mut chat = with_dora(HistoryVisibility::Shared);
    assert_eq!(seen(&chat, "dora"), (1..=8).collect::<Vec<_>>());
    chat.must(&user("max"), &remove("dora"));
    chat.must(&user("ann"), &send("10"));
    assert_eq!(seen(&chat, "dora"), (1..=9).collect::<Vec<_>>());
}

#[test]
fn shared_history_while_away_is_not_seen_until_the_return() {
    let mut chat = with_dora(HistoryVisibility::Shared);
    let log = chat.log.clone();
    chat = PureChat::empty();
    for record in &log[..6] {
        chat.fold(record.event.clone());
    }
    assert_eq!(seen(&chat, "dora"), [1, 2, 3, 4, 5]);
}

#[test]
fn the_bounds_of_sight_are_those_of_the_ranges() {
    let chat = with_dora(HistoryVisibility::Joined);
    let dora = &chat.state.members[&user("dora")];
    assert_eq!((dora.first_visible(), dora.last_visible()), (Version(3), Version::MAX));
    assert!(!dora.sees(Version(2)) && !dora.sees(Version(6)) && dora.sees(Version(7)));
}

#[test]
fn somebody_who_comes_and_goes_all_the_time_costs_a_bounded_state() {
    let group = NewGroup::named("x").open().with_history(HistoryVisibility::Joined);
    let mut chat = PureChat::group(&user("ann"), &group);
    for _ in 0..200 {
        chat.must(&user("dora"), &ChatCommand::Join);
        chat.must(&user("dora"), &ChatCommand::Leave);
    }
    let last = chat.must(&user("dora"), &ChatCommand::Join);
    let dora = &chat.state.members[&user("dora")];
    assert!(dora.sees(last) && !dora.sees(Version(2)), "the oldest ranges are forgotten");
    assert!(serde_json::to_string(dora).unwrap().len() < 4_096);
}

#[test]
fn a_first_unread_message_is_one_that_the_member_sees() {
    let mut chat = with_dora(HistoryVisibility::Joined);
    chat.must(&user("dora"), &unread(4));
    assert_eq!(chat.state.first_unread(&user("dora")), Some(Version(4)));
    let target = chat.at(Version(4));
    chat.must(&user("ann"), &delete(target));
    assert_eq!(chat.state.first_unread(&user("dora")), Some(Version(8)), "6 is not for dora");
    assert_eq!(chat.state.unread(&user("dora")), 1);
    assert_eq!(chat.state.first_unread(&user("nobody")), None);
}

#[test]
fn marks_and_hiding_are_for_one_alone_and_all_else_is_for_all() {
    let mut chat = with_dora(HistoryVisibility::Shared);
    let target = chat.at(Version(2));
    chat.must(&user("ann"), &edit(target, "2!"));
    chat.must(&user("bob"), &react(target, "a"));
    chat.must(&user("bob"), &unreact(target, "a"));
    chat.must(&user("bob"), &read(2));
    chat.must(&user("ann"), &delete(target));
    chat.must(&user("ann"), &invite("evi", Role::Member));
    chat.must(&user("ann"), &revoke("evi"));
    chat.must(&user("ann"), &change_role("bob", Role::Moderator));
    chat.must(&user("ann"), &transfer("bob"));
    let open = chat.log.len();
    assert!(chat.log.iter().all(|record| record.event.private_to().is_none()));
    chat.must(&user("carl"), &unread(4));
    chat.must(&user("carl"), &ChatCommand::Hide);
    let carl = user("carl");
    let private: Vec<_> = chat.log[open..].iter().map(|r| r.event.private_to()).collect();
    assert_eq!(private, [Some(&carl), Some(&carl)]);
}

#[test]
fn whoever_was_a_member_may_read_and_others_learn_no_more_than_they_may() {
    let mut chat = with_dora(HistoryVisibility::Shared);
    let known = |chat: &PureChat, name: &str| readable(&chat.state, &user(name)).map(|_| ());
    assert_eq!(known(&chat, "bob"), Ok(()));
    assert_eq!(known(&chat, "evi"), Err(Rejection::ChatNotFound));
    chat.must(&user("ann"), &invite("evi", Role::Member));
    assert_eq!(known(&chat, "evi"), Err(Rejection::NotMember));
    chat.must(&user("dora"), &ChatCommand::Leave);
    assert_eq!(known(&chat, "dora"), Ok(()));
    let open = PureChat::group(&user("ann"), &NewGroup::named("x").open());
    assert_eq!(known(&open, "evi"), Err(Rejection::NotMember));
    assert_eq!(known(&PureChat::empty(), "evi"), Err(Rejection::ChatNotFound));
}
