//! Time and ids come from outside, so that a run repeats from its seed.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::EventId;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This much later; stays at the greatest.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// Where the engine reads the time of day. Decides nothing about order inside a chat.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now. May stand still or jump; the engine never lets a chat's time go back.
    fn now(&self) -> Timestamp;
}

/// The computer's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the real clock")]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = since.map_or(0, |duration| duration.as_millis());
        Timestamp(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::atomic::AtomicU64);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(start.0.into())
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }

    /// Moves the time forwards.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

/// Where the engine takes ids and secrets' randomness from.
pub trait IdSource: Debug + Send + Sync + 'static {
    /// A fresh, time-ordered id (UUIDv7).
    fn event_id(&self, now: Timestamp) -> EventId;
    /// 32 bytes that nobody can guess (from [`RandomIds`]) or that repeat (from [`SeededIds`]).
    fn secret(&self) -> [u8; 32];
}

/// Ids from the operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn event_id(&self, now: Timestamp) -> EventId {
        let random = *Uuid::new_v4().as_bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(random.get(..10).unwrap_or(&[0; 10]));
        EventId(uuid::Builder::from_unix_timestamp_millis(now.0, &tail).into_uuid())
    }

    fn secret(&self) -> [u8; 32] {
        // Three v4 ids hold 366 random bits; hashing spreads them over the 256 that are wanted.
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        for _ in 0..3 {
            hash.update(Uuid::new_v4().as_bytes());
        }
        hash.finalize().into()
    }
}

/// Ids that follow from a seed alone: the same seed gives the same ids in the same order.
#[derive(Debug)]
pub struct SeededIds(Mutex<u64>);

impl SeededIds {
    /// Starts the sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    fn next(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl IdSource for SeededIds {
    fn event_id(&self, now: Timestamp) -> EventId {
        let (a, b) = (self.next().to_be_bytes(), self.next().to_be_bytes());
        let tail = [a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1]];
        EventId(uuid::Builder::from_unix_timestamp_millis(now.0, &tail).into_uuid())
    }

    fn secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        for part in secret.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next().to_be_bytes());
        }
        secret
    }
}
