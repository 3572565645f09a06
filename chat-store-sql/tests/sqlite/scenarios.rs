//! The scenarios of the test kit, with engines as processes of their own on one file.

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::testkit::Answers;
use chat_core::testkit::scenarios::{ScenarioHarness, Stores};
use chat_store_sql::sqlite::{SqliteDurability, SqliteStore};

use crate::support::Place;

/// A file; every handle has threads, connections and memory of its own.
pub(crate) struct Harness(Place);

impl Harness {
    pub(crate) fn new() -> Self {
        Self(Place::new())
    }

    /// What a crash of the machine takes away is not looked at here.
    async fn store(&self, namespace: Option<&Namespace>) -> SqliteStore {
        let config = self.0.config().with_durability(SqliteDurability::Normal);
        let config = match namespace {
            None => config,
            Some(namespace) => config.with_namespace(namespace.clone()),
        };
        SqliteStore::open(config).await.unwrap()
    }
}

fn both(store: &SqliteStore) -> Stores {
    Stores::new(store.events(), store.views())
}

#[async_trait]
impl ScenarioHarness for Harness {
    async fn open(&self) -> Stores {
        both(&self.store(None).await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Stores {
        both(&self.store(Some(namespace)).await)
    }

    async fn renew_epoch(&self) {
        self.store(None).await.renew_epoch().await.unwrap();
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

mod on_a_file {
    use std::future::ready;

    chat_core::scenario_tests!(|| ready(super::Harness::new()));
}

mod on_a_file_under_faults {
    use std::future::ready;

    use chat_core::testkit::UnderFaults;

    chat_core::scenario_tests!(|| ready(UnderFaults::new(super::Harness::new())));
}
