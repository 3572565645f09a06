//! Certificates of a private server: an authority that nobody else trusts, and what it has signed
//! for this machine's own address.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// The files in the server's folder.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) server: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    pub(crate) fn within(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        Self {
            authority: file("authority.pem"),
            server: file("server.pem"),
            key: file("server.key"),
        }
    }

    /// Makes them.
    pub(crate) fn write(&self) -> Result<()> {
        let mut authority = CertificateParams::new(Vec::new()).context("name an authority")?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().context("make a key")?;
        let authority = authority.self_signed(&authority_key).context("make an authority")?;
        let key = KeyPair::generate().context("make a key")?;
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]);
        let server = server.context("name a server")?.signed_by(&key, &authority, &authority_key);
        let server = server.context("sign a certificate")?;
        for (file, text) in [
            (&self.authority, authority.pem()),
            (&self.server, server.pem()),
            (&self.key, key.serialize_pem()),
        ] {
            fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }
}
