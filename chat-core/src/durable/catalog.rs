//! What all members of a subscription agree on: its kind and source, where it starts, and which
//! generations there are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::Source;
use super::layout::{CATALOG, key};
use super::name::{Generation, ShardId};
use super::state::{put, read};
use super::views;
use crate::clock::Timestamp;
use crate::id::{Checkpoint, Epoch, PartitionId};
use crate::ports::{StoreError, ViewId, ViewStore};

/// What a subscription does with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    Projection,
    Effects,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalog {
    pub(super) work: Work,
    pub(super) source: Source,
    /// Raised with each start from `starts`.
    pub(super) run: u64,
    /// The incarnation of the store that `starts` is of.
    pub(super) epoch: Epoch,
    /// Where each partition starts.
    pub(super) starts: Vec<u64>,
    /// What readers read.
    pub(super) live: Generation,
    /// What is made beside it.
    pub(super) building: Option<Generation>,
    /// What is to be cleared.
    pub(super) retiring: Vec<Retired>,
    /// The highest number given so far.
    pub(super) last: Generation,
}

/// A generation that is to be cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retired {
    pub(super) generation: Generation,
    /// Not before this: somebody may be reading it.
    pub(super) from: Timestamp,
}

/// How often a change is tried while others change the catalog.
const ATTEMPTS: u32 = 32;

impl Catalog {
    pub(super) fn new(work: Work, source: Source, epoch: Epoch, starts: Vec<u64>) -> Self {
        let first = Generation(1);
        let (live, last, building, retiring) = (first, first, None, Vec::new());
        Self { work, source, run: 1, epoch, starts, live, building, retiring, last }
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..u32::try_from(self.starts.len()).unwrap_or(u32::MAX)).map(PartitionId)
    }

    /// What the members work on: the live generation, and what is being built.
    pub(super) fn shards(&self) -> Vec<ShardId> {
        let generations = std::iter::once(self.live).chain(self.building);
        let shards = generations.flat_map(|generation| {
            self.partitions().map(move |partition| ShardId { generation, partition })
        });
        shards.collect()
    }

    pub(super) fn start(&self, partition: PartitionId) -> u64 {
        let at = usize::try_from(partition.0).ok();
        at.and_then(|at| self.starts.get(at).copied()).unwrap_or(0)
    }

    /// Starts a new generation beside the live one; one that was being built is given up.
    pub(super) fn build_anew(&mut self) -> Generation {
        self.give_up();
        self.last = Generation(self.last.0.saturating_add(1));
        self.building = Some(self.last);
        self.last
    }

    /// Gives up what is being built. Nobody has read it.
    pub(super) fn give_up(&mut self) {
        let from = Timestamp::default();
        let retired = self.building.take().map(|generation| Retired { generation, from });
        self.retiring.extend(retired);
    }

    /// Starts the subscription again.
    pub(super) fn restart(&mut self, epoch: Epoch, starts: Vec<u64>) {
        self.run += 1;
        (self.epoch, self.starts) = (epoch, starts);
        if self.work == Work::Projection {
            self.build_anew();
        }
    }

    /// Readers read the built generation from now on.
    pub(super) fn swap(&mut self, built: Generation, clear_from: Timestamp) {
        if self.building == Some(built) {
            self.retiring.push(Retired { generation: self.live, from: clear_from });
            self.live = built;
            self.building = None;
        }
    }
}

/// The catalog of a subscription, if there is one.
pub(super) async fn load(
    store: &dyn ViewStore,
    view: &ViewId,
) -> Result<(Checkpoint, Option<Catalog>), StoreError> {
    let (checkpoint, values) = views::get(store, view, &[CATALOG]).await?;
    let found = values.into_iter().next().flatten();
    Ok((checkpoint, found.map(|bytes| read(view, &bytes)).transpose()?))
}

/// Makes the catalog unless there is one; the one there is.
pub(super) async fn ensure(
    store: &dyn ViewStore,
    view: &ViewId,
    new: &Catalog,
) -> Result<Catalog, StoreError> {
    for _ in 0..ATTEMPTS {
        let (checkpoint, found) = load(store, view).await?;
        if let Some(found) = found {
            return Ok(found);
        }
        let ops = vec![put(key(CATALOG)?, new)?];
        match views::commit(store, view, checkpoint, ops).await {
            Ok(()) => return Ok(new.clone()),
            Err(error) if views::look_again(&error) => {}
            Err(error) => return Err(views::store_error(error)),
        }
    }
    Err(views::contended())
}

/// Changes the catalog and gives what it then is. `change` may be run more than once, also on what
/// it has made itself; if it changes nothing, nothing is written.
pub(super) async fn update(
    store: &Arc<dyn ViewStore>,
    view: &ViewId,
    change: impl Fn(&mut Catalog),
) -> Result<Option<Catalog>, StoreError> {
    for _ in 0..ATTEMPTS {
        let (checkpoint, Some(found)) = load(&**store, view).await? else { return Ok(None) };
        let mut next = found.clone();
        change(&mut next);
        if next == found {
            return Ok(Some(found));
        }
        let ops = vec![put(key(CATALOG)?, &next)?];
        match views::commit(&**store, view, checkpoint, ops).await {
            Ok(()) => return Ok(Some(next)),
            Err(error) if views::look_again(&error) => {}
            Err(error) => return Err(views::store_error(error)),
        }
    }
    Err(views::contended())
}
