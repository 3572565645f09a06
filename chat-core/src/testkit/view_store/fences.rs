//! Checkpoints: guarantees 2 and 4, and cancelled commits.

use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{assert_moved, assert_view, assert_written, batch, commit, get, put, scan, view};
use crate::id::Checkpoint;
use crate::ports::{Direction, KeyRange, ViewError, ViewGet, ViewOp, ViewPage};
use crate::testkit::fixture::give_up_after;
use crate::testkit::watch::{self, Watch};
use crate::testkit::{Answers, ViewHarness};

/// Guarantee 2.
pub async fn a_batch_at_another_checkpoint_is_refused_and_leaves_nothing(
    harness: &dyn ViewHarness,
) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let result = store.commit(&[batch(&name, 1, 2, vec![put("k", "no")])]).await;
    assert_moved(&result[0], &name, 1, 0);
    assert_view(&*store, &name, 0, &[]).await;
    commit(harness, &*store, batch(&name, 0, 5, vec![put("k", "yes")])).await;
    for wrong in [0, 4, 6, Checkpoint::MAX.0] {
        let ops = vec![ViewOp::Clear, put("k", "no")];
        let result = store.commit(&[batch(&name, wrong, 9, ops)]).await;
        assert_moved(&result[0], &name, wrong, 5);
    }
    assert_view(&*store, &name, 5, &[("k", b"yes")]).await;
}

/// `next`: "may be lower (a rebuild) or the same".
pub async fn a_checkpoint_may_stand_still_go_back_and_be_as_great_as_any(
    harness: &dyn ViewHarness,
) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let steps = [(0, 0), (0, 8), (8, 8), (8, 3), (3, 0), (0, Checkpoint::MAX.0)];
    for (n, (from, to)) in steps.into_iter().enumerate() {
        commit(harness, &*store, batch(&name, from, to, vec![put("k", n.to_string())])).await;
        assert_view(&*store, &name, to, &[("k", n.to_string().as_bytes())]).await;
    }
}

/// Guarantee 2: "each event enters a view once, however many projectors run".
pub async fn of_many_batches_at_one_checkpoint_exactly_one_wins(harness: &dyn ViewHarness) {
    let name = view("chat/a", "timeline");
    let store = harness.open().await;
    for round in 0..10_u64 {
        let from = round * 100;
        let start = Arc::new(Barrier::new(16));
        let mut tasks = JoinSet::new();
        for projector in 1..=16_u64 {
            let (store, start) = (harness.open().await, Arc::clone(&start));
            let next = from + projector;
            let batch = batch(&name, from, next, vec![put("winner", next.to_string())]);
            tasks.spawn(async move {
                start.wait().await;
                (next, store.commit(&[batch]).await.remove(0))
            });
        }
        let results = tasks.join_all().await;
        let values = get(&*store, &name, &["winner"]).await;
        let Checkpoint(won) = values.checkpoint;
        assert_eq!(values.values[0].as_deref(), Some(won.to_string().as_bytes()));
        for (next, result) in results {
            match (result, harness.answers()) {
                (Ok(()), _) => assert_eq!(next, won, "a second winner"),
                (result, Answers::Certain) if next == won => panic!("the winner got {result:?}"),
                (result, _) => assert_moved(&result, &name, from, won),
            }
        }
        // On to a checkpoint that all can start from.
        commit(harness, &*store, batch(&name, won, from + 100, vec![])).await;
    }
}

/// Guarantee 2, as several projectors share the work of one view.
pub async fn concurrent_projectors_write_each_step_once(harness: &dyn ViewHarness) {
    const PROJECTORS: u64 = 6;
    const STEPS: u64 = 120;
    let name = view("chat/a", "timeline");
    let mut tasks = JoinSet::new();
    for _ in 0..PROJECTORS {
        let (store, name) = (harness.open().await, name.clone());
        tasks.spawn(async move {
            let mut won = 0_u64;
            loop {
                let Checkpoint(at) = get(&*store, &name, &[]).await.checkpoint;
                if at == STEPS {
                    return won;
                }
                let ops = vec![put(&format!("{at:04}"), at.to_string())];
                match store.commit(&[batch(&name, at, at + 1, ops)]).await.remove(0) {
                    Ok(()) => won += 1,
                    Err(ViewError::CheckpointMoved { actual, .. }) => assert!(actual.0 > at),
                    Err(error) => panic!("a projector: {error}"),
                }
            }
        });
    }
    let won: u64 = tasks.join_all().await.into_iter().sum();
    match harness.answers() {
        Answers::Certain => assert_eq!(won, STEPS, "steps that somebody was told to have won"),
        Answers::MayBeLost => assert!(won <= STEPS, "{won} steps won"),
    }
    let store = harness.open().await;
    let range = KeyRange::all();
    let page = scan(&*store, &name, &range, Direction::Forward, ViewPage::MAX_ENTRIES).await;
    assert_eq!(page.checkpoint, Checkpoint(STEPS));
    let values: Vec<_> = page.entries.iter().map(|(_, value)| value.to_vec()).collect();
    assert_eq!(values, (0..STEPS).map(|n| n.to_string().into_bytes()).collect::<Vec<_>>());
}

/// Guarantee 4: "the checkpoint and the values of one view in one answer belong together".
pub async fn a_reader_sees_values_and_checkpoint_of_one_batch(harness: &dyn ViewHarness) {
    let name = view("chat/a", "timeline");
    let mut watch = Watch::default();
    for reader in 0..3 {
        let (store, name) = (harness.open().await, name.clone());
        watch.reader(move || {
            let (store, name) = (Arc::clone(&store), name.clone());
            Box::pin(async move {
                let (checkpoint, values) = if reader == 0 {
                    let values = get(&*store, &name, &["a", "b", "c"]).await;
                    (values.checkpoint, values.values.into_iter().flatten().collect())
                } else {
                    let all = KeyRange::all();
                    let page = scan(&*store, &name, &all, Direction::Forward, 10).await;
                    let values = page.entries.into_iter().map(|(_, value)| value);
                    (page.checkpoint, values.collect::<Vec<_>>())
                };
                let expected = if checkpoint == Checkpoint::ZERO { 0 } else { 3 };
                assert_eq!(values.len(), expected, "at {checkpoint}");
                let text = checkpoint.to_string();
                assert!(values.iter().all(|value| **value == *text.as_bytes()), "torn at {text}");
            })
        });
    }
    let (store, answers) = (harness.open().await, harness.answers());
    watch::write(async move {
        for n in 0..100_u64 {
            let ops = ["a", "b", "c"].map(|name| put(name, (n + 1).to_string()));
            let ops = std::iter::once(ViewOp::Clear).chain(ops).collect();
            let results = store.commit(&[batch(&name, n, n + 1, ops)]).await;
            assert_written(answers, &results[0]);
            watch.look().await;
        }
        watch.end().await;
    })
    .await;
}

/// "Repeating it is refused by the checkpoint if it was done."
pub async fn a_dropped_commit_is_whole_or_absent(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let mut tasks = JoinSet::new();
    let step = |n: u64| {
        let name = view(&format!("chat/{n}"), "timeline");
        let ops = (0..10).map(|key| put(&format!("k{key}"), "x")).collect();
        batch(&name, 0, 1, ops)
    };
    for n in 0..60_u64 {
        let (store, batch) = (Arc::clone(&store), step(n));
        let polls = usize::try_from(n % 6).expect("a small number");
        tasks.spawn(async move {
            give_up_after(polls, store.commit(&[batch])).await;
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("a caller");
    }
    for n in 0..60 {
        let batch = step(n);
        let keys = (0..10).map(|key| super::key(&format!("k{key}"))).collect();
        match &store.commit(std::slice::from_ref(&batch)).await[0] {
            Ok(()) => {}
            Err(ViewError::CheckpointMoved { actual, .. }) => assert_eq!(*actual, Checkpoint(1)),
            Err(error) => panic!("repeating batch {n}: {error}"),
        }
        let values = store.get(&[ViewGet { view: batch.view, keys }]).await.expect("get");
        assert_eq!(values[0].checkpoint, Checkpoint(1));
        assert!(values[0].values.iter().all(Option::is_some), "half a batch: {values:?}");
    }
}
