//! What the kit asks of an adapter of read models.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::harness::Answers;
use crate::id::Namespace;
use crate::memory::MemoryViewStore;
use crate::ports::ViewStore;

/// A view store for one check: empty when made, gone when dropped.
#[async_trait]
pub trait ViewHarness: Send + Sync + 'static {
    /// A handle on the store, as another process would have it.
    async fn open(&self) -> Arc<dyn ViewStore>;

    /// A handle on another namespace of the same database, empty at first.
    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn ViewStore>;

    /// Whether a batch that was written can be answered as refused by itself.
    fn answers(&self) -> Answers;
}

/// The harness of [`MemoryViewStore`]: what it opens are handles on one memory.
#[derive(Debug, Default)]
pub struct MemoryViewHarness {
    store: MemoryViewStore,
    others: Mutex<HashMap<Namespace, MemoryViewStore>>,
}

impl MemoryViewHarness {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store itself, to wrap it.
    #[must_use]
    pub fn store(&self) -> MemoryViewStore {
        self.store.clone()
    }

    /// The store of another namespace, to wrap it.
    #[must_use]
    pub fn namespace(&self, namespace: &Namespace) -> MemoryViewStore {
        let mut others = self.others.lock().expect("no panic under the lock");
        others.entry(namespace.clone()).or_default().clone()
    }
}

#[async_trait]
impl ViewHarness for MemoryViewHarness {
    async fn open(&self) -> Arc<dyn ViewStore> {
        Arc::new(self.store())
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn ViewStore> {
        Arc::new(self.namespace(namespace))
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}
