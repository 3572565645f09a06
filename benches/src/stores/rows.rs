//! What plain programs write: rows numbered as a store numbers them, for streams in turn.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::measure::warm_up;

/// The next version of each stream of a range, the streams in turn.
#[derive(Debug)]
pub(super) struct Turns {
    streams: Range<usize>,
    versions: Vec<i64>,
    pub(super) taken: usize,
}

impl Turns {
    pub(super) fn new(streams: Range<usize>) -> Self {
        let versions = vec![0; streams.len()];
        Self { streams, versions, taken: 0 }
    }

    /// A part of the streams for one of several writers.
    pub(super) fn part(streams: usize, writer: usize, writers: usize) -> Self {
        let each = streams / writers;
        Self::new(writer * each..(writer + 1) * each)
    }

    /// A stream's number and its next version.
    pub(super) fn take(&mut self) -> Result<(usize, i64)> {
        let at = self.taken % self.streams.len();
        let version = self.versions.get_mut(at).context("no such stream")?;
        *version += 1;
        self.taken += 1;
        Ok((self.streams.start + at, *version))
    }
}

/// When the work of a plain program begins to count, and when it ends.
#[derive(Debug)]
pub(super) struct Pace {
    /// From here on it counts.
    start: Instant,
    time: Duration,
    /// What was written before it counted.
    before: Option<usize>,
    alone: bool,
}

impl Pace {
    /// Of the only writer: the time runs from the end of a piece of work to the end of another.
    pub(super) fn alone(time: Duration) -> Self {
        Self { start: Instant::now() + warm_up(time), time, before: None, alone: true }
    }

    /// Of one of several writers who begin now: the time is the same for all, so that one who had to
    /// wait for the others does not make up for it when they have ended.
    pub(super) fn beside_others(time: Duration) -> Self {
        Self { alone: false, ..Self::alone(time) }
    }

    /// Whether to go on: until it is warm, then at least once, then until the time is over.
    pub(super) fn goes_on(&mut self, written: usize) -> bool {
        let now = Instant::now();
        if now < self.start {
            // Several writers count, as the store does, what is done from that moment on.
            self.before = Some(written).filter(|_| !self.alone);
            return true;
        }
        let before = *self.before.get_or_insert_with(|| {
            if self.alone {
                self.start = now;
            }
            written
        });
        written == before || now < self.start + self.time
    }

    /// How many a second, of those that counted.
    pub(super) fn rate(&self, written: usize) -> f64 {
        let counted = written.saturating_sub(self.before.unwrap_or(written));
        counted as f64 / self.start.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_each_stream_are_dense() {
        let mut turns = Turns::part(4, 1, 2);
        let taken: Vec<_> = (0..4).map(|_| turns.take().unwrap()).collect();
        assert_eq!(taken, [(2, 1), (3, 1), (2, 2), (3, 2)]);
    }

    #[test]
    fn what_warms_up_does_not_count() {
        for mut pace in [Pace::alone(Duration::ZERO), Pace::beside_others(Duration::ZERO)] {
            assert!(pace.goes_on(500), "at least one piece counts");
            assert!(!pace.goes_on(501));
            let most = 1.0 / pace.start.elapsed().as_secs_f64();
            assert!(pace.rate(500) == 0.0 && pace.rate(501) > 0.0 && pace.rate(501) <= most);
        }
        let mut pace = Pace::alone(Duration::from_secs(3_600));
        assert!(pace.goes_on(7));
        assert_eq!(pace.before, None);
        let mut pace = Pace::beside_others(Duration::from_secs(3_600));
        assert!(pace.goes_on(7));
        assert_eq!(pace.before, Some(7));
    }
}
