//! Reads nothing that a crash of the server could still take back.
//!
//! Without a binary log InnoDB shows a commit to others a moment before its log is on the disk. An
//! event that is read in that moment, handed on, and then lost with the server would leave its
//! place to another event, which its readers would never see. So a reader that meets events behind
//! the last place that is known to be on the disk commits a small change of its own first: the
//! log is written in order, so that when this commit is answered, all that was seen before it is
//! on the disk too. A process that reads what it wrote itself knows that already, and pays nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;
use uuid::Uuid;

use super::connection::{Session, Values};
use super::error::{Failure, Step};

/// How far the log is known to be on the disk.
#[derive(Debug)]
pub(super) struct Flushed {
    /// Whether the server shows what is not on the disk yet.
    shows_early: bool,
    /// Processes use rows of their own as far as there are enough, to keep out of each other's way.
    slot: u64,
    seen: AtomicU64,
    known: AtomicU64,
    turn: Mutex<()>,
    sql: Arc<str>,
}

impl Flushed {
    pub(super) fn new(shows_early: bool, sql: Arc<str>) -> Self {
        Self {
            shows_early,
            slot: Uuid::new_v4().as_u64_pair().1 % SLOTS,
            seen: AtomicU64::new(0),
            known: AtomicU64::new(0),
            turn: Mutex::new(()),
            sql,
        }
    }

    /// Notes that a commit of this process was answered, which was behind everything up to here.
    pub(super) fn note(&self, position: u64) {
        self.seen.fetch_max(position, Ordering::SeqCst);
        self.known.fetch_max(position, Ordering::SeqCst);
    }

    /// Waits until everything up to a position that was seen is on the disk. Those who come
    /// together go together.
    pub(super) async fn wait(
        &self,
        session: &mut Session<'_>,
        position: u64,
    ) -> Result<(), Failure> {
        if !self.shows_early || position <= self.known() {
            return Ok(());
        }
        self.seen.fetch_max(position, Ordering::SeqCst);
        let _turn = self.turn.lock().await;
        if position <= self.known() {
            return Ok(());
        }
        // All of this was seen before the commit that follows.
        let seen = self.seen.load(Ordering::SeqCst);
        let values = Values::new().with(self.slot);
        match session.execute(&self.sql, values, Step::Write).await {
            Ok(()) => {
                self.known.fetch_max(seen, Ordering::SeqCst);
                Ok(())
            }
            // Nobody writes to such a server, and its own log is another's.
            Err(failure) if failure.is_read_only() => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// The last position that is known to be on the disk.
    pub(super) fn known(&self) -> u64 {
        self.known.load(Ordering::SeqCst)
    }

    /// Forgets what was known: the log was put back to an earlier state.
    pub(super) fn forget(&self) {
        self.known.store(0, Ordering::SeqCst);
        self.seen.store(0, Ordering::SeqCst);
    }
}

/// As many as the migration makes rows.
const SLOTS: u64 = 16;
