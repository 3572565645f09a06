//! Faults of a bus.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;

use super::faulty::{Fault, Faulty};
use crate::id::Topic;
use crate::ports::{BusError, BusStream, EventBus, Signal};

impl<T: EventBus + ?Sized> Faulty<T> {
    /// What to send now instead of `signals`.
    fn disturb(&self, signals: &[Signal]) -> Vec<Signal> {
        let mut now = Vec::with_capacity(signals.len() + 1);
        for signal in signals {
            if self.faults.strikes(Fault::BusDrop) {
                continue;
            }
            if self.faults.strikes(Fault::BusDelay) {
                self.send_later(signal.clone());
                continue;
            }
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.is_none() && self.faults.strikes(Fault::BusReorder) {
                *held = Some(signal.clone());
                continue;
            }
            now.push(signal.clone());
            if self.faults.strikes(Fault::BusDouble) {
                now.push(signal.clone());
            }
            now.extend(held.take());
        }
        now
    }

    fn send_later(&self, signal: Signal) {
        let Ok(permit) = Arc::clone(&self.late).try_acquire_owned() else { return };
        let (inner, delay) = (Arc::clone(&self.inner), self.faults.delay());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // A signal may be lost, so nobody waits for this.
            let _lost = inner.publish(&[signal]).await;
            drop(permit);
        });
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: EventBus + ?Sized> EventBus for Faulty<T> {
    async fn publish(&self, signals: &[Signal]) -> Result<(), BusError> {
        if self.faults.strikes(Fault::Before) {
            return Err(unavailable("before the publish"));
        }
        let now = self.disturb(signals);
        if !now.is_empty() {
            self.inner.publish(&now).await?;
        }
        if self.faults.strikes(Fault::Lost) {
            return Err(unavailable("after the publish"));
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusStream, BusError> {
        if self.faults.strikes(Fault::Before) {
            return Err(unavailable("before the subscription"));
        }
        self.inner.subscribe(topic).await
    }
}

fn unavailable(what: &str) -> BusError {
    BusError::Unavailable { what: format!("injected fault: {what}"), source: None }
}
