//! Reads new signals again and again while somebody is subscribed.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chat_core::ports::{Signal, StoreError};

use super::SignalTable;
use super::bus::Shared;
use super::retention::LIFE;
use super::window::Window;

/// Reads until nobody is subscribed any more or the bus is gone.
pub(super) async fn run(bus: Weak<Shared>, mut window: Window) {
    let mut looked = Instant::now();
    let mut lost = false;
    let (mut told, mut gave_up) = (Instant::now(), false);
    let mut idle = 0_u32;
    loop {
        let Some(shared) = bus.upgrade() else { return };
        if shared.topics.is_empty() && shared.end_polling().await {
            return;
        }
        // A process that slept for longer than signals live has missed some.
        lost |= looked.elapsed() > LIFE / 2;
        let began = Instant::now();
        if lost {
            begin_again(&*shared.table, &mut window).await;
        }
        let found = look(&*shared.table, &mut window).await;
        looked = began;
        let interval = match &found {
            Ok(signals) => {
                idle = if signals.is_empty() { idle.saturating_add(1) } else { 0 };
                let calm = if idle > CALM_AFTER { 2 } else { 1 };
                shared.table.interval() * calm
            }
            Err(_) => AFTER_ERROR.max(shared.table.interval()),
        };
        let more = found.as_ref().is_ok_and(|signals| signals.len() >= AT_ONCE);
        match found {
            Ok(signals) => {
                gave_up |= window.take_gave_up();
                // Ids that are never used may be given up all the time, so not at each look.
                let told_of = gave_up && told.elapsed() > LEAST_BETWEEN;
                if std::mem::take(&mut lost) || told_of {
                    shared.topics.missed();
                    (told, gave_up) = (Instant::now(), false);
                }
                shared.topics.send(signals.into_iter());
                shared.prune(window.last()).await;
            }
            // Signals may be lost until the table can be read again; everybody is told then.
            Err(_) => lost = true,
        }
        // The bus must not be kept alive by its own poller.
        drop(shared);
        if !more {
            tokio::time::sleep(interval).await;
        }
    }
}

/// After an error it may be another server that answers, or an earlier state of the same one, whose
/// ids are behind those that were seen.
async fn begin_again(table: &dyn SignalTable, window: &mut Window) {
    if let Ok(last) = table.last().await
        && last < window.last()
    {
        *window = Window::behind(last);
    }
}

/// New signals, each once.
async fn look(table: &dyn SignalTable, window: &mut Window) -> Result<Vec<Signal>, StoreError> {
    let missing = window.missing(Instant::now());
    let mut found = Vec::new();
    if !missing.is_empty() {
        found = table.among(&missing).await?;
    }
    found.extend(table.after(window.last(), AT_ONCE).await?);
    let now = Instant::now();
    let fresh = found.into_iter().filter(|(id, _)| window.see(*id, now));
    Ok(fresh.map(|(_, signal)| signal).collect())
}

impl Shared {
    /// Removes old signals, now and then.
    pub(super) async fn prune(self: &Arc<Self>, last: u64) {
        if let Some(old) = self.retention.note(last, Instant::now()) {
            // Whoever comes next removes what this one could not.
            drop(self.table.prune(old).await);
        }
    }
}

const AT_ONCE: usize = 1_000;
const CALM_AFTER: u32 = 500;
const LEAST_BETWEEN: Duration = Duration::from_secs(2);
const AFTER_ERROR: Duration = Duration::from_millis(100);
