//! The memory adapters keep their contracts.

mod one_partition {
    use std::future::ready;

    use chat_core::testkit::MemoryStoreHarness;

    chat_core::event_store_tests!(|| ready(MemoryStoreHarness::new(1)));
}

mod four_partitions {
    use std::future::ready;

    use chat_core::testkit::MemoryStoreHarness;

    chat_core::event_store_tests!(|| ready(MemoryStoreHarness::new(4)));
}

mod views {
    use std::future::ready;

    use chat_core::testkit::MemoryViewHarness;

    chat_core::view_store_tests!(|| ready(MemoryViewHarness::new()));
}

mod bus {
    use std::future::ready;

    use chat_core::testkit::MemoryBusHarness;

    chat_core::event_bus_tests!(|| ready(MemoryBusHarness::new()));
}
