//! Brings one page of the source's log into the target, in its order, whatever of it is there
//! already.

use std::collections::HashMap;
use std::sync::Arc;

use super::compare::{by_stream, same};
use super::error::{CopyError, Difference};
use crate::event::RecordedEvent;
use crate::id::{PartitionId, StreamId, Version};
use crate::ports::{Append, AppendResult, EventStore, EventStoreExt as _, Expected};
use crate::ports::{Guard, StoreError, StreamWrite};

/// How appends of one page are kept in order, should one of them fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chain {
    /// All in one call; each is guarded by the one before it in its partition.
    Guarded,
    /// One after the other, for a store that takes no guard across partition keys.
    OneByOne,
}

/// Puts a page. When it returns, all of it is in the target; when it fails, a part may be, and
/// nothing behind a part that is not.
pub(super) async fn put(
    target: &dyn EventStore,
    events: &[Arc<RecordedEvent>],
    chain: &mut Chain,
) -> Result<(), CopyError> {
    loop {
        let heads = settle(target, events).await?;
        let missing: Vec<_> = events
            .iter()
            .filter(|event| heads.get(&event.stream).is_some_and(|head| event.version > *head))
            .cloned()
            .collect();
        if *chain == Chain::OneByOne {
            return one_by_one(target, &missing).await;
        }
        match first_error(target.append(&appends(target, &missing)?).await) {
            // Look again, as some may be in by now.
            Err(StoreError::CrossPartition { .. }) => *chain = Chain::OneByOne,
            answer => return answer.map_err(refused),
        }
    }
}

async fn one_by_one(
    target: &dyn EventStore,
    events: &[Arc<RecordedEvent>],
) -> Result<(), CopyError> {
    for run in runs(events)? {
        let append = Append::multi(vec![run], Vec::new()).map_err(|error| unfit(&error))?;
        target.append_one(append).await.map_err(refused)?;
    }
    Ok(())
}

/// Looks what of a page the target holds, and makes sure that it is the same: an earlier run may
/// have put a part of it and stopped before it could say so.
async fn settle(
    target: &dyn EventStore,
    events: &[Arc<RecordedEvent>],
) -> Result<HashMap<StreamId, Version>, CopyError> {
    let streams = by_stream(events);
    let firsts = || streams.iter().filter_map(|events| events.first());
    let names: Vec<StreamId> = firsts().map(|event| event.stream.clone()).collect();
    let heads = target.heads(&names).await.map_err(CopyError::Target)?;
    for ((events, first), head) in streams.iter().zip(firsts()).zip(&heads) {
        let before = Version(first.version.0.saturating_sub(1));
        if *head < before {
            let (stream, version) = (first.stream.clone(), head.next());
            return Err(Difference::Missing { stream, version }.into());
        }
        let there = events.partition_point(|event| event.version <= *head);
        same(target, events.get(..there).unwrap_or_default()).await?;
    }
    Ok(names.into_iter().zip(heads).collect())
}

/// Each run as an append that takes effect only if everything before it in its partition did.
fn appends(
    target: &dyn EventStore,
    events: &[Arc<RecordedEvent>],
) -> Result<Vec<Append>, CopyError> {
    let mut last: HashMap<PartitionId, (StreamId, Version)> = HashMap::new();
    let mut appends = Vec::new();
    for run in runs(events)? {
        let end = match run.expected {
            Expected::Exactly(before) => Version(before.0 + run.events.len() as u64),
            Expected::Any | Expected::NoStream | Expected::Exists => Version::ZERO,
        };
        let here = (run.stream.clone(), end);
        let before = last.insert(target.partition_of(&run.stream), here);
        let guards = before.filter(|(stream, _)| *stream != run.stream);
        let guards =
            guards.map(|(stream, version)| Guard { stream, expected: Expected::Exactly(version) });
        let append = Append::multi(vec![run], guards.into_iter().collect());
        appends.push(append.map_err(|error| unfit(&error))?);
    }
    Ok(appends)
}

/// Events of one stream that stand next to each other in the log are written together.
fn runs(events: &[Arc<RecordedEvent>]) -> Result<Vec<StreamWrite>, CopyError> {
    let mut runs: Vec<StreamWrite> = Vec::new();
    for run in events.chunk_by(|a, b| a.stream == b.stream) {
        let Some(first) = run.first() else { continue };
        let mut version = first.version;
        for event in run {
            if event.version != version {
                let place = format!("{} version {}", event.stream, event.version);
                let what = format!("it stands where version {version} belongs in the log");
                return Err(CopyError::Source(StoreError::Corrupt { place, what }));
            }
            version = version.next();
        }
        runs.push(StreamWrite {
            stream: first.stream.clone(),
            expected: Expected::Exactly(Version(first.version.0.saturating_sub(1))),
            events: run.iter().map(|event| event.event.clone()).collect(),
        });
    }
    Ok(runs)
}

fn first_error(results: Vec<AppendResult>) -> Result<(), StoreError> {
    // Conflicts of guards stand behind what went wrong first; a refused guard says more than they.
    let mut first = Ok(());
    for error in results.into_iter().filter_map(Result::err) {
        if matches!(error, StoreError::CrossPartition { .. }) {
            return Err(error);
        }
        first = first.and(Err(error));
    }
    first
}

fn refused(error: StoreError) -> CopyError {
    match error {
        StoreError::Conflict { .. } | StoreError::IdReused { .. } => CopyError::Refused(error),
        error => CopyError::Target(error),
    }
}

/// No store can hold what an append refuses.
fn unfit(error: &dyn std::error::Error) -> CopyError {
    let place = "the source's log".into();
    CopyError::Source(StoreError::Corrupt { place, what: error.to_string() })
}
