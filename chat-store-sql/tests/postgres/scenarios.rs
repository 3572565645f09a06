//! The scenarios of the test kit, with engines as processes of their own on one database.

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::testkit::Answers;
use chat_core::testkit::scenarios::{ScenarioHarness, Stores};
use chat_store_sql::postgres::PostgresStore;

use crate::support::Place;

/// A namespace; every handle has connections and memory of its own.
pub(crate) struct Harness(Place);

impl Harness {
    pub(crate) fn new() -> Self {
        Self(Place::new())
    }
}

fn both(store: &PostgresStore) -> Stores {
    Stores::new(store.events(), store.views())
}

#[async_trait]
impl ScenarioHarness for Harness {
    async fn open(&self) -> Stores {
        both(&self.0.open().await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Stores {
        both(&self.0.open_named(namespace).await)
    }

    async fn renew_epoch(&self) {
        self.0.open().await.renew_epoch().await.unwrap();
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

mod on_a_server {
    use std::future::ready;

    chat_core::scenario_tests!(|| ready(super::Harness::new()));
}

mod under_faults {
    use std::future::ready;

    use chat_core::testkit::UnderFaults;

    chat_core::scenario_tests!(|| ready(UnderFaults::new(super::Harness::new())));
}
