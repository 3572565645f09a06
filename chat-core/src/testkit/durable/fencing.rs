//! Who was paused and overtaken changes nothing any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bench::Bench;
use super::handlers::{Counting, Recorder};
use super::trap::{Side, Trap};
use crate::testkit::scenarios::ScenarioHarness;

/// Guarantee 4.
pub async fn a_paused_owner_is_refused_in_the_write_of_its_place(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let (slow, quick) = (Recorder::open(), Recorder::open());
    bench.handle(&Recorder::open()).await.shutdown().await;
    // Past the leases of all partitions, the next write of a partition is that of a place.
    let leases = bench.partitions().await.len();
    let views = Arc::clone(&bench.stores.views);
    let trap = Trap::only_at(views, leases + 1, Side::Before, Some("shard"));
    let paused = bench.with_views(Arc::clone(&trap) as _).handle(slow.clone() as _).await;
    let paused = paused.expect("a member");
    bench
        .until("it holds every partition", async || {
            bench.status().await.partitions.iter().all(|partition| partition.owner.is_some())
        })
        .await;
    bench.write(0..10).await;
    trap.sprung().await;
    let before = slow.delivered();
    let of = bench.partition_of(*before.first().expect("a delivery"));
    let held = bench.partition(of).await;
    bench.pass_a_lease();
    let member = bench.handle(&quick).await;
    bench
        .until("another owns the partition", async || bench.partition(of).await.token > held.token)
        .await;
    bench.settled().await;
    let overtaken = bench.partition(of).await;
    trap.release();
    bench.until("the paused member has noticed", async || paused.metrics().leases_lost > 0).await;
    bench.write(10..20).await;
    bench.settled().await;
    let after = bench.partition(of).await;
    assert!(after.position >= overtaken.position && after.token >= overtaken.token, "{after:?}");
    paused.shutdown().await;
    member.shutdown().await;
    let all: BTreeSet<_> = slow.distinct().union(&quick.distinct()).copied().collect();
    assert_eq!(all, (0..20).collect());
    // What the paused one had was delivered again, as its place was never saved.
    assert!(before.iter().all(|number| quick.distinct().contains(number)));
}

/// Guarantee 2: the old owner's batch comes late, after the new one's.
pub async fn a_paused_projector_brings_nothing_into_a_view_twice(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    bench.project(&projection).await.shutdown().await;
    let of = bench.partition_of(0);
    let target = format!("bench-g1-p{of}");
    let views = Arc::clone(&bench.stores.views);
    let trap = Trap::only_at(views, 1, Side::Before, Some(&target));
    let paused = bench.with_views(Arc::clone(&trap) as _).project(projection.clone() as _).await;
    let paused = paused.expect("a member");
    bench.write(0..30).await;
    trap.sprung().await;
    bench.pass_a_lease();
    let member = bench.project(&projection).await;
    bench.settled().await;
    trap.release();
    bench.until("the paused member has noticed", async || paused.metrics().leases_lost > 0).await;
    bench.write(30..40).await;
    bench.settled().await;
    paused.shutdown().await;
    member.shutdown().await;
    bench.assert_counted(0..40).await;
}

/// Guarantee 4: a member that finds its lease gone drops the handler.
pub async fn a_lost_lease_stops_the_handler_under_way(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let (stuck, quick) = (Recorder::shut(), Recorder::open());
    bench.handle(&Recorder::open()).await.shutdown().await;
    let leases = bench.partitions().await.len();
    let views = Arc::clone(&bench.stores.views);
    let trap = Trap::only_at(views, leases + 1, Side::Before, Some("shard"));
    let paused = bench.with_views(Arc::clone(&trap) as _).handle(stuck.clone() as _).await;
    let paused = paused.expect("a member");
    bench
        .until("it holds every partition", async || {
            bench.status().await.partitions.iter().all(|partition| partition.owner.is_some())
        })
        .await;
    bench.write([0]).await;
    stuck.has_arrived(1).await;
    // The renewal stands still, as in a process that was paused, while the handler is at work.
    bench.pass_a_lease();
    trap.sprung().await;
    bench.pass_a_lease();
    let member = bench.handle(&quick).await;
    quick.has([0]).await;
    trap.release();
    // Nothing lets it through: it ends by being dropped alone.
    bench.until("the handler is dropped", async || !stuck.is_busy()).await;
    bench.until("the loss is counted", async || paused.metrics().leases_lost > 0).await;
    paused.shutdown().await;
    member.shutdown().await;
    assert!(stuck.delivered().is_empty());
}
