//! Further handles, incarnation and namespaces: guarantees 2, 8 and 11.

use crate::id::{Namespace, PartitionId, Position, Version};
use crate::ports::{EventStoreExt as _, Expected, PageLimit};
use crate::testkit::StoreHarness;
use crate::testkit::audit::audit_all;
use crate::testkit::fixture::{
    assert_conflict, assert_holds, assert_new, event_id, events, partitions, read_log, stream,
    try_write, write, write_each,
};

/// Guarantees 2 and 3: what one process wrote, the next one finds and continues.
pub async fn a_second_handle_sees_everything_and_goes_on(harness: &dyn StoreHarness) {
    let names = ["one", "two", "three"].map(stream);
    let mut number = 0;
    for life in 0..4_u64 {
        // The handle of the life before is gone.
        let store = harness.open().await;
        for name in &names {
            let head = Version(life * 3);
            assert_eq!(store.head(name).await.expect("head"), head);
            let result = try_write(&*store, name, Expected::Exactly(head.next()), events([9_999]));
            assert_conflict(&result.await, name, Expected::Exactly(head.next()), head);
            write(&*store, name, Expected::Exactly(head), events(number..number + 3)).await;
            number += 3;
        }
        assert_eq!(audit_all(&store).await, usize::try_from(number).expect("a small number"));
    }
    let store = harness.open().await;
    for (index, name) in (0..).zip(&names) {
        let numbers = (0..4).flat_map(|life| (0..3).map(move |n| life * 9 + index * 3 + n));
        assert_holds(&*store, name, numbers).await;
    }
}

/// Guarantee 8, and `partitions` "fixed for the life of the namespace".
pub async fn info_is_the_same_for_every_handle(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let info = store.info().await.expect("info");
    assert!(info.partitions >= 1);
    write_each(&*store, &stream("chat"), 0..3).await;
    assert_eq!(store.info().await.expect("info"), info, "after writing");
    drop(store);
    for _ in 0..3 {
        assert_eq!(harness.open().await.info().await.expect("info"), info, "reopened");
    }
}

/// Guarantee 11: same names, same ids, nothing shared.
pub async fn namespaces_never_see_each_other(harness: &dyn StoreHarness) {
    let namespace = |name| Namespace::new(name).expect("a name within the rules");
    let home = harness.open().await;
    let one = harness.open_namespace(&namespace("one")).await;
    let longest = namespace("one_1234567890_abcdefghi");
    let two = harness.open_namespace(&longest).await;
    let name = stream("chat");
    for (life, store) in [&home, &one, &two].into_iter().enumerate() {
        assert_eq!(store.head(&name).await.expect("head"), Version::ZERO, "store {life}");
        assert!(store.find(&name, event_id(1)).await.expect("find").is_none());
        let count = u64::try_from(life).expect("a small number") + 2;
        let appended = write(&**store, &name, Expected::NoStream, events(1..count)).await;
        assert_new(harness, &appended);
        assert_eq!(appended.streams[0].first, Version(1));
    }
    for (life, store) in [&home, &one, &two].into_iter().enumerate() {
        let count = u64::try_from(life).expect("a small number") + 2;
        assert_holds(&**store, &name, 1..count).await;
        let mut logged = 0;
        for partition in partitions(&**store).await {
            logged += read_log(&**store, partition, 10).await.len();
        }
        assert_eq!(logged, life + 1, "the log holds what this namespace wrote");
    }
    // A second handle on the same namespace sees its data.
    let again = harness.open_namespace(&longest).await;
    assert_holds(&*again, &name, 1..4).await;
    let page = again.read_log(PartitionId(0), Position::ZERO, PageLimit::events(1)).await;
    page.expect("the log of the namespace");
}
