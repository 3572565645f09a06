//! Opens connections: pragmas, patience with other processes, and what is refused at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chat_core::ports::StoreError;
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use super::config::{SqliteConfig, SqliteDurability};
use super::error::{Step, store_error};

/// Opens the connection that writes, in WAL mode.
pub(super) fn open_writer(config: &SqliteConfig) -> Result<(Connection, Hurry), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = open(&config.path, flags)?;
    // Where the permissions allow no writing, SQLite opens the file for reading only.
    if connection.is_readonly(MAIN_DB).map_err(at_open)? {
        let what = format!("{} may be read but not written", config.path.display());
        return Err(StoreError::ReadOnly { what });
    }
    let hurry = patient(&mut connection, config.busy_timeout)?;
    use_wal(&connection, &config.path, config.busy_timeout)?;
    durable(&connection, config.durability)?;
    let pragma = |name: &str, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(at_open)
    };
    pragma("cache_size", &-WRITER_CACHE_KIB)?;
    pragma("temp_store", &"MEMORY")?;
    if let Some(pages) = config.max_pages {
        pragma("max_page_count", &pages)?;
    }
    // The log is cut back to this after one long read has made it grow, but no further: writing
    // over old pages is twice as fast as making the file longer.
    pragma("journal_size_limit", &WAL_BYTES_KEPT)?;
    Ok((connection, hurry))
}

/// Opens a connection that copies the log into the file.
pub(super) fn open_checkpointer(config: &SqliteConfig) -> Result<Connection, StoreError> {
    let connection = open(&config.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    durable(&connection, config.durability)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(at_open)?;
    Ok(connection)
}

/// Makes the connection's commits survive what they are asked to survive.
pub(super) fn durable(
    connection: &Connection,
    durability: SqliteDurability,
) -> Result<(), StoreError> {
    let synchronous = match durability {
        SqliteDurability::Full => "FULL",
        SqliteDurability::Normal => "NORMAL",
    };
    let full = durability == SqliteDurability::Full;
    let pragma = |name: &str, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(at_open)
    };
    pragma("synchronous", &synchronous)?;
    // On Apple's systems an ordinary fsync does not reach the disk.
    pragma("fullfsync", &full)?;
    pragma("checkpoint_fullfsync", &true)
}

/// Opens a connection that reads.
pub(super) fn open_reader(config: &SqliteConfig) -> Result<Connection, StoreError> {
    let mut connection = open(&config.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    patient(&mut connection, config.busy_timeout)?;
    let pragma = |name: &str, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(at_open)
    };
    pragma("query_only", &true)?;
    pragma("cache_size", &-READER_CACHE_KIB)?;
    pragma("temp_store", &"MEMORY")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Opens the connection to the file of the signals. What a crash of the machine takes away of it
/// need not be waited for, but the file stays whole.
pub(super) fn open_signals(config: &SqliteConfig) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut path = config.path.clone().into_os_string();
    path.push(SIGNALS);
    let path = PathBuf::from(path);
    let mut connection = open(&path, flags)?;
    patient(&mut connection, config.busy_timeout)?;
    use_wal(&connection, &path, config.busy_timeout)?;
    durable(&connection, SqliteDurability::Normal)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| {
            match store_error(error, Step::Open) {
                StoreError::Unavailable { source, .. } => {
                    let what = format!("cannot open {}", path.display());
                    StoreError::Unavailable { what, source }
                }
                other => other,
            }
        })?;
    Ok(connection)
}

/// Switches the file to WAL, unless it is there already.
fn use_wal(connection: &Connection, path: &Path, timeout: Duration) -> Result<(), StoreError> {
    let query = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, String>(0));
    let encoding = query("PRAGMA encoding").map_err(at_open)?;
    if encoding != "UTF-8" {
        // Keys of views sort by their bytes in UTF-8.
        let path = path.display();
        let what = format!("{path} is encoded in {encoding}; only UTF-8 is supported");
        return Err(StoreError::Invalid { what });
    }
    // While another process makes the same switch SQLite answers "busy" at once, without asking
    // the busy handler, lest two that hold a read lock wait for each other.
    let mut patience = Patience::new(timeout);
    let mode = loop {
        let tried = query("PRAGMA journal_mode").and_then(|mode| {
            if mode == "wal" { Ok(mode) } else { query("PRAGMA journal_mode=WAL") }
        });
        match tried.map_err(at_open) {
            Err(StoreError::Unavailable { .. }) if patience.wait() => {}
            Err(error) => return Err(error),
            Ok(mode) => break mode,
        }
    };
    if mode != "wal" {
        let path = path.display();
        let what = format!("{path} cannot use a write-ahead log, its journal mode stays {mode}");
        return Err(StoreError::Invalid { what });
    }
    Ok(())
}

/// Lets a connection wait for locks that others hold.
fn patient(connection: &mut Connection, timeout: Duration) -> Result<Hurry, StoreError> {
    let hurry = Hurry::default();
    let in_a_hurry = Arc::clone(&hurry.0);
    let mut patience = Patience::new(timeout);
    let handler = move |tries| {
        if tries == 0 {
            let now = if in_a_hurry.load(Ordering::Relaxed) { SHORT_WAIT } else { timeout };
            patience.restart(now.min(timeout));
        }
        patience.wait()
    };
    connection.busy_handler(Some(handler)).map_err(at_open)?;
    Ok(hurry)
}

/// Lets a connection wait shorter for a while.
#[derive(Debug, Default)]
pub(super) struct Hurry(Arc<AtomicBool>);

impl Hurry {
    /// Does something that must not wait for long.
    pub(super) fn during(&self, work: impl FnOnce()) {
        self.0.store(true, Ordering::Relaxed);
        work();
        self.0.store(false, Ordering::Relaxed);
    }
}

fn at_open(error: rusqlite::Error) -> StoreError {
    store_error(error, Step::Open)
}

/// Waits between tries: short at first, then longer, each by chance, so that processes that were
/// refused together do not come back together.
#[derive(Debug)]
struct Patience {
    since: Instant,
    timeout: Duration,
    longest: u64,
    random: u64,
}

impl Patience {
    fn new(timeout: Duration) -> Self {
        let random = uuid::Uuid::new_v4().as_u64_pair().0 | 1;
        Self { since: Instant::now(), timeout, longest: FIRST_WAIT_MICROS, random }
    }

    fn restart(&mut self, timeout: Duration) {
        self.since = Instant::now();
        self.timeout = timeout;
        self.longest = FIRST_WAIT_MICROS;
    }

    /// Waits a little, or says that the time is up.
    fn wait(&mut self) -> bool {
        if self.since.elapsed() >= self.timeout {
            return false;
        }
        // Xorshift (Marsaglia 2003); quality does not matter here.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let micros = self.longest / 4 + self.random % self.longest;
        self.longest = (self.longest * 2).min(LONGEST_WAIT_MICROS);
        #[expect(
            clippy::disallowed_methods,
            reason = "file locks of other processes wake nobody; they can only be tried again"
        )]
        std::thread::sleep(Duration::from_micros(micros));
        true
    }
}

const FIRST_WAIT_MICROS: u64 = 100;
const LONGEST_WAIT_MICROS: u64 = 5_000;
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// What the signals' file is called behind the name of the database.
const SIGNALS: &str = "-signals";

const WAL_BYTES_KEPT: i64 = 128 << 20;
const WRITER_CACHE_KIB: i64 = 32 << 10;
const READER_CACHE_KIB: i64 = 8 << 10;
