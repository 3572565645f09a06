//! The kit finds the flaws of view stores and buses, as `kit_catches` says of event stores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::memory::{MemoryBus, MemoryViewStore};
use chat_core::ports::{
    BusError, BusItem, BusStream, Direction, EventBus, KeyRange, Signal, SignalBody, StoreError,
    ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewPage, ViewStore, ViewValues,
};
use chat_core::testkit::{
    Answers, BusHarness, Signals, ViewHarness, event_bus as bus_checks, run,
    view_store as view_checks,
};
use chat_core::{Checkpoint, Namespace, Topic, Version};
use futures::StreamExt as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    LooksThenWrites,
    WritesInTwoSteps,
    NeverGoesBack,
    IgnoresClear,
    SortsByCase,
    SaysFinishedWhenFull,
    IncludesTheEnd,
    DropsEmptyValues,
    SharesNamespaces,
    StopsAtTheFirstRefusal,
}

#[derive(Debug)]
struct FlawedViews(Flaw, MemoryViewStore);

impl FlawedViews {
    async fn checkpoint(&self, view: &ViewId) -> Result<Checkpoint, StoreError> {
        let get = ViewGet { view: view.clone(), keys: Vec::new() };
        Ok(self.1.get(&[get]).await?.first().map(|values| values.checkpoint).unwrap_or_default())
    }

    async fn one(&self, mut batch: ViewBatch) -> Result<(), ViewError> {
        match self.0 {
            Flaw::LooksThenWrites => {
                let actual = self.checkpoint(&batch.view).await?;
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                if actual == batch.expected {
                    batch.expected = self.checkpoint(&batch.view).await?;
                }
            }
            Flaw::WritesInTwoSteps => {
                let ops = batch.ops.split_off(batch.ops.len() / 2);
                let (view, expected) = (batch.view.clone(), batch.expected);
                let first = ViewBatch { next: expected, ..batch.clone() };
                self.1.commit(&[first]).await.remove(0)?;
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                batch = ViewBatch { view, expected, next: batch.next, ops };
            }
            Flaw::NeverGoesBack => batch.next = batch.next.max(batch.expected),
            Flaw::IgnoresClear => batch.ops.retain(|op| *op != ViewOp::Clear),
            Flaw::DropsEmptyValues => {
                batch.ops.retain(|op| !matches!(op, ViewOp::Put(_, value) if value.is_empty()));
            }
            _ => {}
        }
        self.1.commit(&[batch]).await.remove(0)
    }
}

#[async_trait]
impl ViewStore for FlawedViews {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        self.1.get(gets).await
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        let mut page = self.1.scan(view, range, direction, limit).await?;
        match self.0 {
            Flaw::SortsByCase => page.entries.sort_by_key(|(key, _)| key.as_str().to_lowercase()),
            Flaw::SaysFinishedWhenFull => page.finished = page.entries.len() < limit,
            Flaw::IncludesTheEnd if range.end.is_some() => {
                let wider = KeyRange { end: None, ..range.clone() };
                let all = self.1.scan(view, &wider, Direction::Forward, 1_000).await?;
                page.entries.extend(
                    all.entries.into_iter().filter(|(key, _)| Some(key) == range.end.as_ref()),
                );
            }
            _ => {}
        }
        Ok(page)
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        let mut results = Vec::new();
        for batch in batches {
            let stopped = results.last().is_some_and(Result::is_err);
            results.push(match results.last() {
                Some(Err(error)) if stopped && self.0 == Flaw::StopsAtTheFirstRefusal => {
                    Err(Clone::clone(error))
                }
                _ => self.one(batch.clone()).await,
            });
        }
        results
    }
}

#[async_trait]
impl ViewHarness for FlawedViews {
    async fn open(&self) -> Arc<dyn ViewStore> {
        Arc::new(Self(self.0, self.1.clone()))
    }

    async fn open_namespace(&self, _: &Namespace) -> Arc<dyn ViewStore> {
        let shared = self.0 == Flaw::SharesNamespaces;
        let store = if shared { self.1.clone() } else { MemoryViewStore::new() };
        Arc::new(Self(self.0, store))
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BusFlaw {
    OneTopicForAll,
    CutsLongTexts,
    TakesAnySize,
    RoundsVersions,
    OneSubscriberOnly,
    StopsAfterAHundred,
}

#[derive(Debug, Clone)]
struct FlawedBus(BusFlaw, MemoryBus, Arc<std::sync::atomic::AtomicU64>);

impl FlawedBus {
    fn change(&self, mut signal: Signal) -> Signal {
        match (self.0, &mut signal.body) {
            (BusFlaw::CutsLongTexts, SignalBody::Ephemeral(json))
                if json.as_str().len() > 8_000 =>
            {
                *json = chat_core::Json::from_text("null");
            }
            (BusFlaw::TakesAnySize, SignalBody::Ephemeral(json)) => {
                *json = chat_core::Json::from_text("null");
            }
            (BusFlaw::RoundsVersions, SignalBody::Ring(version)) => {
                *version = Version(version.0 & 0xFFFF_FFFF);
            }
            _ => {}
        }
        if self.0 == BusFlaw::OneTopicForAll {
            signal.topic = all();
        }
        signal
    }
}

fn all() -> Topic {
    #[expect(clippy::unwrap_used, reason = "the name is within the rules")]
    Topic::new("all").unwrap()
}

#[async_trait]
impl EventBus for FlawedBus {
    async fn publish(&self, signals: &[Signal]) -> Result<(), BusError> {
        let sent = self.2.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if self.0 == BusFlaw::StopsAfterAHundred && sent > 100 {
            return Ok(());
        }
        let signals: Vec<_> = signals.iter().map(|signal| self.change(signal.clone())).collect();
        self.1.publish(&signals).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusStream, BusError> {
        if self.0 == BusFlaw::OneSubscriberOnly && self.1.topics() > 0 {
            return Ok(Box::pin(futures::stream::pending()));
        }
        let wanted = if self.0 == BusFlaw::OneTopicForAll { all() } else { topic.clone() };
        Ok(Box::pin(self.1.subscribe(&wanted).await?.map(|item: BusItem| item)))
    }
}

#[async_trait]
impl BusHarness for FlawedBus {
    async fn open(&self) -> Arc<dyn EventBus> {
        Arc::new(self.clone())
    }

    fn signals(&self) -> Signals {
        Signals::Arrive
    }
}

/// A test for each flaw: these checks find it. A check of a bus that waits for what never comes
/// would find it too, but only after its patience has ended.
macro_rules! caught {
    ($checks:ident, $harness:expr; $($name:ident: $flaw:path = $check:ident;)+) => {
        $(
            #[test]
            fn $name() {
                let check = || run(async { $checks::$check(&$harness($flaw)).await });
                assert!(catch_unwind(AssertUnwindSafe(check)).is_err(), "it was not found");
            }
        )+
    };
}

caught! {
    view_checks, |flaw| FlawedViews(flaw, MemoryViewStore::new());
    fences_with_a_gap: Flaw::LooksThenWrites = of_many_batches_at_one_checkpoint_exactly_one_wins;
    torn_batches: Flaw::WritesInTwoSteps = a_reader_sees_values_and_checkpoint_of_one_batch;
    checkpoints_that_only_rise: Flaw::NeverGoesBack =
        a_checkpoint_may_stand_still_go_back_and_be_as_great_as_any;
    clears_that_do_not: Flaw::IgnoresClear = clear_removes_every_key_of_that_view;
    collated_keys: Flaw::SortsByCase = keys_sort_by_their_bytes;
    guessed_ends: Flaw::SaysFinishedWhenFull = ranges_are_read_both_ways_with_every_limit;
    closed_ranges: Flaw::IncludesTheEnd = ranges_are_read_both_ways_with_every_limit;
    empty_values_lost: Flaw::DropsEmptyValues = values_are_kept_byte_for_byte;
    shared_namespaces: Flaw::SharesNamespaces = namespaces_of_views_never_see_each_other;
    refusals_that_spread: Flaw::StopsAtTheFirstRefusal = batches_of_one_call_stand_alone;
}

caught! {
    bus_checks, |flaw| FlawedBus(flaw, MemoryBus::new(), Arc::default());
    mixed_topics: BusFlaw::OneTopicForAll = topics_are_told_apart_by_their_bytes;
    any_size: BusFlaw::TakesAnySize = a_signal_above_the_bound_is_refused;
}

/// These wait for a signal that never comes; paused time ends their patience at once.
#[tokio::test(start_paused = true)]
async fn signals_that_never_come() {
    type Check = fn(FlawedBus) -> tokio::task::JoinHandle<()>;
    let checks: [(BusFlaw, Check); 4] = [
        (BusFlaw::CutsLongTexts, |bus| {
            tokio::spawn(async move { bus_checks::signals_arrive_whole(&bus).await })
        }),
        (BusFlaw::RoundsVersions, |bus| {
            tokio::spawn(async move { bus_checks::signals_arrive_whole(&bus).await })
        }),
        (BusFlaw::OneSubscriberOnly, |bus| {
            tokio::spawn(
                async move { bus_checks::every_subscriber_of_a_topic_receives(&bus).await },
            )
        }),
        (BusFlaw::StopsAfterAHundred, |bus| {
            tokio::spawn(async move { bus_checks::a_subscriber_who_was_behind_goes_on(&bus).await })
        }),
    ];
    for (flaw, check) in checks {
        let bus = FlawedBus(flaw, MemoryBus::new(), Arc::default());
        let ended = check(bus).await;
        assert!(ended.is_err_and(|error| error.is_panic()), "{flaw:?} was not found");
    }
}
