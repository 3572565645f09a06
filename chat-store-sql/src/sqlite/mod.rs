//! Chats in one SQLite file.
//!
//! One thread writes: it takes all appends and view batches that wait and commits them together.
//! A few threads read beside it, each on its own connection, and one copies the write-ahead log
//! into the file. No database work runs on the async runtime. Several processes may use one file at
//! the same time, on one machine; a network file system is not the place for it.
//!
//! The tables carry the namespace as a prefix (`chat_events`, `chat_streams`, …). Payloads are the
//! JSON text as it was appended, for `json_extract` to look into, and three SQL views show what
//! is stored as plain rows: `chat_history` (every event), `chat_chats` and `chat_messages`.
//!
//! Processes on one file wake each other through a second file, `FILE-signals`: rows of a table there,
//! which each process with a subscriber looks at every five milliseconds. It is made when the bus is
//! first used, holds nothing that must last, and may be removed while nobody uses it.
//!
//! A backup of a file in use is made with `VACUUM INTO` or the `.backup` command of the `sqlite3`
//! program, not by copying it. After a backup was put back, call [`SqliteStore::renew_epoch`].
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use chat_store_sql::sqlite::{SqliteConfig, SqliteStore};
//!
//! let store = SqliteStore::open(SqliteConfig::new("chat.db")).await?;
//! let events = store.events(); // for the engine
//! let (views, bus) = (store.views(), store.bus());
//! # drop((events, views, bus));
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod appender;
mod bus;
mod checkpointer;
mod config;
mod connection;
mod error;
mod events;
mod heads;
mod incarnation;
mod migrate;
mod queue;
mod reader;
mod rows;
mod signals;
mod sql;
mod store;
mod threads;
mod view_writer;
mod views;
mod writer;

pub use config::{ConfigError, SqliteAccess, SqliteConfig, SqliteDurability};
pub use store::SqliteStore;
