//! Which ids were seen, and which are still to come: a transaction that took its id earlier may be
//! seen later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The place of a reader in the table.
#[derive(Debug)]
pub(super) struct Window {
    last: u64,
    /// Ids below the last that were not seen, and since when they are missed.
    missing: BTreeMap<u64, Instant>,
    /// An id was given up that somebody may still have written.
    gave_up: bool,
}

impl Window {
    /// Behind an id.
    pub(super) fn behind(last: u64) -> Self {
        Self { last, missing: BTreeMap::new(), gave_up: false }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Takes an id that was seen; `false` if it was seen before.
    pub(super) fn see(&mut self, id: u64, now: Instant) -> bool {
        if id <= self.last {
            return self.missing.remove(&id).is_some();
        }
        let from = (self.last + 1).max(id.saturating_sub(MOST_MISSING));
        self.gave_up |= from > self.last + 1;
        self.missing.extend((from..id).map(|missing| (missing, now)));
        while self.missing.len() > MOST_MISSING_AT_ALL {
            self.gave_up |= self.missing.pop_first().is_some();
        }
        self.last = id;
        true
    }

    /// Ids that may come still. Those that were missed for long most likely belong to nobody: their
    /// transactions were rolled back.
    pub(super) fn missing(&mut self, now: Instant) -> Vec<u64> {
        let before = self.missing.len();
        self.missing.retain(|_, since| now.saturating_duration_since(*since) < PATIENCE);
        self.gave_up |= self.missing.len() < before;
        self.missing.keys().copied().collect()
    }

    /// Whether ids were given up since this was asked last; subscribers are told.
    pub(super) fn take_gave_up(&mut self) -> bool {
        std::mem::take(&mut self.gave_up)
    }
}

/// As many as one transaction adds at once.
const MOST_MISSING: u64 = 1_000;
const MOST_MISSING_AT_ALL: usize = 4_096;
/// Longer than a transaction takes that adds signals, as a rule.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_taken_once_in_whatever_order() {
        let now = Instant::now();
        let mut window = Window::behind(10);
        let ids = [11, 14, 12, 12, 13, 14, 9, 15];
        let taken = ids.map(|id| window.see(id, now));
        assert_eq!(taken, [true, true, true, false, true, false, false, true]);
        assert_eq!((window.last(), window.missing(now)), (15, vec![]));
    }

    #[test]
    fn what_does_not_come_is_given_up() {
        let now = Instant::now();
        let mut window = Window::behind(0);
        assert!(window.see(3, now));
        assert_eq!(window.missing(now), [1, 2]);
        assert!(!window.take_gave_up());
        assert_eq!(window.missing(now + PATIENCE), [0; 0]);
        assert!(window.take_gave_up());
        assert!(!window.see(2, now + PATIENCE));
        assert!(!window.take_gave_up());
        assert!(window.see(1_000_000, now));
        assert_eq!(window.missing(now).len(), 1_000);
        assert!(window.take_gave_up());
    }
}
