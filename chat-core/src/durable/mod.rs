//! Durable subscriptions: named readers of the log or of one stream, which remember where they
//! are, share the work between processes, and lose nothing.
//!
//! | to | see |
//! |---|---|
//! | make views of events | [`Projection`], [`DurableBuilder::project`], [`ProjectedViews`] |
//! | do something with events elsewhere | [`EventHandler`], [`DurableBuilder::handle`] |
//! | look after one | [`Operator`], [`DurableMetrics`] |
//!
//! # Guarantees
//!
//! 1. **Nothing is left out.** Each event behind the start is taken or parked, in the order of its
//!    partition. Catching up and following are one.
//! 2. **Exactly once into views.** What a [`Projection`] writes and how far the view has come are one
//!    atomic batch, refused if the view has changed since it was read. So no crash, no second
//!    projector and no lost answer brings an event into a view twice. Several views that one event
//!    changes are each exact; they are not one batch.
//! 3. **At least once elsewhere.** An [`EventHandler`] gets each event until it has taken it. The
//!    event's id is the key that makes it once there ([`Delivery::idempotency_key`]). After a crash
//!    at most [`DurableConfig::save_every`] events of a partition come again.
//! 4. **One at a time.** A partition is worked on by the holder of its lease. Who was paused and
//!    overtaken is refused in the write of its place: each owner has a higher token, and every write
//!    is a compare-and-set. (A handler may then still be at work on one event in the paused process,
//!    which guarantee 3 allows.)
//! 5. **Shared fairly.** The live members hold even parts of the partitions. What a crashed member
//!    held is taken over when its time has run out, what a member gave back at once.
//! 6. **Nothing is dropped in silence.** An event that a handler refuses for good is parked, in the
//!    same write as the place behind it, with its reason; it is counted, listed, driven again or
//!    dropped by an [`Operator`]. Driven into a view, it enters it once, behind later events. When
//!    too many are parked, the partition stands still and says so ([`Halt`]).
//! 7. **One partition's trouble is its own.** An event, a row or a state that cannot be read, and a
//!    store that refuses a write for good, stop their partition visibly; the others go on.
//! 8. **Another incarnation of the store** is noticed, and no event of it is handled from an old
//!    place.
//! 9. **A rebuild** fills a new generation beside the live one. Readers are switched by one write when
//!    it has caught up; the old one is cleared in small steps.
//! 10. **Bounded.** Batches, retries, parked events and waits have bounds ([`DurableConfig`]).
//!     `shutdown` waits for the handlers under way and leaves no task.
//!
//! # Latency and cost
//! A ring of the bus wakes every member at once, a timer at worst. A batch costs one read of the
//! source, one look at its incarnation and one write of the place; a projection adds one read and
//! one write for all its views. An idle partition costs one read at each poll, and one write for
//! each third of a lease.
//!
//! # Clocks
//! Leases are timed by the injected clock. Clocks that differ by more than the lease make partitions
//! change hands too early, which costs repeats and breaks nothing.

mod catalog;
mod config;
mod coordinate;
mod edit;
mod error;
mod generations;
mod handler;
mod layout;
mod lease;
mod live;
mod member;
mod members;
mod metrics;
mod name;
mod operator;
mod parked;
mod project;
mod reader;
mod refusal;
mod shard;
mod state;
mod states;
mod status;
mod subscription;
mod taking;
mod views;

pub use config::{DurableConfig, OnNewEpoch, Source, Start};
pub use edit::ViewEdit;
pub use error::DurableError;
pub use handler::{Delivery, EventHandler, Projection};
pub use live::{LiveViews, ProjectedViews};
pub use metrics::{DurableMetrics, PartitionLag};
pub use name::{Generation, SubscriptionName};
pub use operator::{Operator, ParkedPage};
pub use refusal::HandlerError;
pub use state::{Halt, ParkedEvent, ParkedState};
pub use status::{PartitionStatus, SubscriptionStatus};
pub use subscription::{DurableBuilder, DurableSubscription, ring_log};
