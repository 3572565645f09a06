//! The place of a check: one database, one clock, one bus; members come and go as processes do.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::handlers::{Counting, Recorder, SHARED, scope};
use crate::clock::{ManualClock, SeededIds, Timestamp};
use crate::durable::{
    DurableBuilder, DurableConfig, DurableSubscription, Operator, PartitionStatus,
    SubscriptionName, SubscriptionStatus, ring_log,
};
use crate::id::PartitionId;
use crate::memory::MemoryBus;
use crate::ports::{Direction, EventBus, Expected, KeyRange, ViewId, ViewPage, ViewStore};
use crate::testkit::fixture::{event, partitions, stream, write};
use crate::testkit::scenarios::{ScenarioHarness, Stores};

/// How long a lease is, by the clock of the bench, which stands still unless it is moved.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// Streams that events are spread over.
pub(super) const STREAMS: u64 = 7;

pub(super) struct Bench {
    pub(super) stores: Stores,
    pub(super) clock: Arc<ManualClock>,
    pub(super) bus: Arc<dyn EventBus>,
    pub(super) config: DurableConfig,
    seed: AtomicU64,
}

impl Bench {
    pub(super) async fn new(harness: &dyn ScenarioHarness) -> Self {
        let config = DurableConfig {
            batch_events: 7,
            save_every: 3,
            poll_interval: Duration::from_millis(5),
            lease: LEASE,
            max_attempts: 3,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(4),
            max_parked: 100,
            ..DurableConfig::default()
        };
        Self {
            stores: harness.open().await,
            clock: Arc::new(ManualClock::new(Timestamp(1_700_000_100_000))),
            bus: Arc::new(MemoryBus::new()),
            config,
            seed: AtomicU64::new(1),
        }
    }

    pub(super) fn config(mut self, change: impl FnOnce(&mut DurableConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// A member of the only subscription, on these stores.
    pub(super) fn on(&self, stores: Stores) -> DurableBuilder {
        let name = SubscriptionName::new("bench").expect("a name");
        let seed = self.seed.fetch_add(1, Ordering::SeqCst);
        DurableSubscription::builder(name, stores.events, stores.views)
            .bus(Arc::clone(&self.bus))
            .clock(Arc::clone(&self.clock) as _)
            .ids(Arc::new(SeededIds::new(seed)))
            .config(self.config.clone())
    }

    pub(super) fn builder(&self) -> DurableBuilder {
        self.on(self.stores.clone())
    }

    /// As [`builder`](Self::builder), with the views behind something.
    pub(super) fn with_views(&self, views: Arc<dyn ViewStore>) -> DurableBuilder {
        self.on(Stores::new(Arc::clone(&self.stores.events), views))
    }

    pub(super) async fn handle(&self, handler: &Arc<Recorder>) -> DurableSubscription {
        self.builder().handle(Arc::clone(handler) as _).await.expect("a member")
    }

    pub(super) async fn project(&self, projection: &Arc<Counting>) -> DurableSubscription {
        self.builder().project(Arc::clone(projection) as _).await.expect("a member")
    }

    pub(super) fn operator(&self) -> Operator {
        self.builder().operator()
    }

    pub(super) async fn status(&self) -> SubscriptionStatus {
        self.operator().status().await.expect("a status")
    }

    /// A partition of the live generation.
    pub(super) async fn partition(&self, of: PartitionId) -> PartitionStatus {
        let status = self.status().await;
        let is_it = |at: &PartitionStatus| at.partition == of && at.generation == status.live;
        status.partitions.iter().find(|at| is_it(at)).cloned().expect("a partition")
    }

    pub(super) async fn partitions(&self) -> Vec<PartitionId> {
        partitions(&*self.stores.events).await
    }

    /// Writes the events of these numbers, each to its stream, and rings.
    pub(super) async fn write(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let to = stream(&format!("numbers/{}", number % STREAMS));
            write(&*self.stores.events, &to, Expected::Any, vec![event(number)]).await;
        }
        ring_log(&self.bus).await;
    }

    /// The partition of an event.
    pub(super) fn partition_of(&self, number: u64) -> PartitionId {
        self.stores.events.partition_of(&stream(&format!("numbers/{}", number % STREAMS)))
    }

    /// Waits until no task of a crashed member is left: what it had sent to the store may still
    /// arrive until then.
    pub(super) async fn gone<T>(&self, handler: &Arc<T>) {
        self.until("no task is left", async || Arc::strong_count(handler) == 1).await;
    }

    /// Leases run out, as far as they are not renewed.
    pub(super) fn pass_a_lease(&self) {
        self.clock.advance(LEASE + Duration::from_millis(1));
    }

    /// Waits until the live generation has taken or parked everything.
    pub(super) async fn settled(&self) {
        self.until("everything is taken", async || {
            let status = self.status().await;
            let mut live = status.partitions.iter().filter(|p| p.generation == status.live);
            live.all(|partition| partition.lag_events == 0)
        })
        .await;
    }

    /// Whether an operator is told that all is done, given a moment: for what must never be so.
    pub(super) async fn claims_to_be_done(&self) -> bool {
        let operator = self.operator();
        tokio::time::timeout(Duration::from_millis(50), operator.caught_up()).await.is_ok()
    }

    /// Waits for something to become true.
    pub(super) async fn until<F: Future<Output = bool>>(&self, what: &str, is: impl Fn() -> F) {
        let wait = async {
            while !is().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let status = self.operator().status().await;
            panic!("never so: {what}; the subscription is {status:?}");
        }
    }

    /// What the live views of a scope hold: how often each event was taken.
    pub(super) async fn counts(&self, of: &str) -> BTreeMap<u64, u8> {
        let live = self.builder().projected_views().live().await.expect("the live views");
        let mut counts = BTreeMap::new();
        for view in live.of_scope(&scope(of)).expect("views") {
            counts.extend(self.counts_in(&view).await);
        }
        counts
    }

    pub(super) async fn counts_in(&self, view: &ViewId) -> BTreeMap<u64, u8> {
        let views = &self.stores.views;
        let all = KeyRange::all();
        let page = views.scan(view, &all, Direction::Forward, ViewPage::MAX_ENTRIES).await;
        let entries = page.expect("a page").entries.into_iter();
        let counts = entries.filter_map(|(key, value)| {
            let number = key.as_str().strip_prefix("taken/")?.parse().ok()?;
            Some((number, value[0]))
        });
        counts.collect()
    }

    /// Checks that the live views have taken exactly these events, each once.
    pub(super) async fn assert_counted(&self, numbers: impl IntoIterator<Item = u64>) {
        let numbers: BTreeSet<_> = numbers.into_iter().collect();
        let once = |wanted: BTreeSet<u64>| -> BTreeMap<u64, u8> {
            wanted.into_iter().map(|number| (number, 1)).collect()
        };
        assert_eq!(self.counts(SHARED).await, once(numbers.clone()), "in the shared view");
        for of in 0..STREAMS {
            let own = numbers.iter().copied().filter(|number| number % STREAMS == of).collect();
            assert_eq!(self.counts(&format!("numbers/{of}")).await, once(own), "stream {of}");
        }
    }
}

/// Longer than anything takes on a slow machine with a slow database.
const PATIENCE: Duration = Duration::from_secs(120);
