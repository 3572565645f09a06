//! Follows the log of the store: finds what other processes appended, for the live tails here, and
//! keeps the chat lists up to date. Each process follows by itself; where the lists have come is
//! kept in the views, so that a crash leaves nothing out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::error::ChatError;
use super::list::{self, ListChange};
use super::shared::{CHAT_PREFIX, Shared, bug, lock};
use crate::domain::ChatEvent;
use crate::event::RecordedEvent;
use crate::id::{
    ChatId, Checkpoint, PartitionId, Position, ProjectionName, Scope, Topic, UserId, Version,
};
use crate::ports::{BusItem, PageLimit, Signal, SignalBody, ViewBatch, ViewError, ViewGet, ViewId};

/// Where the log has been followed to, and who waits for it.
#[derive(Debug)]
pub(super) struct LogFollower {
    cursors: Mutex<Vec<Cursor>>,
    wake: Notify,
    /// Somebody waits or was rung: do not gather first.
    urgent: AtomicBool,
    own_events: AtomicBool,
    waiting: Mutex<Vec<oneshot::Sender<Result<(), ChatError>>>>,
    /// Counts batches of this process, to ring others.
    appended: watch::Sender<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Read up to here.
    read: Position,
    /// The checkpoint that the views have.
    saved: Checkpoint,
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

/// The lists may take this part of the time (one in so many), as far as nobody asks for them.
const PASS_SHARE: u32 = 20;
/// The longest time for which changes are gathered.
const MAX_GATHER: Duration = Duration::from_secs(5);
/// How long to wait after a failure of the store.
const RETRY_WAIT: Duration = Duration::from_millis(200);

impl LogFollower {
    /// Starts where the chat lists stand.
    pub(super) async fn load(
        views: &dyn crate::ports::ViewStore,
        partitions: u32,
    ) -> Result<Self, ChatError> {
        let mut gets = Vec::new();
        for partition in 0..partitions {
            gets.push(ViewGet { view: checkpoint_view(PartitionId(partition))?, keys: vec![] });
        }
        let values = views.get(&gets).await?;
        let cursors = values
            .iter()
            .map(|values| Cursor { read: Position(values.checkpoint.0), saved: values.checkpoint })
            .collect();
        Ok(Self {
            cursors: Mutex::new(cursors),
            wake: Notify::new(),
            urgent: AtomicBool::new(true),
            own_events: AtomicBool::new(false),
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
    loop {
        follower.own_events.store(false, Ordering::Release);
        follower.urgent.store(false, Ordering::Release);
        let waiting = std::mem::take(&mut *lock(&follower.waiting));
        let began = Instant::now();
        let result = read_to_end(&shared).await;
        let took = began.elapsed();
        if let Err(error) = &result {
            tracing::debug!(%error, "the log could not be followed; trying again");
        }
        let failed = result.is_err();
        for done in waiting {
            // Who went away does not need the answer.
            let _ = done.send(result.clone());
        }
        if shared.is_stopped() {
            save(&shared).await;
            // Whoever came since is refused by the dropped sender.
            lock(&follower.waiting).clear();
            return;
        }
        wait(&shared, failed, took).await;
    }
}

async fn wait(shared: &Shared, failed: bool, took: Duration) {
    let follower = &shared.follower;
    if failed {
        tokio::select! {
            () = tokio::time::sleep(RETRY_WAIT) => {}
            () = shared.stopped() => {}
        }
        return;
    }
    tokio::select! {
        () = follower.wake.notified() => {}
        () = tokio::time::sleep(shared.config.poll_interval) => return,
        () = shared.stopped() => return,
    }
    // Own events only: gather, so that a chat with many messages is one change of each list, and
    // longer when the lists are many, so that they take a small part of the time.
    let delay = shared.config.list_delay.max((took * PASS_SHARE).min(MAX_GATHER));
    let gather = tokio::time::sleep(delay);
    tokio::pin!(gather);
    while !follower.urgent.load(Ordering::Acquire) {
        tokio::select! {
            () = &mut gather => return,
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
        let Ok(mut rings) = bus.subscribe(&topic).await else {
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
        shared.publish(&[Signal { topic: topic.clone(), body: SignalBody::Ring(version) }]).await;
    }
}

async fn read_to_end(shared: &Arc<Shared>) -> Result<(), ChatError> {
    for partition in 0..shared.partitions {
        let partition = PartitionId(partition);
        while !read_some(shared, partition).await? {}
    }
    Ok(())
}

/// Chats that change the lists in one go. Many pages of a busy log are few changes.
const CHATS_PER_UPDATE: usize = 4_096;
/// Events that are read before the lists are brought up to date.
const EVENTS_PER_UPDATE: usize = 65_536;

/// Reads pages of the log, then brings the lists up to date with them. True: this was the end.
async fn read_some(shared: &Arc<Shared>, partition: PartitionId) -> Result<bool, ChatError> {
    let start = cursor(shared, partition).read;
    let (mut from, mut read, mut end) = (start, 0, false);
    let mut changes: HashMap<ChatId, ChatChange> = HashMap::new();
    while !end && changes.len() < CHATS_PER_UPDATE && read < EVENTS_PER_UPDATE {
        let limit = PageLimit::events(PageLimit::MAX_EVENTS);
        let page = shared.store.read_log(partition, from, limit).await?;
        end = page.next >= page.head;
        from = page.next;
        read += page.events.len();
        collect(shared, &page.events, &mut changes);
    }
    shared.counters.log_events.fetch_add(read as u64, Ordering::Relaxed);
    take(shared, changes).await?;
    set_cursor(shared, partition, |cursor| cursor.read = from);
    if from > start {
        save_partition(shared, partition).await;
    }
    Ok(end)
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

async fn take(shared: &Arc<Shared>, changes: HashMap<ChatId, ChatChange>) -> Result<(), ChatError> {
    let mut moves = Vec::new();
    for (id, change) in changes {
        let cell = shared.cached_cell(&id);
        let version = cell.as_ref().map_or(Version::ZERO, |cell| cell.lock().state.version);
        // What this process appended itself has been told when it was appended.
        let foreign = version < change.version;
        if let Some(cell) = cell
            && foreign
            && cell.lock().tail.is_some()
        {
            shared.refresh(&cell).await?;
        }
        gather(shared, &id, &change, foreign, &mut moves).await?;
    }
    list::update(shared, moves).await
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

/// Works out what the lists say after a change of a chat, and tells who watches.
async fn gather(
    shared: &Arc<Shared>,
    id: &ChatId,
    change: &ChatChange,
    foreign: bool,
    moves: &mut Vec<ListChange>,
) -> Result<(), ChatError> {
    let told = foreign && !shared.watchers.is_empty();
    if !change.all_moved && change.moved.is_empty() && !told {
        return Ok(());
    }
    let cell = shared.cell(id)?;
    let stale = {
        let inner = cell.lock();
        !inner.loaded || inner.state.version < change.version
    };
    if stale {
        shared.refresh(&cell).await?;
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
    if told {
        shared.watchers.tell_members(state, id);
        for user in &change.moved {
            shared.watchers.tell(user, id);
        }
    }
    Ok(())
}

/// Saves how far the lists have come, best effort: what is not saved is done again.
async fn save_partition(shared: &Shared, partition: PartitionId) {
    let Cursor { read, saved } = cursor(shared, partition);
    if read.0 <= saved.0 {
        return;
    }
    let Ok(view) = checkpoint_view(partition) else {
        return;
    };
    let next = Checkpoint(read.0);
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

async fn save(shared: &Shared) {
    for partition in 0..shared.partitions {
        save_partition(shared, PartitionId(partition)).await;
    }
}

fn cursor(shared: &Shared, partition: PartitionId) -> Cursor {
    let cursors = lock(&shared.follower.cursors);
    let start = Cursor { read: Position::ZERO, saved: Checkpoint::ZERO };
    usize::try_from(partition.0).ok().and_then(|at| cursors.get(at).copied()).unwrap_or(start)
}

fn set_cursor(shared: &Shared, partition: PartitionId, change: impl FnOnce(&mut Cursor)) {
    let mut cursors = lock(&shared.follower.cursors);
    let at = usize::try_from(partition.0).ok();
    if let Some(cursor) = at.and_then(|at| cursors.get_mut(at)) {
        change(cursor);
    }
}

fn checkpoint_view(partition: PartitionId) -> Result<ViewId, ChatError> {
    let scope = Scope::new(format!("engine/log/{partition}")).map_err(bug)?;
    let projection = ProjectionName::new("chat-list").map_err(bug)?;
    Ok(ViewId { scope, projection })
}

fn log_topic() -> Option<Topic> {
    Topic::new("log").ok()
}
