//! The live end of a chat that somebody in this process listens to: one ring of recent events,
//! shared by all its subscribers. Events are put in once and cost each subscriber a reference.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::domain::ChatEvent;
use crate::id::{EventId, UserId, Version};

/// An event of a chat, as it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRecord {
    /// Its place in the chat.
    pub version: Version,
    /// Its id; of a message also the message's id.
    pub id: EventId,
    /// When it was recorded.
    pub at: Timestamp,
    /// What happened.
    pub event: ChatEvent,
}

/// Something that is told but not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatSignal {
    /// A member types, or stopped.
    Typing {
        /// Who.
        user: UserId,
        /// Whether.
        on: bool,
    },
    /// A member came online, or went.
    Presence {
        /// Who.
        user: UserId,
        /// Whether.
        online: bool,
    },
}

impl ChatSignal {
    /// Whom it is about.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::Typing { user, .. } | Self::Presence { user, .. } => user,
        }
    }
}

/// Events that were committed together, with what a subscriber must look out for.
#[derive(Debug)]
pub(super) struct EventBatch {
    pub(super) records: Arc<[ChatRecord]>,
    /// Somebody's membership ends here.
    pub(super) ends_memberships: bool,
    /// Some event is for one user only.
    pub(super) has_private: bool,
    /// Some event holds text of an earlier message.
    pub(super) has_edits: bool,
    bytes: usize,
}

impl EventBatch {
    fn new(records: Vec<ChatRecord>) -> Self {
        let ends_memberships = records.iter().any(|record| record.event.ended_member().is_some());
        let has_private = records.iter().any(|record| record.event.private_to().is_some());
        let edit = |record: &ChatRecord| matches!(record.event, ChatEvent::MessageEdited(_));
        let has_edits = records.iter().any(edit);
        let bytes = records.iter().map(size).sum();
        Self { records: records.into(), ends_memberships, has_private, has_edits, bytes }
    }

    pub(super) fn first(&self) -> Version {
        self.records.first().map_or(Version::ZERO, |record| record.version)
    }

    pub(super) fn last(&self) -> Version {
        self.records.last().map_or(Version::ZERO, |record| record.version)
    }
}

fn size(record: &ChatRecord) -> usize {
    let text = match &record.event {
        ChatEvent::MessageSent(e) => e.text.len(),
        ChatEvent::MessageEdited(e) => e.text.len(),
        _ => 0,
    };
    128 + text
}

#[derive(Debug)]
pub(super) struct Tail {
    ring: Mutex<Ring>,
    /// Counts changes of the ring: who has seen the last one need not take the lock.
    changes: AtomicU64,
    wake: Notify,
    /// A task is about to wake the subscribers.
    waking: AtomicBool,
    max_events: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Ring {
    batches: VecDeque<Arc<EventBatch>>,
    events: usize,
    bytes: usize,
    /// The last version that was put in.
    last: Version,
    /// The last event that deleted a message.
    deleted: Version,
    signals: VecDeque<Arc<ChatSignal>>,
    /// The number of the first signal in `signals`.
    first_signal: u64,
    typing: HashMap<UserId, Typing>,
    /// How far each subscriber has read, by its place; `None`: the place is free.
    readers: Vec<Option<Version>>,
    free_places: Vec<usize>,
    closed: Option<Closed>,
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Closed {
    ShuttingDown,
    /// The store is of another incarnation.
    Reset,
}

#[derive(Debug)]
struct Typing {
    on: bool,
    counter: u64,
    until: Instant,
}

/// What a subscriber finds behind the version that it has.
#[derive(Debug)]
pub(super) enum Next {
    /// The next batch; the subscriber may have a part of it already. With it: the last event that
    /// deleted a message; and if nothing else waits, the number of changes that this is as of.
    Batch(Arc<EventBatch>, Version, Option<u64>),
    Signal(Arc<ChatSignal>),
    /// Nothing new as of this many changes.
    Wait(u64),
    /// The next event has left the ring.
    Lost,
    Closed(Closed),
}

/// References to a tail up to which its subscribers are woken by who changes it.
const WAKE_INLINE: usize = 64;
/// Most ephemeral signals that wait for a slow subscriber; older ones are dropped.
const MAX_SIGNALS: usize = 64;
/// Most members of one chat whose typing is remembered; more are not shown.
const MAX_TYPING: usize = 256;

impl Tail {
    pub(super) fn new(last: Version, max_events: usize, max_bytes: usize) -> Self {
        let ring = Ring {
            batches: VecDeque::new(),
            events: 0,
            bytes: 0,
            last,
            deleted: Version::ZERO,
            signals: VecDeque::new(),
            first_signal: 0,
            typing: HashMap::new(),
            readers: Vec::new(),
            free_places: Vec::new(),
            closed: None,
        };
        Self {
            ring: Mutex::new(ring),
            changes: AtomicU64::new(0),
            wake: Notify::new(),
            waking: AtomicBool::new(false),
            max_events,
            max_bytes,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the subscribers, after the change was made and the lock was let go. With many of them
    /// in a task of its own: who appends to another chat shall not wait for it.
    fn wake(self: &Arc<Self>) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let many = Arc::strong_count(self) > WAKE_INLINE;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if many => {
                if !self.waking.swap(true, Ordering::SeqCst) {
                    let tail = Arc::clone(self);
                    runtime.spawn(async move {
                        tail.waking.store(false, Ordering::SeqCst);
                        tail.wake.notify_waiters();
                    });
                }
            }
            // Also where something is dropped outside of a runtime.
            _ => self.wake.notify_waiters(),
        }
    }

    /// Completes when the ring has changed since `seen` changes.
    pub(super) async fn changed(&self, seen: u64) {
        // Made before the look at the counter, so that a change in between wakes it.
        let woken = self.wake.notified();
        if self.changes.load(Ordering::SeqCst) == seen {
            woken.await;
        }
    }

    /// Puts in the events that lead up to where the tail begins, before anybody listens.
    pub(super) fn start_with(&self, records: Vec<ChatRecord>) {
        let batch = EventBatch::new(records);
        let mut ring = self.ring();
        ring.events = batch.records.len();
        ring.bytes = batch.bytes;
        ring.batches.push_back(Arc::new(batch));
    }

    /// Whether everything behind `after` is in the ring.
    pub(super) fn covers(&self, after: Version) -> bool {
        let ring = self.ring();
        let first = ring.batches.front().map_or(ring.last.next(), |batch| batch.first());
        after.next() >= first
    }

    /// Puts the next events in. The caller brings them in order, without a hole.
    pub(super) fn push(self: &Arc<Self>, mut records: Vec<ChatRecord>) {
        let mut ring = self.ring();
        // A state that was folded anew brings events that were delivered before.
        records.retain(|record| record.version > ring.last);
        if records.is_empty() {
            return;
        }
        let batch = EventBatch::new(records);
        let ring_ref = &mut *ring;
        for record in batch.records.iter() {
            match &record.event {
                ChatEvent::MessageDeleted(_) => ring_ref.deleted = record.version,
                ChatEvent::MessageSent(e) => ring_ref.stop_typing(&e.by),
                other => {
                    if let Some(user) = other.ended_member() {
                        ring_ref.stop_typing(user);
                    }
                }
            }
        }
        ring.last = batch.last();
        ring.events += batch.records.len();
        ring.bytes += batch.bytes;
        ring.batches.push_back(Arc::new(batch));
        ring.drop_read();
        while ring.batches.len() > 1
            && (ring.events > self.max_events || ring.bytes > self.max_bytes)
        {
            ring.drop_oldest();
        }
        drop(ring);
        self.wake();
    }

    pub(super) fn signal(self: &Arc<Self>, signal: ChatSignal) {
        let mut ring = self.ring();
        ring.signal(signal);
        drop(ring);
        self.wake();
    }

    /// Somebody types or stopped. Later counters win, whatever the order of coming.
    pub(super) fn typing(self: &Arc<Self>, user: &UserId, on: bool, counter: u64, until: Instant) {
        let mut ring = self.ring();
        let full = ring.typing.len() >= MAX_TYPING;
        let was_on = match ring.typing.get_mut(user) {
            Some(known) if known.counter >= counter => return,
            Some(known) => {
                let was_on = known.on;
                *known = Typing { on, counter, until };
                was_on
            }
            None if full => return,
            None => {
                ring.typing.insert(user.clone(), Typing { on, counter, until });
                false
            }
        };
        if was_on == on {
            return;
        }
        ring.signal(ChatSignal::Typing { user: user.clone(), on });
        drop(ring);
        self.wake();
    }

    /// Ends what was not said again in time.
    pub(super) fn expire_typing(self: &Arc<Self>, now: Instant) {
        let mut ring = self.ring();
        let mut ended = Vec::new();
        ring.typing.retain(|user, typing| {
            let keep = typing.until > now;
            if !keep && typing.on {
                ended.push(user.clone());
            }
            keep
        });
        if ended.is_empty() {
            return;
        }
        for user in ended {
            ring.signal(ChatSignal::Typing { user, on: false });
        }
        drop(ring);
        self.wake();
    }

    pub(super) fn close(self: &Arc<Self>) {
        self.ring().closed.get_or_insert(Closed::ShuttingDown);
        self.wake();
    }

    /// Ends every subscription: what they know is not of the store's log.
    pub(super) fn reset(self: &Arc<Self>) {
        let mut ring = self.ring();
        ring.closed = Some(Closed::Reset);
        ring.batches.clear();
        ring.last = Version::ZERO;
        drop(ring);
        self.wake();
    }

    /// A place for a subscriber that has read up to here.
    pub(super) fn join(&self, cursor: Version) -> usize {
        let mut ring = self.ring();
        if let Some(place) = ring.free_places.pop() {
            ring.set_reader(place, Some(cursor));
            return place;
        }
        ring.readers.push(Some(cursor));
        ring.readers.len() - 1
    }

    /// Gives a place back.
    pub(super) fn leave(&self, place: usize) {
        let mut ring = self.ring();
        ring.set_reader(place, None);
        ring.free_places.push(place);
    }

    /// What follows the version `after`, up to which the subscriber at `place` has read, and the
    /// signal number `signal`.
    pub(super) fn next(&self, place: usize, after: Version, signal: &mut u64) -> Next {
        // Read before the ring, so that a change in between is not taken for seen.
        let changes = self.changes.load(Ordering::SeqCst);
        let mut ring = self.ring();
        ring.set_reader(place, Some(after));
        if after < ring.last {
            let Some(first) = ring.batches.front().map(|batch| batch.first()) else {
                return Next::Lost;
            };
            if after.next() < first {
                return Next::Lost;
            }
            // Who is up to date wants the newest, and most are.
            let newest = ring.batches.back().filter(|batch| batch.first() <= after.next());
            let next = newest.or_else(|| {
                let index = ring.batches.partition_point(|batch| batch.last() <= after);
                ring.batches.get(index)
            });
            if let Some(batch) = next {
                let signals = ring.first_signal + ring.signals.len() as u64;
                let all = batch.last() == ring.last && *signal >= signals && ring.closed.is_none();
                return Next::Batch(Arc::clone(batch), ring.deleted, all.then_some(changes));
            }
        }
        if let Some(closed) = ring.closed {
            return Next::Closed(closed);
        }
        *signal = (*signal).max(ring.first_signal);
        let index = usize::try_from(*signal - ring.first_signal).unwrap_or(usize::MAX);
        match ring.signals.get(index) {
            Some(next) => {
                *signal += 1;
                Next::Signal(Arc::clone(next))
            }
            None => Next::Wait(changes),
        }
    }

    /// The number that the next signal will have.
    pub(super) fn next_signal(&self) -> u64 {
        let ring = self.ring();
        ring.first_signal + ring.signals.len() as u64
    }
}

/// Events that stay in the ring although everybody has read them, for those who come back.
const KEEP: usize = 64;

impl Ring {
    fn set_reader(&mut self, place: usize, cursor: Option<Version>) {
        if let Some(reader) = self.readers.get_mut(place) {
            *reader = cursor;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(old) = self.batches.pop_front() {
            self.events -= old.records.len();
            self.bytes -= old.bytes;
        }
    }

    /// Drops what every subscriber has read. Looks at them only once for every so many events.
    fn drop_read(&mut self) {
        if self.events < 2 * KEEP {
            return;
        }
        let slowest = self.readers.iter().flatten().min().copied().unwrap_or(self.last);
        while self.events > KEEP
            && self.batches.len() > 1
            && self.batches.front().is_some_and(|batch| batch.last() <= slowest)
        {
            self.drop_oldest();
        }
    }

    fn signal(&mut self, signal: ChatSignal) {
        if self.signals.len() >= MAX_SIGNALS {
            self.signals.pop_front();
            self.first_signal += 1;
        }
        self.signals.push_back(Arc::new(signal));
    }

    fn stop_typing(&mut self, user: &UserId) {
        // Most chats most of the time have nobody typing.
        if self.typing.is_empty() {
            return;
        }
        if let Some(typing) = self.typing.get_mut(user).filter(|typing| typing.on) {
            typing.on = false;
            self.signal(ChatSignal::Typing { user: user.clone(), on: false });
        }
    }
}
