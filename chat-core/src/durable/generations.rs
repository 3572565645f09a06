//! Rebuilding beside the live generation: the swap when the new one has caught up, and the
//! clearing of old ones in small steps. Done by the first of the members.

use std::sync::Arc;

use super::catalog::{self, Catalog};
use super::layout::{self, PROGRESS, STATE, key};
use super::member::Member;
use super::name::{Generation, ShardId};
use super::states::States;
use super::views;
use crate::id::Checkpoint;
use crate::ports::{Direction, KeyRange, StoreError, ViewId, ViewOp, ViewPage, ViewStore};

/// What is known of a rebuild under way.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    rebuild: Option<Rebuild>,
}

#[derive(Debug)]
struct Rebuild {
    generation: Generation,
    /// Ends of the source as they were once; when they are reached, they are looked up again.
    targets: Vec<u64>,
    /// How often they were reached.
    reached: u32,
}

/// A new generation is caught up when it has reached the end of the source so often, each time as
/// it was when it had reached the one before. What is missing then was written while it did that,
/// which is less each time.
const ROUNDS: u32 = 3;
/// Views and keys that are cleared in one step.
const STEP: usize = 64;

impl Keeper {
    /// Swaps if it is time, and clears a step. True: there is more to do at once.
    pub(super) async fn tend(
        &mut self,
        member: &Arc<Member>,
        catalog: &Catalog,
        states: &States,
    ) -> Result<bool, StoreError> {
        match catalog.building {
            None => self.rebuild = None,
            Some(generation) => self.follow(member, catalog, generation, states).await?,
        }
        let now = member.holder.clock.now();
        let Some(retired) = catalog.retiring.iter().find(|retired| retired.from <= now) else {
            return Ok(false);
        };
        let old = retired.generation;
        for partition in catalog.partitions() {
            let id = ShardId { generation: old, partition };
            if !clear_step(member, id).await? {
                return Ok(true);
            }
        }
        let view = layout::catalog(&member.name)?;
        let cleared = |catalog: &mut Catalog| {
            catalog.retiring.retain(|retired| retired.generation != old);
        };
        catalog::update(&member.views, &view, cleared).await?;
        Ok(true)
    }

    async fn follow(
        &mut self,
        member: &Arc<Member>,
        catalog: &Catalog,
        generation: Generation,
        states: &States,
    ) -> Result<(), StoreError> {
        let of_another = |rebuild: &Rebuild| rebuild.generation != generation;
        if self.rebuild.as_ref().is_none_or(of_another) {
            let targets = heads(member, catalog).await?;
            self.rebuild = Some(Rebuild { generation, targets, reached: 0 });
        }
        let Some(rebuild) = &mut self.rebuild else { return Ok(()) };
        let place = |generation, partition| {
            let state = states.get(&ShardId { generation, partition })?.2.as_ref()?;
            Some((state.epoch, state.position))
        };
        for (partition, target) in catalog.partitions().zip(&rebuild.targets) {
            let Some((epoch, built)) = place(generation, partition) else { return Ok(()) };
            let shown = place(catalog.live, partition);
            // Readers never go back behind what they could see, but for a batch under way.
            let ahead = shown.is_some_and(|(of, live)| of == epoch && live > built);
            if built < *target || ahead {
                return Ok(());
            }
        }
        rebuild.reached += 1;
        if rebuild.reached < ROUNDS {
            rebuild.targets = heads(member, catalog).await?;
            // The shards find what is new by themselves; the next look is soon.
            member.wake_all();
            return Ok(());
        }
        let view = layout::catalog(&member.name)?;
        // Who has just asked for the live generation may read it to the end.
        let clear_from = member.holder.expiry();
        catalog::update(&member.views, &view, |catalog| catalog.swap(generation, clear_from))
            .await?;
        member.tell_others().await;
        Ok(())
    }
}

async fn heads(member: &Member, catalog: &Catalog) -> Result<Vec<u64>, StoreError> {
    let mut heads = Vec::new();
    for partition in catalog.partitions() {
        heads.push(member.reader.head(partition).await?);
    }
    Ok(heads)
}

/// Clears a few views of an old generation's partition. True when nothing is left.
async fn clear_step(member: &Member, id: ShardId) -> Result<bool, StoreError> {
    let shard = layout::shard(&member.name, id)?;
    let store = &*member.views;
    let (checkpoint, state) = views::get(store, &shard, &[STATE]).await?;
    if state.into_iter().next().flatten().is_some() {
        // Whoever still works on it is fenced off by this, before anything is cleared.
        try_commit(store, &shard, checkpoint, vec![ViewOp::Delete(key(STATE)?)]).await?;
        return Ok(false);
    }
    let range = layout::scope_range()?;
    let page = store.scan(&shard, &range, Direction::Forward, STEP).await?;
    let mut done = Vec::new();
    for (name, _) in &page.entries {
        if let Some(scope) = layout::scope_of(name)
            && !clear_view(store, &layout::target(&member.name, id, scope)?).await?
        {
            break;
        }
        done.push(ViewOp::Delete(name.clone()));
    }
    if !done.is_empty() {
        try_commit(store, &shard, page.checkpoint, done).await?;
        return Ok(false);
    }
    if !page.entries.is_empty() {
        return Ok(false);
    }
    clear_view(store, &shard).await
}

/// Clears a page of a view. True when it is empty.
async fn clear_view(store: &dyn ViewStore, view: &ViewId) -> Result<bool, StoreError> {
    let all = KeyRange::all();
    let page = store.scan(view, &all, Direction::Forward, ViewPage::MAX_ENTRIES).await?;
    if page.entries.is_empty() && page.checkpoint != Checkpoint::ZERO {
        return Ok(true);
    }
    // What tells a projector that its view is being cleared comes first. The checkpoint goes on
    // counting, so that a writer who was paused is refused, also the first one.
    let mut ops = vec![ViewOp::Delete(key(PROGRESS)?)];
    ops.extend(page.entries.into_iter().map(|(key, _)| ViewOp::Delete(key)));
    Ok(try_commit(store, view, page.checkpoint, ops).await? && page.finished)
}

/// Writes unless somebody else has; what is left is found in the next step. Whether it was done.
async fn try_commit(
    store: &dyn ViewStore,
    view: &ViewId,
    checkpoint: Checkpoint,
    ops: Vec<ViewOp>,
) -> Result<bool, StoreError> {
    match views::commit(store, view, checkpoint, ops).await {
        Ok(()) => Ok(true),
        Err(error) if views::look_again(&error) => Ok(false),
        Err(error) => Err(views::store_error(error)),
    }
}
