//! What the log says that the chat lists need, gathered until it is worth a write.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::place::{save_partition, set_cursor};
use super::refreshed;
use crate::domain::ChatEvent;
use crate::engine::error::ChatError;
use crate::engine::list::{self, ListChange};
use crate::engine::shared::{CHAT_PREFIX, Shared};
use crate::event::RecordedEvent;
use crate::id::{ChatId, PartitionId, UserId, Version};

/// What happened to one chat in the part of the log that was just read.
#[derive(Debug, Default)]
pub(super) struct ChatChange {
    pub(super) version: Version,
    /// The list entries of all members may have moved.
    all_moved: bool,
    /// These users' list entries may have changed.
    pub(super) moved: BTreeSet<UserId>,
}

/// What was read of the log and is not in the lists yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    changes: HashMap<ChatId, ChatChange>,
    events: usize,
    /// When the lists are to be written, if anything was gathered.
    pub(super) due: Option<Instant>,
    /// How long it took the last time.
    took: Duration,
    /// When to ask for the store's epoch again.
    pub(super) next_look: Option<Instant>,
}

impl Gathered {
    /// Gathers for a while, so that a chat with many messages is one change of each list; and
    /// longer when the lists are many, so that they take a small part of the time.
    pub(super) fn note(
        &mut self,
        shared: &Shared,
        fresh: HashMap<ChatId, ChatChange>,
        events: usize,
    ) {
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

    pub(super) fn is_full(&self) -> bool {
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

pub(super) fn collect(
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

/// Writes the lists for everything that was gathered, and saves how far they have come.
pub(super) async fn write_lists(
    shared: &Arc<Shared>,
    gathered: &mut Gathered,
) -> Result<(), ChatError> {
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
