//! One chat in memory: its state, the messages that changed lately, the commands that wait for it
//! and its live tail, under one short lock. The lock is never held while waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::execute::Pending;
use super::tail::{ChatRecord, Tail};
use crate::clock::Timestamp;
use crate::domain::{ChatEvent, ChatState, MessageId, MessageState};
use crate::id::{ChatId, Checkpoint, Scope, StreamId, Version};

#[derive(Debug)]
pub(super) struct ChatCell {
    pub(super) id: ChatId,
    pub(super) stream: StreamId,
    pub(super) scope: Scope,
    inner: Mutex<CellInner>,
    pub(super) refresh: SingleFlight,
    pub(super) used: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct CellInner {
    pub(super) state: ChatState,
    /// Whether `state` was read from the store at least once.
    pub(super) loaded: bool,
    /// The store is of another incarnation since: some of this may never have been in its log.
    pub(super) distrusted: bool,
    /// The version of the snapshot that is known to be in the views.
    pub(super) flushed: Version,
    pub(super) flushing: bool,
    /// The checkpoint that the views had when they were last read or written.
    pub(super) saved: Checkpoint,
    pub(super) messages: Messages,
    pub(super) queue: VecDeque<Pending>,
    /// A run is at the store, or somebody prepares the next one.
    pub(super) busy: bool,
    pub(super) tail: Option<Arc<Tail>>,
    /// Subscriptions on the tail.
    pub(super) listeners: usize,
    /// Who watches was told of everything up to here.
    pub(super) told: Version,
    /// After a snapshot that failed: not before this version again.
    pub(super) next_snapshot: Version,
    /// The last message that was shown in a list.
    pub(super) preview: Option<Arc<MessageState>>,
}

impl ChatCell {
    pub(super) fn new(id: ChatId, stream: StreamId, scope: Scope) -> Self {
        Self {
            id,
            stream,
            scope,
            inner: Mutex::default(),
            refresh: SingleFlight::default(),
            used: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CellInner> {
        // The guarded sections hold no user code; after a panic in one the store is still right,
        // and a state that is off is found out by the next append.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing would be lost by forgetting the cell.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.lock();
        !inner.busy && inner.queue.is_empty() && inner.tail.is_none() && !inner.flushing
    }
}

impl CellInner {
    /// Folds events in that follow the state, and hands them to the live tail. Events that are
    /// folded in already are passed over. Returns false at a hole.
    pub(super) fn apply(&mut self, records: Vec<ChatRecord>) -> bool {
        let mut complete = true;
        let mut fresh = Vec::with_capacity(records.len());
        for record in records {
            if record.version <= self.state.version {
                continue;
            }
            if record.version != self.state.version.next() {
                complete = false;
                break;
            }
            self.state.apply(record.version, record.at, &record.event);
            let policy = self.state.reactions;
            self.messages.apply(&record, policy);
            let target = record.event.target().map(|target| target.seq);
            if let Some(preview) = &mut self.preview
                && target == Some(preview.seq)
            {
                Arc::make_mut(preview).apply(record.version, record.at, &record.event, policy);
            }
            fresh.push(record);
        }
        if fresh.is_empty() {
            return complete;
        }
        if let Some(tail) = &self.tail {
            tail.push(fresh);
        }
        complete
    }

    /// Takes a message that was read from the store.
    pub(super) fn insert_message(&mut self, message: MessageState) {
        self.messages.insert(message, self.state.reactions, self.flushed);
    }

    /// Has everything read anew before it is used again.
    pub(super) fn distrust(&mut self) {
        (self.loaded, self.distrusted) = (false, true);
    }

    /// Forgets everything: the store is of another incarnation. Who listens is told to start anew.
    pub(super) fn forget_lost_log(&mut self) {
        self.state = ChatState::default();
        (self.loaded, self.distrusted) = (false, false);
        self.flushed = Version::ZERO;
        self.messages = Messages::default();
        self.preview = None;
        self.told = Version::ZERO;
        self.listeners = 0;
        if let Some(tail) = self.tail.take() {
            tail.reset();
        }
    }

    /// A version that a reader may be told about a message that was sent: false once it is deleted.
    pub(super) fn may_show(&self, seq: Version) -> bool {
        seq > self.state.version || self.state.tally.is_alive(seq)
    }
}

/// Messages that changed after they were sent: all that changed since the last snapshot, and some
/// that were looked at.
#[derive(Debug, Default)]
pub(super) struct Messages {
    entries: HashMap<Version, Entry>,
    /// Where the messages with a base are.
    places: HashMap<MessageId, Version>,
}

#[derive(Debug, Default)]
struct Entry {
    base: Option<Arc<MessageState>>,
    /// Events that wait for the base.
    deltas: Vec<(Version, Timestamp, ChatEvent)>,
}

/// Messages without unsaved changes that one chat keeps at hand.
const MAX_CLEAN: usize = 256;

impl Messages {
    /// Takes a change of a message in; of an event that is in already it makes no difference.
    pub(super) fn apply(&mut self, record: &ChatRecord, policy: crate::domain::ReactionPolicy) {
        let Some(target) = record.event.target() else {
            return;
        };
        let entry = self.entries.entry(target.seq).or_default();
        match &mut entry.base {
            Some(base) => {
                Arc::make_mut(base).apply(record.version, record.at, &record.event, policy);
            }
            None => entry.deltas.push((record.version, record.at, record.event.clone())),
        }
    }

    /// The message as it stands, if it is at hand.
    pub(super) fn get(&self, seq: Version) -> Option<&Arc<MessageState>> {
        self.entries.get(&seq).and_then(|entry| entry.base.as_ref())
    }

    /// Where a message is, if it is at hand.
    pub(super) fn place(&self, id: MessageId) -> Option<Version> {
        self.places.get(&id).copied()
    }

    /// Brings a message that was read from the store up to the state of the cell.
    pub(super) fn complete(
        &self,
        mut message: MessageState,
        policy: crate::domain::ReactionPolicy,
    ) -> Arc<MessageState> {
        let Some(entry) = self.entries.get(&message.seq) else {
            return Arc::new(message);
        };
        if let Some(base) = &entry.base
            && base.at >= message.at
        {
            return Arc::clone(base);
        }
        for (version, at, event) in &entry.deltas {
            message.apply(*version, *at, event, policy);
        }
        Arc::new(message)
    }

    /// Takes a message that was read from the store; `flushed` bounds what may be forgotten.
    pub(super) fn insert(
        &mut self,
        message: MessageState,
        policy: crate::domain::ReactionPolicy,
        flushed: Version,
    ) {
        let message = self.complete(message, policy);
        let seq = message.seq;
        self.places.insert(message.id, seq);
        self.entries.insert(seq, Entry { base: Some(message), deltas: Vec::new() });
        if self.entries.len() > 2 * MAX_CLEAN {
            self.forget_clean(flushed, Some(seq));
        }
    }

    /// Drops what was kept for a version that holds no message.
    pub(super) fn forget(&mut self, seq: Version) {
        self.entries.remove(&seq);
    }

    /// Messages that changed after `flushed` and whose text is not at hand.
    pub(super) fn without_base(&self) -> Vec<Version> {
        let missing = self.entries.iter().filter(|(_, entry)| entry.base.is_none());
        missing.map(|(seq, _)| *seq).collect()
    }

    /// Messages that changed after `flushed`.
    pub(super) fn changed(&self, flushed: Version) -> Vec<Arc<MessageState>> {
        let bases = self.entries.values().filter_map(|entry| entry.base.as_ref());
        bases.filter(|base| base.at > flushed && base.at > base.seq).cloned().collect()
    }

    /// Drops messages that hold nothing which the views do not hold, beyond a bound.
    pub(super) fn forget_clean(&mut self, flushed: Version, keep: Option<Version>) {
        let mut clean = 0;
        self.entries.retain(|seq, entry| {
            let dirty = match &entry.base {
                Some(base) => base.at > flushed && base.at > base.seq,
                None => entry.deltas.iter().any(|(version, ..)| *version > flushed),
            };
            if dirty || Some(*seq) == keep {
                return true;
            }
            clean += 1;
            clean <= MAX_CLEAN && entry.base.is_some()
        });
        let entries = &self.entries;
        self.places.retain(|_, seq| entries.contains_key(seq));
    }
}

/// Lets callers that ask for the same thing at the same time share one answer: a caller is served
/// by any round that began after the caller came and succeeded.
#[derive(Debug, Default)]
pub(super) struct SingleFlight {
    begun: AtomicU64,
    succeeded: AtomicU64,
    turn: tokio::sync::Mutex<()>,
}

/// A caller's turn to do the work.
#[derive(Debug)]
pub(super) struct Round<'a> {
    flight: &'a SingleFlight,
    ticket: u64,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl SingleFlight {
    /// Waits for the turn. `None`: another's round served this caller.
    pub(super) async fn enter(&self) -> Option<Round<'_>> {
        let came = self.begun.load(Ordering::SeqCst);
        let turn = self.turn.lock().await;
        if self.succeeded.load(Ordering::SeqCst) > came {
            return None;
        }
        let ticket = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        Some(Round { flight: self, ticket, _turn: turn })
    }
}

impl Round<'_> {
    pub(super) fn succeed(self) {
        self.flight.succeeded.store(self.ticket, Ordering::SeqCst);
    }
}
