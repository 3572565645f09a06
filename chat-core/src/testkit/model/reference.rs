//! The model: streams and logs as plain lists, searched from end to end.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::{NewEvent, RecordedEvent};
use crate::id::{EventId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Appended, Direction, Expected, LogPage, PageLimit, StoreError,
    StreamPage, StreamWrite, WrittenStream,
};
use crate::testkit::Answers;

/// What the store must hold.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) streams: Vec<Stream>,
    logs: Vec<Vec<Logged>>,
    answers: Answers,
    appends: usize,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: StreamId,
    log: usize,
    pub(super) events: Vec<Held>,
}

/// An event of a stream, and where the log has it, once that was told.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) event: NewEvent,
    pub(super) position: Option<Position>,
}

/// An entry of a log: which event of which stream, and by which append. The contract leaves the
/// order of the writes of one append open; it is learned when the log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Logged {
    append: usize,
    stream: usize,
    event: usize,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    New,
    Repeat,
    Conflict,
    IdReused,
    CrossPartition,
}

type Checked<T> = Result<T, String>;

macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

impl Model {
    /// An empty one, whose streams lie in these logs.
    pub(super) fn new(streams: Vec<(StreamId, usize)>, logs: usize, answers: Answers) -> Self {
        let stream = |(name, log)| Stream { name, log, events: Vec::new() };
        let streams = streams.into_iter().map(stream).collect();
        Self { streams, logs: (0..logs).map(|_| Vec::new()).collect(), answers, appends: 0 }
    }

    fn index(&self, name: &StreamId) -> usize {
        let found = self.streams.iter().position(|stream| stream.name == *name);
        found.expect("a stream of the model")
    }

    fn version_of(&self, stream: usize, id: EventId) -> Option<usize> {
        self.streams[stream].events.iter().position(|held| held.event.id == id)
    }

    pub(super) fn head(&self, stream: usize) -> Version {
        Version(self.streams[stream].events.len() as u64)
    }

    /// Compares the answer to an append with what it must be, and carries the append out.
    pub(super) fn append(&mut self, append: &Append, result: &AppendResult) -> Checked<Verdict> {
        let keys: BTreeSet<_> = append
            .writes()
            .iter()
            .map(|write| &write.stream)
            .chain(append.guards().iter().map(|guard| &guard.stream))
            .map(StreamId::partition_key)
            .collect();
        if let Err(StoreError::CrossPartition { .. }) = result {
            ensure!(keys.len() > 1, "one partition key, and yet {result:?}");
            return Ok(Verdict::CrossPartition);
        }
        let known = self.known(append);
        let ids: usize = append.writes().iter().map(|write| write.events.len()).sum();
        if let Err(StoreError::IdReused { id, .. }) = result
            && self.is_foreign(append, *id)
        {
            return Ok(Verdict::IdReused);
        }
        if known == ids {
            match self.standing(append) {
                Some(streams) => self.expect_repeat(&streams, result),
                None => expect_reused(append, result),
            }
        } else if known > 0 {
            expect_reused(append, result)
        } else {
            let failing = self.failing(append);
            if failing.is_empty() {
                self.expect_new(append, result)
            } else {
                expect_conflict(&failing, result)
            }
        }
    }

    /// How many ids of an append its streams have.
    fn known(&self, append: &Append) -> usize {
        let count = |write: &StreamWrite| {
            let stream = self.index(&write.stream);
            write.events.iter().filter(|event| self.version_of(stream, event.id).is_some()).count()
        };
        append.writes().iter().map(count).sum()
    }

    /// Whether an id of an append stands in another stream than the append writes it to.
    fn is_foreign(&self, append: &Append, id: EventId) -> bool {
        append.writes().iter().any(|write| {
            let elsewhere = |(index, stream): (usize, &Stream)| {
                stream.name != write.stream && self.version_of(index, id).is_some()
            };
            write.events.iter().any(|event| event.id == id)
                && self.streams.iter().enumerate().any(elsewhere)
        })
    }

    /// Where the writes of an append stand, if each stands there as one run with its content.
    fn standing(&self, append: &Append) -> Option<Vec<(Version, Version, Option<Position>)>> {
        let mut standing = Vec::new();
        for write in append.writes() {
            let stream = self.index(&write.stream);
            let first = self.version_of(stream, write.events[0].id)?;
            let held = self.streams[stream].events.get(first..first + write.events.len())?;
            let same = |(held, event): (&Held, &NewEvent)| {
                held.event.id == event.id && held.event.same_content(event)
            };
            if !held.iter().zip(&write.events).all(same) {
                return None;
            }
            let last = first + write.events.len();
            let position = held.last()?.position;
            standing.push((Version(first as u64 + 1), Version(last as u64), position));
        }
        Some(standing)
    }

    /// The expectations of an append that do not hold.
    fn failing(&self, append: &Append) -> Vec<(StreamId, Expected, Version)> {
        let writes = append.writes().iter().map(|write| (&write.stream, write.expected));
        let guards = append.guards().iter().map(|guard| (&guard.stream, guard.expected));
        let all = writes
            .chain(guards)
            .map(|(stream, expected)| (stream.clone(), expected, self.head(self.index(stream))));
        all.filter(|(_, expected, actual)| !expected.holds(*actual)).collect()
    }

    fn expect_repeat(
        &self,
        streams: &[(Version, Version, Option<Position>)],
        result: &AppendResult,
    ) -> Checked<Verdict> {
        let Ok(Appended { streams: found, repeat: true }) = result else {
            return Err(format!("expected a repeat at {streams:?}, got {result:?}"));
        };
        let same = |(written, (first, last, position)): (&WrittenStream, &(_, _, Option<_>))| {
            (written.first, written.last) == (*first, *last)
                && position.is_none_or(|position| position == written.position)
        };
        let all = found.len() == streams.len() && found.iter().zip(streams).all(same);
        ensure!(all, "expected the first answer {streams:?}, got {found:?}");
        Ok(Verdict::Repeat)
    }

    fn expect_new(&mut self, append: &Append, result: &AppendResult) -> Checked<Verdict> {
        let Ok(Appended { streams, repeat }) = result else {
            return Err(format!("expected {append:?} to be done, got {result:?}"));
        };
        ensure!(!repeat || self.answers == Answers::MayBeLost, "a new append came as a repeat");
        ensure!(streams.len() == append.writes().len(), "{} writes", streams.len());
        // All positions of this append lie behind all positions before it.
        let floors: Vec<_> = (0..self.logs.len()).map(|log| self.last_position(log)).collect();
        self.appends += 1;
        for (write, written) in append.writes().iter().zip(streams) {
            let stream = self.index(&write.stream);
            let floor = floors[self.streams[stream].log];
            let first = self.head(stream).next();
            let last = Version(first.0 + write.events.len() as u64 - 1);
            ensure!(
                (written.first, written.last) == (first, last),
                "{first} to {last}: {written:?}"
            );
            ensure!(written.position > floor, "{written:?} is not behind position {floor}");
            for event in &write.events {
                let entry = Logged {
                    append: self.appends,
                    stream,
                    event: self.streams[stream].events.len(),
                };
                let log = self.streams[stream].log;
                self.logs[log].push(entry);
                self.streams[stream].events.push(Held { event: event.clone(), position: None });
            }
            let held = self.streams[stream].events.last_mut();
            held.expect("just pushed").position = Some(written.position);
        }
        Ok(Verdict::New)
    }

    /// The greatest position of a log: that of the last event of some write of the last append.
    fn last_position(&self, log: usize) -> Position {
        let positions = self.logs[log].iter().rev().take(Append::MAX_EVENTS);
        let held = positions.filter_map(|entry| self.held(entry).position);
        held.max().unwrap_or(Position::ZERO)
    }

    fn held(&self, entry: &Logged) -> &Held {
        &self.streams[entry.stream].events[entry.event]
    }

    /// Compares an event with the one that must be there, and learns its position.
    fn same(&mut self, stream: usize, index: usize, found: &RecordedEvent) -> Checked<()> {
        let name = self.streams[stream].name.clone();
        let held = &mut self.streams[stream].events[index];
        let version = Version(index as u64 + 1);
        let known = held.position.unwrap_or(found.position);
        let expected = (&name, version, known, &held.event);
        let place = (&found.stream, found.version, found.position, &found.event);
        ensure!(place == expected, "expected {expected:?}, got {place:?}");
        held.position = Some(found.position);
        Ok(())
    }

    pub(super) fn page(
        &mut self,
        stream: usize,
        (direction, from, limit): (Direction, Version, PageLimit),
        page: &StreamPage,
    ) -> Checked<()> {
        let head = self.head(stream);
        ensure!(page.head == head, "expected head {head}, got {}", page.head);
        let all = 0..self.streams[stream].events.len();
        let after = |index: &usize| *index as u64 >= from.0;
        let before = |index: &usize| (*index as u64) + 1 < from.0;
        let wanted: Vec<_> = match direction {
            Direction::Forward => all.filter(after).collect(),
            Direction::Backward => all.rev().filter(before).collect(),
        };
        let sizes = wanted.iter().map(|index| self.streams[stream].events[*index].event.size());
        let count = fitting(sizes, limit);
        ensure!(page.events.len() == count, "expected {count} events, got {}", page.events.len());
        for (index, found) in wanted.into_iter().zip(&page.events) {
            self.same(stream, index, found)?;
        }
        Ok(())
    }

    /// The position of the latest event of a log, up to the given one, whose position is known;
    /// and how many events lie up to it.
    pub(super) fn known_position(&self, log: usize, entry: usize) -> (Position, usize) {
        let until = entry.min(self.logs[log].len());
        let known = self.logs[log][..until].iter().enumerate().rev();
        // The order inside of the last append may still be unknown: only between appends is it
        // sure what lies before a position.
        let sure = |index: usize| {
            let next = self.logs[log].get(index + 1);
            next.is_none_or(|next| next.append != self.logs[log][index].append)
        };
        let group = |index: usize| {
            let append = self.logs[log][index].append;
            let entries = self.logs[log].iter().filter(move |entry| entry.append == append);
            entries.filter_map(|entry| self.held(entry).position).max()
        };
        let mut found = known.filter(|(index, _)| sure(*index));
        found.next().map_or((Position::ZERO, 0), |(index, _)| {
            (group(index).expect("the last position of an append is told"), index + 1)
        })
    }

    pub(super) fn log_len(&self, log: usize) -> usize {
        self.logs[log].len()
    }

    pub(super) fn log_page(
        &mut self,
        log: usize,
        (after, behind, limit): (Position, usize, PageLimit),
        page: &LogPage,
    ) -> Checked<()> {
        let head = self.last_position(log);
        ensure!(page.head == head, "expected head {head}, got {}", page.head);
        let mut last = after;
        for (cursor, found) in (behind..).zip(&page.events) {
            ensure!(found.position > last, "position {} is not behind {last}", found.position);
            last = found.position;
            self.learn_order(log, cursor, found)?;
            let Logged { stream, event, .. } = self.logs[log][cursor];
            self.same(stream, event, found)?;
        }
        ensure!(page.next == last, "expected next {last}, got {}", page.next);
        // After the order was learned, so that the sizes are those of the page.
        let rest = self.logs[log][behind..].iter().map(|entry| self.held(entry).event.size());
        let count = fitting(rest, limit);
        ensure!(page.events.len() == count, "expected {count} events, got {}", page.events.len());
        Ok(())
    }

    /// Brings the entry that was found to its place, within its append.
    fn learn_order(
        &mut self,
        log: usize,
        cursor: usize,
        found: &Arc<RecordedEvent>,
    ) -> Checked<()> {
        let streams = &self.streams;
        let known = cursor.min(self.logs[log].len());
        let entries = &mut self.logs[log][known..];
        let Some(append) = entries.first().map(|entry| entry.append) else {
            return Err(format!("the log has more than was written: {found:?}"));
        };
        let matches = |entry: &Logged| {
            streams[entry.stream].name == found.stream && entry.event as u64 + 1 == found.version.0
        };
        let inside = entries.iter().take_while(|entry| entry.append == append);
        match inside.into_iter().position(matches) {
            Some(index) => entries[..=index].rotate_right(1),
            None => return Err(format!("{found:?} is not what comes next in the log")),
        }
        Ok(())
    }

    pub(super) fn find(
        &mut self,
        stream: usize,
        id: EventId,
        found: Option<&Arc<RecordedEvent>>,
    ) -> Checked<()> {
        match (self.version_of(stream, id), found) {
            (Some(index), Some(found)) => self.same(stream, index, found),
            (None, None) => Ok(()),
            (index, found) => Err(format!("{id}: expected index {index:?}, got {found:?}")),
        }
    }
}

/// How many events a page holds.
fn fitting(sizes: impl Iterator<Item = usize>, limit: PageLimit) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for size in sizes.take(limit.events.clamp(1, PageLimit::MAX_EVENTS)) {
        count += 1;
        bytes += size;
        if bytes >= limit.bytes {
            break;
        }
    }
    count
}

fn expect_reused(append: &Append, result: &AppendResult) -> Checked<Verdict> {
    let Err(StoreError::IdReused { stream, id }) = result else {
        return Err(format!("expected a reused id in {append:?}, got {result:?}"));
    };
    let own = append
        .writes()
        .iter()
        .any(|write| write.stream == *stream && write.events.iter().any(|event| event.id == *id));
    ensure!(own, "{id} in {stream} is not of the append");
    Ok(Verdict::IdReused)
}

fn expect_conflict(
    failing: &[(StreamId, Expected, Version)],
    result: &AppendResult,
) -> Checked<Verdict> {
    let Err(StoreError::Conflict { stream, expected, actual }) = result else {
        return Err(format!("expected one of {failing:?} to fail, got {result:?}"));
    };
    let said = (stream.clone(), *expected, *actual);
    ensure!(failing.contains(&said), "{said:?} is none of {failing:?}");
    Ok(Verdict::Conflict)
}
