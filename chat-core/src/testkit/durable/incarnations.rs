//! The store comes back as another one.

use std::sync::Arc;

use super::bench::Bench;
use super::handlers::{Counting, Recorder};
use crate::durable::{Generation, Halt, OnNewEpoch, Start};
use crate::testkit::scenarios::ScenarioHarness;

/// A store with events that a subscription has taken, and then a new epoch.
async fn renewed(harness: &dyn ScenarioHarness, projection: Option<&Arc<Counting>>) -> Bench {
    let mut bench = Bench::new(harness).await;
    bench.write(0..20).await;
    let member = match projection {
        Some(projection) => bench.project(projection).await,
        None => bench.handle(&Recorder::open()).await,
    };
    bench.settled().await;
    member.shutdown().await;
    harness.renew_epoch().await;
    bench.stores = harness.open().await;
    bench
}

/// Guarantee 8.
pub async fn another_incarnation_stops_a_subscription(harness: &dyn ScenarioHarness) {
    let bench = renewed(harness, None).await;
    let epoch = bench.stores.events.info().await.expect("info").epoch;
    let handler = Recorder::open();
    let member = bench.handle(&handler).await;
    bench.write(20..30).await;
    bench
        .until("it stands still and says why", async || {
            let status = bench.status().await;
            let halt = Some(Halt::NewEpoch { found: epoch });
            status.partitions.iter().all(|partition| partition.halt == halt)
        })
        .await;
    assert!(handler.delivered().is_empty());
    assert!(!bench.claims_to_be_done().await, "nothing of this store is done");
    assert!(bench.status().await.partitions.iter().any(|partition| partition.lag_events > 0));
    bench.operator().restart(Start::Beginning).await.expect("an order");
    handler.has(0..30).await;
    bench.settled().await;
    assert!(bench.status().await.partitions.iter().all(|partition| partition.halt.is_none()));
    member.shutdown().await;
}

/// Guarantee 8, also for the events that are written at once.
pub async fn another_incarnation_is_noticed_by_a_running_member(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    let member = bench.handle(&handler).await;
    bench.write(0..20).await;
    bench.settled().await;
    harness.renew_epoch().await;
    bench.write(20..30).await;
    bench
        .until("it stands still and says why", async || {
            let stands = |halt: &Option<Halt>| matches!(halt, Some(Halt::NewEpoch { .. }));
            let status = bench.status().await.partitions;
            let shown = member.metrics().partitions;
            shown.len() == status.len()
                && status.iter().all(|partition| stands(&partition.halt))
                && shown.iter().all(|lag| stands(&lag.halt))
        })
        .await;
    assert_eq!(handler.distinct(), (0..20).collect(), "handled at an old place");
    bench.operator().restart(Start::Beginning).await.expect("an order");
    handler.has(20..30).await;
    bench.settled().await;
    member.shutdown().await;
}

/// Guarantee 8.
pub async fn another_incarnation_starts_effects_again(harness: &dyn ScenarioHarness) {
    let bench = renewed(harness, None).await;
    let handler = Recorder::open();
    let again = OnNewEpoch::Restart(Start::Beginning);
    let member = bench.builder().on_new_epoch(again).handle(handler.clone() as _).await;
    let member = member.expect("a member");
    bench.write(20..30).await;
    handler.has(0..30).await;
    bench.settled().await;
    member.shutdown().await;
}

/// Guarantees 8 and 9.
pub async fn another_incarnation_rebuilds_a_projection(harness: &dyn ScenarioHarness) {
    let projection = Arc::new(Counting::default());
    let bench = renewed(harness, Some(&projection)).await;
    let again = OnNewEpoch::Restart(Start::Beginning);
    let member = bench.builder().on_new_epoch(again).project(projection.clone() as _).await;
    let member = member.expect("a member");
    bench.write(20..30).await;
    bench
        .until("the rebuilt views are live", async || {
            let status = bench.status().await;
            status.live == Generation(2) && status.building.is_none()
        })
        .await;
    bench.settled().await;
    member.shutdown().await;
    bench.assert_counted(0..30).await;
}
