//! The bus: publish and subscribe of Redis, sharded on a cluster.
//!
//! A store has one connection for all its subscriptions, made when the first of them is. A task
//! owns it: it subscribes and unsubscribes, and when the connection breaks it makes a new one,
//! subscribes again and tells everybody that signals were missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chat_core::ports::{BusError, BusItem, BusStream, EventBus, Signal, SignalBody, StoreError};
use chat_core::{Json, PartitionId, Topic, Version};
use futures::future::try_join_all;
use futures::stream;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use crate::keys::Keys;
use crate::store::{RedisStore, Shared};
use crate::subscriber;

/// The bus of one store.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) topics: Arc<Topics>,
    requests: mpsc::Sender<Request>,
    /// What the task takes when it is started.
    start: Mutex<Option<mpsc::Receiver<Request>>>,
}

/// Asks the task to subscribe to a topic.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) topic: Topic,
    pub(crate) done: oneshot::Sender<Result<(), StoreError>>,
}

/// Who listens to what.
#[derive(Debug)]
pub(crate) struct Topics {
    keys: Keys,
    known: Mutex<Known>,
    /// Rung when something is left or the connection is lost.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    listened: HashMap<Topic, broadcast::Sender<BusItem>>,
    /// Topics that nobody listens to any more; each at most once.
    left: Vec<Topic>,
    lost: bool,
}

impl Bus {
    pub(crate) fn new(keys: Keys) -> Self {
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let topics = Topics { keys, known: Mutex::default(), changed: Notify::new() };
        Self { topics: Arc::new(topics), requests, start: Mutex::new(Some(receiver)) }
    }

    /// Ends every subscription.
    pub(crate) fn close(&self) {
        self.topics.known().listened.clear();
        self.topics.changed.notify_one();
    }

    /// Starts the task with the first subscription. It ends with the store and its subscriptions.
    fn start(&self, shared: &Shared) {
        let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(requests) = start.take() {
            let config = shared.config.clone();
            tokio::spawn(subscriber::run(config, Arc::clone(&self.topics), requests));
        }
    }
}

impl Topics {
    fn known(&self) -> MutexGuard<'_, Known> {
        // The map is whole between any two of its operations.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel of a topic: in a cluster, that of a partition's slot.
    pub(crate) fn channel(&self, topic: &Topic) -> String {
        self.keys.channel(topic)
    }

    fn listen(&self, topic: &Topic) -> broadcast::Receiver<BusItem> {
        let mut known = self.known();
        match known.listened.get(topic) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = broadcast::channel(CAPACITY);
                known.listened.insert(topic.clone(), sender);
                receiver
            }
        }
    }

    /// Everything that somebody listens to.
    pub(crate) fn listened(&self) -> Vec<Topic> {
        self.known().listened.keys().cloned().collect()
    }

    /// Topics to unsubscribe from.
    pub(crate) fn take_left(&self) -> Vec<Topic> {
        let mut known = self.known();
        let left = std::mem::take(&mut known.left);
        left.into_iter().filter(|topic| !known.listened.contains_key(topic)).collect()
    }

    /// Whether the connection was lost since the last look.
    pub(crate) fn take_lost(&self) -> bool {
        std::mem::take(&mut self.known().lost)
    }

    /// Tells everybody that signals may be missing.
    pub(crate) fn tell_missed(&self) {
        for sender in self.known().listened.values() {
            // It fails only if nobody listens any more.
            let _receivers = sender.send(BusItem::Missed);
        }
    }

    /// Takes what the server pushes. Called by the connection; never waits.
    pub(crate) fn push(&self, info: &PushInfo) {
        match info.kind {
            PushKind::Message | PushKind::SMessage => self.deliver(&info.data),
            // A slot that moves away ends its subscriptions.
            PushKind::Disconnection | PushKind::SUnsubscribe => {
                if info.kind == PushKind::Disconnection || self.wanted(&info.data) {
                    self.known().lost = true;
                    self.changed.notify_one();
                }
            }
            _ => {}
        }
    }

    fn deliver(&self, data: &[Value]) {
        let [Value::BulkString(channel), Value::BulkString(payload)] = data else { return };
        let Some(topic) = self.topic(channel) else { return };
        let Some(body) = read(payload) else { return };
        if let Some(sender) = self.known().listened.get(&topic) {
            // It fails only if nobody listens any more.
            let _receivers = sender.send(BusItem::Signal(Signal { topic, body }));
        }
    }

    fn topic(&self, channel: &[u8]) -> Option<Topic> {
        let channel = std::str::from_utf8(channel).ok()?;
        let (_, name) = channel.split_once(CHANNEL_MARK)?;
        Topic::new(name).ok()
    }

    /// Whether somebody listens to the channel that an unsubscription names.
    fn wanted(&self, data: &[Value]) -> bool {
        let Some(Value::BulkString(channel)) = data.first() else { return false };
        self.topic(channel).is_some_and(|topic| self.known().listened.contains_key(&topic))
    }
}

#[async_trait]
impl EventBus for RedisStore {
    async fn publish(&self, signals: &[Signal]) -> Result<(), BusError> {
        let shared = self.shared();
        shared.open().map_err(bus_error)?;
        let limit = SignalBody::MAX_EPHEMERAL_BYTES;
        let sizes = signals.iter().map(|signal| match &signal.body {
            SignalBody::Ephemeral(json) => json.as_str().len(),
            _ => 0,
        });
        if let Some(bytes) = sizes.max().filter(|bytes| *bytes > limit) {
            return Err(BusError::TooLarge { bytes, limit });
        }
        let one_server = shared.connection.is_one_server();
        let mut groups: HashMap<PartitionId, redis::Pipeline> = HashMap::new();
        for signal in signals {
            let group = match one_server {
                true => PartitionId(0),
                false => shared.keys.partition_of_topic(&signal.topic),
            };
            let name = if one_server { "PUBLISH" } else { "SPUBLISH" };
            let pipeline = groups.entry(group).or_default();
            let channel = shared.keys.channel(&signal.topic);
            pipeline.cmd(name).arg(channel).arg(written(&signal.body)).ignore();
        }
        let sends = groups.values().map(|pipeline| shared.connection.publish(pipeline));
        try_join_all(sends).await.map_err(bus_error)?;
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusStream, BusError> {
        let shared = self.shared();
        shared.open().map_err(bus_error)?;
        let bus = &shared.bus;
        bus.start(shared);
        let subscription = Subscription {
            receiver: Some(bus.topics.listen(topic)),
            topic: topic.clone(),
            topics: Arc::clone(&bus.topics),
            _task: bus.requests.clone(),
        };
        let (done, subscribed) = oneshot::channel();
        let request = Request { topic: topic.clone(), done };
        bus.requests.send(request).await.map_err(|_| BusError::Closed)?;
        subscribed.await.map_err(|_| BusError::Closed)?.map_err(bus_error)?;
        let items = stream::unfold(subscription, |mut subscription| async move {
            let item = subscription.next().await?;
            Some((item, subscription))
        });
        Ok(Box::pin(items))
    }
}

struct Subscription {
    /// `None` only while it is dropped.
    receiver: Option<broadcast::Receiver<BusItem>>,
    topic: Topic,
    topics: Arc<Topics>,
    /// The task lives for as long as anybody could ask it something.
    _task: mpsc::Sender<Request>,
}

impl Subscription {
    async fn next(&mut self) -> Option<BusItem> {
        match self.receiver.as_mut()?.recv().await {
            Ok(item) => Some(item),
            Err(RecvError::Lagged(_)) => Some(BusItem::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut known = self.topics.known();
        // Under the lock, so that nobody listens anew between the look and the removal.
        self.receiver = None;
        if known.listened.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            known.listened.remove(&self.topic);
            if !known.left.contains(&self.topic) {
                known.left.push(self.topic.clone());
            }
            drop(known);
            self.topics.changed.notify_one();
        }
    }
}

/// A letter, then the version in digits or the text.
fn written(body: &SignalBody) -> Vec<u8> {
    match body {
        SignalBody::Ring(version) => format!("r{version}").into_bytes(),
        SignalBody::Ephemeral(json) => format!("e{}", json.as_str()).into_bytes(),
        // A kind that this release does not know says "something happened" and nothing else.
        _ => Vec::new(),
    }
}

/// `None` for what a newer release may send.
fn read(payload: &[u8]) -> Option<SignalBody> {
    let (kind, rest) = std::str::from_utf8(payload).ok()?.split_at_checked(1)?;
    match kind {
        "r" => Some(SignalBody::Ring(Version(rest.parse().ok()?))),
        "e" => Some(SignalBody::Ephemeral(Json::from_text(rest))),
        _ => None,
    }
}

fn bus_error(error: StoreError) -> BusError {
    match error {
        StoreError::Closed => BusError::Closed,
        StoreError::Unavailable { what, source } | StoreError::OutcomeUnknown { what, source } => {
            BusError::Unavailable { what, source }
        }
        other => {
            BusError::Unavailable { what: "use the bus".into(), source: Some(Arc::new(other)) }
        }
    }
}

/// What stands before a topic's name in its channel.
const CHANNEL_MARK: &str = "}:b:";
/// Signals of one topic that a slow subscriber may be behind.
const CAPACITY: usize = 128;
/// Subscriptions that may wait to be made.
const REQUESTS: usize = 1_024;
