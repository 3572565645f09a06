//! Slow, gone and many subscribers: guarantees 3, 4 and 5.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use tokio::task::JoinSet;

use super::{PATIENCE, Signals, deliver, ephemeral, next_that, publish, ring, subscribe};
use crate::ports::{BusItem, SignalBody};
use crate::testkit::BusHarness;

/// Far more than any subscriber's buffer holds.
const FLOOD: u64 = 5_000;

/// Guarantee 4: "never delays others or the publisher".
pub async fn a_subscriber_who_does_not_read_delays_nobody(harness: &dyn BusHarness) {
    let bus = harness.open().await;
    let sleeper = subscribe(harness, &*bus, "chat").await;
    let mut reader = subscribe(harness, &*bus, "chat").await;
    let reading = tokio::spawn(async move {
        let last = |signal: &_| *signal == ring("chat", FLOOD);
        let found = next_that(&mut reader, "chat", PATIENCE * 2, last).await;
        found.expect("the last signal");
        reader
    });
    for version in 1..FLOOD {
        publish(harness, &*bus, &[ring("chat", version)]).await;
    }
    // The reader may have missed some of the flood; the last is sent until it arrives.
    let mut rounds = 0;
    while !reading.is_finished() {
        rounds += 1;
        assert!(rounds < 100_000, "the reader waits for ever");
        publish(harness, &*bus, &[ring("chat", FLOOD)]).await;
        tokio::task::yield_now().await;
    }
    let mut reader = reading.await.expect("the reader");
    deliver(harness, &*bus, &ephemeral("chat", "\"still there\""), &mut reader).await;
    drop(sleeper);
}

/// Guarantees 3 and 4: it misses signals, is told so, and goes on from there.
pub async fn a_subscriber_who_was_behind_goes_on(harness: &dyn BusHarness) {
    let bus = harness.open().await;
    let mut stream = subscribe(harness, &*bus, "chat").await;
    for version in 1..=FLOOD {
        publish(harness, &*bus, &[ring("chat", version)]).await;
    }
    if harness.signals() == Signals::Arrive {
        let (mut received, mut missed, mut last) = (0, false, 0);
        while last < FLOOD {
            let item = tokio::time::timeout(PATIENCE, stream.next()).await;
            match item.expect("the last signal is kept").expect("the bus is open") {
                BusItem::Missed => missed = true,
                BusItem::Signal(signal) => {
                    let SignalBody::Ring(version) = signal.body else { panic!("{signal:?}") };
                    assert!(version.0 > last, "{version} behind {last}");
                    last = version.0;
                    received += 1;
                }
            }
        }
        assert!(
            missed || received == FLOOD,
            "{received} signals, and nobody said that any is lost"
        );
    }
    for version in 1..=5 {
        deliver(harness, &*bus, &ring("chat", FLOOD + version), &mut stream).await;
    }
}

/// Guarantee 5.
pub async fn a_dropped_subscription_ends_and_a_new_one_receives(harness: &dyn BusHarness) {
    let bus = harness.open().await;
    for round in 0..300 {
        let mut stream = subscribe(harness, &*bus, "chat").await;
        let other = subscribe(harness, &*bus, &format!("chat/{round}")).await;
        if round % 20 == 0 {
            deliver(harness, &*bus, &ring("chat", round), &mut stream).await;
        }
        drop(stream);
        publish(harness, &*bus, &[ring("chat", round), ring(&format!("chat/{round}"), 1)]).await;
        drop(other);
    }
    let mut stream = subscribe(harness, &*bus, "chat").await;
    let stays = subscribe(harness, &*bus, "chat").await;
    drop(stays);
    deliver(harness, &*bus, &ring("chat", 1_000), &mut stream).await;
}

/// Guarantees 1 and 2, all at once: everybody sees the last word of each publisher.
pub async fn many_publishers_and_subscribers_work_together(harness: &dyn BusHarness) {
    const PUBLISHERS: u64 = 8;
    const SIGNALS: u64 = 50;
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let mut stream = subscribe(harness, &*harness.open().await, "chat").await;
        readers.spawn(async move {
            let mut ended = BTreeSet::new();
            while ended.len() < usize::try_from(PUBLISHERS).expect("a small number") {
                let signal = next_that(&mut stream, "chat", PATIENCE, |_| true).await;
                let SignalBody::Ring(version) = signal.expect("a signal").body else {
                    panic!("nobody sent anything but rings");
                };
                assert!(version.0 < PUBLISHERS * SIGNALS, "{version} was sent by nobody");
                if version.0 % SIGNALS == SIGNALS - 1 {
                    ended.insert(version.0 / SIGNALS);
                }
            }
        });
    }
    let bus = harness.open().await;
    for n in 0..SIGNALS - 1 {
        let signals: Vec<_> =
            (0..PUBLISHERS).map(|publisher| ring("chat", publisher * SIGNALS + n)).collect();
        let sends =
            signals.iter().map(|signal| publish(harness, &*bus, std::slice::from_ref(signal)));
        futures::future::join_all(sends).await;
    }
    // A reader may have missed some, so the last word is repeated until all have heard it.
    let mut rounds = 0;
    while !readers.is_empty() {
        rounds += 1;
        assert!(rounds < 100_000, "a reader waits for ever");
        for publisher in 0..PUBLISHERS {
            publish(harness, &*bus, &[ring("chat", publisher * SIGNALS + SIGNALS - 1)]).await;
        }
        tokio::task::yield_now().await;
        while let Some(reader) = readers.try_join_next() {
            reader.expect("a reader");
        }
    }
}
