//! Copies the write-ahead log into the database file. Most of it on a thread of its own, beside the
//! writer; the little that came meanwhile on the writer's thread, behind a commit. A log that
//! somebody adds to all the time would never be copied to its end otherwise, and grow.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use chat_core::ports::StoreError;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB};

use super::config::SqliteConfig;
use super::connection::{Hurry, open_checkpointer};
use super::error::{Step, store_error};

/// The running thread, which the writer must end before it closes the file.
#[derive(Debug)]
pub(super) struct Checkpointer {
    thread: JoinHandle<()>,
    work: Arc<Work>,
}

impl Checkpointer {
    /// Starts the thread and lets the writing connection ask it.
    pub(super) fn start(
        config: &SqliteConfig,
        writer: &mut Connection,
        hurry: Hurry,
    ) -> Result<Self, StoreError> {
        Self::start_with(config, writer, hurry, CHECKPOINT_PAGES)
    }

    /// With a thread that is asked from this many pages on.
    fn start_with(
        config: &SqliteConfig,
        writer: &mut Connection,
        hurry: Hurry,
        enough: i32,
    ) -> Result<Self, StoreError> {
        let connection = open_checkpointer(config)?;
        let work = Arc::new(Work::default());
        let mut log = Log { enough, due: Due::every(enough), work: Arc::clone(&work), hurry };
        let of_thread = Arc::clone(&work);
        let run = move || run(&connection, &of_thread);
        let thread = thread::Builder::new().name("chat-sqlite-checkpoint".to_owned()).spawn(run);
        let thread = thread.map_err(|error| StoreError::Unavailable {
            what: "cannot start the thread for checkpoints".into(),
            source: Some(Arc::new(error)),
        })?;
        // Made before the hook, so that a hook that fails leaves no thread behind.
        let started = Self { thread, work };
        let hook = move |wal: &mut Wal, pages| {
            log.after_commit(wal, pages);
            // The commit is done: an error must not make it look otherwise.
            Ok(())
        };
        match writer.wal_hook(Some(hook)) {
            Ok(()) => Ok(started),
            Err(error) => {
                started.end();
                Err(store_error(error, Step::Open))
            }
        }
    }

    /// Ends the thread after what it is doing.
    pub(super) fn stop(self, writer: &mut Connection) {
        // Should it stay, the hook finds the thread gone and copies by itself.
        drop(writer.wal_hook(None::<fn(&mut Wal, i32) -> rusqlite::Result<()>>));
        self.end();
    }

    fn end(self) {
        self.work.put(Stage::Over);
        drop(self.thread.join());
    }
}

/// What the writer and the thread tell each other. Only one of them copies at a time: SQLite refuses
/// the second at once.
#[derive(Debug, Default)]
struct Work {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Nothing to do.
    #[default]
    Idle,
    /// The thread is asked to copy, or does it.
    Asked,
    /// The thread has copied what there was; what came meanwhile is the writer's.
    Copied,
    /// There is no thread, or there will be none.
    Over,
}

impl Work {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        // One word, which no panic leaves half written.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, stage: Stage) {
        *self.stage() = stage;
        self.changed.notify_all();
    }

    /// Goes on to another stage, unless the thread has ended meanwhile.
    fn go_on(&self, from: Stage, to: Stage) {
        let mut stage = self.stage();
        if *stage == from {
            *stage = to;
            self.changed.notify_all();
        }
    }

    /// Waits while the stage is this one.
    fn wait_while(&self, wanted: Stage) -> Stage {
        let waited = self.changed.wait_while(self.stage(), |stage| *stage == wanted);
        *waited.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread: whenever it is asked, copies what is in the log. An error loses nothing: the pages
/// stay in the log, and the next time tries again.
fn run(connection: &Connection, work: &Work) {
    let _over = Over(work);
    loop {
        let mut stage = work.stage();
        while !matches!(*stage, Stage::Asked | Stage::Over) {
            stage = work.changed.wait(stage).unwrap_or_else(PoisonError::into_inner);
        }
        if *stage == Stage::Over {
            return;
        }
        drop(stage);
        drop(connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE));
        work.go_on(Stage::Asked, Stage::Copied);
    }
}

/// Tells the writer that the thread is gone, however it went.
struct Over<'w>(&'w Work);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.put(Stage::Over);
    }
}

/// What the writer knows of the log.
#[derive(Debug)]
struct Log {
    enough: i32,
    due: Due,
    work: Arc<Work>,
    hurry: Hurry,
}

impl Log {
    fn after_commit(&mut self, wal: &mut Wal, pages: i32) {
        let due = self.due.at(pages);
        let stage = *self.work.stage();
        let stage = match stage {
            // Where the disk is slower than the writer, the log would grow for as long as it writes.
            Stage::Asked if pages / TOO_LONG >= self.enough => self.work.wait_while(Stage::Asked),
            stage => stage,
        };
        match stage {
            Stage::Copied => {
                self.copy_the_rest(wal, pages);
                self.work.go_on(Stage::Copied, Stage::Idle);
            }
            Stage::Idle if due => self.work.go_on(Stage::Idle, Stage::Asked),
            Stage::Over if due => self.copy_the_rest(wal, pages),
            Stage::Idle | Stage::Asked | Stage::Over => {}
        }
    }

    /// Nobody writes meanwhile, so that the log is copied to its end, and the next commit starts it
    /// again, unless a reader still looks at an old state. If readers were in the way for several
    /// rounds, they are waited for a little.
    fn copy_the_rest(&self, wal: &mut Wal, pages: i32) {
        if pages / PATIENT_ROUNDS < self.enough {
            drop(wal.checkpoint_v2(CheckpointMode::PASSIVE));
        } else {
            self.hurry.during(|| drop(wal.checkpoint_v2(CheckpointMode::RESTART)));
        }
    }
}

/// When a checkpoint is due: at every so many pages of the log. A log that cannot start again, since
/// somebody looks at an old state for long, is not tried after each commit.
#[derive(Debug)]
struct Due {
    every: i32,
    next: i32,
    last: i32,
}

impl Due {
    fn every(every: i32) -> Self {
        Self { every, next: every, last: 0 }
    }

    /// Told the length of the log after each commit.
    fn at(&mut self, pages: i32) -> bool {
        if pages < self.last {
            // The log has started again.
            self.next = self.every;
        }
        self.last = pages;
        let due = pages >= self.next;
        if due {
            self.next = pages.saturating_add(self.every);
        }
        due
    }
}

/// The log is copied after this many pages: rarely enough that pages which many transactions
/// change are copied once, and often enough that it stays in the system's cache.
const CHECKPOINT_PAGES: i32 = 16_000;
/// Rounds of so many pages before readers are waited for.
const PATIENT_ROUNDS: i32 = 4;
/// Rounds after which the writer waits for the thread, so that the log is bounded.
const TOO_LONG: i32 = 8;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::sqlite::config::SqliteDurability;
    use crate::sqlite::connection::open_writer;

    #[test]
    fn a_checkpoint_is_due_once_for_every_so_many_pages() {
        let mut due = Due::every(10);
        let tenth = [10, 25, 35, 12];
        let pages = [3, 9, 10, 11, 19, 25, 30, 35, 2, 9, 12, 13];
        let at = pages.map(|pages| due.at(pages));
        assert_eq!(at, pages.map(|pages| tenth.contains(&pages)));
    }

    const STEP: i32 = 100;

    /// Writes without a pause, with readers beside it or not, and says how long the log became.
    fn longest_log(readers: usize) -> i32 {
        let place = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(place.path().join("chat.db"))
            .with_durability(SqliteDurability::Normal);
        let (mut writer, hurry) = open_writer(&config).unwrap();
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        let checkpointer = Checkpointer::start_with(&config, &mut writer, hurry, STEP).unwrap();
        let log = place.path().join("chat.db-wal");
        let over = AtomicBool::new(false);
        let mut longest = 0;
        thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| {
                    let reader = Connection::open(&config.path).unwrap();
                    while !over.load(Ordering::Relaxed) {
                        let look = "SELECT count(*) FROM (SELECT * FROM t LIMIT 1000)";
                        reader.query_row(look, (), |row| row.get::<_, i64>(0)).unwrap();
                    }
                });
            }
            // Each commit adds two pages at least.
            for _ in 0..100 * STEP {
                writer.execute("INSERT INTO t VALUES (zeroblob(4000))", ()).unwrap();
                longest = longest.max(log.metadata().unwrap().len() / 4096);
            }
            over.store(true, Ordering::Relaxed);
        });
        checkpointer.stop(&mut writer);
        drop(writer);
        assert!(!log.exists(), "a connection is still open");
        i32::try_from(longest).unwrap()
    }

    #[test]
    fn the_log_starts_again_while_somebody_writes_all_the_time() {
        let longest = longest_log(0);
        assert!(longest < 50 * STEP, "{longest} pages");
    }

    #[test]
    fn the_log_starts_again_while_others_read_all_the_time() {
        let longest = longest_log(3);
        assert!(longest < 50 * STEP, "{longest} pages");
    }
}
