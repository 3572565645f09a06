//! Group commit: runs of commands from all chats become one call of the store. One batch is at the
//! store at a time; what comes meanwhile is the next one. A lone run goes at once.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use tokio::sync::{Notify, mpsc};

use super::execute::Run;
use super::shared::{Shared, lock};
use crate::ports::{Append, AppendResult, StoreError};

#[derive(Debug, Default)]
pub(super) struct Committer {
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    runs: VecDeque<Run>,
    /// Nobody drives it any more.
    closed: bool,
}

/// Batches whose answers are being given out while the next is at the store.
const ANSWERING: usize = 2;

impl Committer {
    /// Hands a run over. Bounded by the commands that may be under way.
    pub(super) fn submit(&self, run: Run) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            drop(queue);
            run.refuse();
            return;
        }
        queue.runs.push_back(run);
        drop(queue);
        self.wake.notify_one();
    }

    /// Refuses what comes from here on, if nothing waits.
    fn close_if_empty(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.closed |= queue.runs.is_empty();
        queue.closed
    }

    fn take(&self, max_appends: usize, max_bytes: usize) -> Vec<Run> {
        let mut queue = lock(&self.queue);
        let (mut appends, mut bytes) = (0, 0);
        let mut runs = Vec::with_capacity(queue.runs.len().min(max_appends));
        while let Some(run) = queue.runs.pop_front() {
            appends += run.len();
            bytes += run.bytes();
            runs.push(run);
            if appends >= max_appends || bytes >= max_bytes {
                break;
            }
        }
        runs
    }
}

/// Drives the committer until the engine has stopped and the queue is empty.
pub(super) async fn drive(shared: Arc<Shared>) {
    let (answers, mut batches) = mpsc::channel::<(Vec<Run>, Vec<AppendResult>)>(ANSWERING);
    let answering = Arc::clone(&shared);
    shared.spawn(async move {
        while let Some((runs, results)) = batches.recv().await {
            complete(&answering, runs, results);
        }
    });
    loop {
        let config = &shared.config;
        let mut runs = shared.committer.take(config.batch_appends, config.batch_bytes);
        if runs.is_empty() {
            if shared.is_stopped() {
                if shared.committer.close_if_empty() {
                    return;
                }
                continue;
            }
            tokio::select! {
                () = shared.committer.wake.notified() => {}
                () = shared.stopped() => {}
            }
            continue;
        }
        let appends: Vec<Append> = runs.iter_mut().filter_map(Run::take_append).collect();
        // After a panic in the store nobody knows what happened; asking again by id settles it.
        let appending = AssertUnwindSafe(shared.store.append(&appends)).catch_unwind();
        let results = appending.await.unwrap_or_default();
        drop(appends);
        // With others waiting, answers are given beside the next batch; alone, a hop less counts.
        if lock(&shared.committer.queue).runs.is_empty() && answers.capacity() == ANSWERING {
            complete(&shared, runs, results);
        } else if let Err(mpsc::error::SendError((runs, results))) =
            answers.send((runs, results)).await
        {
            complete(&shared, runs, results);
        }
    }
}

fn complete(shared: &Arc<Shared>, runs: Vec<Run>, results: Vec<AppendResult>) {
    let mut results = results.into_iter();
    for run in runs {
        let result = results.next().unwrap_or_else(|| {
            let what = "the store gave no answer".into();
            Err(StoreError::OutcomeUnknown { what, source: None })
        });
        run.complete(shared, result);
    }
    shared.follower.wake_for_own_events();
}
