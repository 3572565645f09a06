//! The engine itself: made by a builder, shared by cheap copies, ended by `shutdown`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::config::EngineConfig;
use super::error::ChatError;
use super::follow_log::{self, LogFollower};
use super::handle::UserHandle;
use super::shared::{Parts, Shared, bug};
use super::{committer, presence};
use crate::clock::{Clock, IdSource, RandomIds, SystemClock};
use crate::connect::Opened;
use crate::domain::Limits;
use crate::id::{Checkpoint, ProjectionName, Scope, UserId, ViewKey};
use crate::memory::{MemoryEventStore, MemoryViewStore};
use crate::ports::{
    EventBus, EventStore, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewStore,
};

/// A chat engine: many chats on one event store.
///
/// Copies are cheap and share everything. When the last copy and the last handle made from one are
/// dropped without [`shutdown`](Self::shutdown), its tasks end by themselves and subscriptions end;
/// acknowledged commands are in the store either way.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Owner>,
}

/// Stops the tasks with the last copy.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
        for cell in self.shared.live_cells() {
            if let Some(tail) = cell.lock().tail.clone() {
                tail.close();
            }
        }
    }
}

/// What an engine has counted since it was made, and what it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineMetrics {
    /// Commands accepted.
    pub commands: u64,
    /// Commands under way now.
    pub pending: usize,
    /// Decisions that had to be made anew, as another process was first.
    pub conflicts: u64,
    /// Stored events that could not be read, once for each reading.
    pub unreadable_events: u64,
    /// Subscriptions now.
    pub subscriptions: usize,
    /// Chats in memory now.
    pub cached_chats: usize,
    /// Chats with a live tail now.
    pub live_chats: usize,
    /// Snapshots written.
    pub snapshots: u64,
    /// Events seen in the log.
    pub log_events: u64,
}

impl Engine {
    /// An engine is made here.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// A handle that acts as this user. The host has made sure that it is this user.
    #[must_use]
    pub fn user(&self, user: UserId) -> UserHandle {
        UserHandle::new(Arc::clone(&self.inner), user)
    }

    /// What the engine has counted.
    #[must_use]
    pub fn metrics(&self) -> EngineMetrics {
        let shared = &self.inner.shared;
        let counters = &shared.counters;
        EngineMetrics {
            commands: counters.commands.load(Ordering::Relaxed),
            pending: shared.pending.load(Ordering::Relaxed),
            conflicts: counters.conflicts.load(Ordering::Relaxed),
            unreadable_events: counters.unreadable.load(Ordering::Relaxed),
            subscriptions: counters.subscriptions.load(Ordering::Relaxed),
            cached_chats: shared.cached_chats(),
            live_chats: shared.live_cells().len(),
            snapshots: counters.snapshots.load(Ordering::Relaxed),
            log_events: counters.log_events.load(Ordering::Relaxed),
        }
    }

    /// Waits until everything that the store holds now is in the chat lists.
    ///
    /// # Errors
    /// [`ChatError::Store`] if the store fails; [`ChatError::ShuttingDown`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn catch_up(&self) -> Result<(), ChatError> {
        self.inner.shared.follower.catch_up(&self.inner.shared).await
    }

    /// Ends the engine: refuses new commands, waits for those under way (at most
    /// [`EngineConfig::shutdown_wait`]), brings the chat lists and snapshots up to date, ends every
    /// subscription with a token to go on from, and returns when the last task has ended, or when an
    /// adapter has not given one back in that time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the engine ending; call it again to wait.
    pub async fn shutdown(&self) {
        let shared = &self.inner.shared;
        shared.close();
        let commands = shared.commands_ended();
        if tokio::time::timeout(shared.config.shutdown_wait, commands).await.is_err() {
            tracing::warn!("commands were still under way when the engine shut down");
        }
        if !shared.is_stopped() {
            // Both can be made up for from the log; neither an error nor a store that does not
            // answer is a reason not to end.
            let tidying = async {
                let _ = shared.follower.catch_up(shared).await;
                shared.write_all_snapshots().await;
            };
            let _ = tokio::time::timeout(shared.config.shutdown_wait, tidying).await;
        }
        shared.stop();
        for cell in shared.live_cells() {
            if let Some(tail) = cell.lock().tail.clone() {
                tail.close();
            }
        }
        let ended = shared.tasks_ended();
        if tokio::time::timeout(shared.config.shutdown_wait, ended).await.is_err() {
            tracing::warn!("an adapter still held a task when the engine shut down");
        }
    }
}

/// Makes an [`Engine`]. Everything that is not given is in memory.
#[derive(Debug, Default)]
#[must_use]
pub struct EngineBuilder {
    store: Option<Arc<dyn EventStore>>,
    views: Option<Arc<dyn ViewStore>>,
    bus: Option<Arc<dyn EventBus>>,
    clock: Option<Arc<dyn Clock>>,
    ids: Option<Arc<dyn IdSource>>,
    limits: Limits,
    config: EngineConfig,
    token_key: Option<[u8; 32]>,
}

impl EngineBuilder {
    /// Where the events are. Default: memory.
    pub fn store(mut self, store: Arc<dyn EventStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Where the views are; best beside the events. Default: memory, filled from the events at
    /// each start.
    pub fn views(mut self, views: Arc<dyn ViewStore>) -> Self {
        self.views = Some(views);
        self
    }

    /// How processes wake each other. Default: not at all; others' events are found by polling.
    pub fn bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// The events, the views and the bus of a store that was opened by URL; a store without a bus
    /// leaves the builder's as it is.
    pub fn opened(mut self, opened: &Opened) -> Self {
        self.store = Some(Arc::clone(&opened.events));
        self.views = Some(Arc::clone(&opened.views));
        self.bus = opened.bus.clone().or(self.bus);
        self
    }

    /// The clock. Default: the computer's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where ids come from. Default: the operating system's randomness.
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = Some(ids);
        self
    }

    /// What chats allow.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What the engine holds, and how long it waits.
    pub fn config(mut self, config: EngineConfig) -> Self {
        self.config = config;
        self
    }

    /// The key that authenticates sync tokens. Default: one that is kept in the views, so that all
    /// processes on them share it.
    pub fn token_key(mut self, key: [u8; 32]) -> Self {
        self.token_key = Some(key);
        self
    }

    /// Starts the engine, on the Tokio runtime that this is called in.
    ///
    /// # Errors
    /// [`ChatError::Store`] if the store or the views cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future starts nothing.
    pub async fn build(self) -> Result<Engine, ChatError> {
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryEventStore::new()));
        let views = self.views.unwrap_or_else(|| Arc::new(MemoryViewStore::new()));
        let ids = self.ids.unwrap_or_else(|| Arc::new(RandomIds));
        let info = store.info().await?;
        let token_key = match self.token_key {
            Some(key) => key,
            None => shared_token_key(&*views, &*ids).await?,
        };
        let follower = LogFollower::load(&*views, (info.epoch, info.partitions)).await?;
        let shared = Shared::new(Parts {
            store,
            views,
            bus: self.bus,
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            ids,
            limits: self.limits,
            config: self.config,
            partitions: info.partitions,
            token_key,
            epoch: info.epoch,
            follower,
        });
        shared.spawn(committer::drive(Arc::clone(&shared)));
        shared.spawn(follow_log::drive(Arc::clone(&shared)));
        shared.spawn(presence::drive(Arc::clone(&shared)));
        if shared.bus.is_some() {
            shared.spawn(follow_log::listen(Arc::clone(&shared)));
            shared.spawn(follow_log::ring(Arc::clone(&shared)));
        }
        Ok(Engine { inner: Arc::new(Owner { shared }) })
    }
}

/// The key that all engines on these views share; the first one makes it.
async fn shared_token_key(
    views: &dyn ViewStore,
    ids: &dyn IdSource,
) -> Result<[u8; 32], ChatError> {
    let scope = Scope::new("engine").map_err(bug)?;
    let view = ViewId { scope, projection: ProjectionName::new("token-key").map_err(bug)? };
    let key = ViewKey::new("key").map_err(bug)?;
    loop {
        let get = ViewGet { view: view.clone(), keys: vec![key.clone()] };
        let values = views.get(&[get]).await?;
        let found = values.first().and_then(|values| values.values.first()).cloned().flatten();
        if let Some(found) = found {
            return found.as_ref().try_into().map_err(|_| {
                let (place, what) = ("the token key".into(), "it has not 32 bytes".into());
                ChatError::Store(StoreError::Corrupt { place, what })
            });
        }
        let secret: Arc<[u8]> = Arc::from(ids.secret());
        let batch = ViewBatch {
            view: view.clone(),
            expected: Checkpoint::ZERO,
            next: Checkpoint(1),
            ops: vec![ViewOp::Put(key.clone(), secret)],
        };
        match views.commit(&[batch]).await.pop() {
            // Read back, also if another engine was first.
            Some(Ok(()) | Err(ViewError::CheckpointMoved { .. })) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(bug("the views gave no answer")),
        }
    }
}
