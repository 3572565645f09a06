//! C. Pages of history, storms, and very long chats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use uuid::Uuid;

use super::gate::Gate;
use super::harness::{ScenarioHarness, Stores};
use super::world::{World, at, listen, make, must, say, say_id, soak, tea_room, user};
use crate::domain::{HistoryVisibility, NewGroup, Role};
use crate::engine::{
    ChatHandle, Delivery, Followed, HistoryPage, HistoryQuery, NewMessage, SubscribeFrom,
};
use crate::event::RecordedEvent;
use crate::id::{Epoch, EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Direction, EventStore, LogPage, PageLimit, StoreError, StoreInfo,
    StreamPage,
};

/// A store that says at every look that it is another incarnation, until told otherwise.
#[derive(Debug)]
struct Fickle(Arc<dyn EventStore>, AtomicBool);

#[async_trait]
impl EventStore for Fickle {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        self.0.append(appends).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        self.0.read_stream(stream, direction, from, limit).await
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        self.0.read_log(partition, after, limit).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        self.0.find(stream, id).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        self.0.heads(streams).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let info = self.0.info().await?;
        let fickle = self.1.load(Ordering::SeqCst);
        Ok(StoreInfo { epoch: if fickle { Epoch(Uuid::new_v4()) } else { info.epoch }, ..info })
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.0.partition_of(stream)
    }
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// C16: a place that is lost again and again is not asked for in a loop, and in the end found.
pub async fn c16_endless_resets_are_met_with_patience(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let stores = world.harness.open().await;
    let fickle = Arc::new(Fickle(stores.events, AtomicBool::new(true)));
    let node = world.node_on(Stores::new(Arc::clone(&fickle) as _, stores.views)).await;
    let chat = tea_room(&node).await;
    let mut follower = at(&node, "bob", &chat).follow(10, None);
    let start = tokio::time::Instant::now();
    for _ in 0..5 {
        match tokio::time::timeout(PATIENCE, follower.next()).await.expect("another look") {
            Some(Followed::Opened(open)) => {
                assert_eq!(open.page.version, Version(1), "each look is a whole one");
            }
            other => panic!("{other:?}"),
        }
    }
    // Without pauses between them five looks take no time at all.
    assert!(start.elapsed() > Duration::from_millis(300), "{:?}", start.elapsed());
    fickle.1.store(false, Ordering::SeqCst);
    say(&at(&node, "ann", &chat), "at last").await;
    loop {
        match tokio::time::timeout(PATIENCE, follower.next()).await.expect("news") {
            Some(Followed::Opened(open)) if open.page.messages.len() == 1 => break,
            Some(Followed::Events(events)) if events.iter().any(|e| e.version == Version(2)) => {
                break;
            }
            Some(Followed::Opened(_) | Followed::Events(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(follower);
    world.finish().await;
}

/// C17: a storm of resumes reads the store little more often than one of them.
pub async fn c17_a_storm_of_resumes_reads_the_store_once(harness: &dyn ScenarioHarness) {
    let storm = soak(10_000, 500);
    let world = World::new(harness);
    let stores = world.harness.open().await;
    let gate = Gate::new(stores.events);
    let node = world.node_on(Stores::new(Arc::clone(&gate) as _, stores.views)).await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let bob = at(&node, "bob", &chat);
    // Somebody is always there, as in any chat that a storm can come for.
    let mut first = listen(&bob, SubscribeFrom::Start).await;
    first.until(Version(1)).await;
    let token = first.token();
    for n in 0..20 {
        say(&ann, &format!("{n}")).await;
    }
    first.until(Version(21)).await;
    gate.slow_reads(5);
    let before = gate.stream_reads();
    let resumes = (0..storm).map(|_| {
        let (bob, token) = (bob.clone(), token.clone());
        tokio::spawn(async move {
            let mut reader = listen(&bob, SubscribeFrom::Token(token)).await;
            reader.until(Version(21)).await;
            reader.versions()
        })
    });
    let expected: Vec<_> = (2..=21).collect();
    for versions in join_all(resumes).await {
        assert_eq!(versions.expect("no panic"), expected);
    }
    let reads = gate.stream_reads() - before;
    assert!(reads <= storm as u64 / 4, "{reads} reads for {storm} resumes");
    world.finish().await;
}

fn seqs(page: &HistoryPage) -> Vec<u64> {
    page.messages.iter().map(|message| message.seq.0).collect()
}

/// Messages at 2 to 21; dora comes at 22, with what the group shows her.
async fn twenty(world: &World<'_>, history: HistoryVisibility) -> (ChatHandle, ChatHandle) {
    let node = world.node().await;
    let chat = make(&node, NewGroup::named("x").open().with_history(history)).await;
    let ann = at(&node, "ann", &chat);
    for n in 2..=21 {
        say(&ann, &format!("{n}")).await;
    }
    let dora = at(&node, "dora", &chat);
    must(dora.join(None).await);
    (ann, dora)
}

/// C19: around any place, with ends that are the ends of what is seen.
pub async fn c19_around_any_place(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (ann, _) = twenty(&world, HistoryVisibility::Shared).await;
    let seventh = must(ann.history(HistoryQuery::After(Version(6)), 1).await).messages[0].id;
    must(ann.delete(seventh, None, None).await);
    let around = async |version: u64, limit| {
        let page = must(ann.history(HistoryQuery::Around(Version(version)), limit).await);
        (seqs(&page), page.found_oldest, page.found_newest)
    };
    assert_eq!(around(10, 6).await, (vec![7, 8, 9, 10, 11, 12], false, false));
    assert_eq!(around(7, 4).await, (vec![5, 6, 7, 8], false, false));
    let page = must(ann.history(HistoryQuery::Around(Version(7)), 1).await);
    assert!(page.messages[0].deleted.is_some(), "a tombstone has its place");
    assert_eq!(around(2, 6).await, (vec![2, 3, 4], true, false));
    assert_eq!(around(0, 6).await, (vec![2, 3, 4], true, false));
    assert_eq!(around(20, 6).await, (vec![17, 18, 19, 20, 21], false, true));
    assert_eq!(around(9_999, 6).await, (vec![19, 20, 21], false, true));
    assert_eq!(around(u64::MAX, 6).await, (vec![19, 20, 21], false, true));
    assert_eq!(around(10, 1_000).await, ((2..=21).collect(), true, true));
    world.finish().await;
}

/// C19: around the first unread, and around places that are not seen.
pub async fn c19_around_the_first_unread_and_what_is_not_seen(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let (ann, dora) = twenty(&world, HistoryVisibility::Joined).await;
    for version in [0, 2, 10, 21, 22] {
        let page = must(dora.history(HistoryQuery::Around(Version(version)), 6).await);
        assert_eq!((seqs(&page), page.found_oldest, page.found_newest), (vec![], true, true));
    }
    for n in 23..=30 {
        say(&ann, &format!("{n}")).await;
    }
    must(dora.mark_read(Version(25), None).await);
    let page = must(dora.history(HistoryQuery::FirstUnread, 4).await);
    assert_eq!(seqs(&page), [24, 25, 26, 27]);
    let page = must(dora.history(HistoryQuery::Around(Version(3)), 4).await);
    assert_eq!((seqs(&page), page.found_oldest, page.found_newest), (vec![23, 24], true, false));
    must(dora.mark_read(Version(99), None).await);
    let page = must(dora.history(HistoryQuery::FirstUnread, 4).await);
    assert_eq!((seqs(&page), page.found_newest), (vec![27, 28, 29, 30], true), "none: the newest");
    must(dora.mark_unread(Version(24), None).await);
    let page = must(dora.history(HistoryQuery::FirstUnread, 4).await);
    assert_eq!(seqs(&page), [23, 24, 25]);
    world.finish().await;
}

/// C20: before and after a place, at every place, with every limit.
pub async fn c20_before_and_after_exclude_their_place(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.history_page = 12);
    let (ann, _) = twenty(&world, HistoryVisibility::Shared).await;
    let all: Vec<u64> = (2..=21).collect();
    for place in [0, 1, 2, 3, 11, 21, 22, 23, 500] {
        for limit in [1, 2, 5, 12, 13, 5_000] {
            let allowed = limit.min(12);
            let page = must(ann.history(HistoryQuery::Before(Version(place)), limit).await);
            let older: Vec<_> = all.iter().copied().filter(|seq| *seq < place).collect();
            let expected = &older[older.len().saturating_sub(allowed)..];
            assert_eq!(seqs(&page), expected, "{limit} before {place}");
            let complete = expected.len() == older.len();
            assert!(complete || !page.found_oldest, "{limit} before {place}: an end too early");
            let page = must(ann.history(HistoryQuery::After(Version(place)), limit).await);
            let newer: Vec<_> = all.iter().copied().filter(|seq| *seq > place).collect();
            let expected = &newer[..allowed.min(newer.len())];
            assert_eq!(seqs(&page), expected, "{limit} after {place}");
            let complete = expected.len() == newer.len();
            assert!(complete || !page.found_newest, "{limit} after {place}: an end too early");
        }
    }
    for query in [HistoryQuery::Latest, HistoryQuery::Around(Version(9)), HistoryQuery::FirstUnread]
    {
        let page = must(ann.history(query, 0).await);
        assert_eq!(
            (seqs(&page), page.version),
            (vec![], Version(22)),
            "only where the chat stands"
        );
    }
    world.finish().await;
}

/// C22: a long chat is replayed in pages, whatever its length, and the reader holds one of them.
pub async fn c22_a_long_chat_is_replayed_in_pages(harness: &dyn ScenarioHarness) {
    let length = soak(1_000_000, 6_000);
    let world = World::new(harness).config(|config| config.catch_up_page = 256);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    world.fill(&chat, length).await;
    let bob = at(&node, "bob", &chat);
    let mut subscription = must(bob.subscribe(SubscribeFrom::Start).await);
    let mut next = 1;
    while next <= length {
        let Some(Delivery::Events(events)) = subscription.next().await else { panic!("no events") };
        assert!(events.len() <= 256, "{} events at once", events.len());
        for record in events.iter() {
            assert_eq!(record.version.0, next);
            next += 1;
        }
    }
    say(&at(&node, "ann", &chat), "live").await;
    let Some(Delivery::Events(events)) = subscription.next().await else { panic!("no events") };
    assert_eq!(events[0].version.0, length + 1);
    drop(subscription);
    world.close().await;
}

/// Pages of history skip what is no message, however much of it there is.
pub async fn c20_messages_far_apart_are_found(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let (ann, bob) = (at(&node, "ann", &chat), at(&node, "bob", &chat));
    let first = say_id(&ann, "first").await;
    for n in 0..60 {
        let reaction = format!("r{}", n % 10);
        must(bob.react(first, reaction.clone(), None).await);
        must(bob.unreact(first, reaction, None).await);
    }
    must(ann.add(user("dora"), Role::Member, None).await);
    must(ann.send(NewMessage::text("last")).await);
    let mut found = Vec::new();
    let mut query = HistoryQuery::Latest;
    for _ in 0..50 {
        let page = must(bob.history(query, 1).await);
        found.extend(page.messages.iter().map(|message| message.text.to_string()));
        query = HistoryQuery::Before(page.before);
        if page.found_oldest {
            break;
        }
    }
    assert_eq!(found, ["last", "first"]);
    world.finish().await;
}
