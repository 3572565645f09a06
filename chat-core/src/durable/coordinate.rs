//! A member's own loop: says that it lives, takes its part of the partitions, lets go of what is
//! above it, and starts and ends the work on each.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use super::catalog::{self, Catalog};
use super::config::OnNewEpoch;
use super::generations::Keeper;
use super::layout;
use super::lease::Lease;
use super::member::{Member, Seen};
use super::members;
use super::metrics::Counters;
use super::name::ShardId;
use super::shard::Shard;
use super::states::{set_up, states_of};
use crate::ports::StoreError;

/// The partitions that are worked on here.
#[derive(Debug, Default)]
struct Shards {
    tasks: JoinSet<()>,
    running: BTreeMap<ShardId, Running>,
    /// There may be leases of this member that nobody works under: a claim or a release whose
    /// outcome is not known, a task that panicked. They are taken up, and given back if need be.
    unsure: bool,
}

#[derive(Debug)]
struct Running {
    task: Id,
    stop: watch::Sender<bool>,
}

impl Shards {
    fn start(&mut self, member: &Arc<Member>, id: ShardId, lease: Lease) {
        let (stop, stopped) = watch::channel(false);
        let shard = Shard::new(Arc::clone(member), id, lease, stopped);
        let task = self.tasks.spawn(shard.run()).id();
        self.running.insert(id, Running { task, stop });
    }

    /// Waits for the end of one, and forgets it; for ever if there is none.
    async fn ended(&mut self, member: &Member) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(member, ended),
            None => std::future::pending().await,
        }
    }

    /// Forgets those that have ended.
    fn reap(&mut self, member: &Member) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(member, ended);
        }
    }

    fn forget(&mut self, member: &Member, ended: Result<(Id, ()), JoinError>) {
        if ended.as_ref().is_err_and(JoinError::is_panic) {
            member.note_panic("the work on a partition");
        }
        let ended = ended.map_or_else(|error| error.id(), |(task, ())| task);
        self.unsure = true;
        self.running.retain(|_, running| running.task != ended);
    }

    fn stop(&self, id: ShardId) {
        if let Some(running) = self.running.get(&id) {
            running.stop.send_replace(true);
        }
    }

    /// Those that are not about to end.
    fn staying(&self) -> Vec<ShardId> {
        let staying = self.running.iter().filter(|(_, running)| !*running.stop.borrow());
        staying.map(|(id, _)| *id).collect()
    }
}

/// Runs a member until it is told to stop, and then until its last task has ended.
pub(super) async fn drive(member: Arc<Member>, mut stop: watch::Receiver<bool>) {
    let mut shards = Shards::default();
    let mut keeper = Keeper::default();
    let mut rung = member.orders_rung.subscribe();
    while !*stop.borrow() {
        rung.mark_unchanged();
        shards.reap(&member);
        // A panic in an adapter must not end what all partitions hang on.
        let look = AssertUnwindSafe(look(&member, &mut shards, &mut keeper)).catch_unwind();
        let more = match look.await {
            Ok(Ok(more)) => more,
            Ok(Err(StoreError::Closed)) => break,
            Ok(Err(error)) => {
                member.note_failure(&error, "the look at the members");
                false
            }
            Err(_panic) => {
                member.note_panic("the look at the members");
                false
            }
        };
        if more {
            continue;
        }
        tokio::select! {
            _ = stop.changed() => {}
            _ = rung.changed() => {}
            () = shards.ended(&member) => {}
            () = tokio::time::sleep(member.config.poll_interval) => {}
        }
    }
    for id in shards.staying() {
        shards.stop(id);
    }
    while shards.tasks.join_next().await.is_some() {}
    if let Ok(view) = layout::members(&member.name)
        && let Err(error) = members::leave(&member.holder, &view).await
    {
        member.note_failure(&error, "the farewell");
    }
    member.tell_others().await;
}

/// One look around. True: there is more to do at once.
async fn look(
    member: &Arc<Member>,
    shards: &mut Shards,
    keeper: &mut Keeper,
) -> Result<bool, StoreError> {
    let live = members::attend(&member.holder, &layout::members(&member.name)?).await?;
    let rank = members::rank(&live, &member.holder.name);
    let catalog = see(member, rank == 0).await?;
    let wanted = catalog.shards();
    let part = members::fair_part(wanted.len(), live.len(), rank);
    let mut mine = shards.staying();
    for gone in mine.extract_if(.., |id| !wanted.contains(id)) {
        shards.stop(gone);
    }
    for surplus in mine.drain(part.min(mine.len())..) {
        shards.stop(surplus);
    }
    let mut more = false;
    let mut missing = part - mine.len();
    let (mut states, mut failed) = (BTreeMap::new(), None);
    if missing > 0 || rank == 0 || shards.unsure {
        (states, failed) = states_of(member, &wanted).await?;
    }
    // Members begin at different places, so that they do not ask for the same ones.
    let (behind, first) = wanted.split_at(wanted.len() * rank / live.len().max(1));
    for id in first.iter().chain(behind) {
        let Some((view, _, Some(state))) = states.get(id) else { continue };
        let me = &member.holder.name;
        let orphan = state.owner.as_ref() == Some(me);
        let wanted = missing > 0 && !state.is_held(me, member.holder.clock.now());
        if shards.running.contains_key(id) || !(orphan || wanted) {
            continue;
        }
        match Lease::claim(&member.holder, view.clone()).await {
            Ok(Some(lease)) => {
                Counters::add(&member.counters.taken, 1);
                shards.start(member, *id, lease);
                missing = missing.saturating_sub(1);
            }
            Ok(None) => {}
            // One that fails holds up no other.
            Err(error) => failed = Some(error),
        }
    }
    shards.unsure = failed.is_some();
    if rank == 0 {
        more |= set_up(member, &catalog, &states).await?;
        more |= keeper.tend(member, &catalog, &states).await?;
    }
    failed.map_or(Ok(more), Err)
}

/// Reads the catalog and the store's epoch, and shows them to the partitions at work here. The
/// first of the members starts again if the store is another one and the host wants it so.
///
/// The epoch is read last: who was paused between the two must not take a catalog that another
/// member has brought up to date back to an older store.
async fn see(member: &Member, first: bool) -> Result<Catalog, StoreError> {
    let view = layout::catalog(&member.name)?;
    let (_, found) = catalog::load(&*member.views, &view).await?;
    let gone =
        || StoreError::Corrupt { place: format!("{view:?}"), what: "the catalog is gone".into() };
    let mut catalog = found.ok_or_else(gone)?;
    let mut epoch = member.reader.store.info().await?.epoch;
    if let OnNewEpoch::Restart(start) = &member.on_new_epoch
        && first
        && catalog.epoch != epoch
    {
        let partitions = u32::try_from(catalog.starts.len()).unwrap_or(u32::MAX);
        let (of, starts) = member.reader.resolve(start, partitions).await?;
        let (run, before) = (catalog.run, catalog.epoch);
        let restart = |catalog: &mut Catalog| {
            if catalog.run == run && before != of {
                catalog.restart(of, starts.clone());
            }
        };
        epoch = of;
        catalog = catalog::update(&member.views, &view, restart).await?.ok_or_else(gone)?;
    }
    let shown = Arc::new(catalog.clone());
    member.seen.send_replace(Seen { epoch, catalog: shown });
    Ok(catalog)
}
