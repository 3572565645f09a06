//! Several real processes on one file: killed, racing, and without the right to write. A test
//! starts its own program again, which then plays the other part.

use std::path::Path;
use std::sync::Arc;

use chat_core::ports::StoreError;
use chat_core::testkit::processes::{
    ACKNOWLEDGED, PROCESSES, append_until_killed, appends_before_kill, audit_writers,
    check_after_kill, write_beside_others,
};
use chat_core::testkit::scenarios::world::soak;
use chat_store_sql::sqlite::{SqliteConfig, SqliteStore};
use test_servers::program::{Player, Role, command, this_program};

use crate::support::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let Some(Role { place, number }) = Role::given() {
        let store = open(&place).await;
        return append_until_killed(store.events(), number, |line| println!("{line}")).await;
    }
    let place = Place::new();
    let test = "processes::a_killed_process_loses_nothing_that_was_acknowledged";
    for round in 0..soak(100, 8) {
        let player = Player::play(test, place.path(), round).unwrap();
        let acknowledged = player.kill_after(ACKNOWLEDGED, appends_before_kill(round)).unwrap();
        // Nobody else has the file open: what the killed one left is set right now.
        let store = place.open().await;
        check_after_kill(&store, round, &acknowledged).await;
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_writers_of_four_processes_on_one_chat_and_on_many_lose_nothing() {
    if let Some(Role { place, number }) = Role::given() {
        let store = open(&place).await;
        write_beside_others(store.events(), number).await;
        return store.close().await;
    }
    let place = Place::new();
    let test =
        "processes::thirty_two_writers_of_four_processes_on_one_chat_and_on_many_lose_nothing";
    // The file does not exist: all of them try to make it.
    let start = |number| Player::play(test, place.path(), number).unwrap();
    let players: Vec<_> = (0..PROCESSES).map(start).collect();
    let finish = move || players.into_iter().for_each(|player| player.finish().unwrap());
    let writing = tokio::task::spawn_blocking(finish);
    audit_writers(Arc::new(place.open().await), writing).await;
}

async fn open(file: &str) -> SqliteStore {
    SqliteStore::open(SqliteConfig::new(file)).await.unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_without_the_right_to_write_is_refused_as_read_only() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;

    if let Some(role) = Role::given() {
        let opened = SqliteStore::open(SqliteConfig::new(role.place)).await;
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
    std::fs::copy(this_program().unwrap(), &program).unwrap();
    permit(&program, 0o755);
    permit(&place.path(), 0o444);
    permit(&directory, 0o555);
    let test = "processes::a_file_without_the_right_to_write_is_refused_as_read_only";
    let mut command = command(&program, test, place.path(), 0);
    command.current_dir("/");
    if root {
        command.uid(65_534).gid(65_534);
    }
    let mut player = Player::start(command).unwrap();
    let opened: Vec<String> = player.said("opened ").collect();
    permit(&directory, 0o755);
    assert_eq!(opened.len(), 1);
    assert!(opened[0].starts_with("true"), "{opened:?}");
}
