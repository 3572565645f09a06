//! Writing: guarantees 1 and 3, order and visibility.

use std::sync::Arc;

use crate::id::{Position, StreamId, Version};
use crate::ports::{Append, Direction, EventStoreExt as _, Expected, PageLimit, WrittenStream};
use crate::testkit::StoreHarness;
use crate::testkit::fixture::{
    assert_absent, assert_conflict, assert_holds, assert_id_reused, assert_new, event, event_id,
    events, multi, read_log, single, stream, write, write_each,
};
use crate::testkit::watch::{self, Watch};

/// An empty call is answered by an empty list.
pub async fn a_call_without_appends_has_no_answers(harness: &dyn StoreHarness) {
    assert!(harness.open().await.append(&[]).await.is_empty());
}

/// Guarantee 3.
pub async fn versions_are_dense_from_one(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let (one, two) = (stream("one"), stream("two"));
    for round in 0..20 {
        write(&*store, &one, Expected::Any, events([round * 10, round * 10 + 1])).await;
        write(&*store, &two, Expected::Any, vec![event(round * 10 + 5)]).await;
    }
    assert_holds(&*store, &one, (0..20).flat_map(|round| [round * 10, round * 10 + 1])).await;
    assert_holds(&*store, &two, (0..20).map(|round| round * 10 + 5)).await;
}

/// Guarantee 3, with as many events as one append may hold.
pub async fn the_largest_append_lands_as_one_run(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("large");
    let most = Append::MAX_EVENTS as u64;
    write(&*store, &name, Expected::NoStream, vec![event(0)]).await;
    let appended = write(&*store, &name, Expected::Exactly(Version(1)), events(1..=most)).await;
    assert_new(harness, &appended);
    let written = appended.streams[0];
    assert_eq!((written.first, written.last), (Version(2), Version(most + 1)));
    assert_holds(&*store, &name, 0..=most).await;
}

/// Guarantee 1, with as many streams as one append may name.
pub async fn an_append_may_write_as_many_streams_as_allowed(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let names: Vec<_> =
        (0..Append::MAX_STREAMS).map(|index| stream(&format!("{{key}}/{index}"))).collect();
    let (guarded, written) = names.split_at(20);
    let write = |(index, name)| (name, Expected::NoStream, vec![event(index as u64)]);
    let writes = written.iter().enumerate().map(write).collect();
    let guards = guarded.iter().map(|name| (name, Expected::NoStream)).collect();
    let appended = store.append_one(multi(writes, guards)).await.expect("the append");
    assert_new(harness, &appended);
    assert_eq!(appended.streams.len(), written.len());
    for (index, name) in written.iter().enumerate() {
        assert_holds(&*store, name, [index as u64]).await;
    }
    assert_absent(&*store, &guarded.iter().collect::<Vec<_>>(), &[]).await;
}

/// A call may hold more appends than a database statement has parameters for.
pub async fn a_call_may_hold_hundreds_of_appends(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let names: Vec<_> = (0..100).map(|index| stream(&format!("chat/{index}"))).collect();
    let appends: Vec<_> = (0..500)
        .map(|number| single(&names[number % 100], Expected::Any, vec![event(number as u64)]))
        .collect();
    let results = store.append(&appends).await;
    assert_eq!(results.len(), appends.len(), "one answer for each append");
    for (index, result) in results.into_iter().enumerate() {
        let version = Version(index as u64 / 100 + 1);
        let written = result.expect("an append").streams[0];
        assert_eq!((written.first, written.last), (version, version), "append {index}");
    }
    for (index, name) in names.iter().enumerate() {
        assert_holds(&*store, name, (0..5).map(|round| round * 100 + index as u64)).await;
    }
}

/// The answer names versions and the log position of each write's last event.
pub async fn answers_say_where_each_write_landed(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let (one, two) = (stream("one/{key}"), stream("two/{key}"));
    write_each(&*store, &one, 1..=3).await;
    let writes =
        vec![(&two, Expected::Any, events([4, 5])), (&one, Expected::Any, events([6, 7, 8]))];
    let appended = store.append_one(multi(writes, vec![])).await.expect("the append");
    let log = read_log(&*store, store.partition_of(&one), 100).await;
    let position = |number| {
        let found = log.iter().find(|event| event.event.id == event_id(number));
        found.expect("the event is in the log").position
    };
    let landed = |first, last, number| WrittenStream {
        first: Version(first),
        last: Version(last),
        position: position(number),
    };
    assert_eq!(appended.streams, vec![landed(1, 2, 5), landed(4, 6, 8)]);
    assert!(position(4) > position(3), "positions rise");
    assert!(position(1) > Position::ZERO, "the first position lies behind zero");
}

/// "A later one sees the earlier ones."
pub async fn appends_of_one_call_take_effect_in_order(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let (name, other) = (stream("a/{key}"), stream("b/{key}"));
    let appends = [
        single(&name, Expected::NoStream, events([1])),
        single(&name, Expected::Exactly(Version(1)), events([2, 3])),
        multi(
            vec![(&other, Expected::NoStream, events([4]))],
            vec![(&name, Expected::Exactly(Version(3)))],
        ),
        multi(vec![(&name, Expected::Any, events([5]))], vec![(&other, Expected::Exists)]),
    ];
    for (index, result) in store.append(&appends).await.into_iter().enumerate() {
        let appended = result.unwrap_or_else(|error| panic!("append {index}: {error}"));
        assert_new(harness, &appended);
    }
    assert_holds(&*store, &name, [1, 2, 3, 5]).await;
    assert_holds(&*store, &other, [4]).await;
    let log = read_log(&*store, store.partition_of(&name), 100).await;
    let order: Vec<_> = log.iter().map(|event| event.event.id).collect();
    assert_eq!(order, [1, 2, 3, 4, 5].map(event_id), "the log keeps the order of the call");
}

/// "An append that fails leaves the others untouched."
pub async fn each_append_of_a_call_stands_alone(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [one, two, three] = ["one", "two", "three"].map(stream);
    write(&*store, &one, Expected::Any, events([1])).await;
    // No stream is written behind its conflict, so that a retry of the call meets the same one.
    let appends = [
        single(&two, Expected::NoStream, events([2])),
        single(&one, Expected::Exactly(Version(1)), events([3])),
        single(&one, Expected::NoStream, events([4])),
        single(&two, Expected::Exactly(Version(1)), events([5])),
        single(&two, Expected::Exactly(Version(7)), events([6])),
        single(&three, Expected::NoStream, events([7])),
    ];
    let results = store.append(&appends).await;
    assert_eq!(results.len(), 6, "one answer for each append");
    for index in [0, 1, 3, 5] {
        assert_new(harness, results[index].as_ref().expect("an append that holds"));
    }
    assert_conflict(&results[2], &one, Expected::NoStream, Version(2));
    assert_conflict(&results[4], &two, Expected::Exactly(Version(7)), Version(2));
    assert_holds(&*store, &one, [1, 3]).await;
    assert_holds(&*store, &two, [2, 5]).await;
    assert_holds(&*store, &three, [7]).await;
}

/// Guarantee 1.
pub async fn a_refused_write_leaves_nothing_of_the_others(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [one, two, three] = ["1/{key}", "2/{key}", "3/{key}"].map(stream);
    write(&*store, &two, Expected::Any, events([1])).await;
    let writes = vec![
        (&one, Expected::Any, events([2, 3])),
        (&two, Expected::NoStream, events([4])),
        (&three, Expected::Any, events([5])),
    ];
    let result = store.append_one(multi(writes, vec![])).await;
    assert_conflict(&result, &two, Expected::NoStream, Version(1));
    assert_absent(&*store, &[&one, &three], &[2, 3, 5].map(event_id)).await;
    assert_holds(&*store, &two, [1]).await;
    // The ids were not used up.
    write(&*store, &one, Expected::NoStream, events([2, 3])).await;
    assert_holds(&*store, &one, [2, 3]).await;
}

/// Guarantees 1 and 4.
pub async fn a_refused_guard_leaves_nothing_of_the_writes(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [one, two, three] = ["1/{key}", "2/{key}", "3/{key}"].map(stream);
    write(&*store, &three, Expected::Any, events([1, 2])).await;
    let writes = vec![(&one, Expected::Any, events([3])), (&two, Expected::Any, events([4]))];
    let wrong = Expected::Exactly(Version(1));
    let result = store.append_one(multi(writes, vec![(&three, wrong)])).await;
    assert_conflict(&result, &three, wrong, Version(2));
    assert_absent(&*store, &[&one, &two], &[3, 4].map(event_id)).await;
    assert_holds(&*store, &three, [1, 2]).await;
}

/// Guarantees 1 and 5.
pub async fn a_reused_id_in_one_write_leaves_nothing_of_the_others(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [one, two] = ["1/{key}", "2/{key}"].map(stream);
    write(&*store, &two, Expected::Any, events([1])).await;
    let writes = vec![
        (&one, Expected::Any, events([2])),
        (&two, Expected::Any, vec![super::other_payload(1)]),
    ];
    let result = store.append_one(multi(writes, vec![])).await;
    assert_id_reused(&result, &two, event_id(1));
    assert_absent(&*store, &[&one], &[event_id(2)]).await;
    assert_holds(&*store, &two, [1]).await;
}

/// Guarantee 1, watched by concurrent readers.
pub async fn no_reader_sees_half_of_an_append(harness: &dyn StoreHarness) {
    let names: [StreamId; 3] = ["1/{key}", "2/{key}", "3/{key}"].map(stream);
    let mut watch = Watch::default();
    for reader in 0..3 {
        let (store, names) = (harness.open().await, names.clone());
        watch.reader(move || {
            let (store, names) = (Arc::clone(&store), names.clone());
            Box::pin(async move {
                if reader == 0 {
                    let partition = store.partition_of(&names[0]);
                    let limit = PageLimit::events(999);
                    let page = store.read_log(partition, Position::ZERO, limit).await;
                    let events = page.expect("the log").events.len();
                    assert_eq!(events % 3, 0, "half an append in the log");
                } else {
                    let heads = store.heads(&names).await.expect("heads");
                    assert!(heads.iter().all(|head| *head == heads[0]), "half: {heads:?}");
                }
            })
        });
    }
    let store = harness.open().await;
    watch::write(async move {
        for round in 0..100 {
            let write = |index: usize| {
                (&names[index], Expected::Any, vec![event(round * 3 + index as u64)])
            };
            let append = multi((0..3).map(write).collect(), vec![]);
            store.append_one(append).await.expect("the append");
            watch.look().await;
        }
        watch.end().await;
    })
    .await;
}

/// "An acknowledged append is visible to every read that starts after the acknowledgement."
pub async fn what_is_acknowledged_is_seen_by_every_read(harness: &dyn StoreHarness) {
    let (store, other) = (harness.open().await, harness.open().await);
    let name = stream("chat");
    for number in 1..=30 {
        let appended = write(&*store, &name, Expected::Any, vec![event(number)]).await;
        for handle in [&store, &other] {
            let version = Version(number);
            assert_eq!(handle.head(&name).await.expect("head"), version);
            let found = handle.find(&name, event_id(number)).await.expect("find");
            assert_eq!(found.map(|event| event.version), Some(version));
            let limit = PageLimit::events(1);
            let page = handle.read_stream(&name, Direction::Backward, Version::MAX, limit).await;
            assert_eq!(page.expect("a page").events[0].version, version);
            let before = Position(appended.streams[0].position.0 - 1);
            let page = handle.read_log(handle.partition_of(&name), before, limit).await;
            assert_eq!(page.expect("the log").events[0].version, version);
        }
    }
}
