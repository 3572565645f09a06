//! What is stored: an event before it has a place ([`NewEvent`]) and after ([`RecordedEvent`]).
//! Payloads are JSON text and stay text wherever nobody needs to look inside.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::id::{EventId, InvalidId, Position, StreamId, Version};

/// What kind of event it is, such as `message_sent`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventType(Name);

#[derive(Debug, Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl EventType {
    /// Greatest length, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// A type known when the program is compiled. The caller keeps to 1 to 64 bytes.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self(Name::Static(name))
    }

    /// A type read at run time.
    ///
    /// # Errors
    /// [`InvalidId`] if it is empty or longer than 64 bytes.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidId> {
        let name = name.as_ref();
        let kind = "event type";
        if name.is_empty() {
            return Err(InvalidId::Empty { kind });
        }
        if name.len() > Self::MAX_BYTES {
            let (bytes, limit) = (name.len(), Self::MAX_BYTES);
            return Err(InvalidId::TooLong { kind, bytes, limit });
        }
        Ok(Self(Name::Shared(name.into())))
    }

    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

impl PartialEq for EventType {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for EventType {}

impl Hash for EventType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Arc::<str>::deserialize(deserializer)?;
        Ok(Self(Name::Shared(name)))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A JSON document, kept as the text that was written, byte for byte.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

impl Json {
    /// Writes a value as JSON.
    ///
    /// # Errors
    /// When the value cannot be written as JSON (a map with keys that are not text).
    pub fn encode(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self(serde_json::to_string(value)?.into()))
    }

    /// Takes text that is JSON already. Not checked: text that is not JSON is stored as it is by
    /// some stores and refused by others, and [`decode`](Self::decode) fails on it later.
    #[must_use]
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Reads the value.
    ///
    /// # Errors
    /// When the text is not JSON of that shape.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Shows the length only: payloads hold what people wrote, and logs must not.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// An event to be appended.
///
/// Its *content* is `event_type`, `schema_version` and `payload`: a repeat of the id must bring the
/// same content. `recorded_at` and `metadata` may differ in a repeat; the first stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Unique in its stream for ever.
    pub id: EventId,
    /// What happened.
    pub event_type: EventType,
    /// Which shape of that type the payload has, from 1.
    pub schema_version: u16,
    /// When the writer's clock says that it happened. Never decides an order.
    pub recorded_at: Timestamp,
    /// The facts.
    pub payload: Json,
    /// What is known of the event beyond its content (a device, a cause); not compared.
    pub metadata: Option<Json>,
}

impl NewEvent {
    /// Bytes that bounds count: the payload, the metadata and 64 for the rest.
    #[must_use]
    pub fn size(&self) -> usize {
        64 + self.payload.0.len() + self.metadata.as_ref().map_or(0, |json| json.0.len())
    }

    /// Whether a repeat of this id may bring `other`.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.event_type == other.event_type
            && self.schema_version == other.schema_version
            && self.payload == other.payload
    }
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: Version,
    /// Its place in the log of the stream's partition.
    pub position: Position,
    /// The event as it was appended.
    pub event: NewEvent,
}
