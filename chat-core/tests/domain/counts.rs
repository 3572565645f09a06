//! Random histories: after every event the state says what counting the plain events says.

use std::collections::BTreeSet;

use chat_core::domain::{ChatKind, Role};
use chat_core::testkit::scenarios::{
    PEOPLE, PureChat, Random, Reference, Step, person, random_group,
};
use proptest::prelude::*;

use crate::asking::user;

fn people() -> impl Iterator<Item = chat_core::UserId> {
    (0..5).map(person)
}

fn check(chat: &PureChat) {
    let (state, log) = (&chat.state, Reference::new(&chat.log));
    for user in people() {
        let at = format!("{user} at {}", state.version);
        let unread = log.unread(&user);
        assert_eq!(state.unread(&user), unread.len() as u64, "unread of {at}");
        assert_eq!(state.first_unread(&user), unread.first().copied(), "first unread of {at}");
        let mentions = log.unread_mentions(&user).len() as u64;
        assert_eq!(state.unread_mentions(&user), mentions, "mentions of {at}");
        assert_eq!(state.last_message(&user), log.last_message(&user), "preview of {at}");
        assert_eq!(state.activity(&user), log.activity(&user), "activity of {at}");
        assert_eq!(state.active(&user).is_some(), log.is_member(&user), "{at} is a member");
        if let Some(member) = state.members.get(&user) {
            assert_eq!(member.read, log.read(&user), "read by {at}");
            assert_eq!(member.marked_unread, log.marked(&user), "mark of {at}");
            for record in &chat.log {
                let version = record.version;
                assert_eq!(member.sees(version), log.sees(&user, version), "{at} sees {version}");
            }
        }
    }
    let roles = state.active_members().map(|(user, member)| (user.clone(), member.role));
    let roles: std::collections::BTreeMap<_, _> = roles.collect();
    assert_eq!(roles, log.roles());
    if state.kind == Some(ChatKind::Group) {
        let owners = roles.values().filter(|role| **role == Role::Owner).count();
        assert_eq!(owners, 1, "owners at {}", state.version);
    }
}

fn check_messages(chat: &PureChat) {
    let log = Reference::new(&chat.log);
    for (seq, message) in &chat.messages {
        assert_eq!(message.deleted.is_some(), log.is_deleted(*seq));
        assert_eq!(&*message.text, log.text(*seq).unwrap_or_default());
        let reactions: BTreeSet<_> = message
            .reactions
            .iter()
            .flat_map(|(key, users)| users.iter().map(|user| (key.clone(), user.clone())))
            .collect();
        assert_eq!(reactions, log.reactions(*seq), "reactions on {seq}");
        let count: usize = message.reactions.values().map(Vec::len).sum();
        assert_eq!(count, reactions.len(), "a reaction stands twice on {seq}");
        if message.deleted.is_none() {
            assert_eq!(message.revision() as usize + 1, log.texts(*seq).len());
        }
    }
}

fn check_monotonic(before: &PureChat, after: &PureChat) {
    assert_eq!(after.state.version, before.state.version.next());
    assert!(after.state.recorded_at >= before.state.recorded_at);
    for (user, member) in &before.state.members {
        assert!(after.state.members[user].read >= member.read, "{user} reads backwards");
    }
    for (seq, message) in &before.messages {
        let now = &after.messages[seq];
        assert!(now.deleted.is_some() || message.deleted.is_none(), "{seq} came back");
        assert!(now.deleted.is_some() || now.revision() >= message.revision());
        assert_eq!(
            (now.id, &now.author, now.sent_at),
            (message.id, &message.author, message.sent_at)
        );
    }
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any::<[u8; 8]>().prop_map(Step), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..Default::default() })]

    #[test]
    fn state_says_what_counting_says_after_every_event(kind in 0_u8..32, steps in steps(70)) {
        let mut chat = PureChat::group(&person(0), &random_group(kind));
        check(&chat);
        for step in steps {
            let before = chat.clone();
            if step.take(&mut chat) {
                check_monotonic(&before, &chat);
                check(&chat);
            }
        }
        check_messages(&chat);
    }

    #[test]
    fn direct_chats_keep_their_people_and_count_as_groups_do(steps in steps(50)) {
        let mut chat = PureChat::direct(&person(0), &[person(1), person(2)]);
        for step in steps {
            if step.take(&mut chat) {
                check(&chat);
            }
        }
        let members: Vec<_> = chat.state.active_members().map(|(user, _)| user.clone()).collect();
        prop_assert_eq!(members, vec![person(0), person(1), person(2)]);
        check_messages(&chat);
    }

    #[test]
    fn a_fold_of_the_same_events_is_the_same_state(kind in 0_u8..32, steps in steps(60)) {
        let mut chat = PureChat::group(&person(0), &random_group(kind));
        for step in steps {
            step.take(&mut chat);
        }
        let mut again = PureChat::empty();
        for record in &chat.log {
            again.now = record.at;
            again.fold(record.event.clone());
        }
        prop_assert_eq!(&again.state, &chat.state);
        prop_assert_eq!(&again.messages, &chat.messages);
    }
}

#[test]
fn random_histories_make_every_kind_of_event() {
    let mut random = Random::new(7);
    let mut kinds = BTreeSet::new();
    let (mut unread, mut events) = (0, 0);
    for kind in 0..255 {
        let mut chat = PureChat::group(&person(0), &random_group(kind));
        for _ in 0..60 {
            Step::draw(&mut random).take(&mut chat);
        }
        for record in &chat.log {
            kinds.insert(chat_core::domain::encode(&record.event).unwrap().event_type.to_string());
        }
        events += chat.log.len();
        unread += people().map(|user| chat.state.unread(&user)).sum::<u64>();
    }
    assert_eq!(kinds.len(), 18, "{kinds:?}");
    assert!(unread > 2_000 && events > 6_000, "{unread} unread after {events} events");
    assert_eq!(PEOPLE[0], user("ann").as_str());
}
