//! Expectations and guards: guarantee 4.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::id::{StreamId, Version};
use crate::ports::{Append, AppendResult, EventStore, EventStoreExt as _, Expected, StoreError};
use crate::testkit::StoreHarness;
use crate::testkit::fixture::{
    assert_conflict, assert_holds, event, events, ids, multi, read_all, single, stream, try_write,
    write, write_each,
};

/// Guarantee 4: "never conflicts".
pub async fn any_holds_for_every_stream(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::Any, events([1])).await;
    write(&*store, &name, Expected::Any, events([2])).await;
    assert_holds(&*store, &name, [1, 2]).await;
}

/// Guarantee 4.
pub async fn no_stream_holds_only_for_an_absent_stream(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::NoStream, events([1, 2])).await;
    let result = try_write(&*store, &name, Expected::NoStream, events([3])).await;
    assert_conflict(&result, &name, Expected::NoStream, Version(2));
    assert_holds(&*store, &name, [1, 2]).await;
}

/// Guarantee 4.
pub async fn exists_holds_only_for_a_stream_with_events(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    let result = try_write(&*store, &name, Expected::Exists, events([1])).await;
    assert_conflict(&result, &name, Expected::Exists, Version::ZERO);
    write(&*store, &name, Expected::Any, events([2])).await;
    write(&*store, &name, Expected::Exists, events([3])).await;
    assert_holds(&*store, &name, [2, 3]).await;
}

/// Guarantee 4.
pub async fn exactly_holds_only_for_that_version(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write_each(&*store, &name, 1..=3).await;
    for wrong in [0, 1, 2, 4, 5, Version::MAX.0] {
        let wrong = Expected::Exactly(Version(wrong));
        let result = try_write(&*store, &name, wrong, events([9])).await;
        assert_conflict(&result, &name, wrong, Version(3));
    }
    write(&*store, &name, Expected::Exactly(Version(3)), events([4, 5])).await;
    write(&*store, &name, Expected::Exactly(Version(5)), events([6])).await;
    assert_holds(&*store, &name, 1..=6).await;
}

/// Guarantee 4, as `Expected::Exactly` says.
pub async fn exactly_zero_is_no_stream(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    let zero = Expected::Exactly(Version::ZERO);
    write(&*store, &name, zero, events([1])).await;
    let result = try_write(&*store, &name, zero, events([2])).await;
    assert_conflict(&result, &name, zero, Version(1));
    let absent = stream("absent");
    let one = Expected::Exactly(Version(1));
    let result = try_write(&*store, &absent, one, events([3])).await;
    assert_conflict(&result, &absent, one, Version::ZERO);
}

/// Guarantee 4, for streams that are not written.
pub async fn guards_hold_as_expectations_do(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [written, there, absent] = ["w/{key}", "there/{key}", "absent/{key}"].map(stream);
    write_each(&*store, &there, [1, 2]).await;
    let exactly = |version| Expected::Exactly(Version(version));
    let mut number = 10;
    for (guarded, head) in [(&there, Version(2)), (&absent, Version::ZERO)] {
        let all = [Expected::Any, Expected::NoStream, Expected::Exists];
        for expected in all.into_iter().chain([0, 1, 2, 3].map(exactly)) {
            number += 1;
            let writes = vec![(&written, Expected::Any, events([number]))];
            let result = store.append_one(multi(writes, vec![(guarded, expected)])).await;
            if expected.holds(head) {
                result.unwrap_or_else(|error| panic!("{expected:?} of {guarded}: {error}"));
            } else {
                assert_conflict(&result, guarded, expected, head);
            }
        }
    }
    // There: any, exists, 2. Absent: any, no stream, 0.
    assert_eq!(read_all(&*store, &written).await.len(), 6);
}

/// Guarantee 4: a guard is "read but not written".
pub async fn a_guarded_stream_is_not_written(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [written, guarded] = ["w/{key}", "g/{key}"].map(stream);
    let guard = vec![(&guarded, Expected::NoStream)];
    let append = multi(vec![(&written, Expected::NoStream, events([1]))], guard);
    store.append_one(append).await.expect("the append");
    assert_eq!(store.head(&guarded).await.expect("head"), Version::ZERO);
    write(&*store, &guarded, Expected::NoStream, events([2])).await;
    assert_holds(&*store, &guarded, [2]).await;
}

/// Sends each append from a task and a handle of its own, all at once.
async fn race(harness: &dyn StoreHarness, appends: Vec<Append>) -> Vec<AppendResult> {
    let start = Arc::new(tokio::sync::Barrier::new(appends.len()));
    let mut tasks = JoinSet::new();
    // A few handles, as a few processes would have them.
    let mut handles: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..4 {
        handles.push(harness.open().await);
    }
    for (index, append) in appends.into_iter().enumerate() {
        let (store, start) = (Arc::clone(&handles[index % 4]), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            (index, store.append_one(append).await)
        });
    }
    let mut results = tasks.join_all().await;
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn is_conflict(result: &AppendResult) -> bool {
    matches!(result, Err(StoreError::Conflict { .. }))
}

/// Guarantee 4: "of n concurrent creators exactly one wins".
pub async fn of_many_creators_exactly_one_wins(harness: &dyn StoreHarness) {
    for round in 0..5 {
        let name = stream(&format!("chat/{round}"));
        let create = |creator| {
            let number = round * 100 + creator;
            single(&name, Expected::NoStream, events([number * 2, number * 2 + 1]))
        };
        let results = race(harness, (0..32).map(create).collect()).await;
        let winners: Vec<_> = (0..32).filter(|index| results[*index].is_ok()).collect();
        assert_eq!(winners.len(), 1, "winners {winners:?} of {results:?}");
        assert_eq!(results.iter().filter(|result| is_conflict(result)).count(), 31);
        let won = (round * 100 + winners[0] as u64) * 2;
        assert_holds(&*harness.open().await, &name, [won, won + 1]).await;
    }
}

/// Guarantee 4: "never conflicts", "however hot the stream".
pub async fn concurrent_appends_that_expect_nothing_all_succeed(harness: &dyn StoreHarness) {
    const WRITERS: u64 = 64;
    let name = stream("hot");
    let append = |number| single(&name, Expected::Any, vec![event(number)]);
    let results = race(harness, (0..WRITERS).map(append).collect()).await;
    let store = harness.open().await;
    let stored = ids(&read_all(&*store, &name).await);
    let mut versions = Vec::new();
    for (number, result) in results.into_iter().enumerate() {
        let appended = result.unwrap_or_else(|error| panic!("writer {number}: {error}"));
        let version = appended.streams[0].first;
        let index = usize::try_from(version.0).expect("a small version") - 1;
        assert_eq!(stored[index], event(number as u64).id, "version {version}");
        versions.push(version);
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=WRITERS).map(Version).collect::<Vec<_>>());
}

/// Guarantee 4: each version is followed by one append only.
pub async fn concurrent_appends_at_one_version_admit_one(harness: &dyn StoreHarness) {
    let name = stream("chat");
    for version in 0..10_u64 {
        let append = |writer| {
            let number = version * 100 + writer;
            single(&name, Expected::Exactly(Version(version)), vec![event(number)])
        };
        let results = race(harness, (0..16).map(append).collect()).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        for result in results.iter().filter(|result| result.is_err()) {
            let expected = Expected::Exactly(Version(version));
            assert_conflict(result, &name, expected, Version(version + 1));
        }
    }
    assert_eq!(read_all(&*harness.open().await, &name).await.len(), 10);
}

/// Guarantee 4: a decision that read two streams stays true at commit. Two writers who each see
/// that the other has not written yet cannot both be right (write skew).
pub async fn concurrent_guards_and_writes_admit_one_order(harness: &dyn StoreHarness) {
    for round in 0..20 {
        let names: [StreamId; 2] =
            ["a", "b"].map(|side| stream(&format!("{side}/{{round-{round}}}")));
        let append = |side: usize| {
            let number = round * 10 + side as u64;
            multi(
                vec![(&names[side], Expected::NoStream, vec![event(number)])],
                vec![(&names[1 - side], Expected::NoStream)],
            )
        };
        let results = race(harness, vec![append(0), append(1)]).await;
        let winner = usize::from(results[1].is_ok());
        let (won, lost) = (&results[winner], &results[1 - winner]);
        assert!(won.is_ok() && is_conflict(lost), "round {round}: {results:?}");
        assert_conflict(lost, &names[winner], Expected::NoStream, Version(1));
    }
}

/// Guarantees 1 and 4: writers that name the same streams in opposite orders do not get in each
/// other's way for good.
pub async fn concurrent_multi_stream_appends_in_any_order_all_succeed(harness: &dyn StoreHarness) {
    const WRITERS: u64 = 32;
    let names: [StreamId; 3] = ["1/{key}", "2/{key}", "3/{key}"].map(stream);
    let append = |writer: u64| {
        let turn =
            |step: u64| (writer + if writer.is_multiple_of(2) { step } else { 3 - step }) % 3;
        let write = |step: u64| {
            let index = usize::try_from(turn(step)).expect("below three");
            (&names[index], Expected::Any, vec![event(writer * 3 + step)])
        };
        multi((0..3).map(write).collect(), vec![])
    };
    for (writer, result) in
        race(harness, (0..WRITERS).map(append).collect()).await.into_iter().enumerate()
    {
        let appended = result.unwrap_or_else(|error| panic!("writer {writer}: {error}"));
        let version = appended.streams[0].first;
        assert!(appended.streams.iter().all(|written| written.first == version), "{appended:?}");
    }
    let store = harness.open().await;
    let heads = store.heads(&names).await.expect("heads");
    assert_eq!(heads, vec![Version(WRITERS); 3]);
}
