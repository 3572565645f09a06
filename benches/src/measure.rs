//! What is read off the process and the clock, and how it is summed up.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

/// One figure, measured once in each round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figure {
    pub(crate) samples: Vec<f64>,
}

impl Figure {
    pub(crate) fn median(&self) -> f64 {
        median(&self.samples)
    }

    pub(crate) fn low(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn high(&self) -> f64 {
        self.samples.iter().copied().fold(0.0, f64::max)
    }

    /// This beside another, round by round: what slows a whole round down slows both.
    pub(crate) fn over(&self, other: &Self) -> Self {
        let pairs = self.samples.iter().zip(&other.samples);
        Self { samples: pairs.map(|(own, other)| own / other).collect() }
    }
}

/// The value in the middle; of an even number of values, between the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    f64::midpoint(at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2))
}

/// The value that this part of the values does not exceed; zero if there are none.
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Time on a processor that all threads of this process have had, by the kernel's own count.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes of memory that this process holds.
pub(crate) fn resident_bytes() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("read /proc/self/statm")?;
    let pages = text.split(' ').nth(1).context("/proc/self/statm has no second field")?;
    Ok(pages.parse::<f64>()? * rustix::param::page_size() as f64)
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(samples: &[f64]) -> Figure {
        Figure { samples: samples.to_vec() }
    }

    #[test]
    fn middle_of_an_even_number_lies_between_the_two() {
        assert_eq!(figure(&[4.0, 1.0, 2.0, 9.0]).median(), 3.0);
        assert_eq!(figure(&[4.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(figure(&[]).median(), 0.0);
    }

    #[test]
    fn spread_is_the_least_and_the_greatest() {
        let figure = figure(&[4.0, 1.0, 2.0]);
        assert_eq!((figure.low(), figure.high()), (1.0, 4.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = figure(&[1.0, 20.0, 3.0]).over(&figure(&[2.0, 40.0, 2.0]));
        assert_eq!(ratio.samples, [0.5, 0.5, 1.5]);
    }

    #[test]
    fn ninety_ninth_of_a_hundred_is_the_last_but_one() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&[], 0.99), 0.0);
    }

    #[test]
    fn work_takes_processor_time() {
        let before = cpu_time();
        while cpu_time() == before {
            std::hint::black_box(median(&[1.0; 1_000]));
        }
        assert!(resident_bytes().unwrap() > 100_000.0);
    }
}
