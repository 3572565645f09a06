//! Several real processes on one file: killed, racing, and without the right to write. A test
//! starts its own program again, with the file's path in the environment, and then plays the other
//! part.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chat_core::ports::{EventStoreExt as _, Expected, PageLimit, StoreError};
use chat_core::testkit::crowd;
use chat_core::testkit::fixture::{event, read_log, single, stream, write};
use chat_core::testkit::scenarios::world::soak;
use chat_core::{PartitionId, StreamId};
use chat_store_sql::sqlite::{SqliteConfig, SqliteStore};
use rusqlite::TransactionBehavior;

use crate::support::Place;

const ROLE: &str = "CHAT_SQLITE_TEST_FILE";
const NUMBER: &str = "CHAT_SQLITE_TEST_NUMBER";

/// Starts this program again, to run only the given test, which then finds its role.
fn play(program: &Path, test: &str, file: &Path, number: u64) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, file)
        .env(NUMBER, number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// The file and the number that the starting process gave, if this is a started one.
fn role() -> Option<(PathBuf, u64)> {
    let file = std::env::var_os(ROLE)?;
    let number = std::env::var(NUMBER).unwrap().parse().unwrap();
    Some((file.into(), number))
}

async fn open(file: &Path) -> SqliteStore {
    SqliteStore::open(SqliteConfig::new(file)).await.unwrap()
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
    if let Some((file, round)) = role() {
        return append_until_killed(&file, round).await;
    }
    let place = Place::new();
    let test = "processes::a_killed_process_loses_nothing_that_was_acknowledged";
    for round in 0..soak(100, ROUNDS) {
        let mut child = play(&this_program(), test, &place.path(), round).spawn().unwrap();
        // Killed at another moment each time, always in the middle of the work.
        let mut heard = said(&mut child, "acknowledged ");
        let wanted = 1 + usize::try_from(round * 137 % 1_000).unwrap();
        let mut acknowledged: Vec<String> = heard.by_ref().take(wanted).collect();
        assert_eq!(acknowledged.len(), wanted, "the process ended before it was killed");
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(heard);
        check_after_kill(&place, round, &acknowledged).await;
    }
}

async fn append_until_killed(file: &Path, round: u64) {
    let store = open(file).await;
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

const HELD_BACK: u64 = 10;

/// The processes race for a file that does not exist yet. Meanwhile somebody else takes places in
/// the log and commits only when the reader has looked at it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_four_processes_lose_nothing_and_a_reader_misses_nothing() {
    if let Some((file, process)) = role() {
        return crowd::write(&open(&file).await.events(), process).await;
    }
    let place = Place::new();
    let test = "processes::writers_in_four_processes_lose_nothing_and_a_reader_misses_nothing";
    let start = |process| play(&this_program(), test, &place.path(), process).spawn().unwrap();
    let children: Vec<Child> = (0..crowd::PROCESSES).map(start).collect();
    let store = place.open().await;
    let others = usize::try_from(2 * HELD_BACK).unwrap();
    let reading = tokio::spawn(crowd::follow(place.open().await.events(), others));
    let name = stream("chat/host");
    for number in 0..HELD_BACK {
        write(&store, &name, Expected::Any, vec![event(1_000_000_000 + number)]).await;
        let mut host = place.raw();
        host.busy_timeout(Duration::from_secs(120)).unwrap();
        let held = host.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let id = event(2_000_000_000 + number).id;
        held.execute(
            "INSERT INTO chat_events SELECT (SELECT max(position) + 1 FROM chat_events),
                 stream, version + 1, ?1, type, schema_version, recorded_at, payload, metadata
             FROM chat_events JOIN chat_streams ON id = stream
             WHERE name = 'chat/host' ORDER BY version DESC LIMIT 1",
            [id.0.as_bytes()],
        )
        .unwrap();
        for _ in 0..3 {
            read_log(&store, PartitionId(0), PageLimit::MAX_EVENTS).await;
        }
        held.commit().unwrap();
    }
    reading.await.unwrap();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    store.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_without_the_right_to_write_is_refused_as_read_only() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;

    if let Some((file, _)) = role() {
        let opened = SqliteStore::open(SqliteConfig::new(&file)).await;
        let refused = matches!(opened, Err(StoreError::ReadOnly { .. }));
        println!("opened {refused} {opened:?}");
        return;
    }
    let place = Place::new();
    place.open().await.close().await;
    let directory = place.path().parent().unwrap().to_owned();
    let permit = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // The user `root` may write whatever the permissions say, so another user tries, who may not
    // read this program where it lies.
    let root = std::fs::metadata(&directory).unwrap().uid() == 0;
    let program = directory.join("program");
    std::fs::copy(this_program(), &program).unwrap();
    permit(&program, 0o755);
    permit(&place.path(), 0o444);
    permit(&directory, 0o555);
    let test = "processes::a_file_without_the_right_to_write_is_refused_as_read_only";
    let mut command = play(&program, test, &place.path(), 0);
    command.current_dir("/");
    if root {
        command.uid(65_534).gid(65_534);
    }
    let mut child = command.spawn().unwrap();
    let opened: Vec<String> = said(&mut child, "opened ").collect();
    child.wait().unwrap();
    permit(&directory, 0o755);
    assert_eq!(opened.len(), 1);
    assert!(opened[0].starts_with("true"), "{opened:?}");
}
