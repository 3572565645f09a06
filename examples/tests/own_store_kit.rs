//! The store of one's own keeps the contract: every check of the kit, each a test of its own name.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../plain_store/mod.rs"]
mod plain_store;

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex};

use chat_core::Namespace;
use chat_core::ports::EventStore;
use chat_core::testkit::{Answers, StoreHarness};
use plain_store::PlainStore;

#[derive(Default)]
struct Harness {
    namespaces: Mutex<HashMap<Namespace, PlainStore>>,
}

#[async_trait::async_trait]
impl StoreHarness for Harness {
    async fn open(&self) -> Arc<dyn EventStore> {
        self.open_namespace(&Namespace::default()).await
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        let mut all = self.namespaces.lock().expect("no panic under the lock");
        Arc::new(all.entry(namespace.clone()).or_default().clone())
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

chat_core::event_store_tests!(|| ready(Harness::default()));
