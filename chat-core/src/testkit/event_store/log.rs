//! The log of each partition: guarantee 6.

use tokio::task::JoinSet;

use crate::id::{PartitionId, Position, StreamId};
use crate::ports::{EventStore, EventStoreExt as _, Expected, PageLimit, StoreError};
use crate::testkit::StoreHarness;
use crate::testkit::audit::{LogAuditor, StreamAuditor};
use crate::testkit::fixture::{
    assert_holds, event, event_with, events, multi, partitions, read_log, stream, try_write, write,
};

/// `next == head` is the end, also before the beginning.
pub async fn an_empty_log_is_at_its_end(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    for partition in partitions(&*store).await {
        let page = store.read_log(partition, Position::ZERO, PageLimit::events(10)).await;
        let page = page.expect("the log");
        assert!(page.events.is_empty());
        assert_eq!((page.next, page.head), (Position::ZERO, Position::ZERO));
    }
}

/// Streams of several partition keys, so that a store with several partitions uses them.
fn streams(count: usize) -> Vec<StreamId> {
    (0..count).map(|index| stream(&format!("chat/{index}"))).collect()
}

/// Guarantee 6: every event once, in the order of the acknowledgements.
pub async fn the_log_has_every_event_once_in_commit_order(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let names = streams(8);
    let count = u32::try_from(partitions(&*store).await.len()).expect("few partitions");
    let mut expected = vec![Vec::new(); usize::try_from(count).expect("few partitions")];
    for number in 0..80 {
        let name = &names[(number * 5 % 8) as usize];
        let appended =
            write(&*store, name, Expected::Any, events([number * 2, number * 2 + 1])).await;
        let log = &mut expected[store.partition_of(name).0 as usize];
        log.extend([number * 2, number * 2 + 1].map(|number| (event(number).id, name.clone())));
        // A refusal leaves a hole at most.
        let refused = try_write(&*store, name, Expected::NoStream, events([1_000])).await;
        assert!(refused.is_err(), "{refused:?} after {appended:?}");
    }
    for (partition, expected) in (0..count).map(PartitionId).zip(&expected) {
        let log = read_log(&*store, partition, 1_000).await;
        let found: Vec<_> =
            log.iter().map(|event| (event.event.id, event.stream.clone())).collect();
        assert_eq!(&found, expected, "log {partition}");
        assert!(log.is_sorted_by(|one, two| one.position < two.position), "positions rise");
        assert!(log.iter().all(|event| event.position > Position::ZERO));
    }
    assert!(crate::testkit::audit::audit_all(&store).await == 160);
}

/// Guarantees 6 and 7.
pub async fn the_log_can_be_read_from_every_position_with_every_limit(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let names = streams(4);
    for number in 0..24 {
        write(&*store, &names[number % 4], Expected::Any, vec![event(number as u64)]).await;
    }
    for partition in partitions(&*store).await {
        let log = read_log(&*store, partition, 1_000).await;
        for limit in [1, 2, 3, 7, 24, 25, 1_000] {
            assert_eq!(read_log(&*store, partition, limit).await, log, "pages of {limit}");
        }
        let Some(last) = log.last() else { continue };
        // Positions in holes count as well.
        for after in (0..=last.position.0).map(Position) {
            let rest: Vec<_> =
                log.iter().filter(|event| event.position > after).take(5).cloned().collect();
            let page = store.read_log(partition, after, PageLimit::events(5)).await;
            let page = page.expect("the log");
            assert_eq!(page.events, rest, "after {after}");
            assert_eq!(page.next, rest.last().map_or(after, |event| event.position));
            assert_eq!(page.head, last.position);
        }
        // Limits out of range are brought in.
        let zero = PageLimit { events: 0, bytes: usize::MAX };
        let page = store.read_log(partition, Position::ZERO, zero).await.expect("the log");
        assert_eq!(page.events.len(), 1);
        let huge = PageLimit { events: usize::MAX, bytes: usize::MAX };
        let page = store.read_log(partition, Position::ZERO, huge).await.expect("the log");
        assert_eq!(page.events, log);
    }
}

/// Guarantee 7: "the page ends with the event that reaches this many bytes".
pub async fn the_log_heeds_the_limit_in_bytes(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    for number in 0..10 {
        let text = format!("\"{}\"", "x".repeat(number * 100));
        write(&*store, &name, Expected::Any, vec![event_with(number as u64, &text)]).await;
    }
    let partition = store.partition_of(&name);
    let log = read_log(&*store, partition, 1_000).await;
    for bytes in [0, 1, 66, 67, 232, 500, 1_000, 5_160, 6_000, usize::MAX] {
        let expected = super::reach(&log, bytes);
        let limit = PageLimit::events(1_000).with_bytes(bytes);
        let page = store.read_log(partition, Position::ZERO, limit).await.expect("the log");
        assert_eq!(page.events.len(), expected, "{bytes} bytes");
        assert_eq!(page.next, log[expected - 1].position);
        assert_eq!(page.head, log[9].position);
    }
}

/// A reader who is ahead (of a store that was restored, say) is not sent back.
pub async fn a_page_of_the_log_behind_the_end_is_empty(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let name = stream("chat");
    let appended = write(&*store, &name, Expected::Any, events([1, 2])).await;
    let head = appended.streams[0].position;
    for after in [head, head.next(), Position(head.0 + 1_000), Position::MAX] {
        let page = store.read_log(store.partition_of(&name), after, PageLimit::events(5)).await;
        let page = page.expect("the log");
        assert!(page.events.is_empty());
        assert_eq!((page.next, page.head), (after, head));
    }
}

const WRITERS: u64 = 12;
const ROUNDS: u64 = 40;

/// Writes from many tasks: to streams of their own, to one stream that all share, and to both at
/// once, with refusals in between.
async fn write_much(harness: &dyn StoreHarness) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = harness.open().await;
        writers.spawn(async move { write_rounds(&*store, writer).await });
    }
    writers
}

async fn write_rounds(store: &dyn EventStore, writer: u64) {
    let own = stream(&format!("own/{writer}/{{key-{}}}", writer % 3));
    let shared = stream(&format!("shared/{{key-{}}}", writer % 3));
    for round in 0..ROUNDS {
        let number = (writer * ROUNDS + round) * 10;
        // Stores that never wait would else write everything before anybody reads.
        tokio::task::yield_now().await;
        match round % 4 {
            0 => drop(write(store, &own, Expected::Any, events([number, number + 1])).await),
            1 => drop(write(store, &shared, Expected::Any, events([number])).await),
            2 => {
                let refused = try_write(store, &shared, Expected::NoStream, events([number])).await;
                assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
                write(store, &shared, Expected::Any, events([number])).await;
            }
            _ => {
                let writes = vec![
                    (&shared, Expected::Any, events([number])),
                    (&own, Expected::Exists, events([number + 1, number + 2])),
                ];
                store.append_one(multi(writes, vec![])).await.expect("the append");
            }
        }
    }
}

/// Events of [`write_much`] in all, and in the shared streams alone.
const WRITTEN: u64 = WRITERS * ROUNDS / 4 * 7;
const SHARED: u64 = WRITERS * ROUNDS / 4 * 3;

/// Guarantee 6: "reading the log after a position never skips an event that commits later".
pub async fn log_readers_miss_nothing_while_many_write(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let mut auditors = JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for partition in partitions(&*store).await {
        for limit in [1, 7, PageLimit::MAX_EVENTS] {
            let mut auditor = LogAuditor::new(harness.open().await, partition);
            let stopped = stopped.clone();
            auditors.spawn(async move {
                while !*stopped.borrow() {
                    if auditor.step(PageLimit::events(limit)).await == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                auditor.finish().await.len() as u64
            });
        }
    }
    let mut writers = write_much(harness).await;
    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer");
    }
    stop.send_replace(true);
    let mut seen = 0;
    while let Some(auditor) = auditors.join_next().await {
        seen += auditor.expect("an auditor");
    }
    // Three auditors for each partition.
    assert_eq!(seen, WRITTEN * 3);
}

/// Guarantees 3 and 7, as the subscribers of a hot chat read it.
pub async fn stream_readers_miss_nothing_while_many_write(harness: &dyn StoreHarness) {
    let mut auditors = JoinSet::new();
    for (key, limit) in (0..3).flat_map(|key| [(key, 1), (key, 50)]) {
        let name = stream(&format!("shared/{{key-{key}}}"));
        let mut auditor = StreamAuditor::new(harness.open().await, name);
        auditors.spawn(async move {
            let enough = usize::try_from(SHARED / 3).expect("a small number");
            auditor.follow(enough, PageLimit::events(limit)).await;
            auditor.into_seen()
        });
    }
    let mut writers = write_much(harness).await;
    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer");
    }
    let store = harness.open().await;
    while let Some(seen) = auditors.join_next().await {
        let seen = seen.expect("an auditor");
        let stored = crate::testkit::fixture::read_all(&*store, &seen[0].stream).await;
        assert_eq!(seen, stored);
    }
}

/// `read_log`: "a partition out of range is `Invalid`".
pub async fn a_partition_out_of_range_is_invalid(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let count = store.info().await.expect("info").partitions;
    for partition in [count, count + 1, u32::MAX] {
        let result =
            store.read_log(PartitionId(partition), Position::ZERO, PageLimit::events(1)).await;
        assert!(matches!(result, Err(StoreError::Invalid { .. })), "{partition}: {result:?}");
    }
}

/// `partition_of`: in range, and the same for one key; those can be written together (1).
pub async fn streams_of_one_key_share_a_partition(harness: &dyn StoreHarness) {
    let (store, other) = (harness.open().await, harness.open().await);
    let count = store.info().await.expect("info").partitions;
    for key in 0..50 {
        let names = [format!("key-{key}"), format!("a/{{key-{key}}}/x"), format!("{{key-{key}}}")];
        let [one, two, three] = names.map(|name| stream(&name));
        let partition = store.partition_of(&one);
        assert!(partition.0 < count, "{one} in {partition} of {count}");
        for name in [&one, &two, &three] {
            assert_eq!(store.partition_of(name), partition, "{name}");
            assert_eq!(other.partition_of(name), partition, "{name} from another handle");
        }
        let write = |name, number: u64| (name, Expected::NoStream, vec![event(key * 10 + number)]);
        let append = multi(vec![write(&one, 1), write(&two, 2), write(&three, 3)], vec![]);
        store.append_one(append).await.expect("streams of one key in one append");
        assert_holds(&*store, &two, [key * 10 + 2]).await;
    }
}
