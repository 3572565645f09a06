//! The checks of [`EventBus`]. Numbers are those of its guarantees.

mod delivery;
mod load;

pub use delivery::*;
pub use load::*;

use std::time::Duration;

use futures::StreamExt as _;

use super::harness_bus::{BusHarness, Signals};
use crate::event::Json;
use crate::id::{Topic, Version};
use crate::ports::{BusItem, BusStream, EventBus, Signal, SignalBody};

/// Makes a test of every check of [`EventBus`](crate::ports::EventBus).
///
/// Takes an async function without arguments that makes a fresh
/// [`BusHarness`](crate::testkit::BusHarness). Put each use into a module of its own.
#[macro_export]
macro_rules! event_bus_tests {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::event_bus],
            a_subscriber_receives_what_is_published_from_then_on,
            signals_arrive_whole,
            topics_are_told_apart_by_their_bytes,
            every_subscriber_of_a_topic_receives,
            a_publish_may_serve_many_topics,
            publishing_nothing_or_to_nobody_is_no_error,
            a_signal_above_the_bound_is_refused,
            a_subscriber_who_does_not_read_delays_nobody,
            a_subscriber_who_was_behind_goes_on,
            a_dropped_subscription_ends_and_a_new_one_receives,
            many_publishers_and_subscribers_work_together,
        }
    };
}

/// Longer than any bus takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// After which a signal that may be lost is sent again.
const AGAIN: Duration = Duration::from_millis(50);

fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic within the rules")
}

fn ring(name: &str, version: u64) -> Signal {
    Signal { topic: topic(name), body: SignalBody::Ring(Version(version)) }
}

fn ephemeral(name: &str, text: &str) -> Signal {
    Signal { topic: topic(name), body: SignalBody::Ephemeral(Json::from_text(text)) }
}

async fn subscribe(harness: &dyn BusHarness, bus: &dyn EventBus, name: &str) -> BusStream {
    loop {
        match bus.subscribe(&topic(name)).await {
            Ok(stream) => return stream,
            Err(error) if harness.signals() == Signals::Arrive => panic!("subscribe: {error}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Sends signals; where they may be lost, the error of the bus is one more way to lose them.
async fn publish(harness: &dyn BusHarness, bus: &dyn EventBus, signals: &[Signal]) {
    let result = bus.publish(signals).await;
    if harness.signals() == Signals::Arrive {
        result.expect("publish");
    }
}

/// The next signal that passes, if it comes in time; whatever comes is of this topic.
async fn next_that(
    stream: &mut BusStream,
    name: &str,
    patience: Duration,
    passes: impl Fn(&Signal) -> bool,
) -> Option<Signal> {
    let wanted = async {
        loop {
            match stream.next().await.expect("the bus is open") {
                BusItem::Missed => {}
                BusItem::Signal(signal) => {
                    assert_eq!(signal.topic, topic(name), "a signal of another topic");
                    if passes(&signal) {
                        return signal;
                    }
                }
            }
        }
    };
    tokio::time::timeout(patience, wanted).await.ok()
}

/// Sends a signal until it arrives.
async fn deliver(
    harness: &dyn BusHarness,
    bus: &dyn EventBus,
    signal: &Signal,
    stream: &mut BusStream,
) {
    let name = signal.topic.as_str().to_owned();
    let arrives = harness.signals() == Signals::Arrive;
    let patience = if arrives { PATIENCE } else { AGAIN };
    for _ in 0..1_000 {
        publish(harness, bus, std::slice::from_ref(signal)).await;
        let found = next_that(stream, &name, patience, |found| found == signal).await;
        if found.is_some() {
            return;
        }
        assert!(!arrives, "{signal:?} has not arrived");
    }
    panic!("{signal:?} was lost a thousand times");
}
