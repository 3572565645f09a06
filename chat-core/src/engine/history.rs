//! Pages of messages, as they stand: the events that sent them, with what changed since laid over.
//! What a viewer may not see is not there, and the ends are the ends of what the viewer may see.

use std::sync::Arc;

use super::cell::ChatCell;
use super::error::ChatError;
use super::list::{self, ChatSummary};
use super::shared::{Shared, bug};
use super::tail::ChatRecord;
use crate::clock::Timestamp;
use crate::domain::{ChatEvent, Member, MessageId, MessageState, Rejection, Role, readable};
use crate::id::{UserId, Version};
use crate::ports::{Direction, PageLimit};

/// Which messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryQuery {
    /// The newest.
    Latest,
    /// Those before a version.
    Before(Version),
    /// Those after a version.
    After(Version),
    /// Half before a version; the rest from it on.
    Around(Version),
    /// Around the first that is unread; the newest if there is none.
    FirstUnread,
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The messages, oldest first; deleted ones as tombstones. An event of the chat whose version
    /// is not above a message's [`at`](MessageState::at) is in that message already.
    pub messages: Vec<Arc<MessageState>>,
    /// There is nothing older that the viewer may see.
    pub found_oldest: bool,
    /// There was nothing newer.
    pub found_newest: bool,
    /// For the page before this one: [`HistoryQuery::Before`].
    pub before: Version,
    /// For the page after this one: [`HistoryQuery::After`].
    pub after: Version,
    /// The chat's version in this look.
    pub version: Version,
}

/// One text that a message had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageVersion {
    /// The event that gave it this text.
    pub version: Version,
    /// When.
    pub at: Timestamp,
    /// The text.
    pub text: Arc<str>,
}

/// Asks for a page of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberQuery {
    /// Those behind this one, in the order of their ids.
    pub after: Option<UserId>,
    /// Most members in the page; 1 to 1,000, values outside are brought in.
    pub limit: usize,
}

/// A page of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// The members, in the order of their ids.
    pub members: Vec<MemberInfo>,
    /// Where to go on; `None` at the end.
    pub next: Option<UserId>,
}

/// A member, as other members see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
    /// Read up to here.
    pub read: Version,
}

/// How far a member has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadState {
    /// Read up to here; others see this.
    pub read: Version,
    /// Unread messages.
    pub unread: u64,
    /// Unread messages that name the member.
    pub mentions: u64,
    /// Marked as unread from here on.
    pub marked_unread: Option<Version>,
    /// The chat's version in this look.
    pub version: Version,
}

/// Events that are read in search of messages, for one page at most. A chat in which messages are
/// rarer than one in forty events gives shorter pages.
const SCAN_FACTOR: usize = 40;

/// What a viewer may see, taken in one look.
struct View {
    member: Member,
    version: Version,
}

impl View {
    fn last(&self) -> Version {
        self.version.min(self.member.last_visible())
    }
}

/// Messages found on one side of a point.
struct Found {
    records: Vec<ChatRecord>,
    /// The scan came to the end of what the viewer may see.
    end: bool,
    /// Where the scan stopped.
    at: Version,
}

impl Shared {
    fn view(&self, cell: &ChatCell, user: &UserId) -> Result<View, ChatError> {
        let inner = cell.lock();
        let member = readable(&inner.state, user)?.clone();
        Ok(View { member, version: inner.state.version })
    }

    pub(super) async fn history(
        self: &Arc<Self>,
        cell: &Arc<ChatCell>,
        user: &UserId,
        query: HistoryQuery,
        limit: usize,
    ) -> Result<HistoryPage, ChatError> {
        self.refresh(cell).await?;
        let view = self.view(cell, user)?;
        self.page(cell, user, &view, query, limit).await
    }

    /// The newest messages, and what the member's list says of the chat, of one version.
    pub(super) async fn open(
        self: &Arc<Self>,
        cell: &Arc<ChatCell>,
        user: &UserId,
        limit: usize,
    ) -> Result<(ChatSummary, HistoryPage), ChatError> {
        self.refresh(cell).await?;
        let (view, summary, last) = {
            let inner = cell.lock();
            let (member, version) = (readable(&inner.state, user)?.clone(), inner.state.version);
            let summary = list::summarize(&cell.id, &inner.state, user, None);
            let summary = summary.ok_or(Rejection::NotMember)?;
            (View { member, version }, summary, inner.state.last_message(user))
        };
        let page = self.page(cell, user, &view, HistoryQuery::Latest, limit).await?;
        let preview = match last {
            None => None,
            Some(seq) => match page.messages.iter().find(|message| message.seq == seq) {
                Some(message) => Some(Arc::clone(message)),
                None => self.message_at(cell, seq).await?,
            },
        };
        Ok((ChatSummary { preview, ..summary }, page))
    }

    async fn page(
        &self,
        cell: &ChatCell,
        user: &UserId,
        view: &View,
        query: HistoryQuery,
        limit: usize,
    ) -> Result<HistoryPage, ChatError> {
        let limit = limit.min(self.config.history_page);
        let end = view.last().next();
        let (before, after, split) = match query {
            HistoryQuery::Latest => (limit, 0, end),
            HistoryQuery::Before(version) => (limit, 0, version.min(end)),
            HistoryQuery::After(version) => (0, limit, version.next().min(end)),
            HistoryQuery::Around(version) => (limit / 2, limit - limit / 2, version.min(end)),
            HistoryQuery::FirstUnread => {
                let unread = cell.lock().state.first_unread(user);
                match unread.filter(|version| *version < end) {
                    Some(version) => (limit / 2, limit - limit / 2, version),
                    None => (limit, 0, end),
                }
            }
        };
        let split = split.max(Version(1));
        let older = self.scan_messages(cell, view, Direction::Backward, split, before).await?;
        let from = Version(split.0 - 1);
        let newer = self.scan_messages(cell, view, Direction::Forward, from, after).await?;
        let mut records = older.records;
        records.reverse();
        records.extend(newer.records);
        let messages = self.messages(cell, records).await?;
        let messages = self.as_of_end(cell, view, messages).await?;
        Ok(HistoryPage {
            messages,
            found_oldest: older.end,
            found_newest: newer.end,
            before: older.at,
            after: newer.at,
            version: view.version,
        })
    }

    /// Finds messages on one side of a version. With `wanted` zero only says whether it is the end.
    async fn scan_messages(
        &self,
        cell: &ChatCell,
        view: &View,
        direction: Direction,
        from: Version,
        wanted: usize,
    ) -> Result<Found, ChatError> {
        let (first, last) = (view.member.first_visible(), view.last());
        let mut found = Found { records: Vec::new(), end: false, at: from };
        let mut scanned = 0;
        loop {
            found.end = match direction {
                Direction::Forward => found.at >= last,
                Direction::Backward => found.at <= first,
            };
            if found.end || found.records.len() >= wanted || scanned >= wanted * SCAN_FACTOR {
                return Ok(found);
            }
            let missing = wanted - found.records.len();
            let page = PageLimit::events((missing + missing / 2).max(16));
            let page = self.store.read_stream(&cell.stream, direction, found.at, page).await?;
            scanned += page.events.len();
            if page.events.is_empty() {
                found.end = true;
                return Ok(found);
            }
            for stored in &page.events {
                let outside = match direction {
                    Direction::Forward => stored.version > last,
                    Direction::Backward => stored.version < first,
                };
                if outside {
                    found.end = true;
                    return Ok(found);
                }
                found.at = stored.version;
                let is_message = stored.event.event_type.as_str() == "message_sent";
                if is_message && stored.version <= last && view.member.sees(stored.version) {
                    found.records.push(self.record(stored));
                    if found.records.len() >= wanted {
                        break;
                    }
                }
            }
        }
    }

    /// The messages as they stand now.
    async fn messages(
        &self,
        cell: &ChatCell,
        records: Vec<ChatRecord>,
    ) -> Result<Vec<Arc<MessageState>>, ChatError> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(Vec::new());
        };
        let (first, last) = (first.version, last.version);
        loop {
            let flushed = cell.lock().flushed;
            let saved = match first <= flushed {
                true => self.saved_messages(cell, first, last).await?,
                false => Vec::new(),
            };
            let inner = cell.lock();
            // A snapshot in between may have moved changes from memory to the views.
            if inner.flushed != flushed {
                continue;
            }
            let policy = inner.state.reactions;
            let mut saved = saved.into_iter().peekable();
            let mut messages = Vec::with_capacity(records.len());
            for record in &records {
                while saved.next_if(|row| row.seq < record.version).is_some() {}
                let row = saved.next_if(|row| row.seq == record.version);
                let ChatEvent::MessageSent(sent) = &record.event else {
                    continue;
                };
                let message = row.unwrap_or_else(|| {
                    MessageState::sent(record.id.into(), record.version, record.at, sent)
                });
                messages.push(inner.messages.complete(message, policy));
            }
            return Ok(messages);
        }
    }

    /// Messages as somebody may see them whose membership has ended: without what was changed after
    /// that, but for deletions.
    async fn as_of_end(
        &self,
        cell: &ChatCell,
        view: &View,
        messages: Vec<Arc<MessageState>>,
    ) -> Result<Vec<Arc<MessageState>>, ChatError> {
        let last = view.last();
        if view.member.is_active() {
            return Ok(messages);
        }
        let mut shown = Vec::with_capacity(messages.len());
        for message in messages {
            if message.at <= last || message.deleted.is_some() {
                shown.push(message);
                continue;
            }
            let mut past = MessageState::clone(&message);
            past.edits.retain(|edit| *edit <= last);
            // Who reacted with what at that time is not kept apart.
            past.reactions.clear();
            past.at = last;
            let version = past.edits.last().copied().unwrap_or(past.seq);
            let record = self.event_at(cell, version).await?;
            match &record.event {
                ChatEvent::MessageSent(e) => {
                    past.text = Arc::clone(&e.text);
                    past.mentions.clone_from(&e.mentions);
                    past.mention_all = e.mention_all;
                    past.edited_at = None;
                }
                ChatEvent::MessageEdited(e) => {
                    past.text = Arc::clone(&e.text);
                    past.mentions.clone_from(&e.mentions);
                    past.mention_all = e.mention_all;
                    past.edited_at = Some(record.at);
                }
                _ => return Err(bug("the text of a message is not where it was")),
            }
            shown.push(Arc::new(past));
        }
        Ok(shown)
    }

    /// The event of a version that is known to be there.
    async fn event_at(&self, cell: &ChatCell, version: Version) -> Result<ChatRecord, ChatError> {
        let from = Version(version.0.saturating_sub(1));
        let limit = PageLimit::events(1);
        let page = self.store.read_stream(&cell.stream, Direction::Forward, from, limit).await?;
        let stored = page.events.first();
        let missing = || bug("an event that was folded in is not there");
        Ok(self.record(stored.ok_or_else(missing)?))
    }

    /// The message of this version as it stands, if there is one.
    async fn message_at(
        &self,
        cell: &ChatCell,
        seq: Version,
    ) -> Result<Option<Arc<MessageState>>, ChatError> {
        if let Some(message) = cell.lock().messages.get(seq) {
            return Ok(Some(Arc::clone(message)));
        }
        let from = Version(seq.0.saturating_sub(1));
        let limit = PageLimit::events(1);
        let page = self.store.read_stream(&cell.stream, Direction::Forward, from, limit).await?;
        let records = page.events.iter().map(|stored| self.record(stored)).collect();
        Ok(self.messages(cell, records).await?.pop())
    }

    pub(super) async fn message(
        self: &Arc<Self>,
        cell: &Arc<ChatCell>,
        user: &UserId,
        id: MessageId,
    ) -> Result<Arc<MessageState>, ChatError> {
        self.refresh(cell).await?;
        let view = self.view(cell, user)?;
        let seq = self.fetch_message(cell, id).await?;
        let seq = seq.filter(|seq| view.member.sees(*seq)).ok_or(Rejection::MessageNotFound)?;
        let found = self.message_at(cell, seq).await?.into_iter().collect();
        let message = self.as_of_end(cell, &view, found).await?.pop();
        message.ok_or_else(|| Rejection::MessageNotFound.into())
    }

    pub(super) async fn versions(
        self: &Arc<Self>,
        cell: &Arc<ChatCell>,
        user: &UserId,
        id: MessageId,
    ) -> Result<Vec<MessageVersion>, ChatError> {
        let message = self.message(cell, user, id).await?;
        if message.deleted.is_some() {
            return Ok(Vec::new());
        }
        let mut versions = Vec::new();
        for version in std::iter::once(&message.seq).chain(&message.edits) {
            let record = self.event_at(cell, *version).await?;
            let text = match &record.event {
                ChatEvent::MessageSent(e) => Arc::clone(&e.text),
                ChatEvent::MessageEdited(e) => Arc::clone(&e.text),
                _ => continue,
            };
            versions.push(MessageVersion { version: record.version, at: record.at, text });
        }
        // It may have been deleted while its past was read.
        let deleted = !cell.lock().may_show(message.seq);
        Ok(if deleted { Vec::new() } else { versions })
    }

    /// What a member's list says of the chat, on the state in memory. `None`: not a member.
    pub(super) async fn summary(
        &self,
        cell: &ChatCell,
        user: &UserId,
    ) -> Result<Option<ChatSummary>, ChatError> {
        loop {
            let (wanted, at_hand) = {
                let inner = cell.lock();
                let wanted = inner.state.last_message(user);
                // The cell folds changes into the preview that it keeps.
                (wanted, inner.preview.clone().filter(|preview| Some(preview.seq) == wanted))
            };
            let preview = match (wanted, at_hand) {
                (None, _) => None,
                (Some(_), Some(preview)) => Some(preview),
                (Some(seq), None) => self.message_at(cell, seq).await?,
            };
            let mut inner = cell.lock();
            if inner.state.last_message(user) != wanted {
                continue;
            }
            let preview = preview.map(|preview| {
                inner.messages.complete(MessageState::clone(&preview), inner.state.reactions)
            });
            if preview.is_some() {
                inner.preview.clone_from(&preview);
            }
            return Ok(list::summarize(&cell.id, &inner.state, user, preview));
        }
    }

    pub(super) async fn read_state(
        self: &Arc<Self>,
        cell: &Arc<ChatCell>,
        user: &UserId,
    ) -> Result<ReadState, ChatError> {
        self.refresh(cell).await?;
        let inner = cell.lock();
        let member = readable(&inner.state, user)?;
        Ok(ReadState {
            read: member.read,
            unread: inner.state.unread(user),
            mentions: inner.state.unread_mentions(user),
            marked_unread: member.marked_unread,
            version: inner.state.version,
        })
    }

    pub(super) async fn members(
        self: &Arc<Self>,
        cell: &Arc<ChatCell>,
        user: &UserId,
        query: &MemberQuery,
    ) -> Result<MemberPage, ChatError> {
        use std::ops::Bound;
        self.refresh(cell).await?;
        let inner = cell.lock();
        if !readable(&inner.state, user)?.is_active() {
            return Err(Rejection::NotMember.into());
        }
        let limit = query.limit.clamp(1, 1_000);
        let start = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = inner
            .state
            .members
            .range::<UserId, _>((start, Bound::Unbounded))
            .filter(|(_, member)| member.is_active());
        let members: Vec<_> = rest
            .by_ref()
            .take(limit)
            .map(|(user, member)| MemberInfo {
                user: user.clone(),
                role: member.role,
                joined_at: member.joined_at,
                read: member.read,
            })
            .collect();
        let more = rest.next().is_some();
        let next = members.last().filter(|_| more).map(|member| member.user.clone());
        Ok(MemberPage { members, next })
    }
}
