//! Runs named steps in order, times them, and stops at the first that fails.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::child::{Children, shown};
use crate::held::{END, Held};
use crate::metadata::Metadata;
use crate::summary::say;
use crate::tally::Tally;

/// One named part of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) act: fn(&mut Steps) -> Result<String>,
}

/// How one step went.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) verdict: Verdict,
    pub(crate) tally: Tally,
    /// The commands that it ran.
    pub(crate) ran: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    /// With a detail worth reading in the summary, or none.
    Passed(String),
    Failed(String),
}

/// What the steps share: the starter of commands, the servers, and the records so far.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) children: Children,
    pub(crate) held: Held,
    pub(crate) metadata: Metadata,
    /// Random histories for each model check of a soak, where they run in memory.
    pub(crate) cases: u64,
    records: Vec<Record>,
    tally: Tally,
    ran: Vec<String>,
}

impl Steps {
    pub(crate) fn new(children: Children, metadata: Metadata) -> Self {
        Self {
            children,
            held: Held::default(),
            metadata,
            cases: 0,
            records: Vec::new(),
            tally: Tally::default(),
            ran: Vec::new(),
        }
    }

    /// Runs `steps` up to the first that fails; returns how every step so far went.
    pub(crate) fn run(&mut self, steps: &[Step]) -> &[Record] {
        for step in steps {
            if !self.record(*step) {
                break;
            }
        }
        &self.records
    }

    /// Ends the servers, whatever became of the steps before; returns how every step went.
    pub(crate) fn finish(&mut self) -> &[Record] {
        if !self.held.is_empty() {
            let act = |steps: &mut Self| steps.held.end().map(|()| String::new());
            self.record(Step { name: END, act });
        }
        &self.records
    }

    /// Runs one step; `false` if it failed.
    fn record(&mut self, step: Step) -> bool {
        say(&format!("\n== {} ==", step.name));
        let start = Instant::now();
        let outcome = (step.act)(self);
        let passed = outcome.is_ok();
        let verdict = match outcome {
            Ok(detail) => Verdict::Passed(detail),
            Err(error) => {
                say(&format!("{}: {error:#}", step.name));
                let why = format!("{error:#}");
                Verdict::Failed(why.lines().next().unwrap_or_default().to_owned())
            }
        };
        self.records.push(Record {
            name: step.name,
            took: start.elapsed(),
            verdict,
            tally: std::mem::take(&mut self.tally),
            ran: std::mem::take(&mut self.ran),
        });
        passed
    }

    /// Runs a command as part of the present step; its output streams through.
    ///
    /// # Errors
    ///
    /// When it fails, leaves a process behind, or reports an ignored test.
    pub(crate) fn command(&mut self, command: &mut Command) -> Result<()> {
        let label = shown(command);
        say(&format!("$ {label}"));
        self.ran.push(label);
        let ended = self.children.run(command)?;
        self.tally.add(ended.tally);
        if !ended.status.success() {
            bail!("{}", ended.status);
        }
        if !ended.left.is_empty() {
            bail!("left running, and ended now: {}", ended.left.join(", "));
        }
        if ended.tally.ignored > 0 {
            bail!("{} tests are ignored; every test has to run", ended.tally.ignored);
        }
        Ok(())
    }

    /// Runs a command that must run at least one test.
    ///
    /// # Errors
    ///
    /// As [`Steps::command`], and when no test ran.
    pub(crate) fn tests(&mut self, command: &mut Command) -> Result<()> {
        let before = self.tally.passed;
        self.command(command)?;
        if self.tally.passed == before {
            bail!("no test ran");
        }
        Ok(())
    }

    /// `cargo` in the workspace's root, with the lock file as it is.
    pub(crate) fn cargo(&self, words: &[&str]) -> Command {
        let mut command = Command::new(crate::metadata::cargo());
        command.current_dir(&self.metadata.workspace_root).args(words);
        command
    }
}
