//! The kit finds what it is there to find: for each flaw that adapters have, a store with just
//! that flaw fails the check that is named for it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::memory::MemoryEventStore;
use chat_core::ports::{
    Append, AppendResult, Appended, Direction, EventStore, EventStoreExt as _, LogPage, PageLimit,
    StoreError, StoreInfo, StreamPage, StreamWrite,
};
use chat_core::testkit::{Answers, StoreHarness, event_store as checks, model, run, run_cases};
use chat_core::{
    EventId, Json, Namespace, NewEvent, PartitionId, Position, RecordedEvent, StreamId, Timestamp,
    Version,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    WritesOneStreamAfterTheOther,
    LooksAtExpectationsFirst,
    IgnoresGuards,
    NeverSaysRepeat,
    AnswersRepeatsFromTheEnd,
    ParsesPayloads,
    TakesNullMetadataForNone,
    FoldsCase,
    TrimsNames,
    RoundsTimes,
    AnswersOneTooFew,
    IncludesTheStart,
    IgnoresBytes,
    GivesNothingForSmallBytes,
    SkipsAtASeam,
    LooksAtTheHeadLater,
    SkipsInTheLog,
    MisplacesNext,
    TakesAnyPartition,
    SortsHeads,
    FindsInEveryStream,
    SharesNamespaces,
    ForgetsWhenReopened,
    NamesANewEpochEachTime,
    CreatesTwice,
}

#[derive(Debug)]
struct Flawed(Flaw, MemoryEventStore);

/// Long enough that somebody else comes in between, once in many times at least.
async fn others_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

impl Flawed {
    fn has(&self, flaw: Flaw) -> bool {
        self.0 == flaw
    }

    fn name(&self, stream: &StreamId) -> StreamId {
        match self.0 {
            Flaw::FoldsCase => StreamId::new(stream.as_str().to_lowercase()).unwrap(),
            Flaw::TrimsNames => StreamId::new(stream.as_str().trim_end()).unwrap(),
            _ => stream.clone(),
        }
    }

    fn event(&self, event: &NewEvent) -> NewEvent {
        let mut event = event.clone();
        if self.has(Flaw::ParsesPayloads) {
            let value: Option<serde_json::Value> = event.payload.decode().ok();
            event.payload = value.map_or(event.payload, |value| Json::encode(&value).unwrap());
        }
        if self.has(Flaw::TakesNullMetadataForNone) {
            event.metadata = event.metadata.filter(|json| json.as_str() != "null");
        }
        if self.has(Flaw::RoundsTimes) {
            event.recorded_at = Timestamp(event.recorded_at.0 / 1_000 * 1_000);
        }
        event
    }

    async fn one(&self, append: &Append) -> AppendResult {
        let (writes, mut guards) = append.clone().into_parts();
        let write = |write: StreamWrite| StreamWrite {
            stream: self.name(&write.stream),
            events: write.events.iter().map(|event| self.event(event)).collect(),
            ..write
        };
        let writes: Vec<_> = writes.into_iter().map(write).collect();
        if self.has(Flaw::IgnoresGuards) {
            guards.clear();
        }
        if self.has(Flaw::LooksAtExpectationsFirst) || self.has(Flaw::CreatesTwice) {
            for StreamWrite { stream, expected, .. } in writes.iter().cloned() {
                let actual = self.1.head(&stream).await?;
                if !expected.holds(actual) {
                    return Err(StoreError::Conflict { stream, expected, actual });
                }
            }
        }
        if self.has(Flaw::CreatesTwice) {
            // Looked, and then wrote: others come in between.
            others_run().await;
            let any = chat_core::ports::Expected::Any;
            let writes = writes.into_iter().map(|write| StreamWrite { expected: any, ..write });
            return self.1.append_one(Append::multi(writes.collect(), guards).unwrap()).await;
        }
        if self.has(Flaw::WritesOneStreamAfterTheOther) {
            let mut all = Appended { streams: Vec::new(), repeat: false };
            for write in writes {
                let part = self.1.append_one(Append::multi(vec![write], guards.clone()).unwrap());
                let part = part.await?;
                all.streams.extend(part.streams);
                all.repeat |= part.repeat;
                others_run().await;
            }
            return Ok(all);
        }
        let last = writes.last().unwrap().stream.clone();
        let mut appended = self.1.append_one(Append::multi(writes, guards).unwrap()).await?;
        if self.has(Flaw::AnswersRepeatsFromTheEnd) && appended.repeat {
            let head = self.1.head(&last).await?;
            appended.streams.iter_mut().for_each(|written| written.last = head);
        }
        appended.repeat &= !self.has(Flaw::NeverSaysRepeat);
        Ok(appended)
    }
}

#[async_trait]
impl EventStore for Flawed {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        let mut results = Vec::new();
        for append in appends {
            results.push(self.one(append).await);
        }
        if self.has(Flaw::AnswersOneTooFew) && results.len() > 1 {
            results.pop();
        }
        results
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        mut from: Version,
        mut limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        if self.has(Flaw::IgnoresBytes) {
            limit.bytes = usize::MAX;
        }
        if self.has(Flaw::IncludesTheStart) && direction == Direction::Backward {
            from = from.next();
        }
        let mut page = self.1.read_stream(&self.name(stream), direction, from, limit).await?;
        if self.has(Flaw::GivesNothingForSmallBytes) && limit.bytes < 64 {
            page.events.clear();
        }
        if self.has(Flaw::SkipsAtASeam) && page.events.len() > 100 {
            page.events.remove(64);
        }
        if self.has(Flaw::LooksAtTheHeadLater) {
            others_run().await;
            page.head = self.1.head(stream).await?;
        }
        for event in &mut page.events {
            // What a store gives back, it believes to be of the stream asked for.
            let stream = stream.clone();
            *event = Arc::new(RecordedEvent { stream, ..RecordedEvent::clone(event) });
        }
        Ok(page)
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        let partition = match self.0 {
            Flaw::TakesAnyPartition => PartitionId(partition.0 % 2),
            _ => partition,
        };
        let mut page = self.1.read_log(partition, after, limit).await?;
        if self.has(Flaw::SkipsInTheLog) && page.events.len() > 4 {
            // As with a cursor on a sequence: what commits late is behind the reader already.
            page.events.remove(2);
        }
        if self.has(Flaw::MisplacesNext) {
            page.next = page.head;
        }
        Ok(page)
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        if self.has(Flaw::FindsInEveryStream) {
            for name in ["one", "two"] {
                let found = self.1.find(&StreamId::new(name).unwrap(), id).await?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        self.1.find(&self.name(stream), id).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        let mut names: Vec<_> = streams.iter().map(|stream| self.name(stream)).collect();
        if self.has(Flaw::SortsHeads) {
            names.sort_unstable();
        }
        self.1.heads(&names).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        if self.has(Flaw::NamesANewEpochEachTime) {
            self.1.renew_epoch();
        }
        self.1.info().await
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.1.partition_of(&self.name(stream))
    }
}

#[async_trait]
impl StoreHarness for Flawed {
    async fn open(&self) -> Arc<dyn EventStore> {
        let store = match self.0 {
            Flaw::ForgetsWhenReopened => MemoryEventStore::with_partitions(2),
            _ => self.1.clone(),
        };
        Arc::new(Self(self.0, store))
    }

    async fn open_namespace(&self, _: &Namespace) -> Arc<dyn EventStore> {
        let store = match self.0 {
            Flaw::SharesNamespaces => self.1.clone(),
            _ => MemoryEventStore::with_partitions(2),
        };
        Arc::new(Self(self.0, store))
    }

    fn answers(&self) -> Answers {
        Answers::Certain
    }
}

fn flawed(flaw: Flaw) -> Flawed {
    Flawed(flaw, MemoryEventStore::with_partitions(2))
}

/// A test for each flaw: these checks find it.
macro_rules! caught {
    ($($name:ident: $flaw:ident by $($check:ident),+;)+) => {
        $(
            #[test]
            fn $name() {
                $({
                    let check = || run(async { checks::$check(&flawed(Flaw::$flaw)).await });
                    let caught = catch_unwind(AssertUnwindSafe(check)).is_err();
                    assert!(caught, "{} did not find it", stringify!($check));
                })+
            }
        )+
    };
}

caught! {
    torn_appends: WritesOneStreamAfterTheOther by
        a_refused_write_leaves_nothing_of_the_others, no_reader_sees_half_of_an_append,
        a_dropped_append_is_whole_or_absent_and_a_repeat_settles_it;
    expectations_before_ids: LooksAtExpectationsFirst by
        a_repeat_is_not_held_to_its_expectation,
        an_id_is_refused_before_expectations_are_looked_at;
    guards_that_do_not_guard: IgnoresGuards by
        guards_hold_as_expectations_do, a_refused_guard_leaves_nothing_of_the_writes,
        concurrent_guards_and_writes_admit_one_order;
    repeats_told_as_new: NeverSaysRepeat by
        a_repeat_gets_the_first_answer, concurrent_repeats_write_once;
    repeats_with_a_later_answer: AnswersRepeatsFromTheEnd by
        a_repeat_is_known_after_thousands_of_events;
    payloads_written_anew: ParsesPayloads by payloads_are_kept_byte_for_byte;
    metadata_lost: TakesNullMetadataForNone by metadata_is_kept_and_told_from_none;
    collations: FoldsCase by stream_names_are_told_apart_by_their_bytes;
    padded_names: TrimsNames by stream_names_are_told_apart_by_their_bytes;
    coarse_times: RoundsTimes by times_types_and_schema_versions_are_kept;
    answers_missing: AnswersOneTooFew by a_call_of_everything_answers_each;
    pages_with_the_start: IncludesTheStart by
        streams_are_read_both_ways_from_every_version_with_every_limit;
    pages_without_bound: IgnoresBytes by a_page_heeds_the_limit_in_bytes;
    pages_without_progress: GivesNothingForSmallBytes by a_page_heeds_the_limit_in_bytes;
    long_pages_in_two_parts: SkipsAtASeam by long_pages_heed_both_limits;
    heads_of_another_look: LooksAtTheHeadLater by a_page_is_one_consistent_look;
    gaps_in_the_log: SkipsInTheLog by
        log_readers_miss_nothing_while_many_write, the_log_has_every_event_once_in_commit_order;
    wrong_continuation: MisplacesNext by
        the_log_can_be_read_from_every_position_with_every_limit;
    partitions_without_bound: TakesAnyPartition by a_partition_out_of_range_is_invalid;
    heads_in_another_order: SortsHeads by heads_are_told_in_the_order_asked;
    foreign_finds: FindsInEveryStream by find_finds_by_stream_and_id;
    shared_namespaces: SharesNamespaces by namespaces_never_see_each_other;
    forgotten_data: ForgetsWhenReopened by
        a_second_handle_sees_everything_and_goes_on, a_repeat_is_known_to_another_handle;
    changing_epochs: NamesANewEpochEachTime by info_is_the_same_for_every_handle;
    two_winners: CreatesTwice by of_many_creators_exactly_one_wins;
}

#[test]
fn the_model_finds_what_differs_for_one_caller() {
    use Flaw::{
        AnswersOneTooFew, AnswersRepeatsFromTheEnd, ForgetsWhenReopened, IgnoresBytes,
        IgnoresGuards, IncludesTheStart, LooksAtExpectationsFirst, MisplacesNext, NeverSaysRepeat,
        SkipsInTheLog, SortsHeads, WritesOneStreamAfterTheOther,
    };
    for flaw in [
        AnswersOneTooFew,
        AnswersRepeatsFromTheEnd,
        ForgetsWhenReopened,
        IgnoresBytes,
        IgnoresGuards,
        IncludesTheStart,
        LooksAtExpectationsFirst,
        MisplacesNext,
        NeverSaysRepeat,
        SkipsInTheLog,
        SortsHeads,
        WritesOneStreamAfterTheOther,
    ] {
        let check =
            || run_cases(model::histories_match_the_model(|| std::future::ready(flawed(flaw))));
        let panic = catch_unwind(AssertUnwindSafe(check)).expect_err(&format!("{flaw:?}"));
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("CHAT_KIT_SEED=") && text.contains("at its shortest"), "{text}");
    }
}

#[test]
fn races_find_what_differs_for_many_callers() {
    for flaw in [Flaw::CreatesTwice, Flaw::IgnoresGuards, Flaw::NeverSaysRepeat] {
        let fresh = || std::future::ready(flawed(flaw));
        let check = || run_cases(model::concurrent_histories_are_consistent(fresh));
        assert!(catch_unwind(AssertUnwindSafe(check)).is_err(), "{flaw:?}");
    }
}

/// Every check that is written is one that the macro runs.
#[test]
fn no_check_is_left_out_of_its_list() {
    let kit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testkit");
    for port in ["event_store", "view_store", "event_bus"] {
        let list = std::fs::read_to_string(kit.join(port).join("mod.rs")).unwrap();
        let mut checks = 0;
        for file in std::fs::read_dir(kit.join(port)).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for (_, rest) in
                text.match_indices("pub async fn ").map(|(at, m)| text.split_at(at + m.len()))
            {
                let name = rest.split(['(', '<']).next().unwrap();
                assert!(list.contains(&format!(" {name},\n")), "{port}: {name} is not in the list");
                checks += 1;
            }
        }
        assert!(checks > 10, "{port}: {checks} checks");
    }
}
