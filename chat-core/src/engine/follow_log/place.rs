//! Where each partition's log was read to, and how far the chat lists have come.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::refreshed;
use crate::engine::error::ChatError;
use crate::engine::shared::{Shared, bug, lock};
use crate::id::{Checkpoint, Epoch, PartitionId, Position, ProjectionName, Scope};
use crate::ports::{PageLimit, ViewBatch, ViewError, ViewId};

/// Where one partition's log was read to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    /// The log's end when following began: everybody who listens knows what came before.
    pub(super) start: Position,
    /// Whether `start` is that of this following; it is set once.
    placed: bool,
    /// Read from `start` up to here.
    pub(super) read: Position,
    /// What came before `start` was read up to here.
    pub(super) backlog: Position,
    /// The lists hold everything up to here.
    pub(super) listed: Position,
    /// The checkpoint that the views have.
    saved: Checkpoint,
}

impl Cursor {
    pub(super) fn at(listed: Position) -> Self {
        let saved = Checkpoint(listed.0);
        Self { start: listed, placed: false, read: listed, backlog: listed, listed, saved }
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.backlog < self.start
    }

    /// Everything up to here was read.
    pub(super) fn whole(&self) -> Position {
        if self.has_backlog() { self.backlog } else { self.read }
    }
}

/// Lets what comes from now on be read first. Whoever listens already is brought up to date behind
/// the look at the log's end, so that nothing falls between; who is about to listen sees by the
/// count that it has to look once more.
pub(super) async fn place(shared: &Arc<Shared>) -> Result<(), ChatError> {
    let mut result = Ok(());
    for partition in (0..shared.partitions).map(PartitionId) {
        result = result.and(place_partition(shared, partition).await);
    }
    shared.follower.placements.fetch_add(1, Ordering::AcqRel);
    for cell in shared.live_cells() {
        result = result.and(refreshed(shared, &cell).await.map(drop));
    }
    result
}

async fn place_partition(shared: &Shared, partition: PartitionId) -> Result<(), ChatError> {
    if cursor(shared, partition).placed {
        return Ok(());
    }
    let limit = PageLimit::events(1);
    let head = shared.store.read_log(partition, Position::MAX, limit).await?.head;
    set_cursor(shared, partition, |cursor| {
        cursor.placed = true;
        if head > cursor.read {
            (cursor.start, cursor.read) = (head, head);
        }
    });
    Ok(())
}

/// Saves how far the lists have come, best effort: what is not saved is done again.
pub(super) async fn save_partition(shared: &Shared, partition: PartitionId) {
    let Cursor { listed, saved, .. } = cursor(shared, partition);
    if listed.0 <= saved.0 {
        return;
    }
    let epoch = *lock(&shared.follower.epoch);
    let Ok(view) = checkpoint_view(epoch, partition) else {
        return;
    };
    let next = Checkpoint(listed.0);
    let batch = ViewBatch { view, expected: saved, next, ops: Vec::new() };
    match shared.views.commit(&[batch]).await.pop() {
        Some(Ok(())) => set_cursor(shared, partition, |cursor| cursor.saved = next),
        // Another process came further, or not as far.
        Some(Err(ViewError::CheckpointMoved { actual, .. })) => {
            set_cursor(shared, partition, |cursor| cursor.saved = actual);
        }
        Some(Err(ViewError::Store(error))) => {
            tracing::debug!(%error, "the place in the log was not saved");
        }
        None => {}
    }
}

pub(super) fn cursor(shared: &Shared, partition: PartitionId) -> Cursor {
    let cursors = lock(&shared.follower.cursors);
    let at = usize::try_from(partition.0).ok().and_then(|at| cursors.get(at).copied());
    at.unwrap_or(Cursor::at(Position::ZERO))
}

pub(super) fn set_cursor(
    shared: &Shared,
    partition: PartitionId,
    change: impl FnOnce(&mut Cursor),
) {
    let mut cursors = lock(&shared.follower.cursors);
    let at = usize::try_from(partition.0).ok();
    if let Some(cursor) = at.and_then(|at| cursors.get_mut(at)) {
        change(cursor);
    }
}

/// Where the lists have come in the log of one incarnation: another has a log of its own.
pub(super) fn checkpoint_view(epoch: Epoch, partition: PartitionId) -> Result<ViewId, ChatError> {
    let scope = format!("engine/log/{}/{partition}", epoch.0.simple());
    let scope = Scope::new(scope).map_err(bug)?;
    let projection = ProjectionName::new("chat-list").map_err(bug)?;
    Ok(ViewId { scope, projection })
}
