//! Ids that follow from names. The golden values are what a stored chat depends on for ever.

use std::collections::HashSet;

use chat_core::domain::{
    chat_id_for_direct, chat_id_for_external_key, command_event_id, message_event_id,
};
use chat_core::{ChatId, ClientMessageId, CommandId, EventId, UserId};
use uuid::{Uuid, Variant};

use crate::asking::user;

fn chat(id: &str) -> ChatId {
    ChatId::new(id).unwrap()
}

fn sent(chat_id: &str, author: &str, key: &str) -> EventId {
    message_event_id(&chat(chat_id), &user(author), &ClientMessageId::new(key).unwrap())
}

fn done(chat_id: &str, actor: &str, key: &str) -> EventId {
    command_event_id(&chat(chat_id), &user(actor), &CommandId::new(key).unwrap())
}

const V7: &str = "01932c07-209c-7a12-8a4f-6c1d9e0b7f35";

#[test]
fn ids_of_messages_and_commands_are_what_they_always_were() {
    assert_eq!(sent("lobby", "ann", "m-1").to_string(), "fb0dd4ca-35f8-8a3d-b8b8-a371459c3d71");
    assert_eq!(sent("lobby", "ann", V7).to_string(), "01932c07-209c-8817-8c3f-77ae8ac959dc");
    assert_eq!(done("lobby", "ann", "m-1").to_string(), "bbc4bc60-7a21-8ed8-9c3d-01f505d48c7b");
    assert_eq!(
        sent("räume-x", "änn", "schlüssel").to_string(),
        "1bb3c0ed-1949-894e-9931-571d58c60cc2"
    );
}

#[test]
fn ids_of_chats_are_what_they_always_were() {
    let (ann, bob) = (user("ann"), user("bob"));
    assert_eq!(
        chat_id_for_direct([&ann, &bob]).unwrap().as_str(),
        "direct-13bf88ee4cdc1c976342cdd42b60e973"
    );
    assert_eq!(
        chat_id_for_direct([&ann]).unwrap().as_str(),
        "direct-6d7a6c4f5dcab0794aa48dfbf1522ab1"
    );
    assert_eq!(
        chat_id_for_external_key("room-7").unwrap().as_str(),
        "group-dabcfa366cc63cc1c525a3269286ff95"
    );
    assert_eq!(
        chat_id_for_external_key("").unwrap().as_str(),
        "group-4dc58cd86d872d6f36588187306e08f6"
    );
}

#[test]
fn an_id_is_a_uuid_of_version_8() {
    for key in ["a", V7, &"k".repeat(128), "\u{202e}✓"] {
        for id in [sent("lobby", "ann", key), done("lobby", "ann", key)] {
            assert_eq!(id.0.get_version_num(), 8, "{key}");
            assert_eq!(id.0.get_variant(), Variant::RFC4122, "{key}");
        }
    }
}

#[test]
fn the_time_of_a_uuidv7_is_kept_however_it_is_written() {
    let time = &Uuid::parse_str(V7).unwrap().as_bytes()[..6].to_vec();
    let simple = V7.replace('-', "");
    for key in [V7.to_owned(), V7.to_uppercase(), simple, format!("{{{V7}}}")] {
        assert_eq!(&sent("lobby", "ann", &key).0.as_bytes()[..6], time, "{key}");
        assert_eq!(&done("lobby", "ann", &key).0.as_bytes()[..6], time, "{key}");
    }
    let v4 = "5f0c1e2d-3b4a-4c59-8e7f-1a2b3c4d5e6f";
    let kept = Uuid::parse_str(v4).unwrap();
    assert_ne!(&sent("lobby", "ann", v4).0.as_bytes()[..6], &kept.as_bytes()[..6]);
}

#[test]
fn the_same_names_give_the_same_id_and_any_other_another() {
    let ids = [
        sent("lobby", "ann", "k"),
        sent("lobby", "bob", "k"),
        sent("attic", "ann", "k"),
        sent("lobby", "ann", "l"),
        done("lobby", "ann", "k"),
        done("lobby", "bob", "k"),
        sent("lobby", "ann", V7),
        sent("lobby", "bob", V7),
        done("lobby", "ann", V7),
    ];
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    assert_eq!(sent("lobby", "ann", "k"), ids[0]);
}

#[test]
fn where_one_name_ends_and_the_next_begins_makes_a_difference() {
    let ids: HashSet<_> =
        [sent("ab", "c", "d"), sent("a", "bc", "d"), sent("a", "b", "cd"), sent("abc", "d", "d")]
            .into();
    assert_eq!(ids.len(), 4);
    let sets: [&[&str]; 4] = [&["ab", "c"], &["a", "bc"], &["abc"], &["a", "b", "c"]];
    let chats = sets.map(|names| {
        let users: Vec<UserId> = names.iter().map(|name| user(name)).collect();
        chat_id_for_direct(&users).unwrap()
    });
    assert_eq!(chats.iter().collect::<HashSet<_>>().len(), 4);
}

#[test]
fn names_are_told_apart_by_their_bytes() {
    assert_ne!(chat_id_for_external_key("é"), chat_id_for_external_key("e\u{301}"));
    assert_ne!(chat_id_for_external_key("A"), chat_id_for_external_key("a"));
    let (upper, lower) = (user("Ann"), user("ann"));
    assert_ne!(chat_id_for_direct([&upper]), chat_id_for_direct([&lower]));
    assert_ne!(sent("lobby", "ann", V7), sent("lobby", "ann", &V7.to_uppercase()));
}

#[test]
fn nobody_has_no_direct_chat() {
    assert_eq!(chat_id_for_direct(std::iter::empty::<&UserId>()), None);
}
