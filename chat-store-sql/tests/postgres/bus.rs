//! The bus keeps its contract, and mends itself.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::EventBus;
use chat_core::testkit::{BusHarness, Signals};

use crate::support::Place;

/// A namespace; every handle has connections of its own.
struct Harness(Place);

impl Harness {
    fn new() -> Self {
        Self(Place::new())
    }
}

#[async_trait]
impl BusHarness for Harness {
    async fn open(&self) -> Arc<dyn EventBus> {
        self.0.open().await.bus()
    }

    fn signals(&self) -> Signals {
        Signals::Arrive
    }
}

mod contract {
    use std::future::ready;

    chat_core::event_bus_tests!(|| ready(super::Harness::new()));
}

mod contract_under_faults {
    use std::future::ready;

    use chat_core::testkit::UnderFaults;

    chat_core::event_bus_tests!(|| ready(UnderFaults::new(super::Harness::new())));
}
