//! `cargo xtask services`: shared servers that run on until they are stopped, for tests that are
//! run by hand.
//!
//! What was started is written into a file beside the servers' folders, so that another call
//! finds it. Calls wait for each other.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use test_servers::Kept;

use crate::child::Children;
use crate::cli::Action;
use crate::needs;
use crate::services::{SERVICES, Service, address, answers, at_once, given};
use crate::summary::{answers_apart, say};

/// Runs one action on the servers of the workspace at `root`; `false` if a server failed.
///
/// # Errors
///
/// When it couldn't even begin.
pub(crate) fn run(action: Action, children: &mut Children, root: &Path) -> Result<bool> {
    let place = Place::new(root, SERVICES, given)?;
    let mut out = answers_apart().context("part the answer from the rest of the output")?;
    let answer = match action {
        Action::Up => place.up(children)?,
        Action::Down => place.down()?,
        Action::Status => place.status()?,
    };
    for line in answer {
        writeln!(out, "{line}").context("print the answer")?;
    }
    Ok(true)
}

/// Where servers are kept, and which.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    services: &'static [Service],
    /// What the user has set a variable to.
    given: fn(&str) -> Option<String>,
    /// Held as long as this value is there.
    _lock: File,
}

/// A server that was started: a line of the file.
#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    variable: String,
    url: String,
    processes: Vec<Process>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Process {
    process: u32,
    began: String,
    folder: PathBuf,
}

impl Place {
    fn new(
        root: &Path,
        services: &'static [Service],
        given: fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let target = root.join("target");
        fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
        let lock = target.join("services.lock");
        let lock = File::create(&lock).with_context(|| format!("open {}", lock.display()))?;
        lock.lock().context("wait for another call of this command")?;
        Ok(Self { folder: target.join("services"), services, given, _lock: lock })
    }

    /// Starts what doesn't run yet. The lines set the variables in a shell.
    fn up(&self, children: &mut Children) -> Result<Vec<String>> {
        let known = self.entries()?;
        let (mut missing, mut overruled) = (Vec::new(), Vec::new());
        for service in self.services {
            let own = known.iter().find(|entry| entry.variable == service.variable);
            let name = service.name;
            match (self.users(service, own), own.filter(|own| own.runs())) {
                (Some(url), _) => {
                    answers(service, &url)?;
                    say(&format!("{} is set: no {name} is started", service.variable));
                    overruled.push(service.variable);
                }
                (None, Some(own)) => say(&format!("{name} runs already: {}", own.url)),
                (None, None) => missing.push(service),
            }
        }
        let (mut entries, ended): (Vec<_>, Vec<_>) = known.into_iter().partition(Entry::runs);
        ended.iter().try_for_each(Entry::end)?;
        let programs: Vec<_> = missing.iter().flat_map(|service| service.programs).collect();
        needs::provide(children, |variable| programs.contains(&&variable))?;
        let mut failed = None;
        for (service, started) in at_once(&missing, |service| self.start(service)) {
            match started {
                Ok(entry) => {
                    say(&format!("{} has been started: {}", service.name, entry.url));
                    entries.push(entry);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // Before the error is told: those that did start are found again.
        self.write(&entries)?;
        if let Some(error) = failed {
            return Err(error);
        }
        if children.interrupted() {
            bail!("interrupted; `cargo xtask services down` stops what has been started");
        }
        entries.retain(|entry| !overruled.contains(&entry.variable.as_str()));
        let export = |entry: &Entry| format!("export {}={}", entry.variable, entry.url);
        Ok(entries.iter().map(export).collect())
    }

    /// The URL of a server that the user has set, and not that of `own`, as an earlier call may
    /// have given it to the same shell.
    fn users(&self, service: &Service, own: Option<&Entry>) -> Option<String> {
        (self.given)(service.variable).filter(|url| own.is_none_or(|own| own.url != *url))
    }

    fn start(&self, service: &Service) -> Result<Entry> {
        let folder = self.folder.join(service.folder);
        // What a call that was killed may have left.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        let server = (service.start_kept)(&folder)?;
        let url = server.url();
        let processes = server.keep()?.into_iter().map(Process::from).collect();
        Ok(Entry { variable: service.variable.to_owned(), url, processes })
    }

    /// Stops all and removes their data. The lines unset the variables in a shell.
    fn down(&self) -> Result<Vec<String>> {
        let entries = self.entries()?;
        let mut failed = None;
        for entry in &entries {
            if let Err(error) = entry.end() {
                failed = failed.or(Some(error));
                continue;
            }
            say(&format!("{} has been stopped, and its data removed", self.name(&entry.variable)));
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if entries.is_empty() {
            say("no server runs");
        }
        if self.folder.exists() {
            let folder = self.folder.display();
            fs::remove_dir_all(&self.folder).with_context(|| format!("remove {folder}"))?;
        }
        Ok(entries.iter().map(|entry| format!("unset {}", entry.variable)).collect())
    }

    /// A line for each server: where it runs, or that it doesn't.
    fn status(&self) -> Result<Vec<String>> {
        let entries = self.entries()?;
        let width = self.services.iter().map(|service| service.name.len()).max().unwrap_or(0);
        let line = |service: &Service| {
            let own = entries.iter().find(|entry| entry.variable == service.variable);
            let state = match (self.users(service, own), own) {
                (Some(url), _) => {
                    let place = address(&url).unwrap_or_else(|| "a URL without an address".into());
                    format!("not started: {} is set to {place}", service.variable)
                }
                (None, Some(own)) if own.runs() => own.shown(),
                (None, Some(own)) => format!("has ended: {}", own.shown()),
                (None, None) => "not started".to_owned(),
            };
            format!("{:width$}  {state}", service.name)
        };
        Ok(self.services.iter().map(line).collect())
    }

    fn name<'a>(&self, variable: &'a str) -> &'a str {
        let service = self.services.iter().find(|service| service.variable == variable);
        service.map_or(variable, |service| service.name)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("services.json")
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let file = self.file();
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.with_context(|| format!("read {}", file.display()))?,
        };
        serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))
    }

    fn write(&self, entries: &[Entry]) -> Result<()> {
        let file = self.file();
        fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(&file, serde_json::to_string_pretty(entries)?))
            .with_context(|| format!("write {}", file.display()))
    }
}

impl Entry {
    fn kept(&self) -> impl Iterator<Item = Kept> {
        self.processes.iter().map(|Process { process, began, folder }| Kept {
            process: *process,
            began: began.clone(),
            folder: folder.clone(),
        })
    }

    /// Whether all of its processes do.
    fn runs(&self) -> bool {
        self.kept().all(|kept| kept.runs())
    }

    fn end(&self) -> Result<()> {
        self.kept().try_for_each(|kept| kept.end())
    }

    fn shown(&self) -> String {
        let numbers: Vec<_> = self.processes.iter().map(|it| it.process.to_string()).collect();
        let folder = match self.processes.as_slice() {
            [one] => Some(one.folder.as_path()),
            [first, ..] => first.folder.parent(),
            [] => None,
        };
        let folder = folder.unwrap_or(Path::new("no folder")).display();
        format!("{}, process {}, in {folder}", self.url, numbers.join(" "))
    }
}

impl From<Kept> for Process {
    fn from(Kept { process, began, folder }: Kept) -> Self {
        Self { process, began, folder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::tests::alone;

    const REDIS: Service = Service {
        name: "Redis",
        folder: "redis",
        variable: "CHAT_TEST_REDIS",
        programs: &[],
        start: || anyhow::bail!("not asked for"),
        start_kept: |folder| Ok(Box::new(test_servers::Redis::start_kept(folder)?)),
    };

    fn place(root: &Path, given: fn(&str) -> Option<String>) -> Place {
        Place::new(root, &[REDIS], given).unwrap()
    }

    #[test]
    fn server_is_started_once_and_stopped() {
        let _alone = alone();
        let root = tempfile::tempdir().unwrap();
        let mut children = Children::default();
        let up = place(root.path(), |_| None).up(&mut children).unwrap();
        let [line] = up.as_slice() else { panic!("{up:?}") };
        assert!(line.starts_with("export CHAT_TEST_REDIS=redis://127.0.0.1:"), "{line}");
        assert_eq!(place(root.path(), |_| None).up(&mut children).unwrap(), up);
        let status = place(root.path(), |_| None).status().unwrap().concat();
        assert!(status.contains("redis://127.0.0.1:") && status.contains("process"), "{status}");

        let entries = place(root.path(), |_| None).entries().unwrap();
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert!(entry.runs());
        let down = place(root.path(), |_| None).down().unwrap();
        assert_eq!(down, ["unset CHAT_TEST_REDIS"]);
        assert!(!entry.runs());
        assert!(!root.path().join("target/services").exists());
        assert!(place(root.path(), |_| None).down().unwrap().is_empty());
        let status = place(root.path(), |_| None).status().unwrap();
        assert_eq!(status, ["Redis  not started"]);
    }

    #[test]
    fn server_that_has_ended_is_started_again() {
        let _alone = alone();
        let root = tempfile::tempdir().unwrap();
        let mut children = Children::default();
        place(root.path(), |_| None).up(&mut children).unwrap();
        let before = place(root.path(), |_| None).entries().unwrap();
        before.iter().try_for_each(Entry::end).unwrap();
        let status = place(root.path(), |_| None).status().unwrap().concat();
        assert!(status.contains("has ended"), "{status}");
        place(root.path(), |_| None).up(&mut children).unwrap();
        let after = place(root.path(), |_| None).entries().unwrap();
        assert!(after.iter().all(Entry::runs));
        place(root.path(), |_| None).down().unwrap();
    }

    #[test]
    fn url_of_an_earlier_call_is_not_the_users() {
        let own = |url: &str| Entry {
            variable: "CHAT_TEST_REDIS".to_owned(),
            url: url.to_owned(),
            processes: Vec::new(),
        };
        let root = tempfile::tempdir().unwrap();
        let place = place(root.path(), |_| Some("redis://127.0.0.1:7".to_owned()));
        let given = "redis://127.0.0.1:7";
        assert_eq!(place.users(&REDIS, Some(&own(given))), None);
        assert_eq!(place.users(&REDIS, Some(&own("redis://127.0.0.1:8"))).unwrap(), given);
        assert_eq!(place.users(&REDIS, None).unwrap(), given);
    }

    #[test]
    fn users_own_server_wins() {
        let root = tempfile::tempdir().unwrap();
        // Nobody can listen on port 0.
        let place = place(root.path(), |_| Some("redis://me:secret@127.0.0.1:0".to_owned()));
        let error = place.up(&mut Children::default()).unwrap_err().to_string();
        assert!(error.contains("CHAT_TEST_REDIS is set, but nobody answers"), "{error}");
        let status = place.status().unwrap();
        assert_eq!(status, ["Redis  not started: CHAT_TEST_REDIS is set to 127.0.0.1:0"]);
    }

    #[test]
    fn server_in_the_users_way_is_not_exported() {
        let _alone = alone();
        let root = tempfile::tempdir().unwrap();
        let mut children = Children::default();
        place(root.path(), |_| None).up(&mut children).unwrap();
        // A URL without an address is taken as it is.
        let up = place(root.path(), |_| Some("redis+unix:".to_owned())).up(&mut children);
        assert_eq!(up.unwrap(), Vec::<String>::new());
        place(root.path(), |_| None).down().unwrap();
    }
}
