//! Runs a command so that nothing of it outlives its step.
//!
//! Each command gets a process group of its own, which is ended on Ctrl-C. On Linux whatever its
//! descendants leave behind is found, ended and reported: see `orphans`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::orphans;
use crate::tally::Tally;

/// How long a process may take to end after its parent has, or after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Starts commands and ends them. One command runs at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    group: Arc<Mutex<Option<Pid>>>,
    interrupted: Arc<AtomicBool>,
    environment: Vec<(OsString, OsString)>,
    /// Children that no command left: this process started them for longer.
    held: Vec<u32>,
    /// How long a process may take to end by itself after its parent has.
    grace: Duration,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) tally: Tally,
    /// Processes that were still there afterwards, as `name (pid)`. They have been ended.
    pub(crate) left: Vec<String>,
}

impl Children {
    /// Takes over Ctrl-C and its like for this process.
    ///
    /// # Errors
    ///
    /// When the system refuses the signal handlers.
    pub(crate) fn new() -> Result<Self> {
        let children = Self { grace: GRACE, ..Self::default() };
        orphans::adopt().context("become the parent of orphaned processes")?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("handle signals")?;
        let (group, interrupted) = (children.group.clone(), children.interrupted.clone());
        thread::spawn(move || {
            for _ in signals.forever() {
                // The second Ctrl-C doesn't wait any more.
                let again = interrupted.swap(true, Ordering::SeqCst);
                signal_group(&group, if again { Signal::KILL } else { Signal::TERM });
                let group = group.clone();
                thread::spawn(move || {
                    thread::park_timeout(GRACE);
                    signal_group(&group, Signal::KILL);
                });
            }
        });
        Ok(children)
    }

    /// Sets a variable for every command started from now on.
    pub(crate) fn set_environment(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    /// Leaves these children of this process, and all below them, to whoever started them.
    pub(crate) fn hold(&mut self, processes: impl IntoIterator<Item = u32>) {
        self.held.extend(processes);
    }

    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Runs `command` to its end. Its output streams through, and its test results are counted.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or this process was interrupted. A command that fails is no
    /// error here: see [`Ended::status`].
    pub(crate) fn run(&self, command: &mut Command) -> Result<Ended> {
        self.run_into(command, std::io::stdout())
    }

    fn run_into(&self, command: &mut Command, mut sink: impl Write + Send) -> Result<Ended> {
        self.run_reading(command, |output| {
            let mut tally = Tally::default();
            for line in lossy_lines(output) {
                // A closed terminal must not keep the command from being waited for and ended.
                let _ = sink.write_all(line.as_bytes()).and_then(|()| sink.flush());
                tally.read_line(&line);
            }
            tally
        })
        .map(|(status, tally, left)| Ended { status, tally, left })
    }

    /// Runs `command` and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it cannot be started, fails, or prints something other than text.
    pub(crate) fn output(&self, command: &mut Command) -> Result<String> {
        let label = shown(command);
        let (status, output, _) = self.run_reading(command, |mut output| {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).map(|_| bytes)
        })?;
        if !status.success() {
            bail!("`{label}` failed ({status})");
        }
        let output = output.with_context(|| format!("read the output of `{label}`"))?;
        String::from_utf8(output).with_context(|| format!("`{label}` printed no text"))
    }

    fn run_reading<T: Send>(
        &self,
        command: &mut Command,
        read: impl FnOnce(std::process::ChildStdout) -> T + Send,
    ) -> Result<(ExitStatus, T, Vec<String>)> {
        if self.interrupted() {
            bail!("interrupted");
        }
        let label = shown(command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut child = {
            // Held over the start, so that a signal finds either no child or its group.
            let mut group = lock(&self.group);
            let child = command.spawn().with_context(|| format!("start `{label}`"))?;
            *group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            child
        };
        let output = child.stdout.take().context("the command's output was not piped")?;
        let (status, read, left) = thread::scope(|scope| {
            let reader = scope.spawn(move || read(output));
            let status = child.wait();
            // Before the reader is joined: a process left behind can hold the pipe open.
            let left = orphans::end_all(self.grace, &self.held);
            signal_group(&self.group, Signal::KILL);
            *lock(&self.group) = None;
            (status, reader.join(), left)
        });
        if self.interrupted() {
            bail!("interrupted");
        }
        let status = status.with_context(|| format!("wait for `{label}`"))?;
        let Ok(read) = read else { bail!("the reader of `{label}` broke off") };
        Ok((status, read, left))
    }
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        let value = value.unwrap_or_default().to_string_lossy();
        if value.contains(' ') {
            words.push(format!("{}='{value}'", name.to_string_lossy()));
        } else {
            words.push(format!("{}={value}", name.to_string_lossy()));
        }
    }
    // Where the program lies is of no use to a reader.
    let program = Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned());
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn lock(group: &Mutex<Option<Pid>>) -> std::sync::MutexGuard<'_, Option<Pid>> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signal_group(group: &Mutex<Option<Pid>>, signal: Signal) {
    if let Some(group) = *lock(group) {
        // The only failure is that the group has ended already.
        let _ = kill_process_group(group, signal);
    }
}

fn lossy_lines(output: impl Read) -> impl Iterator<Item = String> {
    let mut output = BufReader::new(output);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match output.read_until(b'\n', &mut line) {
            Ok(1..) => Some(String::from_utf8_lossy(&line).into_owned()),
            _ => None,
        }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Tests that start commands run one after another: a run ends every process that its
    /// commands left, and can't tell them from those of a test beside it.
    pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn results_are_counted_and_status_kept() {
        let _alone = alone();
        let line = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured";
        let script = format!("echo '{line}'; exit 7");
        let mut shown = Vec::new();
        let ended = Children::default().run_into(&mut shell(&script), &mut shown).unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), format!("{line}\n"));
        assert_eq!((ended.tally.passed, ended.tally.failed), (3, 1));
        assert_eq!(ended.status.code(), Some(7));
        assert!(ended.left.is_empty());
    }

    #[test]
    fn command_that_is_not_there_is_an_error() {
        let _alone = alone();
        let error = Children::default().run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"));
    }

    #[test]
    fn failing_command_has_no_output() {
        let _alone = alone();
        let children = Children::default();
        assert_eq!(children.output(&mut shell("echo hello")).unwrap(), "hello\n");
        assert!(children.output(&mut shell("echo hello; exit 1")).is_err());
    }

    #[test]
    fn variables_reach_the_command() {
        let _alone = alone();
        let mut children = Children::default();
        children.set_environment("XTASK_PROOF", "seen");
        assert_eq!(children.output(&mut shell("echo $XTASK_PROOF")).unwrap(), "seen\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn process_left_behind_is_named_and_ended() {
        let _alone = alone();
        orphans::adopt().unwrap();
        // Its own group and the pipe still open: neither the group's end nor the end of the
        // output would find it.
        let script = "setsid sleep 1000 & echo $!";
        let mut shown = Vec::new();
        let ended = Children::default().run_into(&mut shell(script), &mut shown).unwrap();
        let pid = String::from_utf8(shown).unwrap();
        let [left] = ended.left.as_slice() else { panic!("{:?}", ended.left) };
        assert!(left.ends_with(&format!("({})", pid.trim())), "{left}");
        assert!(ended.status.success());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn process_that_is_held_is_left_alone() {
        let _alone = alone();
        orphans::adopt().unwrap();
        // With a process below it, as a server has.
        let mut held = shell("sleep 1000 & wait").spawn().unwrap();
        let mut children = Children::default();
        children.hold([held.id()]);
        assert!(children.run(&mut shell("true")).unwrap().left.is_empty());
        assert!(held.try_wait().unwrap().is_none());
        held.kill().unwrap();
        // What it leaves is nobody's; how it ended is still its starter's to ask.
        let left = children.run(&mut shell("true")).unwrap().left;
        assert!(left.iter().all(|process| process.starts_with("sleep")), "{left:?}");
        assert!(!held.wait().unwrap().success());
    }

    #[test]
    fn interrupted_run_starts_nothing_more() {
        let children = Children::default();
        children.interrupted.store(true, Ordering::SeqCst);
        assert!(children.run(&mut shell("true")).is_err());
    }
}
