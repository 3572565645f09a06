//! Repeats among other appends and over several streams: guarantee 5.

use crate::id::Version;
use crate::ports::{EventStoreExt as _, Expected, StoreError};
use crate::testkit::StoreHarness;
use crate::testkit::fixture::{
    assert_conflict, assert_holds, assert_id_reused, assert_new, event, event_id, event_with,
    events, multi, single, stream, write,
};

/// Guarantees 1 and 5.
pub async fn an_append_to_several_streams_can_be_repeated(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [one, two, guarded] = ["1/{key}", "2/{key}", "g/{key}"].map(stream);
    let writes =
        vec![(&two, Expected::NoStream, events([1, 2])), (&one, Expected::NoStream, events([3]))];
    let append = multi(writes, vec![(&guarded, Expected::NoStream)]);
    let first = store.append_one(append.clone()).await.expect("the first");
    // None of its expectations holds any more.
    for (number, name) in [(10, &one), (11, &two), (12, &guarded)] {
        write(&*store, name, Expected::Any, vec![event(number)]).await;
    }
    for handle in [&store, &harness.open().await] {
        let again = handle.append_one(append.clone()).await.expect("the repeat");
        assert!(again.repeat, "a repeat is answered as new");
        assert_eq!(again.streams, first.streams);
    }
    assert_holds(&*store, &one, [3, 10]).await;
    assert_holds(&*store, &two, [1, 2, 11]).await;
}

/// Guarantee 5: "only some of them do", across streams.
pub async fn a_repeat_of_only_one_of_several_writes_is_refused(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [one, two] = ["1/{key}", "2/{key}"].map(stream);
    write(&*store, &two, Expected::Any, events([1])).await;
    let writes = vec![(&one, Expected::Any, events([2])), (&two, Expected::Any, events([1]))];
    let result = store.append_one(multi(writes, vec![])).await;
    assert_id_reused(&result, &two, event_id(1));
    assert_eq!(store.head(&one).await.expect("head"), Version::ZERO);
    assert_holds(&*store, &two, [1]).await;
}

/// Guarantee 5 within one call, where "a later one sees the earlier ones".
pub async fn the_second_of_the_same_append_in_one_call_is_a_repeat(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    let append = single(&name, Expected::NoStream, events([1, 2]));
    let reused = single(&name, Expected::Any, vec![super::other_payload(2)]);
    let results = store.append(&[append.clone(), append, reused]).await;
    let first = results[0].as_ref().expect("the first");
    let second = results[1].as_ref().expect("the second");
    assert_new(harness, first);
    assert!(second.repeat, "the second is answered as new");
    assert_eq!(first.streams, second.streams);
    assert_id_reused(&results[2], &name, event_id(2));
    assert_holds(&*store, &name, [1, 2]).await;
}

/// Guarantees 1, 3, 4 and 5 in one call: each append gets its own answer.
pub async fn a_call_of_everything_answers_each(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let [one, two, three, absent] = ["1/{key}", "2/{key}", "3/{key}", "4/{key}"].map(stream);
    let old = write(&*store, &one, Expected::Any, events([1, 2])).await;
    let exactly = |version| Expected::Exactly(Version(version));
    // No stream is written behind its conflict, so that a retry of the call meets the same one.
    let appends = [
        single(&one, exactly(2), events([3])),
        single(&one, Expected::NoStream, events([1, 2])),
        single(&absent, Expected::Exists, events([4])),
        single(&one, Expected::Any, vec![event_with(2, "{}")]),
        multi(
            vec![(&two, Expected::NoStream, events([5])), (&three, Expected::Any, events([6, 7]))],
            vec![(&one, exactly(3))],
        ),
        single(&three, exactly(2), events([11])),
        multi(
            vec![(&one, Expected::Any, events([8])), (&three, Expected::NoStream, events([9]))],
            vec![],
        ),
        single(&one, Expected::Any, events([3, 10])),
    ];
    let results = store.append(&appends).await;
    assert_eq!(results.len(), appends.len());
    for index in [0, 4, 5] {
        let answer = results[index].as_ref();
        assert_new(harness, answer.unwrap_or_else(|error| panic!("append {index}: {error}")));
    }
    let repeat = results[1].as_ref().expect("the repeat");
    assert!(repeat.repeat && repeat.streams == old.streams, "{repeat:?}");
    assert_conflict(&results[2], &absent, Expected::Exists, Version::ZERO);
    assert_id_reused(&results[3], &one, event_id(2));
    assert_conflict(&results[6], &three, Expected::NoStream, Version(3));
    assert_id_reused(&results[7], &one, event_id(3));
    assert_holds(&*store, &one, [1, 2, 3]).await;
    assert_holds(&*store, &two, [5]).await;
    assert_holds(&*store, &three, [6, 7, 11]).await;
}

/// "A store accepts it or answers `IdReused`, and never mixes the two up."
pub async fn an_id_in_two_streams_is_never_mixed_up(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    // In one partition and, where there are several, most likely in two.
    for (one, two, number) in [("1/{key}", "2/{key}", 1), ("chat/a", "chat/b", 11)] {
        let (one, two) = (stream(one), stream(two));
        let both = [number, number + 1];
        let first = write(&*store, &one, Expected::NoStream, events(both)).await;
        for other in [event(number), super::other_payload(number)] {
            let append = single(&two, Expected::NoStream, vec![other.clone()]);
            match store.append_one(append.clone()).await {
                Ok(appended) => {
                    assert_new(harness, &appended);
                    assert_eq!(appended.streams[0].first, Version(1));
                    let found = store.find(&two, event_id(number)).await.expect("find");
                    let expected = (&two, Version(1), &other);
                    let found = found.expect("the event of the second stream");
                    assert_eq!((&found.stream, found.version, &found.event), expected);
                    let again = store.append_one(append).await.expect("the repeat");
                    assert!(again.repeat && again.streams == appended.streams, "{again:?}");
                    // It stands there now; the other content would be refused.
                    break;
                }
                Err(StoreError::IdReused { .. }) => {
                    assert_eq!(store.head(&two).await.expect("head"), Version::ZERO);
                }
                Err(error) => panic!("an id in two streams: {error}"),
            }
        }
        let again = write(&*store, &one, Expected::NoStream, events(both)).await;
        assert!(again.repeat && again.streams == first.streams, "{again:?}");
        let found = store.find(&one, event_id(number)).await.expect("find").expect("the first");
        assert_eq!((&found.stream, found.version), (&one, Version(1)));
        assert_holds(&*store, &one, both).await;
    }
}
