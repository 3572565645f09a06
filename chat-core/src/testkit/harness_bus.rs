//! What the kit asks of a bus.

use std::sync::Arc;

use async_trait::async_trait;

use crate::memory::MemoryBus;
use crate::ports::EventBus;

/// A bus for one check, which nobody else uses.
#[async_trait]
pub trait BusHarness: Send + Sync + 'static {
    /// A handle on the bus, as another process would have it.
    async fn open(&self) -> Arc<dyn EventBus>;

    /// Whether signals can get lost though every subscriber reads.
    fn signals(&self) -> Signals;
}

/// Whether signals can get lost though every subscriber reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// They arrive, once and in order.
    Arrive,
    /// The contract's guarantee 3 to the full: lost, doubled, late, in disorder. The kit sends
    /// until something arrives.
    MayBeLost,
}

/// The harness of [`MemoryBus`].
#[derive(Debug, Default)]
pub struct MemoryBusHarness(MemoryBus);

impl MemoryBusHarness {
    /// A bus with the default capacity.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bus itself, to wrap it.
    #[must_use]
    pub fn bus(&self) -> MemoryBus {
        self.0.clone()
    }
}

#[async_trait]
impl BusHarness for MemoryBusHarness {
    async fn open(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus())
    }

    fn signals(&self) -> Signals {
        Signals::Arrive
    }
}
