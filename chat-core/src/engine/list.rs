//! The list of a user's chats, by last activity: a projection in the user's scope with a row for
//! each chat and an index in the order of the list. A page costs what the page holds.
//!
//! Keys: `chat/<id>` holds the version that the row was made from and the activity (zero: not in
//! the list); `order/<activity, falling>/<id>` is the list itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ChatError;
use super::shared::{Shared, bug};
use crate::clock::Timestamp;
use crate::domain::{ChatKind, ChatState, MessageState, Role};
use crate::id::{ChatId, Checkpoint, ProjectionName, Scope, StreamId, UserId, Version, ViewKey};
use crate::ports::{Direction, KeyRange, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewPage};

/// Asks for a page of a user's chats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatListQuery {
    /// Where the page before ended; `None` starts at the top.
    pub after: Option<ChatCursor>,
    /// Most chats in the page; 1 to [`ChatListQuery::MAX`], values outside are brought in.
    pub limit: usize,
}

impl ChatListQuery {
    /// Most chats in one page.
    pub const MAX: usize = 500;

    /// The top of the list.
    #[must_use]
    pub fn top(limit: usize) -> Self {
        Self { after: None, limit }
    }
}

/// The place behind a chat in the list. A chat that moves up meanwhile is not given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatCursor {
    activity: Timestamp,
    chat: ChatId,
}

impl std::fmt::Display for ChatCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.activity.0, self.chat)
    }
}

impl std::str::FromStr for ChatCursor {
    type Err = ChatError;
    fn from_str(text: &str) -> Result<Self, ChatError> {
        let (activity, chat) = text.split_once('/').ok_or(ChatError::InvalidToken)?;
        let activity = activity.parse().map_err(|_| ChatError::InvalidToken)?;
        let chat = ChatId::new(chat).map_err(|_| ChatError::InvalidToken)?;
        Ok(Self { activity: Timestamp(activity), chat })
    }
}

/// A page of a user's chats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatPage {
    /// The chats, last activity first.
    pub chats: Vec<ChatSummary>,
    /// Where to go on; `None` at the end.
    pub next: Option<ChatCursor>,
}

/// A chat as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatSummary {
    /// Its id.
    pub chat: ChatId,
    /// What kind of chat it is.
    pub kind: ChatKind,
    /// Its name.
    pub name: Option<String>,
    /// What it is about.
    pub topic: Option<String>,
    /// How many members it has.
    pub members: usize,
    /// The others in it, of a direct chat.
    pub others: Vec<UserId>,
    /// The member's own role.
    pub role: Role,
    /// When something last happened that moves it up.
    pub activity: Timestamp,
    /// The last message that the member may see.
    pub preview: Option<Arc<MessageState>>,
    /// Unread messages.
    pub unread: u64,
    /// Unread messages that name the member.
    pub mentions: u64,
    /// The member marked it as unread.
    pub marked_unread: bool,
    /// Read up to here.
    pub read: Version,
    /// The version that all this is of.
    pub version: Version,
}

/// What the list of one user shall say of one chat.
#[derive(Debug)]
pub(super) struct ListChange {
    pub(super) user: UserId,
    pub(super) chat: ChatId,
    pub(super) version: Version,
    pub(super) activity: Option<Timestamp>,
}

/// How often a row is tried anew that another process changes too.
const ATTEMPTS: u32 = 16;
/// Users whose rows are read and written in one go.
const USERS_PER_BATCH: usize = 512;

/// Brings lists up to date. Doing it twice, in two processes, or with an older version changes
/// nothing: each row knows the version that it was made from.
pub(super) async fn update(shared: &Shared, changes: Vec<ListChange>) -> Result<(), ChatError> {
    let mut by_user: BTreeMap<UserId, Vec<ListChange>> = BTreeMap::new();
    for change in changes {
        by_user.entry(change.user.clone()).or_default().push(change);
    }
    let mut waiting: Vec<_> = by_user.into_iter().collect();
    for _ in 0..ATTEMPTS {
        let mut refused = Vec::new();
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(USERS_PER_BATCH));
            refused.extend(write_rows(shared, waiting).await?);
            waiting = rest;
        }
        if refused.is_empty() {
            return Ok(());
        }
        waiting = refused;
    }
    Err(ChatError::Contended { attempts: ATTEMPTS })
}

type UserChanges = (UserId, Vec<ListChange>);

/// Writes the rows of some users; gives back those whose list moved meanwhile.
async fn write_rows(
    shared: &Shared,
    changes: Vec<UserChanges>,
) -> Result<Vec<UserChanges>, ChatError> {
    let mut gets = Vec::with_capacity(changes.len());
    for (user, changes) in &changes {
        let keys = changes.iter().map(|change| row_key(&change.chat)).collect::<Result<_, _>>()?;
        gets.push(ViewGet { view: list_view(user)?, keys });
    }
    let rows = shared.views.get(&gets).await?;
    let mut batches = Vec::new();
    let mut writing = Vec::new();
    for (((user, changes), get), row) in changes.into_iter().zip(gets).zip(rows) {
        let mut ops = Vec::new();
        for (change, old) in changes.iter().zip(row.values) {
            row_ops(change, old.as_deref(), &mut ops)?;
        }
        if ops.is_empty() {
            continue;
        }
        let (expected, next) = (row.checkpoint, Checkpoint(row.checkpoint.0 + 1));
        batches.push(ViewBatch { view: get.view, expected, next, ops });
        writing.push((user, changes));
    }
    let results = shared.views.commit(&batches).await;
    let mut refused = Vec::new();
    for (written, result) in writing.into_iter().zip(results) {
        match result {
            Ok(()) => {}
            Err(ViewError::CheckpointMoved { .. }) => refused.push(written),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(refused)
}

fn row_ops(
    change: &ListChange,
    old: Option<&[u8]>,
    ops: &mut Vec<ViewOp>,
) -> Result<(), ChatError> {
    let (old_version, old_activity) = old.and_then(read_row).unwrap_or_default();
    if old_version >= change.version {
        return Ok(());
    }
    let activity = change.activity.unwrap_or_default();
    // The row is written even if the place in the list stays: an older change must not win later.
    if old_activity != activity && old_activity != Timestamp::default() {
        ops.push(ViewOp::Delete(order_key(old_activity, &change.chat)?));
    }
    if old_activity != activity && activity != Timestamp::default() {
        ops.push(ViewOp::Put(order_key(activity, &change.chat)?, Arc::from([])));
    }
    let mut row = Vec::with_capacity(16);
    row.extend_from_slice(&change.version.0.to_be_bytes());
    row.extend_from_slice(&activity.0.to_be_bytes());
    ops.push(ViewOp::Put(row_key(&change.chat)?, row.into()));
    Ok(())
}

fn read_row(row: &[u8]) -> Option<(Version, Timestamp)> {
    let (version, activity) = row.split_at_checked(8)?;
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    Some((Version(number(version)?), Timestamp(number(activity)?)))
}

/// Reads a page of a user's list, exact as of the store when it is called.
pub(super) async fn page(
    shared: &Arc<Shared>,
    user: &UserId,
    query: &ChatListQuery,
) -> Result<ChatPage, ChatError> {
    shared.follower.catch_up(shared).await?;
    let limit = query.limit.clamp(1, ChatListQuery::MAX);
    let listed = listed(shared, user, query.after.as_ref(), limit).await?;
    let cells = listed.iter().map(|cursor| shared.cell(&cursor.chat));
    let cells = cells.collect::<Result<Vec<_>, _>>()?;
    let streams: Vec<StreamId> = cells.iter().map(|cell| cell.stream.clone()).collect();
    let heads = match streams.is_empty() {
        true => Vec::new(),
        false => shared.store.heads(&streams).await?,
    };
    let mut chats = Vec::with_capacity(cells.len());
    for (cell, head) in cells.iter().zip(heads) {
        let behind = {
            let inner = cell.lock();
            !inner.loaded || inner.state.version < head
        };
        if behind {
            shared.refresh(cell).await?;
        }
        chats.extend(shared.summary(cell, user).await?);
    }
    let full = listed.len() == limit;
    Ok(ChatPage { chats, next: listed.into_iter().next_back().filter(|_| full) })
}

async fn listed(
    shared: &Shared,
    user: &UserId,
    after: Option<&ChatCursor>,
    limit: usize,
) -> Result<Vec<ChatCursor>, ChatError> {
    let start = match after {
        // A space sorts before everything that may follow an id in a key.
        Some(after) => key(&format!("{} ", order_key(after.activity, &after.chat)?))?,
        None => key(ORDER_PREFIX)?,
    };
    let range = KeyRange { start: Some(start), end: Some(key(ORDER_END)?) };
    let view = list_view(user)?;
    let limit = limit.min(ViewPage::MAX_ENTRIES);
    let page = shared.views.scan(&view, &range, Direction::Forward, limit).await?;
    Ok(page.entries.iter().filter_map(|(key, _)| read_order_key(key)).collect())
}

/// What a member sees of a chat, on the state in memory.
pub(super) fn summarize(
    chat: &ChatId,
    state: &ChatState,
    user: &UserId,
    preview: Option<Arc<MessageState>>,
) -> Option<ChatSummary> {
    let member = state.active(user)?;
    let kind = state.kind?;
    let others = match kind {
        ChatKind::Direct => {
            let names = state.active_members().map(|(name, _)| name);
            names.filter(|name| *name != user).cloned().collect()
        }
        ChatKind::Group | ChatKind::Notes => Vec::new(),
    };
    Some(ChatSummary {
        chat: chat.clone(),
        kind,
        name: state.name.clone(),
        topic: state.topic.clone(),
        members: state.active_members().count(),
        others,
        role: member.role,
        activity: state.activity(user).unwrap_or(member.joined_at),
        preview,
        unread: state.unread(user),
        mentions: state.unread_mentions(user),
        marked_unread: member.marked_unread.is_some(),
        read: member.read,
        version: state.version,
    })
}

const ORDER_PREFIX: &str = "order/";
const ORDER_END: &str = "order0";

fn list_view(user: &UserId) -> Result<ViewId, ChatError> {
    let scope = Scope::new(format!("user/{user}")).map_err(bug)?;
    Ok(ViewId { scope, projection: ProjectionName::new("chat-list").map_err(bug)? })
}

fn key(text: &str) -> Result<ViewKey, ChatError> {
    ViewKey::new(text).map_err(bug)
}

fn row_key(chat: &ChatId) -> Result<ViewKey, ChatError> {
    key(&format!("chat/{chat}"))
}

fn order_key(activity: Timestamp, chat: &ChatId) -> Result<ViewKey, ChatError> {
    key(&format!("{ORDER_PREFIX}{:016x}/{chat}", u64::MAX - activity.0))
}

fn read_order_key(key: &ViewKey) -> Option<ChatCursor> {
    let (activity, chat) = key.as_str().strip_prefix(ORDER_PREFIX)?.split_once('/')?;
    let activity = u64::MAX - u64::from_str_radix(activity, 16).ok()?;
    Some(ChatCursor { activity: Timestamp(activity), chat: ChatId::new(chat).ok()? })
}
