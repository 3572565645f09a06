//! The port that wakes other processes and carries what need not last. A hint, never the truth.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;

use crate::event::Json;
use crate::id::{Topic, Version};

/// A doorbell ("this stream is now at version v") and a channel for ephemeral signals.
///
/// # Guarantees
///
/// 1. What a subscriber receives was published by someone, on that topic, whole.
/// 2. Once [`subscribe`](Self::subscribe) has returned, signals published from then on are
///    received at the latest after the bus's delay, as far as nothing is lost.
/// 3. It **may lose, double, delay and reorder** signals. A loss that the bus notices is told as
///    [`BusItem::Missed`].
/// 4. A subscriber that does not read never delays others or the publisher; it misses signals.
/// 5. Dropping the stream ends the subscription and frees what it held.
///
/// # Errors
/// [`BusError`]; an error of `publish` means that signals may be lost, nothing else.
///
/// # Cancel safety
/// Dropping a publish may lose its signals, which guarantee 3 permits.
///
/// # Cost
/// A publish is one round trip for all its signals; with nobody subscribed it should cost next to
/// nothing.
#[async_trait]
pub trait EventBus: Debug + Send + Sync + 'static {
    /// Sends signals.
    ///
    /// # Errors
    /// [`BusError`] if they could not be handed over; some may have been.
    async fn publish(&self, signals: &[Signal]) -> Result<(), BusError>;

    /// Receives the signals of a topic from now on.
    ///
    /// # Errors
    /// [`BusError`] if the bus cannot be reached.
    async fn subscribe(&self, topic: &Topic) -> Result<BusStream, BusError>;
}

/// The signals of a topic; ends when the bus is closed.
pub type BusStream = Pin<Box<dyn Stream<Item = BusItem> + Send + 'static>>;

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Where to.
    pub topic: Topic,
    /// What.
    pub body: SignalBody,
}

/// The topic that is rung when something was appended, by whoever appended it: those who follow the
/// log of a partition listen to it.
pub const LOG_TOPIC: &str = "log";

/// What a signal says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalBody {
    /// The stream or log behind the topic has reached this number; read it.
    Ring(Version),
    /// Something that is not stored (typing, presence, a token), at most
    /// [`SignalBody::MAX_EPHEMERAL_BYTES`].
    Ephemeral(Json),
}

impl SignalBody {
    /// Most bytes of an ephemeral signal.
    pub const MAX_EPHEMERAL_BYTES: usize = 16 << 10;
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusItem {
    /// A signal.
    Signal(Signal),
    /// Signals were lost here; read the store.
    Missed,
}

/// Why the bus did not work.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The bus cannot be reached now.
    #[error("the bus is unavailable: {what}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// The driver's error.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// The signal is above the bound.
    #[error("a signal of {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The size allowed.
        limit: usize,
    },
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}
