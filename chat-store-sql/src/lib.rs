//! Chat history and read models in SQL databases: the ports
//! [`EventStore`](chat_core::ports::EventStore), [`ViewStore`](chat_core::ports::ViewStore) and
//! [`EventBus`](chat_core::ports::EventBus) of `chat-core`.
//!
//! | feature | database | driver |
//! |---|---|---|
//! | `sqlite` | SQLite, compiled in | `rusqlite` |
//! | `postgres` | PostgreSQL | `sqlx` |
//! | `mysql` | MySQL 8, MariaDB | `sqlx` |
//!
//! Nothing is compiled in unless its feature is asked for. [`backends`] gives what is, for opening
//! a store by URL.

mod backends;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod parts;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
mod polling;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod recent;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use backends::backends;
