//! The test kit for the bus.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::EventBus;
use chat_core::testkit::{BusHarness, Signals};

use crate::support::Place;

struct Harness(Place);

#[async_trait]
impl BusHarness for Harness {
    async fn open(&self) -> Arc<dyn EventBus> {
        self.0.open().await.bus()
    }

    fn signals(&self) -> Signals {
        Signals::Arrive
    }
}

mod on_one_server {
    use std::future::ready;

    chat_core::event_bus_tests!(|| ready(super::Harness(crate::support::Place::on_one_server())));
}

mod on_a_cluster {
    use std::future::ready;

    chat_core::event_bus_tests!(|| ready(super::Harness(crate::support::Place::on_a_cluster())));
}
