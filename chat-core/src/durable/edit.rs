//! A view in the hands of a projection: what it holds, and what is to change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::PROGRESS;
use super::refusal::{HandlerError, Kind};
use crate::id::{Checkpoint, Scope, ViewKey};
use crate::ports::{ViewGet, ViewId, ViewOp, ViewStore};

/// One view while a [`Projection`](super::Projection) changes it. Everything is written in one
/// atomic batch, together with how far the view has come; if the view was changed by somebody else
/// meanwhile, nothing is.
#[derive(Debug)]
pub struct ViewEdit<'a> {
    views: &'a dyn ViewStore,
    view: ViewId,
    checkpoint: Checkpoint,
    known: BTreeMap<ViewKey, Option<Arc<[u8]>>>,
    ops: Vec<ViewOp>,
}

impl<'a> ViewEdit<'a> {
    pub(super) fn new(
        views: &'a dyn ViewStore,
        view: ViewId,
        checkpoint: Checkpoint,
        known: BTreeMap<ViewKey, Option<Arc<[u8]>>>,
    ) -> Self {
        Self { views, view, checkpoint, known, ops: Vec::new() }
    }

    /// Whose view it is.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.view.scope
    }

    /// What a key holds, with the changes made here.
    ///
    /// # Errors
    /// [`HandlerError`] to be passed on with `?`: the store failed, or the view was changed.
    ///
    /// # Cost
    /// Nothing for keys that [`reads`](super::Projection::reads) named, or that were read or
    /// written before; a round trip for others.
    pub async fn get(&mut self, key: &ViewKey) -> Result<Option<Arc<[u8]>>, HandlerError> {
        if let Some(known) = self.known.get(key) {
            return Ok(known.clone());
        }
        let get = ViewGet { view: self.view.clone(), keys: vec![key.clone()] };
        let mut values = self.views.get(&[get]).await?;
        let found = values.pop().ok_or_else(HandlerError::moved)?;
        if found.checkpoint != self.checkpoint {
            return Err(HandlerError::moved());
        }
        let value = found.values.into_iter().next().flatten();
        self.known.insert(key.clone(), value.clone());
        Ok(value)
    }

    /// Sets a key. The key `~subscription` belongs to the subscription.
    pub fn put(&mut self, key: ViewKey, value: impl Into<Arc<[u8]>>) {
        let value = value.into();
        self.known.insert(key.clone(), Some(Arc::clone(&value)));
        self.ops.push(ViewOp::Put(key, value));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: ViewKey) {
        self.known.insert(key.clone(), None);
        self.ops.push(ViewOp::Delete(key));
    }

    pub(super) fn finish(self) -> Result<(ViewId, Checkpoint, Vec<ViewOp>), HandlerError> {
        let reserved = |op: &ViewOp| match op {
            ViewOp::Put(key, _) | ViewOp::Delete(key) => key.as_str() == PROGRESS,
            ViewOp::Clear => false,
        };
        if self.ops.iter().any(reserved) {
            let reason = format!("the key {PROGRESS} belongs to the subscription");
            return Err(HandlerError::new(Kind::Final, &reason));
        }
        Ok((self.view, self.checkpoint, self.ops))
    }
}
