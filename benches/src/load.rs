//! What is written: messages whose event has about 390 bytes as JSON, with time-ordered ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use chat_core::{
    ClientMessageId, Clock as _, EventId, EventType, Json, NewEvent, NewMessage, SystemClock,
    Timestamp,
};
use uuid::{Builder, Uuid};

/// Makes ids, messages and events. Costs the measured process little: no system call, one short
/// step without a lock for each id.
#[derive(Debug)]
pub(crate) struct Load {
    text: Arc<str>,
    payload: String,
    next: AtomicU64,
    /// Ids and times follow from a seed: the number that the first id was made of.
    seeded_from: Option<u64>,
}

impl Load {
    pub(crate) fn new() -> Self {
        // Other loads, of this process and of others, count from elsewhere.
        static LOADS: AtomicU64 = AtomicU64::new(0);
        let number = LOADS.fetch_add(1, Ordering::Relaxed) & 0x3FFF;
        Self::from((u64::from(std::process::id()) << 42) | (number << 28), None)
    }

    /// One that makes the same ids and times whenever it is made anew.
    pub(crate) fn seeded(seed: u32) -> Self {
        let first = u64::from(seed) << 32;
        Self::from(first, Some(first))
    }

    fn from(first: u64, seeded_from: Option<u64>) -> Self {
        let text = SENTENCE.repeat(5);
        let payload = format!(
            r#"{{"by":"user-17-1","text":"{text}","client_message_id":"{}"}}"#,
            Uuid::max()
        );
        Self { text: text.into(), payload, next: AtomicU64::new(first), seeded_from }
    }

    /// The time of what is made now, the `number`th thing.
    fn time(&self, number: u64) -> Timestamp {
        match self.seeded_from {
            Some(first) => Timestamp(SEEDED_TIME + number.wrapping_sub(first) / PER_MILLISECOND),
            None => SystemClock.now(),
        }
    }

    /// A time-ordered id (UUIDv7): the milliseconds now, then bits that look random.
    pub(crate) fn uuid(&self) -> Uuid {
        // SplitMix64 (Steele, Lea, Flood 2014) of a counter.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let [a, b, c, d, e, f, g, h] = (z ^ (z >> 31)).to_be_bytes();
        let tail = [a, b, c, d, e, f, g, h, c ^ f, d ^ g];
        Builder::from_unix_timestamp_millis(self.time(number).0, &tail).into_uuid()
    }

    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// A key that makes a message safe to repeat.
    pub(crate) fn key(&self) -> Result<ClientMessageId> {
        let mut buffer = Uuid::encode_buffer();
        Ok(ClientMessageId::new(self.uuid().hyphenated().encode_lower(&mut buffer))?)
    }

    /// A message with such a key.
    pub(crate) fn message(&self) -> Result<NewMessage> {
        Ok(NewMessage::text(self.text()).with_client_id(self.key()?))
    }

    /// The stored form of such a message.
    pub(crate) fn payload(&self) -> &str {
        &self.payload
    }

    /// The time that belongs to what is made next.
    pub(crate) fn now(&self) -> Timestamp {
        self.time(self.next.load(Ordering::Relaxed))
    }

    /// An event as the engine would append it, with a payload of its own.
    pub(crate) fn event(&self) -> NewEvent {
        NewEvent {
            id: EventId(self.uuid()),
            event_type: EventType::from_static(EVENT_TYPE),
            schema_version: 1,
            recorded_at: self.now(),
            payload: Json::from_text(self.payload.as_str()),
            metadata: None,
        }
    }
}

pub(crate) const EVENT_TYPE: &str = "message_sent";
/// Where seeded times begin: 2026-01-01.
const SEEDED_TIME: u64 = 1_767_225_600_000;
/// Things of one seeded millisecond.
const PER_MILLISECOND: u64 = 64;
const SENTENCE: &str = "People talk all day long, and every word of it shall stay. ";

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::domain::{ChatEvent, decode};

    #[test]
    fn payload_is_a_message_of_about_390_bytes() {
        let load = Load::new();
        let event = load.event();
        assert!((380..400).contains(&event.payload.as_str().len()), "{}", load.payload().len());
        let read = decode(event.event_type.as_str(), event.schema_version, &event.payload).unwrap();
        assert!(matches!(read, ChatEvent::MessageSent(sent) if sent.text == load.text));
    }

    #[test]
    fn a_seed_makes_the_same_ids_again() {
        let ids = |load: Load| (0..1_000).map(|_| load.uuid()).collect::<Vec<_>>();
        let first = ids(Load::seeded(7));
        assert_eq!(first, ids(Load::seeded(7)));
        assert!(first.first() != ids(Load::seeded(8)).first());
        assert!(first.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn ids_are_of_version_seven_and_differ() {
        let load = Load::new();
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| load.uuid()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
