//! Sends appends to the script: checks what the server would not take, splits a call by partition,
//! and notes what the answers say of the log's end.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::{Append, AppendResult, StoreError};
use chat_core::{PartitionId, StreamId};
use futures::future::join_all;
use uuid::Uuid;

use crate::batch::{self, Answer, Newest};
use crate::incarnation::Mark;
use crate::lane::{BATCH_BYTES, BATCH_EVENTS, Carry, Lane, events};
use crate::replicas::Written;
use crate::reply::array;
use crate::store::Shared;

/// The lanes of a store, one for each partition.
#[derive(Debug)]
pub(crate) struct Appender {
    lanes: Vec<Arc<Lane>>,
}

impl Appender {
    pub(crate) fn new(partitions: u32) -> Self {
        Self { lanes: (0..partitions).map(|_| Arc::new(Lane::new())).collect() }
    }

    /// Waits until nothing is under way.
    pub(crate) async fn idle(&self) {
        for lane in &self.lanes {
            lane.idle().await;
        }
    }
}

/// Carries out the appends of one call. Those of one partition take effect in their order; the
/// partitions of a call are written at the same time.
pub(crate) async fn append(shared: &Arc<Shared>, appends: &[Append]) -> Vec<AppendResult> {
    let mut results: Vec<Option<AppendResult>> = appends.iter().map(|_| None).collect();
    let mut partitions: Vec<(PartitionId, Vec<usize>)> = Vec::new();
    for ((index, append), result) in appends.iter().enumerate().zip(&mut results) {
        match partition(shared, append) {
            Err(error) => *result = Some(Err(error)),
            Ok(partition) => match partitions.iter_mut().find(|(id, _)| *id == partition) {
                Some((_, indexes)) => indexes.push(index),
                None => partitions.push((partition, vec![index])),
            },
        }
    }
    if let [(partition, indexes)] = &partitions[..]
        && indexes.len() == appends.len()
    {
        // The common case needs no copy.
        return in_partition(shared, *partition, appends).await;
    }
    let parts = partitions.into_iter().map(async |(partition, indexes)| {
        let own: Vec<Append> =
            indexes.iter().filter_map(|index| appends.get(*index)).cloned().collect();
        (indexes, in_partition(shared, partition, &own).await)
    });
    for (indexes, answers) in join_all(parts).await {
        for (index, answer) in indexes.into_iter().zip(answers) {
            if let Some(result) = results.get_mut(index) {
                *result = Some(answer);
            }
        }
    }
    let no_answer = || Err(StoreError::Bug { what: "an append got no answer".into() });
    results.into_iter().map(|result| result.unwrap_or_else(no_answer)).collect()
}

/// The partition of an append that this store takes.
fn partition(shared: &Shared, append: &Append) -> Result<PartitionId, StoreError> {
    shared.open()?;
    let size = append.size();
    if size > MAX_BYTES {
        let what = format!("an append of {size} bytes, at most {MAX_BYTES} are allowed");
        return Err(StoreError::Invalid { what });
    }
    let written = append.writes().iter().map(|write| &write.stream);
    let mut streams = written.chain(append.guards().iter().map(|guard| &guard.stream));
    let first: &StreamId = streams
        .next()
        .ok_or_else(|| StoreError::Bug { what: "an append without writes".into() })?;
    let partition = shared.keys.partition_of(first);
    match streams.find(|stream| shared.keys.partition_of(stream) != partition) {
        None => Ok(partition),
        Some(second) => {
            Err(StoreError::CrossPartition { first: first.clone(), second: second.clone() })
        }
    }
}

async fn in_partition(
    shared: &Arc<Shared>,
    partition: PartitionId,
    appends: &[Append],
) -> Vec<AppendResult> {
    let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
    let Some(lane) = shared.appender.lanes.get(index) else {
        let error = StoreError::Bug { what: format!("no lane for partition {partition}") };
        return vec![Err(error); appends.len()];
    };
    let carrier: Arc<dyn Carry> = Arc::new(Carrier { shared: Arc::clone(shared), partition });
    let mut results = Vec::with_capacity(appends.len());
    let mut rest = appends;
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(fitting(rest));
        results.extend(lane.append(&carrier, chunk).await);
        rest = behind;
    }
    results
}

/// How many appends fit into one batch, at least one.
fn fitting(appends: &[Append]) -> usize {
    let (mut sum, mut bytes) = (0, 0);
    let over = appends.iter().position(|append| {
        sum += events(std::slice::from_ref(append));
        bytes += append.size();
        sum > BATCH_EVENTS || bytes > BATCH_BYTES
    });
    over.unwrap_or(appends.len()).max(1)
}

/// Carries out batches of one partition.
struct Carrier {
    shared: Arc<Shared>,
    partition: PartitionId,
}

#[async_trait]
impl Carry for Carrier {
    async fn carry(&self, appends: &[Append]) -> Vec<AppendResult> {
        match self.send(appends).await {
            Ok(results) => results,
            Err(error) => vec![Err(error); appends.len()],
        }
    }
}

impl Carrier {
    async fn send(&self, appends: &[Append]) -> Result<Vec<AppendResult>, StoreError> {
        let Shared { keys, scripts, incarnation, connection, .. } = &*self.shared;
        for _ in 0..LOSSES {
            let (mark, epoch) = incarnation.mark(self.partition);
            let token = Uuid::new_v4();
            let (token, _) = token.as_bytes().split_at(TOKEN);
            let newest = Newest { mark: mark.as_ref(), token, waits: connection.waits() };
            let command = batch::command((keys, scripts), self.partition, appends, &newest);
            let Written { answer, copied } = self.shared.write(&command, self.partition).await?;
            match (batch::answer(appends, array(answer)?)?, mark) {
                (Answer::Done { position, token, mut results }, _) => {
                    incarnation.saw(self.partition, Mark { position, token, epoch });
                    if let Err(short) = copied {
                        // What was refused stays refused.
                        let written = results.iter_mut().filter(|result| result.is_ok());
                        written.for_each(|result| *result = Err(short.clone()));
                    }
                    return Ok(results);
                }
                (Answer::Lost, Some(mark)) => {
                    incarnation.lost(self.shared.reach(), self.partition, &mark).await?;
                }
                (Answer::Lost, None) => break,
            }
        }
        let what = "the server loses what it has acknowledged, again and again".to_owned();
        Err(StoreError::Unavailable { what, source: None })
    }
}

/// Most bytes of one append: what a server takes as one command, with room to spare.
const MAX_BYTES: usize = 256 << 20;
/// How many losses one call lives through.
const LOSSES: usize = 8;
/// Bytes of a token: enough that no two entries at one position have the same.
const TOKEN: usize = 8;
