//! Events that a handler refuses: retried, parked, listed, driven again, dropped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::bench::Bench;
use super::handlers::{Counting, Recorder, SHARED, Trouble};
use super::trap::{Side, Trap};
use crate::durable::{DurableError, Halt, ParkedEvent, ParkedState};
use crate::testkit::fixture::event_id;
use crate::testkit::scenarios::ScenarioHarness;

impl Bench {
    /// Every parked event, in pages of this many.
    async fn parked(&self, limit: usize) -> Vec<ParkedEvent> {
        let operator = self.operator();
        let mut all = Vec::new();
        for partition in self.partitions().await {
            let mut after = None;
            loop {
                let page = operator.parked(partition, after.as_ref(), limit).await.expect("a page");
                assert!(page.events.len() <= limit);
                assert!(page.events.is_sorted_by_key(|event| event.position));
                all.extend(page.events);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        let counted = self.status().await.partitions;
        let counted: u32 = counted.iter().map(|partition| partition.parked).sum();
        if all.len() != counted as usize {
            // It changed between the two looks.
            tokio::time::sleep(Duration::from_millis(2)).await;
            return Box::pin(self.parked(limit)).await;
        }
        all
    }

    async fn drive_all(&self) {
        for partition in self.partitions().await {
            self.operator().drive_all(partition).await.expect("an order");
        }
    }
}

/// Guarantee 6.
pub async fn a_refused_event_is_parked_and_the_others_go_on(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    handler.troubles.set(5, Trouble::Permanent);
    let member = bench.handle(&handler).await;
    bench.write(0..20).await;
    bench.settled().await;
    assert_eq!(handler.distinct(), (0..20).filter(|number| *number != 5).collect());
    let parked = bench.parked(10).await;
    let [event] = parked.as_slice() else { panic!("{parked:?}") };
    assert_eq!((event.id, event.attempts, event.state), (event_id(5), 1, ParkedState::Waiting));
    assert_eq!((event.stream.as_str(), event.version.0), ("numbers/5", 1));
    assert_eq!((event.partition, event.reason.as_str()), (bench.partition_of(5), "never this one"));
    // Counted behind the write that shows it.
    bench
        .until("it is counted", async || {
            let metrics = member.metrics();
            (metrics.parked, metrics.retried, metrics.delivered) == (1, 0, 19)
        })
        .await;
    member.shutdown().await;
}

/// Guarantee 6.
pub async fn parked_events_are_listed_in_pages(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    (0..30).for_each(|number| handler.troubles.set(number, Trouble::Permanent));
    let member = bench.handle(&handler).await;
    bench.write(0..30).await;
    bench.settled().await;
    member.shutdown().await;
    for limit in [1, 4, 1_000] {
        let mut ids: Vec<_> = bench.parked(limit).await.iter().map(|event| event.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..30).map(event_id).collect::<Vec<_>>(), "in pages of {limit}");
    }
}

/// Guarantee 6.
pub async fn a_parked_event_is_driven_again_until_it_is_taken(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    for number in [3, 4, 8] {
        handler.troubles.set(number, Trouble::Permanent);
    }
    let member = bench.handle(&handler).await;
    bench.write(0..10).await;
    bench.settled().await;
    let parked = bench.parked(10).await;
    assert_eq!(parked.len(), 3);
    let one = parked.iter().find(|event| event.id == event_id(4)).expect("it is parked");
    bench.operator().drive(one).await.expect("an order");
    let waits_again = async || {
        let parked = bench.parked(10).await;
        let one = parked.iter().find(|event| event.id == event_id(4));
        one.is_some_and(|one| one.attempts >= 2 && one.state == ParkedState::Waiting)
    };
    bench.until("it was tried and waits again", waits_again).await;
    handler.troubles.mend();
    bench.operator().drive(one).await.expect("an order");
    handler.has([4]).await;
    bench.until("it is parked no more", async || bench.parked(10).await.len() == 2).await;
    let taken = handler.attempts(4);
    assert!(taken.len() == 1 && taken.iter().all(|attempt| *attempt >= 3), "{taken:?}");
    let gone = bench.operator().drive(one).await;
    assert!(matches!(gone, Err(DurableError::NotParked { .. })), "{gone:?}");
    bench.drive_all().await;
    bench.until("nothing is parked", async || bench.parked(10).await.is_empty()).await;
    assert_eq!(handler.distinct(), (0..10).collect());
    assert_eq!(member.metrics().driven, 3);
    member.shutdown().await;
}

/// Guarantee 6.
pub async fn a_parked_event_is_dropped_by_order_alone(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    projection.troubles.set(4, Trouble::Permanent);
    let member = bench.project(&projection).await;
    bench.write(0..10).await;
    bench.settled().await;
    member.shutdown().await;
    let member = bench.project(&projection).await;
    bench.write(10..20).await;
    bench.settled().await;
    let parked = bench.parked(10).await;
    let [event] = parked.as_slice() else { panic!("{parked:?}") };
    projection.troubles.mend();
    bench.operator().drop_parked(event).await.expect("an order");
    bench.until("nothing is parked", async || bench.parked(10).await.is_empty()).await;
    member.shutdown().await;
    assert_eq!(bench.counts("numbers/4").await.into_keys().collect::<Vec<_>>(), [11, 18]);
}

/// Guarantee 6: "driven into a view, it enters it once".
pub async fn a_view_takes_a_driven_event_once_whatever_step_a_crash_comes_at(
    harness: &dyn ScenarioHarness,
) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    let mut written = 0;
    for step in 1..=12 {
        for side in [Side::Before, Side::After] {
            projection.troubles.set(written + 2, Trouble::Permanent);
            projection.troubles.set(written + 6, Trouble::Permanent);
            bench.write(written..written + 8).await;
            let member = bench.project(&projection).await;
            bench.settled().await;
            member.shutdown().await;
            let parked = bench.parked(10).await;
            assert_eq!(parked.len(), 2, "{parked:?}");
            let shared = bench.counts(SHARED).await;
            assert!(shared.contains_key(&(written + 2)), "the other view has it");
            projection.troubles.mend();
            bench.drive_all().await;
            written += 8;
            let trap = Trap::at(Arc::clone(&bench.stores.views), step, side);
            let member = bench.with_views(Arc::clone(&trap) as _).project(projection.clone() as _);
            let driven = async || bench.parked(10).await.is_empty();
            tokio::select! {
                () = trap.sprung() => {}
                () = async {
                    let _member = member.await.expect("a member");
                    tokio::select! {
                        () = trap.sprung() => {}
                        () = bench.until("nothing is parked", driven) => {}
                    }
                } => {}
            }
            bench.gone(&projection).await;
            bench.pass_a_lease();
            let member = bench.project(&projection).await;
            bench.until("nothing is parked", driven).await;
            member.shutdown().await;
            bench.assert_counted(0..written).await;
        }
    }
}

/// Guarantee 6.
pub async fn an_event_that_cannot_be_routed_is_driven_into_every_view(
    harness: &dyn ScenarioHarness,
) {
    let bench = Bench::new(harness).await;
    let projection = Arc::new(Counting::default());
    projection.troubles.set(6, Trouble::Unroutable);
    let member = bench.project(&projection).await;
    bench.write(0..20).await;
    bench.settled().await;
    let parked = bench.parked(10).await;
    let [event] = parked.as_slice() else { panic!("{parked:?}") };
    assert_eq!((event.id, &event.scope), (event_id(6), &None));
    projection.troubles.mend();
    bench.operator().drive(event).await.expect("an order");
    bench.until("nothing is parked", async || bench.parked(10).await.is_empty()).await;
    member.shutdown().await;
    bench.assert_counted(0..20).await;
}

/// Guarantees 1 and 10.
pub async fn retries_are_bounded_and_the_stream_waits(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    handler.troubles.set(2, Trouble::Retry(2));
    handler.troubles.set(9, Trouble::Retry(1_000));
    let member = bench.handle(&handler).await;
    bench.write(0..20).await;
    bench.settled().await;
    assert_eq!(handler.attempts(2), [3], "the third attempt");
    let parked = bench.parked(10).await;
    let [event] = parked.as_slice() else { panic!("{parked:?}") };
    assert_eq!((event.id, event.attempts), (event_id(9), bench.config.max_attempts));
    bench
        .until("it is counted", async || {
            let metrics = member.metrics();
            (metrics.retried, metrics.parked) == (4, 1)
        })
        .await;
    member.shutdown().await;
    for partition in bench.partitions().await {
        let of = |number: &u64| bench.partition_of(*number) == partition;
        let delivered: Vec<_> = handler.delivered().into_iter().filter(of).collect();
        assert!(delivered.is_sorted(), "later ones waited: {delivered:?}");
    }
}

/// Guarantees 6, 7 and 10.
pub async fn too_many_parked_events_stop_the_partition(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await.config(|config| config.max_parked = 2);
    let handler = Recorder::open();
    let numbers = || (0..6).map(|n| n * super::bench::STREAMS);
    numbers().for_each(|number| handler.troubles.set(number, Trouble::Permanent));
    let member = bench.handle(&handler).await;
    bench.write(numbers()).await;
    let of = bench.partition_of(0);
    let stopped = async || bench.partition(of).await.halt == Some(Halt::TooManyParked { limit: 2 });
    bench.until("the partition stands still", stopped).await;
    let status = bench.partition(of).await;
    assert_eq!((status.parked, status.lag_events > 0), (2, true), "{status:?}");
    handler.troubles.mend();
    bench.drive_all().await;
    bench.settled().await;
    bench.until("nothing is parked", async || bench.parked(10).await.is_empty()).await;
    assert_eq!(bench.partition(of).await.halt, None);
    assert_eq!(handler.distinct(), numbers().collect());
    member.shutdown().await;
}

/// Guarantee 6.
pub async fn a_handler_that_panics_or_hangs_fails_its_event(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let bench = bench.config(|config| config.handler_timeout = Duration::from_millis(50));
    let handler = Recorder::open();
    handler.troubles.set(1, Trouble::Panic);
    handler.troubles.set(2, Trouble::Hang);
    let member = bench.handle(&handler).await;
    bench.write(0..10).await;
    bench.settled().await;
    member.shutdown().await;
    let parked = bench.parked(10).await;
    let reason = |number| {
        let event = parked.iter().find(|event| event.id == event_id(number)).expect("it is parked");
        assert_eq!(event.attempts, bench.config.max_attempts);
        event.reason.as_str()
    };
    assert_eq!(reason(1), "the handler panicked");
    assert_eq!(reason(2), "the handler took too long");
    // On a machine that is very slow, others may take too long as well; none is lost.
    let seen = handler.distinct();
    let missing = (0..10).filter(|number| !seen.contains(number)).map(event_id);
    assert!(missing.into_iter().all(|id| parked.iter().any(|event| event.id == id)));
}

/// Guarantee 6: also one that no handler lives through.
pub async fn an_event_that_kills_its_process_is_parked(harness: &dyn ScenarioHarness) {
    let bench = Bench::new(harness).await;
    let handler = Recorder::open();
    handler.troubles.set(4, Trouble::Hang);
    bench.write(0..10).await;
    let mut crashes = 0;
    loop {
        let hung = *handler.hung.borrow();
        let member = bench.handle(&handler).await;
        // The process dies with the event in its hands.
        tokio::select! {
            () = bench.settled() => {
                member.shutdown().await;
                break;
            }
            () = handler.has_hung(hung + 1) => {}
        }
        drop(member);
        bench.gone(&handler).await;
        crashes += 1;
        assert!(crashes <= bench.config.max_attempts + 1, "it kills for ever");
        bench.pass_a_lease();
    }
    let parked = bench.parked(10).await;
    assert!(parked.iter().all(|event| event.reason.contains("died")), "{parked:?}");
    // Each time the process may have had an event of another partition in its hands as well, and
    // nobody can tell which of them killed it. None but those is kept back.
    let partitions: BTreeSet<_> = parked.iter().map(|event| event.partition).collect();
    assert_eq!(partitions.len(), parked.len(), "one of each partition: {parked:?}");
    let is_parked = |number| parked.iter().any(|event| event.id == event_id(number));
    assert!(is_parked(4), "{parked:?}");
    let delivered = handler.distinct();
    assert!(!delivered.contains(&4));
    assert!((0..10).all(|number| delivered.contains(&number) || is_parked(number)));
}
