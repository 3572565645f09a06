//! How the engine's answers look to the page.

use std::sync::Arc;

use chat_core::domain::{ChatKind, MessageId, MessageState, Role, encode};
use chat_core::{ChatId, ChatRecord, ChatSummary, EventId, MemberInfo, Timestamp, UserId, Version};
use serde::Serialize;

/// Characters of a message that a list shows.
const PREVIEW_CHARS: usize = 200;

/// A chat in somebody's list.
#[derive(Debug, Serialize)]
pub(super) struct Chat {
    room: ChatId,
    kind: ChatKind,
    name: Option<String>,
    topic: Option<String>,
    members: usize,
    others: Vec<UserId>,
    role: Role,
    activity: Timestamp,
    preview: Option<Preview>,
    unread: u64,
    mentions: u64,
    marked_unread: bool,
    read: Version,
    version: Version,
}

#[derive(Debug, Serialize)]
struct Preview {
    author: UserId,
    text: String,
}

impl From<ChatSummary> for Chat {
    fn from(summary: ChatSummary) -> Self {
        let preview = summary.preview.map(|message| Preview {
            author: message.author.clone(),
            text: message.text.chars().take(PREVIEW_CHARS).collect(),
        });
        Self {
            room: summary.chat,
            kind: summary.kind,
            name: summary.name,
            topic: summary.topic,
            members: summary.members,
            others: summary.others,
            role: summary.role,
            activity: summary.activity,
            preview,
            unread: summary.unread,
            mentions: summary.mentions,
            marked_unread: summary.marked_unread,
            read: summary.read,
            version: summary.version,
        }
    }
}

/// Who is in a chat.
#[derive(Debug, Serialize)]
pub(super) struct Members {
    pub(super) members: Vec<Member>,
    pub(super) more_members: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Member {
    user: UserId,
    role: Role,
    read: Version,
    online: bool,
}

impl Member {
    pub(super) fn new(member: MemberInfo, online: &[UserId]) -> Self {
        let MemberInfo { user, role, read, .. } = member;
        Self { online: online.contains(&user), user, role, read }
    }
}

/// A chat as it is when a tab opens it.
#[derive(Debug, Serialize)]
pub(super) struct Opened {
    pub(super) chat: Chat,
    #[serde(flatten)]
    pub(super) page: Page,
    pub(super) version: Version,
    pub(super) token: String,
    #[serde(flatten)]
    pub(super) members: Members,
}

/// A chat that a tab goes on with.
#[derive(Debug, Serialize)]
pub(super) struct Resumed {
    pub(super) chat: Chat,
    #[serde(flatten)]
    pub(super) members: Members,
}

/// A page of messages.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    pub(super) messages: Vec<Arc<MessageState>>,
    pub(super) before: Version,
    pub(super) found_oldest: bool,
}

/// A message that is stored.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    pub(super) message: Option<MessageId>,
    pub(super) seq: Version,
    pub(super) deduplicated: bool,
}

/// A room for everybody.
#[derive(Debug, Serialize)]
pub(super) struct PublicRoom {
    pub(super) room: ChatId,
    pub(super) name: String,
    pub(super) members: usize,
}

/// Events as JSON texts, in pieces of a bounded size.
pub(super) fn event_pieces(records: &[ChatRecord], most_bytes: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for event in records.iter().filter_map(event_json) {
        if !piece.is_empty() && piece.len() + event.len() > most_bytes {
            pieces.push(std::mem::take(&mut piece));
        }
        if !piece.is_empty() {
            piece.push(',');
        }
        piece.push_str(&event);
    }
    pieces.push(piece);
    pieces
}

/// The stored form is what the page reads too; its payload is JSON text already. Events that this
/// release cannot read have none, and there is nothing to show.
fn event_json(record: &ChatRecord) -> Option<String> {
    let ChatRecord { version, id: EventId(id), at: Timestamp(at), event } = record;
    let encoded = encode(event).ok()?;
    let (kind, payload) = (encoded.event_type, encoded.payload);
    let payload = payload.as_str();
    Some(format!(r#"{{"v":{version},"id":"{id}","at":{at},"type":"{kind}","data":{payload}}}"#))
}
