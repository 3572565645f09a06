//! Members share the partitions and take over from each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bench::Bench;
use super::handlers::{Counting, Recorder};
use crate::durable::DurableSubscription;
use crate::testkit::scenarios::ScenarioHarness;

/// Waits until so many members hold even parts, and every partition is held.
async fn shared_by(bench: &Bench, members: usize) {
    bench
        .until("the parts are even", async || {
            let status = bench.status().await;
            let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
            for partition in &status.partitions {
                let Some(owner) = partition.owner.as_deref() else { return false };
                *parts.entry(owner).or_default() += 1;
            }
            let all = status.partitions.len();
            let most = all.div_ceil(members);
            let holders = all.min(members);
            status.members.len() == members
                && parts.len() == holders
                && parts.values().all(|part| *part <= most)
                && parts.keys().all(|owner| status.members.iter().any(|member| member == owner))
        })
        .await;
}

/// Guarantee 5.
pub async fn members_hold_even_parts(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    let mut members: Vec<DurableSubscription> = Vec::new();
    let mut written = 0;
    for count in 1..=4 {
        members.push(bench.project(&projection).await);
        bench.write(written..written + 10).await;
        written += 10;
        shared_by(&bench, count).await;
    }
    while let Some(member) = members.pop() {
        bench.write(written..written + 10).await;
        written += 10;
        member.shutdown().await;
        if !members.is_empty() {
            shared_by(&bench, members.len()).await;
        }
    }
    assert!(bench.status().await.partitions.iter().all(|partition| partition.owner.is_none()));
    let last = bench.project(&projection).await;
    bench.settled().await;
    last.shutdown().await;
    bench.assert_counted(0..written).await;
}

/// Guarantee 5: after the time of a lease, and with nothing left out.
pub async fn the_parts_of_a_crashed_member_are_taken_over(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    let other = Arc::new(Counting::default());
    let (first, second) = (bench.project(&other).await, bench.project(&projection).await);
    shared_by(&bench, 2).await;
    drop(first);
    bench.gone(&other).await;
    bench.write(0..40).await;
    bench.pass_a_lease();
    shared_by(&bench, 1).await;
    bench.settled().await;
    let metrics = second.metrics();
    assert_eq!(metrics.partitions.len(), bench.partitions().await.len());
    second.shutdown().await;
    bench.assert_counted(0..40).await;
}

/// Guarantee 5: with a clock that stands still.
pub async fn what_a_member_gives_back_is_taken_at_once(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    let first = bench.handle(&handler).await;
    bench.write(0..10).await;
    bench.settled().await;
    first.shutdown().await;
    let second = bench.handle(&handler).await;
    bench.write(10..20).await;
    bench.settled().await;
    let metrics = second.metrics();
    assert_eq!(metrics.leases_lost, 0);
    second.shutdown().await;
    let mut delivered = handler.delivered();
    delivered.sort_unstable();
    assert_eq!(delivered, (0..20).collect::<Vec<_>>(), "without a crash each comes once");
    assert!((0..20).all(|number| handler.attempts(number) == [1]), "as a first delivery");
}
