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
    /// Finds or installs the programs that the tests need, and starts database servers for them,
    /// but none whose URL is set already (`CHAT_TEST_POSTGRES`, `CHAT_TEST_MYSQL`,
    /// `CHAT_TEST_REDIS`, `CHAT_TEST_REDIS_CLUSTER`). Stops at the first failed step. The last
    /// line is `N passed, M failed`.
    Test,
    /// The quick part of `test`: format, hygiene, import direction, lints.
    Lint,
    /// Licences, sources, banned crates and duplicate versions of all dependencies.
    Audit {
        /// Ask the advisory database too; needs cargo-deny and the network.
        #[arg(long)]
        advisories: bool,
    },
    /// Database servers for tests that are run by hand: `eval "$(cargo xtask services up)"`.
    Services {
        #[command(subcommand)]
        action: Action,
    },
    /// The long forms of the tests, in release.
    Soak {
        /// Repeat whole rounds with new seeds until this many minutes have passed.
        ///
        /// Without it one round runs. A round that has begun is finished.
        #[arg(long)]
        minutes: Option<u64>,
        /// Random histories for each model check in memory in one round (`CHAT_KIT_CASES`); a
        /// twentieth of that under faults, a thousandth on each database.
        #[arg(long, default_value_t = 1_000_000)]
        cases: u64,
    },
    /// The benchmark report; all arguments go to it.
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Action {
    /// Start what doesn't run yet, and print the lines that tell a shell where.
    ///
    /// Programs that are missing are installed where that is possible. The servers listen on free
    /// loopback ports and keep their data under `target/services`. A server whose URL is set
    /// already is not started.
    Up,
    /// Stop all that `up` has started and remove their data; print the lines that unset the
    /// variables in a shell.
    Down,
    /// Say what runs where.
    Status,
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
