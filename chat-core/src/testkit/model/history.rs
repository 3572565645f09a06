//! Examines what a race left behind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::race::RaceReport;
use crate::event::RecordedEvent;
use crate::id::{EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{Append, AppendResult, Appended, EventStore, StoreError};
use crate::testkit::audit::LogAuditor;
use crate::testkit::fixture::partitions;

/// One call and its answer. The ticks are those of a clock that all callers share.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) append: Append,
    pub(super) result: AppendResult,
    pub(super) began: u64,
    pub(super) ended: u64,
}

type Checked<T> = Result<T, String>;

/// Everything that is in the store.
struct Remains {
    streams: HashMap<StreamId, Vec<Arc<RecordedEvent>>>,
    partition_of: HashMap<StreamId, PartitionId>,
    count: usize,
}

pub(super) async fn examine(
    store: &Arc<dyn EventStore>,
    records: &[Record],
) -> Checked<RaceReport> {
    let remains = read(store).await;
    let mut news: Vec<(&Record, &Appended)> = Vec::new();
    let mut first_ids = HashSet::new();
    for record in records {
        match &record.result {
            Ok(appended) => {
                remains.check_answer(record, appended)?;
                if !appended.repeat {
                    news.push((record, appended));
                    let id = record.append.writes()[0].events[0].id;
                    if !first_ids.insert((&record.append.writes()[0].stream, id)) {
                        return Err(format!("two answers as new for {id}"));
                    }
                    remains.check_expectations(&record.append, appended)?;
                }
            }
            Err(error) => remains.check_error(error)?,
        }
    }
    remains.check_origin(records)?;
    remains.check_time(&news)?;
    Ok(RaceReport { sent: records.len(), done: first_ids.len(), events: remains.count })
}

/// Reads the logs; the auditor compares them with the streams.
async fn read(store: &Arc<dyn EventStore>) -> Remains {
    let mut streams: HashMap<StreamId, Vec<_>> = HashMap::new();
    let (mut partition_of, mut count) = (HashMap::new(), 0);
    for partition in partitions(&**store).await {
        for event in LogAuditor::new(Arc::clone(store), partition).finish().await {
            partition_of.insert(event.stream.clone(), partition);
            streams.entry(event.stream.clone()).or_default().push(event);
            count += 1;
        }
    }
    Remains { streams, partition_of, count }
}

impl Remains {
    fn at(&self, stream: &StreamId, version: Version) -> Option<&Arc<RecordedEvent>> {
        let index = usize::try_from(version.0).ok()?.checked_sub(1)?;
        self.streams.get(stream)?.get(index)
    }

    fn has(&self, stream: &StreamId, id: EventId) -> bool {
        let events = self.streams.get(stream);
        events.is_some_and(|events| events.iter().any(|event| event.event.id == id))
    }

    /// What is said to be in a place is there.
    fn check_answer(&self, record: &Record, appended: &Appended) -> Checked<()> {
        for (write, written) in record.append.writes().iter().zip(&appended.streams) {
            let mut version = written.first;
            for event in &write.events {
                let found = self.at(&write.stream, version);
                if found.is_none_or(|found| found.event != *event) {
                    return Err(format!("{written:?} in {}, and there is {found:?}", write.stream));
                }
                if version == written.last
                    && found.is_none_or(|found| found.position != written.position)
                {
                    return Err(format!("{written:?} in {}, at {found:?}", write.stream));
                }
                version = version.next();
            }
            if version != written.last.next() {
                return Err(format!("{written:?} for {} events", write.events.len()));
            }
        }
        Ok(())
    }

    /// Guarantee 4: each expectation held right before the append, in the order of the log.
    fn check_expectations(&self, append: &Append, appended: &Appended) -> Checked<()> {
        for (write, written) in append.writes().iter().zip(&appended.streams) {
            let before = Version(written.first.0 - 1);
            if !write.expected.holds(before) {
                return Err(format!("{:?} held at {before} in {}", write.expected, write.stream));
            }
        }
        let firsts = append.writes().iter().zip(&appended.streams);
        let events = firsts.filter_map(|(write, written)| self.at(&write.stream, written.first));
        let position = events.map(|event| event.position).min().unwrap_or(Position::ZERO);
        for guard in append.guards() {
            let events = self.streams.get(&guard.stream).map_or(&[][..], Vec::as_slice);
            let before = events.iter().filter(|event| event.position < position).count();
            let before = Version(before as u64);
            if !guard.expected.holds(before) {
                let (stream, expected) = (&guard.stream, guard.expected);
                return Err(format!("{expected:?} held at {before} in {stream}, a guard"));
            }
        }
        Ok(())
    }

    /// The reason of a refusal can have been true. That nothing was written is seen by
    /// [`check_origin`](Self::check_origin).
    fn check_error(&self, error: &StoreError) -> Checked<()> {
        let StoreError::Conflict { stream, expected, actual } = error else {
            // No race reuses ids for other content, or crosses partitions.
            return Err(format!("an append failed: {error}"));
        };
        if expected.holds(*actual) {
            return Err(format!("a conflict that is none: {error}"));
        }
        let head = self.streams.get(stream).map_or(0, Vec::len) as u64;
        if actual.0 > head {
            return Err(format!("{stream} never came to {actual}"));
        }
        Ok(())
    }

    /// Each event comes from an append that was answered so.
    fn check_origin(&self, records: &[Record]) -> Checked<()> {
        let mut told = HashSet::new();
        for record in records.iter().filter(|record| record.result.is_ok()) {
            for write in record.append.writes() {
                told.extend(write.events.iter().map(|event| (&write.stream, event.id)));
            }
        }
        let stored = self.streams.values().flatten();
        let mut strangers = stored.filter(|event| !told.contains(&(&event.stream, event.event.id)));
        if let Some(stranger) = strangers.next() {
            return Err(format!("nobody was told of {stranger:?}"));
        }
        let lost = told.into_iter().find(|(stream, id)| !self.has(stream, *id));
        lost.map_or(Ok(()), |(stream, id)| Err(format!("{id} is lost from {stream}")))
    }

    /// An append that ended before another began comes before it in their log.
    fn check_time(&self, news: &[(&Record, &Appended)]) -> Checked<()> {
        let mut by_partition: HashMap<PartitionId, Vec<(u64, u64, Position)>> = HashMap::new();
        for (record, appended) in news {
            let partition = self.partition_of.get(&record.append.writes()[0].stream);
            let position = appended.streams.iter().map(|written| written.position).max();
            if let (Some(partition), Some(position)) = (partition, position) {
                let entry = (record.began, record.ended, position);
                by_partition.entry(*partition).or_default().push(entry);
            }
        }
        for entries in by_partition.values() {
            for (began, _, position) in entries {
                let earlier = entries.iter().filter(|(_, ended, _)| ended < began);
                if let Some(wrong) = earlier.max_by_key(|(_, _, position)| *position)
                    && wrong.2 > *position
                {
                    return Err(format!(
                        "{wrong:?} ended before {began}, and comes behind {position}"
                    ));
                }
            }
        }
        Ok(())
    }
}
