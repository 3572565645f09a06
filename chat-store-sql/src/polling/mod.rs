//! A bus for databases that wake nobody: signals are rows of a table, which every process with a
//! subscriber reads again and again. Knows no database.

mod bus;
mod poller;
mod publisher;
mod retention;
mod topics;
mod window;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::ports::{Signal, StoreError};

pub(crate) use bus::PollingBus;
#[cfg(feature = "mysql")]
pub(crate) use publisher::check;

/// The table of signals. Ids rise in the order in which they were given out, which need not be the
/// order in which they are seen.
#[async_trait]
pub(crate) trait SignalTable: Debug + Send + Sync + 'static {
    /// Adds signals, with ids in their order; says the last id, where the database does.
    async fn add(&self, signals: &[Signal]) -> Result<Option<u64>, StoreError>;

    /// The greatest id; zero if there is none.
    async fn last(&self) -> Result<u64, StoreError>;

    /// The signals behind an id, by their ids, at most so many.
    async fn after(&self, id: u64, limit: usize) -> Result<Vec<(u64, Signal)>, StoreError>;

    /// The signals with these ids, as far as there are.
    async fn among(&self, ids: &[u64]) -> Result<Vec<(u64, Signal)>, StoreError>;

    /// Removes signals up to an id, at least some of them.
    async fn prune(&self, id: u64) -> Result<(), StoreError>;

    /// How often to look for new signals.
    fn interval(&self) -> Duration;
}
