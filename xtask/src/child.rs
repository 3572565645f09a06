//! Runs a command so that nothing of it outlives its step.
//!
//! Each command gets a process group of its own, which is ended on Ctrl-C. On Linux this process
//! adopts whatever its descendants leave behind, so that a forgotten server is found, ended and
//! reported, even one that made a group of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::tally::Tally;

/// How long a process may take to end after its parent has, or after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Starts commands and ends them. One command runs at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    group: Arc<Mutex<Option<Pid>>>,
    interrupted: Arc<AtomicBool>,
    environment: Vec<(OsString, OsString)>,
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
            let left = orphans::end_all(self.grace);
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

/// Processes that outlived the command that started them.
#[cfg(target_os = "linux")]
mod orphans {
    use super::{Duration, Instant, LOOK_AGAIN, thread};
    use rustix::process::{
        Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait,
    };

    /// Shared build servers that outlive a build on purpose.
    const KEPT: &[&str] = &["sccache"];

    struct Process {
        pid: i32,
        parent: i32,
        name: String,
        ended: bool,
    }

    pub(super) fn adopt() -> rustix::io::Result<()> {
        set_child_subreaper(Some(getpid()))
    }

    /// Waits until no descendant is left, ends those that stay, and names them.
    pub(super) fn end_all(grace: Duration) -> Vec<String> {
        let until = Instant::now() + grace;
        loop {
            while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            let left = descendants();
            if left.is_empty() {
                return Vec::new();
            }
            if Instant::now() >= until {
                return left.iter().map(end).collect();
            }
            thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn end(process: &Process) -> String {
        if let Some(pid) = Pid::from_raw(process.pid) {
            // It may have ended since it was listed.
            let _ = kill_process(pid, Signal::KILL);
        }
        format!("{} ({})", process.name, process.pid)
    }

    fn descendants() -> Vec<Process> {
        let mut rest = processes();
        let mut found: Vec<Process> = Vec::new();
        let mut parents = vec![getpid().as_raw_nonzero().get()];
        while let Some(parent) = parents.pop() {
            let (children, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|process| process.parent == parent);
            rest = others;
            parents.extend(children.iter().map(|child| child.pid));
            found.extend(children);
        }
        found.retain(|process| !process.ended && !KEPT.contains(&process.name.as_str()));
        found
    }

    fn processes() -> Vec<Process> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
            .filter_map(|stat| parse(&stat))
            .collect()
    }

    /// Reads `pid (name) state parent …`; the name may hold spaces and parentheses.
    fn parse(stat: &str) -> Option<Process> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        Some(Process {
            pid: pid.parse().ok()?,
            parent: fields.next()?.parse().ok()?,
            name: name.to_owned(),
            ended: matches!(state, "Z" | "X"),
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn stat_line_is_read_whatever_the_name() {
            let process = parse("42 (a) b (c) S 7 42 42 0 -1").unwrap();
            assert_eq!((process.pid, process.parent, process.ended), (42, 7, false));
            assert_eq!(process.name, "a) b (c");
            assert!(parse("43 (x) Z 7 42").unwrap().ended);
            assert!(parse("nonsense").is_none());
        }

        #[test]
        fn own_parent_is_listed() {
            let own = getpid().as_raw_nonzero().get();
            assert!(processes().iter().any(|process| process.pid == own && !process.ended));
        }
    }
}

/// Elsewhere the process group is all that is ended.
#[cfg(not(target_os = "linux"))]
mod orphans {
    pub(super) fn adopt() -> rustix::io::Result<()> {
        Ok(())
    }

    pub(super) fn end_all(_grace: super::Duration) -> Vec<String> {
        Vec::new()
    }
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

    #[test]
    fn interrupted_run_starts_nothing_more() {
        let children = Children::default();
        children.interrupted.store(true, Ordering::SeqCst);
        assert!(children.run(&mut shell("true")).is_err());
    }
}
