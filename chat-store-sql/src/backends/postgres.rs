//! `postgres:`.

use async_trait::async_trait;
use chat_core::connect::{Backend, OpenError, Opened, StoreUrl};

use crate::postgres::{PostgresConfig, PostgresStore};

#[derive(Debug)]
pub(super) struct PostgresBackend;

#[async_trait]
impl Backend for PostgresBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["postgres", "postgresql"]
    }

    async fn open(&self, url: &StoreUrl) -> Result<Opened, OpenError> {
        let config = PostgresConfig::from_url(url.expose());
        let config = config.map_err(|error| OpenError::config(url, error))?;
        let store =
            PostgresStore::connect(config).await.map_err(|error| OpenError::store(url, error))?;
        let opened = Opened::new(store.events(), store.views()).with_bus(store.bus());
        Ok(opened.with_close(async move { store.close().await }))
    }
}
