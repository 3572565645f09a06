//! Writing inside the host's own transaction.
//!
//! The way is that of `turn`, with locking reads throughout: the host's transaction may have begun
//! its look at the database long ago.

use chat_core::ports::{
    Append, AppendResult, BusError, EventStore as _, LOG_TOPIC, Signal, SignalBody, StoreError,
};
use chat_core::{StreamId, Topic, Version};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, Transaction};

use super::bus;
use super::connection::{Session, Values};
use super::error::{Cause, Failure, Step};
use super::heads::Memory;
use super::insert::{Inserter, pieces};
use super::lookup::{self, corrupt};
use super::plan::plan;
use super::rows::number_or_zero;
use super::store::MysqlStore;

impl MysqlStore {
    /// Appends inside a transaction of the host on the same database: the events are there if it
    /// is committed, and if it is rolled back there is nothing, and the ids are free.
    ///
    /// The answer is right from the moment on. With the commit those are woken who follow the log,
    /// as after an append of the engine.
    ///
    /// # Locks
    /// From here until its end the transaction keeps everybody else from appending to this
    /// namespace: do this last, and commit soon. Others wait, as long as their configuration
    /// says. At the isolation level REPEATABLE READ, the default, this succeeds at once; at READ
    /// COMMITTED it races others who append, and gives up after a hundred defeats. MariaDB from
    /// 11.6.2 refuses a transaction at REPEATABLE READ that has looked at the database before others
    /// appended (`innodb_snapshot_isolation`): begin it with this call, turn that setting off for
    /// the session, or use READ COMMITTED. A transaction
    /// that locks rows of the host behind this call can end in a deadlock
    /// with one that locks them before it.
    ///
    /// # Errors
    /// As [`EventStore::append`](chat_core::ports::EventStore::append). After a conflict or a
    /// reused id the transaction is as it was, but holds the locks.
    /// [`StoreError::Unavailable`] may mean that the server has rolled the whole transaction back
    /// (a deadlock): begin it again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves events of the append in the transaction or none: roll it back.
    pub async fn append_in(
        &self,
        transaction: &mut Transaction<'_, MySql>,
        append: Append,
    ) -> AppendResult {
        let mut session = self.session(&mut *transaction);
        let last = append.writes().last();
        let last = last.and_then(|write| Some((write.stream.clone(), write.events.last()?.id)));
        let known = self.flushed().known();
        let appended = self.in_host(&mut session, append).await.map_err(StoreError::from)??;
        let position = appended.streams.iter().map(|stream| stream.position.0).max();
        if appended.repeat {
            let in_doubt = self.flushed().may_be_lost(position.unwrap_or_default(), known);
            // The transaction that wrote it may not be on the disk yet, and one that writes nothing
            // does not wait for the disk: a reader does. It finds nothing if that was this same
            // transaction.
            if let (true, Some((stream, id))) = (in_doubt, last) {
                self.find(&stream, id).await?;
            }
        } else {
            let topic = Topic::new(LOG_TOPIC).ok();
            let ring = position.zip(topic).map(|(position, topic)| {
                let body = SignalBody::Ring(Version(position));
                Signal { topic, body }
            });
            let (ring, limit) = (ring.as_slice(), self.packet_limit());
            let rung = bus::add(&mut session, self.sql(), ring, limit, Step::Write).await;
            rung.map_err(StoreError::from)?;
        }
        Ok(appended)
    }

    /// Sends signals when a transaction of the host is committed, and not at all if it is rolled
    /// back.
    ///
    /// # Errors
    /// As [`EventBus::publish`](chat_core::ports::EventBus::publish).
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of the signals in the transaction.
    pub async fn publish_in(
        &self,
        transaction: &mut Transaction<'_, MySql>,
        signals: &[Signal],
    ) -> Result<(), BusError> {
        crate::polling::check(signals)?;
        let mut session = self.session(&mut *transaction);
        let limit = self.packet_limit();
        let added = bus::add(&mut session, self.sql(), signals, limit, Step::Write).await;
        added.map(drop).map_err(|failure| BusError::Unavailable {
            what: "publish in a transaction".into(),
            source: Some(std::sync::Arc::new(failure.error)),
        })
    }

    async fn in_host(
        &self,
        session: &mut Session<'_>,
        append: Append,
    ) -> Result<AppendResult, Failure> {
        let sql = self.sql();
        session.raw(sql.host_turn.clone(), Step::Write).await?;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let memory = self.host_memory(session, &append).await;
            session.raw("SAVEPOINT chat_append", Step::Write).await?;
            let failure = match self.host_insert(session, &append, &mut memory?).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // After a deadlock there is nothing left to go back to.
            let back = session.raw("ROLLBACK TO SAVEPOINT chat_append", Step::Write).await;
            // At READ COMMITTED the end of the log cannot be locked: somebody came in between.
            if failure.cause != Cause::Duplicate || tries == 0 || back.is_err() {
                return Err(failure);
            }
        }
    }

    async fn host_memory(
        &self,
        session: &mut Session<'_>,
        append: &Append,
    ) -> Result<Memory, Failure> {
        let rows = session.raw(self.sql().host_last.clone(), Step::Write).await?;
        let read = |row: Option<&MySqlRow>, name: &str| {
            number_or_zero(row, 0, name).map_err(|what| corrupt("the log", what))
        };
        let mut memory = Memory::new();
        memory.last = Some(read(rows.first(), "position")?);
        let writes = append.writes().iter().map(|write| &write.stream);
        let mut streams: Vec<&StreamId> =
            writes.chain(append.guards().iter().map(|guard| &guard.stream)).collect();
        streams.sort_unstable();
        for stream in streams {
            let name = Values::new().with(stream.as_str().as_bytes());
            let rows = session.rows(&self.sql().host_head, name, Step::Write).await?;
            memory.heads.put(stream, read(rows.first(), "version")?);
        }
        Ok(memory)
    }

    async fn host_insert(
        &self,
        session: &mut Session<'_>,
        append: &Append,
        memory: &mut Memory,
    ) -> Result<AppendResult, Failure> {
        let events = append.writes().iter().flat_map(|write| &write.events);
        let ids: Vec<_> = events.map(|event| event.id).collect();
        let stored = lookup::ids(session, &self.sql().host_ids, &ids, Step::Write).await?;
        let appends = std::slice::from_ref(append);
        let plan = plan(appends, memory, Some(&stored));
        let plan = plan.ok_or_else(|| corrupt("a plan", "it cannot be made".into()))?;
        let mut inserter = Inserter::new(self.shared_sql());
        for rows in pieces(&plan.rows, self.packet_limit()) {
            inserter.insert(session, rows, Step::Write).await?;
        }
        let answer = plan.answers.into_iter().next();
        Ok(answer.unwrap_or_else(|| Err(corrupt("a plan", "it is empty".into()).error)))
    }
}

const TRIES: u32 = 100;
