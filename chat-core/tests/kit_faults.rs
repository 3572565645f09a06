//! Injected faults and the retries over them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use chat_core::decorate::{FaultCounts, FaultPlan, Faults, Faulty, RetryPolicy, Retrying};
use chat_core::memory::{MemoryBus, MemoryEventStore};
use chat_core::ports::{
    BusItem, EventBus, EventStore, EventStoreExt as _, Expected, Signal, SignalBody, StoreError,
};
use chat_core::testkit::fixture::{assert_holds, events, single, stream, try_write};
use chat_core::{Topic, Version};
use futures::{FutureExt as _, StreamExt as _};

fn only(change: impl FnOnce(&mut FaultPlan)) -> Faults {
    let mut plan = FaultPlan::none(1);
    change(&mut plan);
    Faults::new(plan)
}

fn faulty(faults: &Faults) -> (MemoryEventStore, Faulty<MemoryEventStore>) {
    let memory = MemoryEventStore::new();
    (memory.clone(), Faulty::new(Arc::new(memory), faults.clone()))
}

#[tokio::test]
async fn a_fault_before_leaves_nothing() {
    let faults = only(|plan| plan.before = 1.0);
    let (memory, store) = faulty(&faults);
    let name = stream("chat");
    let result = try_write(&store, &name, Expected::Any, events([1])).await;
    assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
    assert!(store.head(&name).await.is_err(), "reads fail as well");
    assert_eq!(memory.head(&name).await.unwrap(), Version::ZERO);
    assert_eq!(faults.counts(), FaultCounts { before: 2, ..FaultCounts::default() });
    faults.set_active(false);
    store.append_one(single(&name, Expected::Any, events([1]))).await.unwrap();
    assert_eq!(faults.counts().total(), 2, "switched off");
}

#[tokio::test]
async fn a_lost_answer_leaves_everything() {
    let faults = only(|plan| plan.lost = 1.0);
    let (memory, store) = faulty(&faults);
    let name = stream("chat");
    let appends = [1, 2, 3].map(|number| single(&name, Expected::Any, events([number])));
    for result in store.append(&appends).await {
        assert!(matches!(result, Err(StoreError::OutcomeUnknown { .. })), "{result:?}");
    }
    assert_holds(&memory, &name, [1, 2, 3]).await;
    assert_eq!(faults.counts().lost, 1);
}

#[tokio::test]
async fn a_cut_call_leaves_the_first_of_its_appends() {
    let faults = only(|plan| plan.cut = 1.0);
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let (memory, store) = faulty(&faults);
        let name = stream("chat");
        let appends = [1, 2, 3].map(|number| single(&name, Expected::Any, events([number])));
        for result in store.append(&appends).await {
            assert!(matches!(result, Err(StoreError::OutcomeUnknown { .. })), "{result:?}");
        }
        let length = memory.head(&name).await.unwrap().0;
        assert_holds(&memory, &name, 1..=length).await;
        lengths.insert(length);
    }
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3], "every cut comes up");
}

#[tokio::test(start_paused = true)]
async fn a_delay_waits_and_changes_nothing() {
    let longest = Duration::from_secs(10);
    let faults = only(|plan| (plan.delay, plan.longest_delay) = (1.0, longest));
    let (_, store) = faulty(&faults);
    let start = tokio::time::Instant::now();
    store.append_one(single(&stream("chat"), Expected::Any, events([1]))).await.unwrap();
    let waited = start.elapsed();
    assert!(waited > Duration::ZERO && waited <= longest, "{waited:?}");
}

/// What a run of appends and reads under faults comes to.
async fn run(seed: u64) -> (FaultCounts, Vec<String>) {
    let faults = Faults::new(FaultPlan::all(seed, 0.2));
    let (_, store) = faulty(&faults);
    let mut answers = Vec::new();
    for number in 0..200 {
        let name = stream(&format!("chat/{}", number % 3));
        let appends = [0, 1].map(|n| single(&name, Expected::Any, events([number * 2 + n])));
        answers.push(format!("{:?}", store.append(&appends).await));
        answers.push(format!("{:?}", store.head(&name).await));
    }
    (faults.counts(), answers)
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_run() {
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    let FaultCounts { before, lost, cut, delay, .. } = first.0;
    assert!(before > 0 && lost > 0 && cut > 0 && delay > 0, "{:?}", first.0);
}

fn policy(attempts: u32) -> RetryPolicy {
    let (first_wait, longest_wait) = (Duration::from_millis(100), Duration::from_secs(1));
    RetryPolicy { attempts, first_wait, longest_wait, seed: 3 }
}

#[tokio::test(start_paused = true)]
async fn retries_settle_what_failed_and_keep_the_order() {
    for seed in 0..50 {
        let faults = Faults::new(FaultPlan::all(seed, 0.3));
        let (memory, store) = faulty(&faults);
        let store = Retrying::new(Arc::new(store), policy(50));
        let name = stream("chat");
        for round in 0..5 {
            let exactly = |n: u64| Expected::Exactly(Version(round * 3 + n));
            let append = |n: u64| single(&name, exactly(n), events([round * 3 + n + 1]));
            for result in store.append(&[append(0), append(1), append(2)]).await {
                result.unwrap();
            }
        }
        assert_holds(&memory, &name, 1..=15).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retries_end_after_the_last_attempt_with_growing_waits() {
    let faults = only(|plan| plan.before = 1.0);
    let (_, store) = faulty(&faults);
    let store = Retrying::new(Arc::new(store), policy(6));
    let start = tokio::time::Instant::now();
    let result = try_write(&store, &stream("chat"), Expected::Any, events([1])).await;
    assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
    assert_eq!(faults.counts().before, 6);
    // 100, 200, 400, 800 and 1,000 ms, each between its half and its whole.
    let waited = start.elapsed().as_millis();
    assert!((1_250..=2_510).contains(&waited), "{waited} ms");
    assert!(store.head(&stream("chat")).await.is_err());
    assert_eq!(faults.counts().before, 12, "reads are tried as often");
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_is_not_sent_again() {
    let faults = only(|plan| plan.lost = 1.0);
    let (_, store) = faulty(&faults);
    let store = Retrying::new(Arc::new(store), policy(1));
    let name = stream("chat");
    assert!(try_write(&store, &name, Expected::NoStream, events([1])).await.is_err());
    faults.set_active(false);
    let store = Retrying::new(Arc::new(store), policy(5));
    let again = try_write(&store, &name, Expected::NoStream, events([1])).await.unwrap();
    assert!(again.repeat, "as the store says");
    let start = tokio::time::Instant::now();
    let result = try_write(&store, &name, Expected::NoStream, events([2])).await;
    assert!(matches!(result, Err(StoreError::Conflict { .. })), "{result:?}");
    assert!(start.elapsed().is_zero(), "a conflict is an answer");
}

/// The rings that arrive of twenty, sent one by one.
async fn rings(change: impl FnOnce(&mut FaultPlan)) -> (Vec<u64>, FaultCounts) {
    let topic = Topic::new("chat").unwrap();
    let faults = only(change);
    let bus = Faulty::new(Arc::new(MemoryBus::new()), faults.clone());
    let mut stream = bus.subscribe(&topic).await.unwrap();
    for version in 1..=20 {
        let body = SignalBody::Ring(Version(version));
        bus.publish(&[Signal { topic: topic.clone(), body }]).await.unwrap();
    }
    // Paused time: it moves on when everybody waits, so what is late has come by then.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut arrived = Vec::new();
    while let Some(Some(item)) = stream.next().now_or_never() {
        let BusItem::Signal(Signal { body: SignalBody::Ring(version), .. }) = item else {
            panic!("{item:?} was not sent");
        };
        arrived.push(version.0);
    }
    (arrived, faults.counts())
}

#[tokio::test(start_paused = true)]
async fn a_bus_loses_doubles_delays_and_reorders() {
    let all: Vec<_> = (1..=20).collect();
    assert_eq!(rings(|_| ()).await.0, all);

    let (arrived, counts) = rings(|plan| plan.bus_drop = 0.5).await;
    assert!(arrived.is_sorted() && counts.bus_drop > 0 && !arrived.is_empty(), "{arrived:?}");
    assert_eq!(arrived.len() as u64 + counts.bus_drop, 20);

    let (arrived, counts) = rings(|plan| plan.bus_double = 0.5).await;
    assert!(arrived.is_sorted() && counts.bus_double > 0, "{arrived:?}");
    assert_eq!(arrived.len() as u64, 20 + counts.bus_double);

    let (mut arrived, counts) = rings(|plan| plan.bus_reorder = 0.3).await;
    assert!(!arrived.is_sorted() && counts.bus_reorder > 0, "{arrived:?}");
    arrived.sort_unstable();
    // The last may wait for one behind it.
    assert_eq!(arrived[..19], all[..19]);

    let (mut arrived, counts) = rings(|plan| plan.bus_delay = 0.5).await;
    assert!(!arrived.is_sorted() && counts.bus_delay > 0, "{arrived:?}");
    arrived.sort_unstable();
    assert_eq!(arrived, all);
}
