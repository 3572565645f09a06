//! What arrives, and where: guarantees 1 and 2.

use super::{deliver, ephemeral, publish, ring, subscribe, topic};
use crate::id::{Topic, Version};
use crate::ports::{BusError, SignalBody};
use crate::testkit::BusHarness;

/// Guarantee 2, from the same handle and from another one.
pub async fn a_subscriber_receives_what_is_published_from_then_on(harness: &dyn BusHarness) {
    let (bus, other) = (harness.open().await, harness.open().await);
    // Before anybody listens.
    publish(harness, &*bus, &[ring("chat", 1)]).await;
    let mut stream = subscribe(harness, &*bus, "chat").await;
    for version in 2..20 {
        deliver(harness, &*bus, &ring("chat", version * 2), &mut stream).await;
        deliver(harness, &*other, &ring("chat", version * 2 + 1), &mut stream).await;
    }
}

/// Guarantee 1: "whole".
pub async fn signals_arrive_whole(harness: &dyn BusHarness) {
    let bus = harness.open().await;
    let mut stream = subscribe(harness, &*harness.open().await, "chat").await;
    for version in [0, 1, u64::from(u32::MAX), Version::MAX.0] {
        deliver(harness, &*bus, &ring("chat", version), &mut stream).await;
    }
    let room = SignalBody::MAX_EPHEMERAL_BYTES - 2;
    let largest = format!("\"{}\"", "x".repeat(room));
    let wide = format!("\"{}\"", "語".repeat(room / 3));
    let texts = [
        "null",
        "{}",
        r#""""#,
        "{ \"b\" : 1,\n\t\"a\":\"'; -- $1 \\u0000 \\\\ é 日本 😀\" }",
        &largest,
        &wide,
    ];
    for text in texts {
        deliver(harness, &*bus, &ephemeral("chat", text), &mut stream).await;
    }
}

/// Guarantee 1: "on that topic". Whatever arrives is checked to be of the topic.
pub async fn topics_are_told_apart_by_their_bytes(harness: &dyn BusHarness) {
    let bus = harness.open().await;
    let longest = ["x", "y"].map(|end| "n".repeat(Topic::MAX_BYTES - 1) + end);
    let names = [
        "chat",
        "Chat",
        "chat ",
        " chat",
        "chat/a",
        "chat/*",
        "chat%",
        "é",
        "e\u{301}",
        "日本",
        "'; --",
        "\"",
        &longest[0],
        &longest[1],
    ];
    let mut streams = Vec::new();
    for name in names {
        streams.push(subscribe(harness, &*bus, name).await);
    }
    let all: Vec<_> = names.iter().zip(1..).map(|(name, version)| ring(name, version)).collect();
    publish(harness, &*bus, &all).await;
    for ((name, stream), version) in names.iter().zip(&mut streams).zip(1..) {
        // The signal of its own number first, then one more: nothing foreign came between.
        deliver(harness, &*bus, &ring(name, version), stream).await;
        deliver(harness, &*bus, &ring(name, 1_000 + version), stream).await;
    }
}

/// Guarantee 2, for each of them.
pub async fn every_subscriber_of_a_topic_receives(harness: &dyn BusHarness) {
    let bus = harness.open().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(subscribe(harness, &*bus, "chat").await);
        streams.push(subscribe(harness, &*harness.open().await, "chat").await);
    }
    let signals: Vec<_> = (1..=10).map(|version| ring("chat", version)).collect();
    publish(harness, &*bus, &signals).await;
    for (stream, version) in streams.iter_mut().zip(100..) {
        if harness.signals() == super::Signals::Arrive {
            for signal in &signals {
                let found = super::next_that(stream, "chat", super::PATIENCE, |_| true).await;
                assert_eq!(found.as_ref(), Some(signal), "in the order sent");
            }
        }
        deliver(harness, &*bus, &ring("chat", version), stream).await;
    }
}

/// "A publish is one round trip for all its signals."
pub async fn a_publish_may_serve_many_topics(harness: &dyn BusHarness) {
    let (bus, other) = (harness.open().await, harness.open().await);
    let names: Vec<_> = (0..200).map(|n| format!("chat/{n}")).collect();
    let mut streams = Vec::new();
    for name in &names {
        streams.push(subscribe(harness, &*other, name).await);
    }
    let signals: Vec<_> = names.iter().zip(1..).map(|(name, n)| ring(name, n)).collect();
    publish(harness, &*bus, &signals).await;
    for ((name, stream), signal) in names.iter().zip(&mut streams).zip(&signals) {
        if harness.signals() == super::Signals::Arrive {
            let found = super::next_that(stream, name, super::PATIENCE, |_| true).await;
            assert_eq!(found.as_ref(), Some(signal));
        } else {
            deliver(harness, &*bus, signal, stream).await;
        }
    }
}

/// With nobody subscribed, signals go nowhere.
pub async fn publishing_nothing_or_to_nobody_is_no_error(harness: &dyn BusHarness) {
    let bus = harness.open().await;
    for _ in 0..100 {
        publish(harness, &*bus, &[]).await;
        publish(harness, &*bus, &[ring("nobody", 1), ephemeral("nobody", "{}")]).await;
    }
    let mut stream = subscribe(harness, &*bus, "somebody").await;
    deliver(harness, &*bus, &ring("somebody", 1), &mut stream).await;
}

/// "At most `SignalBody::MAX_EPHEMERAL_BYTES`", with subscribers and without.
pub async fn a_signal_above_the_bound_is_refused(harness: &dyn BusHarness) {
    let bus = harness.open().await;
    let limit = SignalBody::MAX_EPHEMERAL_BYTES;
    let text = format!("\"{}\"", "x".repeat(limit - 1));
    let mut stream = subscribe(harness, &*bus, "chat").await;
    for name in ["chat", "nobody"] {
        let signals = [ring(name, 1), ephemeral(name, &text)];
        // Faults come before the bus looks at what it is given.
        for _ in 0..100 {
            match bus.publish(&signals).await {
                Err(BusError::TooLarge { bytes, limit: said }) => {
                    assert_eq!((bytes, said), (limit + 1, limit));
                    break;
                }
                Ok(()) if harness.signals() == super::Signals::MayBeLost => {}
                Err(BusError::Unavailable { .. })
                    if harness.signals() == super::Signals::MayBeLost => {}
                other => panic!("a signal of {} bytes to {}: {other:?}", limit + 1, topic(name)),
            }
        }
    }
    deliver(harness, &*bus, &ring("chat", 2), &mut stream).await;
}
