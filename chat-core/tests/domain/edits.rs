//! Edits: revisions, the window, whose.

use std::time::Duration;

use chat_core::domain::{
    ChatCommand, ChatEvent, EditMessage, MessageEdited, MessageId, MessageRef, Rejection, Role,
};
use chat_core::{Timestamp, Version};
use uuid::Uuid;

use crate::asking::*;

#[test]
fn an_edit_is_a_revision_that_keeps_id_author_place_and_time() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("one"));
    let target = chat.at(seq);
    let sent_at = chat.message(seq).sent_at;
    chat.now.0 += 5_000;
    let command = EditMessage { mentions: naming(&["carl"], true), ..new_text(target, "two") };
    let event = MessageEdited {
        by: user("bob"),
        target,
        text: "two".into(),
        mentions: vec![user("carl")],
        mention_all: true,
    };
    let answer = when(&mut chat, "bob", &ChatCommand::Edit(command));
    assert_eq!(answer, then(ChatEvent::MessageEdited(event)));
    let message = chat.message(seq);
    assert_eq!((&*message.text, message.revision()), ("two", 1));
    assert_eq!((message.id, message.seq, message.sent_at), (target.message, seq, sent_at));
    assert_eq!(message.edited_at, Some(Timestamp(sent_at.0 + 5_000)));
    assert_eq!(message.edits, [Version(3)]);
    assert_eq!(chat.state.last_message_seq, seq, "an edit is no new message");
}

#[test]
fn the_same_content_is_no_change_and_other_mentions_are_a_change() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    assert_eq!(when(&mut chat, "bob", &edit(target, "x")), no_change());
    let named = |users: &[&str], everyone| {
        let mentions = naming(users, everyone);
        ChatCommand::Edit(EditMessage { mentions, ..new_text(target, "x") })
    };
    chat.must(&user("bob"), &named(&["carl"], false));
    assert_eq!(when(&mut chat, "bob", &named(&["carl"], false)), no_change());
    chat.must(&user("bob"), &named(&["carl"], true));
    chat.must(&user("bob"), &named(&[], false));
    assert_eq!(chat.message(seq).revision(), 3);
}

#[test]
fn an_edit_that_expects_another_revision_is_told_the_one_there_is() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("zero"));
    let target = chat.at(seq);
    let expecting = |revision, text| {
        let expected_revision = Some(revision);
        ChatCommand::Edit(EditMessage { expected_revision, ..new_text(target, text) })
    };
    let conflict = |current| Err(Rejection::RevisionConflict { current });
    assert_eq!(when(&mut chat, "bob", &expecting(1, "one")), conflict(0));
    chat.must(&user("bob"), &expecting(0, "one"));
    assert_eq!(when(&mut chat, "bob", &expecting(0, "other")), conflict(1));
    assert_eq!(when(&mut chat, "bob", &expecting(0, "one")), conflict(1));
    assert_eq!(when(&mut chat, "bob", &expecting(1, "one")), no_change());
    chat.must(&user("bob"), &edit(target, "two, whatever it was"));
    assert_eq!(when(&mut chat, "bob", &expecting(1, "other")), conflict(2));
}

#[test]
fn only_the_author_edits() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    for name in ["carl", "max", "ann"] {
        assert_forbidden(&when(&mut chat, name, &edit(target, "y")));
    }
}

#[test]
fn the_window_is_open_before_its_end_and_closed_at_it() {
    let mut chat = group();
    chat.limits.edit_window = Some(Duration::from_secs(60));
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    let sent = chat.now;
    chat.now = Timestamp(sent.0 + 59_999);
    chat.must(&user("bob"), &edit(target, "y"));
    let until = Timestamp(sent.0 + 60_000);
    let over = Err(Rejection::EditWindowPassed { until });
    for after in [0, 1, 1_000_000] {
        chat.now = Timestamp(until.0 + after);
        assert_eq!(when(&mut chat, "bob", &edit(target, "z")), over);
    }
    chat.must(&user("bob"), &delete(target));
}

#[test]
fn a_window_of_nothing_allows_no_edit_and_none_allows_it_for_ever() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    chat.limits.edit_window = Some(Duration::ZERO);
    let until = chat.now;
    let over = Err(Rejection::EditWindowPassed { until });
    assert_eq!(when(&mut chat, "bob", &edit(target, "y")), over);
    chat.limits.edit_window = None;
    chat.now = Timestamp(u64::MAX);
    chat.must(&user("bob"), &edit(target, "y"));
}

#[test]
fn an_edit_of_what_is_no_message_here_finds_none() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    let elsewhere = MessageRef { message: MessageId(Uuid::from_u128(7)), seq };
    let no_message = MessageRef { message: target.message, seq: Version(1) };
    let beyond = MessageRef { message: target.message, seq: Version(99) };
    for target in [elsewhere, no_message, beyond] {
        let answer = when(&mut chat, "bob", &edit(target, "y"));
        assert_eq!(answer, Err(Rejection::MessageNotFound), "{target:?}");
    }
}

#[test]
fn an_edit_needs_a_text() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    let refused = Err(Rejection::InvalidArgument { what: "the text is empty" });
    assert_eq!(when(&mut chat, "bob", &edit(target, "")), refused);
}

#[test]
fn who_left_and_came_back_edits_the_own_old_messages() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    chat.must(&user("bob"), &ChatCommand::Leave);
    assert_eq!(when(&mut chat, "bob", &edit(target, "y")), Err(Rejection::NotMember));
    chat.must(&user("ann"), &add("bob", Role::Member));
    chat.must(&user("bob"), &edit(target, "y"));
}
