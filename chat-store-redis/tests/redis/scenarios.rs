//! The scenarios of the test kit, with engines as processes of their own.

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::testkit::Answers;
use chat_core::testkit::scenarios::{ScenarioHarness, Stores};
use chat_store_redis::RedisStore;

use crate::support::Place;

/// A namespace; every handle has connections and memory of its own.
pub(crate) struct Harness(Place);

/// With two partitions: engines follow each of them, and there are many engines here.
impl Harness {
    pub(crate) fn on_one_server() -> Self {
        Self(Place::on_one_server().with_partitions(2))
    }

    pub(crate) fn on_a_cluster() -> Self {
        Self(Place::on_a_cluster().with_partitions(2))
    }
}

fn both(store: &RedisStore) -> Stores {
    Stores::new(store.events(), store.views())
}

#[async_trait]
impl ScenarioHarness for Harness {
    async fn open(&self) -> Stores {
        both(&self.0.open().await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Stores {
        both(&self.0.beside(namespace).open().await)
    }

    async fn renew_epoch(&self) {
        self.0.open().await.renew_epoch().await.unwrap();
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

macro_rules! tests {
    ($place:ident) => {
        mod $place {
            use std::future::ready;

            use super::Harness;

            chat_core::scenario_tests!(|| ready(Harness::$place()));

            mod under_faults {
                use std::future::ready;

                use super::super::Harness;
                use chat_core::testkit::UnderFaults;

                chat_core::scenario_tests!(|| ready(UnderFaults::new(Harness::$place())));
            }
        }
    };
}

tests!(on_one_server);
tests!(on_a_cluster);
