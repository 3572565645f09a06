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

/// Time on a processor that this process and all its descendants have had, the servers that it
/// started and those that have ended included.
pub(crate) fn family_cpu_time() -> Result<Duration> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").context("list /proc")? {
        // A process may end while this looks.
        let Ok(text) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        all.extend(Process::parse(&text));
    }
    let mut family = vec![std::process::id()];
    let mut ticks: u64 = 0;
    while let Some(id) = family.pop() {
        family.extend(all.iter().filter(|process| process.parent == id).map(|process| process.id));
        let own = all.iter().find(|process| process.id == id);
        ticks += own.map_or(0, |process| process.ticks);
    }
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// What the kernel says of a process.
#[derive(Debug, PartialEq)]
struct Process {
    id: u32,
    parent: u32,
    /// Of its own and of its children that have ended, in programs and in the kernel.
    ticks: u64,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        let (id, rest) = stat.split_once(' ')?;
        // The name stands in brackets and may hold anything.
        let fields: Vec<_> = rest.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks =
            fields.get(11..15)?.iter().map(|tick| tick.parse::<u64>().ok()).sum::<Option<_>>()?;
        Some(Self { id: id.parse().ok()?, parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

/// The clock that all processes of this machine share, in nanoseconds.
pub(crate) fn shared_clock() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |value| u64::try_from(value).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Bytes of memory that this process holds.
pub(crate) fn resident_bytes() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("read /proc/self/statm")?;
    let pages = text.split(' ').nth(1).context("/proc/self/statm has no second field")?;
    Ok(pages.parse::<f64>()? * rustix::param::page_size() as f64)
}

/// For how long work of this length goes on before it counts: the first statements of a connection
/// are prepared, the first pages of a table made.
pub(crate) fn warm_up(time: Duration) -> Duration {
    time / 2
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
    fn process_is_read_whatever_its_name_is() {
        let stat = "7 (a b) c) S 3 1 1 0 -1 0 1 2 3 4 10 20 30 40 20 0 1 0 5";
        assert_eq!(Process::parse(stat), Some(Process { id: 7, parent: 3, ticks: 100 }));
        assert_eq!(Process::parse("7 (a) S 3"), None);
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
