//! Repeating an append: guarantee 5.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::event::{EventType, Json, NewEvent};
use crate::id::Version;
use crate::ports::{Appended, EventStore, EventStoreExt as _, Expected};
use crate::testkit::fixture::{
    assert_holds, assert_id_reused, assert_new, event, event_id, event_with, events, ids, read_all,
    single, stream, try_write, write, write_each,
};
use crate::testkit::{Answers, StoreHarness};

fn assert_repeat(again: &Appended, first: &Appended) {
    assert!(again.repeat, "a repeat is answered as new");
    assert_eq!(again.streams, first.streams, "a repeat gets the first answer");
}

/// Guarantee 5: "the answer is the first one".
pub async fn a_repeat_gets_the_first_answer(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::Any, events([1])).await;
    let append = single(&name, Expected::Any, events([2, 3, 4]));
    let first = store.append_one(append.clone()).await.expect("the first");
    assert_new(harness, &first);
    for _ in 0..3 {
        let again = store.append_one(append.clone()).await.expect("the repeat");
        assert_repeat(&again, &first);
    }
    assert_holds(&*store, &name, 1..=4).await;
}

/// Guarantee 5: "whatever was expected".
pub async fn a_repeat_is_not_held_to_its_expectation(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    let first = write(&*store, &name, Expected::NoStream, events([1, 2])).await;
    write(&*store, &name, Expected::Any, events([3])).await;
    let exactly = |version| Expected::Exactly(Version(version));
    let stale = [Expected::NoStream, exactly(0), exactly(1), exactly(99), Expected::Exists];
    for expected in stale {
        let again = write(&*store, &name, expected, events([1, 2])).await;
        assert_repeat(&again, &first);
    }
    assert_holds(&*store, &name, 1..=3).await;
}

/// Guarantee 5: "for ever", "without a time window".
pub async fn a_repeat_is_known_after_thousands_of_events(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    let first = write(&*store, &name, Expected::NoStream, events([1])).await;
    for thousand in 1..=3 {
        write(&*store, &name, Expected::Any, events(thousand * 1_000..thousand * 1_000 + 1_000))
            .await;
    }
    let again = write(&*store, &name, Expected::NoStream, events([1])).await;
    assert_repeat(&again, &first);
    let result = try_write(&*store, &name, Expected::Any, vec![super::other_payload(1)]).await;
    assert_id_reused(&result, &name, event_id(1));
    assert_eq!(store.head(&name).await.expect("head"), Version(3_001));
}

/// Guarantee 5, across processes.
pub async fn a_repeat_is_known_to_another_handle(harness: &dyn StoreHarness) {
    let name = stream("chat");
    let first = write(&*harness.open().await, &name, Expected::NoStream, events([1, 2])).await;
    let other = harness.open().await;
    let again = write(&*other, &name, Expected::NoStream, events([1, 2])).await;
    assert_repeat(&again, &first);
    assert_holds(&*other, &name, [1, 2]).await;
}

/// Guarantee 5: 64 at once, from several handles, write one event.
pub async fn concurrent_repeats_write_once(harness: &dyn StoreHarness) {
    const TASKS: usize = 64;
    let mut handles: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..4 {
        handles.push(harness.open().await);
    }
    for (expected, numbers) in [(Expected::Any, [1, 2]), (Expected::NoStream, [3, 4])] {
        let name = stream(&format!("chat/{expected:?}"));
        let append = single(&name, expected, events(numbers));
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (store, append) = (Arc::clone(&handles[task % 4]), append.clone());
            tasks.spawn(async move { store.append_one(append).await });
        }
        let results = tasks.join_all().await;
        let answers: Vec<_> = results
            .into_iter()
            .map(|result| result.expect("each is the first or a repeat"))
            .collect();
        let new = answers.iter().filter(|answer| !answer.repeat).count();
        match harness.answers() {
            Answers::Certain => assert_eq!(new, 1, "answers as new"),
            Answers::MayBeLost => assert!(new <= 1, "{new} answers as new"),
        }
        assert!(answers.iter().all(|answer| answer.streams == answers[0].streams), "{answers:?}");
        assert_holds(&*handles[0], &name, numbers).await;
    }
}

/// Writes the event of number 1, tries the other one under its id, and checks what stays.
async fn refuses(harness: &dyn StoreHarness, other: NewEvent) {
    let store = harness.open().await;
    let name = stream("chat");
    write_each(&*store, &name, [1, 2]).await;
    let result = try_write(&*store, &name, Expected::Any, vec![other.clone()]).await;
    assert_id_reused(&result, &name, event_id(1));
    let other_handle = harness.open().await;
    let result = try_write(&*other_handle, &name, Expected::Any, vec![other]).await;
    assert_id_reused(&result, &name, event_id(1));
    assert_holds(&*store, &name, [1, 2]).await;
}

/// Guarantee 5: content is compared byte for byte, not as JSON.
pub async fn an_id_with_another_payload_is_refused(harness: &dyn StoreHarness) {
    refuses(harness, event_with(1, r#"{"number": 1}"#)).await;
}

/// Guarantee 5.
pub async fn an_id_with_another_type_is_refused(harness: &dyn StoreHarness) {
    let event_type = EventType::from_static("Noted");
    refuses(harness, NewEvent { event_type, ..event(1) }).await;
}

/// Guarantee 5.
pub async fn an_id_with_another_schema_version_is_refused(harness: &dyn StoreHarness) {
    refuses(harness, NewEvent { schema_version: 2, ..event(1) }).await;
}

/// Guarantee 5: "checked before the expectations".
pub async fn an_id_is_refused_before_expectations_are_looked_at(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::Any, events([1])).await;
    let result = try_write(&*store, &name, Expected::NoStream, vec![super::other_payload(1)]).await;
    assert_id_reused(&result, &name, event_id(1));
    let wrong = Expected::Exactly(Version(7));
    let result = try_write(&*store, &name, wrong, events([1, 2])).await;
    assert_id_reused(&result, &name, event_id(1));
    assert_holds(&*store, &name, [1]).await;
}

/// "`recorded_at` and `metadata` may differ in a repeat; the first stay."
pub async fn the_first_time_and_metadata_stay(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    let with = |number, metadata: Option<&'static str>| NewEvent {
        metadata: metadata.map(Json::from_text),
        ..event(number)
    };
    let first = vec![with(1, Some(r#"{"device":"a"}"#)), with(2, None)];
    let written = write(&*store, &name, Expected::NoStream, first.clone()).await;
    let mut later = vec![with(1, None), with(2, Some(r#"{"device":"b"}"#))];
    for event in &mut later {
        event.recorded_at = Timestamp(event.recorded_at.0 + 1_000);
    }
    let again = write(&*store, &name, Expected::NoStream, later).await;
    assert_repeat(&again, &written);
    let stored: Vec<_> =
        read_all(&*store, &name).await.iter().map(|event| event.event.clone()).collect();
    assert_eq!(stored, first);
}

/// Guarantee 5: all ids of the append stand there, as one run.
pub async fn a_part_of_an_append_may_be_repeated(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::NoStream, events([1, 2, 3, 4])).await;
    let again = write(&*store, &name, Expected::NoStream, events([2, 3])).await;
    assert!(again.repeat);
    assert_eq!((again.streams[0].first, again.streams[0].last), (Version(2), Version(3)));
    let position = read_all(&*store, &name).await[2].position;
    assert_eq!(again.streams[0].position, position, "the position of the last of the run");
    assert_holds(&*store, &name, 1..=4).await;
}

/// Guarantee 5: it does not matter in how many appends the run came.
pub async fn several_appends_may_be_repeated_as_one(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::Any, events([1, 2])).await;
    let last = write(&*store, &name, Expected::Any, events([3])).await;
    let again = write(&*store, &name, Expected::NoStream, events([1, 2, 3])).await;
    assert!(again.repeat);
    assert_eq!((again.streams[0].first, again.streams[0].last), (Version(1), Version(3)));
    assert_eq!(again.streams[0].position, last.streams[0].position);
    assert_holds(&*store, &name, 1..=3).await;
}

/// Guarantee 5: "only some of them do".
pub async fn a_repeat_with_something_new_is_refused(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::Any, events([1, 2])).await;
    for (numbers, known) in [([2, 3], 2), ([3, 1], 1), ([3, 2], 2)] {
        let result = try_write(&*store, &name, Expected::Any, events(numbers)).await;
        assert_id_reused(&result, &name, event_id(known));
    }
    assert_holds(&*store, &name, [1, 2]).await;
    // The new id was not used up.
    write(&*store, &name, Expected::Exactly(Version(2)), events([3])).await;
}

/// Guarantee 5: "in the order given".
pub async fn a_repeat_in_another_order_is_refused(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::Any, events([1, 2, 3])).await;
    for numbers in [vec![2, 1], vec![3, 2, 1], vec![1, 3, 2]] {
        let result = try_write(&*store, &name, Expected::Any, events(numbers.clone())).await;
        super::assert_id_reused_among(&result, &name, &numbers);
    }
    assert_holds(&*store, &name, [1, 2, 3]).await;
}

/// Guarantee 5: "as one run".
pub async fn a_repeat_with_a_gap_is_refused(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    write(&*store, &name, Expected::Any, events([1, 2, 3])).await;
    let result = try_write(&*store, &name, Expected::Any, events([1, 3])).await;
    super::assert_id_reused_among(&result, &name, &[1, 3]);
    assert_eq!(ids(&read_all(&*store, &name).await), [1, 2, 3].map(event_id));
}
