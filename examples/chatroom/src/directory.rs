//! Which rooms there are for everybody to enter: one stream of names, followed into memory. The
//! engine knows the chats; that some of them are public rooms is known only here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chat_core::domain::{chat_id_for_external_key, command_event_id};
use chat_core::ports::{EventBus, Expected, Signal, SignalBody, StoreError};
use chat_core::{ChatId, CommandId, StreamId, Topic, UserId, Version};
use serde::{Deserialize, Serialize};

use crate::journal::{Fact, Journal, fact};

/// Characters of a room's name.
pub(crate) const NAME_CHARS: usize = 60;
/// Most rooms.
const MOST_ROOMS: usize = 2_000;
const TOPIC: &str = "rooms";

/// A chat became a room for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Room {
    pub(crate) chat: ChatId,
    pub(crate) name: String,
}

impl Fact for Room {
    const TYPE: &'static str = "room_opened";
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("There are {MOST_ROOMS} rooms, which is as many as this place has.")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lists rooms and adds to the list.
#[derive(Debug)]
pub(crate) struct Directory {
    journal: Journal,
    bus: Arc<dyn EventBus>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    version: Version,
    rooms: Vec<Room>,
}

impl Directory {
    pub(crate) fn new(journal: Journal, bus: Arc<dyn EventBus>) -> Self {
        Self { journal, bus, known: Mutex::default() }
    }

    /// Every room, oldest first, as of the store now.
    pub(crate) async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        let stream = stream()?;
        loop {
            let known = self.known().version;
            let (events, at_end) = self.journal.read(&stream, known).await?;
            for event in events {
                let room = fact::<Room>(&event)?;
                let mut known = self.known();
                // Another caller may have read the same page.
                if event.version > known.version {
                    known.version = event.version;
                    known.rooms.extend(room);
                }
            }
            if at_end {
                return Ok(self.known().rooms.clone());
            }
        }
    }

    /// Puts a chat on the list. Doing it again changes nothing.
    pub(crate) async fn add(&self, room: &Room) -> Result<(), DirectoryError> {
        if self.rooms().await?.iter().any(|known| known.chat == room.chat) {
            return Ok(());
        }
        if self.known().rooms.len() >= MOST_ROOMS {
            return Err(DirectoryError::Full);
        }
        let invalid = |error: chat_core::InvalidId| StoreError::Invalid { what: error.to_string() };
        let system = UserId::new("system").map_err(invalid)?;
        let key = CommandId::new("directory").map_err(invalid)?;
        let id = command_event_id(&room.chat, &system, &key);
        match self.journal.write(&stream()?, Expected::Any, id, room).await {
            // Somebody was faster, with another spelling of the same name.
            Ok(_) | Err(StoreError::IdReused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Ok(topic) = topic() {
            let ring = Signal { topic, body: SignalBody::Ring(Version(1)) };
            // Who misses it sees the room the next time the list is read.
            let _lost = self.bus.publish(&[ring]).await;
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a new room is told.
pub(crate) fn topic() -> Result<Topic, chat_core::InvalidId> {
    Topic::new(TOPIC)
}

/// The engine's key for the room of a name; names that differ only in case are one.
pub(crate) fn key(name: &str) -> String {
    format!("room/{}", name.to_lowercase())
}

/// The chat of the room with this name.
pub(crate) fn chat_of(name: &str) -> Option<ChatId> {
    chat_id_for_external_key(&key(name))
}

/// A room's name as it is kept: without spaces around and doubled inside; `None` if it is empty, too
/// long, or has characters that nobody sees.
pub(crate) fn parse_name(name: &str) -> Option<String> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = name.chars().count();
    let fits = (1..=NAME_CHARS).contains(&length) && !name.chars().any(is_invisible);
    fits.then_some(name)
}

/// Control characters, and those that turn the direction of the text around them or take no room.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{61c}' | '\u{180e}')
}

fn stream() -> Result<StreamId, StoreError> {
    StreamId::new("rooms").map_err(|error| StoreError::Invalid { what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use chat_core::memory::{MemoryBus, MemoryEventStore};
    use chat_core::{RandomIds, SystemClock};

    use super::*;

    #[test]
    fn a_name_is_visible_and_has_no_more_space_than_it_needs() {
        assert_eq!(parse_name("  Tea \t  time "), Some("Tea time".into()));
        assert_eq!(parse_name("茶 🍵"), Some("茶 🍵".into()));
        let long = "x".repeat(NAME_CHARS + 1);
        for bad in ["", "   ", "a\u{202e}b", "a\u{200b}b", "a\u{0}b", &long] {
            assert_eq!(parse_name(bad), None, "{bad:?}");
        }
        assert_eq!(chat_of("Tea"), chat_of("tEA"));
    }

    #[tokio::test]
    async fn a_room_is_listed_once_however_often_and_from_where_it_is_added() {
        let store = Arc::new(MemoryEventStore::new());
        let directory = || {
            let store = Arc::clone(&store);
            let journal = Journal::new(store, Arc::new(SystemClock), Arc::new(RandomIds));
            Directory::new(journal, Arc::new(MemoryBus::default()))
        };
        let (here, there) = (directory(), directory());
        let room = |name: &str| Room { chat: chat_of(name).unwrap(), name: name.into() };
        here.add(&room("Tea")).await.unwrap();
        there.add(&room("TEA")).await.unwrap();
        there.add(&room("Coffee")).await.unwrap();
        here.add(&room("Tea")).await.unwrap();
        let expected = vec![room("Tea"), room("Coffee")];
        assert_eq!(here.rooms().await.unwrap(), expected);
        assert_eq!(there.rooms().await.unwrap(), expected);
    }
}
