//! The SQLite adapter keeps its contracts, and keeps its word when a process dies, a disk is full
//! or a file is not what it should be.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod bus;
mod by_url;
mod contract;
mod durable;
mod files;
mod members;
mod moving;
mod processes;
mod readable;
mod scenarios;
mod support;
mod writers;
