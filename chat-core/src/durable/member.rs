//! What all tasks of one member share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::catalog::Catalog;
use super::config::{DurableConfig, OnNewEpoch};
use super::handler::{EventHandler, Projection};
use super::layout;
use super::lease::Holder;
use super::metrics::Counters;
use super::name::SubscriptionName;
use super::reader::Reader;
use crate::decorate::dice::Dice;
use crate::id::{Epoch, Topic, Version};
use crate::ports::{EventBus, Signal, SignalBody, StoreError, ViewStore};

/// What a host gave to be done with events.
#[derive(Debug, Clone)]
pub(super) enum Task {
    Projection(Arc<dyn Projection>),
    Effects(Arc<dyn EventHandler>),
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: SubscriptionName,
    pub(super) reader: Reader,
    pub(super) views: Arc<dyn ViewStore>,
    pub(super) bus: Option<Arc<dyn EventBus>>,
    pub(super) holder: Holder,
    pub(super) task: Task,
    pub(super) on_new_epoch: OnNewEpoch,
    pub(super) config: DurableConfig,
    pub(super) dice: Dice,
    pub(super) counters: Counters,
    /// What the last look at the store and at the catalog found.
    pub(super) seen: watch::Sender<Seen>,
    /// Counts rings of the source.
    pub(super) source_rung: watch::Sender<u64>,
    /// Counts rings of operators and other members.
    pub(super) orders_rung: watch::Sender<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) epoch: Epoch,
    pub(super) catalog: Arc<Catalog>,
}

impl Member {
    /// The wait after this many failures in a row.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let doubled =
            self.config.first_wait.saturating_mul(1 << failures.saturating_sub(1).min(30));
        let most = doubled.min(self.config.longest_wait);
        self.dice.between(most / 2, most)
    }

    /// The wait after so many failures of the store in a row. A store that comes back is found
    /// soon.
    pub(super) fn store_wait(&self, failures: u32) -> Duration {
        self.backoff(failures).min(LONGEST_STORE_WAIT).min(self.config.lease / 4)
    }

    /// The source has something new: the partitions look.
    pub(super) fn wake(&self) {
        ring_once(&self.source_rung);
    }

    /// Something else has changed: everybody looks.
    pub(super) fn wake_all(&self) {
        ring_once(&self.orders_rung);
    }

    /// A partition has found the store to be another incarnation.
    pub(super) fn notice(&self, epoch: Epoch) {
        self.seen.send_modify(|seen| seen.epoch = epoch);
        self.wake_all();
    }

    /// Wakes the other members: partitions are free, or are to be shared anew.
    pub(super) async fn tell_others(&self) {
        if let Ok(topic) = layout::topic(&self.name) {
            ring(self.bus.as_ref(), topic).await;
        }
    }

    /// A panic's message may hold anything, so it is not told.
    pub(super) fn note_panic(&self, what: &'static str) {
        Counters::add(&self.counters.panics, 1);
        let subscription = self.name.as_str();
        tracing::error!(subscription, what, "a panic; beginning anew");
    }

    pub(super) fn note_failure(&self, error: &StoreError, what: &'static str) {
        Counters::add(&self.counters.failures, 1);
        let subscription = self.name.as_str();
        tracing::debug!(subscription, %error, what, "the store failed; trying again");
    }
}

const LONGEST_STORE_WAIT: Duration = Duration::from_secs(2);

fn ring_once(bell: &watch::Sender<u64>) {
    bell.send_modify(|rings| *rings = rings.wrapping_add(1));
}

/// Rings a topic; a lost ring is made up for by timers.
pub(super) async fn ring(bus: Option<&Arc<dyn EventBus>>, topic: Topic) {
    let Some(bus) = bus else { return };
    let signal = Signal { topic, body: SignalBody::Ring(Version::ZERO) };
    if let Err(error) = bus.publish(&[signal]).await {
        tracing::debug!(%error, "the bus did not take a ring; others find out by their timers");
    }
}
