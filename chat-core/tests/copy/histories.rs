//! Whole histories, there and back.

use std::sync::Arc;

use chat_core::copy::{Copier, CopyError, Progress};
use chat_core::memory::MemoryViewStore;
use chat_core::testkit::{MemoryStoreHarness, model};

use super::support::{Houses, assert_same, fill, finish, page, streams};

#[tokio::test]
async fn random_histories_move_to_other_partitions_and_back() {
    for seed in model::first_seed()..model::first_seed() + model::cases() {
        for (from, to) in [(1, 4), (4, 1), (3, 2)] {
            let old = MemoryStoreHarness::new(from);
            model::run_seed(&old, seed).await.unwrap();
            let there = Houses::from(old.store(), to);
            finish(&there).await;
            let back = Houses::from(there.target.clone(), from);
            finish(&back).await;
            // Through another number of logs their order is not one any more; the streams are.
            assert_eq!(streams(&old.store()).await, streams(&back.target).await, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn races_of_many_writers_move_in_their_order() {
    for seed in 0..model::cases().div_ceil(4) {
        let old = MemoryStoreHarness::new(2);
        model::race_seed(&old, seed).await.unwrap();
        finish(&Houses::from(old.store(), 3)).await;
    }
}

#[tokio::test]
async fn pages_of_every_size_come_to_the_same() {
    for size in [1, 2, 3, 7, 1_000] {
        for bytes in [1, 300, usize::MAX] {
            let houses = Houses::new(2, 3);
            houses.fill(0..100).await;
            let mut copier = houses.copier().await.with_page(page(size).with_bytes(bytes));
            copier.finish(|_| ()).await.unwrap();
            copier.verify(|_| ()).await.unwrap();
            assert_same(&houses.source, &houses.target).await;
        }
    }
}

#[tokio::test]
async fn an_empty_house_is_moved_at_once() {
    let houses = Houses::new(2, 1);
    finish(&houses).await;
    assert!(houses.copier().await.is_finished());
}

#[tokio::test]
async fn progress_rises_to_its_total_and_is_kept() {
    let houses = Houses::new(2, 4);
    houses.fill(0..90).await;
    let mut told: Vec<Progress> = Vec::new();
    let mut copier = houses.copier().await.with_page(page(10));
    assert!(copier.look().await.unwrap().behind() >= 90);
    let last = copier.catch_up(|progress| told.push(*progress)).await.unwrap();
    assert!(told.len() > 5 && told.is_sorted_by(|a, b| a.events < b.events), "{told:?}");
    assert!(told.is_sorted_by(|a, b| a.position < b.position && a.bytes < b.bytes));
    assert_eq!((told.last(), last.behind()), (Some(&last), 0));
    assert_eq!(houses.copier().await.progress(), last);

    let mut told: Vec<Progress> = Vec::new();
    copier.verify(|progress| told.push(*progress)).await.unwrap();
    assert!(told.is_sorted_by(|a, b| a.position < b.position), "{told:?}");
    assert_eq!(told.last().unwrap().behind(), 0);
}

#[tokio::test]
async fn a_source_in_use_is_followed_and_finished_when_its_writers_have_stopped() {
    let houses = Houses::new(2, 3);
    houses.fill(0..50).await;
    let source = houses.source.clone();
    let writer = tokio::spawn(async move { fill(&source, 50..600).await });
    let mut copier = houses.copier().await.with_page(page(9));
    while !writer.is_finished() {
        copier.catch_up(|_| ()).await.unwrap();
        copier.verify(|_| ()).await.unwrap();
    }
    writer.await.unwrap();
    finish(&houses).await;
}

#[tokio::test]
async fn what_comes_after_the_end_is_seen_and_brought_over_by_finishing_again() {
    let houses = Houses::new(1, 2);
    houses.fill(0..20).await;
    let mut copier = houses.copier().await;
    copier.finish(|_| ()).await.unwrap();
    assert!(matches!(copier.catch_up(|_| ()).await, Err(CopyError::Finished)));
    houses.fill(20..22).await;
    let mut copier = houses.copier().await;
    assert!(copier.is_finished());
    assert!(matches!(copier.catch_up(|_| ()).await, Err(CopyError::Finished)));
    assert!(copier.look().await.unwrap().behind() >= 2);
    // What was copied is as it was; the rest was not copied.
    copier.verify(|_| ()).await.unwrap();
    finish(&houses).await;
}

#[tokio::test]
async fn a_copy_of_a_copy_and_two_copies_of_one_source_do_not_meet() {
    let first = Houses::new(1, 2);
    first.fill(0..30).await;
    let second = Houses::from(first.source.clone(), 3);
    finish(&first).await;
    finish(&second).await;
    // Several copies may keep their records in one view store only if it is a namespace each.
    let views = Arc::new(MemoryViewStore::new());
    let third = Houses { views, ..Houses::from(first.target.clone(), 1) };
    finish(&third).await;
    let (old, other) = (Arc::new(second.target.clone()), Arc::new(third.target.clone()));
    let met = Copier::begin(old, other, third.views.clone()).await;
    assert!(matches!(met, Err(CopyError::SourceChanged { .. })), "{met:?}");
}
