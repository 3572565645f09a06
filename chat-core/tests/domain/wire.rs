//! The stored form of every event. The files under `tests/golden` hold what a release has written;
//! they are never changed, and every later release reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chat_core::domain::{
    Access, ChatCreated, ChatEvent, ChatHidden, ChatKind, ChatUpdated, HistoryVisibility,
    InviteDeclined, InviteRevoked, InvitedMember, MarkedUnread, MemberInvited, MemberJoined,
    MemberLeft, MemberRemoved, MessageDeleted, MessageEdited, MessageId, MessageRef, MessageSent,
    OwnershipTransferred, ReactionAdded, ReactionPolicy, ReactionRemoved, ReadAdvanced, Role,
    RoleChanged, decode, encode,
};
use chat_core::testkit::scenarios::TEXTS;
use chat_core::{ClientMessageId, Json, UserId, Version};
use uuid::uuid;

use crate::asking::user;

fn ann() -> UserId {
    user("ann")
}

fn target() -> MessageRef {
    let message = MessageId(uuid!("01932c07-209c-8a12-8a4f-6c1d9e0b7f35"));
    MessageRef { message, seq: Version(42) }
}

fn text(text: &str) -> ChatEvent {
    ChatEvent::MessageSent(MessageSent {
        by: ann(),
        text: text.into(),
        reply_to: None,
        mentions: vec![],
        mention_all: false,
        client_message_id: None,
    })
}

fn chats() -> Vec<(&'static str, ChatEvent)> {
    let member = |name, role| InvitedMember { user: user(name), role };
    let full = ChatCreated {
        by: ann(),
        kind: ChatKind::Group,
        name: Some("tea \"room\" \u{1f375}".into()),
        topic: Some("leaves\nand water".into()),
        members: vec![member("bob", Role::Moderator), member("carl", Role::Member)],
        access: Access::Open,
        history: HistoryVisibility::Joined,
        reactions: ReactionPolicy::Unique,
        external_key: Some("room/7".into()),
    };
    let bare = ChatCreated {
        name: None,
        topic: None,
        members: vec![],
        access: Access::Invited,
        history: HistoryVisibility::Shared,
        reactions: ReactionPolicy::Distinct,
        external_key: None,
        ..full.clone()
    };
    let members = vec![member("bob", Role::Member)];
    let direct = ChatCreated { kind: ChatKind::Direct, members, ..bare.clone() };
    let notes = ChatCreated { kind: ChatKind::Notes, ..bare.clone() };
    let update = |name: Option<&str>, topic: Option<&str>, access| {
        let (name, topic) = (name.map(Into::into), topic.map(Into::into));
        ChatEvent::ChatUpdated(ChatUpdated { by: ann(), name, topic, access })
    };
    vec![
        ("chat_created", ChatEvent::ChatCreated(full)),
        ("chat_created.bare", ChatEvent::ChatCreated(bare)),
        ("chat_created.direct", ChatEvent::ChatCreated(direct)),
        ("chat_created.notes", ChatEvent::ChatCreated(notes)),
        ("chat_updated", update(Some("new"), Some(""), Some(Access::Invited))),
        ("chat_updated.bare", update(None, None, None)),
        ("chat_hidden", ChatEvent::ChatHidden(ChatHidden { by: ann() })),
        ("marked_unread", ChatEvent::MarkedUnread(MarkedUnread { by: ann(), from: Version(17) })),
        ("read_advanced", ChatEvent::ReadAdvanced(ReadAdvanced { by: ann(), up_to: Version::MAX })),
    ]
}

fn members() -> Vec<(&'static str, ChatEvent)> {
    let (by, bob) = (ann(), user("bob"));
    let joined = |by: &UserId, role| {
        ChatEvent::MemberJoined(MemberJoined { by: by.clone(), user: bob.clone(), role })
    };
    let invited = MemberInvited { by: ann(), user: bob.clone(), role: Role::Moderator };
    let removed = |reason: Option<&str>| {
        let reason = reason.map(Into::into);
        ChatEvent::MemberRemoved(MemberRemoved { by: ann(), user: bob.clone(), reason })
    };
    let changed = RoleChanged { by: ann(), user: bob.clone(), role: Role::Owner };
    vec![
        ("member_invited", ChatEvent::MemberInvited(invited)),
        (
            "invite_revoked",
            ChatEvent::InviteRevoked(InviteRevoked { by: ann(), user: bob.clone() }),
        ),
        ("invite_declined", ChatEvent::InviteDeclined(InviteDeclined { by: bob.clone() })),
        ("member_joined", joined(&by, Some(Role::Member))),
        ("member_joined.bare", joined(&bob, None)),
        ("member_left", ChatEvent::MemberLeft(MemberLeft { by: bob.clone() })),
        ("member_removed", removed(Some("too loud"))),
        ("member_removed.bare", removed(None)),
        ("role_changed", ChatEvent::RoleChanged(changed)),
        (
            "ownership_transferred",
            ChatEvent::OwnershipTransferred(OwnershipTransferred { by, to: bob.clone() }),
        ),
    ]
}

fn messages() -> Vec<(&'static str, ChatEvent)> {
    let sent = MessageSent {
        by: ann(),
        text: "**hello** \"bob\" \\ \u{0}\u{1f}\u{7f} \r\n\t \u{e9} e\u{301} \u{1f980} </b>".into(),
        reply_to: Some(target()),
        mentions: vec![user("bob"), user("\u{e4}nn")],
        mention_all: true,
        client_message_id: Some(ClientMessageId::new("phone-1/7").unwrap()),
    };
    let edited = MessageEdited {
        by: ann(),
        target: target(),
        text: "hello again".into(),
        mentions: vec![user("bob")],
        mention_all: true,
    };
    let edited_bare =
        MessageEdited { text: "x".into(), mentions: vec![], mention_all: false, ..edited.clone() };
    let deleted = |reason: Option<&str>| {
        let reason = reason.map(Into::into);
        ChatEvent::MessageDeleted(MessageDeleted { by: ann(), target: target(), reason })
    };
    let key = || "\u{1f44d}\u{1f3fd}".to_owned();
    let added = ReactionAdded { by: ann(), target: target(), key: key() };
    let removed = ReactionRemoved { by: ann(), target: target(), key: key() };
    vec![
        ("message_sent", ChatEvent::MessageSent(sent)),
        ("message_sent.bare", text("x")),
        ("message_edited", ChatEvent::MessageEdited(edited)),
        ("message_edited.bare", ChatEvent::MessageEdited(edited_bare)),
        ("message_deleted", deleted(Some("wrong room"))),
        ("message_deleted.bare", deleted(None)),
        ("reaction_added", ChatEvent::ReactionAdded(added)),
        ("reaction_removed", ChatEvent::ReactionRemoved(removed)),
    ]
}

/// The events that the files of version 1 hold, by the files' names.
fn version_1() -> BTreeMap<&'static str, ChatEvent> {
    chats().into_iter().chain(members()).chain(messages()).collect()
}

fn golden(version: u16) -> BTreeMap<String, Json> {
    let folder = format!("{}/tests/golden/v{version}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(Path::new(&folder)).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            // Text files end with a line feed; what is stored does not.
            let text = text.strip_suffix('\n').unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, Json::from_text(text))
        })
        .collect()
}

#[test]
fn every_golden_file_of_version_1_is_read_as_the_event_that_it_is() {
    let (expected, golden) = (version_1(), golden(1));
    let names: Vec<_> = golden.keys().map(String::as_str).collect();
    assert_eq!(names, expected.keys().copied().collect::<Vec<_>>(), "files and what is expected");
    for (name, payload) in &golden {
        let event_type = name.split('.').next().unwrap();
        let event = decode(event_type, 1, payload).unwrap();
        assert_eq!(event, expected[name.as_str()], "{name}");
    }
}

#[test]
fn what_is_written_now_is_the_golden_file_byte_for_byte() {
    let golden = golden(1);
    for (name, event) in version_1() {
        let encoded = encode(&event).unwrap();
        assert_eq!(encoded.event_type.as_str(), name.split('.').next().unwrap());
        assert_eq!(encoded.schema_version, 1, "a new version needs golden files of its own");
        assert_eq!(encoded.payload.as_str(), golden[name].as_str(), "{name}");
    }
}

#[test]
fn every_type_has_a_golden_file() {
    let written: BTreeSet<_> = version_1()
        .values()
        .map(|e| encode(e).unwrap())
        .map(|e| e.event_type.to_string())
        .collect();
    assert_eq!(written.len(), 18, "{written:?}");
}

#[test]
fn a_type_or_version_of_a_later_release_is_unknown_and_no_error() {
    let payload = Json::from_text("{\"anything\":[1,2]}");
    assert_eq!(decode("message_pinned", 1, &payload).unwrap(), ChatEvent::Unknown);
    assert_eq!(decode("message_sent", 2, &payload).unwrap(), ChatEvent::Unknown);
    assert_eq!(decode("message_sent", 0, &payload).unwrap(), ChatEvent::Unknown);
    assert_eq!(decode("", 1, &Json::from_text("not json")).unwrap(), ChatEvent::Unknown);
}

#[test]
fn a_field_of_a_later_release_is_passed_over() {
    let payload = Json::from_text("{\"by\":\"ann\",\"text\":\"x\",\"colour\":\"red\"}");
    assert_eq!(decode("message_sent", 1, &payload).unwrap(), text("x"));
    let payload = "{\"by\":\"ann\",\"message\":\"01932c07-209c-8a12-8a4f-6c1d9e0b7f35\",\
                   \"seq\":42,\"later\":{\"a\":[null]}}";
    let deleted = MessageDeleted { by: ann(), target: target(), reason: None };
    let read = decode("message_deleted", 1, &Json::from_text(payload)).unwrap();
    assert_eq!(read, ChatEvent::MessageDeleted(deleted));
}

#[test]
fn a_payload_that_is_not_what_its_type_says_is_an_error_that_names_it() {
    let broken = [
        ("message_sent", ""),
        ("message_sent", "null"),
        ("message_sent", "{}"),
        ("message_sent", "{\"by\":\"ann\"}"),
        ("message_sent", "{\"by\":\"ann\",\"text\":7}"),
        ("message_sent", "{\"by\":\"ann\",\"text\":\"\\ud800\"}"),
        ("message_sent", "{\"by\":\"\",\"text\":\"x\"}"),
        ("message_sent", "{\"by\":\"a/b\",\"text\":\"x\"}"),
        ("message_sent", "{\"by\":\"ann\",\"text\":\"x\"} trailing"),
        ("message_deleted", "{\"by\":\"ann\",\"message\":\"not a uuid\",\"seq\":1}"),
        ("message_deleted", "{\"by\":\"ann\",\"seq\":1}"),
        ("read_advanced", "{\"by\":\"ann\",\"up_to\":-1}"),
        ("read_advanced", "{\"by\":\"ann\",\"up_to\":1.5}"),
        ("chat_created", "{\"by\":\"ann\",\"kind\":\"channel\"}"),
        ("role_changed", "{\"by\":\"ann\",\"user\":\"bob\",\"role\":\"king\"}"),
    ];
    for (event_type, payload) in broken {
        let error = decode(event_type, 1, &Json::from_text(payload)).unwrap_err();
        assert_eq!((error.event_type.as_str(), error.schema_version), (event_type, 1));
        let told = error.to_string();
        assert!(told.starts_with(&format!("{event_type} version 1: ")), "{payload}: {told}");
    }
}

#[test]
fn the_error_of_a_broken_payload_does_not_quote_the_message() {
    let payload = Json::from_text("{\"by\":\"ann\",\"text\":\"swordfish\",\"mentions\":[\"\"]}");
    let error = decode("message_sent", 1, &payload).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("swordfish"), "{error:?}");
}

#[test]
fn what_cannot_be_read_cannot_be_written() {
    for event in [ChatEvent::Unknown, ChatEvent::Unreadable] {
        assert!(encode(&event).unwrap_err().to_string().contains("no stored form"));
    }
}

#[test]
fn texts_are_stored_byte_for_byte_whatever_is_in_them() {
    let every: String = (0..=0x10_FFFF).filter_map(char::from_u32).collect();
    for written in TEXTS.into_iter().chain([every.as_str()]) {
        let encoded = encode(&text(written)).unwrap();
        let ChatEvent::MessageSent(sent) = decode("message_sent", 1, &encoded.payload).unwrap()
        else {
            panic!("no message");
        };
        assert!(sent.text.as_bytes() == written.as_bytes(), "{} bytes", written.len());
    }
}
