//! The least of each database's protocol that it takes to ask a server something: no driver, and
//! no client program that might not be installed.

pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod resp;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Connects to a server of this machine; reads and writes take at most `patience` each.
fn connect(port: u16, patience: Duration) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, patience)
        .with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(patience)).context("bound the reads")?;
    stream.set_write_timeout(Some(patience)).context("bound the writes")?;
    stream.set_nodelay(true).context("send at once")?;
    Ok(stream)
}
