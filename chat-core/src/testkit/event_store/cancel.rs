//! Callers who do not wait for the answer: guarantee 10.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::id::StreamId;
use crate::ports::{Append, Expected};
use crate::testkit::StoreHarness;
use crate::testkit::audit::audit_all;
use crate::testkit::fixture::{events, give_up_after, ids, multi, read_all, single, stream};

/// Guarantee 10: "done or not done, never half. Repeating them with the same ids settles them."
pub async fn a_dropped_append_is_whole_or_absent_and_a_repeat_settles_it(
    harness: &dyn StoreHarness,
) {
    const APPENDS: u64 = 200;
    let store = harness.open().await;
    let names: [StreamId; 2] = ["1/{key}", "2/{key}"].map(stream);
    let append = |number: u64| {
        let write = |index: usize| {
            let first = number * 10 + index as u64 * 2;
            (&names[index], Expected::Any, events([first, first + 1]))
        };
        multi(vec![write(0), write(1)], vec![])
    };
    let mut tasks = JoinSet::new();
    for number in 0..APPENDS {
        let (store, append) = (Arc::clone(&store), append(number));
        let polls = usize::try_from(number % 6).expect("a small number");
        tasks.spawn(async move {
            give_up_after(polls, store.append(std::slice::from_ref(&append))).await;
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("a caller");
    }
    // What was dropped may still arrive; a repeat comes before it or after it.
    for number in 0..APPENDS {
        for result in store.append(&[append(number)]).await {
            result.unwrap_or_else(|error| panic!("repeating append {number}: {error}"));
        }
    }
    let stored = [read_all(&*store, &names[0]).await, read_all(&*store, &names[1]).await];
    for (index, stored) in (0_u64..).zip(&stored) {
        let mut found = ids(stored);
        assert!(found.chunks_exact(2).all(|pair| pair[0] < pair[1]), "a torn write");
        found.sort_unstable();
        let all = (0..APPENDS).flat_map(|number| {
            let first = number * 10 + index * 2;
            [first, first + 1]
        });
        let all: Vec<_> = events(all).into_iter().map(|event| event.id).collect();
        assert_eq!(found, all, "{}", names[usize::try_from(index).expect("a small number")]);
    }
    // Both streams saw the appends in one order.
    let orders = stored.map(|stored| {
        let numbers = stored.iter().map(|event| event.event.recorded_at.0 / 10);
        numbers.collect::<Vec<_>>()
    });
    assert_eq!(orders[0], orders[1]);
    assert_eq!(audit_all(&store).await, usize::try_from(APPENDS * 4).expect("a small number"));
}

/// Guarantee 10, for calls of several appends.
pub async fn a_dropped_call_of_many_appends_is_settled_by_a_repeat(harness: &dyn StoreHarness) {
    const CALLS: u64 = 40;
    let store = harness.open().await;
    let call = |number: u64| -> Vec<Append> {
        let name = stream(&format!("chat/{number}"));
        (0..10).map(|n| single(&name, Expected::Any, events([number * 10 + n]))).collect()
    };
    let mut tasks = JoinSet::new();
    for number in 0..CALLS {
        let (store, appends) = (Arc::clone(&store), call(number));
        let polls = usize::try_from(number % 6).expect("a small number");
        tasks.spawn(async move {
            give_up_after(polls, store.append(&appends)).await;
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("a caller");
    }
    for number in 0..CALLS {
        for result in store.append(&call(number)).await {
            result.unwrap_or_else(|error| panic!("repeating call {number}: {error}"));
        }
        let stored = ids(&read_all(&*store, &stream(&format!("chat/{number}"))).await);
        let all: Vec<_> =
            events(number * 10..number * 10 + 10).into_iter().map(|event| event.id).collect();
        assert_eq!(stored, all, "each once, in the order of the call");
    }
}
