//! How much of the machine others use while something is measured, and waiting until it is little.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::measure::{family_cpu_time, median};

/// Watches the other processes on this machine.
#[derive(Debug)]
pub(crate) struct Quiet {
    /// How long it may still be waited for quiet, in all.
    patience: Cell<Duration>,
    /// The part of the processors that others had during each measurement since the last look.
    others: RefCell<Vec<f64>>,
}

impl Quiet {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience: Cell::new(patience), others: RefCell::default() }
    }

    /// Measures something; once more if others disturbed it, as long as there is patience left.
    pub(crate) async fn measure<T, F>(&self, mut run: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            self.wait().await?;
            let before = Look::now()?;
            let value = run().await?;
            let part = before.others()?;
            if part <= QUIET || self.patience.get().is_zero() {
                self.others.borrow_mut().push(part);
                return Ok(value);
            }
            self.spend(before.at.elapsed());
        }
    }

    /// Waits until the others are quiet or the patience is used up.
    async fn wait(&self) -> Result<()> {
        while !self.patience.get().is_zero() {
            let before = Look::now()?;
            tokio::time::sleep(LOOK).await;
            if before.others()? <= QUIET {
                break;
            }
            self.spend(before.at.elapsed());
        }
        Ok(())
    }

    fn spend(&self, time: Duration) {
        self.patience.set(self.patience.get().saturating_sub(time));
    }

    /// Says how much others had since this was asked last.
    pub(crate) fn say(&self) -> String {
        let others = self.others.take();
        let most = others.iter().copied().fold(0.0, f64::max);
        format!(
            "Meanwhile other programs had {:.0} % of the processors, {:.0} % at most.",
            median(&others) * 100.0,
            most * 100.0
        )
    }
}

/// The counters at one moment.
#[derive(Debug)]
struct Look {
    at: Instant,
    busy: Duration,
    own: Duration,
}

impl Look {
    fn now() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let busy = busy_ticks(&text).context("/proc/stat has no line of all processors")?;
        Ok(Self { at: Instant::now(), busy: TICK * busy, own: family_cpu_time()? })
    }

    /// The part of all processors that others have had since.
    fn others(&self) -> Result<f64> {
        let now = Self::now()?;
        let busy = now.busy.saturating_sub(self.busy);
        let others = busy.saturating_sub(now.own.saturating_sub(self.own));
        let cores = std::thread::available_parallelism()?.get() as f64;
        let time = (now.at - self.at).as_secs_f64() * cores;
        Ok(if time > 0.0 { (others.as_secs_f64() / time).min(1.0) } else { 0.0 })
    }
}

/// Ticks in which a processor did something: user, nice, system, interrupts, and what another guest
/// of the same host took.
fn busy_ticks(stat: &str) -> Option<u32> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
    let idle: u64 = ticks.get(3..5)?.iter().sum();
    let all: u64 = ticks.get(..8)?.iter().sum();
    // Differences are all that counts, so that the beginning may be cut off.
    u32::try_from((all - idle) & u64::from(u32::MAX)).ok()
}

/// The kernel counts in hundredths of a second for every program.
const TICK: Duration = Duration::from_millis(10);
/// Others may have this part without being a disturbance.
const QUIET: f64 = 0.10;
const LOOK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(busy_ticks(stat), Some(100 + 20 + 30 + 6 + 7 + 8));
        assert_eq!(busy_ticks("intr 1"), None);
        assert_eq!(busy_ticks("cpu  1 2 3"), None);
    }

    #[tokio::test]
    async fn without_patience_everything_is_measured_once() {
        let quiet = Quiet::new(Duration::ZERO);
        let runs = Cell::new(0);
        let run = || {
            runs.set(runs.get() + 1);
            std::future::ready(Ok(runs.get()))
        };
        assert_eq!(quiet.measure(run).await.unwrap(), 1);
        assert!(quiet.say().starts_with("Meanwhile other programs had "));
        assert!(quiet.others.borrow().is_empty());
    }
}
