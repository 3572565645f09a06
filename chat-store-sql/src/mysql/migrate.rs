//! Brings the tables of one namespace up to date when a store connects.
//!
//! These databases commit at every change of a table, so a migration may stop half-way. Each is
//! written so that it can be run again, and is noted only when all of it is done.

use chat_core::Namespace;
use chat_core::ports::StoreError;

use super::config::MysqlMigrate;
use super::connection::{Session, Values};
use super::error::{Failure, Step};
use super::rows::{get, number_or_zero};
use super::sql::{Sql, with_namespace};

/// Makes what is missing. Safe when several processes start at once: one of them does it, under a
/// lock of the server, and the others find it done.
pub(super) async fn migrate(
    session: &mut Session<'_>,
    namespace: &Namespace,
    sql: &Sql,
    allowed: MysqlMigrate,
) -> Result<(), StoreError> {
    let found = version(session, sql).await?;
    if found == SUPPORTED {
        return Ok(());
    }
    if allowed == MysqlMigrate::Never {
        let what = format!(
            "the tables of namespace {namespace} have version {found}, {SUPPORTED} is needed, \
             and this store does not change them"
        );
        return Err(StoreError::Invalid { what });
    }
    lock(session, sql).await?;
    // Somebody else may have done it before the lock was ours.
    let done = match version(session, sql).await {
        Ok(found) => apply(session, namespace, sql, found).await.map_err(StoreError::from),
        Err(error) => Err(error),
    };
    // Should it fail, the connection ends and the lock with it.
    let unlocked = session.raw(sql.migration_unlock.clone(), Step::Open).await;
    done.and(unlocked.map(drop).map_err(StoreError::from))
}

/// Removes the tables of a namespace, the newest migration first.
pub(super) async fn remove(
    session: &mut Session<'_>,
    namespace: &Namespace,
    sql: &Sql,
) -> Result<(), StoreError> {
    lock(session, sql).await?;
    for (version, migration) in (1..=SUPPORTED).rev().zip(MIGRATIONS.iter().rev()) {
        session.raw(with_namespace(migration.down, namespace), Step::Open).await?;
        if version > 1 {
            let forgotten = Values::new().with(version);
            // The table is missing if nothing was ever made, or if this was done before.
            drop(session.execute(&sql.migration_forget, forgotten, Step::Open).await);
        }
    }
    session.raw(format!("DROP TABLE IF EXISTS {namespace}_migrations"), Step::Open).await?;
    session.raw(sql.migration_unlock.clone(), Step::Open).await?;
    Ok(())
}

async fn lock(session: &mut Session<'_>, sql: &Sql) -> Result<(), StoreError> {
    let patience = session.limit.as_secs().clamp(1, 600);
    let rows = session.rows(&sql.migration_lock, Values::new().with(patience), Step::Open).await?;
    match rows.first().map(|row| get::<i64>(row, 0, "lock")) {
        Some(Ok(1)) => Ok(()),
        _ => {
            let what = "another process is changing the tables".into();
            Err(StoreError::Unavailable { what, source: None })
        }
    }
}

/// The version of the tables; zero if there are none.
async fn version(session: &mut Session<'_>, sql: &Sql) -> Result<u64, StoreError> {
    let found = match session.raw(sql.migration_newest.clone(), Step::Open).await {
        Ok(rows) => number_or_zero(rows.first(), 0, "version"),
        // There is no such table.
        Err(Failure { error: StoreError::Corrupt { .. }, .. }) => Ok(0),
        Err(failure) => return Err(failure.into()),
    };
    let corrupt = |what| StoreError::Corrupt { place: "the list of migrations".into(), what };
    let found = found.map_err(corrupt)?;
    if found > SUPPORTED {
        return Err(StoreError::NewerSchema { found, supported: SUPPORTED });
    }
    Ok(found)
}

async fn apply(
    session: &mut Session<'_>,
    namespace: &Namespace,
    sql: &Sql,
    found: u64,
) -> Result<(), Failure> {
    session.raw(sql.migrations_table.clone(), Step::Open).await?;
    for (version, migration) in (1_u64..).zip(&MIGRATIONS) {
        if version <= found {
            continue;
        }
        session.raw(with_namespace(migration.up, namespace), Step::Open).await?;
        if version == 1 {
            let epoch = uuid::Uuid::new_v4().to_string();
            let epoch = Values::new().with(EPOCH).with(epoch);
            session.execute(&sql.meta_keep, epoch, Step::Open).await?;
        }
        let note = Values::new().with(version).with(migration.name);
        session.execute(&sql.migration_note, note, Step::Open).await?;
    }
    Ok(())
}

/// The name of the epoch in the table of odds and ends.
pub(super) const EPOCH: &str = "epoch";

#[derive(Debug)]
struct Migration {
    name: &'static str,
    up: &'static str,
    /// For development: takes back what `up` made.
    down: &'static str,
}

macro_rules! migration {
    ($name:literal, $file:literal) => {
        Migration {
            name: $name,
            up: include_str!(concat!("migrations/", $file, ".sql")),
            down: include_str!(concat!("migrations/", $file, ".down.sql")),
        }
    };
}

/// In order; the first has version 1. Once released, a file is never changed.
const MIGRATIONS: [Migration; 4] = [
    migration!("tables", "0001_tables"),
    migration!("readable", "0002_readable"),
    migration!("signals", "0003_signals"),
    migration!("flushes", "0004_flushes"),
];

const SUPPORTED: u64 = MIGRATIONS.len() as u64;
