//! What servers show to clients that speak TLS, made for one test by the program `openssl`.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::home::Home;
use crate::programs::OPENSSL;

/// An authority that nobody knows but the test that made it.
#[derive(Debug)]
pub struct Authority(TempDir);

/// A certificate and its private key, as PEM.
#[derive(Clone)]
pub struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    ///
    /// When `openssl` is missing or fails.
    pub fn new() -> Result<Self> {
        let authority = Self(tempfile::tempdir().context("make a folder for certificates")?);
        authority.certify("authority", &[])?;
        Ok(authority)
    }

    /// Its own certificate, for clients to trust.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.file("authority.crt")
    }

    /// For a server that is reached by the address 127.0.0.1, and by no name.
    ///
    /// # Errors
    ///
    /// When `openssl` is missing or fails.
    pub fn identity(&self) -> Result<Identity> {
        let (certificate, key) = (self.certificate(), self.file("authority.key"));
        self.certify(
            "server",
            &[
                "-CA".as_ref(),
                certificate.as_os_str(),
                "-CAkey".as_ref(),
                key.as_os_str(),
                "-addext".as_ref(),
                "subjectAltName=IP:127.0.0.1".as_ref(),
                "-addext".as_ref(),
                "basicConstraints=critical,CA:FALSE".as_ref(),
            ],
        )?;
        let read = |name| fs::read_to_string(self.file(name)).context("read a certificate");
        Ok(Identity { certificate: read("server.crt")?, key: read("server.key")? })
    }

    /// Makes a key and a certificate of this name, signed by itself unless the words say otherwise.
    fn certify(&self, name: &str, words: &[&std::ffi::OsStr]) -> Result<()> {
        let mut command = Command::new(OPENSSL.path()?);
        command
            .args(["req", "-x509", "-nodes", "-days", "30", "-subj", &format!("/CN={name}")])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .arg("-keyout")
            .arg(self.file(&format!("{name}.key")))
            .arg("-out")
            .arg(self.file(&format!("{name}.crt")))
            .args(words)
            .stdin(Stdio::null());
        let output = command.output().context("run openssl")?;
        if !output.status.success() {
            bail!("openssl failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Identity {
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
