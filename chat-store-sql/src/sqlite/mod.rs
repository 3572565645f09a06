//! Chats in one SQLite file.
//!
//! One thread writes: it takes all appends and view batches that wait and commits them together.
//! A few threads read beside it, each on its own connection. No database work runs on the async
//! runtime. Several processes may use one file at the same time.
//!
//! The tables carry the namespace as a prefix (`chat_events`, `chat_streams`, …). Payloads are the
//! JSON text as it was appended, for `json_extract` to look into, and three SQL views show what
//! is stored as plain rows: `chat_history` (every event), `chat_chats` and `chat_messages`.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use chat_store_sql::sqlite::{SqliteConfig, SqliteStore};
//!
//! let store = SqliteStore::open(SqliteConfig::new("chat.db")).await?;
//! let events = store.events(); // for the engine
//! let views = store.views();
//! # drop((events, views));
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod appender;
mod checkpointer;
mod config;
mod connection;
mod error;
mod heads;
mod incarnation;
mod migrate;
mod queue;
mod reader;
mod rows;
mod sql;
mod store;
mod view_writer;
mod views;
mod writer;

pub use config::{ConfigError, SqliteAccess, SqliteConfig, SqliteDurability};
pub use store::SqliteStore;
