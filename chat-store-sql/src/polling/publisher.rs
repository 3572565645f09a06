//! Adds signals to the table: those that come while others are being added go together.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chat_core::ports::{BusError, Signal, SignalBody, StoreError};
use tokio::sync::oneshot;

use super::SignalTable;

/// What waits to be added.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever adds.
    adding: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    signals: Vec<Signal>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

impl Publisher {
    /// Adds signals; says the last id if this caller did the work. Dropped in the middle of it, the
    /// signals of the others who wait may be lost, which they are told.
    pub(super) async fn publish(
        &self,
        table: &dyn SignalTable,
        signals: &[Signal],
    ) -> Result<Option<u64>, StoreError> {
        let (answer, mut answered) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.len() >= MOST_WAITING {
                // Those whose callers have gone only take up room.
                waiting.retain(|waiting| !waiting.answer.is_closed());
            }
            if waiting.len() >= MOST_WAITING {
                let what = format!("{MOST_WAITING} others wait to publish");
                return Err(StoreError::Unavailable { what, source: None });
            }
            waiting.push(Waiting { signals: signals.to_vec(), answer });
        }
        let turn = self.adding.lock().await;
        if let Ok(done) = answered.try_recv() {
            return done.map(|()| None);
        }
        let waiting = std::mem::take(&mut *self.lock());
        let added =
            table.add(&told_once(waiting.iter().flat_map(|waiting| &waiting.signals))).await;
        for waiting in waiting {
            let done = added.as_ref().map(|_| ()).map_err(StoreError::clone);
            // A caller that has gone needs no answer.
            drop(waiting.answer.send(done));
        }
        drop(turn);
        let lost =
            || StoreError::Unavailable { what: "the publisher stopped".into(), source: None };
        answered.await.map_err(|_| lost())??;
        added
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST_WAITING: usize = 1_024;

/// The signals without the rings that say the same as one before.
fn told_once<'s>(signals: impl Iterator<Item = &'s Signal>) -> Vec<Signal> {
    let mut rings = HashSet::new();
    let first = |signal: &&'s Signal| match signal.body {
        SignalBody::Ring(version) => rings.insert((&signal.topic, version)),
        _ => true,
    };
    signals.filter(first).cloned().collect()
}

/// Refuses signals that are too large.
pub(crate) fn check(signals: &[Signal]) -> Result<(), BusError> {
    let limit = SignalBody::MAX_EPHEMERAL_BYTES;
    let size = |signal: &Signal| match &signal.body {
        SignalBody::Ephemeral(json) => json.as_str().len(),
        _ => 0,
    };
    match signals.iter().map(size).max() {
        Some(bytes) if bytes > limit => Err(BusError::TooLarge { bytes, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use chat_core::{Json, Topic, Version};

    use super::*;

    #[test]
    fn a_ring_of_several_callers_is_told_once_and_all_else_as_often_as_it_was_sent() {
        let signal = |topic: &str, body| Signal { topic: Topic::new(topic).unwrap(), body };
        let ring = |topic, version| signal(topic, SignalBody::Ring(Version(version)));
        let typing = || signal("a", SignalBody::Ephemeral(Json::from_text("1")));
        let waiting = [ring("a", 2), typing(), ring("b", 2), ring("a", 2), typing(), ring("a", 1)];
        let told = [ring("a", 2), typing(), ring("b", 2), typing(), ring("a", 1)];
        assert_eq!(told_once(waiting.iter()), told);
    }
}
