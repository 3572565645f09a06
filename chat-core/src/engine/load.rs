//! Between a chat in memory and the store: loading from a snapshot and the events behind it,
//! following what other processes append, fetching single messages, writing snapshots.
//!
//! A snapshot is a view in the chat's scope whose checkpoint is the chat's version: the state, the
//! parts of the tally, and a row for each message that changed after it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::cell::{CellInner, ChatCell, Messages};
use super::error::ChatError;
use super::shared::{Shared, bug};
use super::tail::ChatRecord;
use crate::domain::{ChatEvent, ChatState, MessageId, MessageState, decode};
use crate::event::RecordedEvent;
use crate::id::{Checkpoint, ProjectionName, Version, ViewKey};
use crate::ports::{
    Direction, KeyRange, PageLimit, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewPage,
};

/// What was read of a chat's snapshot.
struct Loaded {
    state: ChatState,
    /// The version up to which the views hold what changed; zero if they cannot be used.
    flushed: Version,
    /// The checkpoint that the views have.
    saved: Checkpoint,
}

const PROJECTION: &str = "chat";
const CORE_KEY: &str = "core";
/// The incarnation of the store that the snapshot was made of.
const EPOCH_KEY: &str = "epoch";
const TALLY_PREFIX: &str = "count/";
const MESSAGE_PREFIX: &str = "message/";

impl Shared {
    /// Brings the chat in memory up to the store's head. Callers at the same time share the work.
    ///
    /// The work is done in a task of its own: it holds the chat's turn, and a caller whose future is
    /// left standing must not hold up everybody else in the chat.
    pub(super) async fn refresh(self: &Arc<Self>, cell: &Arc<ChatCell>) -> Result<(), ChatError> {
        let (done, result) = oneshot::channel();
        let (shared, cell) = (Arc::clone(self), Arc::clone(cell));
        self.spawn(async move {
            // A caller that went away does not need the result.
            let _ = done.send(shared.refresh_now(&cell).await);
        });
        result.await.unwrap_or_else(|_| Err(bug("an adapter panicked")))
    }

    async fn refresh_now(self: &Arc<Self>, cell: &Arc<ChatCell>) -> Result<(), ChatError> {
        let Some(round) = cell.refresh.enter().await else {
            return Ok(());
        };
        let mut load = !cell.lock().loaded;
        loop {
            let loaded_now = std::mem::take(&mut load);
            if loaded_now {
                let loaded = self.load_snapshot(cell).await?;
                self.take_snapshot(cell, loaded).await?;
            }
            let from = cell.lock().state.version;
            let limit = PageLimit::events(PageLimit::MAX_EVENTS);
            let page =
                self.store.read_stream(&cell.stream, Direction::Forward, from, limit).await?;
            let last = page.events.last().map(|event| event.version);
            let records = page.events.iter().map(|event| self.record(event)).collect();
            let mut inner = cell.lock();
            if page.head < from || inner.distrusted {
                // Another incarnation of the store, which may have lost the end of this chat. A
                // snapshot that was read just now may not be of this log either.
                tracing::error!(chat = %cell.id, "the store is another one; reading a chat anew");
                inner.forget_lost_log();
                drop(inner);
                self.set_live(cell, false);
                load = !loaded_now;
                continue;
            }
            inner.apply(records);
            if last.is_none_or(|last| last >= page.head) || inner.state.version >= page.head {
                inner.loaded = true;
                let flush = wants_snapshot(self, &mut inner);
                drop(inner);
                if flush {
                    spawn_snapshot(self, cell);
                }
                break;
            }
        }
        round.succeed();
        Ok(())
    }

    /// Goes on from what the views hold. A state that is in memory already stays, as somebody may be
    /// listening to it, and others may have seen it: it never goes back. Only the changes of messages
    /// that the views do not hold are read again.
    async fn take_snapshot(&self, cell: &ChatCell, loaded: Loaded) -> Result<(), ChatError> {
        let Loaded { state, flushed, saved } = loaded;
        {
            let mut inner = cell.lock();
            if inner.state.version <= state.version && inner.tail.is_none() {
                inner.state = state;
                inner.flushed = flushed;
                inner.saved = saved;
                // What was fetched before knew nothing of this snapshot.
                inner.messages = Messages::default();
                inner.preview = None;
                return Ok(());
            }
        }
        let mut messages = Messages::default();
        let mut read = flushed;
        loop {
            let limit = PageLimit::events(PageLimit::MAX_EVENTS);
            let page =
                self.store.read_stream(&cell.stream, Direction::Forward, read, limit).await?;
            let policy = cell.lock().state.reactions;
            for stored in &page.events {
                messages.apply(&self.record(stored), policy);
                read = stored.version;
            }
            let mut inner = cell.lock();
            if read >= inner.state.version || page.events.is_empty() {
                inner.flushed = flushed;
                inner.saved = saved;
                inner.messages = messages;
                inner.preview = None;
                return Ok(());
            }
        }
    }

    /// Reads a stored event; one that cannot be read is counted and told once, and changes nothing.
    pub(super) fn record(&self, stored: &RecordedEvent) -> ChatRecord {
        let event = &stored.event;
        let read = decode(event.event_type.as_str(), event.schema_version, &event.payload);
        let event = read.unwrap_or_else(|error| {
            self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
            let place = (stored.stream.as_str(), stored.version.0);
            tracing::error!(stream = place.0, version = place.1, %error, "unreadable event");
            ChatEvent::Unreadable
        });
        let (version, id, at) = (stored.version, stored.event.id, stored.event.recorded_at);
        ChatRecord { version, id, at, event }
    }

    async fn load_snapshot(&self, cell: &ChatCell) -> Result<Loaded, ChatError> {
        let view = chat_view(cell)?;
        // The keys of the state and the tally stand before those of the messages.
        let mut range = KeyRange { start: None, end: Some(key(MESSAGE_PREFIX)?) };
        let first = self.scan(&view, &range).await?;
        let (saved, mut finished) = (first.checkpoint, first.finished);
        // Nothing there, of another form, broken, or changed while it was read: the events say it
        // all, and the next snapshot is written whole.
        let anew = Loaded { state: ChatState::default(), flushed: Version::ZERO, saved };
        let mut entries = first.entries;
        // More than one page: a chat of more than 60 million events.
        while let Some((last, _)) = entries.last().filter(|_| !finished) {
            range.start = Some(key(&format!("{last} "))?);
            let page = self.scan(&view, &range).await?;
            if page.checkpoint != saved {
                return Ok(anew);
            }
            finished = page.finished;
            entries.extend(page.entries);
        }
        // A process that did not know yet that the store is another one may have written it, of events
        // that are not in this log.
        let epoch = self.known_epoch();
        let of_this_log = |(key, value): &(ViewKey, Arc<[u8]>)| {
            key.as_str() == EPOCH_KEY && **value == *epoch.0.as_bytes()
        };
        match read_snapshot(&entries) {
            Some(state) if state.version.0 == saved.0 && entries.iter().any(of_this_log) => {
                Ok(Loaded { state, flushed: Version(saved.0), saved })
            }
            _ => Ok(anew),
        }
    }

    async fn scan(&self, view: &ViewId, range: &KeyRange) -> Result<ViewPage, ChatError> {
        let (direction, limit) = (Direction::Forward, ViewPage::MAX_ENTRIES);
        Ok(self.views.scan(view, range, direction, limit).await?)
    }

    /// Brings a message into the cell's memory. Answers where it is; `None`: there is no such one.
    pub(super) async fn fetch_message(
        self: &Arc<Self>,
        cell: &Arc<ChatCell>,
        id: MessageId,
    ) -> Result<Option<Version>, ChatError> {
        loop {
            // Only a loaded chat knows which messages have changed since they were sent.
            let loaded = cell.lock().loaded;
            if !loaded {
                self.refresh(cell).await?;
            }
            let (place, flushed) = {
                let inner = cell.lock();
                let place = inner.messages.place(id);
                (place.filter(|seq| inner.messages.get(*seq).is_some()), inner.flushed)
            };
            if place.is_some() {
                return Ok(place);
            }
            let Some(found) = self.store.find(&cell.stream, id.into()).await? else {
                return Ok(None);
            };
            let record = self.record(&found);
            let ChatEvent::MessageSent(sent) = &record.event else {
                return Ok(None);
            };
            let seq = record.version;
            let original = MessageState::sent(id, seq, record.at, sent);
            let message = self.saved_message(cell, seq, flushed).await?.unwrap_or(original);
            let mut inner = cell.lock();
            // A snapshot in between may have moved changes from memory to the views.
            if inner.flushed != flushed || !inner.loaded {
                continue;
            }
            inner.insert_message(message);
            return Ok(Some(seq));
        }
    }

    /// The row of a message that changed before the snapshot of version `flushed`.
    async fn saved_message(
        &self,
        cell: &ChatCell,
        seq: Version,
        flushed: Version,
    ) -> Result<Option<MessageState>, ChatError> {
        if seq > flushed {
            return Ok(None);
        }
        let get = ViewGet { view: chat_view(cell)?, keys: vec![message_key(seq)?] };
        let values = self.views.get(&[get]).await?;
        let value = values.into_iter().next().and_then(|values| values.values.into_iter().next());
        let Some(bytes) = value.flatten() else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(message) => Ok(Some(message)),
            Err(_) => Ok(self.replay_messages(cell, &BTreeSet::from([seq])).await?.pop()),
        }
    }

    /// The rows of messages in `first..=last` that changed before the last snapshot.
    pub(super) async fn saved_messages(
        &self,
        cell: &ChatCell,
        first: Version,
        last: Version,
    ) -> Result<Vec<MessageState>, ChatError> {
        let view = chat_view(cell)?;
        let mut range =
            KeyRange { start: Some(message_key(first)?), end: Some(message_key(last.next())?) };
        let (mut messages, mut broken) = (Vec::new(), BTreeSet::new());
        loop {
            let page = self.scan(&view, &range).await?;
            for (key, row) in &page.entries {
                match serde_json::from_slice(row) {
                    Ok(message) => messages.push(message),
                    Err(_) => broken.extend(read_message_key(key)),
                }
            }
            match page.entries.last() {
                Some((last, _)) if !page.finished => range.start = Some(key(&format!("{last} "))?),
                _ => break,
            }
        }
        if !broken.is_empty() {
            messages.extend(self.replay_messages(cell, &broken).await?);
            messages.sort_by_key(|message: &MessageState| message.seq);
        }
        Ok(messages)
    }

    /// Folds messages anew whose rows cannot be read: what was edited or deleted must not come back
    /// as it was sent.
    async fn replay_messages(
        &self,
        cell: &ChatCell,
        seqs: &BTreeSet<Version>,
    ) -> Result<Vec<MessageState>, ChatError> {
        let Some(first) = seqs.first() else {
            return Ok(Vec::new());
        };
        tracing::warn!(chat = %cell.id, rows = seqs.len(), "unreadable rows of messages");
        let policy = cell.lock().state.reactions;
        let mut messages: BTreeMap<Version, MessageState> = BTreeMap::new();
        let mut from = Version(first.0.saturating_sub(1));
        loop {
            let limit = PageLimit::events(PageLimit::MAX_EVENTS);
            let page =
                self.store.read_stream(&cell.stream, Direction::Forward, from, limit).await?;
            for record in page.events.iter().map(|event| self.record(event)) {
                let (version, at) = (record.version, record.at);
                if let ChatEvent::MessageSent(sent) = &record.event
                    && seqs.contains(&version)
                {
                    let message = MessageState::sent(record.id.into(), version, at, sent);
                    messages.insert(version, message);
                }
                let target = record.event.target().map(|target| target.seq);
                if let Some(message) = target.and_then(|seq| messages.get_mut(&seq)) {
                    message.apply(version, at, &record.event, policy);
                }
            }
            match page.events.last() {
                Some(last) if last.version < page.head => from = last.version,
                _ => return Ok(messages.into_values().collect()),
            }
        }
    }

    /// Writes what changed since the last snapshot. A snapshot that another process wrote
    /// meanwhile is as good.
    async fn write_snapshot(&self, cell: &ChatCell) -> Result<(), ChatError> {
        self.complete_changed_messages(cell).await?;
        let view = chat_view(cell)?;
        let (batch, version) = {
            let epoch = self.known_epoch();
            let inner = cell.lock();
            if inner.distrusted || !inner.loaded {
                // It is read anew first.
                return Ok(());
            }
            if !inner.messages.without_base().is_empty() {
                // More came while the texts were read; the next snapshot takes them.
                return Ok(());
            }
            let (since, version) = (inner.flushed, inner.state.version);
            let mut ops = Vec::new();
            if since == Version::ZERO && inner.saved != Checkpoint::ZERO {
                // What stands there could not be used; nothing of it shall stay.
                ops.push(ViewOp::Clear);
            }
            let core = inner.state.write_core().ok_or_else(|| bug("a state without JSON form"))?;
            ops.push(ViewOp::Put(key(CORE_KEY)?, core.into()));
            ops.push(ViewOp::Put(key(EPOCH_KEY)?, epoch.0.as_bytes().as_slice().into()));
            for (chunk, bytes) in inner.state.write_tally(since) {
                ops.push(ViewOp::Put(key(&format!("{TALLY_PREFIX}{chunk:016x}"))?, bytes.into()));
            }
            for message in inner.messages.changed(since) {
                let row = serde_json::to_vec(&*message).map_err(bug)?;
                ops.push(ViewOp::Put(message_key(message.seq)?, row.into()));
            }
            let (expected, next) = (inner.saved, Checkpoint(version.0));
            (ViewBatch { view, expected, next, ops }, version)
        };
        let result = self.views.commit(std::slice::from_ref(&batch)).await.pop();
        let mut inner = cell.lock();
        match result {
            Some(Ok(())) => {
                inner.flushed = version;
                inner.saved = Checkpoint(version.0);
            }
            // Another process's snapshot that covers what this one's memory has forgotten is as
            // good; what it lacks stays in memory.
            Some(Err(ViewError::CheckpointMoved { actual, .. }))
                if actual.0 >= inner.flushed.0
                    && (inner.flushed != Version::ZERO || inner.saved == Checkpoint::ZERO) =>
            {
                inner.flushed = Version(actual.0).min(version);
                inner.saved = actual;
            }
            // The views were emptied, or hold what another process made of a broken snapshot.
            Some(Err(ViewError::CheckpointMoved { .. })) => {
                inner.loaded = false;
                return Ok(());
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(bug("the views gave no answer")),
        }
        let flushed = inner.flushed;
        inner.messages.forget_clean(flushed, None);
        self.counters.snapshots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the messages of which only the changes are in memory.
    async fn complete_changed_messages(&self, cell: &ChatCell) -> Result<(), ChatError> {
        let missing = cell.lock().messages.without_base();
        for seq in missing {
            let limit = PageLimit::events(1);
            let from = Version(seq.0.saturating_sub(1));
            let page =
                self.store.read_stream(&cell.stream, Direction::Forward, from, limit).await?;
            let Some(stored) = page.events.first() else {
                cell.lock().messages.forget(seq);
                continue;
            };
            let record = self.record(stored);
            let ChatEvent::MessageSent(sent) = &record.event else {
                cell.lock().messages.forget(seq);
                continue;
            };
            let flushed = cell.lock().flushed;
            let original = MessageState::sent(record.id.into(), seq, record.at, sent);
            let message = self.saved_message(cell, seq, flushed).await?.unwrap_or(original);
            cell.lock().insert_message(message);
        }
        Ok(())
    }

    /// Writes the snapshots of every chat that has moved on since its last one.
    pub(super) async fn write_all_snapshots(&self) {
        for cell in self.all_cells() {
            let behind = {
                let mut inner = cell.lock();
                let behind = inner.loaded && !inner.flushing && inner.state.version > inner.flushed;
                inner.flushing |= behind;
                behind
            };
            if behind {
                let _flushing = Flushing(&cell);
                if let Err(error) = self.write_snapshot(&cell).await {
                    tracing::debug!(chat = %cell.id, %error, "no snapshot written");
                }
            }
        }
    }
}

/// Whether it is time for a snapshot; if so, marks it as being written.
pub(super) fn wants_snapshot(shared: &Shared, inner: &mut CellInner) -> bool {
    // The state is written whole, so that large chats are written less often.
    let size = inner.state.members.len() as u64 / 4;
    let every = shared.config.snapshot_every.max(size).max(1);
    let behind = inner.state.version.0 - inner.flushed.0.min(inner.state.version.0);
    let due = behind >= every && inner.state.version >= inner.next_snapshot;
    let wants = inner.loaded && due && !inner.flushing && !shared.is_stopped();
    inner.flushing |= wants;
    wants
}

pub(super) fn spawn_snapshot(shared: &Arc<Shared>, cell: &Arc<ChatCell>) {
    let (shared, cell) = (Arc::clone(shared), Arc::clone(cell));
    let writing = Arc::clone(&shared);
    writing.spawn(async move {
        let _flushing = Flushing(&cell);
        if let Err(error) = shared.write_snapshot(&cell).await {
            tracing::debug!(chat = %cell.id, %error, "no snapshot written");
            // Loading the chat takes longer; as many events later it is tried again.
            let mut inner = cell.lock();
            let version = inner.state.version.0.saturating_add(shared.config.snapshot_every);
            inner.next_snapshot = Version(version);
        }
    });
}

/// Marks a snapshot as written or given up, whatever ended the writing.
struct Flushing<'a>(&'a ChatCell);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.lock().flushing = false;
    }
}

fn read_snapshot(entries: &[(ViewKey, Arc<[u8]>)]) -> Option<ChatState> {
    let core = entries.iter().find(|(key, _)| key.as_str() == CORE_KEY)?;
    let mut state = ChatState::read_core(&core.1)?;
    for (key, bytes) in entries {
        if let Some(chunk) = key.as_str().strip_prefix(TALLY_PREFIX) {
            state.read_tally(u64::from_str_radix(chunk, 16).ok()?, bytes)?;
        }
    }
    Some(state)
}

fn chat_view(cell: &ChatCell) -> Result<ViewId, ChatError> {
    let projection = ProjectionName::new(PROJECTION).map_err(bug)?;
    Ok(ViewId { scope: cell.scope.clone(), projection })
}

fn key(text: &str) -> Result<ViewKey, ChatError> {
    ViewKey::new(text).map_err(bug)
}

fn read_message_key(key: &ViewKey) -> Option<Version> {
    let seq = key.as_str().strip_prefix(MESSAGE_PREFIX)?;
    u64::from_str_radix(seq, 16).ok().map(Version)
}

fn message_key(seq: Version) -> Result<ViewKey, ChatError> {
    key(&format!("{MESSAGE_PREFIX}{:016x}", seq.0))
}
