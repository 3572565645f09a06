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

macro_rules! bus_tests {
    ($place:ident) => {
        mod $place {
            use std::future::ready;

            use super::{Harness, Place};

            chat_core::event_bus_tests!(|| ready(Harness(Place::$place())));

            mod under_faults {
                use std::future::ready;

                use super::super::{Harness, Place};
                use chat_core::testkit::UnderFaults;

                chat_core::event_bus_tests!(|| ready(UnderFaults::new(Harness(Place::$place()))));
            }
        }
    };
}

bus_tests!(on_one_server);
bus_tests!(on_a_cluster);
