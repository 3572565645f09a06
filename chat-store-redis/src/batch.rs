//! A batch of appends as the script reads it, and the script's answer as the callers read it.

use std::collections::HashMap;

use chat_core::ports::{Append, AppendResult, Appended, Expected, StoreError, WrittenStream};
use chat_core::{NewEvent, PartitionId, Position, StreamId, Version};
use redis::{Cmd, Value};

use crate::envelope::envelope;
use crate::incarnation::Mark;
use crate::keys::Keys;
use crate::reply::{bytes, number, text};
use crate::scripts::Scripts;

/// What a call says of the log's end.
#[derive(Debug)]
pub(crate) struct Newest<'a> {
    /// The newest entry seen.
    pub(crate) mark: Option<&'a Mark>,
    /// The token of the entry that the call makes.
    pub(crate) token: &'a [u8],
    /// Whether replicas are waited for, so that a repeat must write something.
    pub(crate) waits: bool,
}

/// The call of the script for appends to one partition.
pub(crate) fn command(
    (keys, scripts): (&Keys, &Scripts),
    partition: PartitionId,
    appends: &[Append],
    newest: &Newest<'_>,
) -> Cmd {
    let mut streams = Streams::default();
    let mut plan = Plan::default();
    for append in appends {
        plan.put(append.writes().len() as u64);
        plan.put(append.guards().len() as u64);
        for write in append.writes() {
            plan.put(streams.number(&write.stream));
            plan.put_expected(write.expected);
            plan.put(write.events.len() as u64);
        }
        for guard in append.guards() {
            plan.put(streams.number(&guard.stream));
            plan.put_expected(guard.expected);
        }
    }
    let mut command = scripts.append.call(3 + 2 * streams.names.len());
    command.arg(keys.state(partition)).arg(keys.log(partition)).arg(keys.heads(partition));
    for stream in streams.names {
        command.arg(keys.index(stream)).arg(keys.events(stream));
    }
    let nothing = (&[][..], &[][..]);
    let (position, known) = newest.mark.map_or(nothing, |mark| (&mark.position, &mark.token));
    command.arg(position).arg(known).arg(newest.token);
    command.arg(keys.events_prefix(partition)).arg(u8::from(newest.waits)).arg(plan.finish());
    for event in appends.iter().flat_map(Append::writes).flat_map(|write| &write.events) {
        command.arg(envelope(event)).arg(event.payload.as_str());
        match &event.metadata {
            None => command.arg(""),
            Some(metadata) => command.arg(format!("+{}", metadata.as_str())),
        };
    }
    command
}

/// The streams of a batch, numbered from 1.
#[derive(Default)]
struct Streams<'a> {
    names: Vec<&'a StreamId>,
    numbers: HashMap<&'a StreamId, u64>,
}

impl<'a> Streams<'a> {
    fn number(&mut self, stream: &'a StreamId) -> u64 {
        *self.numbers.entry(stream).or_insert_with(|| {
            self.names.push(stream);
            self.names.len() as u64
        })
    }
}

/// A list of numbers in MessagePack, which a script reads in one step.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    numbers: u32,
    bytes: Vec<u8>,
}

impl Plan {
    pub(crate) fn put(&mut self, number: u64) {
        self.numbers += 1;
        match (u8::try_from(number), u32::try_from(number)) {
            (Ok(small @ ..=0x7f), _) => self.bytes.push(small),
            (_, Ok(middle)) => {
                self.bytes.push(0xce);
                self.bytes.extend_from_slice(&middle.to_be_bytes());
            }
            (_, Err(_)) => {
                self.bytes.push(0xcf);
                self.bytes.extend_from_slice(&number.to_be_bytes());
            }
        }
    }

    fn put_expected(&mut self, expected: Expected) {
        match expected {
            Expected::NoStream => self.put(0),
            Expected::Exactly(version) => self.put(version.0),
            Expected::Any => self.put_negative(0xff),
            Expected::Exists => self.put_negative(0xfe),
        }
    }

    fn put_negative(&mut self, byte: u8) {
        self.numbers += 1;
        self.bytes.push(byte);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut list = Vec::with_capacity(5 + self.bytes.len());
        list.push(0xdd);
        list.extend_from_slice(&self.numbers.to_be_bytes());
        list.extend_from_slice(&self.bytes);
        list
    }
}

/// What the script says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The log's end is not what the caller knew; nothing was done.
    Lost,
    /// Position and token of the log's end, and an answer for each append.
    Done { position: Vec<u8>, token: Vec<u8>, results: Vec<AppendResult> },
}

/// Reads the script's answer.
pub(crate) fn answer(appends: &[Append], answer: Vec<Value>) -> Result<Answer, StoreError> {
    if let [Value::Int(-1)] = answer[..] {
        return Ok(Answer::Lost);
    }
    let mut values = answer.into_iter();
    let (position, token) = (bytes(values.next())?, bytes(values.next())?);
    let results = appends.iter().map(|append| result(append, &mut values));
    let results = results.collect::<Result<_, _>>()?;
    Ok(Answer::Done { position, token, results })
}

/// Reads the answer to one append; an answer that cannot be read is the outer error.
fn result(
    append: &Append,
    values: &mut impl Iterator<Item = Value>,
) -> Result<AppendResult, StoreError> {
    match number(values.next())? {
        kind @ (1 | 2) => {
            let mut streams = Vec::with_capacity(append.writes().len());
            for _ in append.writes() {
                let first = Version(number(values.next())?);
                let last = Version(number(values.next())?);
                streams.push(WrittenStream {
                    first,
                    last,
                    position: Position(number(values.next())?),
                });
            }
            Ok(Ok(Appended { streams, repeat: kind == 2 }))
        }
        3 => {
            let (ordinal, actual) = (number(values.next())?, Version(number(values.next())?));
            let (stream, expected) = named(append, ordinal)?;
            Ok(Err(StoreError::Conflict { stream: stream.clone(), expected, actual }))
        }
        4 => {
            let (stream, event) = event(append, number(values.next())?)?;
            Ok(Err(StoreError::IdReused { stream: stream.clone(), id: event.id }))
        }
        5 => {
            let (stream, _) = named(append, number(values.next())?)?;
            let place = format!("stream {stream}");
            Ok(Err(StoreError::Corrupt { place, what: text(values.next())? }))
        }
        kind => Err(StoreError::Bug { what: format!("the script answered with {kind}") }),
    }
}

/// The stream and the expectation of this number: writes first, then guards.
fn named(append: &Append, ordinal: u64) -> Result<(&StreamId, Expected), StoreError> {
    let writes = append.writes().iter().map(|write| (&write.stream, write.expected));
    let guards = append.guards().iter().map(|guard| (&guard.stream, guard.expected));
    nth(writes.chain(guards), ordinal)
}

fn event(append: &Append, ordinal: u64) -> Result<(&StreamId, &NewEvent), StoreError> {
    let events = append
        .writes()
        .iter()
        .flat_map(|write| write.events.iter().map(move |event| (&write.stream, event)));
    nth(events, ordinal)
}

fn nth<T>(mut items: impl Iterator<Item = T>, ordinal: u64) -> Result<T, StoreError> {
    let index = usize::try_from(ordinal).ok().and_then(|ordinal| ordinal.checked_sub(1));
    let found = index.and_then(|index| items.nth(index));
    found.ok_or_else(|| StoreError::Bug { what: format!("the script named number {ordinal}") })
}
