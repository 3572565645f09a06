//! Copies the write-ahead log into the database file, on a thread of its own, so that those who
//! append need not wait for it.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chat_core::ports::StoreError;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB};

use super::config::SqliteConfig;
use super::connection::open_checkpointer;
use super::error::{Step, store_error};

/// The running thread, which the writer must end before it closes the file.
#[derive(Debug)]
pub(super) struct Checkpointer(JoinHandle<()>);

impl Checkpointer {
    /// Starts the thread and lets the writing connection ring for it.
    pub(super) fn start(
        config: &SqliteConfig,
        writer: &mut Connection,
    ) -> Result<Self, StoreError> {
        Self::start_with(config, writer, CHECKPOINT_PAGES)
    }

    /// With a bell that rings from this many pages on.
    fn start_with(
        config: &SqliteConfig,
        writer: &mut Connection,
        enough: i32,
    ) -> Result<Self, StoreError> {
        let connection = open_checkpointer(config, LONGEST_STOP)?;
        let (bell, rings) = sync_channel(1);
        let run = move || run(&connection, &rings);
        let thread = thread::Builder::new().name("chat-sqlite-checkpoint".to_owned()).spawn(run);
        let thread = thread.map_err(|error| StoreError::Unavailable {
            what: "cannot start the thread for checkpoints".into(),
            source: Some(std::sync::Arc::new(error)),
        })?;
        let mut due = Due::every(enough);
        let hook = move |log: &mut Wal, pages| {
            if due.at(pages) {
                ring(log, pages, &bell);
            }
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

/// Runs inside of a commit that is done: an error here must not make it look otherwise.
fn ring(log: &mut Wal, pages: i32, bell: &SyncSender<()>) {
    let gone = matches!(bell.try_send(()), Err(TrySendError::Disconnected(())));
    if gone || pages >= TOO_MANY_PAGES {
        drop(log.checkpoint());
    }
}

fn run(connection: &Connection, rings: &Receiver<()>) {
    while rings.recv().is_ok() {
        // An error here loses nothing: the pages stay in the log, and the next ring tries again.
        let beside = connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE);
        let behind = |(pages, copied)| pages > copied;
        if beside.is_ok_and(behind) {
            // While somebody writes all the time, the log never ends, and grows. So the writer has
            // to stop for the little that came meanwhile; then the log starts again from its
            // beginning.
            drop(connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::RESTART));
        }
    }
}

/// The log is copied after this many pages: rarely enough that pages which many transactions
/// change are copied once, and often enough that it stays in the system's cache.
const CHECKPOINT_PAGES: i32 = 16_000;
/// From here on the writer copies the log itself, so that it does not outgrow the disk.
const TOO_MANY_PAGES: i32 = 128_000;
/// How long a checkpoint may keep writers waiting for readers that look at an old state.
const LONGEST_STOP: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::sqlite::config::SqliteDurability;
    use crate::sqlite::connection::open_writer;

    #[test]
    fn a_checkpoint_is_due_once_for_every_so_many_pages() {
        let mut due = Due::every(10);
        let at = [3, 9, 10, 11, 19, 25, 30, 35, 2, 9, 12, 13].map(|pages| due.at(pages));
        let tenth = [10, 25, 35, 12];
        let pages = [3, 9, 10, 11, 19, 25, 30, 35, 2, 9, 12, 13];
        assert_eq!(at, pages.map(|pages| tenth.contains(&pages)));
    }

    #[test]
    fn the_log_starts_again_while_somebody_writes_all_the_time() {
        let place = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(place.path().join("chat.db"))
            .with_durability(SqliteDurability::Normal);
        let mut writer = open_writer(&config).unwrap();
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        let checkpointer = Checkpointer::start_with(&config, &mut writer, 100).unwrap();
        let log = place.path().join("chat.db-wal");
        let deadline = Instant::now() + Duration::from_secs(60);
        // Each commit adds two pages at least. The log would be longer had it not started again.
        for commits in 1.. {
            writer.execute("INSERT INTO t VALUES (zeroblob(4000))", ()).unwrap();
            if log.metadata().unwrap().len() < commits * 4096 && commits > 1_000 {
                break;
            }
            assert!(Instant::now() < deadline, "the log only grows: {commits} commits");
        }
        checkpointer.stop(&mut writer);
        drop(writer);
        assert!(!log.exists(), "a connection is still open");
    }
}
