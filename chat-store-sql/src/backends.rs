//! The databases of this crate for opening by URL, as far as they are compiled in.

use std::sync::Arc;

use chat_core::connect::Backend;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

/// What [`Backends::with`](chat_core::connect::Backends::with) takes: one for each feature.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use chat_core::connect::Backends;
///
/// let backends = Backends::memory().with(chat_store_sql::backends());
/// let opened = backends.open("sqlite:chat.db?namespace=team").await?;
/// # opened.close().await;
/// # Ok(()) }
/// ```
#[must_use]
pub fn backends() -> Vec<Arc<dyn Backend>> {
    vec![
        #[cfg(feature = "mysql")]
        Arc::new(mysql::MysqlBackend),
        #[cfg(feature = "postgres")]
        Arc::new(postgres::PostgresBackend),
        #[cfg(feature = "sqlite")]
        Arc::new(sqlite::SqliteBackend),
    ]
}
