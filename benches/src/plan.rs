//! How large and how long everything is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cli::Args;
use crate::quiet::Quiet;
use crate::stores::{self, From, Servers, Subject};

/// The sizes of one run.
#[derive(Debug)]
pub(crate) struct Plan {
    quick: bool,
    pub(crate) rounds: usize,
    /// How long one figure is measured in one round.
    pub(crate) sample: Duration,
    /// Where databases are made.
    pub(crate) data: PathBuf,
    pub(crate) subjects: Vec<&'static Subject>,
    /// Named stores that have no server here.
    pub(crate) left_out: Vec<&'static str>,
    /// Those of them that are asked about the engine: one of each backend, unless they were chosen.
    pub(crate) firsts: Vec<&'static Subject>,
    pub(crate) servers: Servers,
    /// Starts this program again, for figures of several processes.
    pub(crate) program: PathBuf,
    pub(crate) full: Option<usize>,
    pub(crate) quiet: Quiet,
}

impl Plan {
    pub(crate) fn new(args: &Args) -> Result<Self> {
        let (rounds, seconds) = if args.quick { (2, 0.02) } else { (3, 0.5) };
        let (rounds, seconds) = (args.rounds.unwrap_or(rounds), args.seconds.unwrap_or(seconds));
        ensure!(rounds > 0, "at least one round is needed");
        ensure!(seconds > 0.0 && seconds < 3600.0, "{seconds} seconds make no measurement");
        let wanted = args.store.as_deref().unwrap_or_default();
        let is_wanted =
            |subject: &Subject| wanted.split(',').any(|part| subject.name.contains(part.trim()));
        let subjects: Vec<_> =
            stores::SUBJECTS.iter().filter(|subject| is_wanted(subject)).collect();
        ensure!(!subjects.is_empty(), "no store's name holds `{wanted}`");
        let from = args.servers.unwrap_or(if args.quick { From::None } else { From::Own });
        let servers = Servers::start(from, &subjects)?;
        let (subjects, left_out): (Vec<_>, Vec<_>) =
            subjects.into_iter().partition(|subject| servers.has(subject.kind));
        ensure!(!subjects.is_empty(), "`{wanted}` needs a server, and there is none");
        let chosen = args.store.is_some();
        let firsts = subjects.iter().filter(|subject| subject.first || chosen);
        let firsts = firsts.copied().collect();
        let program = args.program.clone().map_or_else(std::env::current_exe, Ok);
        Ok(Self {
            quick: args.quick,
            rounds,
            sample: Duration::from_secs_f64(seconds),
            data: args.data.clone(),
            firsts,
            subjects,
            left_out: left_out.into_iter().map(|subject| subject.name).collect(),
            servers,
            program: program.context("this program's own path")?,
            full: args.full,
            quiet: Quiet::new(Duration::from_secs(args.patience)),
        })
    }

    /// The size of a full run, or that of a smoke run.
    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
