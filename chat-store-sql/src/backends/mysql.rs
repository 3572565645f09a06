//! `mysql:` and `mariadb:`.

use async_trait::async_trait;
use chat_core::connect::{Backend, OpenError, Opened, StoreUrl};

use crate::mysql::{MysqlConfig, MysqlStore};

#[derive(Debug)]
pub(super) struct MysqlBackend;

#[async_trait]
impl Backend for MysqlBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["mysql", "mariadb"]
    }

    async fn open(&self, url: &StoreUrl) -> Result<Opened, OpenError> {
        let config = MysqlConfig::from_url(url.expose());
        let config = config.map_err(|error| OpenError::config(url, error))?;
        let store =
            MysqlStore::connect(config).await.map_err(|error| OpenError::store(url, error))?;
        let opened = Opened::new(store.events(), store.views()).with_bus(store.bus());
        Ok(opened.with_close(async move { store.close().await }))
    }
}
