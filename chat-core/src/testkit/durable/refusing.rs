//! A view store that answers chosen calls with an error.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::ports::{
    Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewPage, ViewStore,
    ViewValues,
};

/// What a member wants of its views.
pub(super) enum Call<'a> {
    Get(&'a ViewId),
    Scan(&'a ViewId),
    Commit(&'a ViewBatch),
}

type Rule = Box<dyn FnMut(Call<'_>) -> Option<StoreError> + Send>;

/// Asks a rule about each call before it happens; of several commits, about each.
pub(super) struct Refusing {
    inner: Arc<dyn ViewStore>,
    rule: Mutex<Option<Rule>>,
}

impl Refusing {
    pub(super) fn new(
        inner: &Arc<dyn ViewStore>,
        rule: impl FnMut(Call<'_>) -> Option<StoreError> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), rule: Mutex::new(Some(Box::new(rule))) })
    }

    /// Refuses nothing any more.
    pub(super) fn mend(&self) {
        *self.rule.lock().expect("no panic under the lock") = None;
    }

    fn refuses(&self, call: Call<'_>) -> Option<StoreError> {
        let mut rule = self.rule.lock().expect("no panic under the lock");
        rule.as_mut().and_then(|rule| rule(call))
    }
}

impl fmt::Debug for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusing").finish_non_exhaustive()
    }
}

#[async_trait]
impl ViewStore for Refusing {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        match gets.iter().find_map(|get| self.refuses(Call::Get(&get.view))) {
            Some(error) => Err(error),
            None => self.inner.get(gets).await,
        }
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        match self.refuses(Call::Scan(view)) {
            Some(error) => Err(error),
            None => self.inner.scan(view, range, direction, limit).await,
        }
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        let mut answers = Vec::new();
        for batch in batches {
            answers.push(match self.refuses(Call::Commit(batch)) {
                Some(error) => Err(error.into()),
                None => self.inner.commit(std::slice::from_ref(batch)).await.remove(0),
            });
        }
        answers
    }
}
