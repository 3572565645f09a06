//! Real processes that are killed while they write. The test starts its own program again, with the
//! namespace in the environment, and then plays the other part.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use chat_core::ports::{EventStoreExt as _, Expected, PageLimit};
use chat_core::testkit::fixture::{event, read_log, single, stream};
use chat_core::{Namespace, PartitionId, StreamId};

use crate::support::Place;

const ROLE: &str = "CHAT_POSTGRES_TEST_NAMESPACE";
const NUMBER: &str = "CHAT_POSTGRES_TEST_NUMBER";

/// Starts this program again, to run only the given test, which then finds its role.
fn play(program: &Path, test: &str, namespace: &Namespace, number: u64) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, namespace.as_str())
        .env(NUMBER, number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// The namespace and the number that the starting process gave, if this is a started one.
fn role() -> Option<(Place, u64)> {
    let namespace = Namespace::new(std::env::var(ROLE).ok()?).unwrap();
    let number = std::env::var(NUMBER).unwrap().parse().unwrap();
    Some((Place::named(namespace), number))
}

/// What the other process said: lines that begin with the word, without it.
fn said(child: &mut Child, word: &'static str) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.filter_map(move |line| {
        // The test program's own lines may stand before a word without a line's end between.
        let line = line.ok()?;
        let start = line.find(word)?;
        Some(line.get(start + word.len()..)?.trim().to_owned())
    })
}

/// The events of one task of one killed process.
fn id_of(round: u64, task: u64, number: u64) -> u64 {
    (round * 100 + task) * 1_000_000 + number
}

const TASKS: u64 = 16;
const ROUNDS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let Some((place, round)) = role() {
        return append_until_killed(&place, round).await;
    }
    let place = Place::new();
    let test = "processes::a_killed_process_loses_nothing_that_was_acknowledged";
    let rounds = if std::env::var_os("CHAT_SOAK").is_some() { 100 } else { ROUNDS };
    for round in 0..rounds {
        let mut child = play(&this_program(), test, place.namespace(), round).spawn().unwrap();
        // Killed at another moment each time, always in the middle of the work.
        let mut heard = said(&mut child, "acknowledged ");
        let wanted = 1 + usize::try_from((round * 137) % 1_000).unwrap();
        let mut acknowledged: Vec<String> = heard.by_ref().take(wanted).collect();
        assert_eq!(acknowledged.len(), wanted, "the process ended before it was killed");
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(heard);
        check_after_kill(&place, round, &acknowledged).await;
    }
}

async fn append_until_killed(place: &Place, round: u64) {
    let store = place.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let name = stream(&format!("chat/{}", task % 4));
            for number in 1.. {
                let pair = [id_of(round, task, number), id_of(round, task, number) + 500_000];
                let append = single(&name, Expected::Any, pair.map(event).to_vec());
                let appended = store.append_one(append).await.unwrap();
                println!("acknowledged {task} {number} {}", appended.streams[0].first);
            }
        });
    }
    tasks.join_all().await;
}

async fn check_after_kill(place: &Place, round: u64, acknowledged: &[String]) {
    let store = place.open().await;
    let log = read_log(&store, PartitionId(0), PageLimit::MAX_EVENTS).await;
    let mut versions = HashMap::new();
    let mut heads: HashMap<StreamId, u64> = HashMap::new();
    for stored in &log {
        let head = heads.entry(stored.stream.clone()).or_default();
        *head += 1;
        assert_eq!(stored.version.0, *head, "{} is dense", stored.stream);
        let twice = versions.insert(stored.event.id, stored.version.0);
        assert_eq!(twice, None, "{} is there twice", stored.event.id);
    }
    let mut last = HashMap::new();
    for line in acknowledged {
        let words: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        // The last line may have been cut off by the kill.
        let [task, number, first] = words[..] else { continue };
        let id = id_of(round, task, number);
        assert_eq!(versions.get(&event(id).id), Some(&first), "{line}");
        assert_eq!(versions.get(&event(id + 500_000).id), Some(&(first + 1)), "{line}");
        last.insert(task, number);
    }
    // What was under way at the kill is settled by a repeat: whole or absent, and once in the end.
    for (task, number) in last {
        let name = stream(&format!("chat/{}", task % 4));
        let next = id_of(round, task, number + 1);
        let pair = [next, next + 500_000].map(event).to_vec();
        let there = versions.contains_key(&event(next).id);
        assert_eq!(there, versions.contains_key(&event(next + 500_000).id), "half an append");
        let settled = store.append_one(single(&name, Expected::Any, pair)).await.unwrap();
        assert_eq!(settled.repeat, there);
    }
    store.close().await;
}
