//! A projection and a handler that notice every repeat, every gap and every change of order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};

use crate::durable::{Delivery, EventHandler, HandlerError, Projection, ViewEdit};
use crate::event::RecordedEvent;
use crate::id::{Scope, ViewKey};

/// The number in an event of the fixture.
pub(super) fn number(event: &RecordedEvent) -> u64 {
    let value: serde_json::Value = event.event.payload.decode().expect("an event of the fixture");
    value["number"].as_u64().expect("a number")
}

/// What shall go wrong with which event.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<BTreeMap<u64, Trouble>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// So many attempts fail.
    Retry(u32),
    Permanent,
    Panic,
    Hang,
    /// The event cannot be routed.
    Unroutable,
}

impl Troubles {
    pub(super) fn set(&self, number: u64, trouble: Trouble) {
        self.0.lock().expect("no panic under the lock").insert(number, trouble);
    }

    pub(super) fn mend(&self) {
        self.0.lock().expect("no panic under the lock").clear();
    }

    fn is(&self, number: u64, trouble: Trouble) -> bool {
        self.0.lock().expect("no panic under the lock").get(&number) == Some(&trouble)
    }

    fn of(&self, number: u64) -> Option<Trouble> {
        let mut troubles = self.0.lock().expect("no panic under the lock");
        let trouble = troubles.get_mut(&number)?;
        match trouble {
            Trouble::Retry(0) => None,
            Trouble::Retry(left) => {
                *left -= 1;
                Some(Trouble::Retry(*left))
            }
            Trouble::Permanent | Trouble::Panic | Trouble::Hang | Trouble::Unroutable => {
                Some(*trouble)
            }
        }
    }

    async fn meet(&self, number: u64) -> Result<(), HandlerError> {
        match self.of(number) {
            None | Some(Trouble::Unroutable) => Ok(()),
            Some(Trouble::Retry(_)) => Err(HandlerError::retry("not yet")),
            Some(Trouble::Permanent) => Err(HandlerError::permanent("never this one")),
            Some(Trouble::Panic) => panic!("the handler is told to panic"),
            Some(Trouble::Hang) => std::future::pending().await,
        }
    }
}

/// Counts each event in the view of its stream, and in one that all streams share.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) troubles: Troubles,
    /// Greatest batch that was seen.
    pub(super) largest: AtomicUsize,
}

pub(super) const SHARED: &str = "all";

pub(super) fn scope(name: &str) -> Scope {
    Scope::new(name).expect("a scope")
}

pub(super) fn taken_key(number: u64) -> ViewKey {
    ViewKey::new(format!("taken/{number:010}")).expect("a key")
}

#[async_trait]
impl Projection for Counting {
    fn route(&self, event: &RecordedEvent) -> Result<Vec<Scope>, HandlerError> {
        if self.troubles.is(number(event), Trouble::Unroutable) {
            return Err(HandlerError::permanent("leads nowhere"));
        }
        Ok(vec![scope(event.stream.as_str()), scope(SHARED)])
    }

    /// Names what it reads for one of the two views only, so that both ways are gone.
    fn reads(&self, scope: &Scope, events: &[Arc<RecordedEvent>]) -> Vec<ViewKey> {
        let events = events.iter().filter(|_| scope.as_str() == SHARED);
        events.map(|event| taken_key(number(event))).collect()
    }

    async fn project(
        &self,
        view: &mut ViewEdit<'_>,
        events: &[Arc<RecordedEvent>],
    ) -> Result<(), HandlerError> {
        self.largest.fetch_max(events.len(), Ordering::SeqCst);
        for event in events {
            // The shared view takes what the other refuses.
            if view.scope().as_str() != SHARED {
                self.troubles.meet(number(event)).await?;
            }
            let key = taken_key(number(event));
            let before = view.get(&key).await?.map_or(0, |bytes| bytes[0]);
            view.put(key, vec![before + 1]);
        }
        Ok(())
    }
}

/// Keeps what was delivered, in order.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) troubles: Troubles,
    delivered: watch::Sender<Vec<(u64, u32)>>,
    /// Deliveries go through here.
    pub(super) gate: Semaphore,
    /// Deliveries that have come to the gate.
    pub(super) arrived: watch::Sender<usize>,
    /// Events that hang, once for each time.
    pub(super) hung: watch::Sender<usize>,
    /// Deliveries under way.
    busy: AtomicUsize,
}

/// A delivery under way, until it has ended or was dropped.
struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Recorder {
    pub(super) fn open() -> Arc<Self> {
        let recorder = Self::shut();
        recorder.gate.add_permits(1 << 20);
        recorder
    }

    /// Nothing passes until permits are added.
    pub(super) fn shut() -> Arc<Self> {
        Arc::new(Self {
            troubles: Troubles::default(),
            delivered: watch::Sender::default(),
            gate: Semaphore::new(0),
            arrived: watch::Sender::default(),
            hung: watch::Sender::default(),
            busy: AtomicUsize::new(0),
        })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    pub(super) fn delivered(&self) -> Vec<u64> {
        self.delivered.borrow().iter().map(|(number, _)| *number).collect()
    }

    pub(super) fn attempts(&self, of: u64) -> Vec<u32> {
        let delivered = self.delivered.borrow();
        delivered.iter().filter(|(number, _)| *number == of).map(|(_, attempt)| *attempt).collect()
    }

    pub(super) fn distinct(&self) -> BTreeSet<u64> {
        self.delivered().into_iter().collect()
    }

    /// Waits until these have been delivered, in any order, each at least once.
    pub(super) async fn has(&self, numbers: impl IntoIterator<Item = u64>) {
        let wanted: BTreeSet<_> = numbers.into_iter().collect();
        let mut delivered = self.delivered.subscribe();
        let all = delivered.wait_for(|delivered| {
            let there: BTreeSet<_> = delivered.iter().map(|(number, _)| *number).collect();
            wanted.is_subset(&there)
        });
        let _the_sender_lives_here = all.await;
    }

    pub(super) async fn has_hung(&self, times: usize) {
        let mut hung = self.hung.subscribe();
        let _the_sender_lives_here = hung.wait_for(|seen| *seen >= times).await;
    }

    pub(super) async fn has_arrived(&self, deliveries: usize) {
        let mut arrived = self.arrived.subscribe();
        let _the_sender_lives_here = arrived.wait_for(|seen| *seen >= deliveries).await;
    }
}

#[async_trait]
impl EventHandler for Recorder {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        assert_eq!(delivery.idempotency_key(), delivery.event.event.id);
        self.busy.fetch_add(1, Ordering::SeqCst);
        let _busy = Busy(&self.busy);
        self.arrived.send_modify(|arrived| *arrived += 1);
        self.gate.acquire().await.expect("an open semaphore").forget();
        let number = number(&delivery.event);
        if self.troubles.is(number, Trouble::Hang) {
            self.hung.send_modify(|hung| *hung += 1);
        }
        self.troubles.meet(number).await?;
        self.delivered.send_modify(|delivered| delivered.push((number, delivery.attempt)));
        Ok(())
    }
}
