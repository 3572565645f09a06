//! The test kit, over the store itself and over the store under faults that a decorator mends.
//! `CHAT_KIT_SEED` chooses other faults.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::decorate::{FaultPlan, Faults, Faulty, RetryPolicy, Retrying};
use chat_core::ports::{EventStore, ViewStore};
use chat_core::testkit::{Answers, StoreHarness, ViewHarness};
use chat_store_redis::RedisStore;

use crate::support::Place;

/// A namespace; every handle has connections and memory of its own.
struct Harness {
    place: Place,
    faults: Option<Faults>,
}

impl Harness {
    fn plain(place: Place) -> Self {
        Self { place, faults: None }
    }

    fn faulty(place: Place) -> Self {
        let seed = std::env::var("CHAT_KIT_SEED").map_or(1, |seed| seed.parse().unwrap());
        Self { faults: Some(Faults::new(FaultPlan::all(seed, 0.05))), ..Self::plain(place) }
    }

    fn events(&self, store: RedisStore) -> Arc<dyn EventStore> {
        match &self.faults {
            None => store.events(),
            Some(faults) => Arc::new(mended(store, faults)),
        }
    }

    fn views(&self, store: RedisStore) -> Arc<dyn ViewStore> {
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
fn mended(store: RedisStore, faults: &Faults) -> Retrying<Faulty<RedisStore>> {
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
        self.events(self.place.beside(namespace).open().await)
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
        self.views(self.place.beside(namespace).open().await)
    }

    fn answers(&self) -> Answers {
        self.certainty()
    }
}

mod on_one_server {
    mod events {
        use std::future::ready;

        chat_core::event_store_tests!(|| ready(crate::contract::Harness::plain(
            crate::support::Place::on_one_server()
        )));
    }

    mod events_retrying_over_faults {
        use std::future::ready;

        chat_core::event_store_tests!(|| ready(crate::contract::Harness::faulty(
            crate::support::Place::on_one_server()
        )));
    }

    mod views {
        use std::future::ready;

        chat_core::view_store_tests!(|| ready(crate::contract::Harness::plain(
            crate::support::Place::on_one_server()
        )));
    }

    mod views_retrying_over_faults {
        use std::future::ready;

        chat_core::view_store_tests!(|| ready(crate::contract::Harness::faulty(
            crate::support::Place::on_one_server()
        )));
    }
}

mod on_a_cluster {
    mod events {
        use std::future::ready;

        chat_core::event_store_tests!(|| ready(crate::contract::Harness::plain(
            crate::support::Place::on_a_cluster()
        )));
    }

    mod views {
        use std::future::ready;

        chat_core::view_store_tests!(|| ready(crate::contract::Harness::plain(
            crate::support::Place::on_a_cluster()
        )));
    }
}
