//! How chat events are written: a type, a schema version and a JSON payload; and how every version
//! ever written is read. Golden files of each version are kept in `tests/golden`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::ChatEvent;
use crate::event::{EventType, Json};

/// A chat event in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent {
    /// Its type.
    pub event_type: EventType,
    /// The version of its payload's shape.
    pub schema_version: u16,
    /// Its payload.
    pub payload: Json,
}

/// A stored event that is not what its type says, or an event that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{event_type} version {schema_version}: {source}")]
pub struct WireError {
    /// The type.
    pub event_type: String,
    /// The version.
    pub schema_version: u16,
    /// What is wrong with the payload.
    pub source: serde_json::Error,
}

macro_rules! wire_types {
    ($($variant:ident $name:literal $version:literal),* $(,)?) => {
        /// Writes an event in the newest version of its type.
        ///
        /// # Errors
        /// [`WireError`] if the event has no stored form ([`ChatEvent::Unknown`] and
        /// [`ChatEvent::Unreadable`]).
        pub fn encode(event: &ChatEvent) -> Result<EncodedEvent, WireError> {
            match event {
                $(ChatEvent::$variant(body) => write($name, $version, body),)*
                ChatEvent::Unknown | ChatEvent::Unreadable => Err(WireError {
                    event_type: "unknown".into(),
                    schema_version: 0,
                    source: serde::ser::Error::custom("the event has no stored form"),
                }),
            }
        }

        /// Reads an event of any version. A type or version that this release does not know is
        /// [`ChatEvent::Unknown`], so that an older process can run beside a newer one.
        ///
        /// # Errors
        /// [`WireError`] if the payload is not what the type and version say.
        pub fn decode(
            event_type: &str,
            schema_version: u16,
            payload: &Json,
        ) -> Result<ChatEvent, WireError> {
            match (event_type, schema_version) {
                $(($name, $version) => {
                    read(event_type, schema_version, payload).map(ChatEvent::$variant)
                })*
                _ => Ok(ChatEvent::Unknown),
            }
        }
    };
}

wire_types! {
    ChatCreated "chat_created" 1,
    ChatUpdated "chat_updated" 1,
    MemberInvited "member_invited" 1,
    InviteRevoked "invite_revoked" 1,
    InviteDeclined "invite_declined" 1,
    MemberJoined "member_joined" 1,
    MemberLeft "member_left" 1,
    MemberRemoved "member_removed" 1,
    RoleChanged "role_changed" 1,
    OwnershipTransferred "ownership_transferred" 1,
    MessageSent "message_sent" 1,
    MessageEdited "message_edited" 1,
    MessageDeleted "message_deleted" 1,
    ReactionAdded "reaction_added" 1,
    ReactionRemoved "reaction_removed" 1,
    ReadAdvanced "read_advanced" 1,
    MarkedUnread "marked_unread" 1,
    ChatHidden "chat_hidden" 1,
}

fn write(
    name: &'static str,
    schema_version: u16,
    body: &impl Serialize,
) -> Result<EncodedEvent, WireError> {
    match Json::encode(body) {
        Ok(payload) => {
            Ok(EncodedEvent { event_type: EventType::from_static(name), schema_version, payload })
        }
        Err(source) => Err(WireError { event_type: name.into(), schema_version, source }),
    }
}

fn read<T: DeserializeOwned>(name: &str, schema_version: u16, json: &Json) -> Result<T, WireError> {
    serde_json::from_str(json.as_str()).map_err(|source| WireError {
        event_type: name.into(),
        schema_version,
        source,
    })
}
