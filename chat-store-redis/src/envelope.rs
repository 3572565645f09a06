//! How an event is written in an entry of a stream, and read back.
//!
//! An entry's id is `version-0`. Its fields: `e` the envelope, `p` the payload, and `m` the
//! metadata, if there is any. The envelope: 16 bytes id, 2 schema version, 8 time, 1 length of the
//! type, the type, and the log position in decimal digits, which the script that appends puts
//! behind. Two fields cost less memory and less time than seven.

use std::sync::Arc;

use chat_core::ports::StoreError;
use chat_core::{
    EventId, EventType, Json, NewEvent, Position, RecordedEvent, StreamId, Timestamp, Version,
};
use redis::Value;

use crate::reply::{array, bytes};

/// The envelope without the position.
pub(crate) fn envelope(event: &NewEvent) -> Vec<u8> {
    let kind = event.event_type.as_str().as_bytes();
    let mut envelope = Vec::with_capacity(FIXED + kind.len());
    envelope.extend_from_slice(event.id.0.as_bytes());
    envelope.extend_from_slice(&event.schema_version.to_be_bytes());
    envelope.extend_from_slice(&event.recorded_at.0.to_be_bytes());
    // A type has at most 64 bytes.
    envelope.push(u8::try_from(kind.len()).unwrap_or(u8::MAX));
    envelope.extend_from_slice(kind);
    envelope
}

/// Reads an entry of the stream.
pub(crate) fn event(stream: &StreamId, entry: Value) -> Result<Arc<RecordedEvent>, StoreError> {
    let mut parts = array(entry)?.into_iter();
    let id = bytes(parts.next())?;
    let version = version(&id).ok_or_else(|| {
        corrupt(stream, Version::ZERO, &format!("the entry {}", String::from_utf8_lossy(&id)))
    })?;
    let fields = parts.next().ok_or_else(|| corrupt(stream, version, "no fields"))?;
    let mut fields = array(fields)?.into_iter();
    let (mut head, mut payload, mut metadata) = (None, None, None);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let field = match &*bytes(Some(name))? {
            b"e" => &mut head,
            b"p" => &mut payload,
            b"m" => &mut metadata,
            _ => continue,
        };
        *field = Some(bytes(Some(value))?);
    }
    let missing = || corrupt(stream, version, "a field is missing");
    let head = head.ok_or_else(missing)?;
    let envelope = open(&head).ok_or_else(|| corrupt(stream, version, "its envelope"))?;
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).map_err(|_| corrupt(stream, version, "not UTF-8"))?;
        Ok::<_, StoreError>(Json::from_text(text))
    };
    let event = NewEvent {
        id: envelope.id,
        event_type: envelope.event_type,
        schema_version: envelope.schema_version,
        recorded_at: envelope.recorded_at,
        payload: text(payload.ok_or_else(missing)?)?,
        metadata: metadata.map(text).transpose()?,
    };
    let position = envelope.position;
    Ok(Arc::new(RecordedEvent { stream: stream.clone(), version, position, event }))
}

struct Envelope {
    id: EventId,
    schema_version: u16,
    recorded_at: Timestamp,
    event_type: EventType,
    position: Position,
}

fn open(bytes: &[u8]) -> Option<Envelope> {
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    let (schema, rest) = rest.split_first_chunk::<2>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let (kind, position) = rest.split_at_checked(usize::from(*length))?;
    Some(Envelope {
        id: EventId(uuid::Uuid::from_bytes(*id)),
        schema_version: u16::from_be_bytes(*schema),
        recorded_at: Timestamp(u64::from_be_bytes(*time)),
        event_type: EventType::new(std::str::from_utf8(kind).ok()?).ok()?,
        position: Position(std::str::from_utf8(position).ok()?.parse().ok()?),
    })
}

/// The version in an entry's id.
fn version(id: &[u8]) -> Option<Version> {
    let digits = id.strip_suffix(b"-0")?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Version)
}

/// An event that cannot be read back.
pub(crate) fn corrupt(stream: &StreamId, version: Version, what: &str) -> StoreError {
    StoreError::Corrupt {
        place: format!("stream {stream} at version {version}"),
        what: what.into(),
    }
}

const FIXED: usize = 16 + 2 + 8 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::testkit::fixture;

    fn entry(id: &str, fields: &[(&str, &[u8])]) -> Value {
        let text = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        let fields = fields.iter().flat_map(|(n, v)| [text(n.as_bytes()), text(v)]).collect();
        Value::Array(vec![text(id.as_bytes()), Value::Array(fields)])
    }

    #[test]
    fn an_event_comes_back_as_it_was() {
        let stream = fixture::stream("chat");
        for metadata in [None, Some("null"), Some("")] {
            let new = NewEvent { metadata: metadata.map(Json::from_text), ..fixture::event(7) };
            let head = [envelope(&new), b"42".to_vec()].concat();
            let mut fields = vec![("e", head.as_slice()), ("p", new.payload.as_str().as_bytes())];
            fields.extend(metadata.map(|text| ("m", text.as_bytes())));
            let back = event(&stream, entry("3-0", &fields)).unwrap();
            assert_eq!((back.version, back.position), (Version(3), Position(42)));
            assert_eq!(back.event, new);
        }
    }

    #[test]
    fn what_is_broken_is_corrupt_with_its_place() {
        let stream = fixture::stream("chat");
        let head = [envelope(&fixture::event(7)), b"42".to_vec()].concat();
        let broken = [
            entry("3-1", &[("e", &head), ("p", b"{}")]),
            entry("x", &[("e", &head), ("p", b"{}")]),
            entry("3-0", &[("e", &head)]),
            entry("3-0", &[("p", b"{}")]),
            entry("3-0", &[("e", &head[..30]), ("p", b"{}")]),
            entry("3-0", &[("e", &head), ("p", b"\xff")]),
            Value::Nil,
        ];
        for entry in broken {
            let error = event(&stream, entry.clone()).unwrap_err();
            assert!(
                matches!(error, StoreError::Corrupt { .. } | StoreError::Bug { .. }),
                "{entry:?}: {error}"
            );
        }
    }
}
