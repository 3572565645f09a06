//! The right to work on a partition: taken, kept and given back by compare-and-set, so that who was
//! paused and overtaken is refused in the write of its position.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::layout::{ASKED, STATE, key};
use super::state::{ShardState, put, read};
use super::views;
use crate::clock::{Clock, Timestamp};
use crate::id::Checkpoint;
use crate::ports::{StoreError, ViewId, ViewOp, ViewStore};

/// Why the owner of a partition cannot go on as it was.
#[derive(Debug)]
pub(super) enum Interrupt {
    /// The lease is another's, or the partition is gone.
    Lost,
    /// The store failed; what was under way may be repeated.
    Store(StoreError),
}

impl From<StoreError> for Interrupt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What leases need of their member.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) views: Arc<dyn ViewStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) name: String,
    pub(super) duration: Duration,
    /// How often it is looked whether a lease is to be renewed.
    pub(super) pace: Duration,
}

impl Holder {
    /// A third of the time is over.
    pub(super) fn is_due(&self, expires: Timestamp) -> bool {
        self.clock.now().plus(self.duration * 2 / 3) >= expires
    }

    pub(super) fn expiry(&self) -> Timestamp {
        self.clock.now().plus(self.duration)
    }
}

/// A partition in the hands of this process, as far as it knows.
///
/// # Cancel safety
/// Dropping any call leaves its write done or not done. The next one finds out by the number that
/// each try carries.
#[derive(Debug)]
pub(super) struct Lease {
    holder: Holder,
    view: ViewId,
    checkpoint: Checkpoint,
    state: ShardState,
    next_seq: u64,
    asked: bool,
    /// The last owner did not give it back.
    pub(super) inherited: bool,
}

/// How often a write is tried while others write the same view.
const ATTEMPTS: u32 = 32;

/// A partition's state as it stands.
pub(super) async fn load(
    store: &dyn ViewStore,
    view: &ViewId,
) -> Result<(Checkpoint, Option<ShardState>), StoreError> {
    let (checkpoint, values) = views::get(store, view, &[STATE]).await?;
    let state = values.into_iter().next().flatten();
    Ok((checkpoint, state.map(|bytes| read(view, &bytes)).transpose()?))
}

impl Lease {
    /// Takes a partition that nobody else holds. `None`: somebody does, or it is not set up.
    pub(super) async fn claim(holder: &Holder, view: ViewId) -> Result<Option<Self>, StoreError> {
        let (checkpoint, state) = load(&*holder.views, &view).await?;
        let Some(mut state) = state else { return Ok(None) };
        if state.is_held(&holder.name, holder.clock.now()) {
            return Ok(None);
        }
        let inherited = state.owner.is_some();
        state.token += 1;
        state.seq += 1;
        state.owner = Some(holder.name.clone());
        state.expires = holder.expiry();
        let ops = vec![put(key(STATE)?, &state)?];
        match views::commit(&*holder.views, &view, checkpoint, ops).await {
            Ok(()) => {}
            // Another was first; or it is ours, and the answer was lost.
            Err(error) if views::look_again(&error) => {
                let (_, found) = load(&*holder.views, &view).await?;
                if found.as_ref() != Some(&state) {
                    return Ok(None);
                }
            }
            Err(error) => return Err(views::store_error(error)),
        }
        let (holder, next_seq) = (holder.clone(), state.seq + 1);
        let checkpoint = checkpoint.next();
        // A wish may stand there since before; there is one of parked events only.
        let asked = state.parked > 0;
        Ok(Some(Self { holder, view, checkpoint, state, next_seq, asked, inherited }))
    }

    pub(super) fn state(&self) -> &ShardState {
        &self.state
    }

    pub(super) fn view(&self) -> &ViewId {
        &self.view
    }

    /// Whether an operator asked for something since the last call.
    pub(super) fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    /// Remembers that an operator's wish is not done yet.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// Changes the state, with other keys of the view, and renews the lease. `change` may be run
    /// more than once, on a newer state each time.
    pub(super) async fn write(
        &mut self,
        change: impl Fn(&mut ShardState),
        ops: &[ViewOp],
    ) -> Result<(), Interrupt> {
        let first = self.next_seq;
        for _ in 0..ATTEMPTS {
            let mut next = self.state.clone();
            change(&mut next);
            next.seq = self.next_seq;
            self.next_seq += 1;
            next.expires = self.holder.expiry();
            let mut all = ops.to_vec();
            all.push(put(key(STATE)?, &next)?);
            let written =
                views::commit(&*self.holder.views, &self.view, self.checkpoint, all).await;
            match written {
                Ok(()) => {
                    self.checkpoint = self.checkpoint.next();
                    self.state = next;
                    return Ok(());
                }
                Err(error) if views::look_again(&error) => {
                    self.look().await?;
                    if self.state.seq >= first {
                        return Ok(());
                    }
                }
                Err(error) => return Err(views::store_error(error).into()),
            }
        }
        Err(views::contended().into())
    }

    /// Reads the state again: whether the lease still holds, and whether somebody asked.
    pub(super) async fn look(&mut self) -> Result<(), Interrupt> {
        let keys = [STATE, ASKED];
        let (checkpoint, values) = views::get(&*self.holder.views, &self.view, &keys).await?;
        let mut values = values.into_iter();
        let Some(bytes) = values.next().flatten() else { return Err(Interrupt::Lost) };
        let state: ShardState = read(&self.view, &bytes)?;
        if state.token != self.state.token {
            return Err(Interrupt::Lost);
        }
        self.asked |= values.next().flatten().is_some();
        self.checkpoint = checkpoint;
        self.state = state;
        Ok(())
    }

    /// Renews the lease if a third of its time is over.
    pub(super) async fn renew_if_due(&mut self) -> Result<(), Interrupt> {
        if self.holder.is_due(self.state.expires) {
            self.write(|_| {}, &[]).await?;
        }
        Ok(())
    }

    /// Works while the lease is renewed. The work is dropped if the lease is lost; a store that
    /// cannot be reached is no reason to stop it, as the next write will tell.
    pub(super) async fn keep<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupt> {
        let mut work = pin!(work);
        let pace = self.holder.pace;
        loop {
            let renewal = async {
                tokio::time::sleep(pace).await;
                self.renew_if_due().await
            };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                renewed = renewal => match renewed {
                    Err(Interrupt::Lost) => return Err(Interrupt::Lost),
                    Ok(()) | Err(Interrupt::Store(_)) => {}
                },
            }
        }
    }

    /// Gives the partition back, so that another need not wait.
    pub(super) async fn release(&mut self) -> Result<(), Interrupt> {
        self.write(|state| state.owner = None, &[]).await
    }
}
