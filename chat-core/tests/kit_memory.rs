//! The memory adapters keep their contracts.

mod one_partition {
    use chat_core::testkit::MemoryStoreHarness;

    async fn fresh() -> MemoryStoreHarness {
        MemoryStoreHarness::new(1)
    }

    chat_core::event_store_tests!(fresh);
}

mod four_partitions {
    use chat_core::testkit::MemoryStoreHarness;

    async fn fresh() -> MemoryStoreHarness {
        MemoryStoreHarness::new(4)
    }

    chat_core::event_store_tests!(fresh);
}
