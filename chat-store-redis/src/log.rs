//! Reads a partition's log: first the references and the log's end, in one look, then the events
//! that they name, which never change.

use std::collections::HashMap;
use std::sync::Arc;

use chat_core::ports::{LogPage, PageLimit, StoreError};
use chat_core::{Epoch, PartitionId, Position, RecordedEvent, StreamId, Version};
use redis::Value;

use crate::batch::Plan;
use crate::envelope::corrupt;
use crate::error::Step;
use crate::events::{GONE, decoded};
use crate::incarnation::Mark;
use crate::reply::{array, bytes, number, text};
use crate::store::Shared;

/// Reads a page.
pub(crate) async fn read(
    shared: &Shared,
    partition: PartitionId,
    after: Position,
    limit: PageLimit,
) -> Result<LogPage, StoreError> {
    let wanted = limit.clamped_events();
    let epoch = shared.incarnation.epoch();
    let (head, entries) = references(shared, partition, after, wanted as u64).await?;
    let mut runs = Vec::new();
    let mut position = after;
    for entry in entries {
        runs_of(partition, entry, &mut position, wanted, &mut runs)?;
    }
    let mut events = match events(shared, &runs, limit).await {
        Ok(events) => events,
        Err(error) => return Err(gone(shared, partition, epoch, error).await),
    };
    limit.cut(&mut events);
    let next = events.last().map_or(after, |event| event.position);
    if events.is_empty() && after < head {
        return Err(corrupt_log(partition, after.next(), "an entry is gone"));
    }
    Ok(LogPage { events, next, head })
}

/// Looks at the end of the log, to notice one that is gone.
pub(crate) async fn look(shared: &Shared, partition: PartitionId) -> Result<Position, StoreError> {
    Ok(references(shared, partition, Position::MAX, 1).await?.0)
}

/// Why events are not there that the log names: history is broken, or the server has lost the end of
/// the log since it was read.
async fn gone(
    shared: &Shared,
    partition: PartitionId,
    epoch: Epoch,
    error: StoreError,
) -> StoreError {
    if !matches!(error, StoreError::Corrupt { .. }) {
        return error;
    }
    if let Err(error) = look(shared, partition).await {
        return error;
    }
    if shared.incarnation.epoch() == epoch {
        return error;
    }
    let what = "the server has lost what it had acknowledged; read again".to_owned();
    StoreError::Unavailable { what, source: None }
}

/// Events of one stream that follow each other in the log.
#[derive(Debug)]
struct Run {
    stream: StreamId,
    first: Version,
    count: u64,
    /// The position of the first of them.
    position: Position,
}

/// The log's end, and the entries that hold the next so many events.
async fn references(
    shared: &Shared,
    partition: PartitionId,
    after: Position,
    wanted: u64,
) -> Result<(Position, Vec<Value>), StoreError> {
    for _ in 0..LOSSES {
        let (mark, epoch) = shared.incarnation.mark(partition);
        let (seen, token) =
            mark.as_ref().map_or((&[][..], &[][..]), |mark| (&mark.position, &mark.token));
        let mut command = shared.scripts.read_log.call(2);
        command
            .arg(shared.keys.state(partition))
            .arg(shared.keys.log(partition))
            .arg(seen)
            .arg(token)
            .arg(after.0.saturating_add(1))
            .arg(after.0.saturating_add(wanted));
        let answer = array(shared.run(&command, Step::Read).await?)?;
        if let ([Value::Int(-1)], Some(mark)) = (&answer[..], &mark) {
            shared.incarnation.lost(shared.reach(), partition, mark).await?;
            continue;
        }
        let mut answer = answer.into_iter();
        let (position, token) = (bytes(answer.next())?, bytes(answer.next())?);
        let head = Position(number(Some(Value::BulkString(position.clone())))?);
        shared.incarnation.saw(partition, Mark { position, token, epoch });
        return Ok((head, array(answer.next().unwrap_or_default())?));
    }
    let what = "the server loses what it has acknowledged, again and again".to_owned();
    Err(StoreError::Unavailable { what, source: None })
}

/// Reads the runs of an entry, as far as they lie behind `position` and until so many events are
/// named; moves `position` to the last of them.
fn runs_of(
    partition: PartitionId,
    entry: Value,
    position: &mut Position,
    wanted: usize,
    runs: &mut Vec<Run>,
) -> Result<(), StoreError> {
    let mut parts = array(entry)?.into_iter();
    let id = text(parts.next())?;
    let broken = |what| corrupt_log(partition, Position::ZERO, what);
    let last = id.strip_suffix("-0").and_then(|digits| digits.parse().ok());
    let last: u64 = last.ok_or_else(|| broken("an entry's id"))?;
    let mut fields = array(parts.next().unwrap_or_default())?.into_iter();
    let mut references = None;
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if &*bytes(Some(name))? == b"r" {
            references = Some(text(Some(value))?);
        }
    }
    let references = references.ok_or_else(|| broken("an entry without references"))?;
    let lines = references.split('\n').map(reference);
    let lines: Vec<_> = lines.collect::<Option<_>>().ok_or_else(|| broken("a reference"))?;
    let total: u64 = lines.iter().map(|(_, count, _)| count).sum();
    let before = last.checked_sub(total).ok_or_else(|| broken("more events than positions"))?;
    // The first entry of a page may begin before it; any other follows the one before it.
    if before > position.0 {
        return Err(corrupt_log(partition, position.next(), "an entry is gone"));
    }
    let mut at = before;
    let mut named: u64 = runs.iter().map(|run| run.count).sum();
    for (first, count, stream) in lines {
        let skipped = position.0.saturating_sub(at).min(count);
        let taken = (count - skipped).min((wanted as u64).saturating_sub(named));
        if taken > 0 {
            runs.push(Run {
                stream,
                first: Version(first + skipped),
                count: taken,
                position: Position(at + skipped + 1),
            });
            named += taken;
            *position = Position(at + skipped + taken);
        }
        at += count;
    }
    Ok(())
}

/// `first count stream`.
fn reference(line: &str) -> Option<(u64, u64, StreamId)> {
    let (first, rest) = line.split_once(' ')?;
    let (count, name) = rest.split_once(' ')?;
    Some((first.parse().ok()?, count.parse().ok()?, StreamId::new(name).ok()?))
}

/// Reads the events that runs name, until the page is full.
async fn events(
    shared: &Shared,
    runs: &[Run],
    limit: PageLimit,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let mut keys = Vec::new();
    let mut numbers: HashMap<&StreamId, u64> = HashMap::new();
    let mut plan = Plan::default();
    for run in runs {
        let number = *numbers.entry(&run.stream).or_insert_with(|| {
            keys.push(shared.keys.events(&run.stream));
            keys.len() as u64
        });
        plan.put(number);
        plan.put(run.first.0);
        plan.put(run.count);
    }
    let mut command = shared.scripts.read_events.call(keys.len());
    // A page that is not empty makes progress, whatever its bound.
    command.arg(keys).arg(limit.bytes.max(1)).arg(plan.finish());
    let lists = array(shared.run(&command, Step::Read).await?)?;
    let (mut all, mut bytes) = (Vec::new(), 0_usize);
    for (run, list) in runs.iter().zip(lists) {
        let events = decoded(&run.stream, array(list)?)?;
        for (event, offset) in events.into_iter().zip(0..) {
            let (version, position) = (run.first.0 + offset, run.position.0 + offset);
            if (event.version.0, event.position.0) != (version, position) {
                return Err(corrupt(&run.stream, Version(version), GONE));
            }
            bytes = bytes.saturating_add(event.event.size());
            all.push(event);
        }
        let got = all.last().map_or(Position::ZERO, |event: &Arc<RecordedEvent>| event.position);
        if got.0 + 1 < run.position.0 + run.count && bytes < limit.bytes {
            let version = Version(run.first.0 + got.0.saturating_sub(run.position.0));
            return Err(corrupt(&run.stream, version, GONE));
        }
    }
    Ok(all)
}

fn corrupt_log(partition: PartitionId, position: Position, what: &str) -> StoreError {
    let place = format!("the log of partition {partition} at position {position}");
    StoreError::Corrupt { place, what: what.into() }
}

/// How many losses one call lives through.
const LOSSES: usize = 8;
