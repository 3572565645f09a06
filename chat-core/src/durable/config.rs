//! What a subscription reads, where it begins, and its knobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{PartitionId, Position, StreamId};
use crate::ports::PageLimit;

/// What a subscription reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Every event of the store, by partition. Positions are those of the partition's log.
    Log,
    /// One stream. It counts as one partition, the first; positions are the stream's versions.
    Stream(StreamId),
}

/// Where a subscription begins when nobody has started it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the first event.
    Beginning,
    /// With the first event after this moment.
    Now,
    /// After these positions; partitions that are not named begin with their first event.
    After(Vec<(PartitionId, Position)>),
}

/// What happens when the store comes back as another incarnation, so that positions mean nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnNewEpoch {
    /// The subscription stops ([`Halt::NewEpoch`](super::Halt::NewEpoch)) until an operator
    /// restarts it. The default.
    Stop,
    /// It starts again from here. A projection is rebuilt beside the old one.
    Restart(Start),
}

/// How much a subscription takes at once, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DurableConfig {
    /// Most events in one batch. Default 256.
    pub batch_events: usize,
    /// A batch ends with the event that reaches this many bytes. Default 1 MiB.
    pub batch_bytes: usize,
    /// An effect handler's place is saved after this many events, and whenever it has caught up.
    /// So many may be delivered again after a crash. Default 32.
    pub save_every: usize,
    /// How often the source and the leases are looked at without being rung; at most a quarter of
    /// a lease, which is renewed by that. Default 500 ms.
    pub poll_interval: Duration,
    /// How long a member holds a partition without a sign of life, by the injected clock; at most a
    /// day. Default 15 s.
    pub lease: Duration,
    /// How often a handler gets an event before it is parked. Default 8.
    pub max_attempts: u32,
    /// The wait before the second attempt; each further one is twice as long, each is drawn from
    /// between its half and its whole. Default 100 ms.
    pub first_wait: Duration,
    /// No wait is longer, unless the handler asks for it. Default 30 s.
    pub longest_wait: Duration,
    /// A handler that takes longer for one call is dropped, which counts as a failed attempt.
    /// Default 60 s.
    pub handler_timeout: Duration,
    /// Most parked events in one partition; one more stops the partition. Default 1,000.
    pub max_parked: u32,
}

impl Default for DurableConfig {
    fn default() -> Self {
        Self {
            batch_events: 256,
            batch_bytes: 1 << 20,
            save_every: 32,
            poll_interval: Duration::from_millis(500),
            lease: Duration::from_secs(15),
            max_attempts: 8,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(30),
            handler_timeout: Duration::from_secs(60),
            max_parked: 1_000,
        }
    }
}

impl DurableConfig {
    /// Zero would mean to work without a pause, or to take nothing; too much, to lose what is held
    /// in one's sleep, or to overflow a sum of times.
    pub(super) fn bounded(mut self) -> Self {
        self.batch_events = self.batch_events.clamp(1, PageLimit::MAX_EVENTS);
        self.save_every = self.save_every.max(1);
        self.batch_bytes = self.batch_bytes.max(1);
        self.lease = self.lease.clamp(4 * INSTANT, DAY);
        self.poll_interval = self.poll_interval.clamp(INSTANT, self.lease / 4);
        self.first_wait = self.first_wait.clamp(INSTANT, DAY);
        self.longest_wait = self.longest_wait.clamp(INSTANT, DAY);
        self.handler_timeout = self.handler_timeout.clamp(INSTANT, DAY);
        self.max_attempts = self.max_attempts.max(1);
        self
    }
}

const INSTANT: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_for_is_brought_into_bounds() {
        let of = |time, count| DurableConfig {
            batch_events: count,
            batch_bytes: count,
            save_every: count,
            poll_interval: time,
            lease: time,
            max_attempts: u32::try_from(count.min(9)).unwrap(),
            first_wait: time,
            longest_wait: time,
            handler_timeout: time,
            max_parked: 0,
        };
        for wanted in [of(Duration::ZERO, 0), of(Duration::MAX, usize::MAX)] {
            let config = wanted.bounded();
            assert!((1..=PageLimit::MAX_EVENTS).contains(&config.batch_events), "{config:?}");
            assert!(config.batch_bytes > 0 && config.save_every > 0 && config.max_attempts > 0);
            assert!(config.poll_interval <= config.lease / 4 && config.lease <= DAY, "{config:?}");
            for time in [
                config.poll_interval,
                config.first_wait,
                config.longest_wait,
                config.handler_timeout,
            ] {
                assert!((INSTANT..=DAY).contains(&time), "{config:?}");
            }
        }
        let usual = DurableConfig::default();
        assert_eq!(usual.clone().bounded(), usual);
    }
}
