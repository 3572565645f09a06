//! The test kit, over the store itself and over the store under faults that a decorator mends.
//! `CHAT_KIT_SEED` chooses other faults.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::decorate::{FaultPlan, Faults, Faulty, RetryPolicy, Retrying};
use chat_core::ports::{EventBus, EventStore, ViewStore};
use chat_core::testkit::{Answers, BusHarness, Signals, StoreHarness, ViewHarness};
use chat_store_sql::sqlite::SqliteStore;

use crate::support::Place;

/// A file; every handle has threads, connections and memory of its own.
struct Harness {
    place: Place,
    faults: Option<Faults>,
}

impl Harness {
    fn plain() -> Self {
        Self { place: Place::new(), faults: None }
    }

    fn faulty() -> Self {
        let seed = std::env::var("CHAT_KIT_SEED").map_or(1, |seed| seed.parse().unwrap());
        Self { faults: Some(Faults::new(FaultPlan::all(seed, 0.05))), ..Self::plain() }
    }

    async fn named(&self, namespace: &Namespace) -> SqliteStore {
        let config = self.place.config().with_namespace(namespace.clone());
        SqliteStore::open(config).await.unwrap()
    }

    fn events(&self, store: SqliteStore) -> Arc<dyn EventStore> {
        match &self.faults {
            None => store.events(),
            Some(faults) => Arc::new(mended(store, faults)),
        }
    }

    fn views(&self, store: SqliteStore) -> Arc<dyn ViewStore> {
        match &self.faults {
            None => store.views(),
            Some(faults) => Arc::new(mended(store, faults)),
        }
    }

    fn certainty(&self) -> Answers {
        if self.faults.is_some() { Answers::MayBeLost } else { Answers::Certain }
    }
}

/// The store under faults, and above them a decorator that tries again.
fn mended(store: SqliteStore, faults: &Faults) -> Retrying<Faulty<SqliteStore>> {
    Retrying::new(Arc::new(Faulty::new(Arc::new(store), faults.clone())), patient())
}

/// Enough tries that no test of the kit sees a fault.
fn patient() -> RetryPolicy {
    let (first_wait, longest_wait) = (Duration::from_micros(100), Duration::from_millis(2));
    RetryPolicy { attempts: 20, first_wait, longest_wait, seed: 1 }
}

#[async_trait]
impl StoreHarness for Harness {
    async fn open(&self) -> Arc<dyn EventStore> {
        self.events(self.place.open().await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        self.events(self.named(namespace).await)
    }

    fn answers(&self) -> Answers {
        self.certainty()
    }
}

#[async_trait]
impl ViewHarness for Harness {
    async fn open(&self) -> Arc<dyn ViewStore> {
        self.views(self.place.open().await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn ViewStore> {
        self.views(self.named(namespace).await)
    }

    fn answers(&self) -> Answers {
        self.certainty()
    }
}

#[async_trait]
impl BusHarness for Harness {
    async fn open(&self) -> Arc<dyn EventBus> {
        self.place.open().await.bus()
    }

    fn signals(&self) -> Signals {
        Signals::Arrive
    }
}

mod bus {
    use std::future::ready;

    chat_core::event_bus_tests!(|| ready(super::Harness::plain()));
}

mod events {
    use std::future::ready;

    chat_core::event_store_tests!(|| ready(super::Harness::plain()));
}

mod events_retrying_over_faults {
    use std::future::ready;

    chat_core::event_store_tests!(|| ready(super::Harness::faulty()));
}

mod views {
    use std::future::ready;

    chat_core::view_store_tests!(|| ready(super::Harness::plain()));
}

mod views_retrying_over_faults {
    use std::future::ready;

    chat_core::view_store_tests!(|| ready(super::Harness::faulty()));
}
