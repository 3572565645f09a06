//! What a member counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::name::{Generation, ShardId};
use super::state::Halt;
use crate::clock::Timestamp;
use crate::id::{PartitionId, Position};

/// What this member has counted since it was started, and the partitions that it holds now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DurableMetrics {
    /// Events that were taken.
    pub delivered: u64,
    /// Attempts that failed and were made again.
    pub retried: u64,
    /// Events that were parked.
    pub parked: u64,
    /// Parked events that the handler took when they were driven again.
    pub driven: u64,
    /// Leases taken.
    pub leases_taken: u64,
    /// Leases that another took or an operator revoked.
    pub leases_lost: u64,
    /// Leases given back.
    pub leases_released: u64,
    /// Times that the store or the views failed and the work was done again.
    pub store_failures: u64,
    /// Times that an adapter panicked, and a partition or the look at the members began anew.
    pub panics: u64,
    /// The partitions held by this member.
    pub partitions: Vec<PartitionLag>,
}

/// How far a partition is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionLag {
    /// The generation.
    pub generation: Generation,
    /// The partition.
    pub partition: PartitionId,
    /// Everything up to here is done or parked.
    pub position: Position,
    /// Events that wait. Exact for a stream; for the log at most so many, as numbers may be
    /// missing there. Zero at the end of the source.
    pub events: u64,
    /// The age of the oldest event that waits, by the clock of whoever wrote it.
    pub time: Duration,
    /// Why it stands still, if it does. Then the lag is what was known before.
    pub halt: Option<Halt>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) delivered: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) parked: AtomicU64,
    pub(super) driven: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) released: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) panics: AtomicU64,
    gauges: Mutex<BTreeMap<ShardId, Gauge>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Gauge {
    pub(super) position: u64,
    pub(super) head: u64,
    /// When the oldest waiting event was recorded.
    pub(super) oldest: Option<Timestamp>,
    pub(super) halt: Option<Halt>,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn gauge(&self, id: ShardId, gauge: Option<Gauge>) {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        match gauge {
            Some(gauge) => drop(gauges.insert(id, gauge)),
            None => drop(gauges.remove(&id)),
        }
    }

    pub(super) fn shown(&self, now: Timestamp) -> DurableMetrics {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = gauges.iter().map(|(id, gauge)| PartitionLag {
            generation: id.generation,
            partition: id.partition,
            position: Position(gauge.position),
            events: gauge.head.saturating_sub(gauge.position),
            time: gauge.oldest.map_or(Duration::ZERO, |oldest| {
                Duration::from_millis(now.0.saturating_sub(oldest.0))
            }),
            halt: gauge.halt.clone(),
        });
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DurableMetrics {
            delivered: load(&self.delivered),
            retried: load(&self.retried),
            parked: load(&self.parked),
            driven: load(&self.driven),
            leases_taken: load(&self.taken),
            leases_lost: load(&self.lost),
            leases_released: load(&self.released),
            store_failures: load(&self.failures),
            panics: load(&self.panics),
            partitions: partitions.collect(),
        }
    }
}
