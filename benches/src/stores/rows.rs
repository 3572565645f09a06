//! What plain programs write: rows numbered as a store numbers them, for streams in turn.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

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

/// How many a second.
pub(super) fn rate(written: usize, start: Instant) -> f64 {
    written as f64 / start.elapsed().as_secs_f64()
}

/// Whether to go on: at least once, and until the time is over.
pub(super) fn goes_on(written: usize, start: Instant, time: Duration) -> bool {
    written == 0 || start.elapsed() < time
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
}
