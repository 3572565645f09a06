//! The command line: flags and their help, nothing else.

use std::path::PathBuf;

use clap::Parser;

use crate::stores::From;

/// Measures the engine and its stores and writes a report.
#[derive(Debug, Clone, Parser)]
#[command(name = "benches")]
pub struct Args {
    /// A smoke run of seconds: tiny sizes, numbers that mean nothing.
    #[arg(long)]
    pub quick: bool,
    /// Only the questions whose name holds this (idle, append, processes, across, read, space, send,
    /// fan-out, delivery, resume, list, history, full).
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Only the stores whose name holds this, or one of several with commas between (memory,
    /// SQLite, FULL, PostgreSQL, MariaDB, Redis, Cluster, ...); these are asked everything.
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// Where the report goes.
    #[arg(long, value_name = "DIR", default_value = "benches/report")]
    pub out: PathBuf,
    /// Where the databases are made and removed again: on the disk that is meant.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub data: PathBuf,
    /// Where servers come from; `own` unless it is a smoke run. They keep their data in the folder
    /// for temporary files (`TMPDIR`).
    #[arg(long, value_name = "WHERE")]
    pub servers: Option<From>,
    /// Measures again in a store with so many events of 100 in each chat (10000000 takes long).
    #[arg(long, value_name = "EVENTS")]
    pub full: Option<usize>,
    /// How long each figure is measured in each round.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Wait up to so long, in all, for others on this machine to be quiet, and measure again what
    /// they disturbed.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub patience: u64,
    /// A line about the circumstances, for the head of the report.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How often each figure is measured, by turns with the others beside it.
    #[arg(long, value_name = "NUMBER")]
    pub rounds: Option<usize>,
    /// What starts this program again; its own path if it is not given.
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
    /// What this process does for another of this program.
    #[arg(long, hide = true, num_args = 1..)]
    pub role: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_well_formed() {
        Args::command().debug_assert();
    }
}
