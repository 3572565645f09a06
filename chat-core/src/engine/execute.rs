//! The way of a command: wait for its chat, be decided, be appended, take effect in memory, be
//! delivered, be answered. Once accepted, a command goes its way whether or not the caller waits.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::cell::{CellInner, ChatCell};
use super::error::ChatError;
use super::shared::{Shared, bug};
use super::tail::ChatRecord;
use crate::clock::Timestamp;
use crate::domain::{
    ChatCommand, ChatCreated, ChatEvent, Context, Decision, LimitName, MessageId, MessageRef,
    Rejection, decide, encode,
};
use crate::event::NewEvent;
use crate::id::{EventId, UserId, Version};
use crate::ports::{Append, AppendResult, Appended, Expected, StoreError};

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// The event that carries the command out; `None` if nothing had to change.
    pub event: Option<EventId>,
    /// The event's place in the chat; if nothing had to change, the version that was looked at.
    pub version: Version,
    /// The command had been carried out before; this is its first answer again.
    pub deduplicated: bool,
    /// For a message that had been sent before: it was deleted since.
    pub deleted: bool,
}

impl Ack {
    /// Whether the command made a change, now or before.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.event.is_some()
    }

    /// The id of the message that was sent.
    #[must_use]
    pub fn message(&self) -> Option<MessageId> {
        self.event.map(MessageId::from)
    }
}

/// What is asked of a chat.
#[derive(Debug)]
pub(super) enum Asked {
    Create {
        created: ChatCreated,
        /// The chat's id says all about it, so that it does not matter who made it when.
        existing_is_fine: bool,
    },
    Command(ChatCommand),
}

impl Asked {
    fn existing_is_fine(&self) -> bool {
        matches!(self, Self::Create { existing_is_fine: true, .. })
    }
}

/// Whether the caller may repeat the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyed {
    /// By the caller's key.
    Yes,
    /// The id was made for this call alone.
    No,
}

/// A command that waits for its decision.
#[derive(Debug)]
pub(super) struct Pending {
    actor: UserId,
    asked: Asked,
    id: EventId,
    keyed: Keyed,
    attempts: u32,
    /// Goes to the store by itself: its id stands there, or may stand there.
    alone: bool,
    /// An attempt whose outcome nobody knows: from then on no failure means "did not happen".
    unknown: Option<StoreError>,
    answer: Answer,
}

impl Pending {
    /// Answers with a failure that is not the domain's.
    fn fail(self, error: ChatError) {
        self.answer.give(Err(self.unknown.map_or(error, ChatError::Store)));
    }

    /// Whether the store may hold what this command made before this call's last attempt.
    fn may_be_there(&self) -> bool {
        self.keyed == Keyed::Yes || self.unknown.is_some()
    }
}

/// Where the answer goes; counts the command as under way until then.
#[derive(Debug)]
struct Answer {
    to: Option<oneshot::Sender<Result<Ack, ChatError>>>,
    shared: Arc<Shared>,
}

impl Answer {
    fn give(mut self, answer: Result<Ack, ChatError>) {
        if let Some(to) = self.to.take() {
            // A caller that went away does not need its answer.
            let _ = to.send(answer);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.shared.pending.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.pending_ended.notify_waiters();
        }
    }
}

/// A command that was decided and is on its way to the store.
#[derive(Debug)]
struct InFlight {
    pending: Pending,
    event: ChatEvent,
    at: Timestamp,
}

/// Decided commands of one chat. They were decided on one state, so they are one append: it stands
/// or falls whole, and nothing of another process comes in between.
#[derive(Debug)]
pub(super) struct Run {
    cell: Arc<ChatCell>,
    items: Vec<InFlight>,
    append: Option<Append>,
    bytes: usize,
}

/// Most commands of one chat in one batch; others shall have their turn.
const RUN_MAX: usize = 256;

/// What there is to do for a chat's queue.
enum Step {
    /// Nothing waits.
    Idle,
    /// These go to the store.
    Run(Run),
    /// The next command cannot be decided from what is in memory.
    Prepare,
}

/// Commands that ended without the store, and must be checked against it before the answer.
type Unsure = Vec<(Pending, Version, Result<(), Rejection>)>;

/// Asks a chat for something.
pub(super) async fn execute(
    shared: &Arc<Shared>,
    cell: &Arc<ChatCell>,
    actor: UserId,
    asked: Asked,
    id: EventId,
    keyed: Keyed,
) -> Result<Ack, ChatError> {
    let limit = shared.config.pending_commands;
    let pending = shared.pending.fetch_add(1, Ordering::SeqCst);
    let (to, answer) = oneshot::channel();
    let answer_to = Answer { to: Some(to), shared: Arc::clone(shared) };
    // Looked at after the command was counted, so that a shutdown waits for it or refuses it.
    if shared.is_closing() {
        return Err(ChatError::ShuttingDown);
    }
    if pending >= limit {
        return Err(ChatError::Overloaded { pending, limit });
    }
    shared.counters.commands.fetch_add(1, Ordering::Relaxed);
    let command = Pending {
        actor,
        asked,
        id,
        keyed,
        attempts: 0,
        alone: false,
        unknown: None,
        answer: answer_to,
    };
    enqueue(shared, cell, command);
    // Dropped unanswered only with the runtime, wherever the command was then.
    answer.await.unwrap_or_else(|_| {
        let what = "the engine ended before it answered".into();
        Err(ChatError::Store(StoreError::OutcomeUnknown { what, source: None }))
    })
}

fn enqueue(shared: &Arc<Shared>, cell: &Arc<ChatCell>, command: Pending) {
    let mut inner = cell.lock();
    inner.queue.push_back(command);
    if !inner.busy {
        inner.busy = true;
        advance(shared, cell, inner);
    }
}

/// Takes the next step for a chat whose `busy` flag the caller holds.
fn advance(
    shared: &Arc<Shared>,
    cell: &Arc<ChatCell>,
    mut inner: std::sync::MutexGuard<'_, CellInner>,
) {
    let mut unsure = Vec::new();
    let step = next_step(shared, cell, &mut inner, &mut unsure);
    if matches!(step, Step::Idle) {
        inner.busy = false;
    }
    drop(inner);
    for (pending, version, outcome) in unsure {
        let (shared, cell) = (Arc::clone(shared), Arc::clone(cell));
        let settling = Arc::clone(&shared);
        settling.spawn(async move { settle(&shared, &cell, pending, version, outcome).await });
    }
    match step {
        Step::Idle => {}
        Step::Run(run) => shared.committer.submit(run),
        Step::Prepare => {
            let (shared, cell) = (Arc::clone(shared), Arc::clone(cell));
            let preparing = Arc::clone(&shared);
            preparing.spawn(async move { prepare(&shared, &cell).await });
        }
    }
}

/// Decides what waits, as far as it can be decided on the state in memory: a message changes
/// nothing that the next decision looks at, anything else ends the run.
fn next_step(
    shared: &Arc<Shared>,
    cell: &Arc<ChatCell>,
    inner: &mut CellInner,
    unsure: &mut Unsure,
) -> Step {
    if inner.queue.is_empty() {
        return Step::Idle;
    }
    if !inner.loaded {
        return Step::Prepare;
    }
    let mut run = Run { cell: Arc::clone(cell), items: Vec::new(), append: None, bytes: 0 };
    let mut events = Vec::new();
    let mut ids = HashSet::new();
    let now = shared.clock.now().max(inner.state.recorded_at);
    while let Some(pending) = inner.queue.pop_front() {
        let next_run = !run.items.is_empty() && (pending.alone || ids.contains(&pending.id));
        if next_run || !at_hand(inner, &pending) {
            inner.queue.push_front(pending);
            if run.items.is_empty() {
                return Step::Prepare;
            }
            break;
        }
        match decide_one(shared, inner, &pending, now) {
            Ok(Decision::Event(event)) => match new_event(shared, &pending, &event, now) {
                Ok(new) => {
                    // A message changes nothing that the next decision looks at.
                    let last = pending.alone || !matches!(event, ChatEvent::MessageSent(_));
                    ids.insert(pending.id);
                    run.bytes += new.size();
                    events.push(new);
                    run.items.push(InFlight { pending, event, at: now });
                    if last || run.items.len() >= RUN_MAX {
                        break;
                    }
                }
                Err(error) => pending.fail(error),
            },
            Ok(Decision::NoChange) => unsure.push((pending, inner.state.version, Ok(()))),
            Err(rejection) => unsure.push((pending, inner.state.version, Err(rejection))),
        }
    }
    if events.is_empty() {
        return Step::Idle;
    }
    let expected = Expected::Exactly(inner.state.version);
    match Append::single(cell.stream.clone(), expected, events) {
        Ok(append) => {
            run.append = Some(append);
            Step::Run(run)
        }
        // The bounds of an append were kept above.
        Err(error) => {
            let error = bug(error);
            run.items.into_iter().for_each(|item| item.pending.fail(error.clone()));
            Step::Prepare
        }
    }
}

/// Whether the message that the command is about is in memory, or there is none to look for.
fn at_hand(inner: &CellInner, pending: &Pending) -> bool {
    match &pending.asked {
        Asked::Create { .. } => true,
        Asked::Command(command) => command.target().is_none_or(|target| {
            target.seq == Version::ZERO || inner.messages.get(target.seq).is_some()
        }),
    }
}

fn decide_one(
    shared: &Shared,
    inner: &CellInner,
    pending: &Pending,
    now: Timestamp,
) -> Result<Decision, Rejection> {
    match &pending.asked {
        Asked::Create { created, existing_is_fine } => match inner.state.exists() {
            false => Ok(Decision::Event(ChatEvent::ChatCreated(created.clone()))),
            true if *existing_is_fine => Ok(Decision::NoChange),
            true => Err(Rejection::ChatExists),
        },
        Asked::Command(command) => {
            let target = command.target().and_then(|target| {
                inner.messages.get(target.seq).filter(|message| message.id == target.message)
            });
            let context = Context {
                chat: &inner.state,
                actor: &pending.actor,
                now,
                limits: &shared.limits,
                target: target.map(|message| &**message),
            };
            decide(&context, command)
        }
    }
}

fn new_event(
    shared: &Shared,
    pending: &Pending,
    event: &ChatEvent,
    now: Timestamp,
) -> Result<NewEvent, ChatError> {
    let encoded = encode(event).map_err(bug)?;
    // The decision knows the length of a text; what JSON makes of it is known only here.
    let (value, limit) = (encoded.payload.as_str().len(), shared.limits.event_bytes);
    if value > limit {
        let name = LimitName::EventBytes;
        return Err(Rejection::LimitExceeded { name, value, limit }.into());
    }
    let event = NewEvent {
        id: pending.id,
        event_type: encoded.event_type,
        schema_version: encoded.schema_version,
        recorded_at: now,
        payload: encoded.payload,
        metadata: None,
    };
    if event.size() > Append::MAX_EVENT_BYTES {
        let (bytes, limit) = (event.size(), Append::MAX_EVENT_BYTES);
        let what = format!("an event of {bytes} bytes, at most {limit} are allowed");
        return Err(ChatError::Store(StoreError::Invalid { what }));
    }
    Ok(event)
}

/// The duty of whoever holds a chat's `busy` flag while waiting. Whatever ends the task, a panic in
/// an adapter too, the chat goes on.
struct Duty<'a> {
    shared: &'a Arc<Shared>,
    cell: &'a Arc<ChatCell>,
    done: bool,
}

impl<'a> Duty<'a> {
    fn new(shared: &'a Arc<Shared>, cell: &'a Arc<ChatCell>) -> Self {
        Self { shared, cell, done: false }
    }

    /// Takes the chat's next step.
    fn advance(mut self, inner: std::sync::MutexGuard<'_, CellInner>) {
        self.done = true;
        advance(self.shared, self.cell, inner);
    }
}

impl Drop for Duty<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let waiting = {
            let mut inner = self.cell.lock();
            inner.busy = false;
            std::mem::take(&mut inner.queue)
        };
        for pending in waiting {
            pending.fail(bug("an adapter panicked"));
        }
    }
}

/// Brings into memory what the first waiting command needs, then goes on.
async fn prepare(shared: &Arc<Shared>, cell: &Arc<ChatCell>) {
    let duty = Duty::new(shared, cell);
    if let Err(error) = fetch_needed(shared, cell).await {
        // The store cannot be read: fail what waits, at once rather than one by one.
        let waiting = std::mem::take(&mut cell.lock().queue);
        for pending in waiting {
            pending.fail(error.clone());
        }
    }
    duty.advance(cell.lock());
}

async fn fetch_needed(shared: &Arc<Shared>, cell: &Arc<ChatCell>) -> Result<(), ChatError> {
    let loaded = cell.lock().loaded;
    if !loaded {
        shared.refresh(cell).await?;
    }
    let target = {
        let inner = cell.lock();
        let front = inner.queue.front().filter(|pending| !at_hand(&inner, pending));
        front.and_then(|pending| match &pending.asked {
            Asked::Command(command) => command.target(),
            Asked::Create { .. } => None,
        })
    };
    let Some(target) = target else {
        return Ok(());
    };
    // An impossible version says to the decision that there is no such message.
    let seq = shared.fetch_message(cell, target.message).await?.unwrap_or_default();
    if seq != target.seq {
        let mut inner = cell.lock();
        for waiting in &mut inner.queue {
            set_target(&mut waiting.asked, target, seq);
        }
    }
    Ok(())
}

/// Corrects the place of a message in the commands that are about it.
fn set_target(asked: &mut Asked, wrong: MessageRef, seq: Version) {
    let Asked::Command(command) = asked else {
        return;
    };
    if let Some(target) = command.target_mut().filter(|target| **target == wrong) {
        target.seq = seq;
    }
}

/// Answers a command that needs no event by what is in memory, once the store agrees: the chat may
/// have moved on in another process, and the command may have been carried out before.
async fn settle(
    shared: &Arc<Shared>,
    cell: &Arc<ChatCell>,
    pending: Pending,
    seen: Version,
    outcome: Result<(), Rejection>,
) {
    if let Err(error) = shared.refresh(cell).await {
        pending.fail(error);
        return;
    }
    let now_at = cell.lock().state.version;
    if pending.may_be_there() {
        match shared.store.find(&cell.stream, pending.id).await {
            Ok(Some(found)) => {
                let answer = repeat(cell, &pending, found.version, Some(&found.event));
                if answer.is_ok()
                    && let Err(error) = stands(shared, cell, &found.event).await
                {
                    pending.fail(error.into());
                    return;
                }
                pending.answer.give(answer);
                return;
            }
            Ok(None) => {}
            Err(error) => {
                pending.fail(error.into());
                return;
            }
        }
    }
    if now_at != seen && pending.attempts < shared.config.command_attempts {
        requeue(shared, cell, pending);
        return;
    }
    let answer = match outcome {
        Ok(()) => {
            let created = matches!(pending.asked, Asked::Create { .. });
            Ok(Ack { event: None, version: now_at, deduplicated: created, deleted: false })
        }
        Err(rejection) => Err(rejection.into()),
    };
    pending.answer.give(answer);
}

/// Makes sure that an event that was read is kept as well as the store promises for what it
/// acknowledges: reading it says less, as a store may show what it is still waiting for.
async fn stands(
    shared: &Arc<Shared>,
    cell: &Arc<ChatCell>,
    found: &NewEvent,
) -> Result<(), StoreError> {
    let stream = cell.stream.clone();
    let again = Append::single(stream, Expected::Any, vec![found.clone()])
        .map_err(|error| StoreError::Bug { what: error.to_string() })?;
    let answers = shared.store.append(std::slice::from_ref(&again)).await;
    answers.into_iter().next().unwrap_or_else(|| {
        Err(StoreError::OutcomeUnknown { what: "the store gave no answer".into(), source: None })
    })?;
    Ok(())
}

/// The answer to a command that was carried out before. `found`: what stands there, if it must be
/// compared here because the store did not.
fn repeat(
    cell: &ChatCell,
    pending: &Pending,
    version: Version,
    found: Option<&NewEvent>,
) -> Result<Ack, ChatError> {
    if let Some(found) = found
        && !asks_for(&pending.asked, found)
    {
        return Err(ChatError::IdempotencyConflict { original: pending.id });
    }
    let is_message = matches!(&pending.asked, Asked::Command(ChatCommand::Send(_)));
    let deleted = is_message && {
        let inner = cell.lock();
        !inner.may_show(version)
    };
    // Found after an attempt of this very call, it is this call's own.
    let deduplicated = pending.keyed == Keyed::Yes && pending.unknown.is_none();
    Ok(Ack { event: Some(pending.id), version, deduplicated, deleted })
}

/// Whether the stored event is what the command would make. The event is made of the command's own
/// words, so that it can be compared without the state in which it was decided.
fn asks_for(asked: &Asked, found: &NewEvent) -> bool {
    if asked.existing_is_fine() {
        return true;
    }
    let Ok(event) =
        crate::domain::decode(found.event_type.as_str(), found.schema_version, &found.payload)
    else {
        return false;
    };
    match (asked, event) {
        (Asked::Create { created, existing_is_fine }, ChatEvent::ChatCreated(e)) => {
            *existing_is_fine || e == *created
        }
        (Asked::Command(command), event) => command_made(command, &event),
        _ => false,
    }
}

fn command_made(command: &ChatCommand, event: &ChatEvent) -> bool {
    match (command, event) {
        (ChatCommand::Send(c), ChatEvent::MessageSent(e)) => {
            c.text == e.text
                && c.reply_to.map(|to| to.message) == e.reply_to.map(|to| to.message)
                && c.mentions.users == e.mentions
                && c.mentions.everyone == e.mention_all
                && c.client_message_id == e.client_message_id
        }
        (ChatCommand::Edit(c), ChatEvent::MessageEdited(e)) => {
            c.target.message == e.target.message
                && c.text == e.text
                && c.mentions.users == e.mentions
                && c.mentions.everyone == e.mention_all
        }
        (ChatCommand::Delete { target, reason }, ChatEvent::MessageDeleted(e)) => {
            target.message == e.target.message && *reason == e.reason
        }
        (ChatCommand::React { target, key }, ChatEvent::ReactionAdded(e)) => {
            target.message == e.target.message && *key == e.key
        }
        (ChatCommand::Unreact { target, key }, ChatEvent::ReactionRemoved(e)) => {
            target.message == e.target.message && *key == e.key
        }
        (ChatCommand::Update { name, topic, access }, ChatEvent::ChatUpdated(e)) => {
            *name == e.name && *topic == e.topic && *access == e.access
        }
        (ChatCommand::Invite { user, role }, ChatEvent::MemberInvited(e)) => {
            *user == e.user && *role == e.role
        }
        (ChatCommand::RevokeInvite { user }, ChatEvent::InviteRevoked(e)) => *user == e.user,
        (ChatCommand::DeclineInvite, ChatEvent::InviteDeclined(_))
        | (ChatCommand::Leave, ChatEvent::MemberLeft(_))
        | (ChatCommand::Hide, ChatEvent::ChatHidden(_)) => true,
        (ChatCommand::Join, ChatEvent::MemberJoined(e)) => e.by == e.user && e.role.is_none(),
        (ChatCommand::Add { user, role }, ChatEvent::MemberJoined(e)) => {
            *user == e.user && Some(*role) == e.role
        }
        (ChatCommand::Remove { user, reason }, ChatEvent::MemberRemoved(e)) => {
            *user == e.user && *reason == e.reason
        }
        (ChatCommand::ChangeRole { user, role }, ChatEvent::RoleChanged(e)) => {
            *user == e.user && *role == e.role
        }
        (ChatCommand::TransferOwnership { to }, ChatEvent::OwnershipTransferred(e)) => *to == e.to,
        (ChatCommand::MarkRead { up_to }, ChatEvent::ReadAdvanced(e)) => *up_to == e.up_to,
        (ChatCommand::MarkUnread { from }, ChatEvent::MarkedUnread(e)) => *from == e.from,
        _ => false,
    }
}

/// Puts a command back to be decided anew, before those that came later.
fn requeue(shared: &Arc<Shared>, cell: &Arc<ChatCell>, mut pending: Pending) {
    pending.attempts += 1;
    let mut inner = cell.lock();
    inner.queue.push_front(pending);
    if !inner.busy {
        inner.busy = true;
        advance(shared, cell, inner);
    }
}

/// Answers a command that the store found to be a repeat.
async fn answer_repeat(
    shared: &Arc<Shared>,
    cell: &Arc<ChatCell>,
    pending: Pending,
    version: Version,
) {
    // Another process may have deleted the message since; not to know that is no reason to fail.
    let _ = shared.refresh(cell).await;
    let answer = repeat(cell, &pending, version, None);
    pending.answer.give(answer);
}

impl Run {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn take_append(&mut self) -> Option<Append> {
        self.append.take()
    }

    /// Ends a run that can go nowhere, and what waits behind it.
    pub(super) fn refuse(self) {
        let waiting = {
            let mut inner = self.cell.lock();
            inner.busy = false;
            std::mem::take(&mut inner.queue)
        };
        let own = self.items.into_iter().map(|item| item.pending);
        own.chain(waiting).for_each(|pending| pending.fail(ChatError::ShuttingDown));
    }

    /// Takes the store's answer: what was appended takes effect and is delivered, in order, before
    /// anybody is answered.
    pub(super) fn complete(self, shared: &Arc<Shared>, result: AppendResult) {
        match result {
            Ok(done) => self.appended(shared, &done),
            Err(StoreError::Conflict { .. }) => {
                shared.counters.conflicts.fetch_add(1, Ordering::Relaxed);
                self.again(shared, |pending| pending.attempts += 1);
            }
            Err(StoreError::IdReused { id, .. }) => self.reused(shared, id),
            Err(error @ StoreError::OutcomeUnknown { .. }) => self.again(shared, |pending| {
                pending.attempts += 1;
                pending.alone = true;
                pending.unknown = Some(error.clone());
            }),
            Err(error) => {
                for item in self.items {
                    item.pending.fail(error.clone().into());
                }
                advance(shared, &self.cell, self.cell.lock());
            }
        }
    }

    fn appended(self, shared: &Arc<Shared>, done: &Appended) {
        let cell = self.cell;
        let first = done.streams.first().map_or(Version::ZERO, |stream| stream.first);
        let mut answers = Vec::with_capacity(self.items.len());
        let mut records = Vec::with_capacity(self.items.len());
        let mut version = first;
        for InFlight { pending, event, at } in self.items {
            if !done.repeat {
                records.push(ChatRecord { version, id: pending.id, at, event });
            }
            answers.push((pending, version));
            version = version.next();
        }
        let ended = ended_members(shared, &records);
        let mut inner = cell.lock();
        let complete = inner.apply(records);
        if !shared.watchers.is_empty() && !done.repeat {
            shared.watchers.tell_members(&inner.state, &cell.id);
        }
        inner.told = inner.told.max(inner.state.version);
        let flush = super::load::wants_snapshot(shared, &mut inner);
        drop(inner);
        for user in ended {
            shared.watchers.tell(&user, &cell.id);
        }
        for (pending, version) in answers {
            if done.repeat {
                let (shared, cell) = (Arc::clone(shared), Arc::clone(&cell));
                let answering = Arc::clone(&shared);
                answering.spawn(async move {
                    answer_repeat(&shared, &cell, pending, version).await;
                });
            } else {
                let event = Some(pending.id);
                let ack = Ack { event, version, deduplicated: false, deleted: false };
                pending.answer.give(Ok(ack));
            }
        }
        if flush {
            super::load::spawn_snapshot(shared, &cell);
        }
        if complete {
            advance(shared, &cell, cell.lock());
        } else {
            spawn_decide_again(shared, &cell, Vec::new());
        }
    }

    /// An id of the run stands in the store already. One command alone is answered; of several, the
    /// one that is named goes alone, and the others without it.
    fn reused(mut self, shared: &Arc<Shared>, id: EventId) {
        if let [item] = self.items.as_mut_slice() {
            let existing_is_fine = item.pending.asked.existing_is_fine();
            // Somebody made the chat with other words; it is the same chat by its id.
            if existing_is_fine {
                self.again(shared, |pending| pending.attempts += 1);
                return;
            }
            for item in self.items {
                item.pending.answer.give(Err(ChatError::IdempotencyConflict { original: id }));
            }
            advance(shared, &self.cell, self.cell.lock());
            return;
        }
        let named = self.items.iter().any(|item| item.pending.id == id);
        self.again(shared, |pending| pending.alone |= !named || pending.id == id);
    }

    fn again(self, shared: &Arc<Shared>, mut note: impl FnMut(&mut Pending)) {
        let mut commands: Vec<_> = self.items.into_iter().map(|item| item.pending).collect();
        commands.iter_mut().for_each(&mut note);
        spawn_decide_again(shared, &self.cell, commands);
    }
}

/// Those whose membership the events end, if anybody watches.
fn ended_members(shared: &Shared, records: &[ChatRecord]) -> Vec<UserId> {
    if shared.watchers.is_empty() {
        return Vec::new();
    }
    records.iter().filter_map(|record| record.event.ended_member().cloned()).collect()
}

fn spawn_decide_again(shared: &Arc<Shared>, cell: &Arc<ChatCell>, commands: Vec<Pending>) {
    let (shared, cell) = (Arc::clone(shared), Arc::clone(cell));
    let retrying = Arc::clone(&shared);
    retrying.spawn(async move { decide_again(&shared, &cell, commands).await });
}

/// Reads what others wrote, then decides again. Holds the chat's `busy` flag.
async fn decide_again(shared: &Arc<Shared>, cell: &Arc<ChatCell>, commands: Vec<Pending>) {
    let duty = Duty::new(shared, cell);
    let tried = commands.iter().map(|pending| pending.attempts).max().unwrap_or(0);
    let unsure = commands.iter().any(|pending| pending.unknown.is_some());
    if unsure || tried > 1 {
        // Grows with the attempts, and differs between processes that contend for the chat.
        let jitter = shared.ids.secret().first().copied().unwrap_or_default();
        let wait = u64::from(jitter % 8) + (1 << tried.min(6));
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    let refreshed = shared.refresh(cell).await;
    let mut failed = Vec::new();
    let mut inner = cell.lock();
    for pending in commands.into_iter().rev() {
        let attempts = pending.attempts;
        match &refreshed {
            Err(error) => failed.push((pending, error.clone())),
            Ok(()) if attempts >= shared.config.command_attempts => {
                failed.push((pending, ChatError::Contended { attempts }));
            }
            Ok(()) => inner.queue.push_front(pending),
        }
    }
    duty.advance(inner);
    for (pending, error) in failed {
        pending.fail(error);
    }
}
