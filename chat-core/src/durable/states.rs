//! The states of all partitions: read together, and made for generations that are new.

use std::collections::BTreeMap;

use super::catalog::Catalog;
use super::layout;
use super::lease;
use super::member::Member;
use super::name::ShardId;
use super::state::{ShardState, put};
use super::views;
use crate::id::Checkpoint;
use crate::ports::{StoreError, ViewId};

/// The views of partitions with what stands in them.
pub(super) type States = BTreeMap<ShardId, (ViewId, Checkpoint, Option<ShardState>)>;

/// The states of partitions, as far as they can be read: a broken one holds up no other. Beside
/// them, an error of the store with one of those that are missing.
pub(super) async fn states_of(
    member: &Member,
    wanted: &[ShardId],
) -> Result<(States, Option<StoreError>), StoreError> {
    let (mut states, mut failed) = (States::new(), None);
    for id in wanted {
        let view = layout::shard(&member.name, *id)?;
        match lease::load(&*member.views, &view).await {
            Ok((checkpoint, state)) => drop(states.insert(*id, (view, checkpoint, state))),
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(
                    subscription = member.name.as_str(),
                    partition = id.partition.0,
                    %error,
                    "the state of a partition cannot be read"
                );
            }
            Err(error) => failed = Some(error),
        }
    }
    Ok((states, failed))
}

/// Makes the states of generations that are new. True if there were any.
pub(super) async fn set_up(
    member: &Member,
    catalog: &Catalog,
    states: &States,
) -> Result<bool, StoreError> {
    let (mut any, mut failed) = (false, None);
    for (id, (view, checkpoint, state)) in states {
        if state.is_none() {
            match begin(member, catalog, *id, view, *checkpoint).await {
                Ok(()) => any = true,
                Err(error) => failed = Some(error),
            }
        }
    }
    failed.map_or(Ok(any), Err)
}

/// Makes the states of every partition, unless they are there.
pub(super) async fn begin_all(member: &Member, catalog: &Catalog) -> Result<(), StoreError> {
    let (states, failed) = states_of(member, &catalog.shards()).await?;
    set_up(member, catalog, &states).await?;
    failed.map_or(Ok(()), Err)
}

async fn begin(
    member: &Member,
    catalog: &Catalog,
    id: ShardId,
    view: &ViewId,
    checkpoint: Checkpoint,
) -> Result<(), StoreError> {
    let place = catalog.start(id.partition);
    let state = ShardState::fresh(catalog.epoch, catalog.run, place);
    let ops = vec![put(layout::key(layout::STATE)?, &state)?];
    match views::commit(&*member.views, view, checkpoint, ops).await {
        // Somebody else made it, or it is found at the next look.
        Err(error) if !views::look_again(&error) => Err(views::store_error(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
