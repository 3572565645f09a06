//! Faults on purpose, from one seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::dice::Dice;
use crate::ports::Signal;

/// What goes wrong, and how often: rates are probabilities from 0 to 1, decided for each call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultPlan {
    /// What all decisions follow from, as far as calls come in the same order.
    pub seed: u64,
    /// Fails with "unavailable" before anything happened.
    pub before: f64,
    /// Does everything, then loses the answer. A write says that its outcome is unknown.
    pub lost: f64,
    /// Does the first few appends or batches of a call, then breaks off; all outcomes are unknown.
    pub cut: f64,
    /// Waits, up to [`longest_delay`](Self::longest_delay), before a store does anything.
    pub delay: f64,
    /// The longest wait of a store or of a delayed signal.
    pub longest_delay: Duration,
    /// Loses a signal.
    pub bus_drop: f64,
    /// Sends a signal twice.
    pub bus_double: f64,
    /// Sends a signal after the one behind it; it stays away if none comes.
    pub bus_reorder: f64,
    /// Sends a signal later, while the publisher goes on.
    pub bus_delay: f64,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none(seed: u64) -> Self {
        Self {
            seed,
            before: 0.0,
            lost: 0.0,
            cut: 0.0,
            delay: 0.0,
            longest_delay: Duration::from_millis(2),
            bus_drop: 0.0,
            bus_double: 0.0,
            bus_reorder: 0.0,
            bus_delay: 0.0,
        }
    }

    /// Everything goes wrong, each with this probability.
    #[must_use]
    pub fn all(seed: u64, rate: f64) -> Self {
        Self {
            before: rate,
            lost: rate,
            cut: rate,
            delay: rate,
            bus_drop: rate,
            bus_double: rate,
            bus_reorder: rate,
            bus_delay: rate,
            ..Self::none(seed)
        }
    }
}

/// How many faults there have been, by the names of [`FaultPlan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is documented under its name in FaultPlan")]
pub struct FaultCounts {
    pub before: u64,
    pub lost: u64,
    pub cut: u64,
    pub delay: u64,
    pub bus_drop: u64,
    pub bus_double: u64,
    pub bus_reorder: u64,
    pub bus_delay: u64,
}

impl FaultCounts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let store = self.before + self.lost + self.cut + self.delay;
        store + self.bus_drop + self.bus_double + self.bus_reorder + self.bus_delay
    }
}

/// The source of faults: one plan, one seed, for any number of wrapped ports. A clone is a second
/// handle on the same source.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Source>);

#[derive(Debug)]
struct Source {
    plan: FaultPlan,
    dice: Dice,
    active: AtomicBool,
    counts: [AtomicU64; 8],
}

impl Faults {
    /// A source that follows a plan, switched on.
    #[must_use]
    pub fn new(plan: FaultPlan) -> Self {
        let dice = Dice::new(plan.seed);
        let counts = Default::default();
        Self(Arc::new(Source { plan, dice, active: AtomicBool::new(true), counts }))
    }

    /// Switches the faults on or off.
    pub fn set_active(&self, active: bool) {
        self.0.active.store(active, Ordering::SeqCst);
    }

    /// Which faults there were.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        let [before, lost, cut, delay, bus_drop, bus_double, bus_reorder, bus_delay] =
            [0, 1, 2, 3, 4, 5, 6, 7].map(|index: usize| {
                self.0.counts.get(index).map_or(0, |count| count.load(Ordering::SeqCst))
            });
        FaultCounts { before, lost, cut, delay, bus_drop, bus_double, bus_reorder, bus_delay }
    }

    /// Decides whether a fault happens now, and counts it.
    pub(super) fn strikes(&self, fault: Fault) -> bool {
        let plan = &self.0.plan;
        let rate = match fault {
            Fault::Before => plan.before,
            Fault::Lost => plan.lost,
            Fault::Cut => plan.cut,
            Fault::Delay => plan.delay,
            Fault::BusDrop => plan.bus_drop,
            Fault::BusDouble => plan.bus_double,
            Fault::BusReorder => plan.bus_reorder,
            Fault::BusDelay => plan.bus_delay,
        };
        let strikes = self.0.active.load(Ordering::SeqCst) && self.0.dice.happens(rate);
        if strikes && let Some(count) = self.0.counts.get(fault as usize) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        strikes
    }

    pub(super) fn delay(&self) -> Duration {
        self.0.dice.between(Duration::ZERO, self.0.plan.longest_delay)
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        self.0.dice.below(bound)
    }

    pub(super) async fn pause(&self) {
        if self.strikes(Fault::Delay) {
            tokio::time::sleep(self.delay()).await;
        }
    }
}

/// In the order of [`FaultCounts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Before,
    Lost,
    Cut,
    Delay,
    BusDrop,
    BusDouble,
    BusReorder,
    BusDelay,
}

/// A store or bus with faults. Each call to a store is hit as one transaction would be: an append
/// never fails while a later one of the same call succeeds.
#[derive(Debug)]
pub struct Faulty<T: ?Sized> {
    pub(super) faults: Faults,
    /// A signal that waits for the one behind it.
    pub(super) held: std::sync::Mutex<Option<Signal>>,
    /// How many more signals may be on their way at once; above that, a delay is a loss.
    pub(super) late: Arc<Semaphore>,
    pub(super) inner: Arc<T>,
}

impl<T: ?Sized> Faulty<T> {
    const MOST_LATE: usize = 1_024;

    /// Wraps a port.
    #[must_use]
    pub fn new(inner: Arc<T>, faults: Faults) -> Self {
        let late = Arc::new(Semaphore::new(Self::MOST_LATE));
        Self { faults, held: std::sync::Mutex::new(None), late, inner }
    }

    /// The source of the faults, to count them or to switch them off.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }
}
