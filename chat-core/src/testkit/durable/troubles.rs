//! Errors of the store and of the views: waited for, told, and nobody else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::bench::{Bench, STREAMS};
use super::handlers::{Counting, Recorder, Trouble, taken_key};
use super::refusing::{Call, Refusing};
use crate::durable::{DurableError, Generation, Halt};
use crate::id::{PartitionId, Position, ProjectionName, Scope, ViewKey};
use crate::ports::{Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewId, ViewOp};
use crate::testkit::scenarios::ScenarioHarness;

/// The view of a partition's position, lease and parked events.
fn is_shard(view: &ViewId) -> bool {
    view.projection.as_str() == "shard"
}

/// A view that the projection writes.
fn is_projected(view: &ViewId) -> bool {
    view.projection.as_str().starts_with("bench-g")
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { what: "the check says so".into(), source: None }
}

/// Guarantee 6: an order stands until it is carried out.
pub async fn an_order_outlives_an_error_of_the_views(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    handler.troubles.set(4, Trouble::Permanent);
    let member = bench.handle(&handler).await;
    bench.write(0..10).await;
    bench.settled().await;
    member.shutdown().await;
    handler.troubles.mend();
    let of = bench.partition_of(4);
    assert_eq!(bench.operator().drive_all(of).await.expect("an order"), 1);
    let failed = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&failed);
    let views = Refusing::new(&bench.stores.views, move |call| match call {
        Call::Scan(view) if is_shard(view) && !once.swap(true, Ordering::SeqCst) => {
            Some(unavailable())
        }
        Call::Get(_) | Call::Scan(_) | Call::Commit(_) => None,
    });
    let member = bench.with_views(views).handle(Arc::clone(&handler) as _).await.expect("a member");
    handler.has([4]).await;
    bench.until("nothing is parked", async || bench.partition(of).await.parked == 0).await;
    assert!(failed.load(Ordering::SeqCst), "the trouble never came");
    member.shutdown().await;
}

/// Guarantees 1 and 6: what a view refuses for good is parked for it, and the others go on.
pub async fn a_write_that_is_refused_for_good_parks_its_event(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    let views = Refusing::new(&bench.stores.views, |call| match call {
        Call::Commit(batch) if is_projected(&batch.view) && touches(batch, &taken_key(4)) => {
            Some(StoreError::Invalid { what: "the value is too long".into() })
        }
        Call::Get(_) | Call::Scan(_) | Call::Commit(_) => None,
    });
    let member = bench.with_views(Arc::clone(&views) as _).project(projection.clone() as _).await;
    let member = member.expect("a member");
    bench.write(0..20).await;
    bench.settled().await;
    let of = bench.partition_of(4);
    let parked = bench.operator().parked(of, None, 10).await.expect("a page").events;
    let mut scopes: Vec<_> = parked.iter().filter_map(|event| event.scope.clone()).collect();
    scopes.sort_unstable();
    assert_eq!(scopes.iter().map(Scope::as_str).collect::<Vec<_>>(), ["all", "numbers/4"]);
    assert!(parked.iter().all(|event| event.reason.contains("too long")), "{parked:?}");
    views.mend();
    bench.operator().drive_all(of).await.expect("an order");
    bench.until("nothing is parked", async || bench.partition(of).await.parked == 0).await;
    member.shutdown().await;
    bench.assert_counted(0..20).await;
}

fn touches(batch: &ViewBatch, wanted: &ViewKey) -> bool {
    batch.ops.iter().any(|op| matches!(op, ViewOp::Put(key, _) if key == wanted))
}

/// Guarantee 7: a store that takes no write stops what needs it, and is told; nothing is parked.
pub async fn a_store_without_room_halts_visibly_and_is_waited_for(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    let views = Refusing::new(&bench.stores.views, |call| match call {
        Call::Commit(batch) if is_projected(&batch.view) => {
            Some(StoreError::StorageFull { what: "the views".into() })
        }
        Call::Get(_) | Call::Scan(_) | Call::Commit(_) => None,
    });
    let member = bench.with_views(Arc::clone(&views) as _).project(projection.clone() as _).await;
    let member = member.expect("a member");
    bench.write((0..5).map(|n| n * STREAMS)).await;
    let of = bench.partition_of(0);
    let is_full = |halt: &Option<Halt>| matches!(halt, Some(Halt::Store { what }) if what.contains("the storage is full"));
    bench
        .until("the partition says why it stands still", async || {
            let shown = member.metrics().partitions;
            is_full(&bench.partition(of).await.halt)
                && shown.iter().any(|lag| lag.partition == of && is_full(&lag.halt))
        })
        .await;
    let status = bench.partition(of).await;
    assert_eq!((status.parked, status.lag_events > 0), (0, true), "{status:?}");
    views.mend();
    bench.settled().await;
    bench
        .until("it stands still no more", async || {
            let shown = member.metrics().partitions;
            bench.partition(of).await.halt.is_none() && shown.iter().all(|lag| lag.halt.is_none())
        })
        .await;
    member.shutdown().await;
    bench.assert_counted((0..5).map(|n| n * STREAMS)).await;
}

/// Guarantee 3: an event whose end could not be saved comes again, and not as a first delivery.
pub async fn a_repeat_is_never_called_a_first_delivery(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    let (seen, failed) = (Arc::clone(&handler), AtomicBool::new(false));
    let views = Refusing::new(&bench.stores.views, move |call| match call {
        Call::Commit(batch) if is_shard(&batch.view) => {
            let delivered = !seen.delivered().is_empty();
            (delivered && !failed.swap(true, Ordering::SeqCst)).then(unavailable)
        }
        Call::Get(_) | Call::Scan(_) | Call::Commit(_) => None,
    });
    let member = bench.with_views(views).handle(Arc::clone(&handler) as _).await.expect("a member");
    bench.write((0..5).map(|n| n * STREAMS)).await;
    bench.settled().await;
    member.shutdown().await;
    let attempts: Vec<_> = (0..5).map(|n| handler.attempts(n * STREAMS)).collect();
    assert_eq!(attempts.first().map(Vec::as_slice), Some([1, 2].as_slice()), "{attempts:?}");
    assert!(attempts.iter().all(|of| *of == [1] || *of == [1, 2]), "{attempts:?}");
}

/// Guarantee 6: a handler is not asked again and again about an event that cannot be parked.
pub async fn a_full_partition_leaves_its_handler_in_peace(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await.config(|config| config.max_parked = 1);
    let handler = Recorder::open();
    let numbers = || (0..4).map(|n| n * STREAMS);
    numbers().for_each(|number| handler.troubles.set(number, Trouble::Permanent));
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let of = bench.partition_of(0);
    let shard = format!("subscription/bench/g1/p{of}");
    let views = Refusing::new(&bench.stores.views, move |call| {
        if let Call::Get(view) = call
            && view.scope.as_str() == shard
        {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        None
    });
    let member = bench.with_views(views).handle(Arc::clone(&handler) as _).await.expect("a member");
    bench.write(numbers()).await;
    let stands = async || bench.partition(of).await.halt == Some(Halt::TooManyParked { limit: 1 });
    bench.until("the partition stands still", stands).await;
    let (asked, before) = (*handler.arrived.borrow(), looks.load(Ordering::SeqCst));
    bench
        .until("it was looked at often", async || {
            member.wake();
            looks.load(Ordering::SeqCst) > before + 10
        })
        .await;
    assert_eq!(*handler.arrived.borrow(), asked, "asked about what cannot be parked");
    handler.troubles.mend();
    while bench.partition(of).await.lag_events > 0 || bench.partition(of).await.parked > 0 {
        bench.operator().drive_all(of).await.expect("an order");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    member.shutdown().await;
    assert_eq!(handler.distinct(), numbers().collect());
}

/// Guarantee 7: a state that cannot be read is shown, holds up no other, and is written over.
pub async fn a_broken_state_is_shown_and_made_anew_by_order(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    let of = bench.partition_of(0);
    handler.troubles.set(0, Trouble::Permanent);
    bench.write([0]).await;
    let member = bench.handle(&handler).await;
    bench.until("it is parked", async || bench.partition(of).await.parked == 1).await;
    member.shutdown().await;
    bench.break_state(of).await;
    bench.write(1..20).await;
    let member = bench.handle(&handler).await;
    handler.has((1..20).filter(|number| bench.partition_of(*number) != of)).await;
    let broken = bench.partition(of).await;
    assert!(matches!(broken.halt, Some(Halt::Corrupt { .. })), "{broken:?}");
    assert!(!bench.claims_to_be_done().await, "a partition that cannot be read is not done");
    let too_far = bench.operator().skip_to(of, Position(1_000_000)).await;
    assert!(matches!(too_far, Err(DurableError::Invalid { .. })), "{too_far:?}");
    bench.operator().skip_to(of, Position::ZERO).await.expect("an order");
    handler.has(1..20).await;
    bench.settled().await;
    let mended = bench.partition(of).await;
    assert_eq!((mended.halt, mended.parked), (None, 1), "what was parked is known still");
    member.shutdown().await;
}

/// Guarantee 9: a generation that stands still while it is built can be helped.
pub async fn a_generation_being_built_can_be_operated(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await.config(|config| config.max_parked = 1);
    let projection = Arc::new(Counting::default());
    let member = bench.project(&projection).await;
    bench.write(0..20).await;
    bench.settled().await;
    // Two of one stream: one more than may be parked.
    projection.troubles.set(4, Trouble::Permanent);
    projection.troubles.set(4 + STREAMS, Trouble::Permanent);
    let operator = bench.operator();
    let built = operator.rebuild().await.expect("a rebuild");
    let (of, building) = (bench.partition_of(4), operator.clone().of_generation(built));
    bench
        .until("the new generation stands still", async || {
            let status = bench.status().await;
            let mut found = status.partitions.iter().filter(|at| at.generation == built);
            found.any(|at| at.halt == Some(Halt::TooManyParked { limit: 1 }))
        })
        .await;
    assert!(operator.parked(of, None, 10).await.expect("a page").events.is_empty());
    let parked = building.parked(of, None, 10).await.expect("a page").events;
    let [event] = parked.as_slice() else { panic!("{parked:?}") };
    assert_eq!((event.generation, event.partition), (built, of));
    let unknown = operator.clone().of_generation(Generation(99)).drive_all(of).await;
    assert!(matches!(unknown, Err(DurableError::Invalid { .. })), "{unknown:?}");
    projection.troubles.mend();
    assert_eq!(building.drive_all(of).await.expect("an order"), 1);
    building.caught_up().await.expect("it catches up");
    bench.until("it is live", async || bench.status().await.live == built).await;
    bench.settled().await;
    member.shutdown().await;
    bench.assert_counted(0..20).await;
}

impl Bench {
    /// Writes what nobody can read over a partition's state.
    async fn break_state(&self, of: PartitionId) {
        let scope = Scope::new(format!("subscription/bench/g1/p{of}")).expect("a scope");
        let projection = ProjectionName::new("shard").expect("a name");
        let view = ViewId { scope, projection };
        let views = &self.stores.views;
        let all = KeyRange::all();
        let key = ViewKey::new("state").expect("a key");
        loop {
            let page = views.scan(&view, &all, Direction::Forward, 1).await.expect("a page");
            let ops = vec![ViewOp::Put(key.clone(), Arc::from(b"{".as_slice()))];
            let (expected, next) = (page.checkpoint, page.checkpoint.next());
            let batch = ViewBatch { view: view.clone(), expected, next, ops };
            match views.commit(&[batch]).await.remove(0) {
                // The member that holds the partition writes it, too.
                Err(ViewError::CheckpointMoved { .. }) => {}
                result => break result.expect("a commit"),
            }
        }
    }
}
