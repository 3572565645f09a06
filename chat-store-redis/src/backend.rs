//! Opening by URL.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::connect::{Backend, OpenError, Opened, StoreUrl};

use crate::config::RedisConfig;
use crate::error::ConnectError;
use crate::store::RedisStore;

/// What [`Backends::with`](chat_core::connect::Backends::with) takes.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use chat_core::connect::Backends;
///
/// let backends = Backends::memory().with(chat_store_redis::backends());
/// let opened = backends.open("redis://127.0.0.1?namespace=team").await?;
/// # opened.close().await;
/// # Ok(()) }
/// ```
#[must_use]
pub fn backends() -> Vec<Arc<dyn Backend>> {
    vec![Arc::new(RedisBackend)]
}

/// One server or a cluster, with TLS or without; a URL with TLS says itself that the feature is
/// missing.
#[derive(Debug)]
struct RedisBackend;

#[async_trait]
impl Backend for RedisBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["redis", "rediss", "redis+cluster", "rediss+cluster"]
    }

    async fn open(&self, url: &StoreUrl) -> Result<Opened, OpenError> {
        let config = RedisConfig::from_url(url.expose());
        let config = config.map_err(|error| OpenError::config(url, error))?;
        let store = RedisStore::connect(config).await.map_err(|error| match error {
            ConnectError::Store(error) => OpenError::store(url, error),
            other => OpenError::unfit(url, other),
        })?;
        let opened = Opened::new(store.events(), store.views()).with_bus(store.bus());
        Ok(opened.with_close(async move { store.close().await }))
    }
}
