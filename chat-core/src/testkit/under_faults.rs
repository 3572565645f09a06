//! Any harness once more, with calls that fail now and then, mended by a decorator that tries again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::scenarios::{ScenarioHarness, Stores};
use super::{Answers, BusHarness, Signals, StoreHarness, ViewHarness, model};
use crate::decorate::{FaultPlan, Faults, Faulty, RetryPolicy, Retrying};
use crate::id::Namespace;
use crate::ports::{EventBus, EventStore, ViewStore};

/// A harness whose stores fail before and after they did their work. Retries see to it that nobody
/// else notices. A bus loses, doubles, delays and reorders, and nothing mends that.
pub struct UnderFaults<H> {
    inner: H,
    faults: Faults,
}

impl<H> UnderFaults<H> {
    /// One call in twenty fails in each of the ways. `CHAT_KIT_SEED` chooses other faults.
    #[must_use]
    pub fn new(inner: H) -> Self {
        Self { inner, faults: Faults::new(FaultPlan::all(model::first_seed(), 0.05)) }
    }

    fn mended<T: ?Sized>(&self, port: Arc<T>) -> Arc<Retrying<Faulty<T>>> {
        // Enough tries that no test of the kit sees a fault.
        let (first_wait, longest_wait) = (Duration::from_micros(100), Duration::from_millis(2));
        let policy = RetryPolicy { attempts: 20, first_wait, longest_wait, seed: 1 };
        Arc::new(Retrying::new(Arc::new(Faulty::new(port, self.faults.clone())), policy))
    }

    fn both(&self, stores: Stores) -> Stores {
        Stores::new(self.mended(stores.events), self.mended(stores.views))
    }
}

impl<H> fmt::Debug for UnderFaults<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderFaults").finish_non_exhaustive()
    }
}

#[async_trait]
impl<H: StoreHarness> StoreHarness for UnderFaults<H> {
    async fn open(&self) -> Arc<dyn EventStore> {
        self.mended(self.inner.open().await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn EventStore> {
        self.mended(self.inner.open_namespace(namespace).await)
    }

    fn answers(&self) -> Answers {
        Answers::MayBeLost
    }
}

#[async_trait]
impl<H: ViewHarness> ViewHarness for UnderFaults<H> {
    async fn open(&self) -> Arc<dyn ViewStore> {
        self.mended(self.inner.open().await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Arc<dyn ViewStore> {
        self.mended(self.inner.open_namespace(namespace).await)
    }

    fn answers(&self) -> Answers {
        Answers::MayBeLost
    }
}

#[async_trait]
impl<H: ScenarioHarness> ScenarioHarness for UnderFaults<H> {
    async fn open(&self) -> Stores {
        self.both(self.inner.open().await)
    }

    async fn open_namespace(&self, namespace: &Namespace) -> Stores {
        self.both(self.inner.open_namespace(namespace).await)
    }

    async fn renew_epoch(&self) {
        self.inner.renew_epoch().await;
    }

    fn answers(&self) -> Answers {
        Answers::MayBeLost
    }
}

#[async_trait]
impl<H: BusHarness> BusHarness for UnderFaults<H> {
    async fn open(&self) -> Arc<dyn EventBus> {
        Arc::new(Faulty::new(self.inner.open().await, self.faults.clone()))
    }

    fn signals(&self) -> Signals {
        Signals::MayBeLost
    }
}
