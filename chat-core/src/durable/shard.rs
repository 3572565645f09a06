//! The work on one partition, from taking the lease to losing it or giving it back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::catalog::Work;
use super::handler::{Delivery, EventHandler};
use super::lease::{Interrupt, Lease};
use super::member::{Member, Task};
use super::metrics::{Counters, Gauge};
use super::name::ShardId;
use super::project::{Failure, Projector, guarded};
use super::reader::Page;
use super::refusal::{HandlerError, Kind};
use super::state::{Halt, InFlight};
use crate::event::RecordedEvent;
use crate::ports::{PageLimit, StoreError};

/// A partition at work.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) member: Arc<Member>,
    pub(super) id: ShardId,
    pub(super) lease: Lease,
    pub(super) job: Job,
    stop: watch::Receiver<bool>,
    rung: watch::Receiver<u64>,
    /// Events that may have been under way when the last owner died: they are noted one by one,
    /// so that one that kills its handler is found.
    careful: usize,
    /// Events to be tried one by one, as a batch of them failed.
    narrow: usize,
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

/// What became of events that were tried.
struct Tried {
    /// The first so many were taken.
    taken: usize,
    /// What the one behind them met.
    failed: Vec<Failure>,
}

impl Shard {
    pub(super) fn new(
        member: Arc<Member>,
        id: ShardId,
        lease: Lease,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let job = match &member.task {
            Task::Effects(handler) => Job::Effects(Arc::clone(handler)),
            Task::Projection(projection) => Job::Projection(Box::new(Projector {
                projection: Arc::clone(projection),
                views: Arc::clone(&member.views),
                reader: member.reader.clone(),
                name: member.name.clone(),
                id,
                timeout: member.config.handler_timeout,
            })),
        };
        let careful = if lease.inherited { member.config.save_every } else { 0 };
        let rung = member.rung.subscribe();
        Self { member, id, lease, job, stop, rung, careful, narrow: 0 }
    }

    /// Works until the lease is lost, or until told to stop; then the lease is given back.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            self.rung.mark_unchanged();
            match self.round().await {
                Ok(Round::More) => failures = 0,
                Ok(Round::Idle) => {
                    failures = 0;
                    self.wait().await;
                }
                Err(Interrupt::Lost) => {
                    Counters::add(&self.member.counters.lost, 1);
                    return;
                }
                Err(Interrupt::Store(StoreError::Closed)) => return,
                Err(Interrupt::Store(error)) => {
                    self.member.note_failure(&error, "a partition");
                    if let StoreError::Corrupt { .. } = error {
                        // If this is not written either, it is at the next try.
                        let _ = self.halt(Halt::Corrupt { what: error.to_string() }).await;
                    }
                    failures += 1;
                    let wait = self.member.backoff(failures).min(LONGEST_STORE_WAIT);
                    self.pause(wait).await;
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
        if self.lease.take_asked() {
            self.obey().await?;
        }
        if !self.is_of_this_run().await? {
            return Ok(Round::Idle);
        }
        let Some(page) = self.read().await? else { return Ok(Round::Idle) };
        let mut rest = page.events.as_slice();
        // Behind the last event there may be numbers without one.
        let head = if rest.is_empty() { self.lease.state().position } else { page.head };
        self.show(head, rest.first());
        while !rest.is_empty() && !self.is_stopping() {
            match self.advance(rest).await? {
                Next::Passed(events) => rest = rest.get(events..).unwrap_or_default(),
                Next::Again => return Ok(Round::More),
                Next::Stands => return Ok(Round::Idle),
            }
            self.show(head, rest.first());
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

    /// The next events. `None`: they cannot be read.
    async fn read(&mut self) -> Result<Option<Page>, Interrupt> {
        let (after, config) = (self.lease.state().position, &self.member.config);
        let mut limit = PageLimit::events(config.batch_events).with_bytes(config.batch_bytes);
        loop {
            match self.member.reader.page(self.id.partition, after, limit).await {
                Ok(page) => {
                    let halted = matches!(self.lease.state().halt, Some(Halt::Corrupt { .. }));
                    if halted && page.events.is_empty() {
                        self.resume().await?;
                    }
                    return Ok(Some(page));
                }
                // Fewer at a time, so that what can be read before the broken one is taken.
                Err(StoreError::Corrupt { .. }) if limit.events > 1 => limit.events /= 2,
                Err(error @ StoreError::Corrupt { .. }) => {
                    self.halt(Halt::Corrupt { what: error.to_string() }).await?;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the first of these events, as many as go together.
    async fn advance(&mut self, events: &[Arc<RecordedEvent>]) -> Result<Next, Interrupt> {
        let single = self.careful > 0 || self.narrow > 0;
        let most = match (&self.job, single) {
            (_, true) => 1,
            (Job::Projection(_), false) => events.len(),
            (Job::Effects(_), false) => self.member.config.save_every,
        };
        let batch = events.get(..most.min(events.len())).unwrap_or(events);
        let Some(first) = batch.first() else { return Ok(Next::Passed(0)) };
        let place = self.member.reader.place(first);
        let known = self.lease.state().attempts(place);
        if self.careful > 0 {
            if known >= self.member.config.max_attempts {
                let why = "the process died each time that the handler had it";
                let failed = vec![Failure::whole(HandlerError::permanent(why))];
                return self.park(first, failed, known).await;
            }
            let noted = InFlight { position: place, attempts: known + 1 };
            self.lease.write(|state| state.in_flight = Some(noted), &[]).await?;
        }
        let attempt = known + 1 + u32::from(self.careful > 0);
        let Tried { taken, failed } = self.attempt(batch, attempt).await?;
        self.done(batch.get(..taken).unwrap_or_default(), batch.len() == taken).await?;
        let Some(failing) = batch.get(taken).filter(|_| !failed.is_empty()) else {
            return Ok(Next::Passed(taken));
        };
        if batch.len() > 1 && matches!(self.job, Job::Projection(_)) {
            // Which of them it was is found by giving them one by one.
            self.narrow = batch.len();
            return Ok(Next::Again);
        }
        let known = if taken == 0 { known } else { 0 };
        match self.retry_or_park(failing, failed, known + 1).await? {
            Next::Passed(parked) => Ok(Next::Passed(taken + parked)),
            next @ (Next::Again | Next::Stands) => Ok(next),
        }
    }

    async fn attempt(
        &mut self,
        batch: &[Arc<RecordedEvent>],
        mut attempt: u32,
    ) -> Result<Tried, Interrupt> {
        match &self.job {
            Job::Projection(projector) => {
                let failed = projector.take(&mut self.lease, batch).await?;
                let taken = if failed.is_empty() { batch.len() } else { 0 };
                Ok(Tried { taken, failed })
            }
            Job::Effects(handler) => {
                let mut taken = 0;
                for event in batch {
                    if self.is_stopping() {
                        break;
                    }
                    let (event, partition) = (Arc::clone(event), self.id.partition);
                    let delivery = Delivery { event, partition, attempt };
                    let timeout = self.member.config.handler_timeout;
                    let work = guarded(timeout, handler.handle(&delivery));
                    match self.lease.keep(work).await? {
                        Ok(()) => taken += 1,
                        Err(HandlerError { kind: Kind::Store(error), .. }) if taken == 0 => {
                            return Err(error.into());
                        }
                        // What was taken is saved first; then it is tried again.
                        Err(HandlerError { kind: Kind::Store(_), .. }) => break,
                        Err(error) => {
                            return Ok(Tried { taken, failed: vec![Failure::whole(error)] });
                        }
                    }
                    attempt = 1;
                }
                Ok(Tried { taken, failed: vec![] })
            }
        }
    }

    /// Saves that these events were taken.
    async fn done(&mut self, taken: &[Arc<RecordedEvent>], all: bool) -> Result<(), Interrupt> {
        if let Some(last) = taken.last() {
            let position = self.member.reader.place(last);
            let save = self.lease.write(
                |state| {
                    state.position = position;
                    (state.in_flight, state.halt) = (None, None);
                },
                &[],
            );
            save.await?;
            Counters::add(&self.member.counters.delivered, taken.len() as u64);
        }
        if all {
            self.passed(taken.len());
        }
        Ok(())
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// So many events have found their end, one way or the other.
    pub(super) fn passed(&mut self, events: usize) {
        self.careful = self.careful.saturating_sub(events);
        self.narrow = self.narrow.saturating_sub(events);
    }

    /// Decides about an event that failed for the `attempts`-th time.
    async fn retry_or_park(
        &mut self,
        event: &Arc<RecordedEvent>,
        failed: Vec<Failure>,
        attempts: u32,
    ) -> Result<Next, Interrupt> {
        let mut wait = None;
        for failure in &failed {
            if let Kind::Retry { after } = failure.error.kind {
                wait = wait.max(Some(after.unwrap_or_else(|| self.member.backoff(attempts))));
            }
        }
        if attempts >= self.member.config.max_attempts {
            wait = None;
        }
        let Some(wait) = wait else { return self.park(event, failed, attempts).await };
        Counters::add(&self.member.counters.retried, 1);
        let position = self.member.reader.place(event);
        let noted = Some(InFlight { position, attempts });
        self.lease.write(|state| state.in_flight = noted, &[]).await?;
        self.pause_kept(wait).await?;
        // What was asked meanwhile comes first.
        Ok(Next::Again)
    }

    pub(super) async fn halt(&mut self, halt: Halt) -> Result<(), Interrupt> {
        if self.lease.state().halt.as_ref() != Some(&halt) {
            tracing::warn!(
                subscription = self.member.name.as_str(),
                partition = self.id.partition.0,
                ?halt,
                "a partition of a subscription stands still"
            );
            self.lease.write(|state| state.halt = Some(halt.clone()), &[]).await?;
        }
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), Interrupt> {
        self.lease.write(|state| state.halt = None, &[]).await
    }

    fn show(&mut self, head: u64, oldest: Option<&Arc<RecordedEvent>>) {
        let oldest = oldest.map(|event| event.event.recorded_at);
        let position = self.lease.state().position;
        self.member.counters.gauge(self.id, Some(Gauge { position, head, oldest }));
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.rung.changed() => {}
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
    async fn pause_kept(&mut self, time: Duration) -> Result<(), Interrupt> {
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

/// A store that comes back is found soon.
const LONGEST_STORE_WAIT: Duration = Duration::from_secs(2);
