//! Starts a member of a subscription, and ends it.

use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::catalog::{self, Catalog, Work};
use super::config::{DurableConfig, OnNewEpoch, Source, Start};
use super::coordinate;
use super::error::DurableError;
use super::handler::{EventHandler, Projection};
use super::layout;
use super::lease::Holder;
use super::live::ProjectedViews;
use super::member::{Member, Seen, Task};
use super::metrics::{Counters, DurableMetrics};
use super::name::SubscriptionName;
use super::operator::Operator;
use super::reader::Reader;
use super::states;
use crate::clock::{Clock, IdSource, RandomIds, SystemClock};
use crate::decorate::dice::Dice;
use crate::id::Topic;
use crate::ports::{BusItem, EventBus, EventStore, ViewStore};

/// A member of a durable subscription, at work in this process until it is shut down.
///
/// Dropped without [`shutdown`](Self::shutdown) it stops at once, as a crash would make it: a
/// handler under way is dropped, and others take over when the leases have run out.
#[derive(Debug)]
pub struct DurableSubscription {
    member: Arc<Member>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl DurableSubscription {
    /// A subscription of this name to the events of a store, which keeps what it knows in views.
    pub fn builder(
        name: SubscriptionName,
        store: Arc<dyn EventStore>,
        views: Arc<dyn ViewStore>,
    ) -> DurableBuilder {
        DurableBuilder {
            name,
            store,
            views,
            bus: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            source: Source::Log,
            start: Start::Beginning,
            on_new_epoch: OnNewEpoch::Stop,
            config: DurableConfig::default(),
        }
    }

    /// What this member has counted, and how far its partitions are behind.
    #[must_use]
    pub fn metrics(&self) -> DurableMetrics {
        self.member.counters.shown(self.member.holder.clock.now())
    }

    /// Looks at the source now, without waiting for a ring or the timer.
    pub fn wake(&self) {
        self.member.wake();
    }

    /// The subscription as an operator sees it.
    #[must_use]
    pub fn operator(&self) -> Operator {
        let Member { name, reader, views, bus, holder, .. } = &*self.member;
        let clock = Arc::clone(&holder.clock);
        Operator::new(
            name.clone(),
            Arc::clone(&reader.store),
            Arc::clone(views),
            bus.clone(),
            clock,
        )
    }

    /// Ends this member: waits for the handlers under way, saves every place, gives the leases
    /// back, says good-bye to the other members. No task is left.
    ///
    /// # Cancel safety
    /// Dropping the future stops everything at once, as dropping the subscription does.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        // A task that panicked has ended as well.
        let _ = (&mut self.task).await;
    }
}

impl Drop for DurableSubscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes a [`DurableSubscription`]. All members of one subscription are made alike.
#[derive(Debug, Clone)]
#[must_use]
pub struct DurableBuilder {
    name: SubscriptionName,
    store: Arc<dyn EventStore>,
    views: Arc<dyn ViewStore>,
    bus: Option<Arc<dyn EventBus>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    source: Source,
    start: Start,
    on_new_epoch: OnNewEpoch,
    config: DurableConfig,
}

impl DurableBuilder {
    /// How processes wake each other. Default: not at all; everything is found by polling.
    pub fn bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// The clock that leases are timed by. Default: the computer's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where the member's own name comes from. Default: the operating system's randomness.
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// What is read. Default: the log.
    pub fn source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Where it begins, if nobody has started it before. Default: the beginning.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// What happens when the store is another incarnation. Default: it stops.
    pub fn on_new_epoch(mut self, on_new_epoch: OnNewEpoch) -> Self {
        self.on_new_epoch = on_new_epoch;
        self
    }

    /// How much is taken at once, and how long is waited.
    pub fn config(mut self, config: DurableConfig) -> Self {
        self.config = config;
        self
    }

    /// Starts a member that projects, on the Tokio runtime that this is called in.
    ///
    /// # Errors
    /// [`DurableError::Mismatch`] if the subscription is another one by its kind or source;
    /// [`DurableError::Store`].
    ///
    /// # Cancel safety
    /// Dropping the future starts nothing; the subscription may be known from then on.
    pub async fn project(
        self,
        projection: Arc<dyn Projection>,
    ) -> Result<DurableSubscription, DurableError> {
        self.run(Task::Projection(projection)).await
    }

    /// Starts a member that handles events, on the Tokio runtime that this is called in.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    ///
    /// # Cancel safety
    /// As [`project`](Self::project).
    pub async fn handle(
        self,
        handler: Arc<dyn EventHandler>,
    ) -> Result<DurableSubscription, DurableError> {
        self.run(Task::Effects(handler)).await
    }

    /// The subscription as an operator sees it, without a member in this process.
    #[must_use]
    pub fn operator(self) -> Operator {
        Operator::new(self.name, self.store, self.views, self.bus, self.clock)
    }

    /// The views that the projection of this name makes, for those who read them.
    #[must_use]
    pub fn projected_views(self) -> ProjectedViews {
        ProjectedViews::new(self.name, self.store, self.views)
    }

    async fn run(self, task: Task) -> Result<DurableSubscription, DurableError> {
        let config = self.config.bounded();
        let reader = Reader { store: self.store, source: self.source };
        let info = reader.store.info().await?;
        let work = match task {
            Task::Projection(_) => Work::Projection,
            Task::Effects(_) => Work::Effects,
        };
        let view = layout::catalog(&self.name)?;
        let (_, found) = catalog::load(&*self.views, &view).await?;
        let catalog = match found {
            Some(found) => found,
            None => {
                let partitions = reader.partitions(info.partitions);
                let (epoch, starts) = reader.resolve(&self.start, partitions).await?;
                let new = Catalog::new(work, reader.source.clone(), epoch, starts);
                catalog::ensure(&*self.views, &view, &new).await?
            }
        };
        if catalog.work != work {
            return Err(DurableError::Mismatch { what: "is of another kind" });
        }
        if catalog.source != reader.source {
            return Err(DurableError::Mismatch { what: "reads another source" });
        }
        let name = self.ids.event_id(self.clock.now()).to_string();
        let seed = u64::from_le_bytes(self.ids.secret().first_chunk().copied().unwrap_or_default());
        let holder = Holder {
            views: Arc::clone(&self.views),
            clock: self.clock,
            name,
            duration: config.lease,
            pace: config.poll_interval,
        };
        let seen = Seen { epoch: info.epoch, catalog: Arc::new(catalog.clone()) };
        let member = Arc::new(Member {
            name: self.name,
            reader,
            views: self.views,
            bus: self.bus,
            holder,
            task,
            on_new_epoch: self.on_new_epoch,
            config,
            dice: Dice::new(seed),
            counters: Counters::default(),
            seen: watch::Sender::new(seen),
            source_rung: watch::Sender::new(0),
            orders_rung: watch::Sender::new(0),
        });
        states::begin_all(&member, &catalog).await?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(Arc::clone(&member), stopped));
        Ok(DurableSubscription { member, stop, task })
    }
}

/// A member's whole life. Everything that it starts is in sets that it owns, so that dropping it
/// ends all.
async fn run(member: Arc<Member>, stop: watch::Receiver<bool>) {
    let mut ears = JoinSet::new();
    if let Some(bus) = &member.bus {
        // Each append rings; only the partitions look then, not what goes round the members.
        let orders = layout::topic(&member.name).ok().map(|topic| (topic, Wakes::All));
        let source = log_topic().map(|topic| (topic, Wakes::Partitions));
        for (topic, wakes) in orders.into_iter().chain(source) {
            ears.spawn(listen(Arc::clone(&member), Arc::clone(bus), topic, wakes));
        }
    }
    // The others make room.
    member.tell_others().await;
    coordinate::drive(member, stop).await;
    ears.shutdown().await;
}

/// Whom a ring wakes.
#[derive(Debug, Clone, Copy)]
enum Wakes {
    Partitions,
    All,
}

/// Hears rings until it is dropped.
async fn listen(member: Arc<Member>, bus: Arc<dyn EventBus>, topic: Topic, wakes: Wakes) {
    let wake = || match wakes {
        Wakes::Partitions => member.wake(),
        Wakes::All => member.wake_all(),
    };
    loop {
        if let Ok(mut rings) = bus.subscribe(&topic).await {
            // What was rung before the subscription stood is found now.
            wake();
            while let Some(item) = rings.next().await {
                match item {
                    BusItem::Signal(_) | BusItem::Missed => wake(),
                }
            }
        }
        tokio::time::sleep(member.config.poll_interval).await;
    }
}

/// The topic that engines ring when they have appended. Whoever appends without one rings it with
/// [`ring_log`].
pub(super) fn log_topic() -> Option<Topic> {
    Topic::new("log").ok()
}

/// Tells every follower of the log, in any process, that something was appended. Engines do this
/// by themselves. A ring may be lost; that costs a poll interval.
///
/// # Cancel safety
/// Dropping the future may lose the ring.
pub async fn ring_log(bus: &Arc<dyn EventBus>) {
    if let Some(topic) = log_topic() {
        super::member::ring(Some(bus), topic).await;
    }
}
