//! Free loopback ports.
//!
//! They are taken from below the range that the system gives to outgoing connections. A client
//! that tries again and again to reach a killed server would else be given the server's own port
//! one day, connect to itself, and keep the server from coming back.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Result, bail};

/// A node of a Redis Cluster talks to the others on the port that is this much higher.
pub(crate) const BUS: u16 = 10_000;

/// This range and the same plus [`BUS`] lie below 32,768, where Linux begins its own range.
const RANGE: Range<u16> = 11_000..22_000;
const TRIES: u64 = 1_000;

/// Which ports a server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    One,
    /// Another one, higher by [`BUS`].
    WithBus,
}

/// A port that nobody listens on at this moment. Another process may take it before the server
/// does: the server then fails to start and is to be started with another.
pub(crate) fn free(ports: Ports) -> Result<u16> {
    let random = RandomState::new();
    let width = u64::from(RANGE.end - RANGE.start);
    for round in 0..TRIES {
        let offset = u16::try_from(random.hash_one(round) % width).unwrap_or_default();
        let port = RANGE.start + offset;
        if is_free(port) && (ports == Ports::One || is_free(port + BUS)) {
            return Ok(port);
        }
    }
    bail!("no free port among {TRIES} between {} and {}", RANGE.start, RANGE.end)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_in_use_is_not_free() {
        let port = free(Ports::WithBus).unwrap();
        assert!(RANGE.contains(&port));
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(taken.local_addr().unwrap().port()));
    }
}
