//! K. How much the engine keeps in memory, how it ends, and that a run can be had again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::gate::Gate;
use super::harness::{ScenarioHarness, Stores};
use super::k_views::{list, random_history};
use super::world::{World, at, key, listen, make, must, say, tea_room, user};
use crate::clock::SeededIds;
use crate::domain::{ChatEvent, NewGroup};
use crate::engine::{ChatError, HistoryQuery, NewMessage, SubscribeFrom, SubscriptionEnd};
use crate::event::NewEvent;
use crate::id::{Namespace, StreamId, Version};
use crate::memory::{MemoryEventStore, MemoryViewStore};
use crate::ports::{EventStore, PageLimit};
use crate::testkit::fixture::{partitions, read_log};

/// Makes a test of every scenario of this file.
#[doc(hidden)]
#[macro_export]
macro_rules! __scenario_tests_k_engine {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::scenarios],
            k19_idle_chats_leave_the_memory,
            k19_a_cold_chat_is_loaded_from_its_snapshot,
            k22_what_was_acknowledged_outlives_a_shutdown_in_full_swing,
            k22_a_shutdown_leaves_no_task,
            k23_the_same_seed_gives_the_same_log,
        }
    };
}

const SOON: Duration = Duration::from_secs(120);

/// K19: many chats, one after the other.
pub async fn k19_idle_chats_leave_the_memory(harness: &dyn ScenarioHarness) {
    const CHATS: usize = 120;
    let world = World::new(harness).config(|config| config.cached_chats = 8);
    let node = world.node().await;
    let mut chats = Vec::new();
    for number in 0..CHATS {
        let chat = make(&node, NewGroup::named(format!("{number}"))).await;
        say(&at(&node, "ann", &chat), &format!("{number}")).await;
        chats.push(chat);
    }
    for (number, chat) in chats.iter().enumerate() {
        let open = must(at(&node, "bob", chat).open(5).await);
        assert_eq!(&*open.page.messages[0].text, format!("{number}"));
        assert_eq!(open.summary.unread, 1);
        // The list's projection may hold a few at the same time.
        let cached = node.metrics().cached_chats;
        assert!(cached <= 32, "{cached} chats in memory");
    }
    assert_eq!(list(&node, &user("carl")).await.len(), CHATS);
    world.close().await;
}

/// K19: the first command in a long chat after a start.
pub async fn k19_a_cold_chat_is_loaded_from_its_snapshot(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 32);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    for batch in 0..3 {
        let sends = (0..700).map(|number| {
            let ann = at(&node, "ann", &chat);
            async move { must(ann.send(NewMessage::text(format!("{batch} {number}"))).await) }
        });
        join_all(sends).await;
    }
    node.shutdown().await;
    world.crash(node);
    let stores = world.harness.open().await;
    let gate = Gate::new(stores.events);
    let cold = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
    must(cold.catch_up().await);
    let (before, events_before) = (gate.stream_reads(), gate.stream_events());
    let ack = say(&at(&cold, "ann", &chat), "after").await;
    assert_eq!(ack.version, Version(2_102));
    let reads = gate.stream_reads() - before;
    // From the first event on it would be three pages. Where calls fail, some are repeated, and a
    // send whose answer was lost is read back.
    assert!(!world.is_certain() || reads <= 1, "{reads} pages were read");
    let events = gate.stream_events() - events_before;
    assert!(events <= 700, "{events} of 2,101 events were read");
    let page = must(at(&cold, "bob", &chat).history(HistoryQuery::Latest, 50).await);
    assert_eq!(page.messages.len(), 50);
    let reads = gate.stream_reads() - before;
    assert!(!world.is_certain() || reads <= 3, "{reads} pages were read for a page of history");
    let events = gate.stream_events() - events_before;
    assert!(events <= 1_400, "{events} of 2,101 events were read for a page of history");
    world.close().await;
}

/// K22: an engine ends while everybody writes.
pub async fn k22_what_was_acknowledged_outlives_a_shutdown_in_full_swing(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let mut reader = listen(&at(&node, "bob", &chat), SubscribeFrom::Start).await;
    let writers = (0..8).map(|writer| {
        let ann = at(&node, "ann", &chat);
        tokio::spawn(async move {
            let mut acked = Vec::new();
            loop {
                let name = format!("{writer}/{}", acked.len());
                let message = NewMessage::text(&*name).with_client_id(key(&name));
                match ann.send(message).await {
                    Ok(ack) => acked.push((ack.version, name)),
                    Err(ChatError::ShuttingDown) => return acked,
                    Err(error) => panic!("neither done nor refused: {error}"),
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    reader.count(100).await;
    timeout(SOON, node.shutdown()).await.expect("it ends");
    let mut acked = Vec::new();
    for writer in writers {
        acked.extend(writer.await.expect("no panic"));
    }
    acked.sort_unstable();
    let log = world.log(&chat).await;
    let stored = log.iter().filter_map(|record| match &record.event {
        ChatEvent::MessageSent(sent) => Some((record.version, sent.text.to_string())),
        _ => None,
    });
    assert_eq!(acked, stored.collect::<Vec<_>>(), "what was acknowledged, and what is there");
    let end = reader.to_end().await.clone();
    let SubscriptionEnd::ShuttingDown { resume } = end else { panic!("ends with {end:?}") };
    let next = world.node().await;
    let mut rest = listen(&at(&next, "bob", &chat), SubscribeFrom::Token(resume)).await;
    let last = say(&at(&next, "ann", &chat), "after").await.version;
    rest.until(last).await;
    let all: Vec<_> = reader.versions().into_iter().chain(rest.versions()).collect();
    assert_eq!(all, (1..=last.0).collect::<Vec<_>>());
    let refused = node.user(user("ann")).chat(&chat).send(NewMessage::text("late")).await;
    assert!(matches!(refused, Err(ChatError::ShuttingDown)), "{refused:?}");
    world.close().await;
}

/// K22: whatever an engine has started ends with it.
pub async fn k22_a_shutdown_leaves_no_task(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 4);
    let stores = world.harness.open().await;
    let gate = Gate::new(stores.events);
    let node = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
    let chat = tea_room(&node).await;
    let mut reader = listen(&at(&node, "bob", &chat), SubscribeFrom::Start).await;
    let guard = node.user(user("ann")).connect();
    let mut watch = node.user(user("bob")).watch();
    for _ in 0..20 {
        say(&at(&node, "ann", &chat), "x").await;
        must(at(&node, "ann", &chat).typing(true).await);
    }
    must(node.catch_up().await);
    timeout(SOON, node.shutdown()).await.expect("it ends");
    // Twice is as good as once.
    timeout(SOON, node.shutdown()).await.expect("it has ended");
    reader.to_end().await;
    while watch.next().await.is_some() {}
    drop((reader, guard, watch));
    world.crash(node);
    // The last thing that a task lets go is the store; that it ends was told just before.
    let let_go = async {
        while Arc::strong_count(&gate) > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, let_go).await.expect("nobody holds the store any more");
    world.close().await;
}

/// All that a store holds, as it was written.
async fn bytes(store: &dyn EventStore) -> Vec<(StreamId, Version, NewEvent)> {
    let mut all = Vec::new();
    for partition in partitions(store).await {
        for stored in read_log(store, partition, PageLimit::MAX_EVENTS).await {
            all.push((stored.stream.clone(), stored.version, stored.event.clone()));
        }
    }
    all.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    all
}

/// K23: clock and ids are given, so that a run can be had again.
pub async fn k23_the_same_seed_gives_the_same_log(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 16);
    let start = world.now();
    let mut logs = Vec::new();
    let names = [("first", 1), ("second", 1), ("third", 2)];
    for (name, seed) in names {
        let stores = match name {
            "first" => world.harness.open().await,
            "second" => {
                let other = Namespace::new("other").expect("a namespace");
                world.harness.open_namespace(&other).await
            }
            _ => Stores::new(Arc::new(MemoryEventStore::new()), Arc::new(MemoryViewStore::new())),
        };
        let store = Arc::clone(&stores.events);
        world.clock.set(start);
        let ids = Arc::new(SeededIds::new(seed));
        let node = world.node_with(stores, |builder| builder.ids(ids)).await;
        random_history(&world, &[&node], 4, 120, seed).await;
        node.shutdown().await;
        world.crash(node);
        logs.push(bytes(&*store).await);
    }
    assert!(logs[0].len() > 40, "{} events", logs[0].len());
    assert_eq!(logs[0], logs[1], "the same seed");
    assert_ne!(logs[0], logs[2], "another seed");
}
