//! E. Unread and mentions.

use std::time::Duration;

use futures::future::join_all;

use super::harness::ScenarioHarness;
use super::reference::Reference;
use super::steps::{Random, Step, person};
use super::world::{Node, World, at, make, must, say, say_id, soak, tea_room, user};
use crate::domain::{ChatCommand, HistoryVisibility, NewGroup, Role};
use crate::engine::{ChatError, ChatListQuery, MessageEdit, NewMessage};
use crate::id::{ChatId, Version};

/// Unread and mentions by both ways of asking, which must agree, from every engine.
async fn counts(nodes: &[Node], name: &str, chat: &ChatId) -> (u64, u64) {
    let mut all = Vec::new();
    for node in nodes {
        let state = must(at(node, name, chat).read_state().await);
        let page = must(node.user(user(name)).chats(ChatListQuery::top(100)).await);
        let entry = page.chats.iter().find(|entry| entry.chat == *chat).expect("in the list");
        assert_eq!(
            (entry.unread, entry.mentions),
            (state.unread, state.mentions),
            "badge of {name}"
        );
        all.push((state.unread, state.mentions));
    }
    assert!(all.iter().all(|one| *one == all[0]), "the engines differ: {all:?}");
    all[0]
}

async fn nodes(world: &World<'_>) -> [Node; 2] {
    [world.node().await, world.node().await]
}

/// E1 to E3: deleting what is unread, what is read, and what names somebody.
pub async fn e1_e2_e3_deletions_take_their_counts_with_them(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    let mut ids = Vec::new();
    for n in 0..4 {
        let message = NewMessage::text(format!("{n}")).mention(user("bob"));
        ids.push(must(ann.send(message).await).message().expect("a message"));
    }
    assert_eq!(counts(&nodes, "bob", &chat).await, (4, 4));
    must(at(&nodes[1], "bob", &chat).mark_read(Version(3), None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (2, 2));
    must(ann.delete(ids[0], None, None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (2, 2), "it was read");
    must(ann.delete(ids[3], None, None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (1, 1), "it was not");
    must(ann.edit(ids[2], MessageEdit::text("nobody named"), None).await);
    must(ann.delete(ids[2], None, None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (0, 0));
    world.finish().await;
}

/// E4 and E5: edits that name and do not name any more.
pub async fn e4_e5_edits_name_and_stop_naming(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    let read = say_id(&ann, "read").await;
    must(at(&nodes[0], "bob", &chat).mark_read(Version(2), None).await);
    let unread = say_id(&ann, "unread").await;
    let naming = |text: &str| MessageEdit::text(text).mention(user("bob"));
    assert_eq!(counts(&nodes, "bob", &chat).await, (1, 0));
    must(ann.edit(unread, naming("bob!"), None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (1, 1));
    must(ann.edit(unread, naming("bob?").mention_all(), None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (1, 1));
    assert_eq!(counts(&nodes, "carl", &chat).await, (2, 1));
    must(ann.edit(read, naming("bob, long ago"), None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (1, 1), "read stays read");
    must(ann.edit(unread, MessageEdit::text("nobody"), None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (1, 0));
    world.finish().await;
}

/// E6: reading while the next message comes.
pub async fn e6_reading_while_the_next_message_comes_leaves_one(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    for round in 0..20 {
        let seen = say(&ann, "seen").await.version;
        let (reader, writer) = (at(&nodes[round % 2], "bob", &chat), at(&nodes[1], "ann", &chat));
        let reading = tokio::spawn(async move { reader.mark_read(seen, None).await });
        let writing = tokio::spawn(async move { say(&writer, "next").await });
        must(reading.await.expect("no panic"));
        let next = writing.await.expect("no panic");
        assert_eq!(counts(&nodes, "bob", &chat).await.0, 1, "round {round}");
        must(at(&nodes[0], "bob", &chat).mark_read(next.version, None).await);
        assert_eq!(counts(&nodes, "bob", &chat).await.0, 0, "round {round}");
    }
    world.finish().await;
}

/// E7 and E8: reading backwards, and beyond the end.
pub async fn e7_e8_reading_never_goes_back_or_ahead(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    for n in 0..5 {
        say(&ann, &format!("{n}")).await;
    }
    must(at(&nodes[0], "bob", &chat).mark_read(Version(5), None).await);
    for late in [0, 1, 4, 5] {
        let ack = must(at(&nodes[1], "bob", &chat).mark_read(Version(late), None).await);
        assert!(!ack.changed(), "{late}");
    }
    assert_eq!(counts(&nodes, "bob", &chat).await, (1, 0));
    must(at(&nodes[1], "bob", &chat).mark_read(Version(1_000_000), None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (0, 0));
    let state = must(at(&nodes[0], "bob", &chat).read_state().await);
    assert!(state.read < state.version, "never beyond the end: {state:?}");
    say(&ann, "later").await;
    assert_eq!(counts(&nodes, "bob", &chat).await, (1, 0));
    world.finish().await;
}

/// E9: marking as unread from any message, which is nobody else's business.
pub async fn e9_a_mark_counts_from_any_message_and_is_private(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    for ack in join_all((0..150).map(|n| ann.send(NewMessage::text(format!("{n}"))))).await {
        must(ack);
    }
    let bob = at(&nodes[0], "bob", &chat);
    must(bob.mark_read(Version(151), None).await);
    for from in [2, 30, 151] {
        must(bob.mark_unread(Version(from), None).await);
        assert_eq!(counts(&nodes, "bob", &chat).await, (152 - from, 0), "from {from}");
        let page = must(nodes[1].user(user("bob")).chats(ChatListQuery::top(1)).await);
        assert!(page.chats[0].marked_unread);
        let query = crate::engine::MemberQuery { after: None, limit: 10 };
        let members = must(ann.members(query).await).members;
        let shown = members.iter().find(|member| member.user == user("bob")).expect("bob");
        assert_eq!(shown.read, Version(151), "what others see does not go back");
    }
    must(at(&nodes[1], "bob", &chat).mark_read(Version(151), None).await);
    assert_eq!(counts(&nodes, "bob", &chat).await, (0, 0));
    world.finish().await;
}

/// E11: what is read on one device is read on the other, also if that one was away.
pub async fn e11_what_one_device_reads_is_read_on_the_other(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = tea_room(&nodes[0]).await;
    say(&at(&nodes[0], "ann", &chat), "x").await;
    must(nodes[1].catch_up().await);
    let mut watch = nodes[1].user(user("bob")).watch();
    must(at(&nodes[0], "bob", &chat).mark_read(Version(2), None).await);
    let told = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
    assert_eq!(told.expect("the other device is told"), Some(chat.clone()));
    let page = must(nodes[1].user(user("bob")).chats(ChatListQuery::top(5)).await);
    assert_eq!(page.chats[0].unread, 0);
    drop(watch);
    let late = world.node().await;
    let page = must(late.user(user("bob")).chats(ChatListQuery::top(5)).await);
    assert_eq!(page.chats[0].unread, 0);
    world.finish().await;
}

/// E12 and E19: who comes later has nothing to catch up on, and was not named.
pub async fn e12_e19_who_comes_later_begins_at_zero_and_was_not_named(
    harness: &dyn ScenarioHarness,
) {
    for history in [HistoryVisibility::Shared, HistoryVisibility::Joined] {
        let world = World::new(harness);
        let nodes = nodes(&world).await;
        let chat = make(&nodes[0], NewGroup::named("x").open().with_history(history)).await;
        let ann = at(&nodes[0], "ann", &chat);
        let all = || NewMessage::text("all").mention_all().mention(user("dora"));
        let early = must(ann.send(all()).await).message().expect("a message");
        must(at(&nodes[1], "dora", &chat).join(None).await);
        must(ann.add(user("evi"), Role::Member, None).await);
        for name in ["dora", "evi"] {
            assert_eq!(counts(&nodes, name, &chat).await, (0, 0), "{name}, {history:?}");
        }
        must(ann.edit(early, MessageEdit::text("all again").mention_all(), None).await);
        assert_eq!(counts(&nodes, "dora", &chat).await, (0, 0));
        must(ann.send(all()).await);
        assert_eq!(counts(&nodes, "dora", &chat).await, (1, 1));
        assert_eq!(counts(&nodes, "evi", &chat).await, (1, 1));
        assert_eq!(counts(&nodes, "bob", &chat).await, (2, 2));
        must(at(&nodes[0], "dora", &chat).leave(None).await);
        say(&ann, "while dora is away").await;
        must(at(&nodes[0], "dora", &chat).join(None).await);
        assert_eq!(counts(&nodes, "dora", &chat).await, (0, 0));
        world.finish().await;
    }
}

/// E16: the same counts before and after everything was started anew.
pub async fn e16_counts_are_the_same_after_a_restart(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 8);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    for n in 0..30 {
        let id = must(ann.send(NewMessage::text("x").mention(user("bob"))).await);
        if n % 3 == 0 {
            must(ann.delete(id.message().expect("a message"), None, None).await);
        }
    }
    must(at(&node, "bob", &chat).mark_read(Version(12), None).await);
    let before = counts(std::slice::from_ref(&node), "bob", &chat).await;
    assert!(before.0 > 5 && before.0 == before.1, "{before:?}");
    // Once with a farewell, and once without.
    node.shutdown().await;
    world.crash(node);
    let node = world.node().await;
    assert_eq!(counts(std::slice::from_ref(&node), "bob", &chat).await, before);
    world.crash(node);
    let node = world.node().await;
    assert_eq!(counts(std::slice::from_ref(&node), "bob", &chat).await, before);
    world.finish().await;
}

/// E18: a very long chat with deletions all over it: the count is the one by hand, from a cold
/// start.
pub async fn e18_counts_of_a_long_chat_are_those_by_hand(harness: &dyn ScenarioHarness) {
    let length: u64 = soak(100_000, 3_000);
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    world.fill(&chat, length).await;
    let bob = at(&node, "bob", &chat);
    let mut random = Random::new(18);
    let mut deleted = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let seq = 2 + random.below(usize::try_from(length - 1).expect("small")) as u64;
        let id = crate::testkit::fixture::event_id(seq);
        must(bob.delete(id.into(), None, None).await);
        deleted.insert(seq);
    }
    let ann = at(&node, "ann", &chat);
    let read = length / 3;
    must(ann.mark_read(Version(read), None).await);
    let alive = (read + 1..=length).filter(|seq| !deleted.contains(seq));
    let named = alive.clone().filter(|seq| seq % 10 == 0).count() as u64;
    let alive = alive.count() as u64;
    let late = world.node().await;
    for node in [&node, &late] {
        let state = must(at(node, "ann", &chat).read_state().await);
        assert_eq!((state.unread, state.mentions), (alive, named));
        assert_eq!(must(at(node, "bob", &chat).read_state().await).unread, 0, "own messages");
    }
    world.close().await;
}

/// E22 and E23: whatever happens, counts are what is there, and the badges add up. The audit at the
/// end counts by hand for everybody, in every chat, on every engine.
pub async fn e22_e23_counts_and_sums_hold_after_any_history(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 16);
    let nodes = nodes(&world).await;
    let mut chats = Vec::new();
    for kind in [0, 5, 11, 30] {
        let group = super::steps::random_group(kind);
        chats.push(must(nodes[0].user(person(0)).create_group(group, None).await).chat);
    }
    chats.push(must(nodes[0].user(person(0)).open_direct(&[person(1)]).await).chat);
    let mut random = Random::new(23);
    for n in 0..240 {
        let chat = &chats[n % chats.len()];
        let log = world.log(chat).await;
        let reference = Reference::new(&log);
        let members: Vec<_> = reference.roles().into_keys().collect();
        let step = Step::draw(&mut random);
        let messages = reference.messages();
        let command = step.command(&messages, Version(log.len() as u64));
        let handle = nodes[n % 2].user(step.actor(&members)).chat(chat);
        let answer = match command {
            ChatCommand::Send(send) => {
                let message = NewMessage::text(send.text);
                let message = send.mentions.users.into_iter().fold(message, NewMessage::mention);
                handle
                    .send(if send.mentions.everyone { message.mention_all() } else { message })
                    .await
            }
            other => handle.command(other, None).await,
        };
        if let Err(error) = answer {
            assert!(matches!(error, ChatError::Rejected(_)), "{error}");
        }
        world.pass(Duration::from_millis(step.pause()));
    }
    world.finish().await;
}
