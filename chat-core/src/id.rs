//! Names and numbers that the ports and the domain share. Parsed once at the edge, then trusted;
//! nothing here knows a chat rule, a store or a clock.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// A name that does not keep to the rules of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// The name has no character at all.
    #[error("{kind} is empty")]
    Empty {
        /// Which type was asked for.
        kind: &'static str,
    },
    /// The name is longer than its type allows.
    #[error("{kind} has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// Which type was asked for.
        kind: &'static str,
        /// Length of the given name.
        bytes: usize,
        /// Greatest length allowed.
        limit: usize,
    },
    /// The name has a character outside its type's alphabet.
    #[error("{kind} holds the character {character:?}, which is not allowed")]
    Character {
        /// Which type was asked for.
        kind: &'static str,
        /// The first such character.
        character: char,
    },
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $limit:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Greatest length, in bytes.
            pub const MAX_BYTES: usize = $limit;

            /// Checks and wraps a name.
            ///
            /// # Errors
            /// [`InvalidId`] if it is empty, too long or holds a character that is not allowed.
            pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidId> {
                let name = name.as_ref();
                if name.is_empty() {
                    return Err(InvalidId::Empty { kind: $kind });
                }
                if name.len() > $limit {
                    return Err(InvalidId::TooLong { kind: $kind, bytes: name.len(), limit: $limit });
                }
                let forbidden = |c: &char| !($allowed)(*c);
                // Most names are ASCII, and decoding characters costs more than looking at them.
                let found = match name.is_ascii() {
                    true => name.bytes().map(char::from).find(forbidden),
                    false => name.chars().find(forbidden),
                };
                if let Some(character) = found {
                    return Err(InvalidId::Character { kind: $kind, character });
                }
                Ok(Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(name: &str) -> Result<Self, InvalidId> {
                Self::new(name)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&name).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Visible characters only: a control character in a name breaks logs, terminals and keys.
fn visible(c: char) -> bool {
    !c.is_control()
}

/// What may stand inside one segment of a stream's name.
fn segment(c: char) -> bool {
    visible(c) && !matches!(c, '/' | '{' | '}')
}

name_type!(
    /// The name of one event stream, such as `chat/lobby`.
    ///
    /// It names its partition key: the part between the first `{` and the next `}` (if it is not
    /// empty), else the whole name. This is the hash-tag rule of Redis Cluster. Streams that must
    /// be written in one append carry the same key.
    StreamId, "stream id", 200, visible
);
name_type!(
    /// A user as the host knows it. The engine never interprets it.
    UserId, "user id", 128, segment
);
name_type!(
    /// A chat. Made by the host, or derived (direct chats, external keys).
    ChatId, "chat id", 128, segment
);
name_type!(
    /// A key that makes sending safe to repeat; unique for its author in its chat.
    ClientMessageId, "client message id", 128, visible
);
name_type!(
    /// A key that makes any other command safe to repeat; unique for its actor in its chat.
    CommandId, "command id", 128, visible
);
name_type!(
    /// What a view belongs to, such as one chat or one user. Batches are atomic within it.
    Scope, "scope", 200, visible
);
name_type!(
    /// The name of a projection; with a [`Scope`] it names one view.
    ProjectionName, "projection name", 64, |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);
name_type!(
    /// A key inside a view; keys sort by their bytes.
    ViewKey, "view key", 300, visible
);
name_type!(
    /// A channel of the bus.
    Topic, "topic", 200, visible
);

impl StreamId {
    /// The partition key that this name carries.
    #[must_use]
    pub fn partition_key(&self) -> &str {
        let tagged = self.0.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        match tagged {
            Some((key, _)) if !key.is_empty() => key,
            _ => &self.0,
        }
    }
}

/// The id of one event, kept over every retry. Time-ordered ids (UUIDv7) are cheapest to index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for EventId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);
            /// Greatest value that every store can hold.
            pub const MAX: Self = Self(i64::MAX as u64);

            /// The one after this; stays at the greatest.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_type!(
    /// The place of an event in its stream: 1, 2, 3 … without hole or repeat. Zero is "no event".
    Version
);
number_type!(
    /// The place of an event in its partition's log: rising in commit order, holes possible.
    /// Zero is "before the first".
    Position
);
number_type!(
    /// How far a projection has come in what it reads (a version or a position).
    /// Zero is "nothing yet".
    Checkpoint
);

/// One log of a store. Streams are spread over partitions by their partition key.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The incarnation of a store. A restored backup or a lost tail gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub Uuid);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Keeps one host's data apart from another's in the same database.
///
/// Lower-case ASCII letters, digits and `_`, starting with a letter, at most 24 bytes, so that it
/// can stand in the names of tables and keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Greatest length, in bytes.
    pub const MAX_BYTES: usize = 24;

    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`InvalidId`] if it is empty, too long or holds a character that is not allowed.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidId> {
        let name = name.as_ref();
        let kind = "namespace";
        if name.len() > Self::MAX_BYTES {
            return Err(InvalidId::TooLong { kind, bytes: name.len(), limit: Self::MAX_BYTES });
        }
        let Some(first) = name.chars().next() else {
            return Err(InvalidId::Empty { kind });
        };
        if !first.is_ascii_lowercase() {
            return Err(InvalidId::Character { kind, character: first });
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if let Some(character) = name.chars().find(|c| !allowed(*c)) {
            return Err(InvalidId::Character { kind, character });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("chat".into())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_key_is_the_hash_tag_or_the_whole_name() {
        let key = |name: &str| StreamId::new(name).unwrap().partition_key().to_owned();
        assert_eq!(key("chat/lobby"), "chat/lobby");
        assert_eq!(key("reply/{lobby}/7"), "lobby");
        assert_eq!(key("a{}b"), "a{}b");
        assert_eq!(key("a{b"), "a{b");
    }

    #[test]
    fn a_name_outside_its_rules_is_refused_with_the_reason() {
        assert_eq!(UserId::new(""), Err(InvalidId::Empty { kind: "user id" }));
        assert_eq!(
            UserId::new("a/b"),
            Err(InvalidId::Character { kind: "user id", character: '/' })
        );
        assert_eq!(
            UserId::new("x".repeat(129)),
            Err(InvalidId::TooLong { kind: "user id", bytes: 129, limit: 128 })
        );
        assert!(Namespace::new("1a").is_err());
        assert!(Namespace::new("A").is_err());
        assert!(serde_json::from_str::<UserId>("\"a\\u0000\"").is_err());
    }
}
