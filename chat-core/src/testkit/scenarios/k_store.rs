//! K. A bus that is only a hint, and a store that fails, loses its answers, or is asked too much.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::gate::Gate;
use super::harness::{ScenarioHarness, Stores};
use super::world::{Node, World, at, key, listen, make, must, say, tea_room};
use crate::decorate::{FaultPlan, Faults, Faulty};
use crate::domain::{ChatEvent, NewGroup};
use crate::engine::{
    ChatError, ChatListQuery, FollowEnd, Followed, Follower, NewMessage, SubscribeFrom,
};
use crate::id::{ChatId, Topic, Version};
use crate::memory::MemoryBus;
use crate::ports::{EventBus, LOG_TOPIC, Signal, SignalBody, StoreError};
use crate::testkit::fixture::give_up_after;

/// Makes a test of every scenario of this file.
#[doc(hidden)]
#[macro_export]
macro_rules! __scenario_tests_k_store {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::scenarios],
            k1_a_lost_ring_is_found_by_polling,
            k1_without_a_bus_everything_is_found_by_polling,
            k1_a_ring_is_enough_without_polling,
            k2_a_ring_before_the_commit_shows_nothing,
            k3_a_bus_that_doubles_reorders_and_delays_changes_nothing,
            k14_a_store_that_is_down_answers_at_once_and_comes_back,
            k14_a_follower_outlives_a_store_that_is_down,
            k15_a_lost_answer_is_settled_before_it_is_given,
            k15_what_may_have_happened_is_never_told_as_failed,
            k16_a_dropped_send_happens_once_or_not_at_all,
            k16_dropped_callers_leave_no_chat_locked,
            k20_a_flooded_chat_does_not_hold_up_another,
        }
    };
}

/// Most of what a wait takes that is not the fault of a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// An engine behind a gate.
async fn gated(world: &World<'_>) -> (Node, Arc<Gate>) {
    let stores = world.harness.open().await;
    let gate = Gate::new(stores.events);
    let node = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
    (node, gate)
}

async fn messages(world: &World<'_>, chat: &ChatId) -> usize {
    let log = world.log(chat).await;
    log.iter().filter(|record| matches!(record.event, ChatEvent::MessageSent(_))).count()
}

fn faulty_bus(plan: FaultPlan) -> (Arc<dyn EventBus>, Faults) {
    let faults = Faults::new(plan);
    (Arc::new(Faulty::new(Arc::new(MemoryBus::new()), faults.clone())), faults)
}

/// One engine writes, a listener and a list at another one find all of it.
async fn is_found(world: World<'_>) {
    let (writer, other) = (world.node().await, world.node().await);
    let chat = tea_room(&writer).await;
    let mut reader = listen(&at(&other, "bob", &chat), SubscribeFrom::Start).await;
    for number in 2..7 {
        let ack = say(&at(&writer, "ann", &chat), "x").await;
        assert_eq!(ack.version, Version(number));
        timeout(SOON, reader.until(ack.version)).await.expect("within the bound");
    }
    assert_eq!(reader.versions(), [1, 2, 3, 4, 5, 6]);
    world.finish().await;
}

/// K1: the append is there, and the bus loses every ring.
pub async fn k1_a_lost_ring_is_found_by_polling(harness: &dyn ScenarioHarness) {
    let (bus, faults) = faulty_bus(FaultPlan { bus_drop: 1.0, ..FaultPlan::none(1) });
    is_found(World::new(harness).bus(Some(bus))).await;
    assert!(faults.counts().bus_drop >= 5, "there was nothing to lose");
}

/// K1: nothing rings at all.
pub async fn k1_without_a_bus_everything_is_found_by_polling(harness: &dyn ScenarioHarness) {
    is_found(World::new(harness).bus(None)).await;
}

/// K1, the other way round: nobody looks by itself, so that only the rings tell.
pub async fn k1_a_ring_is_enough_without_polling(harness: &dyn ScenarioHarness) {
    let never = Duration::from_secs(24 * 3_600);
    is_found(World::new(harness).config(|config| config.poll_interval = never)).await;
}

/// K2: the bus says that there is more while the append has not been carried out.
pub async fn k2_a_ring_before_the_commit_shows_nothing(harness: &dyn ScenarioHarness) {
    let bus = Arc::new(MemoryBus::new());
    let world = World::new(harness).bus(Some(Arc::clone(&bus) as _));
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let other = world.node().await;
    let mut readers = Vec::new();
    for at_node in [&node, &other] {
        readers.push(listen(&at(at_node, "bob", &chat), SubscribeFrom::Start).await);
    }
    for reader in &mut readers {
        reader.until(Version(1)).await;
    }
    let calls = gate.append_calls();
    gate.hold();
    let ann = at(&node, "ann", &chat);
    let late = tokio::spawn(async move { ann.send(NewMessage::text("late")).await });
    gate.arrived(calls + 1).await;
    let topic = Topic::new(LOG_TOPIC).expect("a topic's name");
    for version in 2..6 {
        let body = SignalBody::Ring(Version(version));
        let rung = bus.publish(&[Signal { topic: topic.clone(), body }]).await;
        assert!(rung.is_ok(), "{rung:?}");
    }
    for at_node in [&node, &other] {
        must(at_node.catch_up().await);
        let bob = at(at_node, "bob", &chat);
        let open = must(bob.open(10).await);
        assert_eq!((open.page.messages.len(), open.summary.unread), (0, 0));
        let list = must(at_node.user(bob.user().clone()).chats(ChatListQuery::top(5)).await);
        assert_eq!(list.chats[0].version, Version(1));
    }
    // What comes first in the log is what comes first to everybody.
    let first = say(&at(&other, "ann", &chat), "first").await;
    assert_eq!(first.version, Version(2));
    for reader in &mut readers {
        reader.until(Version(2)).await;
        assert_eq!(reader.texts(), ["first"]);
    }
    gate.release();
    let late = must(late.await.expect("no panic"));
    assert_eq!(late.version, Version(3));
    for reader in &mut readers {
        reader.until(Version(3)).await;
        assert_eq!(reader.texts(), ["first", "late"]);
    }
    world.finish().await;
}

/// K3: the bus does all that it may.
pub async fn k3_a_bus_that_doubles_reorders_and_delays_changes_nothing(
    harness: &dyn ScenarioHarness,
) {
    let plan = FaultPlan {
        bus_drop: 0.2,
        bus_double: 0.3,
        bus_reorder: 0.3,
        bus_delay: 0.3,
        longest_delay: Duration::from_millis(60),
        ..FaultPlan::none(3)
    };
    let (bus, faults) = faulty_bus(plan);
    let world = World::new(harness).bus(Some(bus));
    let nodes = [world.node().await, world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let mut readers = Vec::new();
    for (node, name) in nodes.iter().zip(["ann", "bob", "carl"]) {
        readers.push(listen(&at(node, name, &chat), SubscribeFrom::Start).await);
    }
    let writers = nodes.iter().zip(["ann", "bob", "carl"]).map(|(node, name)| {
        let handle = at(node, name, &chat);
        async move {
            for number in 0..30 {
                must(handle.send(NewMessage::text(format!("{name} {number}"))).await);
            }
        }
    });
    join_all(writers).await;
    // Rings of many messages may be one: more are sent until enough has gone wrong.
    let mut sent = 91;
    while faults.counts().total() <= 10 {
        sent = say(&at(&nodes[0], "ann", &chat), "more").await.version.0;
        readers[0].until(Version(sent)).await;
    }
    let log = world.log(&chat).await;
    assert_eq!(log.len() as u64, sent);
    for reader in &mut readers {
        timeout(SOON, reader.until(Version(sent))).await.expect("within the bound");
        assert_eq!(reader.records, log, "each event once, in its place");
    }
    world.finish().await;
}

/// K14: the store is away for a while.
pub async fn k14_a_store_that_is_down_answers_at_once_and_comes_back(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let other = world.node().await;
    let mut reader = listen(&at(&node, "bob", &chat), SubscribeFrom::Start).await;
    reader.until(Version(1)).await;
    gate.set_down(true);
    let before = gate.calls();
    let sends = (0..200).map(|number| {
        let ann = at(&node, "ann", &chat);
        let message = NewMessage::text("x").with_client_id(key(&format!("k{number}")));
        async move { ann.send(message).await }
    });
    let answers = timeout(SOON, join_all(sends)).await.expect("they fail fast");
    for answer in answers {
        let Err(error) = answer else { panic!("the store is down: {answer:?}") };
        let expected = matches!(error, ChatError::Store(StoreError::Unavailable { .. }));
        assert!(expected && error.is_retryable(), "{error:?}");
    }
    // What others do meanwhile comes when the store is back.
    say(&at(&other, "ann", &chat), "meanwhile").await;
    // Half a second in which nothing may come, and in which nobody may spin.
    let nothing = timeout(Duration::from_millis(500), reader.until(Version(2))).await;
    assert!(nothing.is_err(), "the store is down, and yet something comes");
    let calls = gate.calls() - before;
    assert!(calls < 2_000, "{calls} calls of a store that is down");
    gate.set_down(false);
    timeout(SOON, reader.until(Version(2))).await.expect("the subscription goes on");
    assert_eq!(reader.texts(), ["meanwhile"]);
    let again = NewMessage::text("x").with_client_id(key("k7"));
    world.assert_first(&must(at(&node, "ann", &chat).send(again).await));
    assert_eq!(messages(&world, &chat).await, 2);
    world.finish().await;
}

async fn followed(follower: &mut Follower) -> Followed {
    timeout(SOON, follower.next()).await.expect("in time").expect("the follower goes on")
}

/// Follows until an event of this version; how often the chat was opened on the way.
async fn follow_until(follower: &mut Follower, seen: &mut Vec<u64>, version: u64) {
    while seen.last().is_none_or(|last| *last < version) {
        match followed(follower).await {
            Followed::Opened(open) => {
                let next = open.page.version.0;
                assert!(seen.is_empty() || seen.last() == Some(&next), "opened anew: {seen:?}");
                seen.push(next);
                seen.dedup();
            }
            Followed::Events(events) => {
                for record in events.iter() {
                    let last = *seen.last().expect("the chat was opened");
                    assert_eq!(record.version.0, last + 1, "behind {seen:?}");
                    seen.push(record.version.0);
                }
            }
            Followed::Signal(_) => {}
            other => panic!("the follower ends: {other:?}"),
        }
    }
}

/// K14: whoever follows notices nothing but that it takes longer.
pub async fn k14_a_follower_outlives_a_store_that_is_down(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let mut follower = at(&node, "bob", &chat).follow(10, None);
    let mut seen = Vec::new();
    follow_until(&mut follower, &mut seen, 1).await;
    let other = world.node().await;
    for round in 0..3 {
        gate.set_down(true);
        assert!(node.catch_up().await.is_err(), "the store is down");
        let ack = say(&at(&other, "ann", &chat), &format!("{round}")).await;
        gate.set_down(false);
        follow_until(&mut follower, &mut seen, ack.version.0).await;
    }
    assert_eq!(seen, [1, 2, 3, 4]);
    node.shutdown().await;
    let end = followed(&mut follower).await;
    assert!(matches!(end, Followed::Ended(FollowEnd::ShuttingDown { .. })), "{end:?}");
    world.close().await;
}

/// K15: the connection is lost on commit.
pub async fn k15_a_lost_answer_is_settled_before_it_is_given(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    for number in 1..6 {
        gate.lose_after(1);
        // Also without a key of the caller's: the engine knows the id that it gave.
        let ack = say(&ann, "x").await;
        assert_eq!(ack.version, Version(number + 1));
        assert_eq!(messages(&world, &chat).await as u64, number);
    }
    world.finish().await;
}

/// K15: the connection is lost on commit, and does not come back.
pub async fn k15_what_may_have_happened_is_never_told_as_failed(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let message = || NewMessage::text("x").with_client_id(key("k"));
    let calls = gate.append_calls();
    gate.lose_after(1);
    gate.hold();
    let ann = at(&node, "ann", &chat);
    let sending = tokio::spawn(async move { ann.send(message()).await });
    gate.arrived(calls + 1).await;
    gate.let_in(1);
    gate.carried_out(calls + 1).await;
    gate.set_down(true);
    gate.release();
    let answer = timeout(SOON, sending).await.expect("in time").expect("no panic");
    let unknown = matches!(answer, Err(ChatError::Store(StoreError::OutcomeUnknown { .. })));
    assert!(unknown, "it happened: {answer:?}");
    assert_eq!(messages(&world, &chat).await, 1);
    gate.set_down(false);
    let again = must(at(&node, "ann", &chat).send(message()).await);
    assert!(again.deduplicated, "{again:?}");
    assert_eq!(messages(&world, &chat).await, 1);
    world.finish().await;
}

/// K16: the caller goes away at every point of the way.
pub async fn k16_a_dropped_send_happens_once_or_not_at_all(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let mut given_up = 0;
    for polls in 0..24 {
        let message = || NewMessage::text("x").with_client_id(key(&format!("k{polls}")));
        let answer = give_up_after(polls % 6, ann.send(message())).await;
        given_up += usize::from(answer.is_none());
        let again = timeout(SOON, ann.send(message())).await.expect("nothing is locked");
        must(again);
    }
    assert!(given_up >= 4, "no send was dropped");
    assert_eq!(messages(&world, &chat).await, 24);
    world.finish().await;
}

/// K16: many callers go away while the store takes its time.
pub async fn k16_dropped_callers_leave_no_chat_locked(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let chat = tea_room(&node).await;
    let message = |number: usize| NewMessage::text("x").with_client_id(key(&format!("k{number}")));
    let calls = gate.append_calls();
    gate.hold();
    let sends = (0..50).map(|number| {
        let ann = at(&node, "ann", &chat);
        tokio::spawn(async move { ann.send(message(number)).await })
    });
    let sends: Vec<_> = sends.collect();
    gate.arrived(calls + 1).await;
    for send in &sends {
        send.abort();
    }
    for send in sends {
        assert!(send.await.is_err_and(|ended| ended.is_cancelled()));
    }
    gate.release();
    for number in 0..50 {
        let ann = at(&node, "ann", &chat);
        let ack = timeout(SOON, ann.send(message(number))).await.expect("nothing is locked");
        must(ack);
    }
    assert_eq!(messages(&world, &chat).await, 50);
    world.finish().await;
}

/// Waits until this many commands are under way.
async fn until_pending(node: &Node, commands: usize) {
    let all = async {
        while node.metrics().pending < commands {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, all).await.expect("they come");
}

/// K20: thousands write to one chat; one writes to another.
pub async fn k20_a_flooded_chat_does_not_hold_up_another(harness: &dyn ScenarioHarness) {
    const FLOOD: usize = 4_000;
    let world = World::new(harness);
    let (node, gate) = gated(&world).await;
    let hot = tea_room(&node).await;
    let cold = make(&node, NewGroup::named("cold")).await;
    say(&at(&node, "ann", &cold), "warm").await;
    let calls = gate.append_calls();
    gate.hold();
    let flood = (0..FLOOD).map(|_| {
        let ann = at(&node, "ann", &hot);
        tokio::spawn(async move { must(ann.send(NewMessage::text("hot")).await) })
    });
    let flood: Vec<_> = flood.collect();
    gate.arrived(calls + 1).await;
    until_pending(&node, FLOOD).await;
    let bob = at(&node, "bob", &cold);
    let sent = tokio::spawn(async move { must(bob.send(NewMessage::text("cold")).await) });
    until_pending(&node, FLOOD + 1).await;
    // It waits for those that are at the store already, and for its turn, but not for the flood.
    gate.let_in(4);
    gate.let_out(4);
    timeout(SOON, sent).await.expect("it has its turn").expect("no panic");
    let done = messages(&world, &hot).await;
    assert!(done < FLOOD, "all of the flood were first");
    gate.release();
    for send in flood {
        send.await.expect("no panic");
    }
    assert_eq!(messages(&world, &hot).await, FLOOD);
    world.close().await;
}
