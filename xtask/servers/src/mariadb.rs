//! A private MariaDB.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::home::Home;
use crate::process::{Launch, PATIENCE};
use crate::programs::{MARIADB_INSTALL_DB, MARIADBD};
use crate::server::{Kind, Server, lifecycle};
use crate::tls::{self, Identity};
use crate::wire::mysql::query;

/// A MariaDB of its own: every commit flushed, no binary log, 400 connections, the user `root`
/// without a password, and an empty database `test`.
#[derive(Debug)]
pub struct MariaDb {
    server: Server<Flavour>,
}

lifecycle!(MariaDb);

impl MariaDb {
    /// Sets a server up and starts it; returns when it answers. Takes some seconds.
    ///
    /// # Errors
    ///
    /// When a program is missing or the server doesn't start; with the end of its log.
    pub fn start() -> Result<Self> {
        Ok(Self { server: Server::start(Flavour::default())? })
    }

    /// As [`MariaDb::start`], for clients with TLS and without.
    ///
    /// # Errors
    ///
    /// As [`MariaDb::start`].
    pub fn start_with_tls(identity: Identity) -> Result<Self> {
        Ok(Self { server: Server::start(Flavour { identity: Some(identity) })? })
    }

    /// As [`MariaDb::start`], but it runs on after this process, in the new folder `folder` or in
    /// one that MariaDB's user may enter. Dropped without [`MariaDb::keep`] it ends.
    ///
    /// # Errors
    ///
    /// As [`MariaDb::start`].
    pub fn start_kept(folder: &Path) -> Result<Self> {
        Ok(Self { server: Server::start_kept(Flavour::default(), folder)? })
    }

    /// Where to connect to; the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/test", self.server.port())
    }

    /// Runs `sql` on a new connection; a line for each row, its columns parted by tabs.
    ///
    /// # Errors
    ///
    /// When the server can't be reached or refuses.
    pub fn query(&self, sql: &str) -> Result<String> {
        query(self.server.port(), sql, PATIENCE).map(|rows| rows.join("\n"))
    }
}

#[derive(Debug, Default)]
struct Flavour {
    identity: Option<Identity>,
}

/// Runs before the server takes connections, each time that it starts.
const FIRST: &str = "CREATE DATABASE IF NOT EXISTS test;\n";
const FIRST_FILE: &str = "first.sql";

impl Kind for Flavour {
    const NAME: &'static str = "MariaDB";
    const ACCOUNTS: &'static [&'static str] = &["mysql"];
    const STOP: Signal = Signal::TERM;

    fn set_up(&self, home: &Home) -> Result<()> {
        home.write(FIRST_FILE, FIRST)?;
        if let Some(identity) = &self.identity {
            identity.write(home)?;
        }
        Launch::new(MARIADB_INSTALL_DB.path()?, home)?
            .word("--no-defaults")
            .option("--datadir=", home.data())
            .words(&["--auth-root-authentication-method=normal", "--skip-test-db"])
            .run()
    }

    fn launch(&self, home: &Home, port: u16) -> Result<Launch> {
        let server = Launch::new(MARIADBD.path()?, home)?
            .word("--no-defaults")
            .option("--datadir=", home.data())
            .option("--port=", port.to_string())
            .option("--pid-file=", home.path().join("pid"))
            .option("--init-file=", home.path().join(FIRST_FILE))
            // A socket's path may have 107 bytes at most, so it is named from the data folder.
            .words(&["--bind-address=127.0.0.1", "--socket=mariadb.sock", "--skip-name-resolve"])
            .words(&["--innodb-flush-log-at-trx-commit=1", "--skip-log-bin"])
            .words(&["--max-connections=400"]);
        if self.identity.is_none() {
            return Ok(server);
        }
        let (certificate, key) = tls::files(home);
        Ok(server.option("--ssl-cert=", certificate).option("--ssl-key=", key))
    }

    fn data_of(port: u16, patience: Duration) -> Result<PathBuf> {
        let folder = query(port, "SELECT @@datadir", patience)?;
        Ok(folder.concat().into())
    }
}
