//! A reference model of the event store, too simple to be wrong, and histories to compare a store
//! with it: one caller's in lockstep with the model, many callers' by what is left behind.
//!
//! Every history follows from a number. A test runs a few (`CHAT_KIT_CASES` says how many, 64
//! unless it does) and names the number of one that fails; a soak runs as many as it has time for:
//!
//! ```
//! use chat_core::testkit::{MemoryStoreHarness, model};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), model::Mismatch> {
//! for seed in 0..100 {
//!     model::run_seed(&MemoryStoreHarness::new(2), seed).await?;
//!     model::race_seed(&MemoryStoreHarness::new(2), seed).await?;
//! }
//! # Ok(()) }
//! ```

mod check;
mod history;
mod race;
mod reference;
mod run;
mod step;

pub use check::{
    concurrent_histories_are_consistent, histories_match_the_model, one_seed_gives_one_history,
};
pub use race::{RaceReport, race_seed};
pub use run::{Report, run_seed, run_steps};
pub use step::{Content, Expect, Limit, Plan, Step, Write, steps, strategy};

/// Where a store and the contract part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {what}")]
pub struct Mismatch {
    /// Which step of the history, from zero.
    pub step: usize,
    /// What was expected and what came.
    pub what: String,
}

/// How many histories a test runs.
#[must_use]
pub fn cases() -> u64 {
    number("CHAT_KIT_CASES").unwrap_or(64)
}

/// The number of the first history that a test runs: `CHAT_KIT_SEED`; else so many as were run in
/// the rounds of a soak before this one (`CHAT_SOAK_ROUND`, from 1).
#[must_use]
pub fn first_seed() -> u64 {
    number("CHAT_KIT_SEED").unwrap_or_else(|| {
        let round = number("CHAT_SOAK_ROUND").unwrap_or(1);
        round.saturating_sub(1).saturating_mul(cases())
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}
