//! The scenarios of the test kit, with engines as processes of their own.

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::testkit::Answers;
use chat_core::testkit::scenarios::{ScenarioHarness, Stores};
use chat_store_redis::RedisStore;

use crate::support::Place;

/// A namespace; every handle has connections and memory of its own.
struct Harness(Place);

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

mod on_one_server {
    use std::future::ready;

    chat_core::scenario_tests!(|| ready(super::Harness(crate::support::Place::on_one_server())));
}

mod on_a_cluster {
    use std::future::ready;

    chat_core::scenario_tests!(|| ready(super::Harness(crate::support::Place::on_a_cluster())));
}
