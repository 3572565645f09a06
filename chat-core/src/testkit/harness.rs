//! What the kit asks of an adapter: an empty store, and further handles on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::id::Namespace;
use crate::memory::MemoryEventStore;
use crate::ports::EventStore;

/// A store for one check: empty when made, gone when dropped.
#[async_trait]
pub trait StoreHarness: Send + Sync + 'static {
    /// A handle on the store, as another process would have it: nothing that a handle keeps in
    /// memory may be shared with another one.
    async fn open(&self) -> Arc<dyn EventStore>;

    /// A handle on another namespace of the same database, empty at first.
    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore>;

    /// Whether a first answer can come as a repeat.
    fn answers(&self) -> Answers;
}

/// Whether answers of a store can get lost below it, so that a retry finds the work done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Each append that is new is answered as new.
    Certain,
    /// An append may be carried out, its answer lost, and a decorator that tried again answers
    /// with a repeat. "Exactly one is new" becomes "at most one is new".
    MayBeLost,
}

/// The harness of [`MemoryEventStore`]: what it opens are handles on one memory.
#[derive(Debug)]
pub struct MemoryStoreHarness {
    partitions: u32,
    store: MemoryEventStore,
    others: Mutex<HashMap<Namespace, MemoryEventStore>>,
}

impl MemoryStoreHarness {
    /// An empty store with this many partitions.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let store = MemoryEventStore::with_partitions(partitions);
        Self { partitions, store, others: Mutex::default() }
    }

    /// The store itself, to wrap it.
    #[must_use]
    pub fn store(&self) -> MemoryEventStore {
        self.store.clone()
    }

    /// The store of another namespace, to wrap it.
    #[must_use]
    pub fn namespace(&self, namespace: &Namespace) -> MemoryEventStore {
        let mut others = self.others.lock().expect("no panic under the lock");
        let empty = || MemoryEventStore::with_partitions(self.partitions);
        others.entry(namespace.clone()).or_insert_with(empty).clone()
    }
}

#[async_trait]
impl StoreHarness for MemoryStoreHarness {
    async fn open(&self) -> Arc<dyn EventStore> {
        Arc::new(self.store())
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        Arc::new(self.namespace(namespace))
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}
