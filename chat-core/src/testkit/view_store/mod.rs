//! The checks of [`ViewStore`]. Numbers are those of its guarantees.

mod batches;
mod fences;
mod scans;
mod separation;

pub use batches::*;
pub use fences::*;
pub use scans::*;
pub use separation::*;

use std::sync::Arc;

use super::harness::Answers;
use super::harness_view::ViewHarness;
use crate::id::{Checkpoint, ProjectionName, Scope, ViewKey};
use crate::ports::{
    Direction, KeyRange, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewPage, ViewStore,
    ViewValues,
};

/// Makes a test of every check of [`ViewStore`](crate::ports::ViewStore).
///
/// Takes an async function without arguments that makes a fresh
/// [`ViewHarness`](crate::testkit::ViewHarness). Put each use into a module of its own.
#[macro_export]
macro_rules! view_store_tests {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::view_store],
            a_view_that_was_never_written_is_empty_at_zero,
            a_batch_takes_effect_whole_with_its_checkpoint,
            a_batch_without_changes_moves_the_checkpoint,
            later_changes_of_a_batch_win,
            clear_removes_every_key_of_that_view,
            a_batch_may_hold_thousands_of_changes,
            batches_of_one_call_stand_alone,
            batches_of_one_call_to_one_view_follow_each_other,
            a_call_may_hold_hundreds_of_views,
            values_are_kept_byte_for_byte,
            keys_are_read_in_the_order_asked,
            empty_calls_have_no_answers,
            a_batch_at_another_checkpoint_is_refused_and_leaves_nothing,
            a_checkpoint_may_stand_still_go_back_and_be_as_great_as_any,
            of_many_batches_at_one_checkpoint_exactly_one_wins,
            concurrent_projectors_write_each_step_once,
            a_reader_sees_values_and_checkpoint_of_one_batch,
            a_dropped_commit_is_whole_or_absent,
            keys_sort_by_their_bytes,
            ranges_are_read_both_ways_with_every_limit,
            a_range_that_ends_before_it_starts_is_empty,
            limits_of_a_scan_are_brought_in,
            a_view_can_be_read_page_by_page,
            views_are_told_apart_by_their_bytes,
            namespaces_of_views_never_see_each_other,
            a_second_handle_sees_the_views_and_goes_on,
        }
    };
}

fn view(scope: &str, projection: &str) -> ViewId {
    ViewId {
        scope: Scope::new(scope).expect("a scope within the rules"),
        projection: ProjectionName::new(projection).expect("a name within the rules"),
    }
}

fn key(name: &str) -> ViewKey {
    ViewKey::new(name).expect("a key within the rules")
}

fn put(name: &str, value: impl AsRef<[u8]>) -> ViewOp {
    ViewOp::Put(key(name), value.as_ref().into())
}

fn batch(view: &ViewId, expected: u64, next: u64, ops: Vec<ViewOp>) -> ViewBatch {
    let (expected, next) = (Checkpoint(expected), Checkpoint(next));
    ViewBatch { view: view.clone(), expected, next, ops }
}

/// Checks that a batch was written. Where answers get lost, it may have been refused by itself;
/// what the view then holds is checked by whoever calls this.
fn assert_written(answers: Answers, result: &Result<(), ViewError>) {
    match (result, answers) {
        (Ok(()), _) | (Err(ViewError::CheckpointMoved { .. }), Answers::MayBeLost) => {}
        (other, _) => panic!("expected the batch to be written, got {other:?}"),
    }
}

fn assert_moved(result: &Result<(), ViewError>, view: &ViewId, expected: u64, actual: u64) {
    match result {
        Err(ViewError::CheckpointMoved { view: named, expected: asked, actual: found }) => {
            let said = (named, *asked, *found);
            assert_eq!(said, (view, Checkpoint(expected), Checkpoint(actual)));
        }
        other => panic!("expected {view:?} to be at another checkpoint, got {other:?}"),
    }
}

async fn commit(harness: &dyn ViewHarness, store: &dyn ViewStore, batch: ViewBatch) {
    let results = store.commit(std::slice::from_ref(&batch)).await;
    assert_eq!(results.len(), 1, "one answer for each batch");
    assert_written(harness.answers(), &results[0]);
}

async fn get(store: &dyn ViewStore, view: &ViewId, keys: &[&str]) -> ViewValues {
    let keys = keys.iter().map(|name| key(name)).collect();
    let values = store.get(&[ViewGet { view: view.clone(), keys }]).await.expect("get");
    let [values] = <[ViewValues; 1]>::try_from(values).expect("one answer for each view");
    values
}

async fn scan(
    store: &dyn ViewStore,
    view: &ViewId,
    range: &KeyRange,
    direction: Direction,
    limit: usize,
) -> ViewPage {
    store.scan(view, range, direction, limit).await.expect("scan")
}

/// Checks everything that a view holds; keys in their order.
async fn assert_view(
    store: &dyn ViewStore,
    view: &ViewId,
    checkpoint: u64,
    entries: &[(&str, &[u8])],
) {
    let limit = ViewPage::MAX_ENTRIES;
    let page = scan(store, view, &KeyRange::all(), Direction::Forward, limit).await;
    assert_eq!(page.checkpoint, Checkpoint(checkpoint), "{view:?}");
    let expected: Vec<(ViewKey, Arc<[u8]>)> =
        entries.iter().map(|(name, value)| (key(name), (*value).into())).collect();
    assert_eq!(page.entries, expected, "{view:?}");
    assert!(page.finished);
}
