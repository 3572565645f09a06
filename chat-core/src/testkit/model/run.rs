//! Runs a history in lockstep with the model.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::Mismatch;
use super::reference::{Model, Verdict};
use super::step::{Content, Expect, Limit, Plan, STREAMS, Step, steps};
use crate::clock::Timestamp;
use crate::event::{Json, NewEvent};
use crate::id::{PartitionId, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Direction, EventStore, Expected, Guard, PageLimit, StoreError,
    StreamWrite,
};
use crate::testkit::fixture::{event, event_with, stream};
use crate::testkit::{Answers, StoreHarness};

/// Most steps of a history.
pub(super) const STEPS: usize = 40;

/// What a history came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Steps taken.
    pub steps: usize,
    /// Appends that wrote.
    pub new: usize,
    /// Appends that were repeats.
    pub repeats: usize,
    /// Appends refused by an expectation.
    pub conflicts: usize,
    /// Appends refused for an id.
    pub reused: usize,
    /// Appends refused for their partitions.
    pub cross: usize,
    /// A number that differs, most likely, if any outcome does.
    pub digest: u64,
}

/// Runs the history of this number on an empty store and compares it with the model.
///
/// # Errors
/// [`Mismatch`] where they part.
pub async fn run_seed(harness: &dyn StoreHarness, seed: u64) -> Result<Report, Mismatch> {
    run_steps(harness, &steps(seed)).await
}

/// Runs a history on an empty store and compares it with the model.
///
/// # Errors
/// [`Mismatch`] where they part.
pub async fn run_steps(harness: &dyn StoreHarness, steps: &[Step]) -> Result<Report, Mismatch> {
    let mut history = History::new(harness).await.map_err(|what| Mismatch { step: 0, what })?;
    for (step, what) in steps.iter().enumerate() {
        let done = history.step(what).await;
        done.map_err(|error| Mismatch { step, what: format!("{what:?}: {error}") })?;
    }
    let finished = history.read_everything().await;
    finished.map_err(|what| Mismatch { step: steps.len(), what })?;
    history.report.steps = steps.len();
    history.report.digest = history.digest.finish();
    Ok(history.report)
}

struct History<'a> {
    harness: &'a dyn StoreHarness,
    store: Arc<dyn EventStore>,
    model: Model,
    logs: usize,
    /// The number of the next new event.
    next: u64,
    report: Report,
    digest: DefaultHasher,
}

/// An error where the model knows none.
fn fails(error: &StoreError) -> String {
    format!("the store fails: {error}")
}

impl<'a> History<'a> {
    async fn new(harness: &'a dyn StoreHarness) -> Result<Self, String> {
        let store = harness.open().await;
        let logs = store.info().await.map_err(|error| fails(&error))?.partitions;
        let logs = usize::try_from(logs).map_err(|error| error.to_string())?;
        let names: [StreamId; STREAMS] =
            ["1/{one}", "2/{one}", "3/{one}", "4/{two}", "5"].map(stream);
        let place = |name: StreamId| {
            let log = usize::try_from(store.partition_of(&name).0).unwrap_or(usize::MAX);
            (name, log)
        };
        let streams: Vec<_> = names.into_iter().map(place).collect();
        if let Some((name, log)) = streams.iter().find(|(_, log)| *log >= logs) {
            return Err(format!("{name} is in partition {log} of {logs}"));
        }
        let model = Model::new(streams, logs, harness.answers());
        let (report, digest) = (Report::default(), DefaultHasher::new());
        Ok(Self { harness, store, model, logs, next: 1, report, digest })
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Append(plans) => self.call(plans).await,
            Step::Page(stream, direction, from, limit) => {
                let stream = usize::from(*stream) % STREAMS;
                let beyond = self.model.head(stream).0 + 3;
                let from = match u64::from(*from) % (beyond + 1) {
                    from if from == beyond => Version::MAX,
                    from => Version(from),
                };
                self.page(stream, *direction, from, page_limit(*limit)).await
            }
            Step::Log(log, after, limit) => {
                let log = usize::from(*log) % self.logs;
                let entry = usize::from(*after) % (self.model.log_len(log) + 1);
                self.log_page(log, entry, page_limit(*limit)).await.map(drop)
            }
            Step::Find(inside, of, event) => {
                let of = &self.model.streams[usize::from(*of) % STREAMS].events;
                let held = of.get(usize::from(*event) % (of.len() + 1));
                let id = held.map_or_else(|| event_with(0, "").id, |held| held.event.id);
                let inside = usize::from(*inside) % STREAMS;
                let name = self.model.streams[inside].name.clone();
                let found = self.store.find(&name, id).await.map_err(|error| fails(&error))?;
                self.model.find(inside, id, found.as_ref())
            }
            Step::Heads(streams) => {
                let streams: Vec<_> =
                    streams.iter().map(|stream| usize::from(*stream) % STREAMS).collect();
                self.heads(&streams).await
            }
            Step::Reopen => {
                self.store = self.harness.open().await;
                Ok(())
            }
        }
    }

    async fn call(&mut self, plans: &[Plan]) -> Result<(), String> {
        let mut growth = [0; STREAMS];
        let appends: Vec<_> = plans.iter().map(|plan| self.append(plan, &mut growth)).collect();
        // Where an answer may get lost, a call is tried again as a whole, and an append that was
        // refused may meet what came behind it: only calls of one append have a certain outcome.
        let most = if self.harness.answers() == Answers::Certain { appends.len() } else { 1 };
        for call in appends.chunks(most.max(1)) {
            let results = self.store.append(call).await;
            if results.len() != call.len() {
                return Err(format!("{} answers to {} appends", results.len(), call.len()));
            }
            for (append, result) in call.iter().zip(&results) {
                let verdict = self.model.append(append, result)?;
                self.note(verdict, result);
            }
        }
        Ok(())
    }

    fn note(&mut self, verdict: Verdict, result: &AppendResult) {
        let count = match verdict {
            Verdict::New => &mut self.report.new,
            Verdict::Repeat => &mut self.report.repeats,
            Verdict::Conflict => &mut self.report.conflicts,
            Verdict::IdReused => &mut self.report.reused,
            Verdict::CrossPartition => &mut self.report.cross,
        };
        *count += 1;
        verdict.hash(&mut self.digest);
        if let Ok(appended) = result {
            for written in &appended.streams {
                (written.first, written.last).hash(&mut self.digest);
            }
        }
    }

    /// Gives a plan its meaning. `growth` counts the new events of the plans before it in the call.
    fn append(&mut self, plan: &Plan, growth: &mut [u64; STREAMS]) -> Append {
        let mut named = [false; STREAMS];
        let mut used = Vec::new();
        let mut writes = Vec::new();
        for write in &plan.writes {
            let stream = usize::from(write.stream) % STREAMS;
            if std::mem::replace(&mut named[stream], true) {
                continue;
            }
            let mut events = self.events(stream, write.content);
            events.retain(|event| !used.contains(&event.id));
            if events.is_empty() {
                events = self.events(stream, Content::New(1));
            }
            used.extend(events.iter().map(|event| event.id));
            let expected = self.expected(stream, write.expect, growth);
            if let Content::New(_) = write.content {
                growth[stream] += events.len() as u64;
            }
            let stream = self.model.streams[stream].name.clone();
            writes.push(StreamWrite { stream, expected, events });
        }
        let mut guards = Vec::new();
        for (stream, expect) in &plan.guards {
            let stream = usize::from(*stream) % STREAMS;
            if !std::mem::replace(&mut named[stream], true) {
                let expected = self.expected(stream, *expect, growth);
                let stream = self.model.streams[stream].name.clone();
                guards.push(Guard { stream, expected });
            }
        }
        Append::multi(writes, guards).expect("an append within the bounds")
    }

    fn expected(&self, stream: usize, expect: Expect, growth: &[u64; STREAMS]) -> Expected {
        let head = self.model.head(stream).0 + growth[stream];
        match expect {
            Expect::Any => Expected::Any,
            Expect::NoStream => Expected::NoStream,
            Expect::Exists => Expected::Exists,
            Expect::Head => Expected::Exactly(Version(head)),
            Expect::Below(by) => Expected::Exactly(Version(head.saturating_sub(u64::from(by)))),
            Expect::Above(by) => Expected::Exactly(Version(head + u64::from(by))),
        }
    }

    fn events(&mut self, stream: usize, content: Content) -> Vec<NewEvent> {
        let held = &self.model.streams[stream].events;
        let at = |event: u8| usize::from(event) % held.len().max(1);
        let one = |event: u8| held.get(at(event)).map(|held| held.event.clone());
        let old: Option<Vec<NewEvent>> = match content {
            Content::New(count) => return (0..count.max(1)).map(|_| self.new_event()).collect(),
            Content::Again(event, count) => {
                let from = held.iter().skip(at(event)).take(usize::from(count.max(1)));
                Some(from.map(|held| held.event.clone()).collect())
            }
            Content::AgainAndNew(event) => {
                let again = one(event);
                again.map(|again| vec![again, self.new_event()])
            }
            Content::Backwards(event) => held
                .get(at(event).max(1))
                .map(|later| vec![later.event.clone(), held[at(event).max(1) - 1].event.clone()]),
            Content::Changed(event) => one(event).map(|old| {
                vec![NewEvent { payload: Json::from_text(r#"{"changed":true}"#), ..old }]
            }),
            Content::Retold(event) => one(event).map(|old| {
                let recorded_at = Timestamp(old.recorded_at.0 + 1);
                let metadata = Some(Json::from_text(r#"{"retold":true}"#));
                vec![NewEvent { recorded_at, metadata, ..old }]
            }),
            Content::Foreign(other, event) => {
                let other = &self.model.streams[usize::from(other) % STREAMS].events;
                let found = other.get(usize::from(event) % other.len().max(1));
                found.map(|held| vec![held.event.clone()])
            }
        };
        let old = old.filter(|old| !old.is_empty());
        old.unwrap_or_else(|| vec![self.new_event()])
    }

    fn new_event(&mut self) -> NewEvent {
        let number = self.next;
        self.next += 1;
        let metadata = number.is_multiple_of(3).then(|| Json::from_text(r#"{"device":"d"}"#));
        let mut event = event(number);
        if number.is_multiple_of(4) {
            event = event_with(number, &format!("\"{}\"", "x".repeat(number as usize % 300)));
        }
        NewEvent { metadata, ..event }
    }

    async fn page(
        &mut self,
        stream: usize,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<(), String> {
        let name = self.model.streams[stream].name.clone();
        let page = self
            .store
            .read_stream(&name, direction, from, limit)
            .await
            .map_err(|error| fails(&error))?;
        self.model.page(stream, (direction, from, limit), &page)
    }

    /// Reads a page of a log behind this entry, or an earlier one; how many events it has.
    async fn log_page(
        &mut self,
        log: usize,
        entry: usize,
        limit: PageLimit,
    ) -> Result<usize, String> {
        let partition = PartitionId(u32::try_from(log).unwrap_or(u32::MAX));
        let (after, behind) = self.model.known_position(log, entry);
        let page =
            self.store.read_log(partition, after, limit).await.map_err(|error| fails(&error))?;
        self.model.log_page(log, (after, behind, limit), &page)?;
        Ok(page.events.len())
    }

    async fn heads(&mut self, streams: &[usize]) -> Result<(), String> {
        let names: Vec<_> =
            streams.iter().map(|stream| self.model.streams[*stream].name.clone()).collect();
        let heads = self.store.heads(&names).await.map_err(|error| fails(&error))?;
        let expected: Vec<_> = streams.iter().map(|stream| self.model.head(*stream)).collect();
        if heads == expected {
            Ok(())
        } else {
            Err(format!("expected {expected:?}, got {heads:?}"))
        }
    }

    /// At the end nothing is left unread.
    async fn read_everything(&mut self) -> Result<(), String> {
        let everything = PageLimit::events(PageLimit::MAX_EVENTS);
        for stream in 0..STREAMS {
            self.page(stream, Direction::Forward, Version::ZERO, everything).await?;
        }
        for log in 0..self.logs {
            self.log_page(log, 0, everything).await?;
        }
        self.heads(&(0..STREAMS).collect::<Vec<_>>()).await
    }
}

fn page_limit((events, bytes): Limit) -> PageLimit {
    let bytes = if bytes == u16::MAX { PageLimit::DEFAULT_BYTES } else { usize::from(bytes) };
    PageLimit { events: usize::from(events), bytes }
}
