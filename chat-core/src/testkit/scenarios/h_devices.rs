//! H. Several devices of one user; who is here, and who types.

use std::time::Duration;

use tokio::time::timeout;

use super::harness::ScenarioHarness;
use super::reader::Reader;
use super::world::{World, at, key, listen, must, refused, say, tea_room, user};
use crate::domain::{ChatEvent, Rejection};
use crate::engine::{ChatSignal, NewMessage, SubscribeFrom};
use crate::id::Version;

/// Makes a test of every scenario of this file.
#[doc(hidden)]
#[macro_export]
macro_rules! __scenario_tests_h {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::scenarios],
            h1_every_device_gets_every_message_its_own_too,
            h2_the_senders_device_finds_its_message_by_its_key_once,
            h3_devices_of_one_process_are_one_presence,
            h3_coming_and_going_within_the_grace_is_not_told,
            h3_devices_of_two_processes_are_one_presence,
            h3_a_crashed_process_takes_its_users_offline,
            h3_presence_is_told_to_members_only,
            h4_typing_ends_with_the_message_the_word_or_the_membership,
            h4_typing_lapses_by_itself,
            h4_typing_reaches_other_processes,
            h4_typing_of_strangers_is_refused,
            h4_typing_is_not_kept,
        }
    };
}

const LONG: Duration = Duration::from_secs(24 * 3_600);

fn types(name: &str, on: bool) -> ChatSignal {
    ChatSignal::Typing { user: user(name), on }
}

fn is(name: &str, online: bool) -> ChatSignal {
    ChatSignal::Presence { user: user(name), online }
}

/// Waits for as many signals as these, which must be these.
async fn hears(reader: &mut Reader, expected: &[ChatSignal]) {
    assert_eq!(reader.signals(expected.len()).await, expected);
}

/// H1: a phone and a laptop, at two processes.
pub async fn h1_every_device_gets_every_message_its_own_too(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let devices = [0, 1, 1].map(|node: usize| at(&nodes[node], "ann", &chat));
    let mut readers = Vec::new();
    for device in &devices {
        readers.push(listen(device, SubscribeFrom::Start).await);
    }
    for number in 0..9 {
        say(&devices[number % 3], &format!("own {number}")).await;
        say(&at(&nodes[number % 2], "bob", &chat), &format!("other {number}")).await;
    }
    let log = world.log(&chat).await;
    assert_eq!(log.len(), 19);
    for reader in &mut readers {
        reader.until(Version(19)).await;
        assert_eq!(reader.records, log);
    }
    world.finish().await;
}

/// H2: the answer and the event are one message.
pub async fn h2_the_senders_device_finds_its_message_by_its_key_once(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let mut reader = listen(&at(&nodes[0], "ann", &chat), SubscribeFrom::Start).await;
    let mut acks = Vec::new();
    for number in 0..5 {
        let name = format!("k{number}");
        let message = || NewMessage::text("x").with_client_id(key(&name));
        let ack = must(at(&nodes[0], "ann", &chat).send(message()).await);
        must(at(&nodes[1], "ann", &chat).send(message()).await);
        acks.push((name, ack));
    }
    let last = say(&at(&nodes[0], "ann", &chat), "last").await;
    reader.until(last.version).await;
    for (name, ack) in &acks {
        let own = reader.records.iter().filter(|record| {
            matches!(&record.event, ChatEvent::MessageSent(sent)
                if sent.client_message_id.as_ref() == Some(&key(name)))
        });
        let own: Vec<_> = own.map(|record| (Some(record.id), record.version)).collect();
        assert_eq!(own, [(ack.event, ack.version)], "{name}");
    }
    world.finish().await;
}

/// H3: the first device comes, the last one goes.
pub async fn h3_devices_of_one_process_are_one_presence(harness: &dyn ScenarioHarness) {
    let grace = Duration::from_millis(20);
    let world = World::new(harness).config(|config| config.presence_grace = grace);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let mut bob = listen(&at(&node, "bob", &chat), SubscribeFrom::Now).await;
    let (phone, laptop) = (node.user(user("ann")).connect(), node.user(user("ann")).connect());
    let carl = node.user(user("carl")).connect();
    hears(&mut bob, &[is("ann", true), is("carl", true)]).await;
    assert_eq!(must(at(&node, "bob", &chat).online().await), [user("ann"), user("carl")]);
    drop(phone);
    drop(carl);
    hears(&mut bob, &[is("ann", true), is("carl", true), is("carl", false)]).await;
    assert_eq!(must(at(&node, "bob", &chat).online().await), [user("ann")]);
    drop(laptop);
    bob.signals(4).await;
    assert_eq!(bob.signals[3], is("ann", false));
    let _again = node.user(user("ann")).connect();
    bob.signals(5).await;
    assert_eq!(bob.signals[4], is("ann", true));
    world.finish().await;
}

/// H3: a page that is loaded anew.
pub async fn h3_coming_and_going_within_the_grace_is_not_told(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.presence_grace = LONG);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let mut bob = listen(&at(&node, "bob", &chat), SubscribeFrom::Now).await;
    for _ in 0..20 {
        drop(node.user(user("ann")).connect());
    }
    let _carl = node.user(user("carl")).connect();
    hears(&mut bob, &[is("ann", true), is("carl", true)]).await;
    world.finish().await;
}

/// H3: one device here, one there.
pub async fn h3_devices_of_two_processes_are_one_presence(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| {
        config.presence_grace = Duration::from_millis(20);
        // What is said is said again soon.
        config.presence_ttl = Duration::from_secs(10);
    });
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let mut bob = listen(&at(&nodes[1], "bob", &chat), SubscribeFrom::Now).await;
    let there = nodes[0].user(user("ann")).connect();
    hears(&mut bob, &[is("ann", true)]).await;
    let here = nodes[1].user(user("ann")).connect();
    drop(there);
    drop(here);
    hears(&mut bob, &[is("ann", true), is("ann", false)]).await;
    world.finish().await;
}

/// H3: nobody says any more that the user is here.
pub async fn h3_a_crashed_process_takes_its_users_offline(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| {
        config.presence_grace = LONG;
        config.presence_ttl = Duration::from_secs(4);
    });
    let (dying, node) = (world.node().await, world.node().await);
    let chat = tea_room(&node).await;
    let mut bob = listen(&at(&node, "bob", &chat), SubscribeFrom::Now).await;
    let guard = dying.user(user("ann")).connect();
    hears(&mut bob, &[is("ann", true)]).await;
    world.crash(dying);
    hears(&mut bob, &[is("ann", true), is("ann", false)]).await;
    assert_eq!(must(at(&node, "bob", &chat).online().await), []);
    drop(guard);
    world.finish().await;
}

/// H3: those who are no members neither tell nor are told.
pub async fn h3_presence_is_told_to_members_only(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let mut bob = listen(&at(&node, "bob", &chat), SubscribeFrom::Now).await;
    let _zoe = node.user(user("zoe")).connect();
    let _ann = node.user(user("ann")).connect();
    hears(&mut bob, &[is("ann", true)]).await;
    assert_eq!(must(at(&node, "bob", &chat).online().await), [user("ann")]);
    assert!(at(&node, "zoe", &chat).online().await.is_err(), "a stranger is told");
    must(at(&node, "ann", &chat).remove(user("carl"), None, None).await);
    assert_eq!(refused(at(&node, "carl", &chat).online().await), Rejection::NotMember);
    world.finish().await;
}

/// H4: what ends it at once.
pub async fn h4_typing_ends_with_the_message_the_word_or_the_membership(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness).config(|config| config.typing_ttl = LONG);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let mut bob = listen(&at(&node, "bob", &chat), SubscribeFrom::Now).await;
    let mut own = listen(&at(&node, "ann", &chat), SubscribeFrom::Now).await;
    let (ann, carl) = (at(&node, "ann", &chat), at(&node, "carl", &chat));
    must(ann.typing(true).await);
    must(ann.typing(true).await);
    say(&ann, "x").await;
    must(ann.typing(true).await);
    must(ann.typing(false).await);
    must(ann.typing(false).await);
    must(carl.typing(true).await);
    must(ann.remove(user("carl"), None, None).await);
    let (on, off) = (types("ann", true), types("ann", false));
    let expected = [on.clone(), off.clone(), on, off, types("carl", true), types("carl", false)];
    hears(&mut bob, &expected).await;
    assert_eq!(refused(carl.typing(true).await), Rejection::NotMember);
    // Nobody is told of the own typing.
    hears(&mut own, &expected[4..]).await;
    world.finish().await;
}

/// H4: the device went without a word.
pub async fn h4_typing_lapses_by_itself(harness: &dyn ScenarioHarness) {
    let ttl = Duration::from_millis(50);
    let world = World::new(harness).config(|config| config.typing_ttl = ttl);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let mut bob = listen(&at(&node, "bob", &chat), SubscribeFrom::Now).await;
    must(at(&node, "ann", &chat).typing(true).await);
    hears(&mut bob, &[types("ann", true), types("ann", false)]).await;
    world.finish().await;
}

/// H4: who types is at another process.
pub async fn h4_typing_reaches_other_processes(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.typing_ttl = LONG);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let mut bob = listen(&at(&nodes[1], "bob", &chat), SubscribeFrom::Now).await;
    let ann = at(&nodes[0], "ann", &chat);
    for (number, on) in [true, false, true].into_iter().enumerate() {
        // Said again and again, as clients do: a signal may be lost.
        loop {
            must(ann.typing(on).await);
            let heard = bob.signals(number + 1);
            if timeout(Duration::from_millis(50), heard).await.is_ok() {
                break;
            }
            world.pass(Duration::from_millis(50));
        }
        assert_eq!(bob.signals[number], types("ann", on));
    }
    let ack = say(&at(&nodes[1], "ann", &chat), "x").await;
    bob.until(ack.version).await;
    bob.signals(4).await;
    assert_eq!(bob.signals[3], types("ann", false));
    world.finish().await;
}

/// H4: strangers, and those who were removed.
pub async fn h4_typing_of_strangers_is_refused(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let mut bob = listen(&at(&nodes[0], "bob", &chat), SubscribeFrom::Now).await;
    for node in &nodes {
        assert!(at(node, "zoe", &chat).typing(true).await.is_err(), "a stranger types");
    }
    must(at(&nodes[0], "ann", &chat).typing(true).await);
    hears(&mut bob, &[types("ann", true)]).await;
    world.finish().await;
}

/// H4: neither in the log, nor for who comes later.
pub async fn h4_typing_is_not_kept(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.typing_ttl = LONG);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let mut bob = listen(&at(&node, "bob", &chat), SubscribeFrom::Now).await;
    let token = bob.token();
    for _ in 0..10 {
        must(at(&node, "ann", &chat).typing(true).await);
        must(at(&node, "ann", &chat).typing(false).await);
    }
    bob.signals(20).await;
    assert_eq!(world.log(&chat).await.len(), 1);
    for from in [SubscribeFrom::Start, SubscribeFrom::Token(token), SubscribeFrom::Now] {
        let mut late = listen(&at(&node, "bob", &chat), from).await;
        let ack = say(&at(&node, "ann", &chat), "x").await;
        late.until(ack.version).await;
        assert_eq!(late.signals, [], "signals from before");
    }
    world.finish().await;
}
