//! Each decorator keeps the contract of the store that it wraps, alone and stacked, and while
//! everything below it fails now and then. `CHAT_KIT_SEED` chooses other faults.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::decorate::{GroupCommit, RetryPolicy, Retrying};
use chat_core::ports::EventStore;
use chat_core::testkit::{
    Answers, MemoryBusHarness, MemoryStoreHarness, MemoryViewHarness, StoreHarness, UnderFaults,
};

struct Wrapped<H> {
    inner: H,
    wrap: fn(Arc<dyn EventStore>) -> Arc<dyn EventStore>,
}

#[async_trait]
impl<H: StoreHarness> StoreHarness for Wrapped<H> {
    async fn open(&self) -> Arc<dyn EventStore> {
        (self.wrap)(self.inner.open().await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        (self.wrap)(self.inner.open_namespace(namespace).await)
    }

    fn answers(&self) -> Answers {
        self.inner.answers()
    }
}

fn memory(partitions: u32) -> MemoryStoreHarness {
    MemoryStoreHarness::new(partitions)
}

mod group_commit {
    use super::*;

    fn fresh() -> Wrapped<MemoryStoreHarness> {
        Wrapped { inner: memory(4), wrap: |store| Arc::new(GroupCommit::new(store)) }
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

mod group_commit_with_the_least_room {
    use super::*;

    fn fresh() -> Wrapped<MemoryStoreHarness> {
        let wrap =
            |store| -> Arc<dyn EventStore> { Arc::new(GroupCommit::bounded(store, 2, 200, 3)) };
        Wrapped { inner: memory(1), wrap }
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

mod retrying {
    use super::*;

    fn fresh() -> Wrapped<MemoryStoreHarness> {
        let wrap = |store| -> Arc<dyn EventStore> {
            let (first_wait, longest_wait) = (Duration::from_micros(100), Duration::from_millis(2));
            let policy = RetryPolicy { attempts: 20, first_wait, longest_wait, seed: 1 };
            Arc::new(Retrying::new(store, policy))
        };
        Wrapped { inner: memory(4), wrap }
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

mod retrying_over_faults {
    use super::*;

    chat_core::event_store_tests!(|| std::future::ready(UnderFaults::new(memory(4))));
}

mod group_commit_over_retrying_over_faults {
    use super::*;

    fn fresh() -> Wrapped<UnderFaults<MemoryStoreHarness>> {
        let inner = UnderFaults::new(memory(1));
        Wrapped { inner, wrap: |store| Arc::new(GroupCommit::new(store)) }
    }

    chat_core::event_store_tests!(|| std::future::ready(fresh()));
}

mod views_retrying_over_faults {
    use super::*;

    chat_core::view_store_tests!(|| std::future::ready(UnderFaults::new(MemoryViewHarness::new())));
}

mod bus_with_faults {
    use super::*;

    chat_core::event_bus_tests!(|| std::future::ready(UnderFaults::new(MemoryBusHarness::new())));
}
