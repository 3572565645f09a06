//! Finds the views that a projection made, for those who read them.

use std::sync::Arc;

use super::catalog;
use super::error::DurableError;
use super::layout;
use super::name::{Generation, ShardId, SubscriptionName};
use super::reader::Reader;
use crate::id::{PartitionId, Scope, StreamId};
use crate::ports::{EventStore, StoreError, ViewId, ViewStore};

/// Resolves which generation of a projection readers are to read.
#[derive(Debug, Clone)]
pub struct ProjectedViews {
    name: SubscriptionName,
    store: Arc<dyn EventStore>,
    views: Arc<dyn ViewStore>,
}

/// The views of the generation that was live when it was asked. Ask again for each request: a
/// generation that was swapped away is cleared a lease's time later.
#[derive(Debug, Clone)]
pub struct LiveViews {
    name: SubscriptionName,
    generation: Generation,
    partitions: u32,
    reader: Reader,
}

impl ProjectedViews {
    pub(super) fn new(
        name: SubscriptionName,
        store: Arc<dyn EventStore>,
        views: Arc<dyn ViewStore>,
    ) -> Self {
        Self { name, store, views }
    }

    /// The live generation.
    ///
    /// # Errors
    /// [`DurableError::Unknown`] before anybody started the projection; [`DurableError::Store`].
    ///
    /// # Cost
    /// One read of one key.
    pub async fn live(&self) -> Result<LiveViews, DurableError> {
        let view = layout::catalog(&self.name)?;
        let (_, found) = catalog::load(&*self.views, &view).await?;
        let found = found.ok_or(DurableError::Unknown)?;
        let partitions = u32::try_from(found.starts.len()).unwrap_or(u32::MAX);
        let reader = Reader { store: Arc::clone(&self.store), source: found.source };
        Ok(LiveViews { name: self.name.clone(), generation: found.live, partitions, reader })
    }
}

impl LiveViews {
    /// The generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The view of a scope with what came of this stream's events (and of others of its
    /// partition).
    ///
    /// # Errors
    /// [`StoreError::Bug`] if the name of the view cannot be made.
    pub fn of_stream(&self, scope: &Scope, stream: &StreamId) -> Result<ViewId, StoreError> {
        self.of_partition(scope, self.reader.partition_of(stream))
    }

    /// Every view of a scope: one for each partition, as events of several may have come into it.
    ///
    /// # Errors
    /// As [`of_stream`](Self::of_stream).
    pub fn of_scope(&self, scope: &Scope) -> Result<Vec<ViewId>, StoreError> {
        let partitions = (0..self.partitions).map(PartitionId);
        partitions.map(|partition| self.of_partition(scope, partition)).collect()
    }

    fn of_partition(&self, scope: &Scope, partition: PartitionId) -> Result<ViewId, StoreError> {
        let id = ShardId { generation: self.generation, partition };
        layout::target(&self.name, id, scope.clone())
    }
}
