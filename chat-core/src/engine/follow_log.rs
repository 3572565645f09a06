//! Follows the log of the store: finds what other processes appended, for the live tails here, and
//! keeps the chat lists up to date. Each process follows by itself; where the lists have come is
//! kept in the views, so that a crash leaves nothing out.
//!
//! Where the lists are far behind the log (an engine that was away for long, a store that is another
//! incarnation, so that its log is read again), nobody who listens waits for them: what comes from
//! now on is read first, and what came before page by page in between.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::cell::ChatCell;
use super::error::ChatError;
use super::list::{self, ListChange};
use super::shared::{CHAT_PREFIX, Shared, bug, lock};
use crate::domain::ChatEvent;
use crate::event::RecordedEvent;
use crate::id::{
    ChatId, Checkpoint, Epoch, PartitionId, Position, ProjectionName, Scope, Topic, UserId, Version,
};
use crate::ports::{
    BusItem, LOG_TOPIC, LogPage, PageLimit, Signal, SignalBody, ViewBatch, ViewError, ViewGet,
    ViewId,
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

/// Where one partition's log was read to.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// The log's end when following began: everybody who listens knows what came before.
    start: Position,
    /// Whether `start` is that of this following; it is set once.
    placed: bool,
    /// Read from `start` up to here.
    read: Position,
    /// What came before `start` was read up to here.
    backlog: Position,
    /// The lists hold everything up to here.
    listed: Position,
    /// The checkpoint that the views have.
    saved: Checkpoint,
}

impl Cursor {
    fn at(listed: Position) -> Self {
        let saved = Checkpoint(listed.0);
        Self { start: listed, placed: false, read: listed, backlog: listed, listed, saved }
    }

    fn has_backlog(&self) -> bool {
        self.backlog < self.start
    }

    /// Everything up to here was read.
    fn whole(&self) -> Position {
        if self.has_backlog() { self.backlog } else { self.read }
    }
}

/// What happened to one chat in the part of the log that was just read.
#[derive(Debug, Default)]
struct ChatChange {
    version: Version,
    /// The list entries of all members may have moved.
    all_moved: bool,
    /// These users' list entries may have changed.
    moved: BTreeSet<UserId>,
}

/// What was read of the log and is not in the lists yet.
#[derive(Debug, Default)]
struct Gathered {
    changes: HashMap<ChatId, ChatChange>,
    events: usize,
    /// When the lists are to be written, if anything was gathered.
    due: Option<Instant>,
    /// How long it took the last time.
    took: Duration,
    /// When to ask for the store's epoch again.
    next_look: Option<Instant>,
}

impl Gathered {
    /// Gathers for a while, so that a chat with many messages is one change of each list; and
    /// longer when the lists are many, so that they take a small part of the time.
    fn note(&mut self, shared: &Shared, fresh: HashMap<ChatId, ChatChange>, events: usize) {
        if fresh.is_empty() {
            return;
        }
        self.events += events;
        let gather = (self.took * PASS_SHARE).min(MAX_GATHER);
        let delay = shared.config.list_delay.max(gather);
        self.due.get_or_insert_with(|| Instant::now() + delay);
        for (id, change) in fresh {
            let known = self.changes.entry(id).or_default();
            known.version = known.version.max(change.version);
            known.all_moved |= change.all_moved;
            known.moved.extend(change.moved);
        }
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= CHATS_PER_UPDATE || self.events >= EVENTS_PER_UPDATE
    }
}

/// The lists may take this part of the time (one in so many), as far as nobody asks for them.
const PASS_SHARE: u32 = 20;
/// The longest time for which changes are gathered.
const MAX_GATHER: Duration = Duration::from_secs(5);
/// Chats that change the lists in one go. Many pages of a busy log are few changes.
const CHATS_PER_UPDATE: usize = 4_096;
/// Events that are read before the lists are brought up to date.
const EVENTS_PER_UPDATE: usize = 65_536;
/// Rows of lists that are held in memory before they are written.
const MOVES_PER_UPDATE: usize = 8_192;
/// How often to ask for the store's epoch.
const EPOCH_LOOK: Duration = Duration::from_secs(2);
/// How many incarnations of the store one round follows.
const EPOCHS_PER_ROUND: usize = 8;
/// How long to wait after a failure of the store.
const RETRY_WAIT: Duration = Duration::from_millis(200);

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
    loop {
        follower.own_events.store(false, Ordering::Release);
        follower.urgent.store(false, Ordering::Release);
        let waiting = std::mem::take(&mut *lock(&follower.waiting));
        let asked = !waiting.is_empty() || shared.is_stopped();
        // A panic in an adapter must not end what every list waits for.
        let round = AssertUnwindSafe(round(&shared, &mut gathered, asked)).catch_unwind();
        let result = round.await.unwrap_or_else(|_| Err(bug("an adapter panicked")));
        if let Err(error) = &result {
            tracing::debug!(%error, "the log could not be followed; trying again");
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
        *gathered = Gathered { next_look: gathered.next_look, ..Gathered::default() };
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

/// Lets what comes from now on be read first. Whoever listens already is brought up to date behind
/// the look at the log's end, so that nothing falls between; who is about to listen sees by the
/// count that it has to look once more.
async fn place(shared: &Arc<Shared>) -> Result<(), ChatError> {
    let mut result = Ok(());
    for partition in (0..shared.partitions).map(PartitionId) {
        result = result.and(place_partition(shared, partition).await);
    }
    shared.follower.placements.fetch_add(1, Ordering::AcqRel);
    for cell in shared.live_cells() {
        result = result.and(refreshed(shared, &cell).await.map(drop));
    }
    result
}

async fn place_partition(shared: &Shared, partition: PartitionId) -> Result<(), ChatError> {
    if cursor(shared, partition).placed {
        return Ok(());
    }
    let limit = PageLimit::events(1);
    let head = shared.store.read_log(partition, Position::MAX, limit).await?.head;
    set_cursor(shared, partition, |cursor| {
        cursor.placed = true;
        if head > cursor.read {
            (cursor.start, cursor.read) = (head, head);
        }
    });
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
    let mut fresh = HashMap::new();
    collect(shared, &page.events, &mut fresh);
    shared.counters.log_events.fetch_add(page.events.len() as u64, Ordering::Relaxed);
    deliver(shared, &fresh).await?;
    gathered.note(shared, fresh, page.events.len());
    Ok(Some(page))
}

fn collect(
    shared: &Shared,
    events: &[Arc<RecordedEvent>],
    changes: &mut HashMap<ChatId, ChatChange>,
) {
    for stored in events {
        let name = stored.stream.as_str().strip_prefix(CHAT_PREFIX);
        let Some(name) = name else {
            continue;
        };
        if let Some(change) = changes.get_mut(name) {
            note(shared, change, stored);
        } else if let Ok(id) = ChatId::new(name) {
            note(shared, changes.entry(id).or_default(), stored);
        }
    }
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

/// Writes the lists for everything that was gathered, and saves how far they have come.
async fn write_lists(shared: &Arc<Shared>, gathered: &mut Gathered) -> Result<(), ChatError> {
    let began = Instant::now();
    let mut moves = Vec::new();
    for (id, change) in &gathered.changes {
        gather(shared, id, change, &mut moves).await?;
        if moves.len() >= MOVES_PER_UPDATE {
            list::update(shared, std::mem::take(&mut moves)).await?;
        }
    }
    list::update(shared, moves).await?;
    let next_look = gathered.next_look;
    *gathered = Gathered { took: began.elapsed(), next_look, ..Gathered::default() };
    for partition in 0..shared.partitions {
        let partition = PartitionId(partition);
        set_cursor(shared, partition, |cursor| cursor.listed = cursor.whole());
        save_partition(shared, partition).await;
    }
    Ok(())
}

/// Notes what an event means for the lists.
fn note(shared: &Shared, change: &mut ChatChange, stored: &RecordedEvent) {
    change.version = stored.version;
    match stored.event.event_type.as_str() {
        "message_sent" | "chat_created" => change.all_moved = true,
        "member_joined" | "member_left" | "member_removed" | "chat_hidden" => {
            let event = shared.record(stored).event;
            let user = match &event {
                ChatEvent::MemberJoined(e) => Some(&e.user),
                ChatEvent::ChatHidden(e) => Some(&e.by),
                other => other.ended_member(),
            };
            change.moved.extend(user.cloned());
        }
        _ => {}
    }
}

/// Works out what the lists say after a change of a chat.
async fn gather(
    shared: &Arc<Shared>,
    id: &ChatId,
    change: &ChatChange,
    moves: &mut Vec<ListChange>,
) -> Result<(), ChatError> {
    if !change.all_moved && change.moved.is_empty() {
        return Ok(());
    }
    let cell = shared.cell(id)?;
    let stale = {
        let inner = cell.lock();
        !inner.loaded || inner.state.version < change.version
    };
    if stale && !refreshed(shared, &cell).await? {
        return Ok(());
    }
    let inner = cell.lock();
    let state = &inner.state;
    let entry = |user: &UserId| ListChange {
        user: user.clone(),
        chat: id.clone(),
        version: state.version,
        activity: state.activity(user),
    };
    if change.all_moved {
        moves.extend(state.active_members().map(|(user, _)| entry(user)));
    }
    let gone = |user: &&UserId| !change.all_moved || state.active(user).is_none();
    moves.extend(change.moved.iter().filter(gone).map(entry));
    Ok(())
}

/// Saves how far the lists have come, best effort: what is not saved is done again.
async fn save_partition(shared: &Shared, partition: PartitionId) {
    let Cursor { listed, saved, .. } = cursor(shared, partition);
    if listed.0 <= saved.0 {
        return;
    }
    let epoch = *lock(&shared.follower.epoch);
    let Ok(view) = checkpoint_view(epoch, partition) else {
        return;
    };
    let next = Checkpoint(listed.0);
    let batch = ViewBatch { view, expected: saved, next, ops: Vec::new() };
    match shared.views.commit(&[batch]).await.pop() {
        Some(Ok(())) => set_cursor(shared, partition, |cursor| cursor.saved = next),
        // Another process came further, or not as far.
        Some(Err(ViewError::CheckpointMoved { actual, .. })) => {
            set_cursor(shared, partition, |cursor| cursor.saved = actual);
        }
        Some(Err(ViewError::Store(error))) => {
            tracing::debug!(%error, "the place in the log was not saved");
        }
        None => {}
    }
}

fn cursor(shared: &Shared, partition: PartitionId) -> Cursor {
    let cursors = lock(&shared.follower.cursors);
    let at = usize::try_from(partition.0).ok().and_then(|at| cursors.get(at).copied());
    at.unwrap_or(Cursor::at(Position::ZERO))
}

fn set_cursor(shared: &Shared, partition: PartitionId, change: impl FnOnce(&mut Cursor)) {
    let mut cursors = lock(&shared.follower.cursors);
    let at = usize::try_from(partition.0).ok();
    if let Some(cursor) = at.and_then(|at| cursors.get_mut(at)) {
        change(cursor);
    }
}

/// Where the lists have come in the log of one incarnation: another has a log of its own.
fn checkpoint_view(epoch: Epoch, partition: PartitionId) -> Result<ViewId, ChatError> {
    let scope = format!("engine/log/{}/{partition}", epoch.0.simple());
    let scope = Scope::new(scope).map_err(bug)?;
    let projection = ProjectionName::new("chat-list").map_err(bug)?;
    Ok(ViewId { scope, projection })
}

fn log_topic() -> Option<Topic> {
    Topic::new(LOG_TOPIC).ok()
}
