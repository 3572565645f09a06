//! Hands appends from callers to the one task that writes. The task takes all that wait and commits
//! them together; alone, an append goes at once. Bounded: who finds it full waits for room.

use std::collections::VecDeque;
use std::sync::Arc;

use chat_core::ports::{Append, AppendResult, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::insert::is_rung;
use super::writer::Writer;

/// The callers' end of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    ended: watch::Receiver<()>,
}

#[derive(Debug)]
enum Message {
    Job(Job),
    End,
}

/// The appends of one call.
#[derive(Debug)]
struct Job {
    appends: Vec<Append>,
    events: usize,
    bytes: usize,
    answer: oneshot::Sender<Vec<AppendResult>>,
    /// Its place in the queue, given back when it is taken out.
    _room: OwnedSemaphorePermit,
}

impl Queue {
    /// Starts the task on the runtime of the caller.
    pub(super) fn start(writer: Writer) -> Self {
        let (jobs, incoming) = mpsc::channel(WAITING_JOBS);
        let (end, ended) = watch::channel(());
        tokio::spawn(async move {
            run(writer, incoming).await;
            drop(end);
        });
        Self { jobs, room: Arc::new(Semaphore::new(WAITING_KIB)), ended }
    }

    /// Queues appends and waits for their answers. What is queued is carried out though the caller
    /// may have gone, unless it has gone before its turn.
    pub(super) async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        let failed = |error: StoreError| vec![Err(error); appends.len()];
        let events = appends.iter().flat_map(Append::writes).map(|write| write.events.len()).sum();
        let bytes: usize = appends.iter().map(Append::size).sum();
        let weight = u32::try_from((1 + bytes / 1_024).min(WAITING_KIB)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(weight).await else {
            return failed(StoreError::Closed);
        };
        let (answer, answered) = oneshot::channel();
        let job = Job { appends: appends.to_vec(), events, bytes, answer, _room: room };
        if self.jobs.send(Message::Job(job)).await.is_err() {
            return failed(StoreError::Closed);
        }
        answered.await.unwrap_or_else(|_| {
            let what = "the writing task ended before it answered".into();
            failed(StoreError::OutcomeUnknown { what, source: None })
        })
    }

    /// Refuses new appends, waits until those that are queued are done and the task has ended.
    pub(super) async fn close(&self) {
        self.room.close();
        // It fails if the task has ended already.
        drop(self.jobs.send(Message::End).await);
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

async fn run(mut writer: Writer, mut incoming: mpsc::Receiver<Message>) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match incoming.recv().await {
                Some(Message::Job(job)) => waiting.push_back(job),
                // Those who had their place in the queue before the end are served still.
                Some(Message::End) => incoming.close(),
                None => break,
            }
        }
        while let Ok(message) = incoming.try_recv() {
            match message {
                Message::Job(job) => waiting.push_back(job),
                Message::End => incoming.close(),
            }
            if waiting.len() >= WAITING_JOBS {
                break;
            }
        }
        let mut jobs = next_batch(&mut waiting);
        if jobs.is_empty() {
            continue;
        }
        let counts: Vec<_> = jobs.iter().map(|job| job.appends.len()).collect();
        let appends: Vec<_> = match &mut jobs[..] {
            [job] => std::mem::take(&mut job.appends),
            jobs => jobs.iter_mut().flat_map(|job| job.appends.drain(..)).collect(),
        };
        let mut answers = writer.append(&appends).await.into_iter();
        let company = jobs.len();
        for (job, count) in jobs.into_iter().zip(counts) {
            // A caller that has gone needs no answer.
            drop(job.answer.send(answers.by_ref().take(count).collect()));
        }
        // Callers that were answered may have more: let them come, so that the next batch is as
        // full as this one was. Nobody waits for company who is alone.
        for _ in 0..YIELDS {
            if company == 1 || waiting.len() + incoming.len() >= company {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    writer.close().await;
}

/// Takes the jobs of the next transaction. At the end of a large batch some may be left for the
/// next one, so that the number of events is one for which a statement is kept.
fn next_batch(waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let (mut events, mut bytes) = (0_usize, 0_usize);
    let mut jobs = Vec::new();
    while let Some(job) = waiting.front() {
        let fits = events + job.events <= BATCH_EVENTS && bytes + job.bytes <= BATCH_BYTES;
        if !fits && !jobs.is_empty() {
            break;
        }
        let Some(job) = waiting.pop_front() else { break };
        // Nobody wants to know, and nothing has been done yet.
        if !job.answer.is_closed() {
            events += job.events;
            bytes += job.bytes;
            jobs.push(job);
        }
    }
    let least = events - events / 8;
    let (mut left, mut keep) = (events, jobs.len());
    for job in jobs.iter().rev() {
        if is_rung(left) {
            break;
        }
        left -= job.events;
        keep -= 1;
    }
    if left >= least && left > 0 {
        for job in jobs.drain(keep..).rev() {
            waiting.push_front(job);
        }
    }
    jobs
}

const WAITING_JOBS: usize = 4_096;
const WAITING_KIB: usize = 64 << 10;
/// Bounds of one transaction, unless one call alone is larger.
const BATCH_EVENTS: usize = 1_024;
const BATCH_BYTES: usize = 4 << 20;
const YIELDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::ports::Expected;
    use chat_core::testkit::fixture::{event, single, stream};

    fn job(room: &Arc<Semaphore>, events: usize) -> (Job, oneshot::Receiver<Vec<AppendResult>>) {
        let (answer, answered) = oneshot::channel();
        let appends = vec![single(&stream("a"), Expected::Any, vec![event(1)])];
        let room = Arc::clone(room).try_acquire_owned().unwrap();
        (Job { appends, events, bytes: 100, answer, _room: room }, answered)
    }

    fn batch(sizes: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let room = Arc::new(Semaphore::new(10_000));
        let (jobs, _callers): (VecDeque<_>, Vec<_>) =
            sizes.iter().map(|events| job(&room, *events)).unzip();
        let mut waiting = jobs;
        let taken = next_batch(&mut waiting);
        let sizes = |jobs: &mut dyn Iterator<Item = &Job>| jobs.map(|job| job.events).collect();
        (sizes(&mut taken.iter()), sizes(&mut waiting.iter()))
    }

    #[test]
    fn a_batch_ends_where_a_statement_is_kept_and_the_rest_stays_in_order() {
        assert_eq!(batch(&[1; 16]), (vec![1; 16], vec![]));
        assert_eq!(batch(&[1; 17]), (vec![1; 16], vec![1]));
        assert_eq!(batch(&[1; 1_100]), (vec![1; 1_024], vec![1; 76]));
        assert_eq!(batch(&[17]), (vec![17], vec![]));
        // Nothing near is kept: all go.
        assert_eq!(batch(&[10, 7]), (vec![10, 7], vec![]));
        assert_eq!(batch(&[2_000, 1]), (vec![2_000], vec![1]));
    }

    #[test]
    fn who_has_gone_before_the_turn_is_left_out() {
        let room = Arc::new(Semaphore::new(10));
        let (gone, caller) = job(&room, 1);
        drop(caller);
        let (here, _caller) = job(&room, 2);
        let mut waiting = VecDeque::from([gone, here]);
        assert_eq!(next_batch(&mut waiting).len(), 1);
        assert_eq!(room.available_permits(), 10);
    }
}
