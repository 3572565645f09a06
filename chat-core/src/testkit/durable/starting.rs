//! Where a subscription begins, and what it reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bench::{Bench, STREAMS};
use super::handlers::{Counting, Recorder};
use crate::durable::{DurableError, DurableSubscription, Source, Start, SubscriptionName};
use crate::id::Position;
use crate::testkit::fixture::{read_log, stream};
use crate::testkit::scenarios::ScenarioHarness;

/// Guarantee 1: every event behind the start, and none before it.
pub async fn a_subscription_begins_where_it_is_told_to(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    bench.write(0..20).await;
    let mut middle = Vec::new();
    let mut behind = Vec::new();
    for partition in bench.partitions().await {
        let log = read_log(&*bench.stores.events, partition, 100).await;
        let at = log.len() / 2;
        middle.push((partition, log.get(at).map_or(Position::ZERO, |event| event.position)));
        behind.extend(log.iter().skip(at + 1).map(|event| super::handlers::number(event)));
    }
    let table = [
        ("beginning", Start::Beginning, (0..20).collect::<Vec<_>>()),
        ("now", Start::Now, vec![]),
        ("after", Start::After(middle), behind),
    ];
    let mut members = Vec::new();
    for (name, start, old) in table {
        let handler = Recorder::open();
        let name = SubscriptionName::new(name).expect("a name");
        let (events, views) = (Arc::clone(&bench.stores.events), Arc::clone(&bench.stores.views));
        let builder = DurableSubscription::builder(name.clone(), events, views).start(start);
        let builder = builder.config(bench.config.clone());
        // Known from here on, and nothing is taken: what comes while nobody is there is not left
        // out.
        let member = builder.clone().handle(Recorder::shut() as _).await.expect("a member");
        drop(member);
        members.push((name, builder, handler, old));
    }
    bench.write(20..30).await;
    for (name, builder, handler, old) in members {
        let handler_again = Arc::clone(&handler) as _;
        // The first member is gone without a word, and its lease is timed by the real clock.
        let clock = Arc::new(crate::clock::ManualClock::new(far_future()));
        let member = builder.clock(clock).handle(handler_again).await.expect("a member");
        let operator = member.operator();
        bench
            .until("everything is taken", async || {
                let status = operator.status().await.expect("a status");
                status.partitions.iter().all(|partition| partition.lag_events == 0)
            })
            .await;
        member.shutdown().await;
        let wanted = old.into_iter().chain(20..30).collect();
        assert_eq!(handler.distinct(), wanted, "{name}");
    }
}

fn far_future() -> crate::clock::Timestamp {
    crate::clock::Timestamp(u64::MAX / 4)
}

/// Source: one stream, whatever else there is in the log.
pub async fn a_stream_is_followed_by_its_versions(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    bench.write(0..30).await;
    let source = Source::Stream(stream("numbers/3"));
    let start = Start::After(vec![(crate::id::PartitionId(0), Position(2))]);
    let builder = bench.builder().source(source).start(start);
    let member = builder.handle(handler.clone() as _).await.expect("a member");
    bench.settled().await;
    bench.write(30..50).await;
    let all: Vec<_> = (0..50).filter(|number| number % STREAMS == 3).collect();
    handler.has(all.iter().copied().skip(2)).await;
    bench.settled().await;
    assert_eq!(handler.delivered(), all[2..]);
    let status = bench.status().await;
    let [only] = status.partitions.as_slice() else { panic!("{status:?}") };
    assert_eq!(only.position, Position(all.len() as u64), "a version");
    member.shutdown().await;
}

/// A name cannot be taken for something else.
pub async fn a_name_stands_for_one_subscription(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    bench.handle(&Recorder::open()).await.shutdown().await;
    let other = bench.builder().project(Arc::new(Counting::default())).await;
    assert!(matches!(other, Err(DurableError::Mismatch { .. })), "{other:?}");
    let other = bench.builder().source(Source::Stream(stream("numbers/3")));
    let other = other.handle(Recorder::open() as _).await;
    assert!(matches!(other, Err(DurableError::Mismatch { .. })), "{other:?}");
    let refused = bench.operator().rebuild().await;
    assert!(matches!(refused, Err(DurableError::Invalid { .. })), "{refused:?}");
}

/// Guarantee 10.
pub async fn batches_keep_to_their_bounds(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    bench.write(0..100).await;
    let projection = Arc::new(Counting::default());
    let member = bench.project(&projection).await;
    bench.settled().await;
    member.shutdown().await;
    let largest = projection.largest.load(Ordering::SeqCst);
    assert!((2..=bench.config.batch_events).contains(&largest), "{largest}");

    let bench = bench.config(|config| config.batch_bytes = 1);
    projection.largest.store(0, Ordering::SeqCst);
    bench.write(100..120).await;
    let member = bench.project(&projection).await;
    bench.settled().await;
    member.shutdown().await;
    assert_eq!(projection.largest.load(Ordering::SeqCst), 1);
    bench.assert_counted(0..120).await;
}
