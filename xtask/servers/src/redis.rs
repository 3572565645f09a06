//! A private Redis, or another server of its protocol such as Valkey.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::home::Home;
use crate::port::{BUS, Ports};
use crate::process::{Launch, PATIENCE};
use crate::programs::REDIS_SERVER;
use crate::server::{Kind, Server, lifecycle};
use crate::tls::{self, Authority};
use crate::wire::resp::{Connection, Reply};

/// When a server flushes its append-only file to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before it acknowledges a write.
    Always,
    /// Once a second, in the background.
    EverySecond,
}

/// A Redis of its own: an append-only file and no snapshots, nothing ever evicted.
#[derive(Debug)]
pub struct Redis {
    server: Server<Flavour>,
}

lifecycle!(Redis);

impl Redis {
    /// Starts a server that flushes every write; returns when it answers.
    ///
    /// # Errors
    ///
    /// When the program is missing or the server doesn't start; with the end of its log.
    pub fn start() -> Result<Self> {
        Self::start_with(Fsync::Always)
    }

    /// Starts a server; returns when it answers.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`].
    pub fn start_with(fsync: Fsync) -> Result<Self> {
        let flavour = Flavour { fsync, role: Role::Alone };
        Ok(Self { server: Server::start(flavour)? })
    }

    /// Starts a server that takes connections with TLS as well, at [`Redis::tls_url`]. Its
    /// certificate is signed by [`Redis::authority`].
    ///
    /// # Errors
    ///
    /// As [`Redis::start`], or when the program was built without TLS.
    pub fn start_tls() -> Result<Self> {
        let flavour = Flavour { fsync: Fsync::Always, role: Role::Tls };
        Ok(Self { server: Server::start(flavour)? })
    }

    /// Where to connect to with TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.server.port() + BUS)
    }

    /// The certificate of who signed the server's own, in a file.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.server.home().path().join(AUTHORITY)
    }

    /// As [`Redis::start`], but it runs on after this process, in the new folder `folder`.
    /// Dropped without [`Redis::keep`] it ends.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`].
    pub fn start_kept(folder: &Path) -> Result<Self> {
        let flavour = Flavour { fsync: Fsync::Always, role: Role::Alone };
        Ok(Self { server: Server::start_kept(flavour, folder)? })
    }

    /// Starts a replica of this server, which flushes as this one does; returns when it has all of
    /// its data.
    ///
    /// # Errors
    ///
    /// When it doesn't start, or doesn't get the data in two minutes.
    pub fn start_replica(&self) -> Result<Self> {
        let role = Role::ReplicaOf(self.server.port());
        let replica = Self { server: Server::start(Flavour { role, ..*self.server.kind() })? };
        replica.wait_until_linked()?;
        Ok(replica)
    }

    /// Makes this server, as it runs, a replica of another one; returns when it has all of its data.
    ///
    /// # Errors
    ///
    /// When it doesn't get the data in two minutes.
    pub fn follow(&self, master: &Self) -> Result<()> {
        self.command(&["REPLICAOF", "127.0.0.1", &master.server.port().to_string()])?;
        self.wait_until_linked()
    }

    fn wait_until_linked(&self) -> Result<()> {
        wait_until("the replica doesn't reach its master", || {
            let replication = self.command(&["INFO", "replication"])?;
            Ok(replication.lines().any(|line| line == "master_link_status:up"))
        })
    }

    /// Stops the process where it is, as a machine that hangs: its connections stay.
    pub fn pause(&mut self) {
        self.server.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self) {
        self.server.signal(Signal::CONT);
    }

    /// Where to connect to; the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.server)
    }

    /// Runs a command on a new connection; a line for each element of the reply.
    ///
    /// # Errors
    ///
    /// When the server can't be reached, or answers with an error.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        command(&self.server, words)
    }
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Alone,
    /// A replica of the server at that port, until it is told otherwise.
    ReplicaOf(u16),
    /// With another port for TLS.
    Tls,
    /// A node of a Redis Cluster.
    Node,
}

#[derive(Debug)]
pub(crate) struct Flavour {
    pub(crate) fsync: Fsync,
    pub(crate) role: Role,
}

/// Two seconds until a node is thought to be gone.
/// The certificate of the authority, in the folder of the server.
const AUTHORITY: &str = "authority.crt";
const NODE: &[&str] = &[
    "--cluster-enabled",
    "yes",
    "--cluster-config-file",
    "nodes.conf",
    "--cluster-node-timeout",
    "2000",
    "--cluster-announce-ip",
    "127.0.0.1",
];

impl Kind for Flavour {
    const NAME: &'static str = "Redis";
    const ACCOUNTS: &'static [&'static str] = &[];
    const STOP: Signal = Signal::TERM;

    fn ports(&self) -> Ports {
        match self.role {
            Role::Alone | Role::ReplicaOf(_) => Ports::One,
            Role::Node | Role::Tls => Ports::WithBus,
        }
    }

    fn set_up(&self, home: &Home) -> Result<()> {
        let data = home.data();
        fs::create_dir(&data).with_context(|| format!("make {}", data.display()))?;
        match self.role {
            Role::Tls => {
                let authority = Authority::new()?;
                let (made, kept) = (authority.certificate(), home.path().join(AUTHORITY));
                fs::copy(made, &kept).with_context(|| format!("write {}", kept.display()))?;
                authority.identity()?.write(home)
            }
            _ => Ok(()),
        }
    }

    fn launch(&self, home: &Home, port: u16) -> Result<Launch> {
        let fsync = match self.fsync {
            Fsync::Always => "always",
            Fsync::EverySecond => "everysec",
        };
        // No wait for more replicas that could copy at once.
        let server = Launch::new(REDIS_SERVER.path()?, home)?
            .words(&["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .word(home.data())
            .words(&["--appendonly", "yes", "--appendfsync", fsync, "--save", ""])
            .words(&["--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"]);
        Ok(match self.role {
            Role::Alone => server,
            Role::ReplicaOf(port) => server.words(&["--replicaof", "127.0.0.1", &port.to_string()]),
            Role::Node => server.words(NODE),
            Role::Tls => {
                let (certificate, key) = tls::files(home);
                let server = server.words(&["--tls-port", &(port + BUS).to_string()]);
                let server = server.words(&["--tls-auth-clients", "no", "--tls-ca-cert-file"]);
                let server = server.word(home.path().join(AUTHORITY)).words(&["--tls-cert-file"]);
                server.word(certificate).words(&["--tls-key-file"]).word(key)
            }
        })
    }

    fn data_of(port: u16, patience: Duration) -> Result<PathBuf> {
        let mut connection = Connection::open(port, patience)?;
        // Refused while the data is loaded; the next command is not.
        connection.command(&["PING"])?;
        match connection.command(&["CONFIG", "GET", "dir"])? {
            Reply::List(pair) if pair.len() == 2 => {
                Ok(pair.last().map(Reply::to_string).unwrap_or_default().into())
            }
            other => bail!("Redis names its folder as `{other}`"),
        }
    }
}

/// Waits until something holds. A server that can't answer yet is asked again.
pub(crate) fn wait_until(not_so: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let held = holds();
        if matches!(held, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= until {
            let why = held.err().map(|error| format!(" ({error:#})")).unwrap_or_default();
            bail!("{not_so} in {} s{why}", PATIENCE.as_secs());
        }
        thread::park_timeout(LOOK_AGAIN);
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) fn url(server: &Server<Flavour>) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

pub(crate) fn command(server: &Server<Flavour>, words: &[&str]) -> Result<String> {
    let mut connection = Connection::open(server.port(), PATIENCE)?;
    connection.command(words).map(|reply| reply.to_string())
}
