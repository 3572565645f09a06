//! The test kit, over the store itself and over the store under faults that a decorator mends.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::Namespace;
use chat_core::ports::EventStore;
use chat_core::testkit::{Answers, StoreHarness};
use chat_store_sql::sqlite::SqliteStore;

use crate::support::Place;

/// A file; every handle has threads, connections and memory of its own.
struct Harness(Place);

impl Harness {
    async fn fresh() -> Self {
        Self(Place::new())
    }
}

#[async_trait]
impl StoreHarness for Harness {
    async fn open(&self) -> Arc<dyn EventStore> {
        self.0.open().await.events()
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        let config = self.0.config().with_namespace(namespace.clone());
        SqliteStore::open(config).await.unwrap().events()
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

mod plain {
    chat_core::event_store_tests!(super::Harness::fresh);
}
