//! Events that a handler did not take: put aside in one write with the position behind them, driven
//! again or dropped when an operator asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::handler::Delivery;
use super::layout::{self, ASKED, key};
use super::lease::Interrupt;
use super::metrics::Counters;
use super::project::{Failure, Skip, guarded};
use super::refusal::{HandlerError, Kind};
use super::shard::{Job, Next, Shard};
use super::state::{Halt, ParkedRecord, ShardState, Wish, put, read};
use crate::event::RecordedEvent;
use crate::id::{Scope, ViewKey};
use crate::ports::{Direction, KeyRange, StoreError, ViewGet, ViewOp};

/// Parked events that are looked through in one call.
const PAGE: usize = 100;

/// What became of an event that was driven again.
enum Driven {
    /// The handler has it; there is nothing left to keep.
    Taken,
    /// The handler does not take it still.
    Refused(String),
    /// It turned out to be one entry for each of these views.
    Split(BTreeSet<Scope>),
}

impl Shard {
    /// Parks an event for whatever did not take it.
    pub(super) async fn park(
        &mut self,
        event: &Arc<RecordedEvent>,
        failed: Vec<Failure>,
        attempts: u32,
    ) -> Result<Next, Interrupt> {
        let (place, limit) = (self.member.reader.place(event), self.member.config.max_parked);
        let many = u32::try_from(failed.len()).unwrap_or(u32::MAX);
        if self.lease.state().parked.saturating_add(many) > limit {
            self.full = Some(self.lease.state().parked);
            self.halt(Halt::TooManyParked { limit }).await?;
            return Ok(Next::Stands);
        }
        let mut records = Vec::new();
        for Failure { scope, error } in failed {
            if let (Job::Projection(projector), Some(scope)) = (&self.job, &scope)
                && projector.skip(&mut self.lease, scope, place).await? == Skip::Taken
            {
                continue;
            }
            let key = layout::parked_key(place, event.event.id, scope.as_ref())?;
            let record = ParkedRecord {
                position: place,
                stream: event.stream.clone(),
                version: event.version,
                id: event.event.id,
                scope,
                reason: error.reason().to_owned(),
                attempts,
                at: self.member.holder.clock.now(),
                wish: None,
                tries: 0,
            };
            records.push((key, record));
        }
        // One that is parked already, from before a restart, is replaced and not counted again.
        let new = self.absent(records.iter().map(|(key, _)| key.clone()).collect()).await?;
        let mut ops = Vec::new();
        for (key, record) in records {
            tracing::warn!(
                subscription = self.member.name.as_str(),
                partition = self.id.partition.0,
                position = place,
                attempts,
                "an event was parked"
            );
            ops.push(put(key, &record)?);
        }
        let change = |state: &mut ShardState| {
            state.position = place;
            state.parked = state.parked.saturating_add(new);
            (state.in_flight, state.halt) = (None, None);
        };
        self.lease.write(change, &ops).await?;
        Counters::add(&self.member.counters.parked, ops.len() as u64);
        self.passed(1);
        self.handed = self.handed.saturating_sub(1);
        Ok(Next::Passed(1))
    }

    /// How many of these keys hold nothing.
    async fn absent(&self, keys: Vec<ViewKey>) -> Result<u32, StoreError> {
        let get = ViewGet { view: self.lease.view().clone(), keys };
        let found = self.member.views.get(&[get]).await?;
        let absent = found.iter().flat_map(|found| &found.values).filter(|value| value.is_none());
        Ok(u32::try_from(absent.count()).unwrap_or(u32::MAX))
    }

    /// Does what operators asked for.
    pub(super) async fn obey(&mut self) -> Result<(), Interrupt> {
        // Removed first: who asks from here on is seen in the next look.
        self.lease.write(|_| {}, &[ViewOp::Delete(key(ASKED)?)]).await?;
        let mut range = layout::parked_range()?;
        loop {
            let page = self.parked(&range).await?;
            let Some((last, _)) = page.last().cloned() else { return Ok(()) };
            for (key, record) in page {
                match record.wish {
                    None => {}
                    Some(Wish::Drop) => self.forget(key, &record).await?,
                    Some(Wish::Drive) => self.drive(key, record).await?,
                }
                if self.is_stopping() {
                    self.lease.ask();
                    return Ok(());
                }
            }
            range = KeyRange { start: Some(layout::behind(&last)?), ..range };
        }
    }

    async fn parked(&self, range: &KeyRange) -> Result<Vec<(ViewKey, ParkedRecord)>, StoreError> {
        let (view, forward) = (self.lease.view(), Direction::Forward);
        let page = self.member.views.scan(view, range, forward, PAGE).await?;
        let mut found = Vec::new();
        for (key, bytes) in page.entries {
            let record = read(&key, &bytes)?;
            found.push((key, record));
        }
        Ok(found)
    }

    /// Drops a parked event.
    async fn forget(&mut self, key: ViewKey, record: &ParkedRecord) -> Result<(), Interrupt> {
        if let (Job::Projection(projector), Some(scope)) = (&self.job, &record.scope) {
            projector.forget(&mut self.lease, scope, record.position).await?;
        }
        self.remove(key, &[]).await
    }

    async fn remove(&mut self, key: ViewKey, more: &[ViewOp]) -> Result<(), Interrupt> {
        let added = u32::try_from(more.len()).unwrap_or(u32::MAX);
        let change = |state: &mut ShardState| {
            state.parked = state.parked.saturating_add(added).saturating_sub(1);
        };
        let mut ops = more.to_vec();
        ops.push(ViewOp::Delete(key));
        self.lease.write(change, &ops).await
    }

    /// Gives a parked event to the handler once more.
    async fn drive(&mut self, key: ViewKey, mut record: ParkedRecord) -> Result<(), Interrupt> {
        // Noted before, so that an event that kills its handler is not driven for ever.
        record.attempts = record.attempts.saturating_add(1);
        record.tries = record.tries.saturating_add(1);
        if record.tries > self.member.config.max_attempts {
            (record.wish, record.tries) = (None, 0);
            return self.lease.write(|_| {}, &[put(key, &record)?]).await;
        }
        self.lease.write(|_| {}, &[put(key.clone(), &record)?]).await?;
        let found = self.member.reader.store.find(&record.stream, record.id).await?;
        let driven = match found {
            Some(event) => self.give(&record, event).await?,
            None => Driven::Refused("the store does not hold the event any more".into()),
        };
        match driven {
            Driven::Taken => {
                Counters::add(&self.member.counters.driven, 1);
                self.remove(key, &[]).await
            }
            Driven::Refused(reason) => {
                (record.reason, record.wish, record.tries) = (reason, None, 0);
                self.lease.write(|_| {}, &[put(key, &record)?]).await
            }
            Driven::Split(scopes) => {
                let mut ops = Vec::new();
                for scope in scopes {
                    let key = layout::parked_key(record.position, record.id, Some(&scope))?;
                    let record = ParkedRecord { scope: Some(scope), tries: 0, ..record.clone() };
                    ops.push(put(key, &record)?);
                }
                self.remove(key, &ops).await?;
                self.lease.ask();
                Ok(())
            }
        }
    }

    /// Whether so many may be parked in place of one.
    fn has_room_for(&self, many: usize) -> bool {
        let others = self.lease.state().parked.saturating_sub(1);
        let many = u32::try_from(many).unwrap_or(u32::MAX);
        many <= 1 || others.saturating_add(many) <= self.member.config.max_parked
    }

    async fn give(
        &mut self,
        record: &ParkedRecord,
        event: Arc<RecordedEvent>,
    ) -> Result<Driven, Interrupt> {
        let place = record.position;
        let refused = |error: HandlerError| match error.kind {
            Kind::Store(error) => Err(Interrupt::Store(error)),
            Kind::Retry { .. } | Kind::Final | Kind::Moved => {
                Ok(Driven::Refused(error.reason().to_owned()))
            }
        };
        match (&self.job, &record.scope) {
            (Job::Effects(handler), _) => {
                let partition = self.id.partition;
                let delivery = Delivery { event, partition, attempt: record.attempts };
                let work = guarded(self.member.config.handler_timeout, handler.handle(&delivery));
                self.lease.keep(work).await?.map_or_else(refused, |()| Ok(Driven::Taken))
            }
            (Job::Projection(projector), Some(scope)) => {
                if projector.reader.place(&event) != place {
                    // A view waits for places, which mean nothing in another incarnation.
                    return Ok(Driven::Refused("the event has another place in the source".into()));
                }
                // The view knows whether it waits for the event: one that was driven just before
                // a crash is not taken twice.
                let routed = BTreeMap::from([(scope.clone(), vec![event])]);
                let failed = projector.apply(&mut self.lease, routed).await?.into_iter().next();
                failed.map_or(Ok(Driven::Taken), |failure| refused(failure.error))
            }
            (Job::Projection(projector), None) => match projector.route(&event) {
                Err(error) => refused(error),
                Ok(scopes) if !self.has_room_for(scopes.len()) => {
                    let many = scopes.len();
                    let reason = format!("{many} views want it, and so many cannot be parked");
                    Ok(Driven::Refused(reason))
                }
                Ok(scopes) => {
                    for scope in &scopes {
                        projector.want(&mut self.lease, scope, place).await?;
                    }
                    Ok(Driven::Split(scopes))
                }
            },
        }
    }
}
