//! Reading streams by pages, by id, and heads: guarantee 7.

use std::sync::Arc;

use crate::event::RecordedEvent;
use crate::id::{StreamId, Version};
use crate::ports::{Direction, EventStoreExt as _, Expected, PageLimit};
use crate::testkit::StoreHarness;
use crate::testkit::fixture::{
    event, event_id, event_with, events, multi, read_all, single, stream, write, write_each,
};
use crate::testkit::watch::{self, Watch};

/// What a page must hold, taken from all events of the stream.
fn expected(
    all: &[Arc<RecordedEvent>],
    direction: Direction,
    from: Version,
    limit: usize,
) -> Vec<Arc<RecordedEvent>> {
    let limit = limit.clamp(1, PageLimit::MAX_EVENTS);
    let forward = all.iter().filter(|event| event.version > from);
    let backward = all.iter().rev().filter(|event| event.version < from);
    match direction {
        Direction::Forward => forward.take(limit).cloned().collect(),
        Direction::Backward => backward.take(limit).cloned().collect(),
    }
}

/// Guarantee 7.
pub async fn streams_are_read_both_ways_from_every_version_with_every_limit(
    harness: &dyn StoreHarness,
) {
    const EVENTS: u64 = 20;
    let store = harness.open().await;
    let name = stream("chat");
    write_each(&*store, &stream("before"), 100..105).await;
    write(&*store, &name, Expected::Any, events(0..EVENTS)).await;
    write_each(&*store, &stream("behind"), 200..205).await;
    let all = read_all(&*store, &name).await;
    for direction in [Direction::Forward, Direction::Backward] {
        for from in (0..=EVENTS + 2).chain([Version::MAX.0]).map(Version) {
            for events in [0, 1, 2, 7, 19, 20, 21, 1_000, usize::MAX] {
                let limit = PageLimit { events, bytes: usize::MAX };
                let page = store.read_stream(&name, direction, from, limit).await.expect("a page");
                let expected = expected(&all, direction, from, events);
                assert_eq!(page.events, expected, "{direction:?} from {from}, {events} events");
                assert_eq!(page.head, Version(EVENTS));
            }
        }
    }
}

/// Guarantee 7: "a page that is not empty makes progress whatever its bound in bytes".
pub async fn a_page_heeds_the_limit_in_bytes(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    for number in 0..10 {
        let text = format!("\"{}\"", "x".repeat(number * 100));
        write(&*store, &name, Expected::Any, vec![event_with(number as u64, &text)]).await;
    }
    let mut all = read_all(&*store, &name).await;
    for direction in [Direction::Forward, Direction::Backward] {
        let from = if direction == Direction::Forward { Version::ZERO } else { Version::MAX };
        for bytes in [0, 1, 66, 67, 232, 966, 967, 1_000, 5_160, 6_000, usize::MAX] {
            let limit = PageLimit::events(1_000).with_bytes(bytes);
            let page = store.read_stream(&name, direction, from, limit).await.expect("a page");
            let reach = super::reach(&all, bytes);
            assert_eq!(page.events, all[..reach], "{direction:?}, {bytes} bytes");
            assert_eq!(page.head, Version(10), "the head does not depend on the limit");
            let both = PageLimit { events: 2, bytes };
            let page = store.read_stream(&name, direction, from, both).await.expect("a page");
            assert_eq!(page.events.len(), reach.min(2));
        }
        all.reverse();
    }
}

/// Guarantee 7, for pages of more events than an adapter may read in one go.
pub async fn long_pages_heed_both_limits(harness: &dyn StoreHarness) {
    const EVENTS: u64 = 400;
    let store = harness.open().await;
    let name = stream("chat");
    for first in (0..EVENTS).step_by(100) {
        let sized = (first..first + 100).map(|number| {
            // Most are small, and a few have hundreds of times as much.
            let size = if number % 90 == 80 { 20_000 } else { number * 7 % 50 };
            event_with(number, &format!("\"{}\"", "x".repeat(size as usize)))
        });
        write(&*store, &name, Expected::Any, sized.collect()).await;
    }
    let all = read_all(&*store, &name).await;
    assert_eq!(all.len() as u64, EVENTS);
    for direction in [Direction::Forward, Direction::Backward] {
        for from in [0, 1, 64, 200, EVENTS, Version::MAX.0].map(Version) {
            for events in [63, 65, 129, 1_000] {
                for bytes in [1, 20_000, 100_000, usize::MAX] {
                    let limit = PageLimit { events, bytes };
                    let page = store.read_stream(&name, direction, from, limit).await;
                    let page = page.expect("a page");
                    let mut expected = expected(&all, direction, from, events);
                    expected.truncate(super::reach(&expected, bytes));
                    assert_eq!(page.events, expected, "{direction:?} from {from}, {limit:?}");
                    assert_eq!(page.head, Version(EVENTS));
                }
            }
        }
    }
}

/// `read_stream`: "an empty page with head zero, not an error".
pub async fn an_absent_stream_is_an_empty_page(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    write_each(&*store, &stream("chat/1"), 0..3).await;
    let absent = stream("chat");
    for direction in [Direction::Forward, Direction::Backward] {
        for from in [Version::ZERO, Version(1), Version::MAX] {
            let page = store.read_stream(&absent, direction, from, PageLimit::events(5)).await;
            let page = page.expect("an absent stream is not an error");
            assert_eq!((page.events.len(), page.head), (0, Version::ZERO));
        }
    }
}

/// Guarantee 7: "each one consistent look": the head fits the events.
pub async fn a_page_is_one_consistent_look(harness: &dyn StoreHarness) {
    let name = stream("chat");
    let mut watch = Watch::default();
    for direction in [Direction::Forward, Direction::Backward] {
        let (store, name) = (harness.open().await, name.clone());
        let from = if direction == Direction::Forward { Version::ZERO } else { Version::MAX };
        watch.reader(move || {
            let (store, name) = (Arc::clone(&store), name.clone());
            Box::pin(async move {
                let limit = PageLimit::events(1_000);
                let page = store.read_stream(&name, direction, from, limit).await.expect("a page");
                assert_eq!(page.head, Version(page.events.len() as u64), "{direction:?}");
                assert!(page.head.0.is_multiple_of(3), "half an append is seen: {}", page.head);
            })
        });
    }
    let store = harness.open().await;
    watch::write(async move {
        for round in 0..100 {
            write(&*store, &name, Expected::Any, events(round * 3..round * 3 + 3)).await;
            watch.look().await;
        }
        watch.end().await;
    })
    .await;
}

/// Guarantee 7.
pub async fn find_finds_by_stream_and_id(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let (one, two) = (stream("one"), stream("two"));
    write(&*store, &one, Expected::Any, events(0..10)).await;
    write(&*store, &two, Expected::Any, events(10..20)).await;
    for (name, other, numbers) in [(&one, &two, 0..10), (&two, &one, 10..20)] {
        let all = read_all(&*store, name).await;
        for number in numbers {
            let index = usize::try_from(number % 10).expect("a digit");
            let found = store.find(name, event_id(number)).await.expect("find");
            assert_eq!(found.as_ref(), Some(&all[index]));
            assert!(store.find(other, event_id(number)).await.expect("find").is_none());
        }
    }
    assert!(store.find(&one, event_id(99)).await.expect("find").is_none());
    assert!(store.find(&stream("absent"), event_id(1)).await.expect("find").is_none());
}

/// `heads`: "in the order asked; zero where there is none".
pub async fn heads_are_told_in_the_order_asked(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let names = ["b", "absent", "a", "c", "also absent", "a"].map(stream);
    write_each(&*store, &names[0], 0..2).await;
    write_each(&*store, &names[2], 10..15).await;
    write(&*store, &names[3], Expected::Any, events(20..23)).await;
    let expected = [2, 0, 5, 3, 0, 5].map(Version).to_vec();
    assert_eq!(store.heads(&names).await.expect("heads"), expected);
    assert_eq!(store.heads(&[]).await.expect("no heads"), vec![]);
    assert_eq!(store.head(&names[3]).await.expect("head"), Version(3));
}

/// `heads` has no bound on the number of streams.
pub async fn heads_of_thousands_of_streams_come_in_one_call(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let names: Vec<_> = (0..3_000).map(|index| stream(&format!("chat/{index}"))).collect();
    let written = names.iter().enumerate().step_by(30);
    let appends: Vec<_> = written
        .map(|(index, name)| single(name, Expected::Any, vec![event(index as u64)]))
        .collect();
    for result in store.append(&appends).await {
        result.expect("the append");
    }
    let heads = store.heads(&names).await.expect("heads");
    assert_eq!(heads.len(), names.len());
    for (index, head) in heads.into_iter().enumerate() {
        assert_eq!(head, Version(u64::from(index % 30 == 0)), "{}", names[index]);
    }
}

/// `heads`: "one consistent look".
pub async fn heads_are_one_consistent_look(harness: &dyn StoreHarness) {
    let names: Vec<StreamId> = (0..6).map(|index| stream(&format!("{index}/{{key}}"))).collect();
    let mut watch = Watch::default();
    for _ in 0..2 {
        let (store, names) = (harness.open().await, names.clone());
        watch.reader(move || {
            let (store, names) = (Arc::clone(&store), names.clone());
            Box::pin(async move {
                let heads = store.heads(&names).await.expect("heads");
                let (first, last) = (heads[0].0, heads[5].0);
                assert!(heads.is_sorted() && last - first <= 1, "torn: {heads:?}");
            })
        });
    }
    let store = harness.open().await;
    watch::write(async move {
        for round in 0..50 {
            // The last streams first, then those before them: sorted at every moment.
            for step in [3..6, 0..3] {
                let write = |index: usize| {
                    (&names[index], Expected::Any, vec![event(round * 10 + index as u64)])
                };
                let append = multi(step.map(write).collect(), vec![]);
                store.append_one(append).await.expect("the append");
                watch.look().await;
            }
        }
        watch.end().await;
    })
    .await;
}
