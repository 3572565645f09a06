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
