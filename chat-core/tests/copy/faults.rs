//! Stops at every point: faults of both stores, futures that are dropped, two copiers at once.

use std::sync::Arc;

use chat_core::copy::{Copier, CopyError};
use chat_core::decorate::{FaultPlan, Faults, Faulty, RetryPolicy, Retrying};
use chat_core::ports::{EventStore, ViewStore};
use chat_core::testkit::fixture::give_up_after;

use super::support::{Houses, finish, page};

struct Shaky {
    source: Arc<dyn EventStore>,
    target: Arc<dyn EventStore>,
    views: Arc<dyn ViewStore>,
    faults: Faults,
}

impl Shaky {
    fn new(houses: &Houses, seed: u64, rate: f64) -> Self {
        let faults = Faults::new(FaultPlan::all(seed, rate));
        Self {
            source: Arc::new(Faulty::new(Arc::new(houses.source.clone()), faults.clone())),
            target: Arc::new(Faulty::new(Arc::new(houses.target.clone()), faults.clone())),
            views: Arc::new(Faulty::new(houses.views.clone(), faults.clone())),
            faults,
        }
    }

    async fn begin(&self) -> Result<Copier, CopyError> {
        Copier::begin(self.source.clone(), self.target.clone(), self.views.clone()).await
    }
}

/// Sizes of pages, so that a run meets pages that an earlier one has cut otherwise.
const SIZES: [usize; 4] = [1, 3, 8, 20];

#[tokio::test(start_paused = true)]
async fn stops_at_random_points_lose_and_double_nothing() {
    for seed in 0..40 {
        let houses = Houses::new(1 + (seed % 3) as u32, 1 + (seed % 4) as u32);
        houses.fill(0..60).await;
        let shaky = Shaky::new(&houses, seed, 0.08);
        let mut written = 60;
        // Each try is a process of its own that knows nothing of the ones before.
        for size in SIZES.iter().cycle().take(10_000) {
            let error = match shaky.begin().await {
                Ok(copier) => match copier.with_page(page(*size)).finish(|_| ()).await {
                    Ok(_) => break,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            assert!(error.is_retryable(), "seed {seed}: {error:?}");
            if written < 200 {
                houses.fill(written..written + 3).await;
                written += 3;
            }
        }
        assert!(shaky.faults.counts().total() > 0, "seed {seed}");
        assert!(houses.copier().await.is_finished(), "seed {seed}");
        finish(&houses).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retrying_stores_bring_a_copy_to_its_end_in_one_go() {
    for seed in 0..20 {
        let houses = Houses::new(2, 3);
        houses.fill(0..80).await;
        let shaky = Shaky::new(&houses, seed, 0.2);
        let policy = RetryPolicy { attempts: 60, seed, ..RetryPolicy::default() };
        let source = Arc::new(Retrying::new(shaky.source.clone(), policy));
        let target = Arc::new(Retrying::new(shaky.target.clone(), policy));
        let views = Arc::new(Retrying::new(shaky.views.clone(), policy));
        let mut copier = Copier::begin(source, target, views).await.unwrap().with_page(page(7));
        copier.finish(|_| ()).await.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        copier.verify(|_| ()).await.unwrap();
        finish(&houses).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_after_any_number_of_polls_can_be_gone_on_from() {
    let houses = Houses::new(2, 2);
    // A store in memory is never waited for; one that takes its time can be left at each call.
    let plan = FaultPlan { delay: 1.0, ..FaultPlan::none(5) };
    let faults = Faults::new(plan);
    let source = Arc::new(Faulty::new(Arc::new(houses.source.clone()), faults.clone()));
    let target = Arc::new(Faulty::new(Arc::new(houses.target.clone()), faults.clone()));
    let views = Arc::new(Faulty::new(houses.views.clone(), faults));
    let (mut written, mut dropped) = (0, 0);
    for polls in 0..60 {
        houses.fill(written..written + 2).await;
        written += 2;
        let begun = Copier::begin(source.clone(), target.clone(), views.clone()).await;
        let mut copier = begun.unwrap().with_page(page(1 + polls % 5));
        let left = give_up_after(polls, copier.catch_up(|_| ())).await;
        dropped += usize::from(left.is_none());
        if polls % 3 == 0 {
            // The same copier goes on, too.
            copier.catch_up(|_| ()).await.unwrap();
        }
    }
    assert!(dropped > 10, "only {dropped} were left under way");
    finish(&houses).await;
}

#[tokio::test(start_paused = true)]
async fn two_copiers_at_once_do_no_harm() {
    let mut met = 0;
    for seed in 0..40 {
        let houses = Houses::new(1, 1 + (seed % 2) as u32);
        houses.fill(0..60).await;
        // Faults would hide who met whom; only the delays are wanted.
        let plan = FaultPlan { delay: 0.7, ..FaultPlan::none(seed) };
        let target = Faulty::new(Arc::new(houses.target.clone()), Faults::new(plan));
        let target: Arc<dyn EventStore> = Arc::new(target);
        let copy = async |sizes: [usize; 2]| {
            let mut met = 0;
            for size in sizes.iter().cycle() {
                let source = Arc::new(houses.source.clone());
                let begun = Copier::begin(source, target.clone(), houses.views.clone()).await;
                let mut copier = begun.unwrap().with_page(page(*size));
                match copier.catch_up(|_| ()).await {
                    Ok(_) => break,
                    Err(CopyError::Overtaken { .. } | CopyError::Refused(_)) => met += 1,
                    Err(error) => panic!("seed {seed}: {error:?}"),
                }
            }
            met
        };
        let (one, two) = tokio::join!(copy([2, 5]), copy([3, 11]));
        met += one + two;
        finish(&houses).await;
    }
    assert!(met > 0, "they never met");
}
