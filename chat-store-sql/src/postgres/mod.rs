//! Chats in PostgreSQL.

mod config;
mod connection;
mod decide;
mod error;
mod events;
mod heads;
mod insert;
mod migrate;
mod plan;
mod queue;
mod rows;
mod sql;
mod store;
mod view_writer;
mod views;
mod writer;

pub use config::{ConfigError, PostgresConfig, PostgresDurability, PostgresMigrate};
pub use migrate::drop_namespace;
pub use store::PostgresStore;
