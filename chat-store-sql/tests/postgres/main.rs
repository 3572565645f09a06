//! The PostgreSQL adapter keeps its contracts, and keeps its word when a process or the server
//! dies, connections break and others write at the same time.
//!
//! Needs the URL of a server in `CHAT_TEST_POSTGRES`. Each test has a namespace of its own.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod alone;
mod broken;
mod bus;
mod contract;
mod crash;
mod durable;
mod host;
mod plans;
mod processes;
mod readable;
mod roles;
mod scenarios;
mod support;
mod tls;
mod writers;
