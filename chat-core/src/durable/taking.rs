//! Gives events to the handler or the projection, and decides what becomes of each.

use std::sync::Arc;

use super::handler::Delivery;
use super::lease::Interrupt;
use super::metrics::Counters;
use super::project::{Failure, guarded};
use super::refusal::{HandlerError, Kind};
use super::shard::{Job, Next, Shard};
use super::state::InFlight;
use crate::event::RecordedEvent;

/// What became of events that were tried.
struct Tried {
    /// The first so many were taken.
    taken: usize,
    /// What the one behind them met.
    failed: Vec<Failure>,
}

impl Shard {
    /// Takes the first of these events, as many as go together.
    pub(super) async fn advance(
        &mut self,
        events: &[Arc<RecordedEvent>],
    ) -> Result<Next, Interrupt> {
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
        let attempt = attempt.max(1 + u32::from(self.handed > 0));
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
                let (mut taken, had) = (0, self.handed);
                for event in batch {
                    if *self.stop.borrow() {
                        break;
                    }
                    // It stays so if its end cannot be saved.
                    self.handed = self.handed.max(taken + 1);
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
                    attempt = 1 + u32::from(taken < had);
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
            self.handed = self.handed.saturating_sub(taken.len());
            Counters::add(&self.member.counters.delivered, taken.len() as u64);
        }
        if all {
            self.passed(taken.len());
        }
        Ok(())
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
}
