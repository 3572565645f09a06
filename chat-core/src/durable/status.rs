//! What an operator sees of a subscription.

use std::time::Duration;

use super::catalog::Catalog;
use super::error::DurableError;
use super::layout;
use super::lease;
use super::members;
use super::name::{Generation, ShardId};
use super::operator::Operator;
use super::state::{Halt, ShardState};
use crate::clock::Timestamp;
use crate::id::{Epoch, PartitionId, Position};
use crate::ports::{PageLimit, StoreError};

/// A subscription, over all its members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStatus {
    /// The generation that readers read.
    pub live: Generation,
    /// The generation that is built beside it.
    pub building: Option<Generation>,
    /// Generations that are being cleared.
    pub retiring: Vec<Generation>,
    /// The members whose time has not run out.
    pub members: Vec<String>,
    /// Each partition of the live and of the built generation.
    pub partitions: Vec<PartitionStatus>,
}

/// One partition of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// The generation.
    pub generation: Generation,
    /// The partition.
    pub partition: PartitionId,
    /// Everything up to here is done or parked.
    pub position: Position,
    /// Events that wait: exact for a stream, at most so many for the log. Zero at the end; all of
    /// the source, if it is another incarnation than the position is of.
    pub lag_events: u64,
    /// The age of the oldest event that waits, as far as it can be read.
    pub lag_time: Duration,
    /// The member that works on it.
    pub owner: Option<String>,
    /// The fencing token: it rises with each change of the owner.
    pub token: u64,
    /// Events parked.
    pub parked: u32,
    /// Why it stands still, if it does.
    pub halt: Option<Halt>,
}

/// How often it is looked how far the members are.
const PACE: Duration = Duration::from_millis(20);

impl Operator {
    /// How the subscription stands. Each partition is one look; the whole is not.
    ///
    /// # Errors
    /// [`DurableError::Unknown`], [`DurableError::Store`]. A partition that cannot be looked at is
    /// no error; it is shown with the reason as its [`halt`](PartitionStatus::halt).
    ///
    /// # Cost
    /// Two reads for each partition.
    pub async fn status(&self) -> Result<SubscriptionStatus, DurableError> {
        let catalog = self.catalog().await?;
        let (_, known) = members::read_all(&*self.views, &layout::members(&self.name)?).await?;
        let now = self.clock.now();
        let live = known.into_iter().filter(|(_, until)| *until > now).map(|(name, _)| name);
        let epoch = self.store.info().await?.epoch;
        let mut partitions = Vec::new();
        for id in catalog.shards() {
            match self.partition(&catalog, id, epoch, now).await {
                Ok(found) => partitions.extend(found),
                Err(StoreError::Closed) => return Err(StoreError::Closed.into()),
                Err(error) => partitions.push(PartitionStatus::unseen(id, &error)),
            }
        }
        Ok(SubscriptionStatus {
            live: catalog.live,
            building: catalog.building,
            retiring: catalog.retiring.iter().map(|retired| retired.generation).collect(),
            members: live.collect(),
            partitions,
        })
    }

    /// Completes when the live generation (or the one [named](Self::of_generation)) has taken or
    /// parked everything that the source holds now. Never, if nobody works on it or a partition
    /// stands still.
    ///
    /// # Errors
    /// [`DurableError::Invalid`] if there is no such generation; [`DurableError::Unknown`],
    /// [`DurableError::Store`].
    ///
    /// # Cost
    /// Four reads for each partition, and more for each that is behind, again and again.
    pub async fn caught_up(&self) -> Result<(), DurableError> {
        let catalog = self.catalog().await?;
        let reader = self.reader(&catalog);
        for partition in catalog.partitions() {
            let mut target = None;
            loop {
                let epoch = self.store.info().await?.epoch;
                let head = match target {
                    Some((of, head)) if of == epoch => head,
                    _ => reader.head(partition).await?,
                };
                target = Some((epoch, head));
                let generation = self.meant(&self.catalog().await?)?;
                let id = ShardId { generation, partition };
                match self.has_come_to(&catalog, id, epoch, head).await {
                    Ok(true) => break,
                    // One that cannot be read stands still.
                    Ok(false) | Err(StoreError::Corrupt { .. }) => tokio::time::sleep(PACE).await,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    async fn has_come_to(
        &self,
        catalog: &Catalog,
        id: ShardId,
        epoch: Epoch,
        head: u64,
    ) -> Result<bool, StoreError> {
        let view = layout::shard(&self.name, id)?;
        let (_, state) = lease::load(&*self.views, &view).await?;
        let Some(ShardState { position, .. }) = state.filter(|state| state.epoch == epoch) else {
            return Ok(false);
        };
        if position >= head {
            return Ok(true);
        }
        // Behind the last event there may be numbers without one.
        let rest = self.reader(catalog).page(id.partition, position, PageLimit::events(1)).await?;
        Ok(rest.events.is_empty())
    }

    async fn partition(
        &self,
        catalog: &Catalog,
        id: ShardId,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Option<PartitionStatus>, StoreError> {
        let view = layout::shard(&self.name, id)?;
        let (_, Some(state)) = lease::load(&*self.views, &view).await? else { return Ok(None) };
        let renewed = (state.epoch != epoch).then_some(Halt::NewEpoch { found: epoch });
        // A position of another incarnation tells nothing of what waits.
        let after = if renewed.is_some() { 0 } else { state.position };
        let (reader, limit) = (self.reader(catalog), PageLimit::events(1));
        let (waiting, oldest) = match reader.page(id.partition, after, limit).await {
            Ok(page) => match page.events.first() {
                Some(first) => (page.head - after, Some(first.event.recorded_at)),
                None => (0, None),
            },
            // What cannot be read waits as well.
            Err(StoreError::Corrupt { .. }) => (1, None),
            Err(error) => return Err(error),
        };
        let age = oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0));
        Ok(Some(PartitionStatus {
            generation: id.generation,
            partition: id.partition,
            position: Position(state.position),
            lag_events: waiting,
            lag_time: Duration::from_millis(age),
            owner: state.owner,
            token: state.token,
            parked: state.parked,
            halt: renewed.or(state.halt),
        }))
    }
}

impl PartitionStatus {
    /// A partition that cannot be looked at: something waits, for all that is known.
    fn unseen(id: ShardId, error: &StoreError) -> Self {
        Self {
            generation: id.generation,
            partition: id.partition,
            position: Position::ZERO,
            lag_events: 1,
            lag_time: Duration::ZERO,
            owner: None,
            token: 0,
            parked: 0,
            halt: Some(Halt::of(error)),
        }
    }
}
