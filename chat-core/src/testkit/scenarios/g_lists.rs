//! G. Direct chats, and the list of a user's chats.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::gate::Gate;
use super::harness::{ScenarioHarness, Stores};
use super::world::{Node, World, at, listen, make, must, refused, say, say_id, tea_room, user};
use crate::domain::{ChatKind, NewGroup, Rejection, Role};
use crate::engine::{ChatCursor, ChatError, ChatListQuery, ChatSummary, ChatUpdate, SubscribeFrom};
use crate::id::{ChatId, Namespace, UserId, Version};

/// Makes a test of every scenario of this file.
#[doc(hidden)]
#[macro_export]
macro_rules! __scenario_tests_g {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::scenarios],
            g1_both_who_open_a_direct_chat_at_once_get_the_same,
            g2_order_doubles_and_oneself_make_no_other_direct_chat,
            g4_alone_it_is_the_notes_of_oneself,
            g5_another_namespace_has_direct_chats_of_its_own,
            g6_a_crash_while_a_chat_is_made_leaves_it_usable,
            g7_an_empty_direct_chat_is_in_no_other_list,
            g8_a_hidden_direct_chat_comes_back_with_the_next_message,
            g8_nobody_leaves_a_direct_chat,
            g10_only_messages_move_a_chat_up,
            g10_chats_of_one_moment_stand_in_the_order_of_their_ids,
            g10_pages_hold_while_chats_jump_to_the_top,
            g11_a_page_costs_what_it_holds,
            g14_a_chat_that_was_left_goes_from_the_lists_of_all_devices,
            g14_a_key_of_the_hosts_is_never_another_group,
        }
    };
}

async fn list(node: &Node, name: &str) -> Vec<ChatSummary> {
    must(node.user(user(name)).chats(ChatListQuery::top(500)).await).chats
}

async fn ids(node: &Node, name: &str) -> Vec<ChatId> {
    list(node, name).await.into_iter().map(|chat| chat.chat).collect()
}

async fn direct(node: &Node, name: &str, others: &[&str]) -> ChatId {
    let others: Vec<UserId> = others.iter().map(|other| user(other)).collect();
    must(node.user(user(name)).open_direct(&others).await).chat
}

/// G1: at two processes.
pub async fn g1_both_who_open_a_direct_chat_at_once_get_the_same(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let opening = (0..32).map(|number| {
        let (name, other) = [("ann", "bob"), ("bob", "ann")][number % 2];
        let handle = nodes[(number / 2) % 2].user(user(name));
        tokio::spawn(async move { must(handle.open_direct(&[user(other)]).await) })
    });
    let opened = join_all(opening.collect::<Vec<_>>()).await;
    let opened: Vec<_> = opened.into_iter().map(|opened| opened.expect("no panic")).collect();
    for one in &opened {
        assert_eq!(one.chat, opened[0].chat);
        assert_eq!((one.ack.event, one.ack.version), (opened[0].ack.event, Version(1)));
    }
    assert_eq!(world.log(&opened[0].chat).await.len(), 1);
    for (node, name) in nodes.iter().zip(["ann", "bob"]) {
        say(&at(node, name, &opened[0].chat), "hello").await;
    }
    world.finish().await;
}

/// G2: a set is a set.
pub async fn g2_order_doubles_and_oneself_make_no_other_direct_chat(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let three = direct(&nodes[0], "ann", &["bob", "carl"]).await;
    let same: [(&str, &[&str]); 5] = [
        ("ann", &["carl", "bob"]),
        ("bob", &["ann", "carl"]),
        ("carl", &["bob", "ann", "bob"]),
        ("ann", &["ann", "bob", "carl"]),
        ("bob", &["carl", "carl", "bob", "ann", "ann"]),
    ];
    for (name, others) in same {
        for node in &nodes {
            assert_eq!(direct(node, name, others).await, three, "{name} and {others:?}");
        }
    }
    // Also not where names run into each other.
    let other: [(&str, &[&str]); 5] = [
        ("ann", &["bob"]),
        ("ann", &["carl"]),
        ("ann", &["bobcarl"]),
        ("annbob", &["carl"]),
        ("ann", &["bob", "carl", "dora"]),
    ];
    let mut seen = vec![three];
    for (name, others) in other {
        let chat = direct(&nodes[0], name, others).await;
        assert!(!seen.contains(&chat), "{name} and {others:?}");
        seen.push(chat);
    }
    world.finish().await;
}

/// G4: a chat with oneself.
pub async fn g4_alone_it_is_the_notes_of_oneself(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let notes = direct(&nodes[0], "ann", &[]).await;
    assert_eq!(direct(&nodes[1], "ann", &["ann", "ann"]).await, notes);
    assert_ne!(direct(&nodes[1], "bob", &[]).await, notes);
    say(&at(&nodes[0], "ann", &notes), "milk").await;
    let list = list(&nodes[1], "ann").await;
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].kind, list[0].members, list[0].unread), (ChatKind::Notes, 1, 0));
    assert!(at(&nodes[0], "bob", &notes).open(5).await.is_err(), "notes are private");
    world.finish().await;
}

/// G5: the same people, elsewhere.
pub async fn g5_another_namespace_has_direct_chats_of_its_own(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let other = Namespace::new("other").expect("a namespace");
    let elsewhere = world.node_on(harness.open_namespace(&other).await).await;
    let chat = direct(&node, "ann", &["bob"]).await;
    say(&at(&node, "ann", &chat), "here").await;
    assert!(at(&elsewhere, "ann", &chat).open(5).await.is_err(), "nothing is there yet");
    let there = must(elsewhere.user(user("ann")).open_direct(&[user("bob")]).await);
    assert_eq!(there.ack.version, Version(1));
    let open = must(at(&elsewhere, "bob", &there.chat).open(5).await);
    assert_eq!((open.page.messages.len(), open.summary.unread), (0, 0));
    let token = must(at(&node, "bob", &chat).open(5).await).token;
    let foreign = at(&elsewhere, "bob", &there.chat).subscribe(SubscribeFrom::Token(token)).await;
    assert!(matches!(foreign, Err(ChatError::InvalidToken)), "a token of another namespace");
    assert_eq!(list(&elsewhere, "bob").await.len(), 0);
    assert_eq!(list(&node, "bob").await.len(), 1);
    world.close().await;
}

/// G6: the process dies before or after the chat is there; somebody goes on.
pub async fn g6_a_crash_while_a_chat_is_made_leaves_it_usable(harness: &dyn ScenarioHarness) {
    for carried_out in [false, true] {
        let world = World::new(harness);
        let stores = harness.open().await;
        let gate = Gate::new(stores.events);
        let dying = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
        let name = if carried_out { "bob" } else { "carl" };
        let calls = gate.append_calls();
        gate.hold();
        let ann = dying.user(user("ann"));
        let opening = tokio::spawn(async move { ann.open_direct(&[user(name)]).await });
        gate.arrived(calls + 1).await;
        if carried_out {
            gate.let_in(1);
            gate.carried_out(calls + 1).await;
        }
        opening.abort();
        world.crash(dying);
        let node = world.node().await;
        let made = must(node.user(user(name)).open_direct(&[user("ann")]).await);
        assert_eq!(made.ack.version, Version(1));
        assert!(!carried_out || made.ack.deduplicated, "it was there: {made:?}");
        say(&at(&node, name, &made.chat), "hello").await;
        assert_eq!(list(&node, "ann").await[0].unread, 1);
        gate.release();
        world.finish().await;
    }
}

/// G7: opened, but nobody has written.
pub async fn g7_an_empty_direct_chat_is_in_no_other_list(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = direct(&nodes[0], "ann", &["bob"]).await;
    for node in &nodes {
        assert_eq!(ids(node, "ann").await, std::slice::from_ref(&chat));
        assert_eq!(ids(node, "bob").await, []);
    }
    say(&at(&nodes[1], "ann", &chat), "hello").await;
    for node in &nodes {
        assert_eq!(ids(node, "bob").await, std::slice::from_ref(&chat));
        assert_eq!(list(node, "bob").await[0].unread, 1);
    }
    world.finish().await;
}

/// G8: hidden is not left.
pub async fn g8_a_hidden_direct_chat_comes_back_with_the_next_message(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = direct(&nodes[0], "ann", &["bob"]).await;
    let bob = at(&nodes[0], "bob", &chat);
    let old = say_id(&at(&nodes[0], "ann", &chat), "old").await;
    must(bob.mark_read(Version(2), None).await);
    must(bob.hide(None).await);
    for node in &nodes {
        assert_eq!(ids(node, "bob").await, [], "hidden on all devices");
        assert_eq!(ids(node, "ann").await, std::slice::from_ref(&chat), "but for nobody else");
    }
    must(at(&nodes[1], "ann", &chat).react(old, "a", None).await);
    must(at(&nodes[1], "ann", &chat).edit(old, "edited", None).await);
    assert_eq!(ids(&nodes[1], "bob").await, [], "nothing new was said");
    say(&at(&nodes[1], "ann", &chat), "new").await;
    for node in &nodes {
        let list = list(node, "bob").await;
        assert_eq!(list.len(), 1, "it is back");
        assert_eq!((&list[0].chat, list[0].unread), (&chat, 1));
    }
    world.finish().await;
}

/// G8: a chat of two stays one.
pub async fn g8_nobody_leaves_a_direct_chat(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = direct(&node, "ann", &["bob"]).await;
    say(&at(&node, "ann", &chat), "hello").await;
    let (ann, bob) = (at(&node, "ann", &chat), at(&node, "bob", &chat));
    let rejections = [
        refused(bob.leave(None).await),
        refused(ann.remove(user("bob"), None, None).await),
        refused(ann.add(user("carl"), Role::Member, None).await),
        refused(ann.invite(user("carl"), Role::Member, None).await),
        refused(ann.transfer_ownership(user("bob"), None).await),
    ];
    for rejection in rejections {
        assert!(matches!(rejection, Rejection::Forbidden { .. }), "{rejection:?}");
    }
    must(bob.hide(None).await);
    assert_eq!(direct(&node, "bob", &["ann"]).await, chat);
    let open = must(bob.open(5).await);
    assert_eq!((open.summary.members, open.page.messages.len()), (2, 1));
    world.finish().await;
}

/// G10: what moves a chat, and what does not.
pub async fn g10_only_messages_move_a_chat_up(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let mut chats = Vec::new();
    let mut firsts = Vec::new();
    for name in ["one", "two", "three"] {
        world.pass(Duration::from_secs(1));
        let chat = make(&nodes[0], NewGroup::named(name).open()).await;
        firsts.push(say_id(&at(&nodes[0], "ann", &chat), name).await);
        chats.push(chat);
    }
    let order = |order: [usize; 3]| order.map(|index| chats[index].clone()).to_vec();
    let (ann, bob) = (at(&nodes[0], "ann", &chats[0]), at(&nodes[1], "bob", &chats[0]));
    world.pass(Duration::from_secs(1));
    must(ann.edit(firsts[0], "edited", None).await);
    must(bob.react(firsts[0], "a", None).await);
    must(bob.mark_read(Version(2), None).await);
    must(ann.mark_unread(Version(2), None).await);
    must(at(&nodes[0], "dora", &chats[0]).join(None).await);
    must(ann.add(user("evi"), Role::Member, None).await);
    must(ann.update(ChatUpdate { topic: Some("x".into()), ..ChatUpdate::default() }, None).await);
    must(ann.change_role(user("bob"), Role::Moderator, None).await);
    for node in &nodes {
        assert_eq!(ids(node, "bob").await, order([2, 1, 0]), "nothing was said");
        assert_eq!(ids(node, "carl").await, order([2, 1, 0]), "nothing was said");
    }
    say(&bob, "new").await;
    world.pass(Duration::from_secs(1));
    say(&at(&nodes[1], "carl", &chats[1]), "newer").await;
    for node in &nodes {
        for name in ["ann", "bob", "carl"] {
            assert_eq!(ids(node, name).await, order([1, 0, 2]), "{name}");
        }
    }
    world.finish().await;
}

/// G10: the clock stands still.
pub async fn g10_chats_of_one_moment_stand_in_the_order_of_their_ids(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let node = world.node().await;
    let mut chats = Vec::new();
    for number in 0..20 {
        chats.push(make(&node, NewGroup::named(format!("{number}"))).await);
    }
    for chat in chats.iter().step_by(3) {
        say(&at(&node, "ann", chat), "x").await;
    }
    chats.sort();
    assert_eq!(ids(&node, "bob").await, chats);
    let mut query = ChatListQuery::top(3);
    let mut paged = Vec::new();
    loop {
        let page = must(node.user(user("bob")).chats(query.clone()).await);
        paged.extend(page.chats.into_iter().map(|chat| chat.chat));
        // A cursor is also right as text.
        let Some(next) = page.next.map(|next| next.to_string()) else { break };
        query.after = Some(must(next.parse::<ChatCursor>()));
    }
    assert_eq!(paged, chats);
    world.finish().await;
}

/// G10: the list changes while it is read.
pub async fn g10_pages_hold_while_chats_jump_to_the_top(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let mut chats = Vec::new();
    for number in 0..24 {
        world.pass(Duration::from_millis(1));
        chats.push(make(&nodes[0], NewGroup::named(format!("{number}"))).await);
    }
    let mut query = ChatListQuery::top(5);
    let mut paged = Vec::new();
    let mut jumped = Vec::new();
    let mut turn = 0;
    loop {
        let page = must(nodes[turn % 2].user(user("bob")).chats(query.clone()).await);
        paged.extend(page.chats.into_iter().map(|chat| chat.chat));
        world.pass(Duration::from_millis(1));
        // One that was given already, and one that was not.
        let (given, coming) = (&chats[23 - turn], &chats[turn]);
        for chat in [given, coming] {
            say(&at(&nodes[0], "ann", chat), "x").await;
            if !paged.contains(chat) {
                jumped.push(chat.clone());
            }
        }
        turn += 1;
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let mut expected: Vec<_> = chats.iter().rev().cloned().collect();
    expected.retain(|chat| !jumped.contains(chat));
    assert_eq!(paged, expected, "each chat that stayed, once, in order");
    assert!(jumped.len() >= 3, "{} chats jumped", jumped.len());
    let top = ids(&nodes[1], "bob").await;
    assert!(jumped.iter().all(|chat| top[..2 * turn].contains(chat)), "they are at the top");
    world.finish().await;
}

/// G11: a page of fifty, of more and more chats.
pub async fn g11_a_page_costs_what_it_holds(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let maker = world.node().await;
    let mut costs = Vec::new();
    for round in 0..3 {
        for _ in 0..100 * (1 + round) {
            world.pass(Duration::from_millis(1));
            let chat = make(&maker, NewGroup::named("x")).await;
            say(&at(&maker, "ann", &chat), "x").await;
        }
        must(maker.catch_up().await);
        let stores = harness.open().await;
        let gate = Gate::new(stores.events);
        let node = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
        must(node.catch_up().await);
        let before = gate.stream_reads();
        let page = must(node.user(user("bob")).chats(ChatListQuery::top(50)).await);
        assert_eq!((page.chats.len(), page.next.is_some()), (50, true));
        assert!(page.chats.iter().all(|chat| chat.unread == 1 && chat.preview.is_some()));
        let cold = gate.stream_reads() - before;
        must(node.user(user("bob")).chats(ChatListQuery::top(50)).await);
        let warm = gate.stream_reads() - before - cold;
        costs.push((cold, warm, node.metrics().cached_chats));
        node.shutdown().await;
        world.crash(node);
    }
    // A hundred chats, three hundred, six hundred.
    for (cold, warm, cached) in &costs {
        assert!(*cold <= 150 && *warm <= 50, "pages of streams that were read: {costs:?}");
        assert!(*cached <= 100, "chats in memory: {costs:?}");
    }
    world.close().await;
}

/// G14: as far as chats end for one member.
pub async fn g14_a_chat_that_was_left_goes_from_the_lists_of_all_devices(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = make(&nodes[0], NewGroup::named("open").open()).await;
    let kept = tea_room(&nodes[0]).await;
    say(&at(&nodes[0], "ann", &chat), "x").await;
    for node in &nodes {
        assert_eq!(ids(node, "bob").await.len(), 2);
    }
    must(at(&nodes[0], "bob", &chat).leave(None).await);
    must(at(&nodes[1], "ann", &chat).remove(user("carl"), None, None).await);
    say(&at(&nodes[1], "ann", &chat), "after").await;
    for node in &nodes {
        for name in ["bob", "carl"] {
            assert_eq!(ids(node, name).await, std::slice::from_ref(&kept), "{name}");
        }
        assert_eq!(ids(node, "ann").await.len(), 2);
    }
    must(at(&nodes[1], "bob", &chat).join(None).await);
    for node in &nodes {
        assert_eq!(ids(node, "bob").await.len(), 2, "back again");
    }
    world.finish().await;
}

/// G14: the key means the group for ever, also when everybody but the owner has gone.
pub async fn g14_a_key_of_the_hosts_is_never_another_group(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let group = |name: &str| NewGroup::named(name).with_external_key("room/7");
    let made = must(nodes[0].user(user("ann")).create_group(group("first"), None).await);
    let mut reader = listen(&at(&nodes[0], "ann", &made.chat), SubscribeFrom::Start).await;
    let bob = must(nodes[1].user(user("bob")).create_group(group("second"), None).await);
    assert_eq!((&bob.chat, bob.ack.deduplicated), (&made.chat, true));
    assert!(at(&nodes[1], "bob", &made.chat).open(1).await.is_err(), "found, but not joined");
    let open = must(at(&nodes[1], "ann", &made.chat).open(1).await);
    assert_eq!(open.summary.name.as_deref(), Some("first"), "left as it is");
    let ack = say(&at(&nodes[1], "ann", &made.chat), "x").await;
    reader.until(ack.version).await;
    assert_eq!(reader.versions(), [1, 2]);
    world.finish().await;
}
