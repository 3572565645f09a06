//! A. Sending, and sending again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::gate::Gate;
use super::harness::{ScenarioHarness, Stores};
use super::world::{World, at, command, key, listen, make, must, refused, say, tea_room, user};
use crate::clock::{IdSource as _, SeededIds};
use crate::domain::{ChatEvent, NewGroup, Rejection, Role};
use crate::engine::{
    Ack, ChatError, ChatHandle, ChatUpdate, MessageEdit, NewMessage, SubscribeFrom,
};
use crate::id::{ChatId, ClientMessageId, CommandId, Version};
use crate::ports::StoreError;

/// An engine behind a gate.
async fn gated(world: &World<'_>) -> (super::world::Node, Arc<Gate>) {
    let stores = world.harness.open().await;
    let gate = Gate::new(stores.events);
    let node = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
    (node, gate)
}

async fn messages(world: &World<'_>, chat: &ChatId) -> usize {
    let log = world.log(chat).await;
    log.iter().filter(|record| matches!(record.event, ChatEvent::MessageSent(_))).count()
}

fn assert_repeat(again: &Ack, first: &Ack) {
    assert_eq!((again.event, again.version), (first.event, first.version));
    assert!(again.deduplicated, "{again:?}");
}

/// A1: the append commits, the answer is lost, the client sends again.
pub async fn a1_a_lost_answer_is_no_second_message(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    gate.lose_after(1);
    let message = || NewMessage::text("hello").with_client_id(key("k"));
    let first = must(ann.send(message()).await);
    let again = must(ann.send(message()).await);
    assert_repeat(&again, &first);
    assert_eq!(messages(&world, &chat).await, 1);
    let other = world.node().await;
    assert_repeat(&must(at(&other, "ann", &chat).send(message()).await), &first);
    world.finish().await;
}

/// A2: the first try never reached the log.
pub async fn a2_a_try_that_never_happened_leaves_the_key_free(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    gate.fail_before(1);
    let message = || NewMessage::text("hello").with_client_id(key("k"));
    let failed = ann.send(message()).await;
    assert!(matches!(failed, Err(ChatError::Store(StoreError::Unavailable { .. }))), "{failed:?}");
    assert_eq!(messages(&world, &chat).await, 0);
    world.assert_first(&must(ann.send(message()).await));
    assert_eq!(messages(&world, &chat).await, 1);
    world.finish().await;
}

/// A3: 64 tasks send the same at once on two engines.
pub async fn a3_concurrent_duplicates_make_one_message(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let sends = (0..64).map(|n| {
        let ann = at(&nodes[n % 2], "ann", &chat);
        tokio::spawn(
            async move { ann.send(NewMessage::text("once").with_client_id(key("k"))).await },
        )
    });
    let acks = join_all(sends).await.into_iter().map(|ack| must(ack.expect("no panic")));
    let acks: Vec<_> = acks.collect();
    let places: std::collections::HashSet<_> =
        acks.iter().map(|ack| (ack.event, ack.version)).collect();
    assert_eq!(places.len(), 1, "{acks:?}");
    let first = acks.iter().filter(|ack| !ack.deduplicated).count();
    assert!(first == 1 || (!world.is_certain() && first == 0), "{first} first answers");
    assert_eq!(messages(&world, &chat).await, 1);
    world.finish().await;
}

/// A4: the same key for something else.
pub async fn a4_a_key_used_for_something_else_is_refused(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let base = say(&ann, "base").await.message().expect("a message");
    let message = |text: &str| NewMessage::text(text).with_client_id(key("k"));
    let first = must(ann.send(message("e\u{301}")).await);
    let others = [
        message("e\u{301} "),
        message("\u{e9}"),
        message("e\u{301}").mention(user("bob")),
        message("e\u{301}").mention_all(),
        message("e\u{301}").reply_to(base),
    ];
    let node_2 = world.node().await;
    for (number, other) in others.into_iter().enumerate() {
        for handle in [&ann, &at(&node_2, "ann", &chat)] {
            let answer = handle.send(other.clone()).await;
            let Err(ChatError::IdempotencyConflict { original }) = answer else {
                panic!("variant {number}: {answer:?}");
            };
            assert_eq!(Some(original), first.event);
        }
    }
    assert_eq!(messages(&world, &chat).await, 2);
    assert_repeat(&must(ann.send(message("e\u{301}")).await), &first);
    world.finish().await;
}

/// A5: the same key of another author, or in another chat.
pub async fn a5_a_key_belongs_to_its_author_and_its_chat(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let (one, two) = (tea_room(&node).await, make(&node, NewGroup::named("two")).await);
    let message = || NewMessage::text("x").with_client_id(key("k"));
    let mut events = std::collections::HashSet::new();
    for (name, chat) in [("ann", &one), ("bob", &one), ("ann", &two)] {
        let ack = must(at(&node, name, chat).send(message()).await);
        world.assert_first(&ack);
        events.insert(ack.event);
    }
    assert_eq!(events.len(), 3);
    world.finish().await;
}

/// A6: another device of the same author.
pub async fn a6_another_device_of_the_author_sends_no_second_message(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let (phone, laptop) = (world.node().await, world.node().await);
    let chat = tea_room(&phone).await;
    let message = || NewMessage::text("x").with_client_id(key("k"));
    let first = must(at(&phone, "ann", &chat).send(message()).await);
    assert_repeat(&must(at(&laptop, "ann", &chat).send(message()).await), &first);
    world.finish().await;
}

/// A7: the message was deleted meanwhile, or the author may not write any more.
pub async fn a7_a_retry_brings_no_deleted_message_back(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let message = |k: &str| NewMessage::text("secret").with_client_id(key(k));
    let bob = at(&nodes[0], "bob", &chat);
    let first = must(bob.send(message("k")).await);
    let kept = must(bob.send(message("l")).await);
    let id = first.message().expect("a message");
    must(bob.delete(id, None, None).await);
    for node in &nodes {
        let again = must(at(node, "bob", &chat).send(message("k")).await);
        assert_repeat(&again, &first);
        assert!(again.deleted, "the state is told");
        assert!(!must(at(node, "bob", &chat).send(message("l")).await).deleted);
    }
    must(at(&nodes[1], "ann", &chat).remove(user("bob"), None, None).await);
    for node in &nodes {
        assert_repeat(&must(at(node, "bob", &chat).send(message("l")).await), &kept);
        let fresh = at(node, "bob", &chat).send(message("m")).await;
        assert_eq!(refused(fresh), Rejection::NotMember);
    }
    assert_eq!(messages(&world, &chat).await, 2);
    world.finish().await;
}

/// A11: a thousand messages later, from an engine that has just started.
pub async fn a11_a_retry_is_known_however_late(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 64);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let message = || NewMessage::text("first").with_client_id(key("k"));
    let first = must(ann.send(message()).await);
    let sends = (0..1_000).map(|n| {
        let ann = ann.clone();
        async move { must(ann.send(NewMessage::text(format!("{n}"))).await) }
    });
    join_all(sends).await;
    world.pass(Duration::from_secs(40 * 24 * 3_600));
    let late = world.node().await;
    for handle in [&ann, &at(&late, "ann", &chat)] {
        assert_repeat(&must(handle.send(message()).await), &first);
    }
    assert_eq!(messages(&world, &chat).await, 1_001);
    world.finish().await;
}

/// A14: the process dies before the append.
pub async fn a14_a_crash_before_the_append_loses_nothing_but_the_try(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let message = || NewMessage::text("x").with_client_id(key("k"));
    let calls = gate.append_calls();
    gate.hold();
    let ann = at(&node, "ann", &chat);
    let dying = tokio::spawn(async move { ann.send(message()).await });
    gate.arrived(calls + 1).await;
    // The process never gets further: what waits at the gate stays there.
    dying.abort();
    world.crash(node);
    let after = world.node().await;
    world.assert_first(&must(at(&after, "ann", &chat).send(message()).await));
    assert_eq!(messages(&world, &chat).await, 1);
    gate.release();
    world.finish().await;
}

/// A14: the process dies after the append, before anybody is rung or answered.
pub async fn a14_a_crash_after_the_append_is_found_by_everybody(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let other = world.node().await;
    let mut reader = listen(&at(&other, "bob", &chat), SubscribeFrom::Start).await;
    reader.until(Version(1)).await;
    let message = || NewMessage::text("x").with_client_id(key("k"));
    let calls = gate.append_calls();
    gate.hold();
    gate.let_in(1);
    let ann = at(&node, "ann", &chat);
    let dying = tokio::spawn(async move { ann.send(message()).await });
    gate.carried_out(calls + 1).await;
    dying.abort();
    world.crash(node);
    reader.until(Version(2)).await;
    let again = must(at(&other, "ann", &chat).send(message()).await);
    assert_eq!((again.version, again.deduplicated), (Version(2), true));
    say(&at(&other, "ann", &chat), "next").await;
    reader.until(Version(3)).await;
    assert_eq!(reader.versions(), [1, 2, 3]);
    assert_eq!(messages(&world, &chat).await, 2);
    gate.release();
    world.finish().await;
}

/// What the commands of one member leave, each with a key.
async fn every_command(
    ann: &ChatHandle,
    round: &str,
    ids: &[crate::domain::MessageId],
) -> Vec<Ack> {
    let [mine, other] = ids else { panic!("two messages") };
    let edit = MessageEdit::text("edited").mention(user("bob"));
    let update = ChatUpdate { topic: Some("topic".into()), ..ChatUpdate::default() };
    let invited = Role::Member;
    vec![
        must(ann.edit(*mine, edit, command("edit")).await),
        must(ann.react(*other, "👍", command("react")).await),
        must(ann.unreact(*other, "👍", command("unreact")).await),
        must(ann.delete(*mine, Some("why".into()), command("delete")).await),
        must(ann.update(update, command("update")).await),
        must(ann.invite(user("dora"), invited, command("invite")).await),
        must(ann.revoke_invite(user("dora"), command("revoke")).await),
        must(ann.add(user("dora"), Role::Moderator, command("add")).await),
        must(ann.change_role(user("dora"), Role::Member, command("role")).await),
        must(ann.remove(user("dora"), Some("why".into()), command("remove")).await),
        must(ann.mark_read(Version(5), command("read")).await),
        must(ann.mark_unread(Version(3), command("unread")).await),
        must(ann.hide(command("hide")).await),
        must(ann.transfer_ownership(user("bob"), command("transfer")).await),
        must(ann.leave(command("leave")).await),
        {
            let open = ann.join(command("join")).await;
            open.unwrap_or_else(|error| panic!("{round}: joining: {error}"))
        },
    ]
}

/// A15: every command twice, from another process, long after its state has gone by.
pub async fn a15_every_command_happens_once(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let group = || NewGroup::named("tea").open().with_member(user("bob"), Role::Member);
    let made = must(nodes[0].user(user("ann")).create_group(group(), command("make")).await);
    let ann = at(&nodes[0], "ann", &made.chat);
    let mine = say(&ann, "mine").await.message().expect("a message");
    let bobs = at(&nodes[0], "bob", &made.chat);
    let other = say(&bobs, "other").await.message().expect("a message");
    let first = every_command(&ann, "first", &[mine, other]).await;
    for ack in &first {
        world.assert_first(ack);
    }
    let log = world.log(&made.chat).await;
    for (number, node) in nodes.iter().enumerate() {
        let ann = at(node, "ann", &made.chat);
        let again = every_command(&ann, &format!("engine {number}"), &[mine, other]).await;
        for (again, first) in again.iter().zip(&first) {
            assert_repeat(again, first);
        }
        let again = must(node.user(user("ann")).create_group(group(), command("make")).await);
        assert_eq!(again.chat, made.chat);
        assert_repeat(&again.ack, &made.ack);
    }
    assert_eq!(world.log(&made.chat).await, log, "repeats leave nothing");
    world.finish().await;
}

/// A15: a key of one command cannot be used for another.
pub async fn a15_a_command_key_used_for_something_else_is_refused(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let id = say(&ann, "x").await.message().expect("a message");
    let first = must(ann.react(id, "a", command("k")).await);
    let others = [
        ann.react(id, "b", command("k")).await,
        ann.unreact(id, "a", command("k")).await,
        ann.mark_read(Version(2), command("k")).await,
        ann.hide(command("k")).await,
        ann.remove(user("bob"), None, command("k")).await,
        ann.delete(id, None, command("k")).await,
    ];
    for (number, answer) in others.into_iter().enumerate() {
        let conflict = matches!(&answer, Err(ChatError::IdempotencyConflict { original })
            if Some(*original) == first.event);
        assert!(conflict, "variant {number}: {answer:?}");
    }
    let other = NewGroup::named("other");
    let made = must(node.user(user("ann")).create_group(other, command("make")).await);
    let again = node.user(user("ann")).create_group(NewGroup::named("else"), command("make")).await;
    assert!(matches!(again, Err(ChatError::IdempotencyConflict { .. })), "{again:?}");
    must(at(&node, "bob", &chat).react(id, "b", command("k")).await);
    must(at(&node, "ann", &made.chat).hide(command("k")).await);
    world.finish().await;
}

/// A15: concurrent repeats of other commands, on two engines.
pub async fn a15_concurrent_repeats_of_a_command_happen_once(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let id = say(&at(&nodes[0], "ann", &chat), "x").await.message().expect("a message");
    let tries = (0..32).map(|n| {
        let bob = at(&nodes[n % 2], "bob", &chat);
        tokio::spawn(async move { bob.react(id, "👍", command("k")).await })
    });
    let acks: Vec<Ack> =
        join_all(tries).await.into_iter().map(|ack| must(ack.expect("no panic"))).collect();
    assert!(acks.iter().all(|ack| ack.event == acks[0].event && ack.version == Version(3)));
    let first = acks.iter().filter(|ack| !ack.deduplicated).count();
    assert!(first == 1 || (!world.is_certain() && first == 0), "{first} first answers");
    world.finish().await;
}

/// A15: a group with an external key, and direct chats, are made once by whoever makes them.
pub async fn a15_a_chat_with_a_key_of_its_own_is_made_once(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let tries = (0..16).map(|n| {
        let name = ["ann", "bob"][n / 8];
        let maker = nodes[n % 2].user(user(name));
        let group = NewGroup::named(name).with_external_key("room-7");
        tokio::spawn(async move { maker.create_group(group, None).await })
    });
    let made: Vec<_> =
        join_all(tries).await.into_iter().map(|made| must(made.expect("no panic"))).collect();
    assert!(made.iter().all(|one| one.chat == made[0].chat), "{made:?}");
    let first = made.iter().filter(|one| !one.ack.deduplicated).count();
    assert!(first == 1 || (!world.is_certain() && first == 0), "{first} first answers");
    assert_eq!(world.log(&made[0].chat).await.len(), 1);
    world.finish().await;
}

/// A16: a group with one member who cannot be, or a message with one part too many, is nothing.
pub async fn a16_what_is_bad_in_part_does_not_happen_at_all(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let ann = node.user(user("ann"));
    let group = NewGroup::named("x")
        .with_member(user("bob"), Role::Member)
        .with_member(user("carl"), Role::Owner)
        .with_external_key("k");
    let answer = ann.create_group(group, None).await;
    assert!(matches!(refused(answer), Rejection::Forbidden { .. }));
    let chat = tea_room(&node).await;
    let named = (0..101).map(|n| user(&format!("u{n}")));
    let message = named.fold(NewMessage::text("x"), NewMessage::mention);
    let answer = at(&node, "ann", &chat).send(message).await;
    assert!(matches!(refused(answer), Rejection::LimitExceeded { .. }));
    // Much of what JSON has to escape stays within the characters and goes beyond the bytes.
    let (named, text) = ((0..100).map(|n| user(&format!("{n:0>128}"))), "\u{1}".repeat(10_000));
    let message = named.fold(NewMessage::text(text), NewMessage::mention);
    let answer = at(&node, "ann", &chat).send(message).await;
    assert!(matches!(refused(answer), Rejection::LimitExceeded { .. }));
    assert_eq!(messages(&world, &chat).await, 0);
    world.finish().await;
}

/// Keys that are time-ordered ids and keys that are any text are as good.
pub async fn a11_keys_of_every_form_are_known(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let seeded = SeededIds::new(9);
    let keys = [
        "a".to_owned(),
        "k".repeat(128),
        "ключ ✓ \u{202e}".to_owned(),
        seeded.event_id(world.now()).to_string(),
        "../../etc".to_owned(),
    ];
    let keys = keys.map(|key| ClientMessageId::new(key).expect("a key"));
    for key in &keys {
        let message = || NewMessage::text("x").with_client_id(key.clone());
        let first = must(ann.send(message()).await);
        world.assert_first(&first);
        assert_repeat(&must(ann.send(message()).await), &first);
    }
    assert!(ClientMessageId::new("k".repeat(129)).is_err() && CommandId::new("").is_err());
    assert_eq!(messages(&world, &chat).await, keys.len());
    world.finish().await;
}
