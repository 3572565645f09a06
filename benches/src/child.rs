//! This program started again, to play a role for the process that measures.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::plan::Plan;

/// A process that speaks in lines. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Actor {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    /// Starts it; it has done its preparations when this returns.
    pub(crate) async fn start(plan: &Plan, role: &[&str]) -> Result<Self> {
        let mut command = Command::new(&plan.program);
        command.arg("--role").args(role).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut actor = Self { child, stdin, lines: BufReader::new(stdout).lines() };
        let word = actor.hear().await?;
        ensure!(word == READY, "the process said `{word}`");
        Ok(actor)
    }

    /// Tells it to go on.
    pub(crate) async fn go(&mut self) -> Result<()> {
        Ok(self.stdin.write_all(b"go\n").await?)
    }

    /// Its next line.
    pub(crate) async fn hear(&mut self) -> Result<String> {
        self.lines.next_line().await?.context("the process ended without a word")
    }

    /// Lets it end by itself.
    pub(crate) async fn end(mut self) -> Result<()> {
        drop(self.stdin);
        let status = self.child.wait().await?;
        ensure!(status.success(), "the process ended with {status}");
        Ok(())
    }
}

/// What it says when its preparations are done.
pub(crate) const READY: &str = "ready";
