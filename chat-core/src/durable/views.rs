//! Short ways to read and write one view.

use std::sync::Arc;

use super::layout;
use crate::id::{Checkpoint, ViewKey};
use crate::ports::{StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewStore};

/// Some keys of one view, in one look.
pub(super) async fn get(
    views: &dyn ViewStore,
    view: &ViewId,
    keys: &[&str],
) -> Result<(Checkpoint, Vec<Option<Arc<[u8]>>>), StoreError> {
    let keys = keys.iter().map(|name| layout::key(name)).collect::<Result<Vec<ViewKey>, _>>()?;
    let found = views.get(&[ViewGet { view: view.clone(), keys }]).await?;
    let found = found.into_iter().next().ok_or_else(no_answer)?;
    Ok((found.checkpoint, found.values))
}

/// Writes a view that has this checkpoint, and raises it by one: the checkpoint of each view that
/// a subscription writes counts its batches, so that nobody writes on what has changed.
pub(super) async fn commit(
    views: &dyn ViewStore,
    view: &ViewId,
    expected: Checkpoint,
    ops: Vec<ViewOp>,
) -> Result<(), ViewError> {
    let batch = ViewBatch { view: view.clone(), expected, next: expected.next(), ops };
    let answer = views.commit(&[batch]).await.pop();
    answer.unwrap_or_else(|| Err(no_answer().into()))
}

/// Whether the view is to be read again to know what became of a batch.
pub(super) fn look_again(error: &ViewError) -> bool {
    match error {
        ViewError::CheckpointMoved { .. } => true,
        ViewError::Store(StoreError::OutcomeUnknown { .. }) => true,
        ViewError::Store(_) => false,
    }
}

/// Whether the store took offence at what was to be written, and not at its own state: then it
/// refuses it for good, and may take something else.
pub(super) fn is_refusal(error: &StoreError) -> bool {
    match error {
        StoreError::Conflict { .. }
        | StoreError::IdReused { .. }
        | StoreError::CrossPartition { .. }
        | StoreError::Invalid { .. }
        | StoreError::Bug { .. } => true,
        StoreError::Unavailable { .. }
        | StoreError::OutcomeUnknown { .. }
        | StoreError::StorageFull { .. }
        | StoreError::ReadOnly { .. }
        | StoreError::NewerSchema { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Closed => false,
    }
}

/// The store's error in a refusal that a reading did not settle.
pub(super) fn store_error(error: ViewError) -> StoreError {
    match error {
        ViewError::Store(error) => error,
        ViewError::CheckpointMoved { .. } => contended(),
    }
}

pub(super) fn contended() -> StoreError {
    let what = "others kept changing a view of the subscription".into();
    StoreError::Unavailable { what, source: None }
}

pub(super) fn no_answer() -> StoreError {
    StoreError::Bug { what: "the views gave no answer".into() }
}
