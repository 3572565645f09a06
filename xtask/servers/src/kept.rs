//! A server that outlives the process that started it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::home::remove;
use crate::process::{PATIENCE, family, kill_all};

const GRACE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// What it takes to find a server again, from another process too: plain data to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The number of its first process.
    pub process: u32,
    /// When that began, in the system's words: a later process may get the same number.
    pub began: String,
    /// The folder that holds its data and its log.
    pub folder: PathBuf,
}

impl Kept {
    pub(crate) fn of(process: u32, folder: &Path) -> Result<Self> {
        let pid = pid(process).context("the system gave no process id")?;
        let began = family::began(pid).context("the server has ended")?;
        Ok(Self { process, began, folder: folder.to_owned() })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        pid(self.process).and_then(family::began).is_some_and(|began| began == self.began)
    }

    /// Ends it and removes its folder. One that has ended already is fine.
    ///
    /// # Errors
    ///
    /// When it doesn't end, or its folder can't be removed.
    pub fn end(&self) -> Result<()> {
        if let Some(pid) = pid(self.process).filter(|_| self.runs()) {
            if crate::postgres::is_data(&self.data()) {
                // Gives back what it holds of the system's memory.
                let _ = kill_process(pid, Signal::QUIT);
                self.wait(GRACE);
            }
            if self.runs() {
                kill_all(pid);
                self.wait(PATIENCE);
            }
            if self.runs() {
                bail!("process {} doesn't end", self.process);
            }
        }
        crate::postgres::tidy(&self.data());
        remove(&self.folder)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn wait(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while self.runs() && Instant::now() < until {
            thread::park_timeout(LOOK_AGAIN);
        }
    }
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}
