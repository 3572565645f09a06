//! Appending inside a transaction of the host, so that its own rows and the events are committed
//! together or not at all.

use std::collections::HashSet;

use chat_core::ports::{Append, AppendResult, Appended, LOG_TOPIC, Signal, SignalBody, StoreError};
use chat_core::{Topic, Version};
use sqlx::{Acquire as _, PgTransaction};
use uuid::Uuid;

use super::error::{Class, Step, classify, store_error};
use super::frames::pieces;
use super::store::PostgresStore;
use super::writer::{Stop, decide_and_insert};

impl PostgresStore {
    /// Carries out an append in a transaction of the host, on the same database. It takes effect
    /// with the host's `COMMIT`. After a `ROLLBACK` there is no event, the ids are free, and nobody
    /// was woken.
    ///
    /// The answer says what the append will be if the transaction commits. Where it is refused, the
    /// transaction can go on without it.
    ///
    /// # Locks
    /// From this call until the transaction ends, every other append to the namespace waits, in
    /// all processes: append last and commit at once. A statement of another process that waits
    /// for a row which this transaction has locked cannot be in the way, as the store's own appends
    /// touch no rows of the host. But two transactions of the host that lock the same rows, one
    /// before its append and one behind it, block each other; PostgreSQL then ends one of them with
    /// a deadlock error. So the order is: the host's rows first, then the append.
    ///
    /// # Errors
    /// As [`EventStore::append`](chat_core::ports::EventStore::append), but never
    /// [`StoreError::OutcomeUnknown`]: that is a matter of the host's `COMMIT`.
    /// [`StoreError::Invalid`] if the isolation level is above `READ COMMITTED`, as the host's
    /// snapshot is then older than the lock.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the append done or not done inside the transaction; roll it back.
    ///
    /// # Cost
    /// Five short round trips.
    pub async fn append_in(
        &self,
        transaction: &mut PgTransaction<'_>,
        append: Append,
    ) -> AppendResult {
        let failed = |error| store_error(error, Step::Write);
        // What the database refuses is undone up to here and does not spoil the host's own work.
        let mut savepoint = transaction.begin().await.map_err(failed)?;
        let decided =
            decide_and_insert(&mut savepoint, self.sql(), &[&append], &HashSet::new()).await;
        let no_answer = || StoreError::Bug { what: "an append was not answered".into() };
        let answer = match decided {
            Ok((_, mut answers, _)) => answers.pop().unwrap_or_else(|| Err(no_answer())),
            Err(stop) => Err(refusal(stop)),
        };
        let appended = match answer {
            Ok(appended) => appended,
            Err(error) => {
                // This gives the lock back as well.
                savepoint.rollback().await.map_err(failed)?;
                return Err(error);
            }
        };
        if !appended.repeat {
            // PostgreSQL holds it back until the transaction commits.
            let texts = ring(&appended);
            let notify = sqlx::query(self.sql().notify.clone()).bind(self.channel()).bind(&texts);
            notify.execute(&mut *savepoint).await.map_err(failed)?;
        }
        savepoint.commit().await.map_err(failed)?;
        Ok(appended)
    }
}

fn refusal(stop: Stop) -> StoreError {
    match stop {
        Stop::Stored(error) => error,
        Stop::Driver(error) if classify(&error) == Class::Unknown => {
            // Unknown or not: it goes with the host's transaction.
            StoreError::Unavailable { what: "write to the database".into(), source: None }
        }
        Stop::Driver(error) => store_error(error, Step::Write),
    }
}

/// Wakes those who follow the log, as the engine does after an append of its own.
fn ring(appended: &Appended) -> Vec<String> {
    let last = appended.streams.iter().map(|stream| stream.position.0).max();
    let signal = last
        .zip(Topic::new(LOG_TOPIC).ok())
        .map(|(position, topic)| Signal { topic, body: SignalBody::Ring(Version(position)) });
    pieces(&Uuid::new_v4().simple().to_string(), signal.as_ref())
}
