//! Chats in PostgreSQL 13 or newer. Any number of processes may use one database.
//!
//! One task appends: it takes all appends that wait and commits them together, in one round trip.
//! An advisory lock, taken before rows are inserted and held to the commit, makes the log one order
//! for all processes: positions are committed in their order, so a reader never has to look out for
//! what commits later. Reads and views have a few connections of their own.
//!
//! Connections are set up by the startup parameter `options` (the isolation level, time limits, for
//! the writer also `enable_seqscan` and `plan_cache_mode`). A pooler in between must hold sessions
//! and let these pass.
//!
//! The tables and functions carry the namespace as a prefix (`chat_events`, `chat_views`,
//! `chat_append`, …) and are made in the schema that comes first in the `search_path`. Payloads are
//! `json`, which keeps the text byte for byte; `jsonb` would change it, and inserting took a third
//! longer with it (73,000 rows a second in place of 110,000, in batches of 1,000). Three SQL views
//! show what is stored as plain rows: `chat_history` (every event), `chat_chats` and
//! `chat_messages`. Text that PostgreSQL does not take as JSON, and the character NUL anywhere, is
//! refused with [`StoreError::Invalid`](chat_core::ports::StoreError::Invalid), and the append that
//! brings it alone.
//!
//! A dump restores as it is: positions are plain numbers. After a restored backup, or a fail-over
//! that lost acknowledged events, call [`PostgresStore::renew_epoch`].
//!
//! [`grants`] gives the statements for a role that may add and read events and nothing else.
//! [`PostgresStore::append_in`] appends inside a transaction of the host, for which the host uses
//! `sqlx` 0.9 as this crate does.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use chat_store_sql::postgres::{PostgresConfig, PostgresStore};
//!
//! let config: PostgresConfig = "postgres://chat:secret@localhost/app".parse()?;
//! let store = PostgresStore::connect(config).await?;
//! let events = store.events(); // for the engine
//! let views = store.views();
//! let bus = store.bus();
//! # drop((events, views, bus));
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod bus;
mod config;
mod connection;
mod decide;
mod error;
mod events;
mod frames;
mod grants;
mod heads;
mod host;
mod insert;
mod listener;
mod migrate;
mod plan;
mod publisher;
mod queue;
mod rows;
mod sql;
mod store;
mod topics;
mod view_writer;
mod views;
mod writer;

pub use bus::PostgresBus;
pub use config::{ConfigError, PostgresConfig, PostgresDurability, PostgresMigrate};
pub use grants::grants;
pub use migrate::drop_namespace;
pub use store::PostgresStore;
