//! An engine whose chat lists are far behind the log does not let those wait who listen.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::{NewGroup, Role};
use chat_core::memory::{MemoryBus, MemoryEventStore, MemoryViewStore};
use chat_core::ports::{
    Append, AppendResult, Direction, EventStore, Expected, LogPage, PageLimit, StoreError,
    StoreInfo, StreamPage,
};
use chat_core::testkit::fixture::{events, stream, write};
use chat_core::{
    ChatError, ChatId, ChatListQuery, Delivery, Engine, Epoch, EventId, NewMessage, PartitionId,
    Position, RecordedEvent, ResetReason, StreamId, SubscribeFrom, Subscription, SubscriptionEnd,
    UserId, Version,
};
use uuid::Uuid;

/// A store whose full pages of the log take a second each, or are empty against its word.
#[derive(Debug)]
struct SlowLog {
    inner: Arc<MemoryEventStore>,
    full_pages: AtomicUsize,
    another: AtomicBool,
    empty: AtomicBool,
}

#[async_trait]
impl EventStore for SlowLog {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        self.inner.append(appends).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        self.inner.read_stream(stream, direction, from, limit).await
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        let mut page = self.inner.read_log(partition, after, limit).await?;
        if self.empty.load(Ordering::SeqCst) {
            page.events.clear();
            page.next = after;
        }
        if page.events.len() == PageLimit::MAX_EVENTS {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.full_pages.fetch_add(1, Ordering::SeqCst);
        }
        Ok(page)
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        self.inner.find(stream, id).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        self.inner.heads(streams).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let mut info = self.inner.info().await?;
        if self.another.load(Ordering::SeqCst) {
            info.epoch = Epoch(Uuid::max());
        }
        Ok(info)
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.inner.partition_of(stream)
    }
}

/// Two processes on one store with a long log; the second reads it slowly and has no lists yet.
struct World {
    slow: Arc<SlowLog>,
    first: Engine,
    second: Engine,
    views: Arc<MemoryViewStore>,
    chat: ChatId,
}

impl World {
    async fn new() -> Self {
        let inner = Arc::new(MemoryEventStore::new());
        let bus = Arc::new(MemoryBus::new());
        let slow = SlowLog {
            inner: Arc::clone(&inner),
            full_pages: AtomicUsize::new(0),
            another: AtomicBool::new(false),
            empty: AtomicBool::new(false),
        };
        let slow = Arc::new(slow);
        let first = Engine::builder().store(Arc::clone(&inner) as _);
        let first = first.bus(Arc::clone(&bus) as _).build().await.unwrap();
        let group = NewGroup::named("tea").with_member(user("bob"), Role::Member);
        let chat = first.user(user("ann")).create_group(group, None).await.unwrap().chat;
        for page in 0..PAGES as u64 {
            let numbers = page * 1_000..(page + 1) * 1_000;
            write(&*inner, &stream("elsewhere"), Expected::Any, events(numbers)).await;
        }
        let (second, views) = (slow.clone(), Arc::new(MemoryViewStore::new()));
        let second = Engine::builder().store(second as _).views(Arc::clone(&views) as _);
        let second = second.bus(bus as _).build().await.unwrap();
        Self { slow, first, second, views, chat }
    }

    /// The second process ends, and another takes its place and its views.
    async fn restart(&mut self) {
        self.second.shutdown().await;
        let builder = Engine::builder().store(Arc::clone(&self.slow) as _);
        self.second = builder.views(Arc::clone(&self.views) as _).build().await.unwrap();
    }

    async fn listen(&self) -> Subscription {
        let chat = self.second.user(user("bob")).chat(&self.chat);
        chat.subscribe(SubscribeFrom::Start).await.unwrap()
    }

    /// Says something in the first process, and waits until it is heard in the second.
    async fn say(&self, heard: &mut Subscription) {
        let chat = self.first.user(user("ann")).chat(&self.chat);
        let version = chat.send(NewMessage::text("now")).await.unwrap().version;
        while heard.version() < version {
            match heard.next().await {
                Some(Delivery::Events(_) | Delivery::Signal(_)) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn full_pages(&self) -> usize {
        self.slow.full_pages.load(Ordering::SeqCst)
    }

    /// What the list of the second process says of unread messages; it is exact, so it waits.
    async fn unread(&self) -> u64 {
        let page = self.second.user(user("bob")).chats(ChatListQuery::top(10)).await.unwrap();
        let [chat] = &page.chats[..] else { panic!("{} chats", page.chats.len()) };
        chat.unread
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

const PAGES: usize = 50;

#[tokio::test(start_paused = true)]
async fn who_listens_does_not_wait_for_lists_that_are_far_behind() {
    let world = World::new().await;
    let mut heard = world.listen().await;
    for _ in 0..5 {
        world.say(&mut heard).await;
    }
    assert!(world.full_pages() < PAGES, "all of the log was read first");
    assert_eq!(world.unread().await, 5);
    assert_eq!(world.full_pages(), PAGES, "the lists are of the whole log, read once");
}

#[tokio::test(start_paused = true)]
async fn who_listens_does_not_wait_for_the_log_of_another_incarnation() {
    let world = World::new().await;
    let mut heard = world.listen().await;
    world.say(&mut heard).await;
    assert_eq!(world.unread().await, 1);
    world.slow.another.store(true, Ordering::SeqCst);
    // What is heard of the old log ends.
    let end = async {
        loop {
            match heard.next().await {
                Some(Delivery::Ended(end)) => break end,
                Some(_) => {}
                None => panic!("it ended without a word"),
            }
        }
    };
    let end = tokio::time::timeout(Duration::from_secs(600), end).await.unwrap();
    let reason = ResetReason::EpochChanged;
    assert!(matches!(end, SubscriptionEnd::Reset { reason: found } if found == reason), "{end:?}");
    let mut heard = world.listen().await;
    for _ in 0..5 {
        world.say(&mut heard).await;
    }
    assert!(world.full_pages() < 2 * PAGES, "all of the log was read first");
    assert_eq!(world.unread().await, 6);
    assert_eq!(world.full_pages(), 2 * PAGES, "the lists are of the whole log, read once more");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_ends_does_not_read_all_of_the_log_first() {
    let world = World::new().await;
    world.listen().await;
    world.second.shutdown().await;
    assert!(world.full_pages() < PAGES, "all of the log was read first");
}

#[tokio::test(start_paused = true)]
async fn the_log_of_another_incarnation_is_read_to_its_end_over_a_restart() {
    let mut world = World::new().await;
    assert_eq!(world.unread().await, 0);
    assert_eq!(world.full_pages(), PAGES);
    world.restart().await;
    assert_eq!(world.unread().await, 0);
    assert_eq!(world.full_pages(), PAGES, "where the lists stand is kept");
    world.slow.another.store(true, Ordering::SeqCst);
    // Long enough for a look, and for some of the pages.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let read = world.full_pages();
    assert!((PAGES + 1..2 * PAGES).contains(&read), "{read} pages");
    world.restart().await;
    assert_eq!(world.unread().await, 0);
    assert!(world.full_pages() >= 2 * PAGES, "the rest was left out");
}

#[tokio::test(start_paused = true)]
async fn an_empty_page_before_the_end_of_the_log_is_an_error() {
    let world = World::new().await;
    world.slow.empty.store(true, Ordering::SeqCst);
    let error = world.second.catch_up().await.unwrap_err();
    assert!(matches!(&error, ChatError::Store(StoreError::Corrupt { .. })), "{error:?}");
    world.slow.empty.store(false, Ordering::SeqCst);
    world.second.catch_up().await.unwrap();
    assert_eq!(world.unread().await, 0);
}
