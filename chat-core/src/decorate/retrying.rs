//! Tries again what may succeed later.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::dice::Dice;
use crate::event::RecordedEvent;
use crate::id::{EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Direction, EventStore, KeyRange, LogPage, PageLimit, StoreError,
    StoreInfo, StreamPage, ViewBatch, ViewError, ViewGet, ViewId, ViewPage, ViewStore, ViewValues,
};

/// How often and how patiently [`Retrying`] tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first one included; zero counts as one.
    pub attempts: u32,
    /// The wait before the second try; each further wait is twice as long.
    pub first_wait: Duration,
    /// No wait is longer. Each wait is drawn from between its half and its whole.
    pub longest_wait: Duration,
    /// What the draws follow from.
    pub seed: u64,
}

/// 6 tries, waits of 20 ms to 1 s (about half a second in all), and a seed of its own for each
/// policy, so that processes that failed together do not come back together.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_millis(20),
            longest_wait: Duration::from_secs(1),
            seed: RandomState::new().hash_one(0_u8),
        }
    }
}

/// A store that repeats what failed with [`StoreError::is_retryable`], as its [`RetryPolicy`] says.
///
/// Of a call to [`append`](EventStore::append) only those appends are sent again that failed so,
/// and those that met a conflict behind one of them, since an append of the same call that was to
/// come before was missing. Their ids make that safe: an append that happened although its answer
/// was lost comes back as the store says it, as a repeat. If a store lets later appends of a call
/// through where an earlier one failed, the earlier one takes effect behind them.
///
/// A view batch has no ids. When the answer to one was lost, the next try may be refused with
/// [`ViewError::CheckpointMoved`] by its own first one; the caller reads the view again as after
/// any such refusal.
///
/// # Cancel safety
/// As the port: dropping a call leaves each append or batch done or not done.
#[derive(Debug)]
pub struct Retrying<T: ?Sized> {
    policy: RetryPolicy,
    dice: Dice,
    inner: Arc<T>,
}

impl<T: ?Sized> Retrying<T> {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<T>, policy: RetryPolicy) -> Self {
        Self { policy, dice: Dice::new(policy.seed), inner }
    }

    async fn wait(&self, tries: u32) {
        let doubled = self.policy.first_wait.saturating_mul(1 << tries.saturating_sub(1).min(30));
        let most = doubled.min(self.policy.longest_wait);
        tokio::time::sleep(self.dice.between(most / 2, most)).await;
    }

    async fn read<'a, R>(
        &'a self,
        mut attempt: impl FnMut() -> BoxFuture<'a, Result<R, StoreError>>,
    ) -> Result<R, StoreError> {
        let mut tries = 1;
        loop {
            match attempt().await {
                Err(error) if error.is_retryable() && tries < self.policy.attempts => {
                    self.wait(tries).await;
                    tries += 1;
                }
                settled => return settled,
            }
        }
    }
}

/// Which appends to send again, by their index.
fn unsettled(results: &[AppendResult]) -> Vec<usize> {
    let mut missing = false;
    let mut again = Vec::new();
    for (index, result) in results.iter().enumerate() {
        let Err(error) = result else { continue };
        let behind = missing && matches!(error, StoreError::Conflict { .. });
        missing |= error.is_retryable();
        if error.is_retryable() || behind {
            again.push(index);
        }
    }
    again
}

fn put<R>(results: &mut [R], indices: &[usize], answers: Vec<R>) {
    for (index, answer) in indices.iter().zip(answers) {
        if let Some(result) = results.get_mut(*index) {
            *result = answer;
        }
    }
}

fn pick<R: Clone>(all: &[R], indices: &[usize]) -> Vec<R> {
    indices.iter().filter_map(|index| all.get(*index).cloned()).collect()
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: EventStore + ?Sized> EventStore for Retrying<T> {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        let mut results = self.inner.append(appends).await;
        for tries in 1..self.policy.attempts {
            let again = unsettled(&results);
            if again.is_empty() {
                break;
            }
            self.wait(tries).await;
            let answers = self.inner.append(&pick(appends, &again)).await;
            put(&mut results, &again, answers);
        }
        results
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        self.read(|| self.inner.read_stream(stream, direction, from, limit)).await
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        self.read(|| self.inner.read_log(partition, after, limit)).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        self.read(|| self.inner.find(stream, id)).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        self.read(|| self.inner.heads(streams)).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.read(|| self.inner.info()).await
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.inner.partition_of(stream)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: ViewStore + ?Sized> ViewStore for Retrying<T> {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        self.read(|| self.inner.get(gets)).await
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        self.read(|| self.inner.scan(view, range, direction, limit)).await
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        let mut results = self.inner.commit(batches).await;
        for tries in 1..self.policy.attempts {
            let failed = |result: &Result<(), ViewError>| matches!(result, Err(ViewError::Store(error)) if error.is_retryable());
            let indices = results.iter().enumerate();
            let again: Vec<_> =
                indices.filter(|(_, result)| failed(result)).map(|(index, _)| index).collect();
            if again.is_empty() {
                break;
            }
            self.wait(tries).await;
            let answers = self.inner.commit(&pick(batches, &again)).await;
            put(&mut results, &again, answers);
        }
        results
    }
}
