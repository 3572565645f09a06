//! E. Unread messages and mentions: on many devices, in every order, and what counting costs.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;

use super::gate::Gate;
use super::harness::{ScenarioHarness, Stores};
use super::steps::Random;
use super::world::{Node, World, at, listen, must, tea_room, user};
use crate::engine::{ChatListQuery, NewMessage, SubscribeFrom};
use crate::id::{ChatId, Version};

/// Makes a test of every scenario of this file.
#[doc(hidden)]
#[macro_export]
macro_rules! __scenario_tests_e {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::scenarios],
            e11_reading_on_one_device_counts_on_the_other,
            e18_counts_in_a_long_chat_cost_nothing_that_grows,
            e22_no_order_of_deletes_and_reads_goes_below_zero,
        }
    };
}

/// Checks what every engine says in each of the places where it says it.
async fn counts(nodes: &[&Node], name: &str, chat: &ChatId, unread: u64, mentions: u64) {
    for (number, node) in nodes.iter().enumerate() {
        let at_node = format!("{name} at engine {number}");
        let state = must(at(node, name, chat).read_state().await);
        assert_eq!((state.unread, state.mentions), (unread, mentions), "{at_node}: the state");
        let open = must(at(node, name, chat).open(1).await).summary;
        assert_eq!((open.unread, open.mentions), (unread, mentions), "{at_node}: the chat");
        let list = must(node.user(user(name)).chats(ChatListQuery::top(500)).await).chats;
        let entry = list.iter().find(|entry| entry.chat == *chat).expect("it is in the list");
        assert_eq!((entry.unread, entry.mentions), (unread, mentions), "{at_node}: the list");
    }
}

/// A message to the tea room that names bob.
fn to_bob(text: &str) -> NewMessage {
    NewMessage::text(text).mention(user("bob"))
}

/// E11: the other device listens, or comes back later.
pub async fn e11_reading_on_one_device_counts_on_the_other(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [&world.node().await, &world.node().await];
    let chat = tea_room(nodes[0]).await;
    let (phone, laptop) = (at(nodes[0], "bob", &chat), at(nodes[1], "bob", &chat));
    let mut online = listen(&laptop, SubscribeFrom::Now).await;
    let offline = must(laptop.open(5).await).token;
    let mut watch = nodes[1].user(user("bob")).watch();
    for _ in 0..3 {
        must(at(nodes[0], "ann", &chat).send(to_bob("x")).await);
    }
    let read = must(phone.mark_read(Version(3), None).await);
    online.until(read.version).await;
    assert_eq!(watch.next().await.as_ref(), Some(&chat));
    counts(&nodes, "bob", &chat, 1, 1).await;
    let mut back = listen(&laptop, SubscribeFrom::Token(offline)).await;
    back.until(read.version).await;
    assert_eq!(back.records, online.records);
    world.finish().await;
}

/// E18: thousands of messages, deleted here and there.
pub async fn e18_counts_in_a_long_chat_cost_nothing_that_grows(harness: &dyn ScenarioHarness) {
    const MESSAGES: u64 = 3_000;
    let world = World::new(harness);
    let stores = harness.open().await;
    let gate = Gate::new(stores.events);
    let node = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let sends = (0..MESSAGES).map(|number| {
        let ann = ann.clone();
        let message = match number % 10 {
            0 => to_bob("named"),
            _ => NewMessage::text("x"),
        };
        async move { (number, must(ann.send(message).await)) }
    });
    let sent = join_all(sends).await;
    let mut alive: BTreeSet<(u64, bool)> =
        sent.iter().map(|(number, ack)| (ack.version.0, number % 10 == 0)).collect();
    let mut random = Random::new(18);
    let gone = (0..400).map(|_| &sent[random.below(sent.len())]);
    let gone: BTreeSet<_> = gone.map(|(number, ack)| (*number, ack.version.0)).collect();
    let deletes = gone.iter().map(|(number, version)| {
        let (_, ack) = &sent[usize::try_from(*number).expect("small")];
        alive.remove(&(*version, number % 10 == 0));
        let (ann, message) = (ann.clone(), ack.message().expect("a message"));
        async move { must(ann.delete(message, None, None).await) }
    });
    join_all(deletes.collect::<Vec<_>>()).await;
    for read in [0, 1, 700, 1_999, 3_000, 5_000] {
        let bob = at(&node, "bob", &chat);
        must(bob.mark_read(Version(read), None).await);
        let before = gate.stream_reads();
        let state = must(bob.read_state().await);
        let unread = alive.iter().filter(|(version, _)| *version > read);
        let named = alive.iter().filter(|(version, named)| *version > read && *named);
        let expected = (unread.count() as u64, named.count() as u64);
        assert_eq!((state.unread, state.mentions), expected, "read to {read}");
        let reads = gate.stream_reads() - before;
        assert!(reads <= 1, "{reads} pages read for one count");
    }
    world.close().await;
}

/// E22: everything twice, and in every order.
pub async fn e22_no_order_of_deletes_and_reads_goes_below_zero(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [&world.node().await, &world.node().await];
    let chat = tea_room(nodes[0]).await;
    for order in 0..6 {
        let ann = at(nodes[order % 2], "ann", &chat);
        let bob = at(nodes[1 - order % 2], "bob", &chat);
        let sent = must(ann.send(to_bob("x")).await);
        let message = sent.message().expect("a message");
        for step in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]][order] {
            for _ in 0..2 {
                match step {
                    0 => must(ann.delete(message, None, None).await),
                    1 => must(bob.mark_read(Version(u64::MAX), None).await),
                    _ => must(bob.mark_unread(sent.version, None).await),
                };
                let state = must(bob.read_state().await);
                assert!(state.unread <= 1 && state.mentions <= state.unread, "{state:?}");
            }
        }
        must(bob.mark_read(Version(u64::MAX), None).await);
        counts(&nodes, "bob", &chat, 0, 0).await;
    }
    world.finish().await;
}
