//! What every part of one engine shares: the ports, the cached chats, the tasks, the counters.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};

use super::cell::{ChatCell, SingleFlight};
use super::committer::Committer;
use super::config::EngineConfig;
use super::error::ChatError;
use super::follow_log::LogFollower;
use super::presence::Presence;
use super::watch::Watchers;
use crate::clock::{Clock, IdSource};
use crate::domain::Limits;
use crate::id::{ChatId, Epoch, Scope, StreamId, Topic};
use crate::ports::{EventBus, EventStore, Signal, StoreError, ViewStore};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) views: Arc<dyn ViewStore>,
    pub(super) bus: Option<Arc<dyn EventBus>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) limits: Limits,
    pub(super) config: EngineConfig,
    pub(super) partitions: u32,
    pub(super) token_key: [u8; 32],
    /// Tells this process's signals from others' on the bus.
    pub(super) node: String,
    pub(super) committer: Committer,
    pub(super) follower: LogFollower,
    pub(super) presence: Presence,
    pub(super) watchers: Watchers,
    pub(super) counters: Counters,
    chats: Mutex<HashMap<ChatId, Arc<ChatCell>>>,
    /// Chats with a live tail.
    live: Mutex<HashMap<ChatId, Arc<ChatCell>>>,
    clock_hand: AtomicU64,
    epoch: Mutex<Epoch>,
    epoch_flight: SingleFlight,
    closing: AtomicBool,
    stopped: watch::Sender<bool>,
    tasks: AtomicUsize,
    tasks_ended: Notify,
    pub(super) pending: AtomicUsize,
    pub(super) pending_ended: Notify,
}

/// What an engine counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commands: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) subscriptions: AtomicUsize,
    pub(super) snapshots: AtomicU64,
    pub(super) log_events: AtomicU64,
}

/// The parts that a builder brings.
pub(super) struct Parts {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) views: Arc<dyn ViewStore>,
    pub(super) bus: Option<Arc<dyn EventBus>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) limits: Limits,
    pub(super) config: EngineConfig,
    pub(super) partitions: u32,
    pub(super) token_key: [u8; 32],
    pub(super) epoch: Epoch,
    pub(super) follower: LogFollower,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let mut config = parts.config;
        // Zero would mean to work without a pause, or to give nothing.
        config.poll_interval = config.poll_interval.max(Duration::from_millis(1));
        config.history_page = config.history_page.max(1);
        config.cached_chats = config.cached_chats.max(1);
        let node = parts.ids.event_id(parts.clock.now()).to_string();
        Arc::new(Self {
            store: parts.store,
            views: parts.views,
            bus: parts.bus,
            clock: parts.clock,
            ids: parts.ids,
            limits: parts.limits,
            config,
            partitions: parts.partitions,
            token_key: parts.token_key,
            node,
            committer: Committer::default(),
            follower: parts.follower,
            presence: Presence::default(),
            watchers: Watchers::default(),
            counters: Counters::default(),
            chats: Mutex::default(),
            live: Mutex::default(),
            clock_hand: AtomicU64::new(0),
            epoch: Mutex::new(parts.epoch),
            epoch_flight: SingleFlight::default(),
            closing: AtomicBool::new(false),
            stopped: watch::Sender::new(false),
            tasks: AtomicUsize::new(0),
            tasks_ended: Notify::new(),
            pending: AtomicUsize::new(0),
            pending_ended: Notify::new(),
        })
    }

    /// The chat in memory, made if need be; not loaded by that.
    pub(super) fn cell(&self, id: &ChatId) -> Result<Arc<ChatCell>, ChatError> {
        let used = self.clock_hand.fetch_add(1, Ordering::Relaxed);
        let mut chats = lock(&self.chats);
        if let Some(cell) = chats.get(id) {
            cell.used.store(used, Ordering::Relaxed);
            return Ok(Arc::clone(cell));
        }
        if chats.len() >= self.config.cached_chats {
            evict(&mut chats);
        }
        let stream = chat_stream(id)?;
        let scope = Scope::new(stream.as_str()).map_err(bug)?;
        let cell = Arc::new(ChatCell::new(id.clone(), stream, scope));
        cell.used.store(used, Ordering::Relaxed);
        chats.insert(id.clone(), Arc::clone(&cell));
        Ok(cell)
    }

    /// The chat in memory, if it is there.
    pub(super) fn cached_cell(&self, id: &ChatId) -> Option<Arc<ChatCell>> {
        lock(&self.chats).get(id).cloned()
    }

    /// Notes that a chat is in use.
    pub(super) fn touch(&self, cell: &ChatCell) {
        cell.used.store(self.clock_hand.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn cached_chats(&self) -> usize {
        lock(&self.chats).len()
    }

    pub(super) fn all_cells(&self) -> Vec<Arc<ChatCell>> {
        lock(&self.chats).values().cloned().collect()
    }

    pub(super) fn live_cells(&self) -> Vec<Arc<ChatCell>> {
        lock(&self.live).values().cloned().collect()
    }

    pub(super) fn set_live(&self, cell: &Arc<ChatCell>, live: bool) {
        let mut all = lock(&self.live);
        if live {
            all.insert(cell.id.clone(), Arc::clone(cell));
        } else {
            all.remove(&cell.id);
        }
    }

    /// The store's incarnation now. As with `refresh`, the work is not the caller's own.
    pub(super) async fn epoch(self: &Arc<Self>) -> Result<Epoch, ChatError> {
        let (done, result) = oneshot::channel();
        let shared = Arc::clone(self);
        self.spawn(async move {
            // A caller that went away does not need the result.
            let _ = done.send(shared.epoch_now().await);
        });
        result.await.unwrap_or_else(|_| Err(bug("an adapter panicked")))
    }

    pub(super) async fn epoch_now(&self) -> Result<Epoch, ChatError> {
        if let Some(round) = self.epoch_flight.enter().await {
            let info = self.store.info().await?;
            if self.known_epoch() != info.epoch {
                tracing::error!(epoch = %info.epoch.0, "the store is of another incarnation");
                let distrust_all =
                    || self.all_cells().iter().for_each(|cell| cell.lock().distrust());
                // Before: nobody writes a snapshot of the old log under the new name. After: nobody
                // has believed one of the old name meanwhile.
                distrust_all();
                *lock(&self.epoch) = info.epoch;
                distrust_all();
                self.follower.begin_anew();
            }
            round.succeed();
        }
        Ok(self.known_epoch())
    }

    /// The store's incarnation as it was seen last.
    pub(super) fn known_epoch(&self) -> Epoch {
        *lock(&self.epoch)
    }

    /// Runs a task that `shutdown` waits for.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let guard = TaskGuard::new(Arc::clone(self));
        tokio::spawn(async move {
            task.await;
            drop(guard);
        });
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Refuses new commands from here on.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// Ends every loop.
    pub(super) fn stop(&self) {
        self.close();
        self.stopped.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Completes when the engine has stopped.
    pub(super) async fn stopped(&self) {
        let mut stopped = self.stopped.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    pub(super) async fn tasks_ended(&self) {
        wait_for_zero(&self.tasks, &self.tasks_ended).await;
    }

    pub(super) async fn commands_ended(&self) {
        wait_for_zero(&self.pending, &self.pending_ended).await;
    }

    /// Tells other processes; what is lost is found by their timers.
    pub(super) async fn publish(&self, signals: &[Signal]) {
        if let Some(bus) = &self.bus
            && let Err(error) = bus.publish(signals).await
        {
            tracing::debug!(%error, "the bus did not take signals; others find out by their timers");
        }
    }
}

/// Before a chat's id in the name of its stream.
pub(super) const CHAT_PREFIX: &str = "chat/";

/// The stream of a chat.
pub(super) fn chat_stream(id: &ChatId) -> Result<StreamId, ChatError> {
    StreamId::new(format!("{CHAT_PREFIX}{id}")).map_err(bug)
}

/// The topic on which a chat's ephemeral signals go.
pub(super) fn chat_topic(id: &ChatId) -> Option<Topic> {
    Topic::new(format!("chat/{id}")).ok()
}

pub(super) fn bug(error: impl std::fmt::Display) -> ChatError {
    ChatError::Store(StoreError::Bug { what: error.to_string() })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No user code runs under these locks; a map that a panic left behind is still a map.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn wait_for_zero(count: &AtomicUsize, ended: &Notify) {
    loop {
        let notified = ended.notified();
        if count.load(Ordering::SeqCst) == 0 {
            return;
        }
        notified.await;
    }
}

/// Forgets the eighth of the chats that was used least lately, as far as they are idle. Their
/// state is in the store; a cell that somebody holds is not forgotten, for two cells of one chat
/// would contend.
fn evict(chats: &mut HashMap<ChatId, Arc<ChatCell>>) {
    let mut idle: Vec<_> = chats
        .values()
        .filter(|cell| Arc::strong_count(cell) == 1 && cell.is_idle())
        .map(|cell| (cell.used.load(Ordering::Relaxed), cell.id.clone()))
        .collect();
    idle.sort_unstable_by_key(|(used, _)| *used);
    let surplus = (chats.len() / 8).max(1);
    for (_, id) in idle.into_iter().take(surplus) {
        // Taking it apart is what makes sure that no handle finds it again meanwhile.
        if let Some(cell) = chats.remove(&id)
            && let Err(in_use) = Arc::try_unwrap(cell)
        {
            chats.insert(id, in_use);
        }
    }
}

/// Counts a task for as long as it lives, also if it panics.
struct TaskGuard(Arc<Shared>);

impl TaskGuard {
    fn new(shared: Arc<Shared>) -> Self {
        shared.tasks.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if self.0.tasks.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.tasks_ended.notify_waiters();
        }
    }
}
