//! The test kit, over the store itself and over the store under faults that a decorator mends.
//! `CHAT_KIT_SEED` chooses other faults.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::ports::{EventBus, EventStore, ViewStore};
use chat_core::testkit::{Answers, BusHarness, Signals, StoreHarness, UnderFaults, ViewHarness};
use chat_store_sql::mysql::MysqlStore;

use crate::support::Place;

/// A namespace; every handle has connections and memory of its own.
struct Harness(Place);

impl Harness {
    fn new() -> Self {
        Self(Place::new())
    }

    async fn named(&self, namespace: &Namespace) -> MysqlStore {
        MysqlStore::connect(self.0.other(namespace)).await.unwrap()
    }
}

fn faulty() -> UnderFaults<Harness> {
    UnderFaults::new(Harness::new())
}

#[async_trait]
impl StoreHarness for Harness {
    async fn open(&self) -> Arc<dyn EventStore> {
        self.0.open().await.events()
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        self.named(namespace).await.events()
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

#[async_trait]
impl ViewHarness for Harness {
    async fn open(&self) -> Arc<dyn ViewStore> {
        self.0.open().await.views()
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn ViewStore> {
        self.named(namespace).await.views()
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

#[async_trait]
impl BusHarness for Harness {
    async fn open(&self) -> Arc<dyn EventBus> {
        self.0.open().await.bus()
    }

    fn signals(&self) -> Signals {
        Signals::Arrive
    }
}

mod bus {
    use std::future::ready;

    chat_core::event_bus_tests!(|| ready(super::Harness::new()));
}

mod bus_under_faults {
    use std::future::ready;

    chat_core::event_bus_tests!(|| ready(super::faulty()));
}

mod events {
    use std::future::ready;

    chat_core::event_store_tests!(|| ready(super::Harness::new()));
}

mod events_retrying_over_faults {
    use std::future::ready;

    chat_core::event_store_tests!(|| ready(super::faulty()));
}

mod views {
    use std::future::ready;

    chat_core::view_store_tests!(|| ready(super::Harness::new()));
}

mod views_retrying_over_faults {
    use std::future::ready;

    chat_core::view_store_tests!(|| ready(super::faulty()));
}
