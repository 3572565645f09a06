//! Brings the tables and functions of one namespace up to date when a store connects.

use chat_core::Namespace;
use chat_core::ports::StoreError;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::config::{PostgresConfig, PostgresMigrate};
use super::connection::Connector;
use super::error::{Step, store_error};
use super::sql::{statement, with_namespace};

/// Makes what is missing, or checks that nothing is. Safe when several processes start at once:
/// one of them does it, under a lock, and the others find it done.
pub(super) async fn migrate(
    connection: &mut PgConnection,
    config: &PostgresConfig,
) -> Result<(), StoreError> {
    let namespace = &config.namespace;
    let found = version(connection, namespace).await?;
    match config.migrate {
        _ if found == SUPPORTED => Ok(()),
        PostgresMigrate::Never => {
            let what = format!(
                "the tables of namespace {namespace} have version {found}, {SUPPORTED} is needed, \
                 and this store is not to change them"
            );
            Err(StoreError::Invalid { what })
        }
        PostgresMigrate::Auto => up(connection, namespace).await,
    }
}

/// Takes away everything of a namespace, **all events included**, by the down migrations. For
/// development and tests.
///
/// # Errors
/// [`StoreError::NewerSchema`] if a newer release has changed the tables, and what the database
/// answers. Nothing is changed then.
///
/// # Cancel safety
/// Dropping the future leaves it done or not done.
pub async fn drop_namespace(config: &PostgresConfig) -> Result<(), StoreError> {
    let mut connection = Connector::new(config).connect().await?;
    let namespace = &config.namespace;
    let mut transaction = connection.begin().await.map_err(in_change)?;
    lock(&mut transaction, namespace).await?;
    let found = version(&mut transaction, namespace).await?;
    for (version, migration) in (1_u64..).zip(&MIGRATIONS).collect::<Vec<_>>().into_iter().rev() {
        if version <= found {
            run(&mut transaction, migration.down, namespace).await?;
        }
    }
    run(&mut transaction, "DROP TABLE IF EXISTS {ns}_migrations", namespace).await?;
    transaction.commit().await.map_err(|error| store_error(error, Step::Commit))
}

async fn up(connection: &mut PgConnection, namespace: &Namespace) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await.map_err(in_change)?;
    lock(&mut transaction, namespace).await?;
    // Somebody else may have done it before the lock was ours.
    let found = version(&mut transaction, namespace).await?;
    run(&mut transaction, MIGRATIONS_TABLE, namespace).await?;
    let note = statement("INSERT INTO {ns}_migrations (version, name) VALUES ($1, $2)", namespace);
    for (version, migration) in (1_u64..).zip(&MIGRATIONS) {
        if version > found {
            run(&mut transaction, migration.up, namespace).await?;
            sqlx::query(note.clone())
                .bind(version.cast_signed())
                .bind(migration.name)
                .execute(&mut *transaction)
                .await
                .map_err(in_change)?;
        }
    }
    transaction.commit().await.map_err(|error| store_error(error, Step::Commit))
}

/// Keeps other processes out until the transaction ends.
async fn lock(connection: &mut PgConnection, namespace: &Namespace) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("{namespace}_migrations"))
        .execute(connection)
        .await
        .map_err(in_change)?;
    Ok(())
}

/// The version of the tables; zero if there are none.
async fn version(connection: &mut PgConnection, namespace: &Namespace) -> Result<u64, StoreError> {
    let there: bool = sqlx::query_scalar(MIGRATIONS_THERE)
        .bind(format!("{namespace}_migrations"))
        .fetch_one(&mut *connection)
        .await
        .map_err(in_change)?;
    if !there {
        return Ok(0);
    }
    let found: i64 = sqlx::query_scalar(statement(MIGRATIONS_VERSION, namespace))
        .fetch_one(connection)
        .await
        .map_err(in_change)?;
    let found = u64::try_from(found).map_err(|_| StoreError::Corrupt {
        place: format!("{namespace}_migrations"),
        what: format!("version {found}"),
    })?;
    if found > SUPPORTED {
        return Err(StoreError::NewerSchema { found, supported: SUPPORTED });
    }
    Ok(found)
}

/// Runs statements that are written down in this crate.
async fn run(
    connection: &mut PgConnection,
    text: &str,
    namespace: &Namespace,
) -> Result<(), StoreError> {
    let text = AssertSqlSafe(with_namespace(text, namespace));
    sqlx::raw_sql(text).execute(connection).await.map_err(in_change)?;
    Ok(())
}

fn in_change(error: sqlx::Error) -> StoreError {
    store_error(error, Step::Connect)
}

struct Migration {
    name: &'static str,
    up: &'static str,
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
    migration!("appending", "0002_appending"),
    migration!("views", "0003_views"),
    migration!("readable", "0004_readable"),
];

const SUPPORTED: u64 = MIGRATIONS.len() as u64;
const MIGRATIONS_THERE: &str = include_str!("sql/migrations_there.sql");
const MIGRATIONS_TABLE: &str = include_str!("sql/migrations_table.sql");
const MIGRATIONS_VERSION: &str = include_str!("sql/migrations_version.sql");
