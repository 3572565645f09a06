//! TLS: whom to trust. The only file that knows whether the feature `tls` is there.

use redis::cluster::ClusterClientBuilder;
use redis::{Client, ConnectionInfo, RedisError};

use crate::config::{RedisConfig, Tls};
use crate::error::ConnectError;

/// A client of one server.
pub(crate) fn client(config: &RedisConfig, info: ConnectionInfo) -> Result<Client, RedisError> {
    match trusted(config)? {
        None => Client::open(info),
        Some(trusted) => with_trust(info, trusted),
    }
}

/// The same for the nodes of a cluster.
pub(crate) fn cluster(
    config: &RedisConfig,
    builder: ClusterClientBuilder,
) -> Result<ClusterClientBuilder, RedisError> {
    Ok(match trusted(config)? {
        None => builder,
        Some(trusted) => cluster_with_trust(builder, trusted),
    })
}

/// The certificate of an authority, where the configuration names one.
fn trusted(config: &RedisConfig) -> Result<Option<Vec<u8>>, RedisError> {
    let file = config.ca_file.as_ref().filter(|_| config.tls == Tls::On);
    let read = file.map(std::fs::read).transpose();
    read.map_err(|error| {
        let what = "cannot read the certificate of the authority";
        (redis::ErrorKind::InvalidClientConfig, what, error.to_string()).into()
    })
}

#[cfg(feature = "tls")]
fn with_trust(info: ConnectionInfo, trusted: Vec<u8>) -> Result<Client, RedisError> {
    Client::build_with_tls(info, certificates(trusted))
}

#[cfg(feature = "tls")]
fn cluster_with_trust(builder: ClusterClientBuilder, trusted: Vec<u8>) -> ClusterClientBuilder {
    builder.certs(certificates(trusted))
}

#[cfg(feature = "tls")]
fn certificates(trusted: Vec<u8>) -> redis::TlsCertificates {
    redis::TlsCertificates { client_tls: None, root_cert: Some(trusted) }
}

/// The driver takes the process's default provider of cryptography; if the host has not chosen
/// one, it is ring.
#[cfg(feature = "tls")]
pub(crate) fn prepare() -> Result<(), ConnectError> {
    // An error says that the host has chosen.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    Ok(())
}

// Nobody gets here: a store with TLS is refused before it connects.
#[cfg(not(feature = "tls"))]
fn with_trust(info: ConnectionInfo, _trusted: Vec<u8>) -> Result<Client, RedisError> {
    Client::open(info)
}

#[cfg(not(feature = "tls"))]
fn cluster_with_trust(builder: ClusterClientBuilder, _trusted: Vec<u8>) -> ClusterClientBuilder {
    builder
}

#[cfg(not(feature = "tls"))]
pub(crate) fn prepare() -> Result<(), ConnectError> {
    Err(ConnectError::NoTls)
}
