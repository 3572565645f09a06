//! The way from callers to the one task that appends: it takes everything that waits, hands it to
//! the writer as one group and answers each. Alone, an append goes at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_core::ports::{Append, AppendResult, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::writer::Writer;

/// The callers' end.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
enum Job {
    Append(Waiting),
    /// Nothing more is taken in.
    Close,
}

/// The appends of one call.
#[derive(Debug)]
struct Waiting {
    appends: Vec<Append>,
    answer: oneshot::Sender<Vec<AppendResult>>,
    /// Its place in the queue, given back with the answer.
    _room: OwnedSemaphorePermit,
}

impl Queue {
    /// Starts the task; it ends with [`close`](Self::close) or with the last sender.
    pub(super) fn start(writer: Writer) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, receiver) = mpsc::channel(QUEUE_KIB / JOB_KIB + 1);
        let room = Arc::new(Semaphore::new(QUEUE_KIB));
        (Self { jobs: sender, room }, run(writer, receiver))
    }

    pub(super) async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        if appends.is_empty() {
            return Vec::new();
        }
        let failed = |error: StoreError| vec![Err(error); appends.len()];
        let size: usize = appends.iter().map(Append::size).sum();
        let weight = u32::try_from((JOB_KIB + size / 1024).min(QUEUE_KIB)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(weight).await else {
            return failed(StoreError::Closed);
        };
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { appends: appends.to_vec(), answer, _room: room };
        if self.jobs.send(Job::Append(waiting)).await.is_err() {
            return failed(StoreError::Closed);
        }
        answered.await.unwrap_or_else(|_| {
            let what = "the task that appends ended before it answered".into();
            failed(StoreError::OutcomeUnknown { what, source: None })
        })
    }

    /// Lets the task end after what is queued; what comes later is answered with
    /// [`StoreError::Closed`].
    pub(super) async fn close(&self) {
        self.room.close();
        // It fails only if the task has ended.
        drop(self.jobs.send(Job::Close).await);
    }
}

async fn run(mut writer: Writer, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Group::default();
    let mut held = None;
    loop {
        let next = match held.take() {
            Some(waiting) => Some(Job::Append(waiting)),
            None => jobs.recv().await,
        };
        match next {
            Some(Job::Append(first)) => group.push(first),
            // What is in the channel already is still done.
            Some(Job::Close) => {
                jobs.close();
                continue;
            }
            None => break,
        }
        while held.is_none() {
            match jobs.try_recv() {
                Ok(Job::Append(waiting)) if group.has_room_for(&waiting) => group.push(waiting),
                Ok(Job::Append(waiting)) => held = Some(waiting),
                Ok(Job::Close) => jobs.close(),
                Err(_) => break,
            }
        }
        let (company, start) = (group.waiting.len() + jobs.len(), Instant::now());
        group.carry_out(&mut writer).await;
        gather(&jobs, company, start.elapsed() / 4).await;
    }
    writer.close().await;
}

/// Callers that were answered come back at once if they have more. A small part of the time that a
/// group takes is well spent on letting all of them share the next one instead of every other one.
/// Nobody waits for company who is alone.
async fn gather(jobs: &mpsc::Receiver<Job>, company: usize, moment: Duration) {
    let start = Instant::now();
    let moment = moment.min(LONGEST_GATHERING);
    while company > 1 && jobs.len() < company && start.elapsed() < moment {
        tokio::task::yield_now().await;
    }
}

/// What is appended together.
#[derive(Debug, Default)]
struct Group {
    waiting: Vec<Waiting>,
    appends: usize,
    bytes: usize,
}

impl Group {
    fn has_room_for(&self, waiting: &Waiting) -> bool {
        let bytes: usize = waiting.appends.iter().map(Append::size).sum();
        self.appends + waiting.appends.len() <= MAX_APPENDS && self.bytes + bytes <= MAX_BYTES
    }

    fn push(&mut self, waiting: Waiting) {
        // Nobody waits for the answer, and nothing was sent yet.
        if waiting.answer.is_closed() {
            return;
        }
        self.appends += waiting.appends.len();
        self.bytes += waiting.appends.iter().map(Append::size).sum::<usize>();
        self.waiting.push(waiting);
    }

    async fn carry_out(&mut self, writer: &mut Writer) {
        let waiting = std::mem::take(self).waiting;
        if waiting.is_empty() {
            return;
        }
        let appends: Vec<&Append> = waiting.iter().flat_map(|waiting| &waiting.appends).collect();
        let mut answers = writer.carry_out(&appends).await.into_iter();
        for waiting in waiting {
            let own = answers.by_ref().take(waiting.appends.len()).collect();
            // A caller who is gone needs no answer.
            drop(waiting.answer.send(own));
        }
    }
}

/// What may wait: 64 MiB, or 4,096 calls.
const QUEUE_KIB: usize = 64 << 10;
const JOB_KIB: usize = 16;
/// Bounds of one group, unless one call alone is larger.
const MAX_APPENDS: usize = 1_024;
const MAX_BYTES: usize = 4 << 20;
const LONGEST_GATHERING: Duration = Duration::from_micros(250);
