//! The appends of one partition, on their way to the server: who goes now, who waits, and who takes
//! over. Concurrent callers share one script call; a caller who finds the lane free goes at once.
//!
//! So many calls are under way at a time (the server works on one while the next is on its way to
//! it). Whoever holds one of those places is a value with a `Drop`, so that a place is given back
//! or passed on however its holder ends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chat_core::ports::{Append, AppendResult, StoreError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};

/// What carries out a batch.
#[async_trait]
pub(crate) trait Carry: Send + Sync + 'static {
    /// One answer for each append.
    async fn carry(&self, appends: &[Append]) -> Vec<AppendResult>;
}

/// The lane of one partition.
#[derive(Debug)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    /// What the queue has room for; callers wait here when it is full.
    room: Semaphore,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// How many calls are under way.
    busy: usize,
    waiting: VecDeque<Waiting>,
}

/// The appends of one caller.
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

impl Lane {
    pub(crate) fn new() -> Self {
        let room = Semaphore::new(usize::try_from(QUEUE).unwrap_or(Semaphore::MAX_PERMITS));
        Self { queue: Mutex::default(), room, idle: Notify::new() }
    }

    /// Carries out the appends of one caller, with those of others if there are any.
    pub(crate) async fn append(
        self: &Arc<Self>,
        carrier: &Arc<dyn Carry>,
        appends: &[Append],
    ) -> Vec<AppendResult> {
        if let Some(place) = self.take_place(carrier) {
            let results = carrier.carry(appends).await;
            place.leave();
            return results;
        }
        let (events, bytes) = (events(appends), appends.iter().map(Append::size).sum::<usize>());
        let weight = u32::try_from(events.max(bytes / BYTES_PER_EVENT)).unwrap_or(u32::MAX);
        let weight = weight.clamp(1, QUEUE);
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting { appends: appends.to_vec(), events, bytes, weight, answer };
        let permit = self.room.acquire_many(weight).await;
        let place = {
            let mut queue = self.queue();
            queue.waiting.push_back(waiting);
            // From here on the room belongs to the queue, which gives it back.
            if let Ok(permit) = permit {
                permit.forget();
            }
            // The lane may have become free while this caller waited for room.
            (queue.busy < UNDER_WAY).then(|| self.occupy(&mut queue, carrier))
        };
        if let Some(place) = place {
            place.leave();
        }
        receiver.await.unwrap_or_else(|_| unknown(appends.len()))
    }

    /// Waits until nothing is under way.
    pub(crate) async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.queue().busy == 0 {
                return;
            }
            notified.await;
        }
    }

    /// A place for a caller who may go at once.
    fn take_place(self: &Arc<Self>, carrier: &Arc<dyn Carry>) -> Option<Place> {
        let mut queue = self.queue();
        let free = queue.busy < UNDER_WAY && queue.waiting.is_empty();
        free.then(|| self.occupy(&mut queue, carrier))
    }

    fn occupy(self: &Arc<Self>, queue: &mut Queue, carrier: &Arc<dyn Carry>) -> Place {
        queue.busy += 1;
        Place { lane: Arc::clone(self), carrier: Arc::clone(carrier) }
    }

    /// The next batch; `None` gives the place back.
    fn next_batch(&self) -> Option<Batch> {
        let mut batch = Batch::default();
        let (mut events, mut bytes, mut room) = (0_usize, 0_usize, 0);
        let mut queue = self.queue();
        while let Some(next) = queue.waiting.front() {
            let gone = next.answer.is_closed();
            let fits = events + next.events <= BATCH_EVENTS && bytes + next.bytes <= BATCH_BYTES;
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
        if batch.callers.is_empty() {
            queue.busy -= 1;
            if queue.busy == 0 {
                self.idle.notify_waiters();
            }
        }
        drop(queue);
        // What is under way needs no room in the queue any more.
        self.room.add_permits(room);
        Some(batch).filter(|batch| !batch.callers.is_empty())
    }

    /// Each change of the queue is whole before anything can panic.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the calls that may be under way.
struct Place {
    lane: Arc<Lane>,
    carrier: Arc<dyn Carry>,
}

impl Place {
    /// Gives the place to those who wait, or back.
    fn leave(self) {
        drop(self);
    }

    async fn drain(self, first: Batch) {
        let carrier = Arc::clone(&self.carrier);
        let mut next = Some(first);
        while let Some(batch) = next {
            let results = carrier.carry(&batch.appends).await;
            batch.answer(results);
            // Those who got their answer may have more to send: let them queue, so that the next
            // batch is as full as this one was.
            tokio::task::yield_now().await;
            next = self.lane.next_batch();
        }
        // The last look gave the place back.
        std::mem::forget(self);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(batch) = self.lane.next_batch() else { return };
        let place = Self { lane: Arc::clone(&self.lane), carrier: Arc::clone(&self.carrier) };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(place.drain(batch))),
            Err(_) => {
                // The runtime has stopped; nobody can wait for an answer any more. Each round
                // takes some away, so this ends.
                drop(batch);
                drop(place);
            }
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

/// How many events are in appends.
pub(crate) fn events(appends: &[Append]) -> usize {
    appends.iter().flat_map(Append::writes).map(|write| write.events.len()).sum()
}

fn unknown(count: usize) -> Vec<AppendResult> {
    let what = "the task that committed it has stopped".to_owned();
    vec![Err(StoreError::OutcomeUnknown { what, source: None }); count]
}

/// Calls under way at a time.
const UNDER_WAY: usize = 2;
/// Most events of a batch, unless one caller brings more.
pub(crate) const BATCH_EVENTS: usize = Append::MAX_EVENTS;
/// Most bytes of a batch, unless one caller brings more.
pub(crate) const BATCH_BYTES: usize = 4 << 20;
/// Events that may wait.
const QUEUE: u32 = 16_384;
/// Bytes that count as much as one event in the bound of the queue.
const BYTES_PER_EVENT: usize = 4 << 10;
