//! One server's processes: started so that they end with this process, and killed all together.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::account::Account;
use crate::home::Home;

/// How long a process may take to end after it was killed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A program to start.
#[derive(Debug)]
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
    account: Option<Account>,
    log: File,
    end: &'static str,
}

impl Launch {
    /// `program` in the folder `home`, as its user, writing to its log.
    pub(crate) fn new(program: PathBuf, home: &Home) -> Result<Self> {
        let (folder, account) = (home.path().to_owned(), home.account());
        Ok(Self { program, arguments: Vec::new(), folder, account, log: home.log()?, end: "KILL" })
    }

    /// The signal, by name, that it gets if this process ends before it.
    pub(crate) fn ended_by(mut self, signal: &'static str) -> Self {
        self.end = signal;
        self
    }

    pub(crate) fn word(mut self, word: impl Into<OsString>) -> Self {
        self.arguments.push(word.into());
        self
    }

    pub(crate) fn words(mut self, words: &[&str]) -> Self {
        self.arguments.extend(words.iter().map(OsString::from));
        self
    }

    /// `name` and `value` as one word.
    pub(crate) fn option(self, name: &str, value: impl Into<OsString>) -> Self {
        let mut word = OsString::from(name);
        word.push(value.into());
        self.word(word)
    }

    /// Runs it to its end, which must be a success.
    pub(crate) fn run(self) -> Result<()> {
        let label = self.program.display().to_string();
        let mut process = self.start(Bond::WithParent)?;
        match process.wait(PATIENCE)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{label} failed ({status})"),
            None => {
                process.kill()?;
                bail!("{label} took longer than {} s", PATIENCE.as_secs())
            }
        }
    }

    pub(crate) fn start(self, bond: Bond) -> Result<Process> {
        let label = self.program.display().to_string();
        let mut command = match (bond, keeper()) {
            (Bond::WithParent, Some(keeper)) => {
                let mut command = Command::new(keeper);
                command.args(["--pdeathsig", self.end, "--"]).arg(&self.program);
                command
            }
            _ => Command::new(&self.program),
        };
        command.args(&self.arguments).current_dir(&self.folder).env("LC_ALL", "C");
        // A MariaDB that starts removes the temporary tables of all others in the same folder.
        command.env("TMPDIR", &self.folder);
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group);
        }
        let errors = self.log.try_clone().context("share the log")?;
        command.stdin(Stdio::null()).stdout(self.log).stderr(errors).process_group(0);
        let child = spawn(command).with_context(|| format!("start {label}"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Process { child, pid: pid.context("the system gave no process id")? })
    }
}

/// What becomes of a server when this process ends without ending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bond {
    /// It ends too, where the system can do that.
    WithParent,
    /// It runs on.
    None,
}

/// A process that was started, with those that it started itself.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("look after the server")
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        // Not if it has ended: its number may be another's by now.
        if let Ok(None) = self.ended() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Waits for its end, at most this long.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= until {
                return Ok(ended);
            }
            thread::park_timeout(LOOK_AGAIN);
        }
    }

    /// Kills it with all processes that it started, and waits until they are gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        kill_all(self.pid);
        self.child.wait().context("wait for the killed server")?;
        Ok(())
    }
}

/// Kills a process with all that it started, and waits until the latter are gone.
///
/// The caller must know that the process is the right one, and wait for it if it is its parent.
pub(crate) fn kill_all(pid: Pid) {
    // Stopped, so that it starts no more processes while these are listed. PostgreSQL's are in
    // process groups of their own.
    let _ = kill_process(pid, Signal::STOP);
    let children = family::below(pid);
    let _ = kill_process(pid, Signal::KILL);
    let _ = kill_process_group(pid, Signal::KILL);
    for child in &children {
        let _ = kill_process(*child, Signal::KILL);
    }
    let until = Instant::now() + PATIENCE;
    while children.iter().any(|child| family::runs(*child)) && Instant::now() < until {
        thread::park_timeout(LOOK_AGAIN);
    }
}

/// Starts a process from a thread that lives as long as this process does: the system ends a
/// bound child with the thread that started it, and the thread of a test ends with the test.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, SyncSender<io::Result<Child>>);
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, taken) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in taken {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, answered) = sync_channel(1);
    let gone = || io::Error::other("the thread that starts servers has ended");
    starter.send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

/// The program that asks the system to end a process with its parent, if it is here and works.
fn keeper() -> Option<&'static PathBuf> {
    static KEEPER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let path = crate::programs::find(&["setpriv"])?;
        let mut probe = Command::new(&path);
        probe.args(["--pdeathsig", "KILL", "--", "true"]);
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().ok()?.success().then_some(path)
    });
    keeper.as_ref()
}

/// Processes by their parents.
#[cfg(target_os = "linux")]
pub(crate) mod family {
    use std::fs;

    use rustix::process::Pid;

    /// All that `pid` started, and that these started.
    pub(crate) fn below(pid: Pid) -> Vec<Pid> {
        let all: Vec<_> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| stat(entry.file_name().to_str()?))
            .collect();
        let mut found = Vec::new();
        let mut parents = vec![pid];
        while let Some(parent) = parents.pop() {
            let children = all.iter().filter(|process| process.parent == parent.as_raw_pid());
            for child in children.filter_map(|process| Pid::from_raw(process.pid)) {
                parents.push(child);
                found.push(child);
            }
        }
        found
    }

    /// Whether it has not ended yet. One whose parent hasn't asked how it ended has ended.
    pub(crate) fn runs(pid: Pid) -> bool {
        stat(&pid.as_raw_pid().to_string()).is_some_and(|process| !process.ended)
    }

    /// When it began, in the system's own words: tells it from a later one of the same number.
    pub(crate) fn began(pid: Pid) -> Option<String> {
        stat(&pid.as_raw_pid().to_string()).filter(|process| !process.ended).map(|it| it.began)
    }

    struct Process {
        pid: i32,
        parent: i32,
        ended: bool,
        began: String,
    }

    /// Reads `pid (name) state parent …`; the name may hold spaces and parentheses.
    fn stat(pid: &str) -> Option<Process> {
        let pid = pid.parse().ok()?;
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let ended = matches!(*fields.first()?, "Z" | "X");
        let parent = fields.get(1)?.parse().ok()?;
        Some(Process { pid, parent, ended, began: (*fields.get(19)?).to_owned() })
    }
}

/// Elsewhere a killed server's own processes are left to end by themselves: a restart waits for
/// them.
#[cfg(not(target_os = "linux"))]
pub(crate) mod family {
    use rustix::process::{Pid, test_kill_process};
    use std::process::Command;

    pub(crate) fn below(_pid: Pid) -> Vec<Pid> {
        Vec::new()
    }

    pub(crate) fn runs(pid: Pid) -> bool {
        test_kill_process(pid).is_ok()
    }

    pub(crate) fn began(pid: Pid) -> Option<String> {
        let pid = pid.as_raw_pid().to_string();
        let output = Command::new("ps").args(["-o", "lstart=", "-p", &pid]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}
