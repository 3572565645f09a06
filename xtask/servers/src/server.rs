//! The life of one server: set up, started, killed, restarted, removed.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;

use crate::account::Account;
use crate::home::Home;
use crate::kept::Kept;
use crate::port::{Ports, free};
use crate::process::{Bond, Launch, PATIENCE, Process};

/// How long one question of the readiness check may take.
const PROBE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How long a server that is dropped may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// What a server prints when another process holds its port.
const PORT_TAKEN: &[&str] = &["ddress already in use"];
/// What a server prints when processes of its killed forerunner are still ending.
const FORERUNNER: &[&str] = &["is still in use", "Unable to lock", "lock file", "Can't lock"];

/// What is different from one kind of server to another.
pub(crate) trait Kind: Debug {
    /// What an error calls it.
    const NAME: &'static str;
    /// The users that it may run as instead of root; none if root is fine.
    const ACCOUNTS: &'static [&'static str];
    /// Asks it to end in an orderly way.
    const STOP: Signal;
    /// Asks it to end at once, if it would leave anything in the system's memory when killed.
    const END: Option<Signal> = None;

    /// The ports that it listens on.
    fn ports(&self) -> Ports {
        Ports::One
    }

    /// Fills the new folder `home`.
    fn set_up(&self, home: &Home) -> Result<()>;

    /// The command that runs it on `port` in the foreground.
    fn launch(&self, home: &Home, port: u16) -> Result<Launch>;

    /// Asks the server that listens on `port` for its data folder. An error if it isn't ready.
    fn data_of(port: u16, patience: Duration) -> Result<PathBuf>;

    /// Removes what a server that was killed left outside of its data folder.
    fn tidy(_data: &Path) {}
}

/// A server that was started.
#[derive(Debug)]
pub(crate) struct Server<K: Kind> {
    kind: K,
    home: Home,
    port: u16,
    process: Option<Process>,
    bond: Bond,
}

enum Outcome {
    Ready,
    /// Another process holds the port.
    PortTaken,
    /// Processes of the killed server that was here before still hold its data.
    Forerunner,
}

impl<K: Kind> Server<K> {
    /// A server that ends with this value.
    pub(crate) fn start(kind: K) -> Result<Self> {
        let home = Home::temporary(Account::instead_of_root(K::ACCOUNTS)?)?;
        Self::start_in(kind, home, Bond::WithParent)
    }

    /// A server that runs on, with its data in `folder` if possible.
    pub(crate) fn start_kept(kind: K, folder: &Path) -> Result<Self> {
        let home = Home::at(folder, Account::instead_of_root(K::ACCOUNTS)?)?;
        Self::start_in(kind, home, Bond::None)
    }

    fn start_in(kind: K, home: Home, bond: Bond) -> Result<Self> {
        let mut server = Self { kind, home, port: 0, process: None, bond };
        let set_up = server.kind.set_up(&server.home);
        set_up
            .map_err(|error| server.with_log(&error, 0))
            .with_context(|| Self::doing("set up"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            server.port = free(server.kind.ports())?;
            let outcome = server.launch(until).with_context(|| Self::doing("start"))?;
            if let Outcome::Ready = outcome {
                return Ok(server);
            }
            if Instant::now() >= until {
                return Err(anyhow!("no port stayed free").context(Self::doing("start")));
            }
        }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn kind(&self) -> &K {
        &self.kind
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The process that was started; those that it started itself are below it.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.ended()? {
            None => Ok(()),
            Some(status) => {
                let ended = anyhow!("it ended by itself ({status})");
                Err(self.with_log(&ended, 0)).with_context(|| Self::doing("keep up"))
            }
        }
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Sends a signal, if it runs.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let log = self.home.log_length();
        process.signal(K::STOP);
        if process.wait(PATIENCE)?.is_none() {
            process.kill()?;
            let slow = anyhow!("it took longer than {} s and was killed", PATIENCE.as_secs());
            return Err(self.with_log(&slow, log)).with_context(|| Self::doing("stop"));
        }
        Ok(())
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let until = Instant::now() + PATIENCE;
        loop {
            let log = self.home.log_length();
            if let Outcome::Ready = self.launch(until).with_context(|| Self::doing("restart"))? {
                return Ok(());
            }
            if Instant::now() >= until {
                let held = anyhow!("its port or its data is still held by another process");
                return Err(self.with_log(&held, log)).with_context(|| Self::doing("restart"));
            }
            thread::park_timeout(LOOK_AGAIN);
        }
    }

    /// Gives the server up: it runs on, and its folder stays.
    pub(crate) fn keep(mut self) -> Result<Kept> {
        let process = self.id().context("the server doesn't run")?;
        let kept = Kept::of(process, self.home.path())?;
        // Not before: a server that can't be found again must end with this value.
        self.process = None;
        self.home.keep();
        Ok(kept)
    }

    fn launch(&mut self, until: Instant) -> Result<Outcome> {
        let log = self.home.log_length();
        let process = self.kind.launch(&self.home, self.port)?.start(self.bond)?;
        let process = self.process.insert(process);
        loop {
            if let Some(status) = process.ended()? {
                self.process = None;
                let said = self.home.log_since(log);
                let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
                if says(PORT_TAKEN) {
                    return Ok(Outcome::PortTaken);
                }
                if says(FORERUNNER) {
                    return Ok(Outcome::Forerunner);
                }
                bail!("it ended at once ({status}); its log says:\n{said}");
            }
            // By its data folder: a server of another test may have been faster at the port.
            let why = match K::data_of(self.port, PROBE) {
                Ok(folder) if same_folder(&folder, &self.home.data()) => return Ok(Outcome::Ready),
                Ok(_) => anyhow!("another server answers on its port"),
                Err(error) => error,
            };
            if Instant::now() >= until {
                self.kill()?;
                return Err(self.with_log(&why.context("it doesn't get ready"), log));
            }
            thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn with_log(&self, error: &anyhow::Error, from: u64) -> anyhow::Error {
        anyhow!("{error:#}; its log says:\n{}", self.home.log_since(from))
    }

    fn doing(what: &str) -> String {
        format!("{what} a private {}", K::NAME)
    }
}

impl<K: Kind> Drop for Server<K> {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            if let Some(signal) = K::END {
                process.signal(signal);
                let _ = process.wait(GRACE);
            }
            let _ = process.kill();
        }
        if self.home.is_removed() {
            K::tidy(&self.home.data());
        }
    }
}

/// What can be done with a server of any kind, once it has started.
macro_rules! lifecycle {
    ($server:ident) => {
        impl $server {
            /// Lets go of a server that was started to be kept.
            ///
            /// # Errors
            ///
            /// When it has been killed.
            pub fn keep(self) -> anyhow::Result<$crate::Kept> {
                self.server.keep()
            }

            /// The process that was started, until it is killed or stopped.
            #[must_use]
            pub fn process(&self) -> Option<u32> {
                self.server.id()
            }

            /// Whether it still runs.
            ///
            /// # Errors
            ///
            /// When it has ended by itself; with the end of its log.
            pub fn check(&mut self) -> anyhow::Result<()> {
                self.server.check()
            }

            /// Kills all of its processes and waits for their end. A server that doesn't run is
            /// fine.
            ///
            /// # Errors
            ///
            /// When the system doesn't tell how it ended.
            pub fn kill(&mut self) -> anyhow::Result<()> {
                self.server.kill()
            }

            /// Starts it again on the same port and data; returns when it has recovered and
            /// answers. One that runs is stopped before.
            ///
            /// # Errors
            ///
            /// When it doesn't start; with the end of its log.
            pub fn restart(&mut self) -> anyhow::Result<()> {
                self.server.restart()
            }

            /// Stops it in an orderly way, without waiting for clients to leave.
            ///
            /// # Errors
            ///
            /// When it had to be killed after two minutes.
            pub fn stop(&mut self) -> anyhow::Result<()> {
                self.server.stop()
            }
        }
    };
}

pub(crate) use lifecycle;

fn same_folder(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
