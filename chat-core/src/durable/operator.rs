//! What an operator can do with a subscription.

use std::sync::Arc;

use super::catalog::{self, Catalog, Work};
use super::config::Start;
use super::error::DurableError;
use super::layout::{self, ASKED, STATE, key};
use super::lease;
use super::member::ring;
use super::name::{Generation, ShardId, SubscriptionName};
use super::reader::Reader;
use super::state::{ParkedEvent, ParkedRecord, ShardState, Wish, put, read};
use super::views;
use crate::clock::Clock;
use crate::id::{Checkpoint, PartitionId, Position, ViewKey};
use crate::ports::{
    Direction, EventBus, EventStore, KeyRange, StoreError, ViewId, ViewPage, ViewStore,
};

/// Looks at a subscription and gives orders, from any process; the members carry them out.
///
/// # Cancel safety
/// Dropping any call leaves its order given or not given; giving it twice does no harm.
#[derive(Debug, Clone)]
pub struct Operator {
    pub(super) name: SubscriptionName,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) views: Arc<dyn ViewStore>,
    bus: Option<Arc<dyn EventBus>>,
    pub(super) clock: Arc<dyn Clock>,
    /// The live one, unless another is named.
    generation: Option<Generation>,
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
impl Operator {
    pub(super) fn new(
        name: SubscriptionName,
        store: Arc<dyn EventStore>,
        views: Arc<dyn ViewStore>,
        bus: Option<Arc<dyn EventBus>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { name, store, views, bus, clock, generation: None }
    }

    /// The same operator, to look at this generation and give it orders: one that is being built
    /// can be waited for, helped over what it cannot read, and its parked events be driven. Without
    /// this, the live generation is meant.
    #[must_use]
    pub fn of_generation(mut self, generation: Generation) -> Self {
        self.generation = Some(generation);
        self
    }

    /// The parked events of a partition, after the place where the page before ended; at most
    /// `limit` (1 to 1,000).
    ///
    /// # Errors
    /// [`DurableError::Invalid`] if there is no such generation; [`DurableError::Unknown`],
    /// [`DurableError::Store`].
    pub async fn parked(
        &self,
        partition: PartitionId,
        after: Option<&ViewKey>,
        limit: usize,
    ) -> Result<ParkedPage, DurableError> {
        let generation = self.meant(&self.catalog().await?)?;
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
    /// As [`parked`](Self::parked).
    pub async fn drive_all(&self, partition: PartitionId) -> Result<u64, DurableError> {
        let generation = self.meant(&self.catalog().await?)?;
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
    ///
    /// # Cost
    /// The whole source is read again. Of each view of the old generation an empty one is left for
    /// ever, with its checkpoint alone: it is what refuses a writer that was paused.
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
        let partitions = u32::try_from(catalog.starts.len()).unwrap_or(u32::MAX);
        let (epoch, starts) = self.reader(&catalog).resolve(&start, partitions).await?;
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

    /// Lets a partition go on after this place, for example behind an event that cannot be read.
    /// What is between is not taken. Whoever works on the partition loses it. A partition whose own
    /// state cannot be read gets a new one.
    ///
    /// # Errors
    /// [`DurableError::Invalid`] if it would go back, or beyond the end of the source;
    /// [`DurableError::Unknown`], [`DurableError::Store`].
    pub async fn skip_to(
        &self,
        partition: PartitionId,
        position: Position,
    ) -> Result<(), DurableError> {
        let catalog = self.catalog().await?;
        let generation = self.meant(&catalog)?;
        let view = layout::shard(&self.name, ShardId { generation, partition })?;
        if position.0 > self.reader(&catalog).head(partition).await? {
            return Err(invalid("the source does not go so far"));
        }
        for _ in 0..ATTEMPTS {
            let (checkpoint, known) = match lease::load(&*self.views, &view).await {
                Ok((checkpoint, state)) => (checkpoint, Some(state.ok_or(DurableError::Unknown)?)),
                Err(StoreError::Corrupt { .. }) => (Checkpoint::ZERO, None),
                Err(error) => return Err(error.into()),
            };
            let place = known.as_ref().map(|state| state.position);
            if place == Some(position.0) {
                return self.tell().await;
            }
            if place.is_some_and(|place| place > position.0) {
                return Err(invalid("the partition has come further; use `restart` to go back"));
            }
            let (checkpoint, mut state) = match known {
                Some(state) => (checkpoint, state),
                None => self.state_anew(&catalog, &view).await?,
            };
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

    /// A state to be written over one that cannot be read.
    async fn state_anew(
        &self,
        catalog: &Catalog,
        view: &ViewId,
    ) -> Result<(Checkpoint, ShardState), DurableError> {
        let (mut range, mut parked) = (layout::parked_range()?, 0);
        loop {
            let page = self.views.scan(view, &range, Direction::Forward, PAGE).await?;
            parked += u32::try_from(page.entries.len()).unwrap_or(u32::MAX);
            if let (Some((last, _)), false) = (page.entries.last(), page.finished) {
                range.start = Some(layout::behind(last)?);
                continue;
            }
            let mut state = ShardState::fresh(catalog.epoch, catalog.run, 0);
            state.parked = parked;
            // Each owner's token was a batch of this view, so none of them was as high.
            (state.token, state.seq) = (page.checkpoint.0, page.checkpoint.0);
            return Ok((page.checkpoint, state));
        }
    }

    pub(super) async fn catalog(&self) -> Result<Catalog, DurableError> {
        let (_, found) = catalog::load(&*self.views, &layout::catalog(&self.name)?).await?;
        found.ok_or(DurableError::Unknown)
    }

    /// The generation that this operator is for.
    pub(super) fn meant(&self, catalog: &Catalog) -> Result<Generation, DurableError> {
        let generation = self.generation.unwrap_or(catalog.live);
        let known = generation == catalog.live || Some(generation) == catalog.building;
        if known { Ok(generation) } else { Err(invalid("there is no such generation")) }
    }

    pub(super) fn reader(&self, catalog: &Catalog) -> Reader {
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
        let start = after.map(layout::behind).transpose()?.or(all.start);
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
