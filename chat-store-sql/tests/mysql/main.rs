//! The MySQL adapter keeps its contracts on the server in `CHAT_TEST_MYSQL`, and keeps its word
//! when a process or a server dies, when others write and when it may do little.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod contract;
mod durable;
mod flushed;
mod grants;
mod holes;
mod host;
mod killed;
mod processes;
mod readable;
mod scenarios;
mod starting;
mod support;
mod tls;
mod writers;
