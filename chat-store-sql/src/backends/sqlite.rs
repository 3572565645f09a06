//! `sqlite:`.

use async_trait::async_trait;
use chat_core::connect::{Backend, OpenError, Opened, StoreUrl};

use crate::sqlite::{SqliteAccess, SqliteConfig, SqliteStore};

#[derive(Debug)]
pub(super) struct SqliteBackend;

#[async_trait]
impl Backend for SqliteBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["sqlite"]
    }

    async fn open(&self, url: &StoreUrl) -> Result<Opened, OpenError> {
        let config = SqliteConfig::from_url(url.expose());
        let config = config.map_err(|error| OpenError::config(url, error))?;
        let access = config.access;
        let store =
            SqliteStore::open(config).await.map_err(|error| OpenError::store(url, error))?;
        let mut opened = Opened::new(store.events(), store.views());
        if access == SqliteAccess::ReadWrite {
            opened = opened.with_bus(store.bus());
        }
        Ok(opened.with_close(async move { store.close().await }))
    }
}
