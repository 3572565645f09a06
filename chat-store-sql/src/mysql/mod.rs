//! Chats in MySQL 8 or MariaDB.

mod config;
mod connection;
mod error;
mod events;
mod heads;
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
