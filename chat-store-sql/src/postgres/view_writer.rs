//! Batches of views as the columns that one call of the database's function takes.

use std::collections::{BTreeMap, HashMap, HashSet};

use chat_core::ports::{StoreError, ViewBatch, ViewError, ViewId, ViewOp};
use chat_core::{Checkpoint, ViewKey};
use sqlx::SqlStr;

use super::connection::PgQuery;
use super::rows::bound;

/// Batches of one call to one view, each of which begins where the one before ends. They are written
/// as one: all, or none.
#[derive(Debug)]
pub(super) struct Run<'b> {
    pub(super) batches: Vec<(usize, &'b ViewBatch)>,
}

/// Takes the first run of each view, and leaves what follows on none of them.
pub(super) fn runs<'b>(
    batches: Vec<(usize, &'b ViewBatch)>,
) -> (Vec<Run<'b>>, Vec<(usize, &'b ViewBatch)>) {
    let mut runs: Vec<Run<'b>> = Vec::new();
    let mut places: HashMap<&ViewId, usize> = HashMap::new();
    let (mut left, mut broken) = (Vec::new(), HashSet::new());
    for (index, batch) in batches {
        let place = places.get(&batch.view).copied();
        match place.and_then(|place| runs.get_mut(place)) {
            None => {
                places.insert(&batch.view, runs.len());
                runs.push(Run { batches: vec![(index, batch)] });
            }
            Some(run) if !broken.contains(&batch.view) && run.end() == Some(batch.expected) => {
                run.batches.push((index, batch));
            }
            Some(_) => {
                broken.insert(&batch.view);
                left.push((index, batch));
            }
        }
    }
    (runs, left)
}

impl<'b> Run<'b> {
    fn end(&self) -> Option<Checkpoint> {
        self.batches.last().map(|(_, batch)| batch.next)
    }

    /// Answers the batches, now that it is known which checkpoint the view had. If that is not where
    /// the run begins, but where one of its batches does, the rest is to be tried from there.
    pub(super) fn settle(
        self,
        actual: i64,
        answers: &mut BTreeMap<usize, Result<(), ViewError>>,
        left: &mut Vec<(usize, &'b ViewBatch)>,
    ) {
        let stands = u64::try_from(actual).map(Checkpoint);
        let begins = |(_, batch): &(usize, &ViewBatch)| stands == Ok(batch.expected);
        let written = self.batches.first().is_some_and(begins);
        let mut batches = self.batches.into_iter().peekable();
        while let Some((index, batch)) = batches.next_if(|batch| written || !begins(batch)) {
            let answer = match stands {
                _ if written => Ok(()),
                Ok(actual) => {
                    let (view, expected) = (batch.view.clone(), batch.expected);
                    Err(ViewError::CheckpointMoved { view, expected, actual })
                }
                Err(_) => Err(corrupt(&batch.view, format!("its checkpoint is {actual}")).into()),
            };
            answers.insert(index, answer);
        }
        left.extend(batches);
    }
}

pub(super) fn corrupt(view: &ViewId, what: String) -> StoreError {
    StoreError::Corrupt { place: format!("view {} of {}", view.projection, view.scope), what }
}

/// Runs of which no two belong to the same view.
#[derive(Debug, Default)]
pub(super) struct Round<'a> {
    scopes: Vec<&'a str>,
    projections: Vec<&'a str>,
    expected: Vec<i64>,
    next: Vec<i64>,
    op_batch: Vec<i64>,
    op_key: Vec<Option<&'a str>>,
    op_value: Vec<Option<&'a [u8]>>,
}

impl<'a> Round<'a> {
    pub(super) fn new(runs: &[Run<'a>]) -> Self {
        let mut round = Self::default();
        for (number, run) in (1_i64..).zip(runs) {
            let (Some((_, first)), Some(end)) = (run.batches.first(), run.end()) else { continue };
            round.scopes.push(first.view.scope.as_str());
            round.projections.push(first.view.projection.as_str());
            // A checkpoint too great to be stored is never met.
            let expected = i64::try_from(first.expected.0).unwrap_or(NEVER);
            round.expected.push(expected);
            round.next.push(bound(end.0));
            round.push_changes(number, run.batches.iter().flat_map(|(_, batch)| &batch.ops));
        }
        round
    }

    /// Leaves one change for each key: later ones win.
    fn push_changes(&mut self, batch: i64, ops: impl Iterator<Item = &'a ViewOp>) {
        let mut changes: BTreeMap<&ViewKey, Option<&[u8]>> = BTreeMap::new();
        let mut cleared = false;
        for op in ops {
            match op {
                ViewOp::Put(key, value) => drop(changes.insert(key, Some(value))),
                // After a clear there is nothing else to remove.
                ViewOp::Delete(key) if cleared => drop(changes.remove(key)),
                ViewOp::Delete(key) => drop(changes.insert(key, None)),
                ViewOp::Clear => {
                    cleared = true;
                    changes.clear();
                }
            }
        }
        if cleared {
            self.push(batch, None, None);
        }
        for (key, value) in changes {
            self.push(batch, Some(key.as_str()), value);
        }
    }

    fn push(&mut self, batch: i64, key: Option<&'a str>, value: Option<&'a [u8]>) {
        self.op_batch.push(batch);
        self.op_key.push(key);
        self.op_value.push(value);
    }

    /// Writes the batches whose views are at the expected checkpoints; answers with the checkpoint
    /// that each view had.
    pub(super) fn query(&self, sql: &SqlStr) -> PgQuery<'_> {
        sqlx::query(sql.clone())
            .bind(&self.scopes)
            .bind(&self.projections)
            .bind(&self.expected)
            .bind(&self.next)
            .bind(&self.op_batch)
            .bind(&self.op_key)
            .bind(&self.op_value)
    }
}

const NEVER: i64 = -1;

#[cfg(test)]
mod tests {
    use chat_core::{ProjectionName, Scope};

    use super::*;

    fn batch(scope: &str, expected: u64, next: u64) -> ViewBatch {
        let (scope, projection) = (Scope::new(scope).unwrap(), ProjectionName::new("p").unwrap());
        let (expected, next) = (Checkpoint(expected), Checkpoint(next));
        ViewBatch { view: ViewId { scope, projection }, expected, next, ops: Vec::new() }
    }

    #[test]
    fn batches_that_follow_each_other_are_one_run() {
        let batches = [
            batch("a", 0, 2),
            batch("b", 5, 6),
            batch("a", 2, 3),
            batch("b", 7, 8),
            batch("b", 6, 7),
            batch("a", 3, 3),
        ];
        let (runs, left) = runs(batches.iter().enumerate().collect());
        let places = |batches: &[(usize, _)]| batches.iter().map(|(i, _)| *i).collect::<Vec<_>>();
        let runs: Vec<_> = runs.iter().map(|run| places(&run.batches)).collect();
        assert_eq!(runs, [vec![0, 2, 5], vec![1]]);
        assert_eq!(places(&left), [3, 4]);
    }

    #[test]
    fn a_run_is_tried_from_where_the_view_stands() {
        let batches = [batch("a", 0, 2), batch("a", 2, 3), batch("a", 3, 4)];
        let settle = |actual| {
            let (mut answers, mut left) = (BTreeMap::new(), Vec::new());
            let run = Run { batches: batches.iter().enumerate().collect() };
            run.settle(actual, &mut answers, &mut left);
            let refused = answers.values().filter(|answer| answer.is_err()).count();
            (answers.len() - refused, refused, left.len())
        };
        assert_eq!(settle(0), (3, 0, 0));
        assert_eq!(settle(2), (0, 1, 2));
        assert_eq!(settle(3), (0, 2, 1));
        assert_eq!(settle(4), (0, 3, 0));
        assert_eq!(settle(-1), (0, 3, 0));
    }
}
