//! Metrics, rings and the end.

use std::sync::Arc;
use std::time::Duration;

use super::bench::Bench;
use super::handlers::{Counting, Recorder};
use crate::decorate::{FaultPlan, Faults, Faulty};
use crate::testkit::scenarios::ScenarioHarness;

/// The metrics that are promised.
pub async fn lag_is_told_and_is_zero_at_rest(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::shut();
    let member = bench.handle(&handler).await;
    // All of one stream, so of one partition.
    let numbers = || (0..5).map(|n| n * super::bench::STREAMS);
    bench.write(numbers()).await;
    handler.has_arrived(1).await;
    let of = bench.partition_of(0);
    let waiting = bench.partition(of).await;
    assert!(waiting.lag_events >= 5, "{waiting:?}");
    // The fixture's events were recorded 100 seconds before the bench's clock began.
    assert!(waiting.lag_time >= Duration::from_secs(99), "{waiting:?}");
    let shown = member.metrics();
    let lag = shown.partitions.iter().find(|lag| lag.partition == of).expect("the partition");
    assert!(lag.events >= 1 && lag.time >= Duration::from_secs(99), "{lag:?}");
    handler.gate.add_permits(5);
    bench.settled().await;
    bench
        .until("the member says so as well", async || {
            let metrics = member.metrics();
            metrics.delivered == 5
                && metrics.partitions.len() == bench.status().await.partitions.len()
                && metrics.partitions.iter().all(|lag| lag.events == 0 && lag.time.is_zero())
        })
        .await;
    let at_rest = bench.partition(of).await;
    assert_eq!((at_rest.lag_events, at_rest.lag_time), (0, Duration::ZERO));
    let metrics = member.metrics();
    assert_eq!(metrics.leases_taken, bench.partitions().await.len() as u64);
    member.shutdown().await;
}

/// "A ring of the bus wakes every member at once, a timer at worst."
pub async fn a_ring_is_enough_and_none_is_needed(harness: &dyn ScenarioHarness) {
    // The timer never comes: only rings wake. It is at most a quarter of a lease.
    let mut bench = Bench::new(harness).await.config(|config| {
        (config.poll_interval, config.lease) = (Duration::MAX, Duration::MAX);
    });
    let handler = Recorder::open();
    let member = bench.handle(&handler).await;
    bench
        .until("it holds every partition", async || {
            bench.status().await.partitions.iter().all(|partition| partition.owner.is_some())
        })
        .await;
    for number in 0..10 {
        bench.write([number]).await;
        handler.has([number]).await;
    }
    member.shutdown().await;

    // Rings come late, twice, in disorder, or not at all: the timer finds what they do not tell.
    bench = bench.config(|config| {
        (config.poll_interval, config.lease) = (Duration::from_millis(5), super::bench::LEASE);
    });
    let plan = FaultPlan { bus_drop: 0.5, ..FaultPlan::all(3, 0.3) };
    bench.bus = Arc::new(Faulty::new(Arc::clone(&bench.bus), Faults::new(plan)));
    let member = bench.handle(&handler).await;
    for number in 10..30 {
        bench.write([number]).await;
    }
    handler.has(0..30).await;
    member.shutdown().await;
    let mut delivered = handler.delivered();
    delivered.sort_unstable();
    assert_eq!(delivered, (0..30).collect::<Vec<_>>(), "a ring never makes a repeat");
}

/// Guarantee 10.
pub async fn shutdown_waits_for_the_handler_and_leaves_nothing(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::shut();
    let member = bench.handle(&handler).await;
    bench.write([0]).await;
    handler.has_arrived(1).await;
    let mut ending = Box::pin(member.shutdown());
    let early = tokio::time::timeout(Duration::from_millis(20), &mut ending).await;
    assert!(early.is_err(), "the handler is still at work");
    handler.gate.add_permits(1);
    ending.await;
    assert_eq!(handler.delivered(), [0]);
    assert_eq!(Arc::strong_count(&handler), 1, "a task holds the handler still");
    let status = bench.status().await;
    assert!(status.members.is_empty(), "{status:?}");
    let at_rest = status.partitions.iter().all(|at| at.owner.is_none() && at.lag_events == 0);
    assert!(at_rest, "{status:?}");

    let projection = Arc::new(Counting::default());
    let (events, views) = (Arc::clone(&bench.stores.events), Arc::clone(&bench.stores.views));
    let name = crate::durable::SubscriptionName::new("another").expect("a name");
    let builder = crate::durable::DurableSubscription::builder(name, events, views);
    builder.project(projection.clone() as _).await.expect("a member").shutdown().await;
    assert_eq!(Arc::strong_count(&projection), 1, "a task holds the projection still");
}
