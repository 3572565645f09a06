//! Each decorator keeps the contract of the store that it wraps, alone and stacked, and while
//! everything below it fails now and then. `CHAT_KIT_SEED` chooses other faults.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::decorate::{FaultPlan, Faults, Faulty, GroupCommit, RetryPolicy, Retrying};
use chat_core::memory::MemoryEventStore;
use chat_core::ports::{EventBus, EventStore, ViewStore};
use chat_core::testkit::{
    Answers, BusHarness, MemoryBusHarness, MemoryStoreHarness, MemoryViewHarness, Signals,
    StoreHarness, ViewHarness,
};

struct Wrapped {
    memory: MemoryStoreHarness,
    wrap: Box<dyn Fn(MemoryEventStore) -> Arc<dyn EventStore> + Send + Sync>,
    answers: Answers,
}

impl Wrapped {
    fn new(
        partitions: u32,
        wrap: impl Fn(MemoryEventStore) -> Arc<dyn EventStore> + Send + Sync + 'static,
    ) -> Self {
        let memory = MemoryStoreHarness::new(partitions);
        Self { memory, wrap: Box::new(wrap), answers: Answers::Certain }
    }

    /// Retries over faults of every kind.
    fn faulty(
        partitions: u32,
        outermost: impl Fn(Retrying<Faulty<MemoryEventStore>>) -> Arc<dyn EventStore>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let faults = faults();
        let wrap = move |store| {
            let faulty = Arc::new(Faulty::new(Arc::new(store), faults.clone()));
            outermost(Retrying::new(faulty, patient()))
        };
        Self { answers: Answers::MayBeLost, ..Self::new(partitions, wrap) }
    }
}

fn faults() -> Faults {
    let seed = std::env::var("CHAT_KIT_SEED").map_or(1, |seed| seed.parse().unwrap());
    Faults::new(FaultPlan::all(seed, 0.05))
}

/// Enough tries that no test of the kit sees a fault.
fn patient() -> RetryPolicy {
    let (first_wait, longest_wait) = (Duration::from_micros(100), Duration::from_millis(2));
    RetryPolicy { attempts: 20, first_wait, longest_wait, seed: 1 }
}

#[async_trait]
impl StoreHarness for Wrapped {
    async fn open(&self) -> Arc<dyn EventStore> {
        (self.wrap)(self.memory.store())
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        (self.wrap)(self.memory.namespace(namespace))
    }

    fn answers(&self) -> Answers {
        self.answers
    }
}

mod group_commit {
    use super::*;

    fn fresh() -> Wrapped {
        Wrapped::new(4, |store| Arc::new(GroupCommit::new(Arc::new(store))))
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

mod group_commit_with_the_least_room {
    use super::*;

    fn fresh() -> Wrapped {
        Wrapped::new(1, |store| Arc::new(GroupCommit::bounded(Arc::new(store), 2, 200, 3)))
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

mod retrying {
    use super::*;

    fn fresh() -> Wrapped {
        Wrapped::new(4, |store| Arc::new(Retrying::new(Arc::new(store), patient())))
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

mod retrying_over_faults {
    use super::*;

    fn fresh() -> Wrapped {
        Wrapped::faulty(4, |store| Arc::new(store))
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

mod group_commit_over_retrying_over_faults {
    use super::*;

    fn fresh() -> Wrapped {
        Wrapped::faulty(1, |store| Arc::new(GroupCommit::new(Arc::new(store))))
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

/// Retries over faults of every kind.
struct FaultyViews {
    memory: MemoryViewHarness,
    faults: Faults,
}

impl FaultyViews {
    fn wrap(&self, store: impl ViewStore) -> Arc<dyn ViewStore> {
        let faulty = Arc::new(Faulty::new(Arc::new(store), self.faults.clone()));
        Arc::new(Retrying::new(faulty, patient()))
    }
}

#[async_trait]
impl ViewHarness for FaultyViews {
    async fn open(&self) -> Arc<dyn ViewStore> {
        self.wrap(self.memory.store())
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn ViewStore> {
        self.wrap(self.memory.namespace(namespace))
    }

    fn answers(&self) -> Answers {
        Answers::MayBeLost
    }
}

mod views_retrying_over_faults {
    use super::*;

    fn fresh() -> FaultyViews {
        FaultyViews { memory: MemoryViewHarness::new(), faults: faults() }
    }

    chat_core::view_store_tests!(|| std::future::ready(fresh()));
}

struct FaultyBus {
    memory: MemoryBusHarness,
    faults: Faults,
}

#[async_trait]
impl BusHarness for FaultyBus {
    async fn open(&self) -> Arc<dyn EventBus> {
        Arc::new(Faulty::new(Arc::new(self.memory.bus()), self.faults.clone()))
    }

    fn signals(&self) -> Signals {
        Signals::MayBeLost
    }
}

mod bus_with_faults {
    use super::*;

    fn fresh() -> FaultyBus {
        FaultyBus { memory: MemoryBusHarness::new(), faults: faults() }
    }

    chat_core::event_bus_tests!(|| std::future::ready(fresh()));
}
