//! What a copy remembers, in the views of its target: what it copies, and how far it has come.

use std::error::Error;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::CopyError;
use super::progress::Place;
use crate::id::{Checkpoint, Epoch, PartitionId, Position, ProjectionName, Scope, ViewKey};
use crate::ports::{StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewStore};

/// Which stores a copy is between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Houses {
    pub(super) source: Epoch,
    pub(super) target: Epoch,
    /// Of the source.
    pub(super) partitions: u32,
}

/// The record of one copy. The checkpoint of the first view says whether it is finished; those of
/// the others are the positions reached in the source's partitions.
#[derive(Debug)]
pub(super) struct Record {
    views: Arc<dyn ViewStore>,
    head: ViewId,
    partitions: Vec<ViewId>,
    key: ViewKey,
}

const BEGUN: Checkpoint = Checkpoint(1);
const FINISHED: Checkpoint = Checkpoint(2);

impl Record {
    pub(super) fn new(views: Arc<dyn ViewStore>, partitions: u32) -> Result<Self, CopyError> {
        let partitions = (0..partitions).map(|partition| view(&format!("copy/{partition}")));
        Ok(Self {
            views,
            head: view("copy")?,
            partitions: partitions.collect::<Result<_, _>>()?,
            key: ViewKey::new("record").map_err(bug)?,
        })
    }

    /// What is copied, and whether the copy is finished; nothing if none was begun.
    pub(super) async fn houses(&self) -> Result<Option<(Houses, bool)>, CopyError> {
        let get = ViewGet { view: self.head.clone(), keys: vec![self.key.clone()] };
        let found = self.views.get(&[get]).await.map_err(CopyError::Target)?.pop();
        let Some(found) = found else { return Err(bug("no answer")) };
        let Some(Some(bytes)) = found.values.first() else { return Ok(None) };
        let houses = serde_json::from_slice(bytes).map_err(|error| corrupt(&error))?;
        Ok(Some((houses, found.checkpoint == FINISHED)))
    }

    /// Begins, unless somebody else was first.
    pub(super) async fn begin(&self, houses: &Houses) -> Result<(), CopyError> {
        let value = serde_json::to_vec(houses).map_err(bug)?;
        let ops = vec![ViewOp::Put(self.key.clone(), value.into())];
        let batch =
            ViewBatch { view: self.head.clone(), expected: Checkpoint::ZERO, next: BEGUN, ops };
        match self.commit(batch).await {
            Err(ViewError::Store(error)) => Err(CopyError::Target(error)),
            Ok(()) | Err(ViewError::CheckpointMoved { .. }) => Ok(()),
        }
    }

    pub(super) async fn finish(&self) -> Result<(), CopyError> {
        let (view, ops) = (self.head.clone(), Vec::new());
        let batch = ViewBatch { view, expected: BEGUN, next: FINISHED, ops };
        match self.commit(batch).await {
            Ok(()) => Ok(()),
            // Finished before, perhaps by a try whose answer was lost.
            Err(ViewError::CheckpointMoved { actual, .. }) if actual == FINISHED => Ok(()),
            Err(error) => Err(CopyError::of_view(error, PartitionId(0))),
        }
    }

    /// How far each partition has come.
    pub(super) async fn places(&self) -> Result<Vec<Place>, CopyError> {
        let get = |view: &ViewId| ViewGet { view: view.clone(), keys: vec![self.key.clone()] };
        let gets: Vec<_> = self.partitions.iter().map(get).collect();
        let found = self.views.get(&gets).await.map_err(CopyError::Target)?;
        let places = found.iter().map(|values| {
            let counts = values.values.first().and_then(Option::as_deref);
            let (events, bytes) = match counts {
                Some(bytes) => serde_json::from_slice(bytes).map_err(|error| corrupt(&error))?,
                None => (0, 0),
            };
            let done = Position(values.checkpoint.0);
            Ok(Place { done, head: done, events, bytes })
        });
        places.collect()
    }

    /// Moves a partition on.
    pub(super) async fn save(
        &self,
        partition: PartitionId,
        from: Position,
        to: &Place,
    ) -> Result<(), CopyError> {
        let index = usize::try_from(partition.0).ok();
        let view = index.and_then(|index| self.partitions.get(index));
        let view = view.ok_or_else(|| bug("no such partition"))?.clone();
        let counts = serde_json::to_vec(&(to.events, to.bytes)).map_err(bug)?;
        let ops = vec![ViewOp::Put(self.key.clone(), counts.into())];
        let (expected, next) = (Checkpoint(from.0), Checkpoint(to.done.0));
        match self.commit(ViewBatch { view, expected, next, ops }).await {
            Ok(()) => Ok(()),
            // By an earlier try whose answer was lost.
            Err(ViewError::CheckpointMoved { actual, .. }) if actual == next => Ok(()),
            Err(error) => Err(CopyError::of_view(error, partition)),
        }
    }

    async fn commit(&self, batch: ViewBatch) -> Result<(), ViewError> {
        let answer = self.views.commit(&[batch]).await.pop();
        let none = || Err(StoreError::Bug { what: "the views gave no answer".into() }.into());
        answer.unwrap_or_else(none)
    }
}

fn view(scope: &str) -> Result<ViewId, CopyError> {
    let scope = Scope::new(scope).map_err(bug)?;
    Ok(ViewId { scope, projection: ProjectionName::new("copy").map_err(bug)? })
}

fn bug(error: impl Into<Box<dyn Error>>) -> CopyError {
    CopyError::Target(StoreError::Bug { what: error.into().to_string() })
}

fn corrupt(error: &serde_json::Error) -> CopyError {
    let place = "the record of the copy".into();
    CopyError::Target(StoreError::Corrupt { place, what: error.to_string() })
}
