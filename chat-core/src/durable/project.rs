//! Brings events into views, each once: what a view has taken stands in the view, in the same
//! batch as what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::edit::ViewEdit;
use super::handler::Projection;
use super::layout::{self, PROGRESS, key};
use super::lease::{Interrupt, Lease};
use super::name::{ShardId, SubscriptionName};
use super::reader::Reader;
use super::refusal::{HandlerError, Kind};
use super::state::{Progress, put, read};
use super::views;
use crate::event::RecordedEvent;
use crate::id::{Scope, ViewKey};
use crate::ports::{StoreError, ViewBatch, ViewGet, ViewId, ViewStore, ViewValues};

/// A projection at work on one shard.
#[derive(Debug)]
pub(super) struct Projector {
    pub(super) projection: Arc<dyn Projection>,
    pub(super) views: Arc<dyn ViewStore>,
    pub(super) reader: Reader,
    pub(super) name: SubscriptionName,
    pub(super) id: ShardId,
    pub(super) timeout: Duration,
}

/// What did not take an event: one view, or (without a scope) the routing.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) scope: Option<Scope>,
    pub(super) error: HandlerError,
}

impl Failure {
    pub(super) fn whole(error: HandlerError) -> Self {
        Self { scope: None, error }
    }
}

/// Whether a view was told to skip an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skip {
    Noted,
    /// The view has taken it after all.
    Taken,
}

type Routed = BTreeMap<Scope, Vec<Arc<RecordedEvent>>>;

/// Views that are read and written in one call.
const VIEWS_PER_CALL: usize = 256;
/// How often a view is read again that others change.
const ATTEMPTS: u32 = 16;

impl Projector {
    /// Takes events. What failed, if anything did; views that did not fail have taken theirs.
    pub(super) async fn take(
        &self,
        lease: &mut Lease,
        events: &[Arc<RecordedEvent>],
    ) -> Result<Vec<Failure>, Interrupt> {
        let mut routed = Routed::new();
        for event in events {
            match self.route(event) {
                Ok(scopes) => {
                    for scope in scopes {
                        routed.entry(scope).or_default().push(Arc::clone(event));
                    }
                }
                Err(error) => return Ok(vec![Failure::whole(error)]),
            }
        }
        self.apply(lease, routed).await
    }

    /// The scopes of an event, each once.
    pub(super) fn route(&self, event: &RecordedEvent) -> Result<BTreeSet<Scope>, HandlerError> {
        let route = || self.projection.route(event);
        let scopes = std::panic::catch_unwind(AssertUnwindSafe(route)).unwrap_or_else(panicked)?;
        Ok(scopes.into_iter().collect())
    }

    /// What a projection wants to see of a view.
    fn wishes(
        &self,
        scope: &Scope,
        events: &[Arc<RecordedEvent>],
    ) -> Result<Vec<ViewKey>, HandlerError> {
        let reads = || Ok(self.projection.reads(scope, events));
        std::panic::catch_unwind(AssertUnwindSafe(reads)).unwrap_or_else(panicked)
    }

    /// Gives events to views that have not taken them.
    pub(super) async fn apply(
        &self,
        lease: &mut Lease,
        mut routed: Routed,
    ) -> Result<Vec<Failure>, Interrupt> {
        let mut failures = Vec::new();
        let mut attempts = 0;
        while !routed.is_empty() {
            attempts += 1;
            if attempts > ATTEMPTS {
                return Err(views::contended().into());
            }
            let mut moved = Routed::new();
            while !routed.is_empty() {
                let rest = routed.keys().nth(VIEWS_PER_CALL).cloned();
                let rest = rest.map_or_else(Routed::new, |first| routed.split_off(&first));
                moved.extend(self.write(lease, routed, &mut failures).await?);
                routed = rest;
            }
            routed = moved;
        }
        Ok(failures)
    }

    /// Reads, changes and writes some views. Those that were changed meanwhile come back.
    async fn write(
        &self,
        lease: &mut Lease,
        routed: Routed,
        failures: &mut Vec<Failure>,
    ) -> Result<Routed, Interrupt> {
        let mut wanted = Vec::new();
        for (scope, events) in &routed {
            match self.wishes(scope, events) {
                Ok(keys) => wanted.push((scope.clone(), keys)),
                Err(error) => failures.push(Failure { scope: Some(scope.clone()), error }),
            }
        }
        let found = self.read(wanted).await?;
        self.admit(lease, &found).await?;
        let mut batches = Vec::new();
        let mut moved = Routed::new();
        for View { scope, view, values, keys } in found {
            let Some(events) = routed.get(&scope) else { continue };
            let mut progress = progress(&view, &values)?;
            let wanted = events.iter().filter(|event| progress.wants(self.reader.place(event)));
            let wanted: Vec<_> = wanted.cloned().collect();
            if wanted.is_empty() {
                continue;
            }
            let known = keys.into_iter().zip(values.values.into_iter().skip(1)).collect();
            let mut edit = ViewEdit::new(&*self.views, view.clone(), values.checkpoint, known);
            let work = guarded(self.timeout, self.projection.project(&mut edit, &wanted));
            let done = lease.keep(work).await?;
            match done.and_then(|()| edit.finish()) {
                Ok((view, expected, mut ops)) => {
                    wanted.iter().for_each(|event| progress.take(self.reader.place(event)));
                    ops.push(put(key(PROGRESS)?, &progress)?);
                    batches.push((scope, ViewBatch { view, expected, next: expected.next(), ops }));
                }
                Err(error) => match error.kind {
                    Kind::Store(error) => return Err(error.into()),
                    Kind::Moved => drop(moved.insert(scope, wanted)),
                    Kind::Retry { .. } | Kind::Final => {
                        failures.push(Failure { scope: Some(scope), error });
                    }
                },
            }
        }
        let (scopes, batches): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
        let answers = if batches.is_empty() { vec![] } else { self.views.commit(&batches).await };
        let mut failed = None;
        let mut answers = answers.into_iter();
        for scope in scopes {
            match answers.next().ok_or_else(views::no_answer)? {
                Ok(()) => {}
                Err(error) if views::look_again(&error) => {
                    let events = routed.get(&scope).cloned().unwrap_or_default();
                    moved.insert(scope, events);
                }
                Err(error) => {
                    let error = views::store_error(error);
                    if views::is_refusal(&error) {
                        // What this view is to hold, no try will bring into it.
                        failures.push(Failure { scope: Some(scope), error: error.into() });
                    } else {
                        failed = Some(error);
                    }
                }
            }
        }
        failed.map_or(Ok(moved), |error| Err(error.into()))
    }

    /// Some keys of the views of some scopes, and how far they have come.
    async fn read(&self, wanted: Vec<(Scope, Vec<ViewKey>)>) -> Result<Vec<View>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut gets = Vec::new();
        for (scope, keys) in &wanted {
            let view = layout::target(&self.name, self.id, scope.clone())?;
            let keys = std::iter::once(key(PROGRESS)?).chain(keys.iter().cloned()).collect();
            gets.push(ViewGet { view, keys });
        }
        let values = self.views.get(&gets).await?;
        let views = wanted.into_iter().zip(gets).zip(values);
        let views = views.map(|(((scope, keys), ViewGet { view, .. }), values)| View {
            scope,
            view,
            values,
            keys,
        });
        Ok(views.collect())
    }

    /// Notes scopes that are new, before anything is written there, so that the generation can be
    /// cleared one day; and writes nothing to one that is being cleared.
    async fn admit(&self, lease: &mut Lease, found: &[View]) -> Result<(), Interrupt> {
        let cleared = |view: &&View| {
            let progress = view.values.values.first();
            view.values.checkpoint.0 > 0 && progress.is_none_or(Option::is_none)
        };
        if let Some(View { view, .. }) = found.iter().find(cleared) {
            // Whoever clears a generation has taken away its leases before.
            lease.look().await?;
            let what = "somebody emptied the view; a rebuild makes it anew".into();
            return Err(StoreError::Corrupt { place: format!("{view:?}"), what }.into());
        }
        let mut ops = Vec::new();
        for view in found.iter().filter(|view| view.values.checkpoint.0 == 0) {
            ops.push(put(layout::scope_key(&view.scope)?, &())?);
        }
        if ops.is_empty() { Ok(()) } else { lease.write(|_| {}, &ops).await }
    }

    /// Tells a view not to take this event before it is asked to, whoever may still be at it.
    pub(super) async fn skip(
        &self,
        lease: &mut Lease,
        scope: &Scope,
        place: u64,
    ) -> Result<Skip, Interrupt> {
        self.note(lease, scope, |progress| {
            let wants = progress.wants(place);
            if wants {
                progress.skip(place);
            }
            wants
        })
        .await
    }

    /// Tells a view to want an event that could not be routed when its turn was.
    pub(super) async fn want(
        &self,
        lease: &mut Lease,
        scope: &Scope,
        place: u64,
    ) -> Result<(), Interrupt> {
        let noted = self.note(lease, scope, |progress| {
            let news = !progress.skipped.contains(&place);
            if news {
                progress.skipped.push(place);
            }
            news
        });
        noted.await.map(drop)
    }

    /// Tells a view that it need not wait for an event any more.
    pub(super) async fn forget(
        &self,
        lease: &mut Lease,
        scope: &Scope,
        place: u64,
    ) -> Result<(), Interrupt> {
        let noted = self.note(lease, scope, |progress| {
            let waits = progress.skipped.contains(&place);
            progress.skipped.retain(|skipped| *skipped != place);
            waits
        });
        noted.await.map(drop)
    }

    /// Changes what a view knows of its progress, if `change` says that there is something to.
    async fn note(
        &self,
        lease: &mut Lease,
        scope: &Scope,
        change: impl Fn(&mut Progress) -> bool,
    ) -> Result<Skip, Interrupt> {
        for _ in 0..ATTEMPTS {
            let found = self.read(vec![(scope.clone(), Vec::new())]).await?;
            self.admit(lease, &found).await?;
            let View { view, values, .. } =
                found.into_iter().next().ok_or_else(views::no_answer)?;
            let mut progress = progress(&view, &values)?;
            if !change(&mut progress) {
                return Ok(Skip::Taken);
            }
            let ops = vec![put(key(PROGRESS)?, &progress)?];
            match views::commit(&*self.views, &view, values.checkpoint, ops).await {
                Ok(()) => return Ok(Skip::Noted),
                Err(error) if views::look_again(&error) => {}
                Err(error) => return Err(views::store_error(error).into()),
            }
        }
        Err(views::contended().into())
    }
}

#[derive(Debug)]
struct View {
    scope: Scope,
    view: ViewId,
    values: ViewValues,
    keys: Vec<ViewKey>,
}

fn progress(view: &ViewId, values: &ViewValues) -> Result<Progress, StoreError> {
    match values.values.first() {
        Some(Some(bytes)) => read(view, bytes),
        _ => Ok(Progress::default()),
    }
}

/// Runs a handler with a bound on its time; a panic is its error, and nobody else's.
pub(super) async fn guarded(
    timeout: Duration,
    work: impl Future<Output = Result<(), HandlerError>>,
) -> Result<(), HandlerError> {
    match tokio::time::timeout(timeout, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(done) => done.unwrap_or_else(panicked),
        Err(_) => Err(HandlerError::retry("the handler took too long")),
    }
}

/// A panic's message may hold anything, so it is not kept.
fn panicked<T>(_panic: Box<dyn std::any::Any + Send>) -> Result<T, HandlerError> {
    Err(HandlerError::retry("the handler panicked"))
}
