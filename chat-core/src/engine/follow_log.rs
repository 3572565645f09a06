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

use super::error::ChatError;
use super::list::{self, ListChange};
use super::shared::{Shared, bug, chat_of, lock};
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
    /// All members may see something else in their list.
    all_told: bool,
    /// These users may.
    told: BTreeSet<UserId>,
}

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
        let result = read_to_end(&shared).await;
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
        wait(&shared, failed).await;
    }
}

async fn wait(shared: &Shared, failed: bool) {
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
    // Own events only: gather, so that a chat with many messages is one change of each list.
    let gather = tokio::time::sleep(shared.config.list_delay);
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
        loop {
            let from = cursor(shared, partition).read;
            let limit = PageLimit::events(PageLimit::MAX_EVENTS);
            let page = shared.store.read_log(partition, from, limit).await?;
            let end = page.next >= page.head;
            if !page.events.is_empty() {
                let count = page.events.len() as u64;
                shared.counters.log_events.fetch_add(count, Ordering::Relaxed);
                take(shared, &page.events).await?;
            }
            set_cursor(shared, partition, |cursor| cursor.read = page.next);
            if page.next > from {
                save_partition(shared, partition).await;
            }
            if end {
                break;
            }
        }
    }
    Ok(())
}

async fn take(shared: &Arc<Shared>, events: &[Arc<RecordedEvent>]) -> Result<(), ChatError> {
    let mut changes: HashMap<ChatId, ChatChange> = HashMap::new();
    // Events of one chat often stand together; naming the chat anew for each would cost most.
    let mut current: Option<(&str, ChatId)> = None;
    for stored in events {
        let name = stored.stream.as_str();
        if current.as_ref().is_none_or(|(last, _)| *last != name) {
            current = chat_of(&stored.stream).map(|id| (name, id));
        }
        let Some((_, id)) = &current else {
            continue;
        };
        if !changes.contains_key(id) {
            changes.insert(id.clone(), ChatChange::default());
        }
        if let Some(change) = changes.get_mut(id) {
            change.version = stored.version;
            note(shared, change, stored);
        }
    }
    let mut moves = Vec::new();
    for (id, change) in changes {
        if let Some(cell) = shared.live_cell(&id)
            && cell.lock().state.version < change.version
        {
            shared.refresh(&cell).await?;
        }
        if change.all_moved || change.all_told || !change.moved.is_empty() {
            gather(shared, &id, change, &mut moves).await?;
        } else {
            for user in &change.told {
                shared.watchers.tell(user, &id);
            }
        }
    }
    list::update(shared, moves).await
}

/// Notes what an event means for the lists.
fn note(shared: &Shared, change: &mut ChatChange, stored: &RecordedEvent) {
    match stored.event.event_type.as_str() {
        "message_sent" | "chat_created" => change.all_moved = true,
        "message_edited" | "message_deleted" | "chat_updated" => change.all_told = true,
        "member_joined" | "member_left" | "member_removed" | "chat_hidden" => {
            let event = shared.record(stored).event;
            let user = match &event {
                ChatEvent::MemberJoined(e) => Some(&e.user),
                ChatEvent::ChatHidden(e) => Some(&e.by),
                other => other.ended_member(),
            };
            change.moved.extend(user.cloned());
            change.all_told = true;
        }
        "read_advanced" | "marked_unread" if !shared.watchers.is_empty() => {
            change.told.extend(shared.record(stored).event.actor().cloned());
        }
        _ => {}
    }
}

async fn gather(
    shared: &Arc<Shared>,
    id: &ChatId,
    change: ChatChange,
    moves: &mut Vec<ListChange>,
) -> Result<(), ChatError> {
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
    let others =
        change.moved.iter().filter(|user| !change.all_moved || state.active(user).is_none());
    moves.extend(others.map(entry));
    if change.all_told && !shared.watchers.is_empty() {
        for (user, _) in state.active_members() {
            shared.watchers.tell(user, id);
        }
    }
    drop(inner);
    for user in &change.told {
        shared.watchers.tell(user, id);
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
