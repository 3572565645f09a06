//! The work on one partition, from taking the lease to losing it or giving it back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::catalog::Work;
use super::handler::EventHandler;
use super::lease::{Interrupt, Lease};
use super::member::{Member, Task};
use super::metrics::{Counters, Gauge};
use super::name::ShardId;
use super::project::Projector;
use super::reader::Page;
use super::state::Halt;
use crate::clock::Timestamp;
use crate::event::RecordedEvent;
use crate::id::Epoch;
use crate::ports::{PageLimit, StoreError};

/// A partition at work.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) member: Arc<Member>,
    pub(super) id: ShardId,
    pub(super) lease: Lease,
    pub(super) job: Job,
    pub(super) stop: watch::Receiver<bool>,
    source: watch::Receiver<u64>,
    orders: watch::Receiver<u64>,
    /// Events that may have been under way when the last owner died: they are noted one by one,
    /// so that one that kills its handler is found.
    pub(super) careful: usize,
    /// Events to be tried one by one, as a batch of them failed.
    pub(super) narrow: usize,
    /// So many of the next events the handler may have had already.
    pub(super) handed: usize,
    /// How many were parked when one more was too many.
    pub(super) full: Option<u32>,
    /// Why the partition stands still, also if that could not be written.
    stands: Option<Halt>,
    /// The end of the source as it was seen last.
    head: u64,
    oldest: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) enum Job {
    Projection(Box<Projector>),
    Effects(Arc<dyn EventHandler>),
}

/// What a round came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// There is more at once.
    More,
    /// There is nothing to do until something rings.
    Idle,
}

/// What became of the next events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many were taken or parked.
    Passed(usize),
    /// They are to be read and tried again.
    Again,
    /// The partition stands still.
    Stands,
}

impl Shard {
    pub(super) fn new(
        member: Arc<Member>,
        id: ShardId,
        lease: Lease,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let config = &member.config;
        let (job, at_once) = match &member.task {
            Task::Effects(handler) => (Job::Effects(Arc::clone(handler)), config.save_every),
            Task::Projection(projection) => {
                let projector = Projector {
                    projection: Arc::clone(projection),
                    views: Arc::clone(&member.views),
                    reader: member.reader.clone(),
                    name: member.name.clone(),
                    id,
                    timeout: config.handler_timeout,
                };
                (Job::Projection(Box::new(projector)), config.batch_events)
            }
        };
        let careful = if lease.inherited { at_once } else { 0 };
        let (source, orders) = (member.source_rung.subscribe(), member.orders_rung.subscribe());
        let (narrow, handed, full, stands, head, oldest) = (0, 0, None, None, 0, None);
        Self {
            member,
            id,
            lease,
            job,
            stop,
            source,
            orders,
            careful,
            narrow,
            handed,
            full,
            stands,
            head,
            oldest,
        }
    }

    /// Works until the lease is lost, or until told to stop; then the lease is given back.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            self.source.mark_unchanged();
            self.orders.mark_unchanged();
            match self.round().await {
                Ok(round) => {
                    failures = 0;
                    self.stands = self.lease.state().halt.clone();
                    if round == Round::Idle {
                        self.wait().await;
                    }
                }
                Err(Interrupt::Lost) => {
                    Counters::add(&self.member.counters.lost, 1);
                    return;
                }
                Err(Interrupt::Store(StoreError::Closed)) => return,
                Err(Interrupt::Store(error)) => {
                    self.member.note_failure(&error, "a partition");
                    if !error.is_retryable() {
                        // If this is not written either, the metrics have it, and it is written
                        // at the next try.
                        let _ = self.halt(Halt::of(&error)).await;
                    }
                    failures += 1;
                    self.pause(self.member.store_wait(failures)).await;
                }
            }
            if self.is_stopping() {
                break;
            }
        }
        // If the store does not take it, the lease ends by its time.
        if self.lease.release().await.is_ok() {
            Counters::add(&self.member.counters.released, 1);
        }
    }

    async fn round(&mut self) -> Result<Round, Interrupt> {
        self.lease.renew_if_due().await?;
        let state = self.lease.state();
        if state.parked > 0 || state.halt.is_some() {
            // Wishes come from other processes; without any parked event there is none.
            self.lease.look().await?;
        }
        if !self.is_of_this_run().await? {
            return Ok(Round::Idle);
        }
        if self.lease.take_asked()
            && let Err(interrupt) = self.obey().await
        {
            // The order stands until it is carried out.
            self.lease.ask();
            return Err(interrupt);
        }
        if self.is_full() {
            self.head = self.member.reader.head(self.id.partition).await?;
            self.tell();
            return Ok(Round::Idle);
        }
        let Some(page) = self.read().await? else { return Ok(Round::Idle) };
        // A page does not say which incarnation it is of: it is of the one that is there still.
        if !page.events.is_empty() && !self.is_of_this_store().await? {
            return Ok(Round::Idle);
        }
        let mut rest = page.events.as_slice();
        // Behind the last event there may be numbers without one.
        self.head = if rest.is_empty() { self.lease.state().position } else { page.head };
        self.show(rest.first());
        while !rest.is_empty() && !self.is_stopping() {
            match self.advance(rest).await? {
                Next::Passed(events) => rest = rest.get(events..).unwrap_or_default(),
                Next::Again => return Ok(Round::More),
                Next::Stands => return Ok(Round::Idle),
            }
            self.show(rest.first());
        }
        Ok(if page.events.is_empty() { Round::Idle } else { Round::More })
    }

    /// Whether the position belongs to the store as it is now and to the last start.
    async fn is_of_this_run(&mut self) -> Result<bool, Interrupt> {
        let seen = self.member.seen.borrow().clone();
        let (state, catalog) = (self.lease.state(), &seen.catalog);
        let restarted = catalog.work == Work::Effects && state.run < catalog.run;
        if restarted {
            let (run, epoch) = (catalog.run, catalog.epoch);
            let start = catalog.start(self.id.partition);
            let restart = self.lease.write(
                |state| {
                    (state.run, state.epoch, state.position) = (run, epoch, start);
                    (state.in_flight, state.halt) = (None, None);
                },
                &[],
            );
            restart.await?;
        }
        let found = seen.epoch;
        if self.lease.state().epoch != found {
            self.halt(Halt::NewEpoch { found }).await?;
            return Ok(false);
        }
        if matches!(self.lease.state().halt, Some(Halt::NewEpoch { .. })) {
            self.resume().await?;
        }
        Ok(true)
    }

    /// Whether the store is still the one that the position is of.
    async fn is_of_this_store(&mut self) -> Result<bool, Interrupt> {
        let found: Epoch = self.member.reader.store.info().await?.epoch;
        if found == self.lease.state().epoch {
            return Ok(true);
        }
        self.member.notice(found);
        self.halt(Halt::NewEpoch { found }).await?;
        Ok(false)
    }

    /// Whether nothing can go on until a parked event is gone.
    fn is_full(&self) -> bool {
        let state = self.lease.state();
        let stands = matches!(state.halt, Some(Halt::TooManyParked { .. }));
        stands && self.full.is_some_and(|parked| state.parked >= parked)
    }

    /// The next events. `None`: they cannot be read.
    async fn read(&mut self) -> Result<Option<Page>, Interrupt> {
        let (after, config) = (self.lease.state().position, &self.member.config);
        let mut limit = PageLimit::events(config.batch_events).with_bytes(config.batch_bytes);
        loop {
            match self.member.reader.page(self.id.partition, after, limit).await {
                Ok(page) => {
                    let halt = &self.lease.state().halt;
                    let halted = matches!(halt, Some(Halt::Corrupt { .. } | Halt::Store { .. }));
                    if halted && page.events.is_empty() {
                        self.resume().await?;
                    }
                    return Ok(Some(page));
                }
                // Fewer at a time, so that what can be read before the broken one is taken.
                Err(StoreError::Corrupt { .. }) if limit.events > 1 => limit.events /= 2,
                Err(error @ StoreError::Corrupt { .. }) => {
                    self.head = self.head.max(after.saturating_add(1));
                    self.halt(Halt::of(&error)).await?;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    pub(super) async fn halt(&mut self, halt: Halt) -> Result<(), Interrupt> {
        if self.stands.as_ref() != Some(&halt) {
            tracing::warn!(
                subscription = self.member.name.as_str(),
                partition = self.id.partition.0,
                ?halt,
                "a partition of a subscription stands still"
            );
            self.stands = Some(halt.clone());
        }
        self.tell();
        if self.lease.state().halt.as_ref() != Some(&halt) {
            self.lease.write(|state| state.halt = Some(halt.clone()), &[]).await?;
        }
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), Interrupt> {
        self.stands = None;
        self.lease.write(|state| state.halt = None, &[]).await
    }

    fn show(&mut self, oldest: Option<&Arc<RecordedEvent>>) {
        self.oldest = oldest.map(|event| event.event.recorded_at);
        self.tell();
    }

    /// Tells the metrics how the partition stands.
    fn tell(&self) {
        let state = self.lease.state();
        let (position, head, oldest) = (state.position, self.head, self.oldest);
        let halt = self.stands.clone().or_else(|| state.halt.clone());
        self.member.counters.gauge(self.id, Some(Gauge { position, head, oldest, halt }));
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.source.changed() => {}
            _ = self.orders.changed() => {}
            _ = self.stop.changed() => {}
            () = tokio::time::sleep(self.member.config.poll_interval) => {}
        }
    }

    async fn pause(&mut self, time: Duration) {
        tokio::select! {
            _ = self.stop.changed() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// A pause that may be longer than the lease.
    pub(super) async fn pause_kept(&mut self, time: Duration) -> Result<(), Interrupt> {
        let mut stop = self.stop.clone();
        let pause = async {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = tokio::time::sleep(time) => {}
            }
        };
        self.lease.keep(pause).await
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.member.counters.gauge(self.id, None);
    }
}
