//! A store that is open, whatever its kind.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chat_core::connect::{self, Backends};
use chat_core::ports::{EventBus, EventStore, ViewStore};
use chat_core::{Engine, EngineConfig};

use super::{Ground, Kind};

/// A store on a database of its own.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) ground: Arc<Ground>,
    store: Option<connect::Opened>,
}

impl Opened {
    pub(crate) async fn new(ground: Arc<Ground>) -> Result<Self> {
        let store = Some(open_url(&ground.url).await?);
        Ok(Self { ground, store })
    }

    fn store(&self) -> Result<&connect::Opened> {
        self.store.as_ref().context("the store was not opened again")
    }

    pub(crate) fn events(&self) -> Result<Arc<dyn EventStore>> {
        Ok(Arc::clone(&self.store()?.events))
    }

    /// An engine on it that knows nothing yet.
    pub(crate) async fn engine(&self) -> Result<Engine> {
        engine_on(self.store()?, EngineConfig::default()).await
    }

    /// As after a new start of the program. What lives in the process only is kept.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        if self.ground.kind != Kind::Memory {
            if let Some(store) = self.store.take() {
                store.close().await;
            }
            self.store = Some(open_url(&self.ground.url).await?);
        }
        Ok(())
    }

    /// Closes the store and takes its data away.
    pub(crate) async fn close(mut self) -> Result<()> {
        if let Some(store) = self.store.take() {
            store.close().await;
        }
        self.ground.remove().await
    }
}

/// The store at a URL.
pub(crate) async fn open_url(url: &str) -> Result<connect::Opened> {
    let backends =
        Backends::memory().with(chat_store_sql::backends()).with(chat_store_redis::backends());
    Ok(backends.open(url).await?)
}

/// An engine as a host would make it.
pub(crate) async fn engine_on(store: &connect::Opened, config: EngineConfig) -> Result<Engine> {
    let (events, views): (Arc<dyn EventStore>, Arc<dyn ViewStore>) =
        (Arc::clone(&store.events), Arc::clone(&store.views));
    let mut builder = Engine::builder().store(events).views(views).config(config);
    if let Some(bus) = &store.bus {
        let bus: Arc<dyn EventBus> = Arc::clone(bus);
        builder = builder.bus(bus);
    }
    Ok(builder.build().await?)
}

/// How an engine that shares its database with other processes looks for what they wrote: rung by
/// the bus, or by polling this often where the store brings none.
pub(crate) fn shared_config() -> EngineConfig {
    let mut config = EngineConfig::default();
    config.poll_interval = POLL;
    config
}

const POLL: Duration = Duration::from_millis(20);
