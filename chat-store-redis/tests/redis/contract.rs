//! The test kit, over the store itself and over the store under faults that a decorator mends.
//! `CHAT_KIT_SEED` chooses other faults.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::ports::{EventStore, ViewStore};
use chat_core::testkit::{Answers, StoreHarness, UnderFaults, ViewHarness};

use crate::support::Place;

/// A namespace; every handle has connections and memory of its own.
struct Harness(Place);

#[async_trait]
impl StoreHarness for Harness {
    async fn open(&self) -> Arc<dyn EventStore> {
        self.0.open().await.events()
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        self.0.beside(namespace).open().await.events()
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
        self.0.beside(namespace).open().await.views()
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

macro_rules! kit_tests {
    ($place:ident) => {
        mod $place {
            use super::*;

            fn plain() -> Harness {
                Harness(Place::$place())
            }

            fn faulty() -> UnderFaults<Harness> {
                UnderFaults::new(plain())
            }

            mod events {
                use std::future::ready;

                chat_core::event_store_tests!(|| ready(super::plain()));
            }

            mod events_retrying_over_faults {
                use std::future::ready;

                chat_core::event_store_tests!(|| ready(super::faulty()));
            }

            mod views {
                use std::future::ready;

                chat_core::view_store_tests!(|| ready(super::plain()));
            }

            mod views_retrying_over_faults {
                use std::future::ready;

                chat_core::view_store_tests!(|| ready(super::faulty()));
            }
        }
    };
}

kit_tests!(on_one_server);
kit_tests!(on_a_cluster);
