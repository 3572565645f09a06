//! Every scenario over the memory stores: with one partition, with several, and under faults.

mod plain {
    use std::future::ready;

    chat_core::scenario_tests!(|| ready(chat_core::testkit::scenarios::MemoryScenarios::new(1)));
}

mod partitions {
    use std::future::ready;

    chat_core::scenario_tests!(|| ready(chat_core::testkit::scenarios::MemoryScenarios::new(4)));
}

mod faults {
    use std::future::ready;

    use chat_core::testkit::UnderFaults;
    use chat_core::testkit::scenarios::MemoryScenarios;

    chat_core::scenario_tests!(|| ready(UnderFaults::new(MemoryScenarios::new(1))));
}
