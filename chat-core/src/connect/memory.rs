//! `memory:`, the store that this crate brings itself.

use std::sync::Arc;

use async_trait::async_trait;

use super::backend::Backend;
use super::error::OpenError;
use super::opened::Opened;
use super::url::StoreUrl;
use crate::memory::{MemoryBus, MemoryEventStore, MemoryViewStore};

/// Opens a new and empty store each time.
#[derive(Debug)]
pub(super) struct MemoryBackend;

/// What is wrong with a `memory:` URL.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("`memory:` names no place; write `memory:` alone, or `memory:?partitions=4`")]
    Place,
    #[error("the parameter `{0}` is not known")]
    Parameter(String),
    #[error("`partitions` takes a number from 1 to {MOST_PARTITIONS}")]
    Partitions,
}

const MOST_PARTITIONS: u32 = 1_024;

#[async_trait]
impl Backend for MemoryBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["memory"]
    }

    async fn open(&self, url: &StoreUrl) -> Result<Opened, OpenError> {
        let partitions = partitions(url).map_err(|wrong| OpenError::config(url, wrong))?;
        let events = Arc::new(MemoryEventStore::with_partitions(partitions));
        let opened = Opened::new(events, Arc::new(MemoryViewStore::new()));
        Ok(opened.with_bus(Arc::new(MemoryBus::new())))
    }
}

fn partitions(url: &StoreUrl) -> Result<u32, Wrong> {
    let place = url.expose().split('?').next().unwrap_or_default();
    if !matches!(place, "memory:" | "memory://") {
        return Err(Wrong::Place);
    }
    let mut partitions = 1;
    for (name, value) in url.parameters() {
        match name {
            "partitions" => {
                let number = value.parse().ok().filter(|n| (1..=MOST_PARTITIONS).contains(n));
                partitions = number.ok_or(Wrong::Partitions)?;
            }
            // Every store in memory is a namespace of its own.
            "namespace" => {}
            _ => return Err(Wrong::Parameter(name.to_owned())),
        }
    }
    Ok(partitions)
}
