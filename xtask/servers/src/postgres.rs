//! A private PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::home::Home;
use crate::process::{Launch, PATIENCE};
use crate::programs::POSTGRES;
use crate::server::{Kind, Server, lifecycle};
use crate::tls::{self, Identity};
use crate::wire::postgres::query;

/// A PostgreSQL of its own: `fsync` and `synchronous_commit` on, 200 connections, every user
/// trusted, UTF-8 and the C locale.
#[derive(Debug)]
pub struct Postgres {
    server: Server<Flavour>,
}

lifecycle!(Postgres);

impl Postgres {
    /// Sets a server up and starts it; returns when it answers. Takes some seconds.
    ///
    /// # Errors
    ///
    /// When a program is missing or the server doesn't start; with the end of its log.
    pub fn start() -> Result<Self> {
        Ok(Self { server: Server::start(Flavour::default())? })
    }

    /// As [`Postgres::start`], for clients with TLS and without.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub fn start_with_tls(identity: Identity) -> Result<Self> {
        Ok(Self { server: Server::start(Flavour { identity: Some(identity) })? })
    }

    /// As [`Postgres::start`], but it runs on after this process, in the new folder `folder` or
    /// in one that PostgreSQL's user may enter. Dropped without [`Postgres::keep`] it ends.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub fn start_kept(folder: &Path) -> Result<Self> {
        Ok(Self { server: Server::start_kept(Flavour::default(), folder)? })
    }

    /// Where to connect to; the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.server.port())
    }

    /// Runs `sql` on a new connection; a line for each row, its columns parted by `|`.
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

impl Kind for Flavour {
    const NAME: &'static str = "PostgreSQL";
    const ACCOUNTS: &'static [&'static str] = &["postgres"];
    const STOP: Signal = Signal::INT;
    const END: Option<Signal> = Some(Signal::QUIT);

    fn set_up(&self, home: &Home) -> Result<()> {
        if let Some(identity) = &self.identity {
            identity.write(home)?;
        }
        let folder = POSTGRES.path()?;
        // Debian has links to single programs elsewhere; the others are where the file itself is.
        let folder = folder.canonicalize().context("find the folder of postgres")?;
        let initdb = Launch::new(folder.with_file_name("initdb"), home)?
            .words(&["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C"])
            .word("-D")
            .word(home.data());
        initdb.run()
    }

    fn launch(&self, home: &Home, port: u16) -> Result<Launch> {
        let server = Launch::new(POSTGRES.path()?, home)?.ended_by("QUIT");
        let mut server = server.word("-D").word(home.data());
        if self.identity.is_some() {
            let (certificate, key) = tls::files(home);
            server = server
                .words(&["-c", "ssl=on", "-c"])
                .option("ssl_cert_file=", certificate)
                .word("-c")
                .option("ssl_key_file=", key);
        }
        // A socket's path may have 107 bytes at most, so it is named from the data folder.
        Ok(server.word("-p").word(port.to_string()).words(&[
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=.",
            "-c",
            "fsync=on",
            "-c",
            "synchronous_commit=on",
            "-c",
            "max_connections=200",
            // In the data folder, so that a killed server leaves less behind.
            "-c",
            "dynamic_shared_memory_type=mmap",
        ]))
    }

    fn data_of(port: u16, patience: Duration) -> Result<PathBuf> {
        let folder = query(port, "SHOW data_directory", patience)?;
        Ok(folder.concat().into())
    }

    fn tidy(data: &Path) {
        tidy(data);
    }
}

/// Whether a server of this kind runs in `data`, or was killed there.
pub(crate) fn is_data(data: &Path) -> bool {
    data.join(LOCK_FILE).exists()
}

const LOCK_FILE: &str = "postmaster.pid";

/// Gives back the piece of shared memory that a killed server still has; it names it in its lock
/// file, which only a server that ended by itself removes. Without the program for that, the few
/// bytes stay until the machine restarts.
pub(crate) fn tidy(data: &Path) {
    let Ok(lock) = fs::read_to_string(data.join(LOCK_FILE)) else { return };
    let memory = lock.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
    if let (Some(memory), Some(program)) = (memory, crate::programs::find(&["ipcrm"])) {
        let mut command = Command::new(program);
        command.args(["-m", memory]);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
