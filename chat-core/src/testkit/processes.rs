//! What processes do to a store that they share, and what must hold in it afterwards: in the middle
//! of it killed, or all at once. Starting and killing them is the adapter's test's own business.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{JoinHandle, JoinSet};

use super::audit::{LogAuditor, audit_all};
use super::fixture::{event, event_id, multi, partitions, read_all, read_log, single, stream};
use super::scenarios::world::soak;
use crate::event::NewEvent;
use crate::id::{StreamId, Version};
use crate::ports::{Append, EventStore, EventStoreExt as _, Expected, PageLimit};

/// The part of a process that is killed: appends pairs of events for ever, and says of each append
/// that it was acknowledged, in the words of [`check_after_kill`].
///
/// # Panics
/// If an append fails.
pub async fn append_until_killed(store: Arc<dyn EventStore>, round: u64, say: fn(&str)) {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for number in 1.. {
                let appended = store.append_one(pair(round, task, number)).await;
                let first = appended.expect("an append").streams[0].first;
                say(&format!("{ACKNOWLEDGED}{task} {number} {first}"));
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("a task that appends");
    }
}

/// What [`append_until_killed`] says before the numbers of an append.
pub const ACKNOWLEDGED: &str = "acknowledged ";

/// How many appends to hear of before the kill: another number each time.
#[must_use]
pub fn appends_before_kill(round: u64) -> usize {
    usize::try_from(1 + round * 137 % 1_000).unwrap_or(1)
}

/// Checks a store after a process was killed: what it had said was acknowledged is there, once, at
/// its place; the rest is whole or absent, and a repeat settles it.
///
/// # Panics
/// If that is not so.
pub async fn check_after_kill(store: &dyn EventStore, round: u64, acknowledged: &[String]) {
    let mut versions = HashMap::new();
    let mut heads: HashMap<StreamId, Version> = HashMap::new();
    for partition in partitions(store).await {
        for stored in read_log(store, partition, PageLimit::MAX_EVENTS).await {
            let head = heads.entry(stored.stream.clone()).or_default();
            assert_eq!(stored.version, head.next(), "a hole or a repeat in {}", stored.stream);
            *head = stored.version;
            let twice = versions.insert(stored.event.id, stored.version);
            assert_eq!(twice, None, "{} is there twice", stored.event.id);
        }
    }
    let version = |id: u64| versions.get(&event_id(id)).copied();
    let mut last: HashMap<u64, u64> = (0..TASKS).map(|task| (task, 0)).collect();
    for line in acknowledged {
        let words: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        // The last line may have been cut off by the kill.
        let [task, number, first] = words[..] else { continue };
        let id = id_of(round, task, number);
        assert_eq!(version(id), Some(Version(first)), "{line}");
        assert_eq!(version(id + 1), Some(Version(first + 1)), "{line}");
        last.insert(task, number);
    }
    for (task, number) in last {
        let id = id_of(round, task, number + 1);
        assert_eq!(version(id).map(Version::next), version(id + 1), "half an append");
        let settled = store.append_one(pair(round, task, number + 1)).await;
        assert_eq!(settled.expect("a repeat").repeat, version(id).is_some(), "append {id}");
    }
}

fn pair(round: u64, task: u64, number: u64) -> Append {
    let id = id_of(round, task, number);
    let name = stream(&format!("chat/{}", task % 4));
    single(&name, Expected::Any, vec![event(id), event(id + 1)])
}

fn id_of(round: u64, task: u64, number: u64) -> u64 {
    ((round * TASKS + task) * 1_000_000 + number) * 2
}

const TASKS: u64 = 16;

/// The processes that [`write_beside_others`] is meant for, by their numbers from zero.
pub const PROCESSES: u64 = 4;
const WRITERS: u64 = 8;
const STREAMS: u64 = 3;

/// The part of one of [`PROCESSES`] that write at once: eight writers, each to one chat that all
/// share, to one that it shares with one writer of each process, and to one of its own, where it
/// must know the version.
///
/// # Panics
/// If an append fails, or an event does not stand where the answer said.
pub async fn write_beside_others(store: Arc<dyn EventStore>, process: u64) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write_alone(Arc::clone(&store), writer, process * WRITERS + writer));
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer");
    }
}

async fn write_alone(store: Arc<dyn EventStore>, pair: u64, writer: u64) {
    let names = [shared(), stream(&format!("chat/pair/{pair}")), own(writer)];
    let mut answers = Vec::new();
    for number in 0..rounds() {
        let id = (writer * 1_000_000 + number) * STREAMS;
        let expected = [Expected::Any, Expected::Any, Expected::Exactly(Version(number))];
        let append =
            |((name, expected), id): ((&StreamId, _), _)| single(name, expected, vec![event(id)]);
        let appends: Vec<_> = names.iter().zip(expected).zip(id..).map(append).collect();
        for ((name, answer), id) in names.iter().zip(store.append(&appends).await).zip(id..) {
            let appended = answer.expect("an append");
            answers.push((name.clone(), appended.streams[0].first, event_id(id)));
        }
    }
    let mut there = HashMap::new();
    for name in &names {
        for stored in read_all(&*store, name).await {
            there.insert((name.clone(), stored.version), stored.event.id);
        }
    }
    for (name, version, id) in answers {
        let found = there.get(&(name.clone(), version));
        assert_eq!(found, Some(&id), "{name} at {version}, where it was acknowledged");
    }
}

/// Follows the logs of a store while the [`PROCESSES`] write, until they have ended, and checks
/// that the reader and the streams have every event, once and in one order.
///
/// # Panics
/// If that is not so, or `writing` has.
pub async fn audit_writers(store: Arc<dyn EventStore>, writing: JoinHandle<()>) {
    let mut auditors: Vec<_> = partitions(&*store)
        .await
        .into_iter()
        .map(|partition| LogAuditor::new(Arc::clone(&store), partition))
        .collect();
    while !writing.is_finished() {
        for auditor in &mut auditors {
            auditor.step(PageLimit::events(7)).await;
        }
        tokio::task::yield_now().await;
    }
    writing.await.expect("the processes");
    let mut count = 0;
    for auditor in auditors {
        count += auditor.finish().await.len() as u64;
    }
    assert_eq!(count, PROCESSES * WRITERS * rounds() * STREAMS, "events in all");
    let head = store.head(&shared()).await.expect("a head");
    assert_eq!(head, Version(PROCESSES * WRITERS * rounds()));
    for writer in 0..PROCESSES * WRITERS {
        assert_eq!(store.head(&own(writer)).await.expect("a head"), Version(rounds()));
    }
}

fn shared() -> StreamId {
    stream("chat/shared")
}

fn own(writer: u64) -> StreamId {
    stream(&format!("chat/own/{writer}"))
}

fn rounds() -> u64 {
    soak(400, 20)
}

/// Appends to the same three streams in opposite orders through several handles at once: nobody
/// blocks another for good, and nothing is lost. Ten thousand appends in the long form.
///
/// # Panics
/// If an append fails or the store does not hold what was appended.
pub async fn write_in_opposite_orders(handles: &[Arc<dyn EventStore>]) {
    let (appends, writers) = (soak(10_000, 300), handles.len() * 2);
    let mut tasks = JoinSet::new();
    for (writer, store) in handles.iter().chain(handles).enumerate() {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let mut names = ["a/{k}", "b/{k}", "c/{k}"].map(stream);
            // Both orders through each handle, too.
            if (writer + writer / (writers / 2)) % 2 == 1 {
                names.reverse();
            }
            for number in (writer as u64..appends).step_by(writers) {
                let write = |(name, id)| (name, Expected::Any, vec![event(id)]);
                let writes: Vec<(&StreamId, Expected, Vec<NewEvent>)> =
                    names.iter().zip(number * STREAMS..).map(write).collect();
                store.append_one(multi(writes, Vec::new())).await.expect("an append");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("a writer");
    }
    let store = handles.first().expect("a handle");
    assert_eq!(audit_all(store).await as u64, appends * STREAMS, "events in all");
}
