//! Writes events, on a connection of its own.
//!
//! Alone, a store sends one statement for a whole batch: an insert at the positions behind the
//! last one that it knows. If somebody else has written, a row stands there already and the whole
//! statement is refused: the primary key of the log is the comparison that proves what the store
//! remembers of all streams. A second writer waits for the first one's row until its transaction
//! ends, so positions are committed in their order and without holes, and whoever reads the log
//! behind a position misses nothing.
//!
//! What the fast way refuses, or cannot decide, is decided under a lock (see `turn`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_core::StreamId;
use chat_core::ports::{Append, AppendResult, Expected, StoreError};
use sqlx::{Connection as _, MySqlConnection};

use super::connection::{ASK_AFTER, Connector, Session, Values, limited};
use super::error::{Cause, Failure, Step, is_of_one};
use super::flush::Flushed;
use super::heads::Memory;
use super::insert::{Inserter, pieces};
use super::lookup::{self, corrupt};
use super::plan::plan;
use super::rows::{name, number, number_or_zero};
use super::sql::Sql;

/// The writing connection with what is remembered of the database.
#[derive(Debug)]
pub(super) struct Writer {
    connector: Connector,
    pub(super) sql: Arc<Sql>,
    pub(super) memory: Memory,
    pub(super) inserter: Inserter,
    pub(super) packet_limit: usize,
    pub(super) lock_timeout: Duration,
    pub(super) pace: Pace,
    flushed: Arc<Flushed>,
    connection: Option<MySqlConnection>,
    used: Instant,
}

/// How many others write, as far as it was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// None: insert behind the position that is remembered.
    Alone,
    /// Some: look at what is new first. The number counts batches that found nothing new.
    Shared(u32),
    /// Many: go under the lock at once, for this many batches.
    Crowded(u32),
}

/// What came of the fast way.
enum Fast {
    Done(Vec<AppendResult>),
    /// The insert was refused.
    Refused,
    /// Not everything can be decided without the lock.
    Undecided,
}

impl Writer {
    pub(super) fn new(
        connector: Connector,
        sql: Arc<Sql>,
        flushed: Arc<Flushed>,
        lock_timeout: Duration,
    ) -> Self {
        Self {
            connector,
            inserter: Inserter::new(Arc::clone(&sql)),
            sql,
            memory: Memory::new(),
            packet_limit: 0,
            lock_timeout,
            pace: Pace::Alone,
            flushed,
            connection: None,
            used: Instant::now(),
        }
    }

    /// Carries out appends in order and answers each.
    pub(super) async fn append(&mut self, appends: &[Append]) -> Vec<AppendResult> {
        let error = match self.together(appends).await {
            Ok(answers) => return answers,
            Err(error) => error,
        };
        if appends.len() == 1 || !is_of_one(&error) {
            return vec![Err(error); appends.len()];
        }
        // One of them is at fault: each goes alone, so that the others do not suffer.
        let mut answers = Vec::with_capacity(appends.len());
        for append in appends {
            answers.push(match self.together(std::slice::from_ref(append)).await {
                Ok(mut answer) => answer.pop().unwrap_or_else(|| Err(unanswered())),
                Err(error) => Err(error),
            });
        }
        answers
    }

    pub(super) async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            // The server notices anyway.
            drop(limited(CLOSING, Step::Read, connection.close()).await);
        }
    }

    async fn together(&mut self, appends: &[Append]) -> Result<Vec<AppendResult>, StoreError> {
        let mut connection = self.connected().await?;
        let limit = self.connector.statement_timeout;
        let known = self.flushed.known();
        let mut session = Session::new(&mut connection, limit);
        let mut decided = self.decided(&mut session, appends).await;
        if let Ok(answers) = &decided {
            if answers.iter().flatten().any(|answer| !answer.repeat) {
                // What was committed now is behind all that stood there.
                self.flushed.note(self.memory.last.unwrap_or_default());
            } else {
                let repeated = repeated(answers);
                if let Err(failure) = self.flushed.wait(&mut session, repeated, known).await {
                    // Nothing was written, so nothing has happened.
                    decided = Err(failure);
                }
            }
        }
        if decided.is_err() {
            self.memory.forget();
        }
        // A connection that broke or may be in the middle of something is never used again.
        if decided.as_ref().map_or_else(|failure| failure.connected, |_| true) {
            self.connection = Some(connection);
            self.used = Instant::now();
        }
        decided.map_err(StoreError::from)
    }

    async fn decided(
        &mut self,
        session: &mut Session<'_>,
        appends: &[Append],
    ) -> Result<Vec<AppendResult>, Failure> {
        let mut refused = false;
        while !matches!(self.pace, Pace::Crowded(_)) {
            match self.fast(session, appends).await? {
                Fast::Done(answers) => return Ok(answers),
                Fast::Undecided => break,
                Fast::Refused if refused => {
                    self.pace = Pace::Crowded(CROWDED_BATCHES);
                }
                Fast::Refused => {
                    refused = true;
                    self.pace = Pace::Shared(0);
                }
            }
        }
        let answers = self.in_turn(session, appends).await?;
        if let Pace::Crowded(left) = self.pace {
            self.pace = match left.checked_sub(1) {
                Some(left) => Pace::Crowded(left),
                None => Pace::Shared(0),
            };
        }
        Ok(answers)
    }

    async fn fast(
        &mut self,
        session: &mut Session<'_>,
        appends: &[Append],
    ) -> Result<Fast, Failure> {
        self.look_at_the_end(session).await?;
        self.learn_heads(session, appends, Assume::NewStreamsAreNew).await?;
        let Some(plan) = plan(appends, &mut self.memory, None) else { return Ok(Fast::Undecided) };
        let mut pieces = pieces(&plan.rows, self.packet_limit);
        let (Some(rows), None) = (pieces.next(), pieces.next()) else {
            return Ok(Fast::Undecided);
        };
        match self.inserter.insert(session, rows, Step::Commit).await {
            Ok(()) => {
                plan.keep(&mut self.memory);
                Ok(Fast::Done(plan.answers))
            }
            Err(failure) if failure.cause == Cause::Other => Err(failure),
            Err(_) => Ok(Fast::Refused),
        }
    }

    /// Asks for the end of the log if it is not known, or if others write. Before the heads of
    /// streams are asked for: if the insert then proves that nothing was added behind the end,
    /// the heads are right too.
    async fn look_at_the_end(&mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        match (self.pace, self.memory.last) {
            (Pace::Alone, Some(_)) => {}
            (_, None) => {
                let rows = session.rows(&self.sql.log_head, Values::new(), Step::Read).await?;
                let last = number_or_zero(rows.first(), 0, "position");
                self.memory.last = Some(last.map_err(|what| corrupt("the log", what))?);
            }
            (_, Some(last)) => {
                let found = self.follow(session, last).await?;
                self.pace = match self.pace {
                    Pace::Shared(quiet) if !found && quiet >= QUIET_BATCHES => Pace::Alone,
                    Pace::Shared(quiet) if !found => Pace::Shared(quiet + 1),
                    Pace::Shared(_) => Pace::Shared(0),
                    pace => pace,
                };
            }
        }
        Ok(())
    }

    /// Reads what others have written since, so that the memory is right again. Says whether there
    /// was anything.
    pub(super) async fn follow(
        &mut self,
        session: &mut Session<'_>,
        last: u64,
    ) -> Result<bool, Failure> {
        let since = Values::new().with(last).with(FOLLOWED_EVENTS + 1);
        let rows = session.rows(&self.sql.log_since, since, Step::Read).await?;
        let many = u64::try_from(rows.len()).unwrap_or(u64::MAX) > FOLLOWED_EVENTS;
        let dense = rows.iter().zip(last + 1..).all(|(row, expected)| {
            number(row, 0, "position").is_ok_and(|position: u64| position == expected)
        });
        if many || !dense {
            // Asking for the heads that are needed is cheaper; and what a look left out (see
            // `dense`) must be among them.
            self.memory.forget();
            let rows = session.rows(&self.sql.log_head, Values::new(), Step::Read).await?;
            let last = number_or_zero(rows.first(), 0, "position");
            self.memory.last = Some(last.map_err(|what| corrupt("the log", what))?);
            return Ok(true);
        }
        for row in &rows {
            let read =
                || Ok((number(row, 0, "position")?, name(row, 1)?, number(row, 2, "version")?));
            let (position, stream, version) = read().map_err(|what| corrupt("the log", what))?;
            self.memory.heads.put(&stream, version);
            self.memory.last = Some(position);
        }
        Ok(!rows.is_empty())
    }

    /// Asks for the heads of streams that are not remembered.
    pub(super) async fn learn_heads(
        &mut self,
        session: &mut Session<'_>,
        appends: &[Append],
        assume: Assume,
    ) -> Result<(), Failure> {
        let memory = &mut self.memory;
        let mut unknown: Vec<&StreamId> = Vec::new();
        for append in appends {
            for write in append.writes() {
                let assumed = assume == Assume::NewStreamsAreNew && is_new(write.expected);
                if !assumed && memory.heads.get(&write.stream).is_none() {
                    unknown.push(&write.stream);
                }
            }
            for guard in append.guards() {
                if memory.heads.get(&guard.stream).is_none() {
                    unknown.push(&guard.stream);
                }
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        unknown.sort_unstable();
        unknown.dedup();
        let heads = lookup::heads(session, &self.sql, &unknown, Step::Read).await?;
        for stream in unknown {
            memory.heads.put(stream, heads.get(stream).copied().unwrap_or_default());
        }
        Ok(())
    }

    /// The connection, made anew if it broke. What is remembered belongs to it: behind a broken
    /// connection the server may have lost something.
    async fn connected(&mut self) -> Result<MySqlConnection, StoreError> {
        if let Some(mut connection) = self.connection.take() {
            let fresh = self.used.elapsed() < ASK_AFTER;
            if fresh || limited(PATIENCE, Step::Open, connection.ping()).await.is_ok() {
                return Ok(connection);
            }
        }
        self.memory.forget();
        let mut connection = self.connector.connect().await?;
        let limit = self.connector.statement_timeout;
        self.packet_limit = Session::new(&mut connection, limit).packet_limit().await?;
        Ok(connection)
    }
}

/// What a look at the heads may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assume {
    /// A stream that is expected not to exist: its first version can be inserted only if so.
    NewStreamsAreNew,
    Nothing,
}

/// The last place that was answered as a repeat; zero if there is none.
fn repeated(answers: &[AppendResult]) -> u64 {
    let repeats = answers.iter().flatten().filter(|answer| answer.repeat);
    let places = repeats.flat_map(|answer| &answer.streams).map(|stream| stream.position.0);
    places.max().unwrap_or_default()
}

fn is_new(expected: Expected) -> bool {
    matches!(expected, Expected::NoStream | Expected::Exactly(chat_core::Version::ZERO))
}

fn unanswered() -> StoreError {
    StoreError::Bug { what: "an append was not answered".into() }
}

const PATIENCE: Duration = Duration::from_secs(5);
const CLOSING: Duration = Duration::from_secs(2);
const QUIET_BATCHES: u32 = 16;
const CROWDED_BATCHES: u32 = 32;
const FOLLOWED_EVENTS: u64 = 2_048;
