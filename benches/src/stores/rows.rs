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

/// When a plain program begins to count, and when it ends.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    time: Duration,
    /// When the counting began, and what was written before it.
    counting: Option<(Instant, usize)>,
}

impl Pace {
    pub(super) fn new(time: Duration) -> Self {
        Self { began: Instant::now(), time, counting: None }
    }

    /// Whether to go on: until it is warm, then at least once, then until the time is over.
    pub(super) fn goes_on(&mut self, written: usize) -> bool {
        let Some((start, before)) = self.counting else {
            if written > 0 && self.began.elapsed() >= warm_up(self.time) {
                self.counting = Some((Instant::now(), written));
            }
            return true;
        };
        written == before || start.elapsed() < self.time
    }

    /// How many a second, of those that counted.
    pub(super) fn rate(&self, written: usize) -> f64 {
        let (start, before) = self.counting.unwrap_or((self.began, 0));
        written.saturating_sub(before) as f64 / start.elapsed().as_secs_f64()
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
        let mut pace = Pace::new(Duration::ZERO);
        assert!(pace.goes_on(0));
        assert!(pace.goes_on(500));
        assert!(pace.goes_on(500));
        assert!(!pace.goes_on(501));
        let (start, before) = pace.counting.unwrap();
        assert_eq!(before, 500);
        let rate = pace.rate(501);
        assert!(rate > 0.0 && rate * start.elapsed().as_secs_f64() >= 1.0, "{rate}");
    }
}
