//! Ids that follow from names, so that doing the same thing twice is the same thing.
//!
//! Every hash is SHA-256 over length-prefixed parts behind a label. Event ids keep the time part of
//! a client's UUIDv7 (time-ordered ids are cheap to index) and have the form of a UUIDv8
//! (RFC 9562, section 5.8).

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::id::{ChatId, ClientMessageId, CommandId, EventId, UserId};

/// The id of the event that sends a message.
#[must_use]
pub fn message_event_id(chat: &ChatId, author: &UserId, key: &ClientMessageId) -> EventId {
    event_id("message", chat, author, key.as_str())
}

/// The id of the event that carries out any other command.
#[must_use]
pub fn command_event_id(chat: &ChatId, actor: &UserId, key: &CommandId) -> EventId {
    event_id("command", chat, actor, key.as_str())
}

/// The id of the event that makes a chat, whoever makes it.
#[must_use]
pub fn creation_event_id(chat: &ChatId) -> EventId {
    from_hash(&digest("creation", &[chat.as_str()]), None)
}

/// The id of the chat of exactly these people; order and repeats do not matter. Nobody has no chat.
#[must_use]
pub fn chat_id_for_direct<'a>(members: impl IntoIterator<Item = &'a UserId>) -> Option<ChatId> {
    let mut names: Vec<&str> = members.into_iter().map(UserId::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    ChatId::new(format!("direct-{}", hex(&digest("direct", &names)))).ok()
}

/// The id of the group that a host knows by this key.
#[must_use]
pub fn chat_id_for_external_key(key: &str) -> Option<ChatId> {
    ChatId::new(format!("group-{}", hex(&digest("external", &[key])))).ok()
}

fn event_id(label: &str, chat: &ChatId, actor: &UserId, key: &str) -> EventId {
    from_hash(&digest(label, &[chat.as_str(), actor.as_str(), key]), time_of(key))
}

fn from_hash(hash: &[u8; 32], time: Option<[u8; 6]>) -> EventId {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = *from;
    }
    if let Some(time) = time {
        for (to, from) in bytes.iter_mut().zip(time) {
            *to = from;
        }
    }
    EventId(Builder::from_custom_bytes(bytes).into_uuid())
}

/// The time part of a UUIDv7, its first six bytes.
fn time_of(key: &str) -> Option<[u8; 6]> {
    let id = Uuid::try_parse(key).ok()?;
    if id.get_version_num() != 7 {
        return None;
    }
    id.as_bytes().first_chunk().copied()
}

fn digest(label: &str, parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(&label).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn hex(hash: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(32);
    // Half of the hash: 128 bits are beyond accident and beyond search.
    for byte in hash.iter().take(16) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
