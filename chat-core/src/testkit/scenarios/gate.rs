//! An event store whose appends a scenario can stop, fail or lose at will, and that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};

use crate::event::RecordedEvent;
use crate::id::{EventId, PartitionId, Position, StreamId, Version};
use crate::ports::{
    Append, AppendResult, Direction, EventStore, LogPage, PageLimit, StoreError, StoreInfo,
    StreamPage,
};

/// A store that does as it is told.
#[derive(Debug)]
pub struct Gate {
    inner: Arc<dyn EventStore>,
    down: AtomicBool,
    /// Appends that come to the gate wait here.
    before: Semaphore,
    /// Appends that were carried out wait here.
    after: Semaphore,
    held: AtomicBool,
    fail_before: AtomicUsize,
    lose_after: AtomicUsize,
    arrived: watch::Sender<usize>,
    done: watch::Sender<usize>,
    /// What a read of a stream takes, in milliseconds.
    slowness: AtomicU64,
    appends: AtomicU64,
    stream_reads: AtomicU64,
    stream_events: AtomicU64,
    calls: AtomicU64,
}

impl Gate {
    /// An open gate before a store.
    #[must_use]
    pub fn new(inner: Arc<dyn EventStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            down: AtomicBool::new(false),
            before: Semaphore::new(0),
            after: Semaphore::new(0),
            held: AtomicBool::new(false),
            fail_before: AtomicUsize::new(0),
            lose_after: AtomicUsize::new(0),
            arrived: watch::Sender::new(0),
            done: watch::Sender::new(0),
            slowness: AtomicU64::new(0),
            appends: AtomicU64::new(0),
            stream_reads: AtomicU64::new(0),
            stream_events: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        })
    }

    /// From now on every call fails, or none.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// From now on appends wait before and after they are carried out.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        self.let_in(1 << 20);
        self.let_out(1 << 20);
    }

    /// Lets appends that wait be carried out.
    pub fn let_in(&self, calls: usize) {
        self.before.add_permits(calls);
    }

    /// Lets appends that were carried out be answered.
    pub fn let_out(&self, calls: usize) {
        self.after.add_permits(calls);
    }

    /// From now on reading a stream takes this many milliseconds.
    pub fn slow_reads(&self, millis: u64) {
        self.slowness.store(millis, Ordering::SeqCst);
    }

    /// The next calls to append fail before anything happened.
    pub fn fail_before(&self, calls: usize) {
        self.fail_before.store(calls, Ordering::SeqCst);
    }

    /// The next calls to append are carried out, and their answers are lost.
    pub fn lose_after(&self, calls: usize) {
        self.lose_after.store(calls, Ordering::SeqCst);
    }

    /// Waits until this many calls to append have come since the gate was made.
    pub async fn arrived(&self, calls: usize) {
        let mut arrived = self.arrived.subscribe();
        let _sender_lives_here = arrived.wait_for(|seen| *seen >= calls).await;
    }

    /// Waits until this many calls to append were carried out since the gate was made.
    pub async fn carried_out(&self, calls: usize) {
        let mut done = self.done.subscribe();
        let _sender_lives_here = done.wait_for(|seen| *seen >= calls).await;
    }

    /// Calls to append that came so far.
    #[must_use]
    pub fn append_calls(&self) -> usize {
        *self.arrived.borrow()
    }

    /// Appends that came so far.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }

    /// Pages of streams that were read so far.
    #[must_use]
    pub fn stream_reads(&self) -> u64 {
        self.stream_reads.load(Ordering::SeqCst)
    }

    /// Events of streams that were read so far.
    #[must_use]
    pub fn stream_events(&self) -> u64 {
        self.stream_events.load(Ordering::SeqCst)
    }

    /// Calls of any kind that came so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn take(counter: &AtomicUsize) -> bool {
        let one_less = |calls: usize| calls.checked_sub(1);
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }

    fn look(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) { Err(unavailable()) } else { Ok(()) }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { what: "the gate is shut".into(), source: None }
}

fn unknown() -> StoreError {
    StoreError::OutcomeUnknown { what: "the answer was lost at the gate".into(), source: None }
}

#[async_trait]
impl EventStore for Gate {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        self.appends.fetch_add(appends.len() as u64, Ordering::SeqCst);
        self.arrived.send_modify(|calls| *calls += 1);
        if self.look().is_err() || Self::take(&self.fail_before) {
            return appends.iter().map(|_| Err(unavailable())).collect();
        }
        let held = self.held.load(Ordering::SeqCst);
        if held && let Ok(permit) = self.before.acquire().await {
            permit.forget();
        }
        let answers = self.inner.append(appends).await;
        self.done.send_modify(|calls| *calls += 1);
        if held && let Ok(permit) = self.after.acquire().await {
            permit.forget();
        }
        if Self::take(&self.lose_after) {
            return appends.iter().map(|_| Err(unknown())).collect();
        }
        answers
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        self.stream_reads.fetch_add(1, Ordering::SeqCst);
        self.look()?;
        let millis = self.slowness.load(Ordering::SeqCst);
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        let page = self.inner.read_stream(stream, direction, from, limit).await?;
        self.stream_events.fetch_add(page.events.len() as u64, Ordering::SeqCst);
        Ok(page)
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        self.look()?;
        self.inner.read_log(partition, after, limit).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        self.look()?;
        self.inner.find(stream, id).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        self.look()?;
        self.inner.heads(streams).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.look()?;
        self.inner.info().await
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.inner.partition_of(stream)
    }
}
