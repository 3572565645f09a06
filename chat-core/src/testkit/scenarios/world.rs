//! The place where a scenario happens: one database, one clock, one bus, and engines that come and
//! go as processes do. What is left at the end is looked through by the [auditor](super::audit).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::audit;
use super::harness::{ScenarioHarness, Stores};
use super::reader::Reader;
use crate::clock::{Clock as _, ManualClock, SeededIds, Timestamp};
use crate::domain::{ChatEvent, Limits, MessageId, MessageSent, NewGroup, Role, decode, encode};
use crate::engine::{
    Ack, ChatError, ChatHandle, ChatRecord, Engine, EngineBuilder, EngineConfig, NewMessage,
    SubscribeFrom,
};
use crate::event::NewEvent;
use crate::id::{ChatId, ClientMessageId, CommandId, Position, StreamId, UserId, Version};
use crate::memory::MemoryBus;
use crate::ports::{EventBus, EventStore, EventStoreExt as _, Expected, PageLimit};
use crate::testkit::Answers;
use crate::testkit::fixture::{event_id, partitions, read_all, write};

/// One database and whatever runs on it.
pub struct World<'h> {
    pub(super) harness: &'h dyn ScenarioHarness,
    /// The clock of all engines. Stands still unless it is moved.
    pub clock: Arc<ManualClock>,
    pub(super) limits: Limits,
    pub(super) config: EngineConfig,
    bus: Option<Arc<dyn EventBus>>,
    /// Whether it is one that loses nothing.
    bus_tells_all: bool,
    nodes: Mutex<Vec<(u64, Engine)>>,
    seed: AtomicU64,
    /// Events that were there before: those of an earlier world in the same stores.
    found: OnceCell<u64>,
}

/// An engine, as a process of its own.
#[derive(Debug)]
pub struct Node {
    number: u64,
    engine: Engine,
}

impl std::ops::Deref for Node {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<'h> World<'h> {
    /// An empty world, with a bus that loses nothing.
    #[must_use]
    pub fn new(harness: &'h dyn ScenarioHarness) -> Self {
        let config = EngineConfig {
            poll_interval: Duration::from_millis(25),
            list_delay: Duration::from_millis(1),
            ..EngineConfig::default()
        };
        Self {
            harness,
            clock: Arc::new(ManualClock::new(Timestamp(1_700_000_000_000))),
            limits: Limits::default(),
            config,
            bus: Some(Arc::new(MemoryBus::new())),
            bus_tells_all: true,
            nodes: Mutex::default(),
            seed: AtomicU64::new(0),
            found: OnceCell::new(),
        }
    }

    /// With other limits.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// With other knobs.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// With another bus, or none; engines then look for what it does not tell them every 25 ms, if the
    /// knobs say nothing else.
    #[must_use]
    pub fn bus(mut self, bus: Option<Arc<dyn EventBus>>) -> Self {
        self.bus = bus;
        self.bus_tells_all = false;
        self
    }

    /// Starts an engine, as a process of its own.
    pub async fn node(&self) -> Node {
        self.node_on(self.harness.open().await).await
    }

    /// Starts an engine on these stores.
    pub async fn node_on(&self, stores: Stores) -> Node {
        self.node_with(stores, |builder| builder).await
    }

    /// Starts an engine on these stores that differs from the others.
    pub async fn node_with(
        &self,
        stores: Stores,
        change: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Node {
        let number = self.seed.fetch_add(1, Ordering::SeqCst);
        let found = self.found.get_or_init(|| count(&*stores.events)).await;
        let ids = SeededIds::new((found << 20) + number);
        let mut config = self.config.clone();
        if self.bus_tells_all {
            // Engines that look for what they have been told are most of what a scenario costs.
            config.poll_interval = config.poll_interval.max(soak(Duration::ZERO, RARE_POLL));
        }
        let mut builder = Engine::builder()
            .store(stores.events)
            .views(stores.views)
            .clock(Arc::clone(&self.clock) as _)
            .ids(Arc::new(ids))
            .limits(self.limits.clone())
            .config(config);
        if let Some(bus) = &self.bus {
            builder = builder.bus(Arc::clone(bus));
        }
        let engine = change(builder).build().await;
        let engine = engine.unwrap_or_else(|error| panic!("the engine does not start: {error}"));
        self.nodes.lock().expect("no panic under the lock").push((number, engine.clone()));
        Node { number, engine }
    }

    /// An engine goes without a farewell. Its tasks end as soon as the last handle is dropped.
    pub fn crash(&self, node: Node) {
        let mut nodes = self.nodes.lock().expect("no panic under the lock");
        nodes.retain(|(number, _)| *number != node.number);
        drop(nodes);
        drop(node);
    }

    /// The clock goes on.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the first answer to a command is never marked as a repeat.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.harness.answers() == Answers::Certain
    }

    /// Checks an answer that must be the first one to its command.
    pub fn assert_first(&self, ack: &Ack) {
        assert!(!self.is_certain() || !ack.deduplicated, "a first answer is a repeat: {ack:?}");
        assert!(ack.changed(), "nothing happened: {ack:?}");
    }

    /// What the store holds of a chat.
    pub async fn log(&self, chat: &ChatId) -> Vec<ChatRecord> {
        let stream = StreamId::new(format!("chat/{chat}")).expect("a stream's name");
        let stored = read_all(&*self.harness.open().await.events, &stream).await;
        let records = stored.iter().map(|stored| {
            let (event, version) = (&stored.event, stored.version);
            let read = decode(event.event_type.as_str(), event.schema_version, &event.payload);
            let read = read.unwrap_or(ChatEvent::Unreadable);
            ChatRecord { version, id: event.id, at: event.recorded_at, event: read }
        });
        records.collect()
    }

    /// Fills a chat up to this version with messages by bob, past the engines. Every tenth names
    /// ann, every hundredth everybody.
    pub async fn fill(&self, chat: &ChatId, up_to: u64) {
        let stream = StreamId::new(format!("chat/{chat}")).expect("a stream's name");
        let store = self.harness.open().await.events;
        let head = store.head(&stream).await.expect("a head").0;
        let mut version = head;
        while version < up_to {
            let count = 1_000.min(up_to - version);
            let events = (version + 1..=version + count).map(|n| {
                let text = format!("message {n} of a long chat");
                let sent = MessageSent {
                    by: user("bob"),
                    text: text.into(),
                    reply_to: None,
                    mentions: if n % 10 == 0 { vec![user("ann")] } else { vec![] },
                    mention_all: n % 100 == 0,
                    client_message_id: None,
                };
                let written = encode(&ChatEvent::MessageSent(sent)).expect("a written form");
                NewEvent {
                    id: event_id(n),
                    event_type: written.event_type,
                    schema_version: written.schema_version,
                    recorded_at: self.now(),
                    payload: written.payload,
                    metadata: None,
                }
            });
            let expected = Expected::Exactly(Version(version));
            write(&*store, &stream, expected, events.collect()).await;
            version += count;
        }
    }

    /// Looks everything through and ends every engine.
    ///
    /// # Panics
    /// If anything is not as the events say.
    pub async fn finish(self) {
        audit::everything(&self).await;
        self.close().await;
    }

    /// Ends every engine, and looks at nothing but that they end.
    pub async fn close(self) {
        for engine in self.nodes() {
            engine.shutdown().await;
            let metrics = engine.metrics();
            assert_eq!(metrics.pending, 0, "commands are left");
        }
    }

    pub(super) fn nodes(&self) -> Vec<Engine> {
        let nodes = self.nodes.lock().expect("no panic under the lock");
        nodes.iter().map(|(_, engine)| engine.clone()).collect()
    }
}

/// How long an engine waits at least before it looks where the bus tells everything.
const RARE_POLL: Duration = Duration::from_millis(250);

/// The size of something: of the long form of the tests (`CHAT_SOAK=1`), or of the short one.
#[must_use]
pub fn soak<T>(long: T, short: T) -> T {
    if std::env::var_os("CHAT_SOAK").is_some() { long } else { short }
}

/// How many events a store holds.
async fn count(store: &dyn EventStore) -> u64 {
    let mut count = 0;
    for partition in partitions(store).await {
        let log = store.read_log(partition, Position::ZERO, PageLimit::events(1)).await;
        count += log.unwrap_or_else(|error| panic!("the log cannot be read: {error}")).head.0;
    }
    count
}

/// A group of ann, who owns it, bob and carl, made through this engine.
pub async fn tea_room(engine: &Engine) -> ChatId {
    make(engine, NewGroup::named("tea")).await
}

/// A group of ann, who owns it, bob and carl.
pub async fn make(engine: &Engine, group: NewGroup) -> ChatId {
    let group =
        group.with_member(user("bob"), Role::Member).with_member(user("carl"), Role::Member);
    must(engine.user(user("ann")).create_group(group, None).await).chat
}

/// A chat, as somebody has it.
#[must_use]
pub fn at(engine: &Engine, name: &str, chat: &ChatId) -> ChatHandle {
    engine.user(user(name)).chat(chat)
}

/// Begins to read a chat, as somebody.
pub async fn listen(chat: &ChatHandle, from: SubscribeFrom) -> Reader {
    Reader::new(must(chat.subscribe(from).await))
}

/// A user's id.
#[must_use]
pub fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name within the rules")
}

/// A client's key for a message.
#[must_use]
pub fn key(name: &str) -> ClientMessageId {
    ClientMessageId::new(name).expect("a key within the rules")
}

/// A client's key for any other command.
#[must_use]
pub fn command(name: &str) -> Option<CommandId> {
    Some(CommandId::new(name).expect("a key within the rules"))
}

/// Sends a text that must arrive.
pub async fn say(chat: &ChatHandle, text: &str) -> Ack {
    must(chat.send(NewMessage::text(text)).await)
}

/// Sends a text that must arrive; the message's id.
pub async fn say_id(chat: &ChatHandle, text: &str) -> MessageId {
    say(chat, text).await.message().expect("a message was sent")
}

/// The answer to something that must succeed.
pub fn must<T>(answer: Result<T, ChatError>) -> T {
    answer.unwrap_or_else(|error| panic!("it must succeed: {error}"))
}

/// The rejection of something that must be refused.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, ChatError>) -> crate::domain::Rejection {
    match answer {
        Err(ChatError::Rejected(rejection)) => rejection,
        other => panic!("it must be refused, got {other:?}"),
    }
}

/// The versions of some records.
#[must_use]
pub fn versions(records: &[ChatRecord]) -> Vec<Version> {
    records.iter().map(|record| record.version).collect()
}
