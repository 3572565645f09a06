//! Chats in MySQL 8 (from 8.0.22) or MariaDB (from 10.6), by one set of statements for both.
//!
//! One task writes: it takes all appends that wait and commits them by one statement, which proves
//! by its primary key that nobody else has written meanwhile. Reads and views go over a pool of
//! connections. Any number of processes may use one database at the same time.
//!
//! The tables carry the namespace as a prefix (`chat_events`, `chat_views`, …). Payloads are the
//! JSON text as it was appended, and three SQL views show what is stored as plain rows:
//! `chat_history` (every event), `chat_chats` and `chat_messages`. [`GRANTS`] is what a user needs
//! who may not make tables.
//!
//! # What the servers are asked to do
//!
//! - The tables are InnoDB. The server's largest packet (`max_allowed_packet`) must hold the
//!   largest event, 1 MiB and a bit.
//! - A binary log must be in rows or mixed (`binlog_format`), the default of both.
//! - What a commit survives is the server's setting; see [`MysqlDurability`]. Without a binary log
//!   InnoDB shows a commit to others a moment before it is on the disk. A process that reads what
//!   another one has just written then commits a small change of its own before it hands the events
//!   on, so that nobody is ever shown an event that a crash takes back.
//! - Where the two differ: MySQL refuses `SELECT … LOCK IN SHARE MODE` to a user who may only
//!   select before 8.0.22; MariaDB has no such limit. MariaDB's `binlog_format` is `MIXED`, MySQL's
//!   `ROW`; MySQL writes a binary log unless told otherwise and flushes it, MariaDB does neither.
//!
//! A backup is made with the server's own tools, in one transaction
//! (`mysqldump --single-transaction`). After a backup was put back, call
//! [`MysqlStore::renew_epoch`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use chat_store_sql::mysql::{MysqlConfig, MysqlStore};
//!
//! let config = MysqlConfig::from_url("mysql://chat:secret@localhost/app")?;
//! let store = MysqlStore::connect(config).await?;
//! let (events, views, bus) = (store.events(), store.views(), store.bus()); // for the engine
//! # drop((events, views, bus));
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod bus;
mod config;
mod connection;
mod dense;
mod error;
mod events;
mod flush;
mod heads;
mod host;
mod insert;
mod lookup;
mod migrate;
mod plan;
mod queue;
mod rows;
mod sql;
mod store;
mod turn;
mod view_writer;
mod views;
mod writer;

pub use config::{ConfigError, MysqlConfig, MysqlDurability, MysqlMigrate};
pub use store::MysqlStore;

/// The rights of a user who runs a store with [`MysqlMigrate::Never`], with `{ns}` for the
/// namespace and `{user}` for the user.
pub const GRANTS: &str = include_str!("grants.sql");
