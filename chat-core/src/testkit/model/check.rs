//! The checks of whole histories, as tests.

use proptest::strategy::{Strategy as _, ValueTree as _};

use super::run::{Report, run_seed, run_steps};
use super::step::{runner, strategy};
use super::{cases, first_seed, race_seed};
use crate::testkit::StoreHarness;

/// Guarantees 1 to 7, one caller: random histories come to what the model says. One that does not
/// is made as short as possible before it is shown.
pub async fn histories_match_the_model<H: StoreHarness>(fresh: impl AsyncFn() -> H) {
    let mut sum = Report::default();
    for seed in first_seed()..first_seed() + cases() {
        match run_seed(&fresh().await, seed).await {
            Ok(report) => {
                sum.new += report.new;
                sum.repeats += report.repeats;
                sum.conflicts += report.conflicts;
                sum.reused += report.reused;
            }
            Err(mismatch) => {
                let (steps, shortest) = shorten(&fresh, seed).await;
                panic!(
                    "CHAT_KIT_SEED={seed} does not match the model: {mismatch}\n\
                     at its shortest: {shortest}\nsteps: {steps:#?}"
                );
            }
        }
    }
    // A store that refuses everything would match a history of refusals only.
    let all = [sum.new, sum.repeats, sum.conflicts, sum.reused];
    assert!(cases() < 64 || all.iter().all(|count| *count > 0), "not everything came up: {sum:?}");
}

/// The shortest history that fails, found from the one of this number.
async fn shorten<H: StoreHarness>(
    fresh: &impl AsyncFn() -> H,
    seed: u64,
) -> (Vec<super::Step>, String) {
    let tree = strategy(super::run::STEPS).new_tree(&mut runner(seed));
    let mut tree = tree.expect("the strategy rejects nothing");
    let mut shortest = (tree.current(), "it fails only sometimes".to_owned());
    let mut more = true;
    while more {
        let steps = tree.current();
        more = match run_steps(&fresh().await, &steps).await {
            Err(mismatch) => {
                shortest = (steps, mismatch.to_string());
                tree.simplify()
            }
            Ok(_) => tree.complicate(),
        };
    }
    shortest
}

/// Guarantees 1 to 6, many callers at once: what they were told fits what is left behind.
pub async fn concurrent_histories_are_consistent<H: StoreHarness>(fresh: impl AsyncFn() -> H) {
    let mut done = 0;
    for seed in first_seed()..first_seed() + cases().div_ceil(4) {
        match race_seed(&fresh().await, seed).await {
            Ok(report) => done += report.done,
            Err(mismatch) => panic!("CHAT_KIT_SEED={seed} is not consistent: {mismatch}"),
        }
    }
    assert!(done > 0, "no append was done");
}

/// A run repeats from its seed.
pub async fn one_seed_gives_one_history<H: StoreHarness>(fresh: impl AsyncFn() -> H) {
    let mut digests = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let first = run_seed(&fresh().await, seed).await;
        assert_eq!(first, run_seed(&fresh().await, seed).await, "history {seed}");
        digests.insert(first.map(|report| report.digest).ok());
    }
    assert!(digests.len() > 1, "histories of different seeds differ");
}
