//! Moving house: copies a whole namespace from any store to any other while the old one is in use.
//!
//! ```
//! use std::sync::Arc;
//! use chat_core::copy::Copier;
//! use chat_core::memory::{MemoryEventStore, MemoryViewStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let old = Arc::new(MemoryEventStore::new());
//! # let new = Arc::new(MemoryEventStore::with_partitions(4));
//! let mut copier = Copier::begin(old, new, Arc::new(MemoryViewStore::new())).await?;
//! // While the old house is in use, as often as one likes, also after a stop or a crash:
//! let progress = copier.catch_up(|_| ()).await?;
//! println!("{} events; {} positions behind", progress.events, progress.behind());
//! // When its writers have been stopped:
//! copier.finish(|_| ()).await?;
//! copier.verify(|_| ()).await?;
//! # Ok(()) }
//! ```
//!
//! # What is the same afterwards
//!
//! Every stream, with every event at its version: id, type, schema version, time, payload and
//! metadata, byte for byte. Within the log of each partition of the new house, events of one
//! partition of the old house have the order they had there. Not the same: positions, the epoch,
//! the number of partitions, and how the logs of several partitions lie between each other. An
//! append to several streams arrives stream by stream; its parts are visible apart for a moment,
//! to nobody if the new house is opened when the copy is finished.
//!
//! # What is not copied
//!
//! Views. The engine makes them anew from the events: the snapshots of chats, and the chat lists
//! (the first engine on the new house reads the whole log once;
//! [`Engine::catch_up`](crate::Engine::catch_up) waits for it). Only in views, and so gone:
//!
//! - the key of the clients' sync tokens, unless the host sets one
//!   ([`EngineBuilder::token_key`](crate::EngineBuilder::token_key)). Tokens of the old house end
//!   in any case, as the epoch is another: a client reads its chats anew, as after
//!   [`ResetReason::EpochChanged`](crate::ResetReason::EpochChanged) or
//!   [`ChatError::InvalidToken`](crate::ChatError::InvalidToken);
//! - where durable readers of the log have come. Positions mean nothing in the new house: let such
//!   readers come to the end of the old one, and start them in the new one from its end, before
//!   anybody writes there;
//! - the events that durable readers have parked: drive or drop them in the old house. A reader that
//!   starts in the new one knows nothing of them.
//!
//! # What the host must do
//!
//! 1. Give the copy an empty namespace, and let nobody else write to it. Whoever does is found: each
//!    append expects the exact version, and a foreign event is an error that names its stream.
//! 2. [`catch_up`](Copier::catch_up), again and again, until little is left.
//! 3. Stop the writers: shut down every engine on the old house, and take from the database the right
//!    to write (a role without INSERT, a file that may only be read, a server that is read-only), so
//!    that a process that was forgotten gets an error, not an acknowledgement. The ports have no
//!    lock for this: a store that two programs write to cannot be closed by a third.
//! 4. [`finish`](Copier::finish), which refuses while anything is still written, and
//!    [`verify`](Copier::verify).
//! 5. Start the engines on the new house. Keep the old one, and [`look`](Copier::look) at it once
//!    more: whatever it holds beyond the copy was acknowledged to somebody and is not in the new
//!    house. As long as the new house has not written to the same streams, `finish` brings it over.
//!
//! # Cost
//!
//! One read, one look at heads, one append and one commit for each page of a thousand events, while
//! the next page is read. Memory for two pages (some 10 MiB). Verifying reads both houses once.

mod compare;
mod copier;
mod error;
mod progress;
mod put;
mod record;
mod verify;

pub use copier::Copier;
pub use error::{CopyError, Difference};
pub use progress::Progress;
pub use verify::Verified;
