//! Checks that an adapter keeps its port's contract, as tests that anybody can run.
//!
//! One macro for each port expands every check into a test of its own name, so that none can be
//! left out: [`event_store_tests!`](crate::event_store_tests),
//! [`view_store_tests!`](crate::view_store_tests), [`event_bus_tests!`](crate::event_bus_tests).
//! An adapter gives an async function that makes a fresh harness; see [`StoreHarness`],
//! [`ViewHarness`] and [`BusHarness`]; [`UnderFaults`] makes another of it, where calls fail.
//!
//! ```
//! mod memory {
//!     use chat_core::testkit::MemoryStoreHarness;
//!
//!     async fn fresh() -> MemoryStoreHarness {
//!         MemoryStoreHarness::new(4)
//!     }
//!
//!     chat_core::event_store_tests!(fresh);
//! }
//! ```
//!
//! # Panics
//! Everything here fails by panicking, with what was expected and what came.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test kit fails by panicking, as its documentation says"
)]

pub mod audit;
pub mod durable;
pub mod event_bus;
pub mod event_store;
pub mod fixture;
mod harness;
mod harness_bus;
mod harness_view;
pub mod llm;
pub mod model;
pub mod processes;
mod run;
pub mod scenarios;
mod under_faults;
pub mod view_store;
mod watch;

pub use harness::{Answers, MemoryStoreHarness, StoreHarness};
pub use harness_bus::{BusHarness, MemoryBusHarness, Signals};
pub use harness_view::{MemoryViewHarness, ViewHarness};
pub use run::{run, run_cases};
pub use under_faults::UnderFaults;
