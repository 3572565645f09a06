//! Durable subscriptions keep their word in memory, on one partition and on many, and under faults
//! that a decorator mends.

use std::future::ready;

use chat_core::testkit::UnderFaults;
use chat_core::testkit::scenarios::MemoryScenarios;

mod one_partition {
    use super::*;

    chat_core::durable_subscription_tests!(|| ready(MemoryScenarios::new(1)));
}

mod five_partitions {
    use super::*;

    chat_core::durable_subscription_tests!(|| ready(MemoryScenarios::new(5)));
}

mod under_mended_faults {
    use super::*;

    chat_core::durable_subscription_tests!(|| ready(UnderFaults::new(MemoryScenarios::new(1))));
}
