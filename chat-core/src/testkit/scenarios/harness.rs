//! What the scenarios ask of a store and the views beside it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::id::Namespace;
use crate::memory::{MemoryEventStore, MemoryViewStore};
use crate::ports::{EventStore, ViewStore};
use crate::testkit::Answers;

/// An event store and the views beside it, as one process opens them.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The events.
    pub events: Arc<dyn EventStore>,
    /// The read models.
    pub views: Arc<dyn ViewStore>,
}

impl Stores {
    /// These two.
    #[must_use]
    pub fn new(events: Arc<dyn EventStore>, views: Arc<dyn ViewStore>) -> Self {
        Self { events, views }
    }
}

/// A pair of stores for one scenario: empty when made, gone when dropped.
#[async_trait]
pub trait ScenarioHarness: Send + Sync + 'static {
    /// Handles as another process would have them: nothing that they keep in memory may be shared
    /// with other handles.
    async fn open(&self) -> Stores;

    /// Handles on another namespace of the same database, empty at first.
    async fn open_namespace(&self, namespace: &Namespace) -> Stores;

    /// Starts a new incarnation, as a restored backup would, for all handles opened from then on.
    async fn renew_epoch(&self);

    /// Whether a first answer can come as a repeat.
    fn answers(&self) -> Answers;
}

/// The harness of [`MemoryEventStore`] and [`MemoryViewStore`].
pub struct MemoryScenarios {
    store: MemoryEventStore,
    views: MemoryViewStore,
    other: (MemoryEventStore, MemoryViewStore),
}

impl MemoryScenarios {
    /// Empty stores; the events in this many partitions.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let store = || MemoryEventStore::with_partitions(partitions);
        let (views, other) = (MemoryViewStore::new(), (store(), MemoryViewStore::new()));
        Self { store: store(), views, other }
    }
}

fn both(store: &MemoryEventStore, views: &MemoryViewStore) -> Stores {
    Stores::new(Arc::new(store.clone()), Arc::new(views.clone()))
}

impl fmt::Debug for MemoryScenarios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryScenarios").finish_non_exhaustive()
    }
}

#[async_trait]
impl ScenarioHarness for MemoryScenarios {
    async fn open(&self) -> Stores {
        both(&self.store, &self.views)
    }

    async fn open_namespace(&self, _namespace: &Namespace) -> Stores {
        both(&self.other.0, &self.other.1)
    }

    async fn renew_epoch(&self) {
        self.store.renew_epoch();
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}
