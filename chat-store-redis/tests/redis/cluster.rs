//! A cluster whose slots move and whose masters are replaced while a hundred chats are written to.
//! Each test has a cluster of its own.

use std::time::Duration;

use chat_core::domain::NewGroup;
use chat_core::ports::{BusItem, EventStore as _, Signal, SignalBody};
use chat_core::testkit::fixture::{read_all, stream, write_each};
use chat_core::testkit::scenarios::world::soak;
use chat_core::{
    Delivery, Engine, Epoch, NewMessage, ResetReason, SubscribeFrom, SubscriptionEnd, Topic,
    UserHandle, UserId, Version,
};
use chat_store_redis::{RedisConfig, RedisStore, ReplicaSync, Topology};
use futures::StreamExt as _;
use test_servers::RedisCluster;
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::support::{Place, SOON};
use crate::work::{Work, lost};

const PARTITIONS: u32 = 4;
/// A signal may be lost while its slot moves.
const PUBLISHED_AGAIN: Duration = Duration::from_millis(200);

fn start() -> RedisCluster {
    block_in_place(|| RedisCluster::start().unwrap())
}

/// A namespace whose partition 0 is with the node.
fn place(cluster: &RedisCluster, holder: usize, partitions: u32) -> Place {
    // Any of them may be gone when somebody connects.
    let urls = cluster.urls();
    let hosts = urls.iter().flat_map(|url| RedisConfig::from_url(url).unwrap().hosts);
    let hosts: Vec<_> = hosts.collect();
    loop {
        let place = Place::at(&cluster.url(), Topology::Cluster).with_partitions(partitions);
        if cluster.holder(holder, slot(cluster, holder, &place, 0)).unwrap() == holder {
            let mut config = place.config.with_patience(SOON);
            config.hosts = hosts;
            return Place { config };
        }
    }
}

/// The same place, with a replica that must have what is acknowledged.
fn careful(place: &Place) -> Place {
    Place { config: place.config.clone().with_replicas(1, ReplicaSync::Memory) }
}

fn slot(cluster: &RedisCluster, asked: usize, place: &Place, partition: u32) -> u16 {
    let namespace = place.config.namespace.as_str();
    cluster.slot_of(asked, &format!("{{{namespace}:{partition}}}")).unwrap()
}

async fn epoch(store: &RedisStore) -> Epoch {
    store.info().await.unwrap().epoch
}

/// How often the nodes have sent a client on, with this word.
fn sent_on(cluster: &RedisCluster, word: &str) -> u64 {
    let count = |node| {
        let errors = cluster.command(node, &["INFO", "errorstats"]).unwrap();
        let line =
            errors.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{word}:count=")));
        line.map_or(0, |count| count.trim().parse::<u64>().unwrap())
    };
    (0..3).map(count).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_while_chats_are_written_and_followed() {
    let cluster = start();
    let place = block_in_place(|| place(&cluster, 0, PARTITIONS));
    let (store, other) = (place.open().await, place.open().await);
    let before = epoch(&store).await;
    let topic = topic_of_partition(&store, 0);
    let mut signals = other.bus().subscribe(&topic).await.unwrap();
    let work = Work::start(&place).await;
    work.more(200).await;
    for round in 0..soak(25, 1) {
        for partition in 0..2 {
            let (slot, from, to) = block_in_place(|| {
                let slot = slot(&cluster, 0, &place, partition);
                let from = cluster.holder(0, slot).unwrap();
                (slot, from, (from + 1 + round as usize % 2) % 3)
            });
            let moved = block_in_place(|| cluster.start_move(slot, from, to).unwrap());
            work.more(20).await;
            // A few at a time: what names keys of both sides has to wait.
            while block_in_place(|| cluster.move_keys(&moved, 5).unwrap()) > 0 {}
            // All keys are there already, and the slot is not: `ASK`.
            work.more(50).await;
            block_in_place(|| {
                cluster.finish_move(&moved).unwrap();
                cluster.wait_until_holder(to, slot).unwrap();
            });
            work.more(50).await;
            // The subscriber has followed its slot, and says so if a signal may be missing.
            let signal = Signal { topic: topic.clone(), body: SignalBody::Ring(Version(7)) };
            let arrives = async {
                loop {
                    store.bus().publish(std::slice::from_ref(&signal)).await.unwrap();
                    let next = timeout(PUBLISHED_AGAIN, signals.next()).await;
                    match next {
                        Ok(Some(BusItem::Signal(heard))) if heard == signal => return,
                        Ok(None) => panic!("the subscription has ended"),
                        _ => {}
                    }
                }
            };
            timeout(SOON, arrives).await.expect("signals arrive again");
        }
    }
    let written = work.end().await;
    assert_eq!(lost(&place, &written).await, 0);
    assert_eq!(epoch(&store).await, before, "nothing was lost");
    for word in ["ASK", "MOVED"] {
        assert_ne!(block_in_place(|| sent_on(&cluster, word)), 0, "{word} was never answered");
    }
}

fn topic_of_partition(store: &RedisStore, partition: u32) -> Topic {
    let names = (0..).map(|number| format!("chat/{number}"));
    let mut names = names.filter(|name| store.partition_of(&stream(name)).0 == partition);
    Topic::new(names.next().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_its_killed_masters_place_while_chats_are_written() {
    let mut cluster = start();
    let careless = block_in_place(|| place(&cluster, 0, PARTITIONS));
    let careful = careful(&block_in_place(|| place(&cluster, 0, PARTITIONS)));
    let stores = [careless.open().await, careful.open().await];
    let works = [Work::start(&careless).await, Work::start(&careful).await];
    for _ in 0..soak(10, 1) {
        for work in &works {
            work.more(200).await;
        }
        let epochs = [epoch(&stores[0]).await, epoch(&stores[1]).await];
        let (victim, heir, slot) = block_in_place(|| {
            let slot = slot(&cluster, 5, &careless, 0);
            let victim = cluster.holder(5, slot).unwrap();
            let heir = cluster.replica_of(victim, victim).unwrap();
            cluster.pause_node(heir).unwrap();
            // What is in the replica's socket already would not be lost.
            cluster.command(victim, &["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
            (victim, heir, slot)
        });
        // The replica lacks it: whoever does not wait is told what will be lost.
        works[0].more(200).await;
        block_in_place(|| {
            cluster.kill_node(victim).unwrap();
            cluster.resume_node(heir).unwrap();
            cluster.take_over(heir).unwrap();
            cluster.wait_until_holder(heir, slot).unwrap();
        });
        works[0].more(200).await;
        block_in_place(|| cluster.restart_node(victim).unwrap());
        for (work, (store, before)) in works.iter().zip(stores.iter().zip(epochs)) {
            work.more(200).await;
            assert_ne!(epoch(store).await, before, "a promoted replica may lack something");
        }
    }
    let [careless_work, careful_work] = works;
    let written = [careless_work.end().await, careful_work.end().await];
    assert_ne!(lost(&careless, &written[0]).await, 0, "only who waits loses nothing");
    assert_eq!(lost(&careful, &written[1]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_tail_is_told_to_every_reader_and_writer() {
    let mut cluster = start();
    let place = block_in_place(|| place(&cluster, 0, 1));
    let mut node = 0;
    let (saw, idle) = (place.open().await, place.open().await);
    let careful = careful(&place).open().await;
    let engines = [engine(&place).await, engine(&place).await];
    let [ann, bob] = [user(&engines[0], "ann"), user(&engines[1], "bob")];
    let chat = ann.create_group(NewGroup::named("tea").open(), None).await.unwrap().chat;
    bob.chat(&chat).join(None).await.unwrap();
    let name = stream("log");
    let mut kept = 0;
    for round in 0..soak(10, 1) {
        ann.chat(&chat).send(NewMessage::text("kept")).await.unwrap();
        // The replica has all that was written before as well.
        write_each(&careful, &name, kept..kept + 3).await;
        kept += 3;
        let before = epoch(&idle).await;
        let heir = block_in_place(|| {
            let heir = cluster.replica_of(node, node).unwrap();
            cluster.pause_node(heir).unwrap();
            // What is in the replica's socket already would not be lost.
            cluster.command(node, &["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
            heir
        });
        write_each(&saw, &name, kept + 1_000..kept + 1_003).await;
        ann.chat(&chat).send(NewMessage::text("lost")).await.unwrap();
        let token = bob.chat(&chat).open(5).await.unwrap().token;
        let mut live =
            bob.chat(&chat).subscribe(SubscribeFrom::Token(token.clone())).await.unwrap();
        block_in_place(|| {
            cluster.kill_node(node).unwrap();
            cluster.resume_node(heir).unwrap();
            cluster.take_over(heir).unwrap();
        });
        let renewed = epoch(&idle).await;
        assert_ne!(renewed, before, "round {round}");
        assert_eq!(epoch(&saw).await, renewed, "once for all");
        assert_eq!(read_all(&saw, &name).await.len() as u64, kept, "the tail is lost");
        let end = async {
            loop {
                match live.next().await {
                    Some(Delivery::Ended(end)) => return end,
                    Some(_) => {}
                    None => panic!("it ended without a word"),
                }
            }
        };
        assert_reset(&timeout(SOON, end).await.expect("who listens is told"));
        // Also whoever comes back with a token, from any process.
        for process in [engines[1].clone(), engine(&place).await] {
            let bob = user(&process, "bob");
            let from = SubscribeFrom::Token(token.clone());
            let mut late = bob.chat(&chat).subscribe(from).await.unwrap();
            match late.next().await {
                Some(Delivery::Ended(end)) => assert_reset(&end),
                other => panic!("{other:?}"),
            }
        }
        block_in_place(|| cluster.restart_node(node).unwrap());
        assert_eq!(block_in_place(|| cluster.replica_of(heir, heir).unwrap()), node);
        ann.chat(&chat).send(NewMessage::text("goes on")).await.unwrap();
        node = heir;
    }
    for engine in engines {
        engine.shutdown().await;
    }
}

fn assert_reset(end: &SubscriptionEnd) {
    let reset = SubscriptionEnd::Reset { reason: ResetReason::EpochChanged };
    assert_eq!(format!("{end:?}"), format!("{reset:?}"));
}

async fn engine(place: &Place) -> Engine {
    let store = place.open().await;
    let engine = Engine::builder().store(store.events()).views(store.views()).bus(store.bus());
    engine.token_key([7; 32]).build().await.unwrap()
}

fn user(engine: &Engine, name: &str) -> UserHandle {
    engine.user(UserId::new(name).unwrap())
}
