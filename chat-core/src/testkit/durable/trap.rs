//! A view store that stands still at a chosen call, so that a member can be crashed or overtaken at
//! any step.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::id::ProjectionName;
use crate::ports::{
    Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewPage, ViewStore,
    ViewValues,
};

/// Where a call stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Nothing has happened yet.
    Before,
    /// It is done, and nobody knows.
    After,
}

/// Stands still from the n-th commit on, with every further call, until it is released: as a
/// process that was paused, as far as its views are concerned.
#[derive(Debug)]
pub(super) struct Trap {
    inner: Arc<dyn ViewStore>,
    left: Mutex<usize>,
    side: Side,
    /// Counts only commits to this projection's views.
    only: Option<ProjectionName>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Set,
    Sprung,
    Released,
}

impl Trap {
    /// Springs at the n-th commit, from 1; never if that is 0.
    pub(super) fn at(inner: Arc<dyn ViewStore>, commit: usize, side: Side) -> Arc<Self> {
        Self::only_at(inner, commit, side, None)
    }

    pub(super) fn only_at(
        inner: Arc<dyn ViewStore>,
        commit: usize,
        side: Side,
        only: Option<&str>,
    ) -> Arc<Self> {
        let only = only.map(|name| ProjectionName::new(name).expect("a name"));
        let state = watch::Sender::new(State::Set);
        Arc::new(Self { inner, left: Mutex::new(commit), side, only, state })
    }

    pub(super) async fn sprung(&self) {
        let mut state = self.state.subscribe();
        let _the_sender_lives_here = state.wait_for(|state| *state != State::Set).await;
    }

    pub(super) fn release(&self) {
        self.state.send_replace(State::Released);
    }

    /// Whether this is the commit. Who comes behind it finds the trap sprung already.
    fn springs(&self, batches: &[ViewBatch]) -> bool {
        let is_it = |only: &ProjectionName| batches.iter().any(|b| b.view.projection == *only);
        let mut left = self.left.lock().expect("no panic under the lock");
        if *left == 0 || !self.only.as_ref().is_none_or(is_it) {
            return false;
        }
        *left -= 1;
        let springs = *left == 0;
        if springs && self.side == Side::Before {
            self.state.send_replace(State::Sprung);
        }
        springs
    }

    async fn pass(&self) {
        let mut state = self.state.subscribe();
        let _the_sender_lives_here = state.wait_for(|state| *state != State::Sprung).await;
    }
}

#[async_trait]
impl ViewStore for Trap {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        self.pass().await;
        self.inner.get(gets).await
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        self.pass().await;
        self.inner.scan(view, range, direction, limit).await
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        let springs = self.springs(batches);
        self.pass().await;
        let answers = self.inner.commit(batches).await;
        if springs && self.side == Side::After {
            self.state.send_replace(State::Sprung);
            self.pass().await;
        }
        answers
    }
}
