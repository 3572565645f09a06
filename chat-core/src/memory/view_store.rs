//! Read models in the memory of one process.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use super::event_store::fair_share;
use crate::id::{Checkpoint, ViewKey};
use crate::ports::{
    Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewPage,
    ViewStore, ViewValues,
};

/// A [`ViewStore`] that lives and dies with the process. A clone is a second handle on the same
/// data; a new one is a namespace of its own.
#[derive(Debug, Clone, Default)]
pub struct MemoryViewStore(Arc<Mutex<HashMap<ViewId, View>>>);

#[derive(Debug, Default)]
struct View {
    checkpoint: Checkpoint,
    entries: BTreeMap<ViewKey, Arc<[u8]>>,
}

impl MemoryViewStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> Result<MutexGuard<'_, HashMap<ViewId, View>>, StoreError> {
        // A panic while the lock was held may have left half a batch: nothing more is answered.
        let bug = || StoreError::Bug { what: "a panic broke the memory view store".into() };
        self.0.lock().map_err(|_| bug())
    }
}

#[async_trait]
impl ViewStore for MemoryViewStore {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        fair_share().await;
        let views = self.lock()?;
        let values = gets.iter().map(|get| match views.get(&get.view) {
            None => ViewValues { checkpoint: Checkpoint::ZERO, values: vec![None; get.keys.len()] },
            Some(view) => ViewValues {
                checkpoint: view.checkpoint,
                values: get.keys.iter().map(|key| view.entries.get(key).cloned()).collect(),
            },
        });
        Ok(values.collect())
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        fair_share().await;
        let views = self.lock()?;
        let Some(view) = views.get(view) else {
            let (checkpoint, entries) = (Checkpoint::ZERO, Vec::new());
            return Ok(ViewPage { checkpoint, entries, finished: true });
        };
        let limit = limit.clamp(1, ViewPage::MAX_ENTRIES);
        let mut entries = view.scan(range, direction, limit + 1);
        let finished = entries.len() <= limit;
        entries.truncate(limit);
        Ok(ViewPage { checkpoint: view.checkpoint, entries, finished })
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        fair_share().await;
        let mut views = match self.lock() {
            Ok(views) => views,
            Err(error) => {
                return batches.iter().map(|_| Err(ViewError::Store(error.clone()))).collect();
            }
        };
        batches.iter().map(|batch| commit(&mut views, batch)).collect()
    }
}

fn commit(views: &mut HashMap<ViewId, View>, batch: &ViewBatch) -> Result<(), ViewError> {
    let actual = views.get(&batch.view).map_or(Checkpoint::ZERO, |view| view.checkpoint);
    if actual != batch.expected {
        let (view, expected) = (batch.view.clone(), batch.expected);
        return Err(ViewError::CheckpointMoved { view, expected, actual });
    }
    let view = views.entry(batch.view.clone()).or_default();
    view.checkpoint = batch.next;
    for op in &batch.ops {
        match op {
            ViewOp::Put(key, value) => {
                view.entries.insert(key.clone(), Arc::clone(value));
            }
            ViewOp::Delete(key) => {
                view.entries.remove(key);
            }
            ViewOp::Clear => view.entries.clear(),
        }
    }
    Ok(())
}

impl View {
    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Vec<(ViewKey, Arc<[u8]>)> {
        if let (Some(start), Some(end)) = (&range.start, &range.end)
            && start >= end
        {
            // The map would panic on a range that ends before it starts.
            return Vec::new();
        }
        let start = range.start.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let end = range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries.range::<ViewKey, _>((start, end));
        let owned = |(key, value): (&ViewKey, &Arc<[u8]>)| (key.clone(), Arc::clone(value));
        match direction {
            Direction::Forward => entries.take(limit).map(owned).collect(),
            Direction::Backward => entries.rev().take(limit).map(owned).collect(),
        }
    }
}
