//! Many writers in several processes. A script takes positions and writes in one step that nothing
//! comes between, so there is no commit that could be held back.

use chat_core::Namespace;
use chat_core::testkit::crowd;

use crate::support::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_four_processes_on_one_server_lose_nothing_and_a_reader_misses_nothing() {
    let test =
        "writers::writers_in_four_processes_on_one_server_lose_nothing_and_a_reader_misses_nothing";
    crowd_on(Place::on_one_server(), test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_four_processes_on_a_cluster_lose_nothing_and_a_reader_misses_nothing() {
    let test =
        "writers::writers_in_four_processes_on_a_cluster_lose_nothing_and_a_reader_misses_nothing";
    crowd_on(Place::on_a_cluster(), test).await;
}

async fn crowd_on(mut place: Place, test: &str) {
    if let Some(part) = test_servers::part() {
        let (namespace, process) = part.split_once(' ').unwrap();
        place.config.namespace = Namespace::new(namespace).unwrap();
        return crowd::write(&place.open().await.events(), process.parse().unwrap()).await;
    }
    let part = |process| format!("{} {process}", place.config.namespace);
    let start = |process| test_servers::again(test, &part(process)).unwrap().spawn().unwrap();
    let children: Vec<_> = (0..crowd::PROCESSES).map(start).collect();
    crowd::follow(place.open().await.events(), 0).await;
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}
