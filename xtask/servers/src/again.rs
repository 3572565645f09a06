//! The running test program once more, as another process that plays another part of a test.

use std::io;
use std::process::{Command, Stdio};

const PART: &str = "TEST_SERVERS_PART";

/// A command that runs one test of this program alone, named with its modules, which then finds
/// its [`part`].
///
/// # Errors
/// When this program's file is not known.
pub fn again(test: &str, part: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", test, "--nocapture"])
        .env(PART, part)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(command)
}

/// The part that this process was started to play, if it was started by [`again`].
#[must_use]
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}
