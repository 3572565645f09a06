//! B. Order and time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::gate::Gate;
use super::harness::{ScenarioHarness, Stores};
use super::reference::Reference;
use super::world::{World, at, key, listen, must, refused, say, say_id, tea_room, user};
use crate::clock::Timestamp;
use crate::domain::{ChatEvent, NewGroup, Rejection};
use crate::engine::{ChatListQuery, HistoryQuery, NewMessage, SubscribeFrom};
use crate::id::Version;

/// B1: many senders on two engines; everybody sees one order.
pub async fn b1_parallel_senders_have_one_order_for_all(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let mut readers = Vec::new();
    for (number, name) in ["ann", "bob", "carl", "ann"].into_iter().enumerate() {
        readers.push(listen(&at(&nodes[number % 2], name, &chat), SubscribeFrom::Now).await);
    }
    let senders = (0..12).map(|sender| {
        let handle = at(&nodes[sender % 2], ["ann", "bob", "carl"][sender % 3], &chat);
        tokio::spawn(async move {
            let mut versions = Vec::new();
            for n in 0..25 {
                versions.push(say(&handle, &format!("{sender}/{n}")).await.version);
            }
            versions
        })
    });
    let mut all = Vec::new();
    for versions in join_all(senders).await {
        let versions = versions.expect("no panic");
        assert!(versions.is_sorted(), "a sender's messages stand in the order of sending");
        all.extend(versions);
    }
    all.sort_unstable();
    assert_eq!(all, (2..=301).map(Version).collect::<Vec<_>>());
    let log = world.log(&chat).await;
    for reader in &mut readers {
        reader.until(Version(301)).await;
        assert_eq!(reader.records, log[1..], "a subscriber sees another order");
    }
    world.finish().await;
}

/// B2: sends that do not wait for each other, some of them answers, under contention and with a
/// lost answer in between.
pub async fn b2_pipelined_sends_keep_their_order(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let stores = world.harness.open().await;
    let gate = Gate::new(stores.events);
    let node = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
    let other = world.node().await;
    let chat = tea_room(&node).await;
    let base = say_id(&at(&other, "bob", &chat), "base").await;
    let noise = tokio::spawn({
        let bob = at(&other, "bob", &chat);
        async move {
            for n in 0..40 {
                say(&bob, &format!("noise {n}")).await;
            }
        }
    });
    let ann = at(&node, "ann", &chat);
    for round in 0..5 {
        gate.lose_after(1);
        let sends = (0..40).map(|n| {
            let message = NewMessage::text(format!("{round}/{n}"));
            let message = message.with_client_id(key(&format!("{round}/{n}")));
            ann.send(if n % 3 == 0 { message.reply_to(base) } else { message })
        });
        for ack in join_all(sends).await {
            must(ack);
        }
    }
    noise.await.expect("no panic");
    let log = world.log(&chat).await;
    let said = log.iter().filter_map(|record| match &record.event {
        ChatEvent::MessageSent(sent) if sent.by == user("ann") => Some(sent.text.to_string()),
        _ => None,
    });
    let expected = (0..5).flat_map(|round| (0..40).map(move |n| format!("{round}/{n}")));
    assert_eq!(said.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    world.finish().await;
}

/// B3: clocks that jump, of the server and in the client's keys, change no order and no edit.
pub async fn b3_jumping_clocks_change_no_order(harness: &dyn ScenarioHarness) {
    let hour = Duration::from_secs(3_600);
    let world = World::new(harness).limits(|limits| limits.edit_window = Some(hour));
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let start = world.now().0;
    let decade = 10 * 365 * 24 * 3_600_000;
    let mut latest = start;
    for (n, now) in [start, start + decade, start - decade, 1, start, start + 1].iter().enumerate()
    {
        world.clock.set(Timestamp(*now));
        latest = latest.max(*now);
        // The client's clock is wrong in yet another way.
        let time = [0, u64::MAX >> 16, start + decade][n % 3];
        let id = uuid::Builder::from_unix_timestamp_millis(time, &[n as u8; 10]).into_uuid();
        let ann = at(&nodes[n % 2], "ann", &chat);
        let message = NewMessage::text(format!("{n}")).with_client_id(key(&id.to_string()));
        let ack = must(ann.send(message).await);
        assert_eq!(ack.version, Version(n as u64 + 2));
    }
    let page = must(at(&nodes[1], "bob", &chat).history(HistoryQuery::Latest, 50).await);
    let shown: Vec<_> = page.messages.iter().map(|m| (m.text.to_string(), m.sent_at.0)).collect();
    assert_eq!(shown.iter().map(|(text, _)| text.as_str()).collect::<String>(), "012345");
    assert!(shown.iter().map(|(_, at)| at).is_sorted(), "times of a chat never go back: {shown:?}");
    let last = page.messages.last().expect("a message");
    // The window runs by the server's clock, as far as the chat has seen it go.
    world.clock.set(Timestamp(latest + 3_599_999));
    must(at(&nodes[0], "ann", &chat).edit(last.id, "5!", None).await);
    world.clock.set(Timestamp(latest + 3_600_000));
    let late = at(&nodes[1], "ann", &chat).edit(last.id, "5?", None).await;
    assert!(matches!(refused(late), Rejection::EditWindowPassed { .. }));
    assert_eq!(must(at(&nodes[1], "bob", &chat).read_state().await).unread, 6);
    world.finish().await;
}

/// B5: a thousand messages, and many chats, in the same millisecond.
pub async fn b5_a_thousand_messages_in_one_millisecond_are_paged_once_each(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    for ack in join_all((0..1_000).map(|n| ann.send(NewMessage::text(format!("{n}"))))).await {
        must(ack);
    }
    let bob = at(&node, "bob", &chat);
    let mut seen = Vec::new();
    let mut query = HistoryQuery::Latest;
    loop {
        let page = must(bob.history(query, 37).await);
        assert!(page.messages.len() <= 37 && !page.messages.is_empty());
        seen.extend(page.messages.iter().rev().map(|message| message.seq.0));
        query = HistoryQuery::Before(page.before);
        if page.found_oldest {
            break;
        }
    }
    assert_eq!(seen, (2..=1_001).rev().collect::<Vec<_>>());
    for n in 0..20 {
        let group = NewGroup::named("x").with_external_key(format!("{n}"));
        must(node.user(user("bob")).create_group(group, None).await);
    }
    let mut listed = Vec::new();
    let mut query = ChatListQuery::top(3);
    loop {
        let page = must(node.user(user("bob")).chats(query.clone()).await);
        listed.extend(page.chats.into_iter().map(|entry| entry.chat));
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    assert_eq!(listed.len(), 21);
    assert!(listed.is_sorted(), "ties are broken by the id");
    world.finish().await;
}

/// B6: two edits at the same time, again and again; the last in the log is what everybody has.
pub async fn b6_of_two_edits_the_last_in_the_log_wins(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let id = say_id(&at(&nodes[0], "ann", &chat), "x").await;
    let seq = Version(2);
    for round in 0..20 {
        // The later of the two has the earlier clock.
        world.clock.set(Timestamp(1_700_000_000_000 - round));
        let edits = [0, 1].map(|n| {
            let ann = at(&nodes[n], "ann", &chat);
            tokio::spawn(async move { ann.edit(id, format!("{round} by {n}"), None).await })
        });
        for ack in join_all(edits).await {
            must(ack.expect("no panic"));
        }
        let log = world.log(&chat).await;
        let expected = Reference::new(&log).text(seq).expect("a text").to_owned();
        for node in &nodes {
            let message = must(at(node, "bob", &chat).message(id).await);
            assert_eq!(&*message.text, expected);
            let open = must(at(node, "bob", &chat).open(5).await);
            assert_eq!(open.summary.preview.map(|m| m.text.to_string()), Some(expected.clone()));
        }
    }
    let versions = must(at(&nodes[1], "carl", &chat).versions(id).await);
    let texts: Vec<_> = versions.iter().map(|version| &*version.text).collect();
    assert_eq!(texts, Reference::new(&world.log(&chat).await).texts(seq));
    assert_eq!(texts.len(), 41);
    world.finish().await;
}
