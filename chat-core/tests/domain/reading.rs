//! Read positions, marks, hiding, and the counts that follow.

use chat_core::domain::{
    ChatCommand, ChatEvent, ChatHidden, EditMessage, MarkedUnread, ReadAdvanced, Rejection, Role,
    SendMessage,
};
use chat_core::testkit::scenarios::PureChat;
use chat_core::{Timestamp, Version};

use crate::asking::*;

/// The group with messages by ann at 2, 3, 4.
fn three() -> PureChat {
    let mut chat = group();
    for text in ["2", "3", "4"] {
        chat.must(&user("ann"), &send(text));
    }
    chat
}

fn counts(chat: &PureChat, name: &str) -> (u64, u64) {
    (chat.state.unread(&user(name)), chat.state.unread_mentions(&user(name)))
}

fn position(chat: &PureChat, name: &str) -> Version {
    chat.state.active(&user(name)).unwrap().read
}

#[test]
fn reading_moves_forward_and_the_event_says_what_was_asked() {
    let mut chat = three();
    assert_eq!(counts(&chat, "bob"), (3, 0));
    let event = ReadAdvanced { by: user("bob"), up_to: Version(3) };
    assert_eq!(when(&mut chat, "bob", &read(3)), then(ChatEvent::ReadAdvanced(event)));
    assert_eq!((position(&chat, "bob"), counts(&chat, "bob")), (Version(3), (1, 0)));
    for earlier in [0, 1, 2, 3] {
        assert_eq!(when(&mut chat, "bob", &read(earlier)), no_change());
    }
    assert_eq!(counts(&chat, "carl"), (3, 0), "of no concern to others");
}

#[test]
fn reading_beyond_the_end_means_the_end() {
    let mut chat = three();
    chat.must(&user("bob"), &read(1_000));
    assert_eq!(position(&chat, "bob"), Version(4));
    chat.must(&user("ann"), &send("not read before it came"));
    assert_eq!(counts(&chat, "bob"), (1, 0));
}

#[test]
fn a_late_event_never_moves_a_position_back_or_beyond_its_own_place() {
    let mut chat = three();
    chat.must(&user("bob"), &read(4));
    let at = position(&chat, "bob");
    chat.fold(ChatEvent::ReadAdvanced(ReadAdvanced { by: user("bob"), up_to: Version(2) }));
    assert_eq!(position(&chat, "bob"), at);
    let up_to = Version::MAX;
    let own = chat.fold(ChatEvent::ReadAdvanced(ReadAdvanced { by: user("bob"), up_to }));
    assert_eq!(position(&chat, "bob"), Version(own.0 - 1));
}

#[test]
fn own_messages_are_never_unread() {
    let mut chat = three();
    assert_eq!(counts(&chat, "ann"), (0, 0));
    let naming = SendMessage { mentions: naming(&["ann"], true), ..message("me") };
    chat.must(&user("ann"), &ChatCommand::Send(naming));
    assert_eq!(counts(&chat, "ann"), (0, 0));
    assert_eq!(counts(&chat, "bob"), (4, 1));
}

#[test]
fn only_messages_are_counted() {
    let mut chat = three();
    let target = chat.at(Version(2));
    chat.must(&user("ann"), &edit(target, "two"));
    chat.must(&user("carl"), &react(target, "a"));
    chat.must(&user("carl"), &read(3));
    chat.must(&user("ann"), &add("dora", Role::Member));
    chat.must(&user("max"), &ChatCommand::Leave);
    assert_eq!(counts(&chat, "bob"), (3, 0));
}

#[test]
fn a_deleted_message_is_not_unread_and_its_mention_neither() {
    let mut chat = three();
    let naming = SendMessage { mentions: naming(&["bob"], false), ..message("bob!") };
    let seq = chat.must(&user("ann"), &ChatCommand::Send(naming));
    assert_eq!(counts(&chat, "bob"), (4, 1));
    chat.must(&user("bob"), &read(2));
    let (read, unread, named) = (chat.at(Version(2)), chat.at(Version(3)), chat.at(seq));
    chat.must(&user("ann"), &delete(read));
    assert_eq!(counts(&chat, "bob"), (3, 1), "deleting what was read");
    chat.must(&user("ann"), &delete(unread));
    assert_eq!(counts(&chat, "bob"), (2, 1));
    chat.must(&user("ann"), &delete(named));
    assert_eq!(counts(&chat, "bob"), (1, 0));
    assert_eq!(chat.state.first_unread(&user("bob")), Some(Version(4)));
    assert_eq!(chat.state.last_message(&user("bob")), Some(Version(4)));
}

#[test]
fn edits_add_and_take_mentions_and_change_nothing_else() {
    let mut chat = three();
    chat.must(&user("bob"), &read(2));
    let (old, new) = (chat.at(Version(2)), chat.at(Version(3)));
    let named = |target, users: &[&str], everyone| {
        let mentions = naming(users, everyone);
        ChatCommand::Edit(EditMessage { mentions, ..new_text(target, "x") })
    };
    chat.must(&user("ann"), &named(new, &["bob"], false));
    assert_eq!(counts(&chat, "bob"), (2, 1));
    chat.must(&user("ann"), &named(new, &["bob"], true));
    assert_eq!(counts(&chat, "bob"), (2, 1), "named twice is named once");
    assert_eq!(counts(&chat, "carl"), (3, 1));
    chat.must(&user("ann"), &named(new, &["carl"], false));
    assert_eq!((counts(&chat, "bob"), counts(&chat, "carl")), ((2, 0), (3, 1)));
    chat.must(&user("ann"), &named(old, &["bob"], false));
    assert_eq!(counts(&chat, "bob"), (2, 0), "what was read stays read");
}

#[test]
fn who_comes_later_is_not_named_by_everyone_before() {
    let mut chat = group();
    let all = SendMessage { mentions: naming(&[], true), ..message("all") };
    let seq = chat.must(&user("ann"), &ChatCommand::Send(all.clone()));
    chat.must(&user("ann"), &add("dora", Role::Member));
    assert_eq!(counts(&chat, "dora"), (0, 0));
    chat.must(&user("dora"), &unread(1));
    assert_eq!(counts(&chat, "dora"), (1, 0), "seen as unread, but not named");
    assert_eq!(counts(&chat, "bob"), (1, 1));
    let target = chat.at(seq);
    let again = EditMessage { mentions: naming(&[], true), ..new_text(target, "all!") };
    chat.must(&user("ann"), &ChatCommand::Edit(again));
    assert_eq!(counts(&chat, "dora"), (1, 0));
    chat.must(&user("ann"), &ChatCommand::Send(all));
    assert_eq!(counts(&chat, "dora"), (2, 1));
}

#[test]
fn who_comes_in_has_nothing_unread_whatever_the_history() {
    let mut chat = three();
    let joined = chat.must(&user("ann"), &add("dora", Role::Member));
    assert_eq!((counts(&chat, "dora"), position(&chat, "dora")), ((0, 0), joined));
    chat.must(&user("ann"), &send("x"));
    assert_eq!(counts(&chat, "dora"), (1, 0));
}

#[test]
fn who_comes_back_has_nothing_unread() {
    let mut chat = three();
    chat.must(&user("bob"), &ChatCommand::Leave);
    assert_eq!(counts(&chat, "bob"), (0, 0));
    chat.must(&user("ann"), &send("while bob is away"));
    let joined = chat.must(&user("max"), &add("bob", Role::Member));
    assert_eq!((counts(&chat, "bob"), position(&chat, "bob")), ((0, 0), joined));
}

#[test]
fn who_comes_back_counts_each_old_message_once() {
    let mut chat = three();
    for _ in 0..3 {
        chat.must(&user("bob"), &ChatCommand::Leave);
        chat.must(&user("ann"), &add("bob", Role::Member));
    }
    chat.must(&user("bob"), &unread(2));
    assert_eq!(counts(&chat, "bob"), (3, 0));
}

#[test]
fn a_mark_counts_from_where_it_stands_until_the_next_read() {
    let mut chat = three();
    chat.must(&user("bob"), &read(4));
    let event = MarkedUnread { by: user("bob"), from: Version(3) };
    assert_eq!(when(&mut chat, "bob", &unread(3)), then(ChatEvent::MarkedUnread(event)));
    assert_eq!(counts(&chat, "bob"), (2, 0));
    assert_eq!(chat.state.first_unread(&user("bob")), Some(Version(3)));
    assert_eq!(position(&chat, "bob"), Version(4), "what others see does not go back");
    assert_eq!(when(&mut chat, "bob", &unread(3)), no_change());
    chat.must(&user("bob"), &unread(2));
    assert_eq!(counts(&chat, "bob"), (3, 0));
    chat.must(&user("bob"), &read(4));
    assert_eq!((counts(&chat, "bob"), position(&chat, "bob")), ((0, 0), Version(4)));
    assert_eq!(chat.state.active(&user("bob")).unwrap().marked_unread, None);
}

#[test]
fn a_mark_is_put_on_what_the_member_sees() {
    let mut chat = three();
    for from in [0, 5, 1_000] {
        let answer = when(&mut chat, "bob", &unread(from));
        assert_eq!(answer, Err(Rejection::MessageNotFound), "{from}");
    }
    let group = chat_core::domain::NewGroup::named("x")
        .with_history(chat_core::domain::HistoryVisibility::Joined);
    let mut chat = PureChat::group(&user("ann"), &group);
    chat.must(&user("ann"), &send("before"));
    chat.must(&user("ann"), &add("bob", Role::Member));
    let answer = when(&mut chat, "bob", &unread(2));
    assert_eq!(answer, Err(Rejection::MessageNotFound));
    chat.must(&user("bob"), &unread(3));
}

#[test]
fn a_mark_ends_with_the_membership() {
    let mut chat = three();
    chat.must(&user("bob"), &unread(2));
    chat.must(&user("bob"), &ChatCommand::Leave);
    chat.must(&user("ann"), &add("bob", Role::Member));
    assert_eq!(counts(&chat, "bob"), (0, 0));
    assert_eq!(chat.state.active(&user("bob")).unwrap().marked_unread, None);
}

#[test]
fn a_hidden_chat_comes_back_with_the_next_message() {
    let mut chat = three();
    let bob = user("bob");
    let hidden = ChatEvent::ChatHidden(ChatHidden { by: bob.clone() });
    assert_eq!(when(&mut chat, "bob", &ChatCommand::Hide), then(hidden));
    assert!(chat.state.is_hidden(&bob) && chat.state.activity(&bob).is_none());
    assert!(!chat.state.is_hidden(&user("carl")));
    assert_eq!(when(&mut chat, "bob", &ChatCommand::Hide), no_change());
    let target = chat.at(Version(2));
    chat.must(&user("ann"), &edit(target, "no news"));
    chat.must(&user("carl"), &react(target, "a"));
    assert!(chat.state.is_hidden(&bob));
    chat.now.0 += 60_000;
    chat.must(&user("ann"), &send("news"));
    assert!(!chat.state.is_hidden(&bob));
    assert_eq!(chat.state.activity(&bob), Some(chat.now));
    assert_eq!(counts(&chat, "bob"), (4, 0));
    chat.must(&bob, &ChatCommand::Hide);
    chat.must(&bob, &send("own news"));
    assert!(!chat.state.is_hidden(&bob));
}

#[test]
fn who_comes_back_finds_the_chat_in_the_list() {
    let mut chat = three();
    chat.must(&user("bob"), &ChatCommand::Hide);
    chat.must(&user("bob"), &ChatCommand::Leave);
    assert_eq!(chat.state.activity(&user("bob")), None);
    chat.must(&user("ann"), &add("bob", Role::Member));
    assert!(chat.state.activity(&user("bob")).is_some());
}

#[test]
fn only_messages_and_joining_move_a_chat_up() {
    let mut chat = three();
    let (bob, at) = (user("bob"), chat.now);
    chat.now = Timestamp(at.0 + 1_000);
    let target = chat.at(Version(4));
    chat.must(&user("ann"), &edit(target, "x"));
    chat.must(&user("carl"), &react(target, "a"));
    chat.must(&user("carl"), &read(4));
    chat.must(&user("ann"), &delete(target));
    let dora = chat.must(&user("ann"), &add("dora", Role::Member));
    assert_eq!(chat.state.activity(&bob), Some(at));
    assert_eq!(chat.state.activity(&user("dora")), Some(chat.now));
    assert_eq!(chat.state.last_message(&user("dora")), Some(Version(3)), "{dora}");
    chat.must(&user("ann"), &send("x"));
    assert_eq!(chat.state.activity(&bob), Some(chat.now));
}
