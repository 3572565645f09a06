//! Follows the log of the store: finds what other processes appended, for the live tails here, and
//! keeps the chat lists up to date. Each process follows by itself; where the lists have come is
//! kept in the views, so that a crash leaves nothing out.
//!
//! Where the lists are far behind the log (an engine that was away for long, a store that is another
//! incarnation, so that its log is read again), nobody who listens waits for them: what comes from
//! now on is read first, and what came before page by page in between.

mod changes;
mod place;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use self::changes::{ChatChange, Gathered, collect, write_lists};
use self::place::{Cursor, checkpoint_view, cursor, place, set_cursor};
use super::cell::ChatCell;
use super::error::ChatError;
use super::shared::{Shared, bug, lock};
use crate::id::{ChatId, Epoch, PartitionId, Position, Topic, Version};
use crate::ports::{
    BusItem, LOG_TOPIC, LogPage, PageLimit, Signal, SignalBody, StoreError, ViewGet,
};

/// Where the log has been followed to, and who waits for it.
#[derive(Debug)]
pub(super) struct LogFollower {
    /// The incarnation whose log the cursors are of.
    epoch: Mutex<Epoch>,
    cursors: Mutex<Vec<Cursor>>,
    wake: Notify,
    /// Somebody waits or was rung: do not gather first.
    urgent: AtomicBool,
    own_events: AtomicBool,
    /// The store is of another incarnation: its log is read from its beginning.
    anew: AtomicBool,
    /// Where the log ends now, what comes from here on is to be read first.
    unplaced: AtomicBool,
    /// How often that was looked for.
    placements: AtomicU64,
    waiting: Mutex<Vec<oneshot::Sender<Result<(), ChatError>>>>,
    /// Counts batches of this process, to ring others.
    appended: watch::Sender<u64>,
}

impl LogFollower {
    /// Starts where the chat lists stand.
    pub(super) async fn load(
        views: &dyn crate::ports::ViewStore,
        (epoch, partitions): (Epoch, u32),
    ) -> Result<Self, ChatError> {
        let mut gets = Vec::new();
        for partition in (0..partitions).map(PartitionId) {
            gets.push(ViewGet { view: checkpoint_view(epoch, partition)?, keys: vec![] });
        }
        let values = views.get(&gets).await?;
        let listed = values.iter().map(|values| Position(values.checkpoint.0));
        let cursors = listed.map(Cursor::at).collect();
        Ok(Self {
            epoch: Mutex::new(epoch),
            cursors: Mutex::new(cursors),
            wake: Notify::new(),
            urgent: AtomicBool::new(true),
            own_events: AtomicBool::new(false),
            anew: AtomicBool::new(false),
            unplaced: AtomicBool::new(true),
            placements: AtomicU64::new(0),
            waiting: Mutex::default(),
            appended: watch::Sender::new(0),
        })
    }

    /// Events of this process were appended; the tails have them already.
    pub(super) fn wake_for_own_events(&self) {
        self.appended.send_modify(|batches| *batches = batches.wrapping_add(1));
        // One wake is enough until the follower has looked.
        if !self.own_events.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// The store is of another incarnation.
    pub(super) fn begin_anew(&self) {
        self.anew.store(true, Ordering::Release);
        self.wake_at_once();
    }

    /// How often the log's end was looked for since this began. Who begins to listen meanwhile may
    /// have missed what was there.
    pub(super) fn placements(&self) -> u64 {
        self.placements.load(Ordering::Acquire)
    }

    fn wake_at_once(&self) {
        self.urgent.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Completes when everything that the store holds now is in the chat lists.
    pub(super) async fn catch_up(&self, shared: &Shared) -> Result<(), ChatError> {
        let (done, waiting) = oneshot::channel();
        lock(&self.waiting).push(done);
        if shared.is_stopped() {
            // Nobody takes what waits from here on.
            lock(&self.waiting).clear();
        }
        self.wake_at_once();
        waiting.await.unwrap_or(Err(ChatError::ShuttingDown))
    }
}

/// Follows until the engine has stopped.
pub(super) async fn drive(shared: Arc<Shared>) {
    let follower = &shared.follower;
    let mut gathered = Gathered::default();
    let mut told = false;
    loop {
        follower.own_events.store(false, Ordering::Release);
        follower.urgent.store(false, Ordering::Release);
        let waiting = std::mem::take(&mut *lock(&follower.waiting));
        let asked = !waiting.is_empty() || shared.is_stopped();
        // A panic in an adapter must not end what every list waits for.
        let round = AssertUnwindSafe(round(&shared, &mut gathered, asked)).catch_unwind();
        let result = round.await.unwrap_or_else(|_| Err(bug("an adapter panicked")));
        match &result {
            // What will not pass by itself is said aloud, once.
            Err(error) if !(told || error.is_retryable() || shared.is_stopped()) => {
                tracing::error!(%error, "the log cannot be followed; trying again");
                told = true;
            }
            Err(error) => tracing::debug!(%error, "the log could not be followed; trying again"),
            Ok(()) => told = false,
        }
        let failed = result.is_err();
        for done in waiting {
            // Who went away does not need the answer.
            let _ = done.send(result.clone());
        }
        if shared.is_stopped() {
            // Whoever came since is refused by the dropped sender.
            lock(&follower.waiting).clear();
            return;
        }
        wait(&shared, failed, gathered.due).await;
    }
}

/// Reads what is new and a page of what is old, and writes the lists if it is time.
async fn round(
    shared: &Arc<Shared>,
    gathered: &mut Gathered,
    asked: bool,
) -> Result<(), ChatError> {
    let mut result = Ok(());
    let mut looks = 0;
    loop {
        // Each time: reading what is old may take long.
        result = result.and(look_at_epoch(shared, gathered).await);
        for partition in (0..shared.partitions).map(PartitionId) {
            // One partition that cannot be read does not hold up the others.
            result = result.and(read_to_end(shared, gathered, partition).await);
        }
        let mut more = false;
        for partition in (0..shared.partitions).map(PartitionId) {
            let read = read_backlog(shared, gathered, partition).await;
            more |= matches!(read, Ok(true));
            result = result.and(read.map(drop));
        }
        // A log that has just lost its end is read anew.
        let anew = shared.follower.anew.load(Ordering::Acquire) && looks < EPOCHS_PER_ROUND;
        looks += usize::from(anew);
        if !(more || anew) {
            break;
        }
        if shared.is_stopped() {
            result = result.and(Err(ChatError::ShuttingDown));
            break;
        }
        // Who asks wants all of it.
        if !asked || result.is_err() {
            shared.follower.wake_at_once();
            break;
        }
    }
    let due = gathered.due.is_some_and(|due| due <= Instant::now());
    if (asked || due) && gathered.due.is_some() {
        result = result.and(write_lists(shared, gathered).await);
    }
    result
}

/// Asks now and then whether the store is still the same: a log that lost its end and has grown
/// again looks like the old one. If it is another, everybody who listens here is told.
async fn look_at_epoch(shared: &Arc<Shared>, gathered: &mut Gathered) -> Result<(), ChatError> {
    let now = Instant::now();
    if gathered.next_look.is_none_or(|next| next <= now) {
        shared.epoch_now().await?;
        gathered.next_look = Some(now + EPOCH_LOOK);
    }
    if shared.follower.anew.swap(false, Ordering::AcqRel) {
        let next_look = gathered.next_look;
        *gathered = Gathered::default();
        gathered.next_look = next_look;
        *lock(&shared.follower.epoch) = shared.known_epoch();
        for partition in 0..shared.partitions {
            set_cursor(shared, PartitionId(partition), |cursor| {
                *cursor = Cursor::at(Position::ZERO);
            });
        }
        shared.follower.unplaced.store(true, Ordering::Release);
    }
    if !shared.follower.unplaced.load(Ordering::Acquire) {
        return Ok(());
    }
    place(shared).await?;
    shared.follower.unplaced.store(false, Ordering::Release);
    Ok(())
}

/// Waits for something to do: a ring, a caller, the poll timer, lists that are due.
async fn wait(shared: &Shared, failed: bool, due: Option<Instant>) {
    let follower = &shared.follower;
    let poll = Instant::now() + if failed { RETRY_WAIT } else { shared.config.poll_interval };
    let timer = tokio::time::sleep_until(due.filter(|_| !failed).map_or(poll, |due| due.min(poll)));
    tokio::pin!(timer);
    // What this process appended itself is delivered already; its lists can wait for the timer.
    while failed || !follower.urgent.load(Ordering::Acquire) {
        tokio::select! {
            () = &mut timer => return,
            () = follower.wake.notified() => {}
            () = shared.stopped() => return,
        }
    }
}

/// Rings other processes' doorbells are heard here.
pub(super) async fn listen(shared: Arc<Shared>) {
    let (Some(bus), Some(topic)) = (shared.bus.clone(), log_topic()) else {
        return;
    };
    loop {
        let subscribed = tokio::select! {
            subscribed = bus.subscribe(&topic) => subscribed,
            () = shared.stopped() => return,
        };
        let Ok(mut rings) = subscribed else {
            tokio::select! {
                () = tokio::time::sleep(RETRY_WAIT) => continue,
                () = shared.stopped() => return,
            }
        };
        // What was rung before the subscription stood is read now.
        shared.follower.wake_at_once();
        loop {
            let item = tokio::select! {
                item = rings.next() => item,
                () = shared.stopped() => return,
            };
            match item {
                Some(BusItem::Signal(_) | BusItem::Missed) => shared.follower.wake_at_once(),
                None => break,
            }
        }
        if shared.is_stopped() {
            return;
        }
        tokio::time::sleep(RETRY_WAIT).await;
    }
}

/// Rings the doorbell of other processes whenever this one has appended.
pub(super) async fn ring(shared: Arc<Shared>) {
    let Some(topic) = log_topic() else {
        return;
    };
    let mut appended = shared.follower.appended.subscribe();
    loop {
        tokio::select! {
            changed = appended.changed() => if changed.is_err() { return },
            () = shared.stopped() => return,
        }
        let version = Version(*appended.borrow_and_update());
        let ring = [Signal { topic: topic.clone(), body: SignalBody::Ring(version) }];
        tokio::select! {
            () = shared.publish(&ring) => {}
            () = shared.stopped() => return,
        }
    }
}

/// Reads a partition to its end: wakes the tails of this process for what others appended, tells
/// who watches, and gathers what the lists need.
async fn read_to_end(
    shared: &Arc<Shared>,
    gathered: &mut Gathered,
    partition: PartitionId,
) -> Result<(), ChatError> {
    loop {
        let from = cursor(shared, partition).read;
        let Some(page) = read_page(shared, gathered, partition, from).await? else {
            return Ok(());
        };
        set_cursor(shared, partition, |cursor| cursor.read = page.next);
        if gathered.is_full() {
            write_lists(shared, gathered).await?;
        }
        if page.next >= page.head {
            return Ok(());
        }
    }
}

/// Reads a page of what came before this process began to follow; whether there is more of it.
async fn read_backlog(
    shared: &Arc<Shared>,
    gathered: &mut Gathered,
    partition: PartitionId,
) -> Result<bool, ChatError> {
    let before = cursor(shared, partition);
    if !before.has_backlog() {
        return Ok(false);
    }
    let Some(page) = read_page(shared, gathered, partition, before.backlog).await? else {
        return Ok(false);
    };
    // Behind the log's end there is nothing, whatever that look saw as its end.
    let upto = if page.next >= page.head { page.next.max(before.start) } else { page.next };
    set_cursor(shared, partition, |cursor| cursor.backlog = upto);
    if gathered.is_full() {
        write_lists(shared, gathered).await?;
    }
    Ok(cursor(shared, partition).has_backlog())
}

/// Reads a page of a partition's log and brings it to those who want it. Nothing: the log has lost
/// its end, and is read anew.
async fn read_page(
    shared: &Arc<Shared>,
    gathered: &mut Gathered,
    partition: PartitionId,
    from: Position,
) -> Result<Option<LogPage>, ChatError> {
    let limit = PageLimit::events(PageLimit::MAX_EVENTS);
    let page = shared.store.read_log(partition, from, limit).await?;
    if page.head < from {
        // It lost its end, perhaps before this process began. Nobody waits for the next look.
        shared.follower.begin_anew();
        shared.epoch_now().await?;
        return Ok(None);
    }
    if page.next <= from && from < page.head {
        // A store that breaks its word; asking on would never end.
        let place = format!("the log of partition {partition} behind position {from}");
        let what = format!("a page that leads nowhere, though the log ends at {}", page.head);
        return Err(StoreError::Corrupt { place, what }.into());
    }
    let mut fresh = HashMap::new();
    collect(shared, &page.events, &mut fresh);
    shared.counters.log_events.fetch_add(page.events.len() as u64, Ordering::Relaxed);
    deliver(shared, &fresh).await?;
    gathered.note(shared, fresh, page.events.len());
    Ok(Some(page))
}

/// Brings what others appended to those who listen and watch here.
async fn deliver(
    shared: &Arc<Shared>,
    changes: &HashMap<ChatId, ChatChange>,
) -> Result<(), ChatError> {
    let watched = !shared.watchers.is_empty();
    for (id, change) in changes {
        let cell = match shared.cached_cell(id) {
            Some(cell) => cell,
            None if watched => shared.cell(id)?,
            None => continue,
        };
        let (behind, live, untold) = {
            let inner = cell.lock();
            let behind = !inner.loaded || inner.state.version < change.version;
            (behind, inner.tail.is_some(), inner.told < change.version)
        };
        let tell = watched && untold;
        if behind && (live || tell) && !refreshed(shared, &cell).await? {
            continue;
        }
        if tell {
            let mut inner = cell.lock();
            inner.told = inner.told.max(inner.state.version);
            shared.watchers.tell_members(&inner.state, id);
        }
        if watched {
            // Those whose membership ended are no members any more, and want to know.
            change.moved.iter().for_each(|user| shared.watchers.tell(user, id));
        }
    }
    Ok(())
}

/// Brings a chat up to date. False: it cannot be read, and trying again will not help; the others
/// go on without it.
async fn refreshed(shared: &Arc<Shared>, cell: &Arc<ChatCell>) -> Result<bool, ChatError> {
    match shared.refresh(cell).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_retryable() => Err(error),
        Err(error) => {
            shared.counters.unreadable.fetch_add(1, Ordering::Relaxed);
            tracing::error!(chat = %cell.id, %error, "a chat cannot be read");
            Ok(false)
        }
    }
}

fn log_topic() -> Option<Topic> {
    Topic::new(LOG_TOPIC).ok()
}

/// How often to ask for the store's epoch.
const EPOCH_LOOK: Duration = Duration::from_secs(2);
/// How many incarnations of the store one round follows.
const EPOCHS_PER_ROUND: usize = 8;
/// How long to wait after a failure of the store.
const RETRY_WAIT: Duration = Duration::from_millis(200);
