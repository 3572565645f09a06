//! Brings the tables of one namespace up to date when a store is opened.

use chat_core::Namespace;
use chat_core::ports::StoreError;
use rusqlite::{Connection, TransactionBehavior};

use super::error::{Step, store_error};
use super::sql::{Sql, with_namespace};

/// Makes what is missing. Safe when several processes start at once: one of them does it, under
/// the write lock, and the others find it done.
pub(super) fn migrate(
    connection: &mut Connection,
    namespace: &Namespace,
    sql: &Sql,
) -> Result<(), StoreError> {
    if version(connection, namespace)? == SUPPORTED {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| store_error(error, Step::Open))?;
    // Somebody else may have done it before the lock was ours.
    let found = version(&transaction, namespace)?;
    apply(&transaction, namespace, sql, found).map_err(|error| store_error(error, Step::Open))?;
    transaction.commit().map_err(|error| store_error(error, Step::Commit))
}

/// Refuses a file that a newer release has changed, or that has no tables yet.
pub(super) fn check(connection: &Connection, namespace: &Namespace) -> Result<(), StoreError> {
    let found = version(connection, namespace)?;
    if found < SUPPORTED {
        let what = format!(
            "the tables of namespace {namespace} have version {found}, {SUPPORTED} is needed, \
             and a read-only store does not change them"
        );
        return Err(StoreError::ReadOnly { what });
    }
    Ok(())
}

/// The version of the tables; zero if there are none.
fn version(connection: &Connection, namespace: &Namespace) -> Result<u64, StoreError> {
    let read = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0));
    let tables = format!(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '{namespace}_migrations'"
    );
    let newest = format!("SELECT coalesce(max(version), 0) FROM {namespace}_migrations");
    let found = read(&tables)
        .and_then(|tables| if tables == 0 { Ok(0) } else { read(&newest) })
        .map_err(|error| store_error(error, Step::Open))?;
    let found = u64::try_from(found).map_err(|_| StoreError::Corrupt {
        place: format!("{namespace}_migrations"),
        what: format!("version {found}"),
    })?;
    if found > SUPPORTED {
        return Err(StoreError::NewerSchema { found, supported: SUPPORTED });
    }
    Ok(found)
}

fn apply(
    connection: &Connection,
    namespace: &Namespace,
    sql: &Sql,
    found: u64,
) -> Result<(), rusqlite::Error> {
    connection.execute_batch(&with_namespace(MIGRATIONS_TABLE, namespace))?;
    let note = format!("INSERT INTO {namespace}_migrations (version, name) VALUES (?1, ?2)");
    for (version, (name, text)) in (1_i64..).zip(MIGRATIONS) {
        if u64::try_from(version).is_ok_and(|version| version > found) {
            connection.execute_batch(&with_namespace(text, namespace))?;
            connection.execute(&note, (version, name))?;
        }
    }
    if found == 0 {
        connection.execute(&sql.meta_put, (EPOCH, uuid::Uuid::new_v4().to_string()))?;
    }
    Ok(())
}

/// The key of the epoch in the table of odds and ends.
pub(super) const EPOCH: &str = "epoch";

const MIGRATIONS_TABLE: &str = include_str!("sql/migrations_table.sql");

/// In order; the first has version 1. Once released, a file is never changed.
const MIGRATIONS: [(&str, &str); 2] = [
    ("tables", include_str!("migrations/0001_tables.sql")),
    ("readable", include_str!("migrations/0002_readable.sql")),
];

const SUPPORTED: u64 = MIGRATIONS.len() as u64;
