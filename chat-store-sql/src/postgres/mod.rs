//! Chats in PostgreSQL.

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
