//! Real processes that are killed while they write, or write at once. The test starts its own
//! program again, which then plays the other part in the same namespace.

use chat_core::Namespace;
use chat_core::testkit::processes::{
    ACKNOWLEDGED, PROCESSES, append_until_killed, appends_before_kill, audit_writers,
    check_after_kill, write_beside_others,
};
use chat_core::testkit::scenarios::world::soak;
use chat_store_redis::RedisStore;
use test_servers::program::{Player, Role};

use crate::support::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let Some(Role { place, number }) = Role::given() {
        let store = open(&place).await;
        return append_until_killed(store.events(), number, |line| println!("{line}")).await;
    }
    let place = Place::on_one_server();
    let test = "processes::a_killed_process_loses_nothing_that_was_acknowledged";
    for round in 0..soak(100, 5) {
        let player = Player::play(test, place.config.namespace.as_str(), round).unwrap();
        let acknowledged = player.kill_after(ACKNOWLEDGED, appends_before_kill(round)).unwrap();
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
    let place = Place::on_one_server();
    let test =
        "processes::thirty_two_writers_of_four_processes_on_one_chat_and_on_many_lose_nothing";
    // There is no namespace yet: all of them try to make it.
    let start = |number| Player::play(test, place.config.namespace.as_str(), number).unwrap();
    let players: Vec<_> = (0..PROCESSES).map(start).collect();
    let finish = move || players.into_iter().for_each(|player| player.finish().unwrap());
    let writing = tokio::task::spawn_blocking(finish);
    audit_writers(place.open().await.events(), writing).await;
}

async fn open(namespace: &str) -> RedisStore {
    let mut place = Place::on_one_server();
    place.config.namespace = Namespace::new(namespace).unwrap();
    place.open().await
}
