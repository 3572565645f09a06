//! Making groups.

use chat_core::Version;
use chat_core::domain::{
    Access, ChatCreated, ChatEvent, ChatKind, ChatState, Context, HistoryVisibility, InvitedMember,
    Limits, NewGroup, ReactionPolicy, Rejection, Role, decide, decide_creation,
};
use chat_core::testkit::scenarios::PureChat;

use crate::asking::*;

fn create(group: &NewGroup) -> Result<ChatCreated, Rejection> {
    decide_creation(&user("ann"), group, &Limits::default())
}

#[test]
fn the_event_says_what_was_asked_and_members_stand_in_order() {
    let group = NewGroup::named("tea")
        .with_topic("leaves")
        .open()
        .with_history(HistoryVisibility::Joined)
        .with_reactions(ReactionPolicy::Unique)
        .with_external_key("room-7")
        .with_member(user("zoe"), Role::Member)
        .with_member(user("bob"), Role::Moderator);
    let member = |name, role| InvitedMember { user: user(name), role };
    assert_eq!(
        create(&group),
        Ok(ChatCreated {
            by: user("ann"),
            kind: ChatKind::Group,
            name: Some("tea".into()),
            topic: Some("leaves".into()),
            members: vec![member("bob", Role::Moderator), member("zoe", Role::Member)],
            access: Access::Open,
            history: HistoryVisibility::Joined,
            reactions: ReactionPolicy::Unique,
            external_key: Some("room-7".into()),
        })
    );
}

#[test]
fn the_same_group_in_another_order_of_members_is_the_same_event() {
    let one = NewGroup::named("x").with_member(user("b"), Role::Member);
    let two = one.clone().with_member(user("c"), Role::Moderator);
    let swapped = NewGroup::named("x").with_member(user("c"), Role::Moderator);
    let swapped = swapped.with_member(user("b"), Role::Member);
    assert_eq!(create(&two), create(&swapped));
    assert_ne!(create(&one), create(&two));
}

#[test]
fn the_creator_is_the_only_owner_also_when_named_as_a_member() {
    let group = NewGroup::named("x").with_member(user("ann"), Role::Member);
    let created = create(&group).unwrap();
    assert_eq!(created.members, []);
    let chat = PureChat::created(created);
    assert_eq!(chat.state.active(&user("ann")).unwrap().role, Role::Owner);
    let second = NewGroup::named("x").with_member(user("bob"), Role::Owner);
    assert_eq!(create(&second), Err(Rejection::Forbidden { what: "a second owner" }));
}

#[test]
fn a_member_named_twice_is_refused() {
    let group = NewGroup::named("x")
        .with_member(user("bob"), Role::Member)
        .with_member(user("carl"), Role::Member)
        .with_member(user("bob"), Role::Moderator);
    assert_eq!(create(&group), Err(Rejection::InvalidArgument { what: "a member is named twice" }));
}

#[test]
fn an_empty_name_or_topic_is_none_and_an_empty_key_is_refused() {
    let created = create(&NewGroup::named("").with_topic("")).unwrap();
    assert_eq!((created.name, created.topic), (None, None));
    assert_eq!(
        create(&NewGroup::named("x").with_external_key("")),
        Err(Rejection::InvalidArgument { what: "the external key is empty" })
    );
}

#[test]
fn a_group_with_a_key_takes_its_id_from_the_key_alone() {
    let one = create(&NewGroup::named("one").with_external_key("k")).unwrap();
    let two = create(&NewGroup::named("two").open().with_external_key("k")).unwrap();
    assert_eq!(one.derived_id(), two.derived_id());
    assert!(one.derived_id().is_some());
    assert_eq!(create(&NewGroup::named("one")).unwrap().derived_id(), None);
}

#[test]
fn everybody_named_is_a_member_from_the_first_event_on() {
    let chat = group();
    assert_eq!(chat.state.version, Version(1));
    let members: Vec<_> = chat
        .state
        .active_members()
        .map(|(user, member)| (user.as_str(), member.role, member.joined, member.read))
        .collect();
    let one = Version(1);
    assert_eq!(
        members,
        [
            ("ann", Role::Owner, one, one),
            ("bob", Role::Member, one, one),
            ("carl", Role::Member, one, one),
            ("max", Role::Moderator, one, one),
        ]
    );
}

#[test]
fn a_chat_that_does_not_exist_answers_nothing_else() {
    let (chat, limits) = (ChatState::default(), Limits::default());
    let (now, actor) = (chat_core::Timestamp(1), user("ann"));
    let context = Context { chat: &chat, actor: &actor, now, limits: &limits, target: None };
    let hide = chat_core::domain::ChatCommand::Hide;
    for command in [&send("x"), &chat_core::domain::ChatCommand::Join, &read(1), &hide] {
        assert_eq!(decide(&context, command), Err(Rejection::ChatNotFound), "{command:?}");
    }
}

#[test]
fn an_event_of_a_later_release_at_the_start_makes_no_group() {
    let mut chat = PureChat::empty();
    chat.fold(ChatEvent::Unknown);
    assert_eq!(when(&mut chat, "ann", &send("x")), Err(Rejection::ChatNotFound));
    assert_eq!(chat.state.kind, None);
}
