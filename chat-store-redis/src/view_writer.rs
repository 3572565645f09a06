//! Sends batches of views to the script that carries them out.

use std::collections::HashMap;

use chat_core::Checkpoint;
use chat_core::ports::{StoreError, ViewBatch, ViewError, ViewId, ViewOp};
use redis::{Cmd, Value};

use crate::replicas::Written;
use crate::reply::{array, number};
use crate::store::Shared;

/// Carries out batches in their order and answers each. Many or large ones go in several calls.
pub(crate) async fn commit(shared: &Shared, batches: &[&ViewBatch]) -> Vec<Result<(), ViewError>> {
    let mut answers = Vec::with_capacity(batches.len());
    let mut rest = batches;
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(fitting(rest));
        match commit_chunk(shared, chunk).await {
            Ok(own) => answers.extend(own),
            Err(error) => answers.extend(chunk.iter().map(|_| Err(error.clone().into()))),
        }
        rest = behind;
    }
    answers
}

/// How many batches fit into one call, at least one.
fn fitting(batches: &[&ViewBatch]) -> usize {
    let (mut ops, mut bytes) = (0, 0);
    let over = batches.iter().position(|batch| {
        ops += 1 + batch.ops.len();
        bytes += batch.ops.iter().map(size).sum::<usize>();
        ops > MAX_OPS || bytes > MAX_BYTES
    });
    over.unwrap_or(batches.len()).max(1)
}

async fn commit_chunk(
    shared: &Shared,
    batches: &[&ViewBatch],
) -> Result<Vec<Result<(), ViewError>>, StoreError> {
    let command = command(shared, batches);
    let partition = batches.first().map(|batch| shared.keys.partition_of_view(&batch.view));
    let Written { answer, copied } = shared.write(&command, partition.unwrap_or_default()).await?;
    let answers = array(answer)?;
    let missing = || StoreError::Bug { what: "a batch got no answer".into() };
    let mut answers = answers.into_iter();
    let mut results = Vec::with_capacity(batches.len());
    for batch in batches {
        results.push(match answers.next().ok_or_else(missing)? {
            Value::Nil => copied.clone().map_err(ViewError::from),
            actual => Err(ViewError::CheckpointMoved {
                view: batch.view.clone(),
                expected: batch.expected,
                actual: Checkpoint(number(Some(actual))?),
            }),
        });
    }
    Ok(results)
}

fn command(shared: &Shared, batches: &[&ViewBatch]) -> Cmd {
    let mut views: Vec<&ViewId> = Vec::new();
    let mut numbers: HashMap<&ViewId, usize> = HashMap::new();
    for batch in batches {
        numbers.entry(&batch.view).or_insert_with(|| {
            views.push(&batch.view);
            views.len()
        });
    }
    let mut command = shared.scripts.commit_views.call(2 * views.len());
    for view in views {
        command.arg(shared.keys.values(view)).arg(shared.keys.order(view));
    }
    for batch in batches {
        let number = numbers.get(&batch.view).copied().unwrap_or_default();
        let effect = Effect::of(&batch.ops);
        command.arg(number).arg(batch.expected.0).arg(batch.next.0);
        command.arg(u8::from(effect.clear)).arg(effect.puts.len()).arg(effect.deletes.len());
        for (key, value) in effect.puts {
            command.arg(key).arg(value);
        }
        command.arg(effect.deletes);
    }
    command
}

/// What the changes of a batch come to: each key once.
#[derive(Debug, PartialEq, Eq)]
struct Effect<'a> {
    clear: bool,
    puts: Vec<(&'a str, &'a [u8])>,
    deletes: Vec<&'a str>,
}

impl<'a> Effect<'a> {
    fn of(ops: &'a [ViewOp]) -> Self {
        let cleared = ops.iter().rposition(|op| *op == ViewOp::Clear);
        let mut last: HashMap<&str, Option<&[u8]>> = HashMap::new();
        for op in ops.iter().skip(cleared.map_or(0, |index| index + 1)) {
            match op {
                ViewOp::Put(key, value) => last.insert(key.as_str(), Some(value)),
                ViewOp::Delete(key) => last.insert(key.as_str(), None),
                ViewOp::Clear => None,
            };
        }
        let clear = cleared.is_some();
        let mut effect = Self { clear, puts: Vec::new(), deletes: Vec::new() };
        for (key, value) in last {
            match value {
                Some(value) => effect.puts.push((key, value)),
                // Nothing is left to delete.
                None if clear => {}
                None => effect.deletes.push(key),
            }
        }
        effect.puts.sort_unstable();
        effect.deletes.sort_unstable();
        effect
    }
}

fn size(op: &ViewOp) -> usize {
    match op {
        ViewOp::Put(key, value) => key.as_str().len() + value.len(),
        ViewOp::Delete(key) => key.as_str().len(),
        ViewOp::Clear => 0,
    }
}

/// What one call holds, unless one batch is larger.
const MAX_OPS: usize = 5_000;
const MAX_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::ViewKey;

    fn put(key: &str, value: &'static [u8]) -> ViewOp {
        ViewOp::Put(ViewKey::new(key).unwrap(), value.into())
    }

    fn delete(key: &str) -> ViewOp {
        ViewOp::Delete(ViewKey::new(key).unwrap())
    }

    #[test]
    fn later_changes_win() {
        let ops = [put("a", b"1"), put("a", b"2"), put("b", b"1"), delete("b"), delete("c")];
        let effect = Effect::of(&ops);
        assert_eq!(
            effect,
            Effect { clear: false, puts: vec![("a", b"2")], deletes: vec!["b", "c"] }
        );
        let ops = [put("a", b"1"), ViewOp::Clear, delete("a"), put("b", b"2")];
        let effect = Effect::of(&ops);
        assert_eq!(effect, Effect { clear: true, puts: vec![("b", b"2")], deletes: vec![] });
    }
}
