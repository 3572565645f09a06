//! What an operator sees of a subscription, and can do.

use std::sync::Arc;
use std::time::Duration;

use super::catalog::{self, Catalog, Work};
use super::config::Start;
use super::error::DurableError;
use super::layout::{self, ASKED, STATE, key};
use super::lease;
use super::member::ring;
use super::members;
use super::name::{Generation, ShardId, SubscriptionName};
use super::reader::Reader;
use super::state::{Halt, ParkedEvent, ParkedRecord, Wish, put, read};
use super::views;
use crate::clock::{Clock, Timestamp};
use crate::id::{PartitionId, Position, ViewKey};
use crate::ports::{
    Direction, EventBus, EventStore, KeyRange, PageLimit, StoreError, ViewPage, ViewStore,
};

/// Looks at a subscription and gives orders, from any process; the members carry them out.
///
/// # Cancel safety
/// Dropping any call leaves its order given or not given; giving it twice does no harm.
#[derive(Debug, Clone)]
pub struct Operator {
    name: SubscriptionName,
    store: Arc<dyn EventStore>,
    views: Arc<dyn ViewStore>,
    bus: Option<Arc<dyn EventBus>>,
    clock: Arc<dyn Clock>,
}

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
    /// Events that wait: exact for a stream, at most so many for the log. Zero at the end.
    pub lag_events: u64,
    /// The age of the oldest event that waits.
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

/// A page of parked events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedPage {
    /// In the order of their positions.
    pub events: Vec<ParkedEvent>,
    /// Where to go on; `None` at the end.
    pub next: Option<ViewKey>,
}

/// Orders that are given in one write.
const PAGE: usize = 200;
const ATTEMPTS: u32 = 64;
/// How often it is looked how far the members are.
const PACE: Duration = Duration::from_millis(20);

impl Operator {
    pub(super) fn new(
        name: SubscriptionName,
        store: Arc<dyn EventStore>,
        views: Arc<dyn ViewStore>,
        bus: Option<Arc<dyn EventBus>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { name, store, views, bus, clock }
    }

    /// How the subscription stands. Each partition is one look; the whole is not.
    ///
    /// # Errors
    /// [`DurableError::Unknown`], [`DurableError::Store`].
    ///
    /// # Cost
    /// Two reads for each partition.
    pub async fn status(&self) -> Result<SubscriptionStatus, DurableError> {
        let catalog = self.catalog().await?;
        let (_, known) = members::read_all(&*self.views, &layout::members(&self.name)?).await?;
        let now = self.clock.now();
        let live = known.into_iter().filter(|(_, until)| *until > now).map(|(name, _)| name);
        let mut partitions = Vec::new();
        for id in catalog.shards() {
            partitions.extend(self.partition(&catalog, id, now).await?);
        }
        Ok(SubscriptionStatus {
            live: catalog.live,
            building: catalog.building,
            retiring: catalog.retiring.iter().map(|retired| retired.generation).collect(),
            members: live.collect(),
            partitions,
        })
    }

    /// Completes when the live generation has taken or parked everything that the source holds
    /// now. Never, if nobody works on it or a partition stands still.
    ///
    /// # Errors
    /// [`DurableError::Unknown`], [`DurableError::Store`].
    ///
    /// # Cost
    /// A read for each partition, and one more for each that is behind, again and again.
    pub async fn caught_up(&self) -> Result<(), DurableError> {
        let catalog = self.catalog().await?;
        let reader = self.reader(&catalog);
        for partition in catalog.partitions() {
            let head = reader.head(partition).await?;
            loop {
                let generation = self.catalog().await?.live;
                let view = layout::shard(&self.name, ShardId { generation, partition })?;
                let (_, state) = lease::load(&*self.views, &view).await?;
                let position = state.map_or(0, |state| state.position);
                // Behind the last event there may be numbers without one.
                if position >= head
                    || reader
                        .page(partition, position, PageLimit::events(1))
                        .await?
                        .events
                        .is_empty()
                {
                    break;
                }
                tokio::time::sleep(PACE).await;
            }
        }
        Ok(())
    }

    async fn partition(
        &self,
        catalog: &Catalog,
        id: ShardId,
        now: Timestamp,
    ) -> Result<Option<PartitionStatus>, DurableError> {
        let view = layout::shard(&self.name, id)?;
        let (_, Some(state)) = lease::load(&*self.views, &view).await? else { return Ok(None) };
        let reader = self.reader(catalog);
        let limit = PageLimit::events(1);
        let (waiting, oldest) = match reader.page(id.partition, state.position, limit).await {
            Ok(page) => match page.events.first() {
                Some(first) => (page.head - state.position, Some(first.event.recorded_at)),
                None => (0, None),
            },
            // What cannot be read waits as well.
            Err(StoreError::Corrupt { .. }) => (1, None),
            Err(error) => return Err(error.into()),
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
            halt: state.halt,
        }))
    }

    /// The parked events of a partition of the live generation, after the place where the page
    /// before ended; at most `limit` (1 to 1,000).
    ///
    /// # Errors
    /// [`DurableError::Unknown`], [`DurableError::Store`].
    pub async fn parked(
        &self,
        partition: PartitionId,
        after: Option<&ViewKey>,
        limit: usize,
    ) -> Result<ParkedPage, DurableError> {
        let generation = self.catalog().await?.live;
        let (page, records) = self.records(ShardId { generation, partition }, after, limit).await?;
        let last = records.last().map(|(key, _)| key.clone());
        let shown = records.into_iter().map(|(_, record)| record.shown(generation, partition));
        Ok(ParkedPage { events: shown.collect(), next: last.filter(|_| !page.finished) })
    }

    /// Wants a parked event to be given to the handler again. It comes behind events that are
    /// behind it in the source.
    ///
    /// # Errors
    /// [`DurableError::NotParked`], [`DurableError::Unknown`], [`DurableError::Store`].
    pub async fn drive(&self, event: &ParkedEvent) -> Result<(), DurableError> {
        self.wish_one(event, Wish::Drive).await
    }

    /// Wants a parked event to be forgotten.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub async fn drop_parked(&self, event: &ParkedEvent) -> Result<(), DurableError> {
        self.wish_one(event, Wish::Drop).await
    }

    /// Wants every event that is parked in a partition to be given to the handler again. How many
    /// they are.
    ///
    /// # Errors
    /// [`DurableError::Unknown`], [`DurableError::Store`].
    pub async fn drive_all(&self, partition: PartitionId) -> Result<u64, DurableError> {
        let generation = self.catalog().await?.live;
        let id = ShardId { generation, partition };
        let (mut after, mut count) = (None, 0);
        loop {
            let (page, records) = self.records(id, after.as_ref(), PAGE).await?;
            for (key, _) in &records {
                count += u64::from(self.wish(id, key, Wish::Drive).await?);
            }
            after = records.last().map(|(key, _)| key.clone());
            if page.finished || after.is_none() {
                self.tell().await?;
                return Ok(count);
            }
        }
    }

    /// Makes the projection anew beside the live one, from its start; when it has caught up,
    /// readers are given the new one, and the old one is cleared. If it is being rebuilt already,
    /// that one is meant.
    ///
    /// # Errors
    /// [`DurableError::Invalid`] if it is no projection; [`DurableError::Unknown`],
    /// [`DurableError::Store`].
    pub async fn rebuild(&self) -> Result<Generation, DurableError> {
        let built = self.change(|catalog| {
            if catalog.building.is_none() {
                catalog.build_anew();
            }
        });
        let built = built.await?.building;
        built.ok_or_else(|| invalid("the generation was given up at once"))
    }

    /// Gives up a rebuild; what it made is cleared.
    ///
    /// # Errors
    /// As [`rebuild`](Self::rebuild).
    pub async fn abandon_rebuild(&self) -> Result<(), DurableError> {
        let abandoned = self.change(Catalog::give_up);
        abandoned.await.map(drop)
    }

    /// Starts the subscription again from here, on the store as it is now; parked events stay. A
    /// projection is rebuilt beside the old one.
    ///
    /// # Errors
    /// [`DurableError::Unknown`], [`DurableError::Store`].
    pub async fn restart(&self, start: Start) -> Result<(), DurableError> {
        let catalog = self.catalog().await?;
        let epoch = self.store.info().await?.epoch;
        let partitions = u32::try_from(catalog.starts.len()).unwrap_or(u32::MAX);
        let starts = self.reader(&catalog).resolve(&start, partitions).await?;
        let run = catalog.run;
        let view = layout::catalog(&self.name)?;
        let restart = |catalog: &mut Catalog| {
            if catalog.run == run {
                catalog.restart(epoch, starts.clone());
            }
        };
        catalog::update(&self.views, &view, restart).await?;
        self.tell().await
    }

    /// Lets a partition of the live generation go on after this place, for example behind an event
    /// that cannot be read. What is between is not taken. Whoever works on the partition loses it.
    ///
    /// # Errors
    /// [`DurableError::Invalid`] if it would go back; [`DurableError::Unknown`],
    /// [`DurableError::Store`].
    pub async fn skip_to(
        &self,
        partition: PartitionId,
        position: Position,
    ) -> Result<(), DurableError> {
        let generation = self.catalog().await?.live;
        let view = layout::shard(&self.name, ShardId { generation, partition })?;
        for _ in 0..ATTEMPTS {
            let (checkpoint, state) = lease::load(&*self.views, &view).await?;
            let mut state = state.ok_or(DurableError::Unknown)?;
            if state.position == position.0 {
                return self.tell().await;
            }
            if state.position > position.0 {
                return Err(invalid("the partition has come further; use `restart` to go back"));
            }
            state.token += 1;
            (state.position, state.owner) = (position.0, None);
            (state.in_flight, state.halt) = (None, None);
            let ops = vec![put(key(STATE)?, &state)?];
            match views::commit(&*self.views, &view, checkpoint, ops).await {
                Ok(()) => return self.tell().await,
                Err(error) if views::look_again(&error) => {}
                Err(error) => return Err(views::store_error(error).into()),
            }
        }
        Err(views::contended().into())
    }

    async fn catalog(&self) -> Result<Catalog, DurableError> {
        let (_, found) = catalog::load(&*self.views, &layout::catalog(&self.name)?).await?;
        found.ok_or(DurableError::Unknown)
    }

    fn reader(&self, catalog: &Catalog) -> Reader {
        Reader { store: Arc::clone(&self.store), source: catalog.source.clone() }
    }

    async fn change(&self, change: impl Fn(&mut Catalog)) -> Result<Catalog, DurableError> {
        if self.catalog().await?.work != Work::Projection {
            return Err(invalid("only projections are rebuilt"));
        }
        let view = layout::catalog(&self.name)?;
        let changed = catalog::update(&self.views, &view, change).await?;
        self.tell().await?;
        changed.ok_or(DurableError::Unknown)
    }

    async fn records(
        &self,
        id: ShardId,
        after: Option<&ViewKey>,
        limit: usize,
    ) -> Result<(ViewPage, Vec<(ViewKey, ParkedRecord)>), DurableError> {
        let view = layout::shard(&self.name, id)?;
        let all = layout::parked_range()?;
        // The least key behind the last one.
        let start = after.map(|last| key(&format!("{last} "))).transpose()?.or(all.start);
        let range = KeyRange { start, end: all.end };
        let page = self.views.scan(&view, &range, Direction::Forward, limit).await?;
        let mut records = Vec::new();
        for (key, bytes) in &page.entries {
            records.push((key.clone(), read(key, bytes)?));
        }
        Ok((page, records))
    }

    async fn wish_one(&self, event: &ParkedEvent, wish: Wish) -> Result<(), DurableError> {
        let ParkedEvent { generation, partition, id, .. } = *event;
        let key = layout::parked_key(event.position.0, id, event.scope.as_ref())?;
        if !self.wish(ShardId { generation, partition }, &key, wish).await? {
            return Err(DurableError::NotParked { id, partition, generation });
        }
        self.tell().await
    }

    /// Notes a wish with a parked event. False if it is not parked.
    async fn wish(&self, id: ShardId, name: &ViewKey, wish: Wish) -> Result<bool, DurableError> {
        let view = layout::shard(&self.name, id)?;
        for attempt in 0..ATTEMPTS {
            let keys = [name.as_str()];
            let (checkpoint, values) = views::get(&*self.views, &view, &keys).await?;
            let Some(bytes) = values.into_iter().next().flatten() else {
                // After a try whose answer was lost, the wish may have come true already.
                return Ok(attempt > 0);
            };
            let mut record: ParkedRecord = read(name, &bytes)?;
            (record.wish, record.tries) = (Some(wish), 0);
            let ops = vec![put(name.clone(), &record)?, put(key(ASKED)?, &())?];
            match views::commit(&*self.views, &view, checkpoint, ops).await {
                Ok(()) => return Ok(true),
                Err(error) if views::look_again(&error) => {}
                Err(error) => return Err(views::store_error(error).into()),
            }
        }
        Err(views::contended().into())
    }

    async fn tell(&self) -> Result<(), DurableError> {
        ring(self.bus.as_ref(), layout::topic(&self.name)?).await;
        Ok(())
    }
}

fn invalid(what: &str) -> DurableError {
    DurableError::Invalid { what: what.to_owned() }
}
