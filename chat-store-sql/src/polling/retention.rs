//! When signals are old enough to be removed. Whoever writes or reads signals knows some of their
//! ids and when it met them, so the table needs no times of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Ids that were the greatest at some time.
#[derive(Debug, Default)]
pub(super) struct Retention {
    met: Mutex<VecDeque<(Instant, u64)>>,
}

impl Retention {
    /// Takes note of an id; says up to which id signals can go now, about once in a while.
    pub(super) fn note(&self, id: u64, now: Instant) -> Option<u64> {
        // Every change of the queue is whole before anything can panic.
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at);
        if met.back().is_some_and(|last| due(last) < ROUND) {
            return None;
        }
        met.push_back((now, id));
        let mut old = None;
        while met.front().is_some_and(|first| due(first) >= LIFE) {
            old = met.pop_front().map(|(_, id)| id);
        }
        old
    }
}

/// How long a signal stays, at least. A process that sleeps for longer has missed something.
pub(super) const LIFE: Duration = Duration::from_secs(60);
const ROUND: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_when_they_are_a_minute_old() {
        let retention = Retention::default();
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        assert_eq!(retention.note(1, second(0)), None);
        assert_eq!(retention.note(2, second(1)), None);
        assert_eq!(retention.note(7, second(6)), None);
        assert_eq!(retention.note(9, second(61)), Some(1));
        assert_eq!(retention.note(9, second(62)), None);
        assert_eq!(retention.note(9, second(200)), Some(9));
    }
}
