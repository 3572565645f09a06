//! The port for signals, over the polling bus and a table in a file of its own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::Topic;
use chat_core::ports::{BusError, BusStream, EventBus, Signal, StoreError};
use futures::StreamExt as _;
use tokio::sync::{oneshot, watch};

use super::config::{SqliteAccess, SqliteConfig};
use super::queue::Queue;
use super::signals::Signals;
use super::sql::Sql;
use super::store::{SqliteStore, ended};
use super::threads::{Abandon, spawn};
use crate::polling::SignalTable;

#[async_trait]
impl EventBus for SqliteStore {
    async fn publish(&self, signals: &[Signal]) -> Result<(), BusError> {
        self.polling_bus().publish(signals).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusStream, BusError> {
        let items = self.polling_bus().subscribe(topic).await?;
        // Somebody who listens needs the threads, also if nobody else does any more.
        let open = self.clone();
        Ok(Box::pin(items.inspect(move |_| {
            let _open = &open;
        })))
    }
}

/// Something to do with the signals, or why they cannot be had.
type Job = Box<dyn FnOnce(Result<&mut Signals, StoreError>) + Send>;

/// The thread that has the signals' file open. It starts when it is first needed, so that a store
/// without a bus has no such file.
pub(super) struct SignalThread {
    config: SqliteConfig,
    sql: Arc<Sql>,
    queue: Arc<Queue<Job>>,
    /// `None` once the thread was started.
    end: Mutex<Option<watch::Sender<()>>>,
    running: watch::Receiver<()>,
}

impl fmt::Debug for SignalThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalThread").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl SignalThread {
    pub(super) fn new(config: &SqliteConfig, sql: &Arc<Sql>) -> Self {
        let (end, running) = watch::channel(());
        let (config, sql) = (config.clone(), Arc::clone(sql));
        let queue = Arc::new(Queue::new(WAITING));
        Self { config, sql, queue, end: Mutex::new(Some(end)), running }
    }

    /// Ends the thread after what is queued, and returns when the file is closed.
    pub(super) async fn close(&self) {
        self.queue.close();
        drop(self.take_end());
        ended(self.running.clone()).await;
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Signals) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.start()?;
        let (sender, receiver) = oneshot::channel();
        // A caller that has gone needs no answer.
        let job = move |signals: Result<&mut Signals, StoreError>| {
            drop(sender.send(signals.and_then(work)));
        };
        self.queue.push(Box::new(job), 1).await?;
        receiver.await.map_err(|_| StoreError::Unavailable {
            what: "the thread of the signals ended before it answered".into(),
            source: None,
        })?
    }

    fn start(&self) -> Result<(), StoreError> {
        if self.config.access == SqliteAccess::ReadOnly {
            let what = "a store that was opened for reading sends and receives no signals";
            return Err(StoreError::ReadOnly { what: what.into() });
        }
        let Some(end) = self.take_end() else { return Ok(()) };
        let (config, sql) = (self.config.clone(), Arc::clone(&self.sql));
        let queue = Arc::clone(&self.queue);
        let started = spawn("chat-sqlite-signals", move || {
            run(&config, &sql, &queue);
            drop(end);
        });
        if started.is_err() {
            // There will be no thread, so nobody may wait for one.
            self.queue.abandon();
        }
        started
    }

    fn take_end(&self) -> Option<watch::Sender<()>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Carries out jobs until the queue is closed and empty. A file that cannot be opened now is tried
/// again with the next job.
fn run(config: &SqliteConfig, sql: &Arc<Sql>, queue: &Queue<Job>) {
    // Whatever ends the thread, callers that wait must not wait for ever.
    let abandon = Abandon(queue);
    let mut signals = None;
    while let Some(job) = queue.take() {
        job(match &mut signals {
            Some(signals) => Ok(signals),
            None => Signals::open(config, sql).map(|opened| signals.insert(opened)),
        });
    }
    drop(signals);
    drop(abandon);
}

#[async_trait]
impl SignalTable for SignalThread {
    async fn add(&self, signals: &[Signal]) -> Result<Option<u64>, StoreError> {
        let added = signals.to_vec();
        self.with(move |signals| signals.add(&added)).await
    }

    async fn last(&self) -> Result<u64, StoreError> {
        self.with(Signals::last).await
    }

    async fn after(&self, id: u64, limit: usize) -> Result<Vec<(u64, Signal)>, StoreError> {
        self.with(move |signals| signals.after(id, limit)).await
    }

    async fn among(&self, ids: &[u64]) -> Result<Vec<(u64, Signal)>, StoreError> {
        let ids = ids.to_vec();
        self.with(move |signals| signals.among(&ids)).await
    }

    async fn prune(&self, id: u64) -> Result<(), StoreError> {
        self.with(move |signals| signals.prune(id)).await
    }

    fn interval(&self) -> Duration {
        POLL_INTERVAL
    }
}

/// A look takes some microseconds.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const WAITING: u32 = 1_024;
