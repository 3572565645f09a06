//! How large and how long everything is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cli::Args;
use crate::quiet::Quiet;
use crate::stores::{self, Subject};

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
    pub(crate) quiet: Quiet,
}

impl Plan {
    pub(crate) fn new(args: &Args) -> Result<Self> {
        let (rounds, seconds) = if args.quick { (2, 0.02) } else { (5, 1.0) };
        let (rounds, seconds) = (args.rounds.unwrap_or(rounds), args.seconds.unwrap_or(seconds));
        ensure!(rounds > 0, "at least one round is needed");
        ensure!(seconds > 0.0 && seconds < 3600.0, "{seconds} seconds make no measurement");
        let wanted = args.store.as_deref().unwrap_or_default();
        let subjects: Vec<_> =
            stores::SUBJECTS.iter().filter(|subject| subject.name.contains(wanted)).collect();
        ensure!(!subjects.is_empty(), "no store's name holds `{wanted}`");
        let sample = Duration::from_secs_f64(seconds);
        let (data, quiet) = (args.data.clone(), Quiet::new(Duration::from_secs(args.patience)));
        Ok(Self { quick: args.quick, rounds, sample, data, subjects, quiet })
    }

    /// The size of a full run, or that of a smoke run.
    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
