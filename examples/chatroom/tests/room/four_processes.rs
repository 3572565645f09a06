//! Four processes on one server are one room, also while the bus between them is cut again and
//! again: what is written in one is seen in each of them once, in one order. Each test has a server
//! of its own, as cutting a bus cuts everybody's. `CHAT_SOAK=1` sends more, and says how long a
//! message takes from one process to the others.

use std::sync::mpsc;
use std::time::Duration;

use chat_core::testkit::scenarios::world::soak;
use futures::future::join_all;
use serde_json::{Value, json};
use test_servers::{MariaDb, Postgres, Redis, RedisCluster};
use tokio::time::Instant;

use super::program::Program;
use super::tab::Tab;
use super::visitor::Visitor;

const PROCESSES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_on_one_postgres_are_one_room_whatever_becomes_of_the_bus() {
    let server = blocking(|| Postgres::start().unwrap()).await;
    let listeners = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                     WHERE query LIKE 'LISTEN%'";
    let cut = |server: &Postgres| number(&server.query(listeners).unwrap());
    stay_one_room("PostgreSQL", &server.url(), server, cut).await;
}

/// The bus is a table; what is sent is gone from it before many have looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_on_one_mariadb_are_one_room_whatever_becomes_of_the_bus() {
    let server = blocking(|| MariaDb::start().unwrap()).await;
    let signals = "DELETE FROM chat_signals RETURNING id";
    let cut = |server: &MariaDb| server.query(signals).unwrap().lines().count();
    stay_one_room("MariaDB", &server.url(), server, cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_on_one_redis_are_one_room_whatever_becomes_of_the_bus() {
    let server = blocking(|| Redis::start().unwrap()).await;
    let cut = |server: &Redis| number(&server.command(KILL).unwrap());
    stay_one_room("Redis", &server.url(), server, cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_on_one_cluster_are_one_room_whatever_becomes_of_the_bus() {
    let cluster = blocking(|| RedisCluster::start().unwrap()).await;
    let url = cluster.url().replacen("redis:", "redis+cluster:", 1);
    let cut = |cluster: &RedisCluster| {
        let nodes = 0..cluster.urls().len();
        nodes.map(|node| number(&cluster.command(node, KILL).unwrap())).sum()
    };
    stay_one_room("Redis Cluster", &url, cluster, cut).await;
}

const KILL: &[&str] = &["CLIENT", "KILL", "TYPE", "pubsub"];

fn number(answer: &str) -> usize {
    answer.trim().parse().unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// `cut` cuts the bus once and says how much there was to cut.
async fn stay_one_room<S: Send + 'static>(
    name: &str,
    url: &str,
    server: S,
    cut: impl Fn(&S) -> usize + Send + 'static,
) {
    let start = (0..PROCESSES).map(|_| Program::start_on(url, 0));
    let programs = join_all(start).await;
    let enter = programs.iter().enumerate().map(|(n, program)| Person::enter(n, &program.url));
    let mut people = join_all(enter).await;

    talk(&mut people, "whole").await;

    let (stop, stopped) = mpsc::channel();
    let cutting = tokio::task::spawn_blocking(move || {
        let mut cuts = 0;
        loop {
            cuts += cut(&server);
            if stopped.recv_timeout(Duration::from_millis(20)).is_ok() {
                return (server, cuts);
            }
        }
    });
    talk(&mut people, "cut").await;
    stop.send(()).unwrap();
    let (server, cuts) = cutting.await.unwrap();
    assert!(cuts > 0, "there was no bus to cut");

    let median = pass_on(&mut people).await;
    if soak(true, false) {
        println!("{name}: from one process to each of {PROCESSES}, median {median:?}");
    }
    let first = people.first().unwrap().seen.clone();
    for person in &people {
        assert_eq!(person.seen, first, "one order for all");
    }
    assert!(first.windows(2).all(|pair| pair[0].0 < pair[1].0), "twice, or in disorder: {first:?}");
    assert_eq!(history(people.first_mut().unwrap()).await, first);
    for program in programs {
        program.terminate().await;
    }
    drop(server);
}

/// Somebody at one of the processes.
struct Person {
    name: String,
    tab: Tab,
    lobby: String,
    /// Messages that came live: version and text.
    seen: Vec<(u64, String)>,
}

impl Person {
    async fn enter(number: usize, url: &str) -> Self {
        let name = format!("person-{number}");
        let mut tab = Visitor::registered(url, &name).await.tab().await;
        let lobby = tab.lobby().await;
        tab.ask("open", json!({ "room": lobby, "limit": 1 })).await;
        Self { name, tab, lobby, seen: Vec::new() }
    }

    async fn say(&mut self, text: &str) {
        self.tab.say(&self.lobby, text).await;
    }

    /// Reads until so many messages have come in all.
    async fn sees(&mut self, messages: usize) {
        while self.seen.len() < messages {
            let said = self.tab.pushed("the rest", |said| said["events"].is_array()).await;
            let events = said["events"].as_array().unwrap().iter();
            let messages = events.filter(|event| event["type"] == "message_sent");
            self.seen.extend(messages.map(|event| seen(&event["v"], &event["data"]["text"])));
        }
    }
}

fn seen(version: &Value, text: &Value) -> (u64, String) {
    (version.as_u64().unwrap(), text.as_str().unwrap().to_owned())
}

/// All write at once; each sees everything.
async fn talk(people: &mut [Person], about: &str) {
    let each = soak(200, 10);
    let wanted = people[0].seen.len() + each * PROCESSES;
    let talking = people.iter_mut().map(async |person| {
        for number in 0..each {
            let text = format!("{about} {} {number}", person.name);
            person.say(&text).await;
        }
        person.sees(wanted).await;
    });
    join_all(talking).await;
    for person in people.iter() {
        for of in 0..PROCESSES {
            let beginning = format!("{about} person-{of} ");
            let texts = person.seen.iter().filter_map(|(_, text)| text.strip_prefix(&beginning));
            let expected: Vec<_> = (0..each).map(|number| number.to_string()).collect();
            assert_eq!(texts.collect::<Vec<_>>(), expected, "{}'s order", person.name);
        }
    }
}

/// Messages one by one, from each in turn to all others; how long one takes.
async fn pass_on(people: &mut [Person]) -> Duration {
    let mut took = Vec::new();
    for number in 0..soak(200, 8) {
        let wanted = people[0].seen.len() + 1;
        let start = Instant::now();
        let (author, text) = (number % PROCESSES, format!("passed on {number}"));
        let passing = people.iter_mut().enumerate().map(async |(n, person)| {
            if n == author {
                person.say(&text).await;
            }
            person.sees(wanted).await;
            (n, start.elapsed())
        });
        let others = join_all(passing).await.into_iter().filter(|(n, _)| *n != author);
        took.extend(others.map(|(_, elapsed)| elapsed));
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// The messages that who comes fresh finds, the oldest first.
async fn history(person: &mut Person) -> Vec<(u64, String)> {
    let room = &person.lobby;
    let mut page = person.tab.ask("open", json!({ "room": room, "limit": 100 })).await;
    let mut found = Vec::new();
    loop {
        let messages = page["messages"].as_array().unwrap().iter().rev();
        found.extend(messages.map(|message| seen(&message["seq"], &message["text"])));
        if page["found_oldest"] == true {
            break;
        }
        let before = page["before"].clone();
        let next = json!({ "room": room, "before": before, "limit": 100 });
        page = person.tab.ask("history", next).await;
    }
    found.reverse();
    found
}
