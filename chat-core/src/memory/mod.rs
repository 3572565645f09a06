//! The ports in the memory of one process: for tests, for programs whose chats may end with them,
//! and as the oracle that the other adapters are compared with. They read each contract at its
//! strictest and know nothing of chats.

mod bus;
mod event_store;
mod hash;
mod partition;
mod view_store;

pub use bus::MemoryBus;
pub use event_store::MemoryEventStore;
pub use view_store::MemoryViewStore;
