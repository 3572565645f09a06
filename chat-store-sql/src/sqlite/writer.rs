//! The one thread that writes. It takes everything that waits, carries it out in one transaction
//! in the order of arrival, and answers each after the commit. Alone, an append goes at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_core::Epoch;
use chat_core::ports::{Append, AppendResult, StoreError, ViewBatch, ViewError};
use rusqlite::{Connection, Statement};
use tokio::sync::oneshot;

use super::appender::Appender;
use super::error::{Step, store_error};
use super::migrate::EPOCH;
use super::queue::Queue;
use super::sql::Sql;
use super::view_writer::ViewWriter;

/// Work for the writer. Its caller may have gone; it is done all the same.
#[derive(Debug)]
pub(super) enum Job {
    /// Appends, each standing alone.
    Append(Vec<Append>, oneshot::Sender<Vec<AppendResult>>),
    /// Batches of views, each standing alone.
    Views(Vec<ViewBatch>, oneshot::Sender<Vec<Result<(), ViewError>>>),
    /// A new incarnation.
    RenewEpoch(oneshot::Sender<Result<Epoch, StoreError>>),
}

impl Job {
    /// What the queue counts: KiB, with something for the job itself.
    pub(super) fn weight(&self) -> u32 {
        u32::try_from(JOB_KIB + self.size() / 1024).unwrap_or(u32::MAX)
    }

    fn size(&self) -> usize {
        match self {
            Self::Append(appends, _) => appends.iter().map(Append::size).sum(),
            Self::Views(batches, _) => batches.iter().map(batch_size).sum(),
            Self::RenewEpoch(_) => 0,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Append(appends, _) => appends.len(),
            Self::Views(batches, _) => batches.len(),
            Self::RenewEpoch(_) => 1,
        }
    }

    fn add_tasks<'j>(&'j self, tasks: &mut Vec<Task<'j>>) {
        match self {
            Self::Append(appends, _) => tasks.extend(appends.iter().map(Task::Append)),
            Self::Views(batches, _) => tasks.extend(batches.iter().map(Task::View)),
            Self::RenewEpoch(_) => tasks.push(Task::RenewEpoch),
        }
    }

    /// Takes the answers to its tasks and sends them. A caller that has gone needs none.
    fn answer(self, done: &mut impl Iterator<Item = Done>) {
        match self {
            Self::Append(appends, sender) => {
                let answers = done.take(appends.len()).map(Done::into_append).collect();
                drop(sender.send(answers));
            }
            Self::Views(batches, sender) => {
                let answers = done.take(batches.len()).map(Done::into_view).collect();
                drop(sender.send(answers));
            }
            Self::RenewEpoch(sender) => {
                drop(done.next().map(|done| sender.send(done.into_epoch())));
            }
        }
    }
}

/// The least piece of work that is done whole or not at all.
#[derive(Debug, Clone, Copy)]
enum Task<'j> {
    Append(&'j Append),
    View(&'j ViewBatch),
    RenewEpoch,
}

/// The answer to a [`Task`].
#[derive(Debug)]
enum Done {
    Append(AppendResult),
    View(Result<(), ViewError>),
    Epoch(Epoch),
    /// The transaction failed.
    Failed(StoreError),
}

impl Done {
    fn into_append(self) -> AppendResult {
        match self {
            Self::Append(result) => result,
            other => Err(other.into_error()),
        }
    }

    fn into_view(self) -> Result<(), ViewError> {
        match self {
            Self::View(result) => result,
            other => Err(other.into_error().into()),
        }
    }

    fn into_epoch(self) -> Result<Epoch, StoreError> {
        match self {
            Self::Epoch(epoch) => Ok(epoch),
            other => Err(other.into_error()),
        }
    }

    fn into_error(self) -> StoreError {
        match self {
            Self::Failed(error) => error,
            other => {
                StoreError::Bug { what: format!("the writer mixed up its answers: {other:?}") }
            }
        }
    }
}

/// Carries out jobs until the queue is closed and empty.
pub(super) fn run(mut writer: Writer<'_>, queue: &Queue<Job>) {
    let mut jobs = Vec::new();
    loop {
        let (mut tasks_left, mut bytes_left) = (MAX_TASKS, MAX_BYTES);
        let more = |job: &Job| {
            let fits = job.len() <= tasks_left && job.size() <= bytes_left;
            if fits {
                tasks_left -= job.len();
                bytes_left -= job.size();
            }
            fits
        };
        if !queue.take_batch(&mut jobs, more) {
            return;
        }
        let mut tasks = Vec::new();
        for job in &jobs {
            job.add_tasks(&mut tasks);
        }
        let mut done = writer.carry_out(&tasks).into_iter();
        let company = jobs.len() + queue.len();
        for job in jobs.drain(..) {
            job.answer(&mut done);
        }
        // Callers that were answered come back at once if they have more. A small part of the time
        // that a commit takes is well spent on letting all of them share the next one instead of
        // every other one. Nobody waits for company who is alone, or where commits are quick.
        let moment = (writer.commit_time / 4).min(LONGEST_GATHERING);
        if company > 1 && moment >= SHORTEST_GATHERING {
            queue.gather(company.min(MAX_TASKS), moment);
        }
    }
}

/// The writing connection with its statements.
#[derive(Debug)]
pub(super) struct Writer<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    data_version: Statement<'c>,
    meta_put: Statement<'c>,
    appender: Appender<'c>,
    views: ViewWriter<'c>,
    seen: Option<i64>,
    /// How long the last commit took, most of it waiting for the disk.
    commit_time: Duration,
}

impl<'c> Writer<'c> {
    pub(super) fn new(connection: &'c Connection, sql: &Sql) -> Result<Self, StoreError> {
        Self::prepare(connection, sql).map_err(|error| store_error(error, Step::Open))
    }

    fn prepare(connection: &'c Connection, sql: &Sql) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            connection,
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            commit: connection.prepare("COMMIT")?,
            rollback: connection.prepare("ROLLBACK")?,
            data_version: connection.prepare("PRAGMA data_version")?,
            meta_put: connection.prepare(&sql.meta_put)?,
            appender: Appender::new(connection, sql)?,
            views: ViewWriter::new(connection, sql)?,
            seen: None,
            commit_time: Duration::ZERO,
        })
    }

    /// Carries out tasks in one transaction. Where it fails because of what one of them found, each
    /// gets a transaction of its own, so that the others do not suffer.
    fn carry_out(&mut self, tasks: &[Task<'_>]) -> Vec<Done> {
        let error = match self.transaction(tasks) {
            Ok(done) => return done,
            Err(error) => error,
        };
        if tasks.len() > 1 && is_of_one_task(&error) {
            let alone = |task| self.carry_out(std::slice::from_ref(task)).pop();
            let missing = || StoreError::Bug { what: "a task was not answered".into() };
            return tasks
                .iter()
                .map(alone)
                .map(|done| done.unwrap_or_else(|| Done::Failed(missing())))
                .collect();
        }
        tasks.iter().map(|_| Done::Failed(error.clone())).collect()
    }

    fn transaction(&mut self, tasks: &[Task<'_>]) -> Result<Vec<Done>, StoreError> {
        let done = match self.begin().and_then(|()| self.steps(tasks)) {
            Ok(done) => done,
            Err(error) => {
                self.roll_back();
                return Err(store_error(error, Step::Write));
            }
        };
        let start = Instant::now();
        if let Err(error) = self.commit.execute(()) {
            self.roll_back();
            return Err(store_error(error, Step::Commit));
        }
        self.commit_time = start.elapsed();
        Ok(done)
    }

    fn begin(&mut self) -> Result<(), rusqlite::Error> {
        if !self.connection.is_autocommit() {
            // The last transaction could not be rolled back at once.
            self.rollback.execute(())?;
        }
        self.begin.execute(())?;
        // Nobody else can write from here on; what was written before must be seen.
        let version = Some(self.data_version.query_row((), |row| row.get(0))?);
        if self.seen != version {
            self.forget();
            self.seen = version;
        }
        Ok(())
    }

    fn steps(&mut self, tasks: &[Task<'_>]) -> Result<Vec<Done>, rusqlite::Error> {
        let mut done = Vec::with_capacity(tasks.len());
        for task in tasks {
            done.push(match task {
                Task::Append(append) => Done::Append(self.appender.append(append)?),
                Task::View(batch) => Done::View(self.views.commit(batch)?),
                Task::RenewEpoch => Done::Epoch(self.renew_epoch()?),
            });
        }
        Ok(done)
    }

    fn renew_epoch(&mut self) -> Result<Epoch, rusqlite::Error> {
        let epoch = Epoch(uuid::Uuid::new_v4());
        self.meta_put.execute((EPOCH, epoch.to_string()))?;
        Ok(epoch)
    }

    /// Undoes the transaction, of which SQLite may have undone all by itself already.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit() {
            // Should it fail, it is tried again before the next transaction, which fails with it.
            drop(self.rollback.execute(()));
        }
        self.forget();
        self.seen = None;
    }

    fn forget(&mut self) {
        self.appender.forget();
        self.views.forget();
    }
}

/// Whether the error follows from one task and the others could do without it.
fn is_of_one_task(error: &StoreError) -> bool {
    match error {
        StoreError::Corrupt { .. }
        | StoreError::Bug { .. }
        | StoreError::Invalid { .. }
        // What is small may still fit.
        | StoreError::StorageFull { .. } => true,
        _ => false,
    }
}

fn batch_size(batch: &ViewBatch) -> usize {
    let size = |op: &chat_core::ports::ViewOp| match op {
        chat_core::ports::ViewOp::Put(key, value) => key.as_str().len() + value.len(),
        chat_core::ports::ViewOp::Delete(key) => key.as_str().len(),
        chat_core::ports::ViewOp::Clear => 0,
    };
    batch.ops.iter().map(size).sum()
}

/// The queue of the writer: 64 MiB, or 4,096 jobs.
pub(super) fn queue() -> Arc<Queue<Job>> {
    Arc::new(Queue::new(64 << 10))
}

const JOB_KIB: usize = 16;
/// Bounds of one transaction, unless one job alone is larger.
const MAX_TASKS: usize = 1_024;
const MAX_BYTES: usize = 4 << 20;
const SHORTEST_GATHERING: Duration = Duration::from_micros(20);
const LONGEST_GATHERING: Duration = Duration::from_micros(250);
