//! The four ports: what the engine needs from outside, as contracts with numbered guarantees.
//! The checks of [`crate::testkit`] cite the numbers.

mod event_bus;
mod event_store;
mod llm_backend;
mod view_store;

pub use event_bus::{BusError, BusItem, BusStream, EventBus, LOG_TOPIC, Signal, SignalBody};
pub use event_store::{
    Append, AppendError, AppendResult, Appended, Direction, Durability, EventStore, EventStoreExt,
    Expected, Guard, LogPage, PageLimit, StoreError, StoreInfo, StreamPage, StreamWrite,
    WrittenStream,
};
pub use llm_backend::{
    EndReason, LlmBackend, LlmError, LlmErrorKind, LlmEvent, LlmMessage, LlmOutcome, LlmRequest,
    LlmRole, LlmStream, LlmUsage,
};
pub use view_store::{
    KeyRange, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewPage, ViewStore, ViewValues,
};
