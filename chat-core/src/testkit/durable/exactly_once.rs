//! Each event once into views, at least once elsewhere.

use std::sync::Arc;

use super::bench::Bench;
use super::handlers::{Counting, Recorder};
use super::trap::{Side, Trap};
use crate::decorate::{FaultPlan, Faults, Faulty};
use crate::durable::DurableSubscription;
use crate::testkit::scenarios::{ScenarioHarness, Stores};

/// How many commits of a member's life a crash is tried at.
const STEPS: usize = 24;

/// Guarantee 2, with a crash before and after each write of a member's life.
pub async fn views_take_each_event_once_whatever_step_a_crash_comes_at(
    harness: &dyn ScenarioHarness,
) {
    // So many crashes with the same event in hand are no sign that it is to blame.
    let bench = Bench::new(harness).await.config(|config| config.max_attempts = 1_000);
    let projection = Arc::new(Counting::default());
    let mut written = 0;
    for step in 1..=STEPS {
        for side in [Side::Before, Side::After] {
            bench.write(written..written + 10).await;
            written += 10;
            let trap = Trap::at(Arc::clone(&bench.stores.views), step, side);
            let member = bench.with_views(Arc::clone(&trap) as _).project(projection.clone() as _);
            // The trap may spring before the member stands.
            tokio::select! {
                () = trap.sprung() => {}
                () = async {
                    let _member = member.await.expect("a member");
                    tokio::select! {
                        () = trap.sprung() => {}
                        () = bench.settled() => {}
                    }
                } => {}
            }
            bench.gone(&projection).await;
            bench.pass_a_lease();
        }
    }
    let member = bench.project(&projection).await;
    bench.settled().await;
    member.shutdown().await;
    bench.assert_counted(0..written).await;
}

/// Guarantees 1 and 3: at most `save_every` events come again for each crash, and in order.
pub async fn effects_come_at_least_once_whatever_step_a_crash_comes_at(
    harness: &dyn ScenarioHarness,
) {
    let bench = Bench::new(harness).await.config(|config| config.max_attempts = 1_000);
    let handler = Recorder::open();
    let partitions = bench.partitions().await.len();
    let mut written = 0;
    let mut crashes = 0;
    for step in 1..=STEPS {
        for side in [Side::Before, Side::After] {
            bench.write(written..written + 10).await;
            written += 10;
            let trap = Trap::at(Arc::clone(&bench.stores.views), step, side);
            let member = bench.with_views(Arc::clone(&trap) as _).handle(handler.clone() as _);
            tokio::select! {
                () = trap.sprung() => {}
                () = async {
                    let _member = member.await.expect("a member");
                    tokio::select! {
                        () = trap.sprung() => {}
                        () = bench.settled() => {}
                    }
                } => {}
            }
            crashes += 1;
            bench.gone(&handler).await;
            bench.pass_a_lease();
        }
    }
    let member = bench.handle(&handler).await;
    bench.settled().await;
    member.shutdown().await;
    let delivered = handler.delivered();
    assert_eq!(handler.distinct(), (0..written).collect(), "each at least once");
    let most = written + crashes * (bench.config.save_every * partitions) as u64;
    assert!(delivered.len() as u64 <= most, "{} deliveries of {written}", delivered.len());
    for of in bench.partitions().await {
        let mut seen: Vec<u64> = Vec::new();
        for number in delivered.iter().filter(|number| bench.partition_of(**number) == of) {
            if !seen.contains(number) {
                seen.push(*number);
            }
        }
        assert!(seen.is_sorted(), "out of order in partition {of}: {seen:?}");
    }
}

/// Guarantees 1 and 2 under answers that get lost, calls that fail, and rings that go astray.
pub async fn nothing_is_lost_or_doubled_under_faults(harness: &dyn ScenarioHarness) {
    let mut bench = Bench::new(harness).await.config(|config| config.max_attempts = 1_000);
    let projection = Arc::new(Counting::default());
    // The catalog is there before anything goes wrong.
    bench.project(&projection).await.shutdown().await;
    let faults = Faults::new(FaultPlan::all(7, 0.1));
    bench.bus = Arc::new(Faulty::new(Arc::clone(&bench.bus), faults.clone()));
    let faulty = Stores::new(
        Arc::new(Faulty::new(Arc::clone(&bench.stores.events), faults.clone())),
        Arc::new(Faulty::new(Arc::clone(&bench.stores.views), faults.clone())),
    );
    let mut members = Vec::new();
    let mut written = 0;
    for round in 0..12 {
        let own = Arc::new(Counting::default());
        let member = loop {
            match bench.on(faulty.clone()).project(own.clone() as _).await {
                Ok(member) => break member,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        };
        members.push((member, own));
        bench.write(written..written + 20).await;
        written += 20;
        if round % 3 == 2 {
            // One crashes; the others are there still.
            crash(&bench, members.remove(0)).await;
        }
        bench.pass_a_lease();
    }
    // Time goes on: what a lost answer left to nobody is free when its lease has run out.
    tokio::select! {
        () = bench.settled() => {}
        () = async {
            loop {
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                bench.pass_a_lease();
            }
        } => {}
    }
    for member in members {
        crash(&bench, member).await;
    }
    faults.set_active(false);
    bench.pass_a_lease();
    let member = bench.project(&projection).await;
    bench.settled().await;
    member.shutdown().await;
    assert!(faults.counts().total() > 0);
    bench.assert_counted(0..written).await;
}

async fn crash(bench: &Bench, (member, projection): (DurableSubscription, Arc<Counting>)) {
    drop(member);
    bench.gone(&projection).await;
}
