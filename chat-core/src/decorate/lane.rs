//! One lane of a group commit: who goes now, who waits, and who takes over when somebody leaves.
//!
//! The lane is *busy* while somebody is responsible for the queue: first the caller who found it
//! idle (the leader), then, if others came, a drain. Whoever is responsible is a value with a
//! `Drop`, so the duty passes on however its holder ends.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::ports::{Append, AppendResult, EventStore, StoreError};

/// What one batch and the queue may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) batch_events: usize,
    pub(super) batch_bytes: usize,
    pub(super) queue_events: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { batch_events: Append::MAX_EVENTS, batch_bytes: 4 << 20, queue_events: 16_384 }
    }
}

/// Bytes that count as much as one event in the bound of the queue.
const BYTES_PER_EVENT: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct Lane<T: ?Sized> {
    limits: Limits,
    queue: Mutex<Queue>,
    /// What the queue has room for; callers wait here when it is full.
    room: Semaphore,
    inner: Arc<T>,
}

#[derive(Debug, Default)]
struct Queue {
    busy: bool,
    waiting: VecDeque<Waiting>,
    /// The runtime of the last caller who queued: it waits there, so that runtime is alive.
    runtime: Option<Handle>,
}

/// The appends of one call.
#[derive(Debug)]
struct Waiting {
    appends: Vec<Append>,
    events: usize,
    bytes: usize,
    weight: u32,
    answer: oneshot::Sender<Vec<AppendResult>>,
}

/// What is sent as one, with who waits for how many of its answers.
#[derive(Debug, Default)]
struct Batch {
    appends: Vec<Append>,
    callers: Vec<(usize, oneshot::Sender<Vec<AppendResult>>)>,
}

type Drain = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<T: EventStore + ?Sized> Lane<T> {
    pub(super) fn new(inner: Arc<T>, limits: Limits) -> Self {
        let limits = Limits { queue_events: limits.queue_events.max(1), ..limits };
        let room = usize::try_from(limits.queue_events).unwrap_or(Semaphore::MAX_PERMITS);
        let room = Semaphore::new(room.min(Semaphore::MAX_PERMITS));
        Self { limits, queue: Mutex::default(), room, inner }
    }

    pub(super) async fn append(self: &Arc<Self>, appends: &[Append]) -> Vec<AppendResult> {
        if self.try_lead() {
            return self.lead(appends).await;
        }
        let Ok(runtime) = Handle::try_current() else {
            // Without a runtime nobody could take over from this caller.
            return self.inner.append(appends).await;
        };
        match self.enqueue(appends, runtime).await {
            Some(answer) => answer.await.unwrap_or_else(|_| aborted(appends)),
            None => self.lead(appends).await,
        }
    }

    /// Makes the caller the leader if the lane is idle.
    fn try_lead(&self) -> bool {
        let mut queue = self.queue();
        !std::mem::replace(&mut queue.busy, true)
    }

    /// Queues, or makes the caller the leader if the lane has become idle meanwhile.
    async fn enqueue(
        &self,
        appends: &[Append],
        runtime: Handle,
    ) -> Option<oneshot::Receiver<Vec<AppendResult>>> {
        let events: usize =
            appends.iter().flat_map(Append::writes).map(|write| write.events.len()).sum();
        let bytes = appends.iter().map(Append::size).sum::<usize>();
        let weight = u32::try_from(events.max(bytes / BYTES_PER_EVENT)).unwrap_or(u32::MAX);
        let weight = weight.min(self.limits.queue_events);
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting { appends: appends.to_vec(), events, bytes, weight, answer };
        // The semaphore is never closed; if it were, queueing without a permit would still be
        // right, only unbounded.
        let permit = self.room.acquire_many(weight).await.ok();
        let mut queue = self.queue();
        if !std::mem::replace(&mut queue.busy, true) {
            return None;
        }
        queue.runtime = Some(runtime);
        queue.waiting.push_back(waiting);
        drop(queue);
        if let Some(permit) = permit {
            // From here on the place belongs to the queue, which gives it back.
            permit.forget();
        }
        Some(receiver)
    }

    async fn lead(self: &Arc<Self>, appends: &[Append]) -> Vec<AppendResult> {
        let leader = Leader(self);
        let results = self.inner.append(appends).await;
        leader.resign().await;
        results
    }

    /// What takes care of the queue, if anything is in it; else the lane is idle now.
    fn succession(self: &Arc<Self>) -> Option<(Drain, Option<Handle>)> {
        let runtime = {
            let mut queue = self.queue();
            if queue.waiting.is_empty() {
                queue.busy = false;
                return None;
            }
            queue.runtime.clone()
        };
        let duty = Duty { lane: Arc::clone(self), done: false };
        Some((Box::pin(duty.drain()), runtime))
    }

    /// The next batch; `None` makes the lane idle.
    fn next_batch(&self) -> Option<Batch> {
        let mut batch = Batch::default();
        let (mut events, mut bytes, mut room) = (0_usize, 0_usize, 0);
        let mut queue = self.queue();
        while let Some(next) = queue.waiting.front() {
            let gone = next.answer.is_closed();
            let fits = events.saturating_add(next.events) <= self.limits.batch_events
                && bytes.saturating_add(next.bytes) <= self.limits.batch_bytes;
            if !(gone || fits || batch.callers.is_empty()) {
                break;
            }
            let Some(mut next) = queue.waiting.pop_front() else { break };
            room += usize::try_from(next.weight).unwrap_or(0);
            if !gone {
                events += next.events;
                bytes += next.bytes;
                batch.callers.push((next.appends.len(), next.answer));
                batch.appends.append(&mut next.appends);
            }
        }
        queue.busy = !batch.callers.is_empty();
        drop(queue);
        // What is under way needs no room in the queue any more.
        self.room.add_permits(room);
        Some(batch).filter(|batch| !batch.callers.is_empty())
    }

    /// Makes the lane idle after a drain that could not end, and sends those who wait away.
    fn abandon(&self) {
        let waiting = {
            let mut queue = self.queue();
            queue.busy = false;
            std::mem::take(&mut queue.waiting)
        };
        for waiting in waiting {
            self.room.add_permits(usize::try_from(waiting.weight).unwrap_or(0));
            let what = "the task that was to commit it has stopped".to_owned();
            let error = StoreError::Unavailable { what, source: None };
            // Whoever is gone needs no answer.
            let _gone = waiting.answer.send(vec![Err(error); waiting.appends.len()]);
        }
    }
}

impl<T: ?Sized> Lane<T> {
    /// Each change of the queue is whole before anything can panic.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn aborted(appends: &[Append]) -> Vec<AppendResult> {
    let what = "the task that committed it has stopped".to_owned();
    vec![Err(StoreError::OutcomeUnknown { what, source: None }); appends.len()]
}

/// The caller who found the lane idle. It sends only what is its own, so dropping it in the middle
/// concerns nobody else.
struct Leader<'a, T: EventStore + ?Sized>(&'a Arc<Lane<T>>);

impl<T: EventStore + ?Sized> Leader<'_, T> {
    /// Passes the duty on, now that the leader's own append is done.
    async fn resign(self) {
        let succession = self.0.succession();
        std::mem::forget(self);
        let Some((mut drain, runtime)) = succession else { return };
        // The first batch may be done without waiting, as in memory; then no task is needed.
        let done = poll_fn(|cx| Poll::Ready(drain.as_mut().poll(cx).is_ready())).await;
        if !done {
            spawn(drain, runtime);
        }
    }
}

impl<T: EventStore + ?Sized> Drop for Leader<'_, T> {
    fn drop(&mut self) {
        if let Some((drain, runtime)) = self.0.succession() {
            spawn(drain, runtime);
        }
    }
}

fn spawn(drain: Drain, runtime: Option<Handle>) {
    // Without a runtime nobody can have queued; if it has stopped, the drain is dropped here and
    // abandons the queue.
    if let Some(runtime) = runtime {
        runtime.spawn(drain);
    }
}

/// The duty to empty the queue.
struct Duty<T: EventStore + ?Sized> {
    lane: Arc<Lane<T>>,
    done: bool,
}

impl<T: EventStore + ?Sized> Duty<T> {
    async fn drain(mut self) {
        while let Some(batch) = self.lane.next_batch() {
            let results = self.lane.inner.append(&batch.appends).await;
            batch.answer(results);
            // Those who got their answer may have more to send: let them queue, so that the next
            // batch is as full as this one was.
            tokio::task::yield_now().await;
        }
        self.done = true;
    }
}

impl<T: EventStore + ?Sized> Drop for Duty<T> {
    fn drop(&mut self) {
        if !self.done {
            self.lane.abandon();
        }
    }
}

impl Batch {
    fn answer(self, results: Vec<AppendResult>) {
        let mut results = results.into_iter();
        for (count, caller) in self.callers {
            let mut own = Vec::with_capacity(count);
            own.extend(results.by_ref().take(count));
            own.resize_with(count, || {
                Err(StoreError::Bug { what: "the store gave no answer to an append".into() })
            });
            // A caller who is gone needs no answer.
            let _gone = caller.send(own);
        }
    }
}
