//! The Redis adapter keeps its contracts, on one server and on a cluster, and keeps its word when a
//! server dies, forgets, or is not what it should be.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod address;
mod bus;
mod cluster;
mod connections;
mod contract;
mod durable;
mod processes;
mod replicas;
mod scenarios;
mod servers;
mod support;
#[cfg(feature = "tls")]
mod tls;
mod work;
