//! C. Opening, following, going on.

use futures::future::join_all;

use super::harness::ScenarioHarness;
use super::reader::{Reader, Screen};
use super::world::{World, at, listen, make, must, say, say_id, tea_room, user};
use crate::domain::{ChatEvent, HistoryVisibility, NewGroup, ReactionPolicy, Role};
use crate::engine::{
    ChatError, ChatHandle, Delivery, ResetReason, SubscribeFrom, SubscriptionEnd, SyncToken,
};
use crate::id::Version;

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

async fn say_many(chat: &ChatHandle, count: usize) {
    let said = (0..count).map(|n| {
        let chat = chat.clone();
        async move { say(&chat, &format!("{n}")).await }
    });
    join_all(said).await;
}

/// C1: opening while messages arrive: what is shown and what follows is everything, once.
pub async fn c1_opening_in_the_middle_of_traffic_misses_and_doubles_nothing(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let traffic = (0..2).map(|n| {
        let ann = at(&nodes[n], "ann", &chat);
        tokio::spawn(async move {
            for round in 0..10 {
                say_many(&ann, 25).await;
                let id = say_id(&ann, "to be changed").await;
                must(ann.edit(id, format!("changed in {round}"), None).await);
                if round % 2 == 0 {
                    must(ann.delete(id, None, None).await);
                }
            }
        })
    });
    let traffic: Vec<_> = traffic.collect();
    let mut screens = Vec::new();
    for n in 0..20 {
        let bob = at(&nodes[n % 2], "bob", &chat);
        let open = must(bob.open(1_000).await);
        let reader = listen(&bob, SubscribeFrom::Token(open.token.clone())).await;
        screens.push((Screen::new(&open, ReactionPolicy::Distinct), reader));
    }
    for sender in traffic {
        sender.await.expect("no panic");
    }
    let end = world.log(&chat).await.len() as u64;
    let fresh = must(at(&nodes[0], "bob", &chat).open(1_000).await);
    let fresh = Screen::new(&fresh, ReactionPolicy::Distinct);
    for (screen, reader) in &mut screens {
        let from = screen.version;
        reader.until(Version(end)).await;
        assert_eq!(reader.versions(), numbers(from.0 + 1..=end));
        screen.take(&reader.records);
        screen.assert_shows(&fresh);
    }
    world.finish().await;
}

/// C1: counts and messages that are opened together belong together.
pub async fn c1_what_is_opened_is_one_look(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let traffic = tokio::spawn(async move {
        for _ in 0..30 {
            say_many(&ann, 10).await;
        }
    });
    let bob = at(&node, "bob", &chat);
    while !traffic.is_finished() {
        let open = must(bob.open(1_000).await);
        assert_eq!(
            open.summary.version, open.page.version,
            "counts of one look, messages of another"
        );
        assert_eq!(open.summary.unread, open.page.messages.len() as u64);
    }
    traffic.await.expect("no panic");
    world.finish().await;
}

/// C2: exactly what was missed, also when more comes during the switch to live.
pub async fn c2_a_resume_gives_exactly_what_was_missed(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.catch_up_page = 7);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    say_many(&ann, 20).await;
    for missed in [0, 1, 6, 7, 8, 30] {
        let open = must(at(&nodes[1], "bob", &chat).open(1).await);
        let from = open.page.version.0;
        say_many(&ann, missed).await;
        let more = tokio::spawn({
            let ann = ann.clone();
            async move { say_many(&ann, 40).await }
        });
        let bob = at(&nodes[missed % 2], "bob", &chat);
        let mut reader = listen(&bob, SubscribeFrom::Token(open.token)).await;
        let end = from + missed as u64 + 40;
        reader.until(Version(end)).await;
        assert_eq!(reader.versions(), numbers(from + 1..=end), "{missed} missed");
        more.await.expect("no panic");
    }
    world.finish().await;
}

/// C3 and C4: a long absence comes in slices, oldest first; each slice's token goes on from there.
pub async fn c3_c4_a_long_absence_comes_in_slices_that_can_be_left_anywhere(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness).config(|config| {
        config.catch_up_page = 10;
        config.tail_events = 10;
    });
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let start = must(at(&nodes[0], "bob", &chat).open(1).await).token;
    say_many(&at(&nodes[0], "ann", &chat), 95).await;
    let mut seen = Vec::new();
    let mut token = start.to_string();
    let mut round = 0;
    while seen.len() < 95 {
        // Each slice is read by a new subscription, in turn on the two engines.
        let from: SyncToken = must(token.parse());
        let bob = at(&nodes[round % 2], "bob", &chat);
        let mut reader = listen(&bob, SubscribeFrom::Token(from)).await;
        reader.step().await;
        assert!(reader.records.len() <= 10, "{} events in a slice", reader.records.len());
        seen.extend(reader.versions());
        token = reader.token().to_string();
        round += 1;
    }
    assert_eq!(seen, numbers(2..=96));
    let mut reader =
        listen(&at(&nodes[0], "bob", &chat), SubscribeFrom::Token(must(token.parse()))).await;
    say(&at(&nodes[1], "ann", &chat), "live").await;
    reader.until(Version(97)).await;
    assert_eq!(reader.versions(), [97]);
    world.finish().await;
}

async fn assert_reset(chat: &ChatHandle, from: SubscribeFrom, expected: ResetReason) {
    let mut reader = listen(chat, from).await;
    let end = reader.to_end().await.clone();
    assert!(matches!(end, SubscriptionEnd::Reset { reason } if reason == expected), "{end:?}");
    assert!(reader.records.is_empty(), "events of another log");
}

/// C6: the store is another incarnation.
pub async fn c6_a_token_of_another_incarnation_is_reset(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    say(&at(&node, "ann", &chat), "x").await;
    let token = must(at(&node, "bob", &chat).open(5).await).token;
    world.crash(node);
    world.harness.renew_epoch().await;
    let node = world.node().await;
    let bob = at(&node, "bob", &chat);
    assert_reset(&bob, SubscribeFrom::Token(token.clone()), ResetReason::EpochChanged).await;
    // Also when the log has gone on beyond the old place.
    say(&at(&node, "ann", &chat), "y").await;
    assert_reset(&bob, SubscribeFrom::Token(token), ResetReason::EpochChanged).await;
    let open = must(bob.open(5).await);
    let mut reader = listen(&bob, SubscribeFrom::Token(open.token)).await;
    say(&at(&node, "ann", &chat), "z").await;
    reader.until(Version(4)).await;
    world.finish().await;
}

/// C7: a place that the log has not reached is not "up to date".
pub async fn c7_a_place_ahead_of_the_log_is_reset(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    say(&at(&node, "ann", &chat), "x").await;
    let bob = at(&node, "bob", &chat);
    for version in [3, 4, 1_000, u64::MAX] {
        let from = SubscribeFrom::Version(Version(version));
        assert_reset(&bob, from, ResetReason::AheadOfLog).await;
    }
    let mut reader = listen(&bob, SubscribeFrom::Version(Version(2))).await;
    say(&at(&node, "ann", &chat), "y").await;
    reader.until(Version(3)).await;
    assert_eq!(reader.versions(), [3]);
    world.finish().await;
}

/// C8: everything that happens to older messages while a client is away.
pub async fn c8_changes_to_old_messages_come_to_who_was_away(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 8);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let (ann, bob) = (at(&nodes[0], "ann", &chat), at(&nodes[0], "bob", &chat));
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(say_id(&ann, &format!("{n}")).await);
    }
    must(bob.react(ids[1], "👍", None).await);
    let carl = at(&nodes[1], "carl", &chat);
    let open = must(carl.open(50).await);
    let mut screen = Screen::new(&open, ReactionPolicy::Distinct);
    must(ann.edit(ids[0], "0!", None).await);
    must(ann.edit(ids[0], "0!!", None).await);
    must(ann.delete(ids[2], None, None).await);
    must(bob.react(ids[0], "👍", None).await);
    must(bob.unreact(ids[1], "👍", None).await);
    must(bob.mark_read(Version(4), None).await);
    must(ann.add(user("dora"), Role::Member, None).await);
    must(ann.edit(ids[5], "5!", None).await);
    must(ann.delete(ids[5], None, None).await);
    must(ann.remove(user("dora"), None, None).await);
    must(bob.hide(None).await);
    must(bob.mark_unread(Version(2), None).await);
    let last = say(&ann, "6").await;
    let mut reader = listen(&carl, SubscribeFrom::Token(open.token)).await;
    reader.until(last.version).await;
    screen.take(&reader.records);
    for node in &nodes {
        let fresh = must(at(node, "carl", &chat).open(50).await);
        screen.assert_shows(&Screen::new(&fresh, ReactionPolicy::Distinct));
    }
    let private = reader.records.iter().filter(|record| record.event.private_to().is_some());
    assert_eq!(private.count(), 0, "what concerns bob alone");
    world.finish().await;
}

/// C10: coming in while paging: with `joined` nothing from before, with `shared` everything, once.
pub async fn c10_joining_shows_what_the_group_says(harness: &dyn ScenarioHarness) {
    for history in [HistoryVisibility::Joined, HistoryVisibility::Shared] {
        let world = World::new(harness).config(|config| config.catch_up_page = 4);
        let node = world.node().await;
        let chat = make(&node, NewGroup::named("x").open().with_history(history)).await;
        let ann = at(&node, "ann", &chat);
        say_many(&ann, 15).await;
        let traffic = tokio::spawn({
            let ann = ann.clone();
            async move { say_many(&ann, 60).await }
        });
        let dora = at(&node, "dora", &chat);
        let joined = must(dora.join(None).await).version;
        let mut reader = listen(&dora, SubscribeFrom::Start).await;
        traffic.await.expect("no panic");
        let end = world.log(&chat).await.len() as u64;
        reader.until(Version(end)).await;
        let first = if history == HistoryVisibility::Joined { joined.0 } else { 1 };
        assert_eq!(reader.versions(), numbers(first..=end));
        let own = reader.records.iter().find(|record| record.version == joined);
        assert!(matches!(own.map(|r| &r.event), Some(ChatEvent::MemberJoined(_))));
        world.finish().await;
    }
}

/// C11: a reader who does not read loses its place openly, and nobody waits for it.
pub async fn c11_a_slow_reader_is_told_where_to_go_on(harness: &dyn ScenarioHarness) {
    for bytes in [false, true] {
        let world = World::new(harness).config(|config| {
            config.tail_events = if bytes { 10_000 } else { 16 };
            config.tail_bytes = if bytes { 8_000 } else { 1 << 20 };
        });
        let node = world.node().await;
        let chat = tea_room(&node).await;
        let (ann, bob) = (at(&node, "ann", &chat), at(&node, "bob", &chat));
        let mut slow = listen(&bob, SubscribeFrom::Start).await;
        let mut quick = listen(&at(&node, "carl", &chat), SubscribeFrom::Start).await;
        slow.until(Version(1)).await;
        quick.until(Version(1)).await;
        // The first event that comes live; from there on the reader reads no more.
        say(&ann, "live").await;
        slow.until(Version(2)).await;
        quick.until(Version(2)).await;
        for version in 3..=200 {
            say(&ann, "some text that takes room").await;
            quick.until(Version(version)).await;
        }
        let end = slow.to_end().await.clone();
        let SubscriptionEnd::Lagged { resume } = end else { panic!("ended with {end:?}") };
        let mut again = listen(&bob, SubscribeFrom::Token(resume)).await;
        again.until(Version(200)).await;
        let seen = [slow.versions(), again.versions()].concat();
        assert_eq!(seen, numbers(1..=200), "in all each once");
        world.finish().await;
    }
}

/// C12 and C13: the same token twice at once, and on another engine, also after the first is gone.
pub async fn c12_c13_a_token_is_good_for_any_number_of_readers_anywhere(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness).config(|config| config.catch_up_page = 5);
    let (one, two) = (world.node().await, world.node().await);
    let chat = tea_room(&one).await;
    let token = must(at(&one, "bob", &chat).open(1).await).token;
    say_many(&at(&one, "ann", &chat), 33).await;
    let engines = [&one, &one, &two, &two];
    let readings = engines.map(|engine| {
        let (bob, token) = (at(engine, "bob", &chat), token.clone());
        tokio::spawn(async move {
            let mut reader = listen(&bob, SubscribeFrom::Token(token)).await;
            reader.until(Version(34)).await;
            reader.versions()
        })
    });
    for versions in join_all(readings).await {
        assert_eq!(versions.expect("no panic"), numbers(2..=34));
    }
    one.shutdown().await;
    say(&at(&two, "ann", &chat), "later").await;
    let mut reader = listen(&at(&two, "bob", &chat), SubscribeFrom::Token(token)).await;
    reader.until(Version(35)).await;
    assert_eq!(reader.versions(), numbers(2..=35));
    world.crash(one);
    world.finish().await;
}

/// A token that was changed, or is of another user or chat, is not valid, whatever it names.
pub async fn c14_a_token_is_good_for_its_reader_and_chat_alone(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let other = make(&node, NewGroup::named("other")).await;
    let token = must(at(&node, "bob", &chat).open(1).await).token;
    let mut wrong: Vec<(ChatHandle, SyncToken)> =
        vec![(at(&node, "carl", &chat), token.clone()), (at(&node, "bob", &other), token.clone())];
    let text = token.to_string();
    for index in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ascii");
        wrong.push((at(&node, "bob", &chat), must(changed.parse())));
    }
    for (handle, token) in wrong {
        match handle.subscribe(SubscribeFrom::Token(token.clone())).await {
            Err(ChatError::InvalidToken) => {}
            // The last sign has bits that mean nothing.
            Ok(_) => {
                assert_ne!(text.get(..text.len() - 1), token.to_string().get(..text.len() - 1))
            }
            Err(other) => panic!("{token}: {other}"),
        }
    }
    assert!("".parse::<SyncToken>().is_err() && "x".repeat(5_000).parse::<SyncToken>().is_err());
    world.finish().await;
}

/// C21: a dropped subscription leaves nothing and disturbs nobody.
pub async fn c21_a_dropped_subscription_leaves_nothing(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let mut kept = listen(&at(&node, "carl", &chat), SubscribeFrom::Now).await;
    for _ in 0..20 {
        let mut readers = Vec::new();
        for _ in 0..5 {
            readers.push(must(at(&node, "bob", &chat).subscribe(SubscribeFrom::Start).await));
        }
        // Dropped while they wait, while they read, and before they began.
        let waiting = readers
            .pop()
            .map(|mut reader| tokio::spawn(async move { while reader.next().await.is_some() {} }));
        let mut reading = Reader::new(readers.pop().expect("five"));
        reading.step().await;
        say(&ann, "x").await;
        let waiting = waiting.expect("five");
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        drop((reading, readers));
        assert_eq!(node.metrics().subscriptions, 1);
    }
    kept.until(Version(21)).await;
    drop(kept);
    assert_eq!((node.metrics().subscriptions, node.metrics().live_chats), (0, 0));
    say(&ann, "nobody listens").await;
    world.finish().await;
}

/// A subscription reads as a stream, too, and ends as one.
pub async fn c21_a_stream_of_deliveries_ends(harness: &dyn ScenarioHarness) {
    use futures::StreamExt as _;
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let subscription = must(at(&node, "bob", &chat).subscribe(SubscribeFrom::Start).await);
    must(at(&node, "ann", &chat).remove(user("bob"), None, None).await);
    let deliveries: Vec<_> = subscription.into_stream().collect().await;
    let Some((Delivery::Ended(SubscriptionEnd::Removed), events)) = deliveries.split_last() else {
        panic!("{deliveries:?}");
    };
    let count: usize = events
        .iter()
        .map(|delivery| match delivery {
            Delivery::Events(events) => events.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(count, 2);
    world.finish().await;
}
