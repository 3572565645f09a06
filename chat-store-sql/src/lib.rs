//! Chat history and read models in SQL databases: the ports
//! [`EventStore`](chat_core::ports::EventStore) and [`ViewStore`](chat_core::ports::ViewStore) of
//! `chat-core`.
//!
//! | feature | database | driver |
//! |---|---|---|
//! | `sqlite` | SQLite, compiled in | `rusqlite` |
//!
//! Nothing is compiled in unless its feature is asked for.

#[cfg(feature = "sqlite")]
pub mod sqlite;
