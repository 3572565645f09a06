//! Real processes that are killed while they write, or write at once. The test starts its own
//! program again, which then plays the other part in the same namespace.

use chat_core::Namespace;
use chat_core::testkit::processes::{
    ACKNOWLEDGED, PROCESSES, append_until_killed, appends_before_kill, audit_writers,
    check_after_kill, write_beside_others,
};
use chat_core::testkit::scenarios::world::soak;
use chat_store_sql::postgres::PostgresStore;
use test_servers::program::{Player, Role};

use crate::support::{Place, execute};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let Some(Role { place, number }) = Role::given() {
        let store = open(place).await;
        return append_until_killed(store.events(), number, |line| println!("{line}")).await;
    }
    let place = Place::new();
    let test = "processes::a_killed_process_loses_nothing_that_was_acknowledged";
    for round in 0..soak(100, 8) {
        let player = Player::play(test, place.namespace().as_str(), round).unwrap();
        let acknowledged = player.kill_after(ACKNOWLEDGED, appends_before_kill(round)).unwrap();
        let store = place.open().await;
        check_after_kill(&store, round, &acknowledged).await;
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_writers_of_four_processes_on_one_chat_and_on_many_lose_nothing() {
    if let Some(role) = Role::given() {
        return write(role).await;
    }
    let test =
        "processes::thirty_two_writers_of_four_processes_on_one_chat_and_on_many_lose_nothing";
    // There are no tables yet: all of them try to make them.
    write_and_audit(&Place::new(), test).await;
}

/// Everybody stands still between taking a position and the commit, each time for another while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_misses_nothing_of_writers_whose_commits_are_held_up() {
    if let Some(role) = Role::given() {
        return write(role).await;
    }
    let place = Place::new();
    place.open().await.close().await;
    let ns = place.namespace();
    execute(&format!(
        "CREATE FUNCTION {ns}_dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$;
         CREATE TRIGGER dawdle AFTER INSERT ON {ns}_events
         FOR EACH STATEMENT EXECUTE FUNCTION {ns}_dawdle()"
    ))
    .await;
    let test = "processes::a_reader_misses_nothing_of_writers_whose_commits_are_held_up";
    write_and_audit(&place, test).await;
}

async fn write(role: Role) {
    let store = open(role.place).await;
    write_beside_others(store.events(), role.number).await;
    store.close().await;
}

async fn write_and_audit(place: &Place, test: &str) {
    let start = |number| Player::play(test, place.namespace().as_str(), number).unwrap();
    let players: Vec<_> = (0..PROCESSES).map(start).collect();
    let finish = move || players.into_iter().for_each(|player| player.finish().unwrap());
    let writing = tokio::task::spawn_blocking(finish);
    audit_writers(place.open().await.events(), writing).await;
}

async fn open(namespace: String) -> PostgresStore {
    Place::named(Namespace::new(namespace).unwrap()).open().await
}
