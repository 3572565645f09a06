//! Gives the store a new epoch when its newest commits may have gone with the machine.
//!
//! A store that does not wait for the disk leaves a mark with the name of the machine's run in the
//! file, and takes it away when it is closed and everything is on the disk. Whoever finds a mark of
//! another run knows that the machine stopped in between.

use chat_core::ports::StoreError;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::config::{SqliteConfig, SqliteDurability};
use super::connection::durable;
use super::error::{Step, store_error};
use super::migrate::EPOCH;
use super::sql::Sql;

/// The mark of an open store, to be taken away when it is closed.
#[derive(Debug)]
pub(super) struct Mark {
    key: String,
}

impl Mark {
    /// Looks at the marks of others, and leaves one if this store needs it.
    pub(super) fn leave(
        connection: &mut Connection,
        config: &SqliteConfig,
        sql: &Sql,
    ) -> Result<Option<Self>, StoreError> {
        // Where the system does not name its runs, the operator has to tell.
        let Some(run) = run_of_the_machine() else { return Ok(None) };
        let at_open = |error| store_error(error, Step::Open);
        let lost = marks_of_other_runs(connection, sql, &run).map_err(at_open)?;
        let unsafe_to_lose = config.durability == SqliteDurability::Normal;
        if lost.is_empty() && !unsafe_to_lose {
            return Ok(None);
        }
        // The mark itself must not be lost, nor a new epoch.
        durable(connection, SqliteDurability::Full)?;
        let change = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(at_open)?;
        // Another store that was opened at the same time may have seen to it.
        let lost = marks_of_other_runs(&change, sql, &run).map_err(at_open)?;
        let mark = unsafe_to_lose.then(|| Self { key: format!("{UNSYNCED}{}", Uuid::new_v4()) });
        settle(&change, sql, &lost, mark.as_ref(), &run).map_err(at_open)?;
        change.commit().map_err(|error| store_error(error, Step::Commit))?;
        durable(connection, config.durability)?;
        Ok(mark)
    }

    /// Waits until everything is on the disk and takes the mark away.
    pub(super) fn take_away(self, connection: &Connection, sql: &Sql) {
        // Where this fails the mark stays, and the worst that follows is a new epoch.
        if durable(connection, SqliteDurability::Full).is_ok() {
            drop(connection.execute(&sql.meta_delete, (self.key,)));
        }
    }
}

fn settle(
    change: &Transaction<'_>,
    sql: &Sql,
    lost: &[String],
    mark: Option<&Mark>,
    run: &str,
) -> Result<(), rusqlite::Error> {
    if !lost.is_empty() {
        change.execute(&sql.meta_put, (EPOCH, Uuid::new_v4().to_string()))?;
    }
    for key in lost {
        change.execute(&sql.meta_delete, (key,))?;
    }
    if let Some(mark) = mark {
        change.execute(&sql.meta_put, (&mark.key, run))?;
    }
    Ok(())
}

fn marks_of_other_runs(
    connection: &Connection,
    sql: &Sql,
    run: &str,
) -> Result<Vec<String>, rusqlite::Error> {
    let mut marks = connection.prepare(&sql.meta_marks)?;
    let keys = marks.query_map((format!("{UNSYNCED}*"), run), |row| row.get(0))?;
    keys.collect()
}

/// A name that every start of the machine makes anew.
fn run_of_the_machine() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

const UNSYNCED: &str = "unsynced/";
