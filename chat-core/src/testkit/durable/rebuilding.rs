//! A projection is made anew beside the live one.

use std::sync::Arc;

use super::bench::Bench;
use super::handlers::{Counting, SHARED, Trouble};
use super::trap::{Side, Trap};
use crate::durable::{DurableError, Generation};
use crate::testkit::scenarios::ScenarioHarness;

impl Bench {
    async fn swapped_to(&self, generation: Generation) {
        self.until("the new generation is live", async || self.status().await.live == generation)
            .await;
        // Readers are given the time of a lease.
        self.pass_a_lease();
        self.until("the old one is cleared", async || {
            let status = self.status().await;
            status.live == generation && status.building.is_none() && status.retiring.is_empty()
        })
        .await;
    }
}

/// Guarantee 9, while events keep coming and readers look.
pub async fn a_rebuild_goes_live_when_it_has_caught_up(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    projection.troubles.set(3, Trouble::Permanent);
    let member = bench.project(&projection).await;
    bench.write(0..60).await;
    bench.settled().await;
    let before = bench.builder().projected_views().live().await.expect("the live views");
    let old = before.of_scope(&super::handlers::scope(SHARED)).expect("views");
    projection.troubles.mend();
    let built = bench.operator().rebuild().await.expect("a rebuild");
    assert_eq!((before.generation(), built), (Generation(1), Generation(2)));
    let mut written = 60;
    let swapped = async || bench.status().await.live == built;
    while !swapped().await {
        bench.write(written..written + 2).await;
        written += 2;
        // The view that is shown never lacks what was there before.
        let shown = bench.counts(SHARED).await;
        assert!((0..60).all(|number| shown.get(&number) == Some(&1)), "{shown:?}");
    }
    bench.swapped_to(built).await;
    bench.settled().await;
    // What was parked is taken by the new one, as the handler was mended.
    bench.assert_counted(0..written).await;
    for view in &old {
        let left = bench.counts_in(view).await;
        assert!(left.is_empty(), "{view:?} was not cleared: {left:?} of {written}");
    }
    assert!(bench.status().await.partitions.iter().all(|partition| partition.parked == 0));
    member.shutdown().await;
}

/// Guarantees 2 and 9.
pub async fn a_rebuild_survives_crashes_under_writes(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await.config(|config| config.max_attempts = 1_000);
    let projection = Arc::new(Counting::default());
    let member = bench.project(&projection).await;
    bench.write(0..30).await;
    bench.settled().await;
    member.shutdown().await;
    let built = bench.operator().rebuild().await.expect("a rebuild");
    let mut written = 30;
    for step in [2, 5, 7, 8, 9, 11, 14, 17, 20, 25, 30] {
        let trap = Trap::at(Arc::clone(&bench.stores.views), step, Side::After);
        let member = bench.with_views(Arc::clone(&trap) as _).project(projection.clone() as _);
        bench.write(written..written + 5).await;
        written += 5;
        tokio::select! {
            () = trap.sprung() => {}
            () = async {
                let _member = member.await.expect("a member");
                tokio::select! {
                    () = trap.sprung() => {}
                    () = bench.swapped_to(built) => {}
                }
            } => {}
        }
        bench.gone(&projection).await;
        bench.pass_a_lease();
    }
    let member = bench.project(&projection).await;
    bench.swapped_to(built).await;
    bench.settled().await;
    member.shutdown().await;
    bench.assert_counted(0..written).await;
}

/// Guarantee 9.
pub async fn a_rebuild_is_given_up_by_order(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    bench.write(0..20).await;
    bench.project(&projection).await.shutdown().await;
    let operator = bench.operator();
    assert_eq!(operator.rebuild().await.expect("a rebuild"), Generation(2));
    assert_eq!(operator.rebuild().await.expect("the same"), Generation(2));
    operator.abandon_rebuild().await.expect("an order");
    let member = bench.project(&projection).await;
    bench.swapped_to(Generation(1)).await;
    assert_eq!(operator.rebuild().await.expect("another"), Generation(3));
    bench.swapped_to(Generation(3)).await;
    bench.settled().await;
    member.shutdown().await;
    bench.assert_counted(0..20).await;

    let other = crate::durable::SubscriptionName::new("unknown").expect("a name");
    let (events, views) = (Arc::clone(&bench.stores.events), Arc::clone(&bench.stores.views));
    let other = crate::durable::DurableSubscription::builder(other, events, views).operator();
    let refused = other.rebuild().await;
    assert!(matches!(refused, Err(DurableError::Unknown)), "{refused:?}");
}
