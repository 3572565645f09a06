//! A test program that starts itself again, to play another part in a process of its own: one that
//! is killed, or that shares a database with others as strangers do.
//!
//! ```no_run
//! use test_servers::program::{Player, Role};
//!
//! # fn main() -> anyhow::Result<()> {
//! // At the beginning of a test:
//! if let Some(Role { place, number }) = Role::given() {
//!     println!("opened {place} {number}"); // the part of the other process
//!     return Ok(());
//! }
//! let mut player = Player::play("module::name_of_the_test", "chat.db", 7)?;
//! assert_eq!(player.said("opened ").next().as_deref(), Some("chat.db 7"));
//! player.kill()?;
//! # Ok(())
//! # }
//! ```

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

const PLACE: &str = "CHAT_TEST_ROLE_PLACE";
const NUMBER: &str = "CHAT_TEST_ROLE_NUMBER";

/// What a started process was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Where to play: a file, a namespace, whatever the test takes it for.
    pub place: String,
    /// Which one it is of several.
    pub number: u64,
}

impl Role {
    /// The role of this process, if it was started to play one.
    #[must_use]
    pub fn given() -> Option<Self> {
        let place = std::env::var(PLACE).ok()?;
        let number = std::env::var(NUMBER).ok()?.parse().ok()?;
        Some(Self { place, number })
    }
}

/// This program.
///
/// # Errors
/// If the system does not tell where it is.
pub fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("find this program")
}

/// How to start `program`, which is this one or a copy of it, so that it runs only the given test
/// and finds its role there. For a process that is to differ in something; else [`Player::play`].
pub fn command(program: &Path, test: &str, place: impl AsRef<OsStr>, number: u64) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", test, "--nocapture"])
        .env(PLACE, place)
        .env(NUMBER, number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// A process that plays a role; killed when dropped.
#[derive(Debug)]
pub struct Player(Child);

impl Player {
    /// Starts this program in a role of the given test.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn play(test: &str, place: impl AsRef<OsStr>, number: u64) -> Result<Self> {
        Self::start(command(&this_program()?, test, place, number))
    }

    /// Starts what [`command`] made.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self(child))
    }

    /// What it says from now on: the lines with the word in them, from behind the word on. They
    /// end when the process does. Blocks until the process says something.
    pub fn said(&mut self, word: &'static str) -> impl Iterator<Item = String> + use<> {
        let lines = self.0.stdout.take().map(|output| BufReader::new(output).lines());
        lines.into_iter().flatten().filter_map(move |line| {
            // The test program's own lines may stand before a word without a line's end between.
            let line = line.ok()?;
            let start = line.find(word)?;
            Some(line.get(start + word.len()..)?.trim().to_owned())
        })
    }

    /// Kills the process, as `kill -9` does, and waits for its end. What it said before can be
    /// read still.
    ///
    /// # Errors
    /// If the system does not permit it.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill().context("kill a process")?;
        self.0.wait().map(drop).context("wait for a killed process")
    }

    /// Listens to so many lines with the word in them, then kills the process in the middle of its
    /// work; all the lines that it came to say.
    ///
    /// # Errors
    /// If it ended before.
    pub fn kill_after(mut self, word: &'static str, lines: usize) -> Result<Vec<String>> {
        let mut said = self.said(word);
        let mut heard: Vec<String> = said.by_ref().take(lines).collect();
        if heard.len() < lines {
            bail!("the process ended before it was killed");
        }
        self.kill()?;
        heard.extend(said);
        Ok(heard)
    }

    /// Waits for the end of the process, which must be a success.
    ///
    /// # Errors
    /// If it failed, with what it said.
    pub fn finish(mut self) -> Result<()> {
        let mut said = Vec::new();
        if let Some(mut output) = self.0.stdout.take() {
            std::io::copy(&mut output, &mut said).context("listen to a process")?;
        }
        let status = self.0.wait().context("wait for a process")?;
        if !status.success() {
            bail!("the process failed ({status}): {}", String::from_utf8_lossy(&said));
        }
        Ok(())
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
