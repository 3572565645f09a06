//! The port that keeps read models: ordered keys and values. Knows nothing of what they mean.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::id::{Checkpoint, ProjectionName, Scope, ViewKey};
use crate::ports::{Direction, StoreError};

/// Read models as ordered keys and values, in views.
///
/// A view is a projection's data in one scope (a chat, a user). Everything in it can be rebuilt
/// from the events.
///
/// # Guarantees
///
/// 1. **Atomic.** A [`ViewBatch`] takes effect whole, with its checkpoint, or not at all. Batches
///    of one call stand alone: one that fails leaves the others untouched.
/// 2. **Fenced.** A batch is refused with [`ViewError::CheckpointMoved`] unless the view's
///    checkpoint is the expected one; so each event enters a view once, however many projectors
///    run. A view that was never written has checkpoint zero.
/// 3. **Ordered.** Keys sort by their bytes; scans give each key of the range once, either way.
/// 4. **One look.** The checkpoint and the values of one view in one answer belong together.
/// 5. **Durable** before acknowledged, as the event store beside it, or rebuilt: after a crash a
///    view is as it was after some whole batch, and never ahead of a lost one.
/// 6. **Separate.** Views and namespaces never see each other.
///
/// # Errors
/// See [`ViewError`] and [`StoreError`].
///
/// # Cancel safety
/// Dropping a commit leaves each batch done or not done; repeating it is refused by the
/// checkpoint if it was done.
///
/// # Cost
/// One call is one round trip where the database allows it, whatever the number of views.
#[async_trait]
pub trait ViewStore: Debug + Send + Sync + 'static {
    /// Reads keys of views, in the order asked.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError>;

    /// Reads a range of a view in key order, at most `limit` entries (1 to
    /// [`ViewPage::MAX_ENTRIES`], values outside are brought in).
    ///
    /// # Errors
    /// [`StoreError`].
    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError>;

    /// Writes batches and answers each, in the same order.
    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>>;
}

/// Names a view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId {
    /// Whose data it is.
    pub scope: Scope,
    /// Which projection made it.
    pub projection: ProjectionName,
}

/// Keys wanted of one view. No keys: only the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewGet {
    /// The view.
    pub view: ViewId,
    /// The keys.
    pub keys: Vec<ViewKey>,
}

/// What a view holds under the keys that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewValues {
    /// How far the view has come.
    pub checkpoint: Checkpoint,
    /// The values, in the order of the keys.
    pub values: Vec<Option<Arc<[u8]>>>,
}

/// Keys from `start` (included) to `end` (excluded); `None` is open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The first key that belongs to the range.
    pub start: Option<ViewKey>,
    /// The first key behind the range.
    pub end: Option<ViewKey>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether a key is in the range.
    #[must_use]
    pub fn contains(&self, key: &ViewKey) -> bool {
        self.start.as_ref().is_none_or(|start| key >= start)
            && self.end.as_ref().is_none_or(|end| key < end)
    }
}

/// A piece of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewPage {
    /// How far the view has come.
    pub checkpoint: Checkpoint,
    /// Keys and values in the order asked.
    pub entries: Vec<(ViewKey, Arc<[u8]>)>,
    /// Whether the range ends with this page.
    pub finished: bool,
}

impl ViewPage {
    /// Most entries in one page.
    pub const MAX_ENTRIES: usize = 1_000;
}

/// One change of a view. In a batch, later ones win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewOp {
    /// Sets a key.
    Put(ViewKey, Arc<[u8]>),
    /// Removes a key, if it is there.
    Delete(ViewKey),
    /// Removes every key.
    Clear,
}

/// Changes of one view with the checkpoint that they bring it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewBatch {
    /// The view.
    pub view: ViewId,
    /// The checkpoint that the view must have.
    pub expected: Checkpoint,
    /// The checkpoint that it has then. May be lower (a rebuild) or the same.
    pub next: Checkpoint,
    /// The changes, in order.
    pub ops: Vec<ViewOp>,
}

/// Why a batch was not written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// Somebody else moved the view; read it again. Nothing was written.
    #[error("view {view:?} is at checkpoint {actual}, expected {expected}")]
    CheckpointMoved {
        /// The view.
        view: ViewId,
        /// The checkpoint expected.
        expected: Checkpoint,
        /// The checkpoint that it has.
        actual: Checkpoint,
    },
    /// The store failed; the error says whether the batch may have been written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
