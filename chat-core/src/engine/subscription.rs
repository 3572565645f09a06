//! Events of a chat from any version on: first from the store, page by page, then from the live
//! tail, without a gap and without a double, until the membership ends.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cell::ChatCell;
use super::error::ChatError;
use super::presence;
use super::shared::Shared;
use super::tail::{ChatRecord, ChatSignal, Closed, EventBatch, Next, Tail};
use super::token::SyncToken;
use crate::domain::{ChatEvent, Membership, readable};
use crate::id::{Epoch, UserId, Version};
use crate::ports::{Direction, PageLimit};

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeFrom {
    /// With the first event that the user may see.
    Start,
    /// With whatever comes from now on.
    Now,
    /// Behind this version.
    Version(Version),
    /// Where a token says; it is refused if it is not for this user and chat.
    Token(SyncToken),
}

/// What a subscription gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Delivery {
    /// The next events, in order, each once.
    Events(Events),
    /// Something that is not stored. Some may be missing.
    Signal(ChatSignal),
    /// The end, once, last.
    Ended(SubscriptionEnd),
}

/// Why a subscription ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SubscriptionEnd {
    /// The user left the chat, with the last event that was given.
    Left,
    /// The user was removed, with the last event that was given.
    Removed,
    /// The reader was too slow. Nothing is lost: go on from the token.
    Lagged {
        /// Where to go on.
        resume: SyncToken,
    },
    /// The token is not of this log. Forget what is known of the chat, and open it anew.
    Reset {
        /// Why.
        reason: ResetReason,
    },
    /// The engine shuts down. Go on from the token, here or in another process.
    ShuttingDown {
        /// Where to go on.
        resume: SyncToken,
    },
    /// The store failed. Go on from the token later.
    Failed {
        /// How.
        error: ChatError,
        /// Where to go on.
        resume: SyncToken,
    },
}

/// Why a token cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetReason {
    /// The store is another incarnation: restored from a backup, or it lost its tail.
    EpochChanged,
    /// The token is of a version that the chat has not reached.
    AheadOfLog,
}

/// Events of one delivery, in order; reads as a slice. Shared between subscribers, not copied.
#[derive(Debug, Clone)]
pub struct Events {
    records: Arc<[ChatRecord]>,
    from: usize,
    to: usize,
}

impl Deref for Events {
    type Target = [ChatRecord];
    fn deref(&self) -> &[ChatRecord] {
        self.records.get(self.from..self.to).unwrap_or_default()
    }
}

impl Events {
    fn all(records: Vec<ChatRecord>) -> Self {
        let to = records.len();
        Self { records: records.into(), from: 0, to }
    }
}

/// A reader of one chat on behalf of one user. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    cell: Arc<ChatCell>,
    user: UserId,
    epoch: Epoch,
    /// Everything up to here was given out (or may not be seen).
    cursor: Version,
    signal: u64,
    state: State,
    /// The user may see the chat from its beginning.
    sees_all: bool,
    tail: Arc<Tail>,
    /// The place among the tail's readers.
    place: usize,
    /// The changes of the tail up to which there is nothing more to give; `None`: look.
    seen: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// Reads the store.
    CatchUp,
    /// Reads the tail. Until the tail has given something, falling behind it means to catch up
    /// again: the reader is not to blame for what came meanwhile.
    Live(Behind),
    /// Gives this and ends.
    Ending(Option<SubscriptionEnd>),
}

/// What to do for a reader that has fallen behind the tail.
#[derive(Debug, Clone, Copy)]
enum Behind {
    CatchUp,
    Lag,
}

impl Subscription {
    pub(super) async fn open(
        shared: &Arc<Shared>,
        cell: &Arc<ChatCell>,
        user: &UserId,
        from: SubscribeFrom,
    ) -> Result<Self, ChatError> {
        if shared.is_closing() {
            return Err(ChatError::ShuttingDown);
        }
        let token = match &from {
            SubscribeFrom::Token(token) => Some(token.open(&shared.token_key, user, &cell.id)?),
            SubscribeFrom::Start | SubscribeFrom::Now | SubscribeFrom::Version(_) => None,
        };
        // In this order: a state that is older than the epoch must not be sealed under it.
        let epoch = shared.epoch().await?;
        let placements = shared.follower.placements();
        shared.refresh(cell).await?;
        let recent = recent_events(shared, cell).await?;
        let (tail, place, cursor, state, sees_all) = {
            let mut inner = cell.lock();
            let head = inner.state.version;
            let member = readable(&inner.state, user)?;
            let (active, joined) = (member.is_active(), member.joined);
            let sees_all = member.sees_all();
            let (cursor, reset) = match (from, token) {
                (_, Some((of, _))) if of != epoch => (head, Some(ResetReason::EpochChanged)),
                (SubscribeFrom::Version(version), _) | (_, Some((_, version)))
                    if version > head =>
                {
                    (head, Some(ResetReason::AheadOfLog))
                }
                (SubscribeFrom::Version(version), _) | (_, Some((_, version))) => (version, None),
                (SubscribeFrom::Now, _) => (head, None),
                (SubscribeFrom::Start | SubscribeFrom::Token(_), None) => (Version::ZERO, None),
            };
            let tail = join_tail(shared, cell, &mut inner, recent);
            // What the ring holds needs no store, however many come back at once; from the join on
            // a member sees everything.
            let live = active && cursor >= joined && tail.covers(cursor);
            let state = match reset {
                Some(reason) => State::Ending(Some(SubscriptionEnd::Reset { reason })),
                None if live => State::Live(Behind::CatchUp),
                None => State::CatchUp,
            };
            let place = tail.join(cursor);
            (tail, place, cursor, state, sees_all)
        };
        shared.counters.subscriptions.fetch_add(1, Ordering::Relaxed);
        let signal = tail.next_signal();
        let (shared, cell, user) = (Arc::clone(shared), Arc::clone(cell), user.clone());
        let subscription = Self {
            shared,
            cell,
            user,
            epoch,
            cursor,
            signal,
            state,
            sees_all,
            tail,
            place,
            seen: None,
        };
        if subscription.shared.follower.placements() != placements {
            // The log is followed from an end that may lie behind what was read here.
            subscription.shared.refresh(&subscription.cell).await?;
        }
        Ok(subscription)
    }

    /// Where the reader stands: behind the last event that was given out.
    #[must_use]
    pub fn token(&self) -> SyncToken {
        let key = &self.shared.token_key;
        SyncToken::seal(key, &self.user, &self.cell.id, self.epoch, self.cursor)
    }

    /// The version behind which the reader stands.
    #[must_use]
    pub fn version(&self) -> Version {
        self.cursor
    }

    /// The next events, signal or the end. `None` after the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing; the next call goes on where this one was.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            match &mut self.state {
                State::Ending(end) => return end.take().map(Delivery::Ended),
                State::CatchUp => match self.catch_up().await {
                    Ok(Some(events)) => return Some(Delivery::Events(events)),
                    Ok(None) => {}
                    Err(error) => {
                        let resume = self.token();
                        self.end(SubscriptionEnd::Failed { error, resume });
                    }
                },
                State::Live(behind) => {
                    let behind = *behind;
                    if let Some(seen) = self.seen {
                        self.tail.changed(seen).await;
                        self.seen = None;
                    }
                    match self.tail.next(self.place, self.cursor, &mut self.signal) {
                        Next::Batch(batch, deleted, nothing_else) => {
                            self.seen = nothing_else;
                            self.state = State::Live(Behind::Lag);
                            if let Some(events) = self.take(&batch, deleted) {
                                return Some(Delivery::Events(events));
                            }
                        }
                        Next::Signal(signal) => {
                            if *signal.user() != self.user {
                                return Some(Delivery::Signal(ChatSignal::clone(&signal)));
                            }
                        }
                        Next::Wait(changes) => self.seen = Some(changes),
                        Next::Lost => match behind {
                            Behind::CatchUp => self.state = State::CatchUp,
                            Behind::Lag => {
                                let resume = self.token();
                                self.end(SubscriptionEnd::Lagged { resume });
                            }
                        },
                        Next::Closed(Closed::ShuttingDown) => {
                            let resume = self.token();
                            self.end(SubscriptionEnd::ShuttingDown { resume });
                        }
                        Next::Closed(Closed::Reset) => {
                            let reason = ResetReason::EpochChanged;
                            self.end(SubscriptionEnd::Reset { reason });
                        }
                    }
                }
            }
        }
    }

    /// The deliveries as a stream.
    pub fn into_stream(self) -> impl futures::Stream<Item = Delivery> + Send {
        futures::stream::unfold(self, |mut subscription| async move {
            let next = subscription.next().await?;
            Some((next, subscription))
        })
    }

    fn end(&mut self, end: SubscriptionEnd) {
        self.state = State::Ending(Some(end));
    }

    /// Reads the next page from the store; goes live at its end.
    async fn catch_up(&mut self) -> Result<Option<Events>, ChatError> {
        if self.shared.is_stopped() {
            let resume = self.token();
            self.end(SubscriptionEnd::ShuttingDown { resume });
            return Ok(None);
        }
        let limit = PageLimit::events(self.shared.config.catch_up_page);
        let stream = &self.cell.stream;
        let page =
            self.shared.store.read_stream(stream, Direction::Forward, self.cursor, limit).await?;
        let last = page.events.last().map_or(self.cursor, |event| event.version);
        let records: Vec<_> = page.events.iter().map(|event| self.shared.record(event)).collect();
        let at_end = last >= page.head;
        let behind = self.cell.lock().state.version < page.head;
        if behind {
            // The tail shall have what was read here, so that going live is without a gap; and
            // what was deleted since must not be shown.
            self.shared.refresh(&self.cell).await?;
        }
        let records = {
            let inner = self.cell.lock();
            let member = readable(&inner.state, &self.user)?;
            let visible = records.into_iter().filter(|record| {
                let private = record.event.private_to();
                member.sees(record.version) && private.is_none_or(|user| *user == self.user)
            });
            let shown: Vec<_> = visible
                .map(|mut record| {
                    let may_show = |seq| inner.may_show(seq) && member.sees(seq);
                    if !content_may_show(&record, may_show) {
                        record.event = record.event.without_content();
                    }
                    record
                })
                .collect();
            let over = last.max(self.cursor) >= member.last_visible();
            match (over, member.membership) {
                (true, Membership::Left(_)) => {
                    self.state = State::Ending(Some(SubscriptionEnd::Left))
                }
                (true, Membership::Removed(_)) => {
                    self.state = State::Ending(Some(SubscriptionEnd::Removed));
                }
                _ if at_end => self.state = State::Live(Behind::CatchUp),
                _ => {}
            }
            shown
        };
        self.cursor = self.cursor.max(last);
        Ok((!records.is_empty()).then(|| Events::all(records)))
    }

    /// Takes from a batch what is new and may be seen.
    fn take(&mut self, batch: &Arc<EventBatch>, deleted: Version) -> Option<Events> {
        let records = &batch.records;
        let from = records.partition_point(|record| record.version <= self.cursor);
        let mut to = records.len();
        if batch.ends_memberships {
            let own = |record: &ChatRecord| record.event.ended_member() == Some(&self.user);
            let rest = records.get(from..).unwrap_or_default();
            if let Some(index) = rest.iter().position(own) {
                to = from + index + 1;
                let left = rest.get(index).map(|record| &record.event);
                self.end(match left {
                    Some(ChatEvent::MemberLeft(_)) => SubscriptionEnd::Left,
                    _ => SubscriptionEnd::Removed,
                });
            }
        }
        let slice = records.get(from..to).unwrap_or_default();
        self.cursor = slice.last().map_or(self.cursor, |record| record.version);
        // A message that was deleted after this batch came must not be read any more.
        let stale = deleted >= batch.first();
        let foreign_edits = batch.has_edits && !self.sees_all;
        if !batch.has_private && !stale && !foreign_edits {
            return (from < to).then(|| Events { records: Arc::clone(records), from, to });
        }
        let inner = self.cell.lock();
        let member = inner.state.members.get(&self.user);
        let sees = |seq| member.is_some_and(|member| member.sees(seq));
        let visible = slice
            .iter()
            .filter(|record| record.event.private_to().is_none_or(|user| *user == self.user));
        let shown: Vec<_> = visible
            .map(|record| match content_may_show(record, |seq| inner.may_show(seq) && sees(seq)) {
                true => record.clone(),
                false => ChatRecord { event: record.event.without_content(), ..record.clone() },
            })
            .collect();
        (!shown.is_empty()).then(|| Events::all(shown))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.counters.subscriptions.fetch_sub(1, Ordering::Relaxed);
        self.tail.leave(self.place);
        let mut inner = self.cell.lock();
        // Counted under the lock; a tail that was reset is not the cell's any more.
        if inner.tail.as_ref().is_some_and(|tail| Arc::ptr_eq(tail, &self.tail)) {
            inner.listeners = inner.listeners.saturating_sub(1);
            if inner.listeners == 0 {
                inner.tail = None;
                self.shared.set_live(&self.cell, false);
            }
        }
    }
}

/// Whether the text in an event may be read: not after its message was deleted.
fn content_may_show(record: &ChatRecord, alive: impl Fn(Version) -> bool) -> bool {
    match &record.event {
        ChatEvent::MessageSent(_) => alive(record.version),
        ChatEvent::MessageEdited(e) => alive(e.target.seq),
        _ => true,
    }
}

/// Events that a new tail starts with.
const RECENT: usize = 256;

/// The last events of a chat that has no tail yet, oldest first.
async fn recent_events(shared: &Shared, cell: &ChatCell) -> Result<Vec<ChatRecord>, ChatError> {
    let end = {
        let inner = cell.lock();
        if inner.tail.is_some() {
            return Ok(Vec::new());
        }
        inner.state.version.next()
    };
    let limit = PageLimit::events(RECENT.min(shared.config.tail_events));
    let page = shared.store.read_stream(&cell.stream, Direction::Backward, end, limit).await?;
    Ok(page.events.iter().rev().map(|stored| shared.record(stored)).collect())
}

/// The chat's tail, made for its first listener. It starts with `recent`, as far as that is still
/// the end of the chat.
fn join_tail(
    shared: &Arc<Shared>,
    cell: &Arc<ChatCell>,
    inner: &mut super::cell::CellInner,
    mut recent: Vec<ChatRecord>,
) -> Arc<Tail> {
    inner.listeners += 1;
    if let Some(tail) = &inner.tail {
        return Arc::clone(tail);
    }
    let config = &shared.config;
    let tail = Tail::new(inner.state.version, config.tail_events, config.tail_bytes);
    let tail = Arc::new(tail);
    if recent.last().is_some_and(|last| last.version == inner.state.version) {
        for record in &mut recent {
            if !content_may_show(record, |seq| inner.may_show(seq)) {
                record.event = record.event.without_content();
            }
        }
        tail.start_with(recent);
    }
    inner.tail = Some(Arc::clone(&tail));
    shared.set_live(cell, true);
    if shared.is_stopped() {
        tail.close();
    } else if shared.bus.is_some() {
        let listening = Arc::clone(shared);
        let (cell, tail) = (Arc::downgrade(cell), Arc::downgrade(&tail));
        shared.spawn(async move { presence::listen_to_chat(listening, cell, tail).await });
    }
    tail
}
