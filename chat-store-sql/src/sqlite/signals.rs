//! The table of signals, in a file beside the database.
//!
//! It is another file because a signal need not survive a crash: a commit in the database waits for
//! the disk and for the one who is writing there, and its rows would be in every backup.

use std::sync::Arc;

use chat_core::ports::{Signal, SignalBody, StoreError};
use chat_core::{Json, Topic, Version};
use rusqlite::{Connection, Row, Rows, TransactionBehavior};

use super::config::SqliteConfig;
use super::connection::open_signals;
use super::error::{Step, store_error};
use super::rows::{bound, count, in_read, number, text};
use super::sql::Sql;

/// The connection to the file.
#[derive(Debug)]
pub(super) struct Signals {
    connection: Connection,
    sql: Arc<Sql>,
}

impl Signals {
    /// Opens the file; makes it and its table if they are missing.
    pub(super) fn open(config: &SqliteConfig, sql: &Arc<Sql>) -> Result<Self, StoreError> {
        let connection = open_signals(config)?;
        let made = connection.execute_batch(&sql.signals_table);
        made.map_err(|error| store_error(error, Step::Open))?;
        Ok(Self { connection, sql: Arc::clone(sql) })
    }

    /// Adds signals in one transaction; the last one's id.
    pub(super) fn add(&mut self, signals: &[Signal]) -> Result<Option<u64>, StoreError> {
        let in_write = |error| store_error(error, Step::Write);
        let adding = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let adding = adding.map_err(in_write)?;
        {
            let mut add = adding.prepare_cached(&self.sql.signal_add).map_err(in_write)?;
            for Signal { topic, body } in signals {
                let (ring, body) = match body {
                    SignalBody::Ring(version) => (Some(version.0.cast_signed()), None),
                    SignalBody::Ephemeral(json) => (None, Some(json.as_str())),
                    other => {
                        let what = format!("a signal of an unknown kind: {other:?}");
                        return Err(StoreError::Bug { what });
                    }
                };
                add.execute((topic.as_str(), ring, body)).map_err(in_write)?;
            }
        }
        let last = u64::try_from(adding.last_insert_rowid()).ok();
        adding.commit().map_err(|error| store_error(error, Step::Commit))?;
        Ok(last)
    }

    /// The greatest id.
    pub(super) fn last(&mut self) -> Result<u64, StoreError> {
        let mut last = self.connection.prepare_cached(&self.sql.signals_last).map_err(in_read)?;
        let last: i64 = last.query_row((), |row| row.get(0)).map_err(in_read)?;
        Ok(last.unsigned_abs())
    }

    /// The signals behind an id.
    pub(super) fn after(
        &mut self,
        id: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Signal)>, StoreError> {
        let sql = &self.sql.signals_after;
        let mut after = self.connection.prepare_cached(sql).map_err(in_read)?;
        read(after.query((bound(id), count(limit))).map_err(in_read)?)
    }

    /// The signals of some ids.
    pub(super) fn among(&mut self, ids: &[u64]) -> Result<Vec<(u64, Signal)>, StoreError> {
        let mut get = self.connection.prepare_cached(&self.sql.signal_get).map_err(in_read)?;
        let mut found = Vec::new();
        for id in ids {
            found.extend(read(get.query((bound(*id),)).map_err(in_read)?)?);
        }
        Ok(found)
    }

    /// Removes the signals up to an id.
    pub(super) fn prune(&mut self, id: u64) -> Result<(), StoreError> {
        let pruned = self.connection.execute(&self.sql.signals_prune, (bound(id),));
        pruned.map(drop).map_err(|error| store_error(error, Step::Write))
    }
}

fn read(mut rows: Rows<'_>) -> Result<Vec<(u64, Signal)>, StoreError> {
    let mut signals = Vec::new();
    while let Some(row) = rows.next().map_err(in_read)? {
        let corrupt = |what| StoreError::Corrupt { place: "the signals".into(), what };
        signals.push(signal(row).map_err(corrupt)?);
    }
    Ok(signals)
}

fn signal(row: &Row<'_>) -> Result<(u64, Signal), String> {
    let id = number(row, 0, "id")?;
    let topic = Topic::new(text(row, 1, "topic")?).map_err(|error| error.to_string())?;
    let ring: Option<i64> = row.get(2).map_err(|error| format!("the ring: {error}"))?;
    let body = match ring {
        Some(version) => SignalBody::Ring(Version(version.cast_unsigned())),
        None => SignalBody::Ephemeral(Json::from_text(text(row, 3, "body")?)),
    };
    Ok((id, Signal { topic, body }))
}
