//! The command line: names, flags and their help, nothing else.

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The workspace's own commands")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Everything that must hold: format, lints, import direction, features, tests, docs, audit.
    ///
    /// Finds or installs the programs that the tests need. Stops at the first failed step. The
    /// last line is `N passed, M failed`.
    Test,
    /// The quick part of `test`: format, hygiene, import direction, lints.
    Lint,
    /// Licences, sources, banned crates and duplicate versions of all dependencies.
    Audit {
        /// Ask the advisory database too; needs cargo-deny and the network.
        #[arg(long)]
        advisories: bool,
    },
    /// The long forms of the tests, in release.
    Soak {
        /// Repeat whole rounds with new seeds until this many minutes have passed.
        ///
        /// Without it one round runs. A round that has begun is finished.
        #[arg(long)]
        minutes: Option<u64>,
        /// Random histories for each model check in one round (`CHAT_KIT_CASES`).
        #[arg(long, default_value_t = 1_000_000)]
        cases: u64,
    },
    /// The benchmark report; all arguments go to it.
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn unknown_command_is_refused() {
        assert!(Cli::try_parse_from(["xtask", "tset"]).is_err());
        assert!(Cli::try_parse_from(["xtask"]).is_err());
    }

    #[test]
    fn bench_hands_flags_on() {
        let cli = Cli::try_parse_from(["xtask", "bench", "--only", "memory"]).unwrap();
        assert!(
            matches!(cli.command, Task::Bench { arguments } if arguments == ["--only", "memory"])
        );
    }
}
