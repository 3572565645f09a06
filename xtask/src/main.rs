//! The workspace's own commands: `cargo xtask help` lists them.
//!
//! `main` reads the command line and prints the closing summary. What a command runs stands in
//! `plan`, how a step runs in `steps` and `child`, and each check of our own in its own file.

mod audit;
mod child;
mod circles;
mod cli;
mod code;
mod features;
mod held;
mod hygiene;
mod imports;
mod kept;
mod layers;
mod metadata;
mod needs;
mod orphans;
mod paths;
mod plan;
mod services;
mod steps;
mod summary;
mod tally;
mod toolchain;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match plan::run(&cli::Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            summary::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
