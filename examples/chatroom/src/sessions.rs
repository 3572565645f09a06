//! Who is logged in. A browser holds a random token; here only its digest is kept, so that whoever
//! reads the database cannot log in with what it holds. One stream for each session.

use std::sync::Arc;
use std::time::Duration;

use chat_core::ports::{BusStream, EventBus, Expected, Signal, SignalBody, StoreError};
use chat_core::{StreamId, Timestamp, Topic, UserId, Version};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::journal::{Fact, Journal, fact};
use crate::random;

/// How long a session lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    user: UserId,
    expires_at: Timestamp,
}

impl Fact for Opened {
    const TYPE: &'static str = "session_opened";
}

#[derive(Debug, Serialize, Deserialize)]
struct Closed {}

impl Fact for Closed {
    const TYPE: &'static str = "session_closed";
}

/// Somebody who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) user: UserId,
    pub(crate) expires_at: Timestamp,
    digest: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the operating system gave no randomness")]
    NoRandomness,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens, checks and closes sessions.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    journal: Journal,
    bus: Arc<dyn EventBus>,
}

impl Sessions {
    pub(crate) fn new(journal: Journal, bus: Arc<dyn EventBus>) -> Self {
        Self { journal, bus }
    }

    /// Logs somebody in; gives the token for the browser.
    pub(crate) async fn open(&self, user: UserId) -> Result<String, SessionError> {
        let token = random::token().map_err(|_| SessionError::NoRandomness)?;
        let opened = Opened { user, expires_at: self.journal.now().plus(LIFETIME) };
        let stream = stream(&random::digest(&token))?;
        self.journal.write(&stream, Expected::NoStream, self.journal.event_id(), &opened).await?;
        Ok(token)
    }

    /// Whose session a token is; `None` if it never was one, is over or was closed.
    pub(crate) async fn find(&self, token: &str) -> Result<Option<Session>, StoreError> {
        // Anything else cannot be one of ours, and need not be hashed and looked up.
        if token.len() != 64 || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        self.by_digest(random::digest(token)).await
    }

    /// Whether a session still holds.
    pub(crate) async fn holds(&self, session: &Session) -> Result<bool, StoreError> {
        Ok(self.by_digest(session.digest.clone()).await?.is_some())
    }

    /// Logs out, in every tab and process.
    pub(crate) async fn close(&self, session: &Session) -> Result<(), StoreError> {
        let stream = stream(&session.digest)?;
        let id = self.journal.event_id();
        self.journal.write(&stream, Expected::Exists, id, &Closed {}).await?;
        if let Ok(topic) = topic(session) {
            let ring = Signal { topic, body: SignalBody::Ring(Version(2)) };
            // Tabs that miss it look for themselves, later.
            let _lost = self.bus.publish(&[ring]).await;
        }
        Ok(())
    }

    /// Rings when the session may have been closed. Where the bus cannot be reached it never rings.
    pub(crate) async fn watch(&self, session: &Session) -> SessionWatch {
        let rings = match topic(session) {
            Ok(topic) => self.bus.subscribe(&topic).await.ok(),
            Err(_) => None,
        };
        SessionWatch(rings.unwrap_or_else(|| Box::pin(futures::stream::pending())))
    }

    /// How long a session has left.
    pub(crate) fn left(&self, session: &Session) -> Duration {
        Duration::from_millis(session.expires_at.0.saturating_sub(self.journal.now().0))
    }

    async fn by_digest(&self, digest: String) -> Result<Option<Session>, StoreError> {
        let (events, _) = self.journal.read(&stream(&digest)?, Version::ZERO).await?;
        let mut session = None;
        for event in events {
            if let Some(Opened { user, expires_at }) = fact(&event)? {
                session = Some(Session { user, expires_at, digest: digest.clone() });
            } else if fact::<Closed>(&event)?.is_some() {
                session = None;
            }
        }
        Ok(session.filter(|session| session.expires_at > self.journal.now()))
    }
}

/// See [`Sessions::watch`].
pub(crate) struct SessionWatch(BusStream);

impl SessionWatch {
    /// Waits for a reason to look; never ends when the bus does.
    pub(crate) async fn rang(&mut self) {
        if self.0.next().await.is_none() {
            std::future::pending().await
        }
    }
}

fn stream(digest: &str) -> Result<StreamId, StoreError> {
    StreamId::new(format!("session/{digest}"))
        .map_err(|error| StoreError::Invalid { what: error.to_string() })
}

fn topic(session: &Session) -> Result<Topic, chat_core::InvalidId> {
    Topic::new(format!("session/{}", session.digest))
}

#[cfg(test)]
mod tests {
    use chat_core::memory::{MemoryBus, MemoryEventStore};
    use chat_core::{ManualClock, RandomIds};

    use super::*;

    fn sessions(clock: &Arc<ManualClock>) -> Sessions {
        let clock = Arc::clone(clock);
        let store = Arc::new(MemoryEventStore::new());
        Sessions::new(
            Journal::new(store, clock, Arc::new(RandomIds)),
            Arc::new(MemoryBus::default()),
        )
    }

    fn ann() -> UserId {
        UserId::new("ann").unwrap()
    }

    #[tokio::test]
    async fn a_session_ends_after_thirty_days_to_the_millisecond() {
        let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
        let sessions = sessions(&clock);
        let token = sessions.open(ann()).await.unwrap();
        clock.advance(LIFETIME - Duration::from_millis(1));
        assert_eq!(sessions.find(&token).await.unwrap().unwrap().user, ann());
        clock.advance(Duration::from_millis(1));
        assert_eq!(sessions.find(&token).await.unwrap(), None);
    }

    #[tokio::test]
    async fn closing_a_session_rings_and_ends_that_one_only() {
        let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
        let sessions = sessions(&clock);
        let (here, there) =
            (sessions.open(ann()).await.unwrap(), sessions.open(ann()).await.unwrap());
        let session = sessions.find(&here).await.unwrap().unwrap();
        let mut watch = sessions.watch(&session).await;
        sessions.close(&session).await.unwrap();
        watch.rang().await;
        assert!(!sessions.holds(&session).await.unwrap());
        assert_eq!(sessions.find(&here).await.unwrap(), None);
        assert!(sessions.find(&there).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_is_not_a_token_is_nobody() {
        let sessions = sessions(&Arc::new(ManualClock::new(Timestamp(1_000))));
        for token in ["", "x", &"0".repeat(64), &"g".repeat(64), &"0".repeat(6_400)] {
            assert_eq!(sessions.find(token).await.unwrap(), None);
        }
    }
}
