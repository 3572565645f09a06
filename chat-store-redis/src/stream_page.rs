//! Reads a page of one stream.
//!
//! A script reads events and head in one look, but takes what it reads through Lua and back, which
//! costs more than the reading. So the script reads the first few events only, and tells how large
//! the stream's events are at most; the rest of a page that certainly fits comes by a bare `XRANGE`.
//! It goes no further than the head of the first look. As events never change, the page is what that
//! look would have seen.

use std::sync::Arc;

use chat_core::ports::{Direction, PageLimit, StoreError, StreamPage};
use chat_core::{RecordedEvent, StreamId, Version};
use redis::Value;

use crate::envelope::corrupt;
use crate::error::Step;
use crate::events::{GONE, decoded};
use crate::reply::{array, number};
use crate::store::Shared;

pub(crate) async fn read(
    shared: &Shared,
    (stream, direction): (&StreamId, Direction),
    from: Version,
    limit: PageLimit,
) -> Result<StreamPage, StoreError> {
    let reader = Reader { shared, stream, direction };
    let wanted = limit.clamped_events();
    for _ in 0..TRIES {
        let times = shared.incarnation.times();
        let mut page = reader.look(from, wanted.min(FEW), limit.bytes).await?;
        if let Some(rest) = reader.rest(&page, wanted, limit.bytes) {
            let rest = match rest.fits {
                true => reader.range(&rest).await?,
                false => reader.look(rest.from, rest.events, rest.bytes).await?.events,
            };
            // Both looks must have seen one server: where another was entered meanwhile, the page
            // is read anew.
            if shared.incarnation.entered().await != times {
                continue;
            }
            page.events.extend(rest);
        }
        check_run(stream, (direction, from, page.head), &page.events)?;
        limit.cut(&mut page.events);
        return Ok(StreamPage { events: page.events, head: page.head });
    }
    let what = "the server was another one each time a page was read".to_owned();
    Err(StoreError::Unavailable { what, source: None })
}

/// A part of a page.
struct Part {
    events: Vec<Arc<RecordedEvent>>,
    head: Version,
    /// Bytes of an event of the stream at most.
    largest: usize,
}

/// What is still to be read.
struct Rest {
    /// The version behind which it begins.
    from: Version,
    events: usize,
    bytes: usize,
    /// Whether so many events cannot have more bytes.
    fits: bool,
}

struct Reader<'a> {
    shared: &'a Shared,
    stream: &'a StreamId,
    direction: Direction,
}

impl Reader<'_> {
    /// Reads events and head in one look.
    async fn look(&self, from: Version, events: usize, bytes: usize) -> Result<Part, StoreError> {
        let Shared { keys, scripts, .. } = self.shared;
        let mut command = scripts.read_stream.call(3);
        command.arg(keys.heads(keys.partition_of(self.stream)));
        command.arg(keys.index(self.stream)).arg(keys.events(self.stream));
        command.arg(self.stream.as_str());
        command.arg(match self.direction {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        });
        command.arg(self.next(from)).arg(events).arg(bytes);
        let mut answer = array(self.shared.run(&command, Step::Read).await?)?.into_iter();
        let head = answer.next();
        if let Some(Value::BulkString(text)) = &head
            && let Some(what) = match &text[..] {
                b"-1" => Some("it has events but no head"),
                b"-2" => Some("it has events but no index"),
                _ => None,
            }
        {
            return Err(corrupt(self.stream, Version::ZERO, what));
        }
        let head = Version(number(head)?);
        let events = decoded(self.stream, array(answer.next().unwrap_or_default())?)?;
        let largest = usize::try_from(number(answer.next())?).unwrap_or(usize::MAX);
        Ok(Part { events, head, largest })
    }

    /// Reads events as the server has them. A script goes behind, which a server answers only if it
    /// was entered: a range that was repeated on another server is noticed.
    async fn range(&self, rest: &Rest) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let Shared { keys, scripts, .. } = self.shared;
        let mut heads = scripts.heads.call(1);
        heads.arg(keys.heads(keys.partition_of(self.stream))).arg(self.stream.as_str());
        let (command, bound) = match self.direction {
            Direction::Forward => ("XRANGE", "+"),
            Direction::Backward => ("XREVRANGE", "-"),
        };
        let mut range = redis::cmd(command);
        range.arg(keys.events(self.stream)).arg(self.next(rest.from)).arg(bound);
        range.arg("COUNT").arg(rest.events);
        let entries = self.shared.run(&range, Step::Read).await?;
        self.shared.run(&heads, Step::Read).await?;
        decoded(self.stream, array(entries)?)
    }

    /// What a page lacks behind its first part; nothing if it is complete.
    fn rest(&self, first: &Part, wanted: usize, bytes: usize) -> Option<Rest> {
        let from = first.events.last()?.version;
        let behind = match self.direction {
            Direction::Forward => first.head.0.saturating_sub(from.0),
            Direction::Backward => from.0.saturating_sub(1),
        };
        let behind = usize::try_from(behind).unwrap_or(usize::MAX);
        let events = wanted.saturating_sub(first.events.len()).min(behind);
        let read = first.events.iter().map(|event| event.event.size());
        let bytes = bytes.saturating_sub(read.fold(0, usize::saturating_add));
        let fits = events.saturating_mul(first.largest) <= bytes;
        (events > 0 && bytes > 0).then_some(Rest { from, events, bytes, fits })
    }

    /// The id of the entry behind a version.
    fn next(&self, from: Version) -> String {
        let version = match self.direction {
            Direction::Forward => from.0.saturating_add(1),
            Direction::Backward => from.0.saturating_sub(1),
        };
        format!("{version}-0")
    }
}

/// Checks that a page begins where it must and has no hole: history that was trimmed or removed
/// is an error, never skipped in silence.
fn check_run(
    stream: &StreamId,
    (direction, from, head): (Direction, Version, Version),
    events: &[Arc<RecordedEvent>],
) -> Result<(), StoreError> {
    let mut wanted = match direction {
        Direction::Forward => from.next(),
        Direction::Backward => Version(head.0.min(from.0.saturating_sub(1))),
    };
    let there = |version: Version| version > Version::ZERO && version <= head;
    if events.is_empty() && there(wanted) {
        return Err(corrupt(stream, wanted, GONE));
    }
    for event in events {
        if event.version != wanted {
            return Err(corrupt(stream, wanted, GONE));
        }
        wanted = match direction {
            Direction::Forward => wanted.next(),
            Direction::Backward => Version(wanted.0.saturating_sub(1)),
        };
    }
    Ok(())
}

/// Events that the script reads at once: so many that a page on a screen takes one round trip.
const FEW: usize = 64;
/// How often a page is read anew.
const TRIES: usize = 8;
