//! Copies the write-ahead log into the database file. Most of it on a thread of its own, beside the
//! writer; the little that came meanwhile on the writer's thread, behind a commit. A log that
//! somebody adds to all the time would never be copied to its end otherwise, and grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
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
pub(super) struct Checkpointer(JoinHandle<()>);

impl Checkpointer {
    /// Starts the thread and lets the writing connection ring for it.
    pub(super) fn start(
        config: &SqliteConfig,
        writer: &mut Connection,
        hurry: Hurry,
    ) -> Result<Self, StoreError> {
        Self::start_with(config, writer, hurry, CHECKPOINT_PAGES)
    }

    /// With a bell that rings from this many pages on.
    fn start_with(
        config: &SqliteConfig,
        writer: &mut Connection,
        hurry: Hurry,
        enough: i32,
    ) -> Result<Self, StoreError> {
        let connection = open_checkpointer(config)?;
        let (bell, rings) = sync_channel(1);
        let copied = Arc::new(AtomicBool::new(false));
        let mut log = Log { enough, due: Due::every(enough), bell, copied: copied.clone(), hurry };
        let run = move || run(&connection, &rings, &copied);
        let thread = thread::Builder::new().name("chat-sqlite-checkpoint".to_owned()).spawn(run);
        let thread = thread.map_err(|error| StoreError::Unavailable {
            what: "cannot start the thread for checkpoints".into(),
            source: Some(Arc::new(error)),
        })?;
        let hook = move |wal: &mut Wal, pages| {
            log.after_commit(wal, pages);
            // The commit is done: an error must not make it look otherwise.
            Ok(())
        };
        let hooked = writer.wal_hook(Some(hook));
        hooked.map_err(|error| store_error(error, Step::Open))?;
        Ok(Self(thread))
    }

    /// Ends the thread after what it is doing.
    pub(super) fn stop(self, writer: &mut Connection) {
        // The bell goes with the hook, and without a bell the thread ends.
        if writer.wal_hook(None::<fn(&mut Wal, i32) -> rusqlite::Result<()>>).is_ok() {
            drop(self.0.join());
        }
    }
}

/// The thread: at each ring, copies what is in the log. An error loses nothing: the pages stay in
/// the log, and the next ring tries again.
fn run(connection: &Connection, rings: &Receiver<()>, copied: &AtomicBool) {
    while rings.recv().is_ok() {
        if connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE).is_ok() {
            copied.store(true, Ordering::Release);
        }
    }
}

/// What the writer knows of the log.
#[derive(Debug)]
struct Log {
    enough: i32,
    due: Due,
    bell: SyncSender<()>,
    /// The thread has copied what there was; what came meanwhile is left.
    copied: Arc<AtomicBool>,
    hurry: Hurry,
}

impl Log {
    fn after_commit(&mut self, wal: &mut Wal, pages: i32) {
        if self.due.at(pages) {
            let gone = matches!(self.bell.try_send(()), Err(TrySendError::Disconnected(())));
            if gone || pages / TOO_LONG >= self.enough {
                self.copied.store(true, Ordering::Release);
            }
        }
        if self.copied.swap(false, Ordering::Acquire) {
            self.copy_the_rest(wal, pages);
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
/// Rounds before the writer no longer relies on the thread, which may have died or hang.
const TOO_LONG: i32 = 8;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

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
