//! Decides appends under a lock: exactly, whatever others do meanwhile.
//!
//! The transaction first locks the one row that all who come this way lock, and then the end of
//! the log, by a locking read at the isolation level REPEATABLE READ: the gap behind the last row
//! is locked too, so that no fast insert can come in between. Then it looks at what is needed,
//! decides, inserts and commits.
//!
//! A fast insert that is under way holds its own rows and may want more of the gap, while this
//! transaction holds the gap and waits for those rows. The server ends one of the two as a
//! deadlock; either comes again.

use std::time::{Duration, Instant};

use chat_core::EventId;
use chat_core::ports::{Append, AppendResult};

use super::connection::Session;
use super::error::{Cause, Failure, Step};
use super::insert::pieces;
use super::lookup::{self, corrupt};
use super::plan::{StoredIds, plan};
use super::rows::number_or_zero;
use super::writer::{Assume, Writer};

/// Whether to look up all ids of the batch, which is needed only if some are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    Trust,
    LookUp,
}

impl Writer {
    /// Carries out appends, again and again while others are in the way and there is time.
    pub(super) async fn in_turn(
        &mut self,
        session: &mut Session<'_>,
        appends: &[Append],
    ) -> Result<Vec<AppendResult>, Failure> {
        let start = Instant::now();
        let mut ids = Ids::Trust;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let mut failure = match self.transaction(session, appends, ids).await {
                Ok(answers) => return Ok(answers),
                Err(failure) => failure,
            };
            self.memory.forget();
            if failure.connected {
                failure.connected = session.raw("ROLLBACK", Step::Write).await.is_ok();
            }
            match failure.cause {
                _ if !failure.connected => return Err(failure),
                Cause::Duplicate if ids == Ids::Trust => ids = Ids::LookUp,
                Cause::Contended if start.elapsed() < self.lock_timeout => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                _ => return Err(failure),
            }
        }
    }

    async fn transaction(
        &mut self,
        session: &mut Session<'_>,
        appends: &[Append],
        ids: Ids,
    ) -> Result<Vec<AppendResult>, Failure> {
        self.take_turn(session).await?;
        self.learn_heads(session, appends, Assume::Nothing).await?;
        let mut stored = None;
        if ids == Ids::LookUp {
            stored = Some(self.look_up(session, appends).await?);
        }
        let mut decided = plan(appends, &mut self.memory, stored.as_ref());
        if decided.is_none() {
            stored = Some(self.look_up(session, appends).await?);
            decided = plan(appends, &mut self.memory, stored.as_ref());
        }
        let plan = decided.ok_or_else(|| corrupt("a plan", "it cannot be made".into()))?;
        for rows in pieces(&plan.rows, self.packet_limit) {
            self.inserter.insert(session, rows, Step::Write).await?;
        }
        session.raw("COMMIT", Step::Commit).await?;
        plan.keep(&mut self.memory);
        Ok(plan.answers)
    }

    /// Begins the transaction and locks; then what is remembered is brought up to date.
    async fn take_turn(&mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        let rows = session.raw(self.sql.take_turn.clone(), Step::Write).await?;
        // The first row is the lock itself; the second is missing while the log is empty.
        let last = number_or_zero(rows.get(1), 0, "position");
        let last = last.map_err(|what| corrupt("the log", what))?;
        match self.memory.last {
            Some(known) if known == last => {}
            Some(known) if known < last => {
                self.follow(session, known).await?;
            }
            _ => {
                self.memory.forget();
                self.memory.last = Some(last);
            }
        }
        Ok(())
    }

    async fn look_up(
        &mut self,
        session: &mut Session<'_>,
        appends: &[Append],
    ) -> Result<StoredIds, Failure> {
        let events = appends.iter().flat_map(Append::writes).flat_map(|write| &write.events);
        let ids: Vec<EventId> = events.map(|event| event.id).collect();
        lookup::ids(session, &self.sql.find_ids, &ids, Step::Read).await
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
