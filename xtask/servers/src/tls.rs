//! What a server shows to clients that speak TLS.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use crate::home::Home;

/// A certificate and its private key, as PEM.
#[derive(Clone)]
pub struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    /// What the caller made, for a server that will listen on 127.0.0.1.
    #[must_use]
    pub fn new(certificate: impl Into<String>, key: impl Into<String>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }

    pub(crate) fn write(&self, home: &Home) -> Result<()> {
        home.write(CERTIFICATE, &self.certificate)?;
        home.write(KEY, &self.key).map(drop)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Where a server finds its certificate and its key.
pub(crate) fn files(home: &Home) -> (PathBuf, PathBuf) {
    (home.path().join(CERTIFICATE), home.path().join(KEY))
}

const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
