//! Sending, answering, deleting.

use std::sync::Arc;

use chat_core::domain::{
    ChatCommand, ChatEvent, Deletion, HistoryVisibility, MessageDeleted, MessageId, MessageRef,
    MessageSent, MessageState, NewGroup, ReactionPolicy, Rejection, Role, SendMessage,
};
use chat_core::testkit::scenarios::{PureChat, TEXTS};
use chat_core::{ClientMessageId, Timestamp, Version};
use uuid::Uuid;

use crate::asking::*;

#[test]
fn a_message_is_kept_byte_for_byte_with_all_that_belongs_to_it() {
    let mut chat = group();
    let first = chat.must(&user("ann"), &send("first"));
    let key = ClientMessageId::new("k-1").unwrap();
    for text in TEXTS {
        let send = SendMessage {
            text: text.into(),
            reply_to: Some(chat.at(first)),
            mentions: naming(&["carl", "dora", "carl"], true),
            client_message_id: Some(key.clone()),
        };
        let event = MessageSent {
            by: user("bob"),
            text: text.into(),
            reply_to: Some(chat.at(first)),
            mentions: vec![user("carl"), user("dora"), user("carl")],
            mention_all: true,
            client_message_id: Some(key.clone()),
        };
        let answer = when(&mut chat, "bob", &ChatCommand::Send(send));
        assert_eq!(answer, then(ChatEvent::MessageSent(event)));
        let message = chat.message(chat.state.version);
        assert_eq!(message.text.as_bytes(), text.as_bytes());
        assert_eq!((message.author.as_str(), message.revision()), ("bob", 0));
        assert!(message.mention_all && message.deleted.is_none());
    }
}

#[test]
fn an_empty_text_is_refused_and_blanks_are_a_text() {
    let mut chat = group();
    let refused = Err(Rejection::InvalidArgument { what: "the text is empty" });
    assert_eq!(when(&mut chat, "bob", &send("")), refused);
    chat.must(&user("bob"), &send("\u{200b} \n"));
}

#[test]
fn a_message_cannot_be_shown_by_debug_printing_it() {
    let secret = "the password is swordfish";
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send(secret));
    let target = chat.at(seq);
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        chat.log,
        chat.message(seq),
        send(secret),
        edit(target, secret)
    );
    assert!(!shown.contains("swordfish"), "{shown}");
}

#[test]
fn an_answer_needs_a_message_of_this_chat_that_the_author_sees() {
    let mut chat = PureChat::group(
        &user("ann"),
        &staffed(NewGroup::named("x").with_history(HistoryVisibility::Joined)),
    );
    let early = chat.must(&user("ann"), &send("before dora"));
    chat.must(&user("ann"), &add("dora", Role::Member));
    let late = chat.must(&user("ann"), &send("after dora"));
    let reply = |to| ChatCommand::Send(SendMessage { reply_to: Some(to), ..message("re") });
    let nowhere = MessageRef { message: MessageId(Uuid::nil()), seq: late };
    let (early, late) = (chat.at(early), chat.at(late));
    let missing = Err(Rejection::MessageNotFound);
    assert_eq!(when(&mut chat, "dora", &reply(early)), missing);
    assert_eq!(when(&mut chat, "dora", &reply(nowhere)), missing);
    let no_message = MessageRef { message: late.message, seq: Version(1) };
    assert_eq!(when(&mut chat, "dora", &reply(no_message)), missing);
    chat.must(&user("dora"), &reply(late));
    chat.must(&user("ann"), &delete(late));
    assert_eq!(when(&mut chat, "dora", &reply(late)), Err(Rejection::MessageGone));
    assert_eq!(when(&mut chat, "dora", &reply(early)), missing);
}

#[test]
fn a_reply_outlives_what_it_answers() {
    let mut chat = group();
    let first = chat.must(&user("ann"), &send("question"));
    let target = chat.at(first);
    let reply = ChatCommand::Send(SendMessage { reply_to: Some(target), ..message("answer") });
    let answer = chat.must(&user("bob"), &reply);
    chat.must(&user("ann"), &delete(target));
    assert_eq!(chat.message(answer).reply_to, Some(target));
    assert_eq!(&*chat.message(answer).text, "answer");
}

#[test]
fn deleting_leaves_a_tombstone_without_content() {
    let mut chat = group();
    let send = SendMessage { mentions: naming(&["carl"], true), ..message("secret") };
    let seq = chat.must(&user("bob"), &ChatCommand::Send(send));
    let target = chat.at(seq);
    chat.must(&user("bob"), &edit(target, "secret too"));
    chat.must(&user("carl"), &react(target, "👍"));
    chat.now = Timestamp(1_800_000_000_000);
    let why = Some("wrong room".to_owned());
    let command = ChatCommand::Delete { target, reason: why.clone() };
    let event = MessageDeleted { by: user("bob"), target, reason: why.clone() };
    assert_eq!(when(&mut chat, "bob", &command), then(ChatEvent::MessageDeleted(event)));
    let message = chat.message(seq);
    let deletion = Deletion { by: user("bob"), at: Timestamp(1_800_000_000_000), reason: why };
    assert_eq!(message.deleted.as_ref(), Some(&deletion));
    assert_eq!((message.id, message.seq, message.author.as_str()), (target.message, seq, "bob"));
    assert_eq!((&*message.text, message.mentions.len(), message.mention_all), ("", 0, false));
    assert!(message.reactions.is_empty() && message.edits.is_empty());
    let written = serde_json::to_string(message).unwrap();
    assert!(!written.contains("secret"), "{written}");
}

#[test]
fn deleting_is_terminal() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    chat.must(&user("bob"), &react(target, "👍"));
    chat.must(&user("max"), &delete(target));
    let gone = Err(Rejection::MessageGone);
    assert_eq!(when(&mut chat, "bob", &edit(target, "y")), gone);
    assert_eq!(when(&mut chat, "bob", &edit(target, "x")), gone);
    assert_eq!(when(&mut chat, "bob", &react(target, "👍")), gone);
    assert_eq!(when(&mut chat, "bob", &unreact(target, "👍")), gone);
    for name in ["bob", "max", "ann"] {
        assert_eq!(when(&mut chat, name, &delete(target)), no_change());
    }
}

#[test]
fn events_behind_the_deletion_do_not_bring_the_message_back() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    let late_edit = match chat.decide(&user("bob"), &edit(target, "late")) {
        Ok(chat_core::domain::Decision::Event(event)) => event,
        other => panic!("{other:?}"),
    };
    chat.must(&user("bob"), &delete(target));
    let before = chat.message(seq).clone();
    let at = chat.fold(late_edit);
    assert_eq!(*chat.message(seq), MessageState { at, ..before });
    assert_eq!(chat.state.unread(&user("carl")), 0);
}

#[test]
fn others_messages_are_deleted_by_whoever_outranks_their_author() {
    let mut chat = group();
    chat.must(&user("ann"), &add("mia", Role::Moderator));
    let by = |chat: &mut PureChat, name: &str| {
        let seq = chat.must(&user(name), &send("x"));
        chat.at(seq)
    };
    let (bobs, maxs, anns) = (by(&mut chat, "bob"), by(&mut chat, "max"), by(&mut chat, "ann"));
    for (name, target) in
        [("carl", bobs), ("mia", maxs), ("mia", anns), ("max", anns), ("bob", maxs)]
    {
        assert_forbidden(&when(&mut chat, name, &delete(target)));
    }
    chat.must(&user("mia"), &delete(bobs));
    chat.must(&user("ann"), &delete(maxs));
    chat.must(&user("ann"), &delete(anns));
}

#[test]
fn what_somebody_wrote_who_is_gone_can_be_deleted_by_moderators() {
    let mut chat = group();
    let seq = chat.must(&user("ann"), &send("x"));
    let target = chat.at(seq);
    chat.must(&user("ann"), &transfer("carl"));
    chat.must(&user("ann"), &ChatCommand::Leave);
    assert_forbidden(&when(&mut chat, "bob", &delete(target)));
    chat.must(&user("max"), &delete(target));
}

#[test]
fn a_message_that_is_not_seen_is_not_there() {
    let mut chat = PureChat::group(
        &user("ann"),
        &staffed(NewGroup::named("x").with_history(HistoryVisibility::Joined)),
    );
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    chat.must(&user("ann"), &add("mia", Role::Moderator));
    let missing = Err(Rejection::MessageNotFound);
    for command in [delete(target), edit(target, "y"), react(target, "a"), unreact(target, "a")] {
        assert_eq!(when(&mut chat, "mia", &command), missing, "{command:?}");
    }
}

#[test]
fn a_message_folds_only_what_is_about_it_and_each_event_once() {
    let mut chat = group();
    let seq = chat.must(&user("bob"), &send("one"));
    let other = chat.must(&user("bob"), &send("two"));
    let (target, other) = (chat.at(seq), chat.at(other));
    chat.must(&user("bob"), &edit(target, "one!"));
    let edited = chat.log.last().unwrap().clone();
    let mut message = chat.message(seq).clone();
    let before = message.clone();
    message.apply(edited.version, edited.at, &edited.event, ReactionPolicy::Distinct);
    assert_eq!(message, before, "an event that is in already");
    let about_other = chat.decide(&user("bob"), &edit(other, "two!")).unwrap();
    if let chat_core::domain::Decision::Event(event) = about_other {
        message.apply(Version(99), edited.at, &event, ReactionPolicy::Distinct);
    }
    assert_eq!(message, before, "an event about another message");
    assert_eq!((message.at, message.edits.as_slice()), (edited.version, &[edited.version][..]));
}

#[test]
fn content_is_taken_off_what_was_deleted_and_nothing_else() {
    let mut chat = group();
    let send = SendMessage {
        mentions: naming(&["carl"], true),
        client_message_id: Some(ClientMessageId::new("k").unwrap()),
        ..message("secret")
    };
    chat.must(&user("bob"), &ChatCommand::Send(send));
    let ChatEvent::MessageSent(sent) = &chat.log[1].event else { panic!("no message") };
    let bare =
        MessageSent { text: Arc::from(""), mentions: vec![], mention_all: false, ..sent.clone() };
    assert_eq!(chat.log[1].event.without_content(), ChatEvent::MessageSent(bare));
    assert_eq!(chat.log[0].event.without_content(), chat.log[0].event);
}
