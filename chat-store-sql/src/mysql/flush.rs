//! Reads nothing that a crash of the server could still take back.
//!
//! Without a binary log InnoDB shows a commit to others a moment before its log is on the disk. An
//! event that is read in that moment, handed on, and then lost with the server would leave its
//! place to another event, which its readers would never see. So a reader that meets events behind
//! the last place that is known to be on the disk commits a small change of its own first: the
//! log is written in order, so that when this commit is answered, all that was seen before it is
//! on the disk too. A process that reads what it wrote itself knows that already, and pays a question
//! to the server at most.
//!
//! What is learned of one run of the server is not true of what was seen in the run before. So a
//! reader trusts what was known before it began to read, and what others learned since only if its
//! own connection still stands behind that, by which it is the same run of the server (unless a proxy
//! answers in its place).

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
    known: AtomicU64,
    /// Changes that were begun, and the last of them that was answered.
    begun: AtomicU64,
    done: AtomicU64,
    turn: Mutex<()>,
    sql: Arc<str>,
}

impl Flushed {
    pub(super) fn new(shows_early: bool, sql: Arc<str>) -> Self {
        Self {
            shows_early,
            slot: Uuid::new_v4().as_u64_pair().1 % SLOTS,
            known: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            turn: Mutex::new(()),
            sql,
        }
    }

    /// Notes that a commit of this process was answered, which was behind everything up to here.
    pub(super) fn note(&self, position: u64) {
        self.known.fetch_max(position, Ordering::SeqCst);
    }

    /// The last position that is known to be on the disk.
    pub(super) fn known(&self) -> u64 {
        self.known.load(Ordering::SeqCst)
    }

    /// Whether an event that was seen may be lost in a crash, by what was [known](Self::known)
    /// before it was read.
    pub(super) fn may_be_lost(&self, position: u64, known: u64) -> bool {
        self.shows_early && position > known
    }

    /// Waits until everything up to a position is on the disk. The position was read on this
    /// connection, and `known` is what was [known](Self::known) before that. Those who come
    /// together go together.
    pub(super) async fn wait(
        &self,
        session: &mut Session<'_>,
        position: u64,
        known: u64,
    ) -> Result<(), Failure> {
        if !self.may_be_lost(position, known) {
            return Ok(());
        }
        let begun = self.begun.load(Ordering::SeqCst);
        if position > self.known() {
            let _turn = self.turn.lock().await;
            let others = position <= self.known() || self.done.load(Ordering::SeqCst) > begun;
            if !others {
                return self.flush(session, position).await;
            }
        }
        // Others made sure. If this connection still stands, the server has not restarted between
        // the reading and that.
        session.ping(Step::Read).await?;
        self.note(position);
        Ok(())
    }

    async fn flush(&self, session: &mut Session<'_>, position: u64) -> Result<(), Failure> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let values = Values::new().with(self.slot);
        match session.execute(&self.sql, values, Step::Write).await {
            Ok(()) => {
                self.done.store(number, Ordering::SeqCst);
                self.note(position);
                Ok(())
            }
            // This user cannot have the log written; where nobody can, it is another server's.
            Err(failure) if failure.is_read_only() => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Forgets what was known: the log was put back to an earlier state.
    pub(super) fn forget(&self) {
        self.known.store(0, Ordering::SeqCst);
    }
}

/// As many as the migration makes rows.
const SLOTS: u64 = 16;
