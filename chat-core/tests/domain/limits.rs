//! Every limit at its boundary: the value that is allowed, and the one above, named in the refusal.

use chat_core::UserId;
use chat_core::domain::{
    ChatCommand, LimitName, Limits, Mentions, NewGroup, Rejection, Role, SendMessage,
    decide_creation,
};
use chat_core::testkit::scenarios::PureChat;

use crate::asking::*;

fn above(name: LimitName, value: usize, limit: usize) -> Answer {
    Err(Rejection::LimitExceeded { name, value, limit })
}

fn many(count: usize) -> Vec<UserId> {
    (0..count).map(|n| user(&format!("user-{n}"))).collect()
}

#[test]
fn text_is_counted_in_characters_whatever_their_bytes() {
    let mut chat = group();
    chat.limits.text_chars = 5;
    for (allowed, refused, bytes) in
        [("aaaaa", "aaaaaa", 6), ("äöüßé", "äöüßéa", 11), ("🦀🦀🦀🦀🦀", "🦀🦀🦀🦀🦀🦀", 24)]
    {
        let seq = chat.must(&user("bob"), &send(allowed));
        assert_eq!(refused.len(), bytes);
        let no = above(LimitName::TextChars, 6, 5);
        assert_eq!(when(&mut chat, "bob", &send(refused)), no);
        let target = chat.at(seq);
        assert_eq!(when(&mut chat, "bob", &edit(target, refused)), no);
    }
}

#[test]
fn the_default_limit_of_text_is_ten_thousand_characters() {
    let mut chat = group();
    chat.must(&user("bob"), &send(&"🦀".repeat(10_000)));
    let answer = when(&mut chat, "bob", &send(&"a".repeat(10_001)));
    assert_eq!(answer, above(LimitName::TextChars, 10_001, 10_000));
}

#[test]
fn a_text_above_the_bytes_of_an_event_is_refused_by_its_bytes() {
    let mut chat = group();
    (chat.limits.text_chars, chat.limits.event_bytes) = (100, 10);
    chat.must(&user("bob"), &send("1234567890"));
    let answer = when(&mut chat, "bob", &send("12345678901"));
    assert_eq!(answer, above(LimitName::EventBytes, 11, 10));
}

#[test]
fn mentions_are_counted_as_they_are_given() {
    let mut chat = group();
    let naming = |count| {
        let mentions = Mentions { users: many(count), everyone: true };
        ChatCommand::Send(SendMessage { mentions, ..message("x") })
    };
    chat.must(&user("bob"), &naming(100));
    let answer = when(&mut chat, "bob", &naming(101));
    assert_eq!(answer, above(LimitName::Mentions, 101, 100));
}

#[test]
fn names_topics_and_reasons_are_counted_in_characters() {
    let mut chat = group();
    (chat.limits.name_chars, chat.limits.topic_chars) = (3, 4);
    let update = |name: Option<&str>, topic: Option<&str>| ChatCommand::Update {
        name: name.map(Into::into),
        topic: topic.map(Into::into),
        access: None,
    };
    chat.must(&user("ann"), &update(Some("äöü"), Some("äöüß")));
    let answer = when(&mut chat, "ann", &update(Some("äöüa"), None));
    assert_eq!(answer, above(LimitName::NameChars, 4, 3));
    let too_long = above(LimitName::TopicChars, 5, 4);
    assert_eq!(when(&mut chat, "ann", &update(None, Some("abcde"))), too_long);
    let remove =
        |reason: &str| ChatCommand::Remove { user: user("bob"), reason: Some(reason.into()) };
    assert_eq!(when(&mut chat, "ann", &remove("abcde")), too_long);
    let seq = chat.must(&user("bob"), &send("x"));
    let target = chat.at(seq);
    let delete = |reason: &str| ChatCommand::Delete { target, reason: Some(reason.into()) };
    assert_eq!(when(&mut chat, "ann", &delete("abcde")), too_long);
    chat.must(&user("ann"), &delete("abcd"));
    chat.must(&user("ann"), &remove("abcd"));
}

#[test]
fn names_topics_and_keys_of_new_groups_are_limited() {
    let limits = Limits::default();
    let create = |group: &NewGroup| decide_creation(&user("ann"), group, &limits).map(|_| ());
    let refused = |name, value, limit| Err(Rejection::LimitExceeded { name, value, limit });
    assert_eq!(create(&NewGroup::named("n".repeat(200))), Ok(()));
    let name = LimitName::NameChars;
    assert_eq!(create(&NewGroup::named("n".repeat(201))), refused(name, 201, 200));
    let keyed = |length| NewGroup::named("x").with_external_key("k".repeat(length));
    assert_eq!(create(&keyed(200)), Ok(()));
    assert_eq!(create(&keyed(201)), refused(name, 201, 200));
    let about = |length| NewGroup::named("x").with_topic("t".repeat(length));
    assert_eq!(create(&about(2_000)), Ok(()));
    assert_eq!(create(&about(2_001)), refused(LimitName::TopicChars, 2_001, 2_000));
}

#[test]
fn members_at_creation_are_limited_and_more_can_be_added_later() {
    let limits = Limits::default();
    let of = |count| {
        let members = many(count).into_iter();
        members.fold(NewGroup::named("x"), |group, user| group.with_member(user, Role::Member))
    };
    let created = decide_creation(&user("ann"), &of(1_000), &limits).unwrap();
    let mut chat = PureChat::created(created);
    chat.must(&user("ann"), &add("one-more", Role::Member));
    let (name, value, limit) = (LimitName::InitialMembers, 1_001, 1_000);
    assert_eq!(
        decide_creation(&user("ann"), &of(1_001), &limits),
        Err(Rejection::LimitExceeded { name, value, limit })
    );
}

#[test]
fn a_reactions_key_is_counted_in_bytes() {
    let mut chat = group();
    let seq = chat.must(&user("ann"), &send("x"));
    let target = chat.at(seq);
    chat.must(&user("bob"), &react(target, &"ä".repeat(32)));
    let answer = when(&mut chat, "bob", &react(target, &"a".repeat(65)));
    assert_eq!(answer, above(LimitName::ReactionBytes, 65, 64));
}

#[test]
fn different_reactions_on_a_message_are_limited_and_known_ones_are_not() {
    let mut chat = group();
    chat.limits.reactions_per_message = 2;
    let seq = chat.must(&user("ann"), &send("x"));
    let target = chat.at(seq);
    chat.must(&user("bob"), &react(target, "a"));
    chat.must(&user("carl"), &react(target, "b"));
    let full = above(LimitName::ReactionsPerMessage, 3, 2);
    assert_eq!(when(&mut chat, "max", &react(target, "c")), full);
    chat.must(&user("max"), &react(target, "a"));
    chat.must(&user("carl"), &unreact(target, "b"));
    chat.must(&user("max"), &react(target, "c"));
}

#[test]
fn reactions_of_one_member_on_a_message_are_limited() {
    let mut chat = group();
    let seq = chat.must(&user("ann"), &send("x"));
    let other = chat.must(&user("ann"), &send("y"));
    let (target, other) = (chat.at(seq), chat.at(other));
    for n in 0..20 {
        chat.must(&user("bob"), &react(target, &format!("r{n}")));
    }
    let full = above(LimitName::ReactionsPerMember, 21, 20);
    assert_eq!(when(&mut chat, "bob", &react(target, "r20")), full);
    assert_eq!(when(&mut chat, "bob", &react(target, "r7")), no_change());
    chat.must(&user("bob"), &react(other, "r20"));
    chat.must(&user("carl"), &react(target, "r20"));
    assert_eq!(when(&mut chat, "bob", &react(target, "r20")), full);
}

#[test]
fn edits_of_a_message_are_limited() {
    let mut chat = group();
    chat.limits.edits_per_message = 3;
    let seq = chat.must(&user("bob"), &send("0"));
    let target = chat.at(seq);
    for text in ["1", "2", "3"] {
        chat.must(&user("bob"), &edit(target, text));
    }
    let full = above(LimitName::EditsPerMessage, 4, 3);
    assert_eq!(when(&mut chat, "bob", &edit(target, "4")), full);
    assert_eq!(when(&mut chat, "bob", &edit(target, "3")), no_change());
    chat.must(&user("bob"), &delete(target));
}

#[test]
fn open_invitations_are_limited_and_a_used_one_makes_room() {
    let mut chat = group();
    chat.limits.invites = 2;
    chat.must(&user("ann"), &invite("dora", Role::Member));
    chat.must(&user("ann"), &invite("evi", Role::Member));
    let full = above(LimitName::Invites, 3, 2);
    assert_eq!(when(&mut chat, "ann", &invite("fred", Role::Member)), full);
    chat.must(&user("ann"), &invite("evi", Role::Moderator));
    chat.must(&user("dora"), &ChatCommand::Join);
    chat.must(&user("ann"), &invite("fred", Role::Member));
}

#[test]
fn a_refusal_names_the_limit_and_its_value() {
    let mut chat = group();
    let refused = when(&mut chat, "bob", &send(&"a".repeat(10_001))).unwrap_err();
    assert_eq!(refused.to_string(), "characters of the text: 10001 is above the limit of 10000");
}
