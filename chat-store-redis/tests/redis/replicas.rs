//! Replicas that are waited for, lag behind, and take their master's place. Each test has servers
//! of its own, and a store that finds them at one address, as behind a virtual address or a proxy.

use std::time::Duration;

use chat_core::ports::{
    Durability, EventStore as _, EventStoreExt as _, Expected, StoreError, ViewBatch, ViewError,
    ViewId, ViewOp, ViewStore as _,
};
use chat_core::testkit::fixture::{event, ids, read_all, single, stream, write_each};
use chat_core::{Checkpoint, Epoch, ProjectionName, Scope, Version, ViewKey};
use chat_store_redis::{ConnectError, RedisConfig, RedisStore, ReplicaSync, Sync, Topology};
use test_servers::{Fsync, Redis};
use tokio::time::Instant;

use crate::address::Address;
use crate::support::{Place, SOON, settled};

fn waiting(place: &Place, replica_timeout: Duration) -> Place {
    let config = place.config.clone().with_replicas(1, ReplicaSync::Memory);
    Place { config: config.with_replica_timeout(replica_timeout) }
}

/// Longer than a replica that lives takes, however slow the machine is.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_millis(50);

fn unknown<T: std::fmt::Debug>(result: &Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::OutcomeUnknown { .. })), "{result:?}");
}

#[tokio::test]
async fn what_no_replica_has_is_not_acknowledged() {
    let master = Redis::start().unwrap();
    let mut replica = master.start_replica().unwrap();
    let address = Address::of(&master).await;
    let place = address.place();
    let (patient, hasty) =
        (waiting(&place, LONG).open().await, waiting(&place, SHORT).open().await);
    let name = stream("chat");
    let append = |number| single(&name, Expected::Any, vec![event(number)]);
    assert!(!patient.append_one(append(0)).await.unwrap().repeat);
    replica.pause();
    unknown(&hasty.append_one(append(1)).await);
    unknown(&hasty.append_one(append(1)).await);
    // A connection that has written nothing must not take that for "all of it is there".
    let other = waiting(&place, SHORT).open().await;
    unknown(&other.append_one(append(1)).await);
    let conflict = other.append_one(single(&name, Expected::NoStream, vec![event(2)])).await;
    assert!(matches!(conflict, Err(StoreError::Conflict { .. })), "it is refused: {conflict:?}");
    assert_eq!(read_all(&other, &name).await.len(), 2, "nobody waits to read");
    replica.resume();
    let settled = patient.append_one(append(1)).await.unwrap();
    assert!(settled.repeat);
    assert_eq!(settled.streams[0].first, Version(2));
    drop(master);
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    address.leads_to(&replica);
    let store = place.open().await;
    assert_eq!(ids(&read_all(&store, &name).await), [event(0).id, event(1).id]);
}

#[tokio::test]
async fn a_batch_of_views_waits_too() {
    let master = Redis::start().unwrap();
    let mut replica = master.start_replica().unwrap();
    let place = Address::of(&master).await.place();
    // The first to open makes the namespace, and waits for the replica as well.
    let patient = waiting(&place, LONG).open().await;
    let store = waiting(&place, SHORT).open().await;
    let view = ViewId {
        projection: ProjectionName::new("list").unwrap(),
        scope: Scope::new("ann").unwrap(),
    };
    let batch = |expected, next| ViewBatch {
        view: view.clone(),
        expected: Checkpoint(expected),
        next: Checkpoint(next),
        ops: vec![ViewOp::Put(ViewKey::new("a").unwrap(), b"1".as_slice().into())],
    };
    assert!(patient.commit(&[batch(0, 1)]).await[0].is_ok());
    replica.pause();
    let outcome = store.commit(&[batch(1, 2)]).await.remove(0);
    let unknown = matches!(outcome, Err(ViewError::Store(StoreError::OutcomeUnknown { .. })));
    assert!(unknown, "{outcome:?}");
    let moved = store.commit(&[batch(1, 2)]).await.remove(0);
    assert!(
        matches!(moved, Err(ViewError::CheckpointMoved { actual: Checkpoint(2), .. })),
        "{moved:?}"
    );
    replica.resume();
    assert!(patient.commit(&[batch(2, 3)]).await[0].is_ok());
}

#[tokio::test]
async fn disks_of_replicas_are_waited_for_where_the_server_can() {
    let master = Redis::start().unwrap();
    let _replica = master.start_replica().unwrap();
    let place = Place::at(&master.url(), Topology::Server);
    let config: RedisConfig = place.config.with_replicas(1, ReplicaSync::Disk);
    let opened = RedisStore::connect(config.with_replica_timeout(LONG)).await;
    let known = master.command(&["COMMAND", "INFO", "WAITAOF"]).unwrap();
    if known.trim().is_empty() {
        assert!(matches!(opened, Err(ConnectError::ReplicaSync { .. })));
    } else {
        write_each(&opened.unwrap(), &stream("chat"), 0..3).await;
    }
}

#[tokio::test]
async fn a_lost_tail_begins_a_new_epoch() {
    for fsync in [Fsync::Always, Fsync::EverySecond] {
        let master = Redis::start_with(fsync).unwrap();
        let mut replica = master.start_replica().unwrap();
        let address = Address::of(&master).await;
        let place = address.place();
        // Of three processes one has seen the tail, one the beginning, and one nothing.
        let (saw, read, idle) = (place.open().await, place.open().await, place.open().await);
        let name = stream("chat");
        write_each(&waiting(&place, LONG).open().await, &name, 0..3).await;
        assert_eq!(read_all(&read, &name).await.len(), 3);
        let epoch = saw.info().await.unwrap().epoch;
        assert_eq!(read.info().await.unwrap().epoch, epoch);
        replica.pause();
        // What is in the replica's socket already would not be lost.
        master.command(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
        write_each(&saw, &name, 3..6).await;
        drop(master);
        replica.resume();
        replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
        address.leads_to(&replica);
        let renewed = idle.info().await.unwrap().epoch;
        assert_ne!(renewed, epoch);
        let append = single(&name, Expected::Any, vec![event(9)]);
        let appended = settled(&saw, append).await;
        assert_eq!(appended.streams[0].first, Version(4));
        for store in [saw, read, idle, place.open().await] {
            assert_eq!(store.info().await.unwrap().epoch, renewed, "once for all");
            let there = [0, 1, 2, 9].map(|number| event(number).id);
            assert_eq!(ids(&read_all(&store, &name).await), there);
        }
    }
}

#[tokio::test]
async fn a_server_that_is_promoted_again_without_a_restart_is_compared_again() {
    let (first, mut second) = {
        let first = Redis::start().unwrap();
        let second = first.start_replica().unwrap();
        (first, second)
    };
    let address = Address::of(&first).await;
    let place = address.place();
    let store = place.open().await;
    let name = stream("chat");
    write_each(&waiting(&place, LONG).open().await, &name, 0..3).await;
    let mut epochs = vec![store.info().await.unwrap().epoch];
    // Each of the two is master in its turn, and learns the scripts.
    for (master, replica) in [(&second, &first), (&first, &second)] {
        promote(master, replica);
        address.leads_to(master);
        epochs.push(settled_epoch(&store).await);
        write_each(&waiting(&place, LONG).open().await, &name, 0..3).await;
    }
    let lost = place.open().await;
    second.pause();
    first.command(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
    write_each(&lost, &name, 3..6).await;
    drop((lost, first));
    second.resume();
    second.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    address.leads_to(&second);
    epochs.push(settled_epoch(&store).await);
    assert_eq!(read_all(&store, &name).await.len(), 3, "the tail is lost");
    let mut different = epochs.clone();
    different.dedup();
    assert_eq!(different, epochs, "each promotion begins an epoch");
    assert_eq!(place.open().await.info().await.unwrap().epoch, epochs[3], "once for all");
}

/// Makes a replica of a master that goes on as its replica; returns when it follows.
fn promote(replica: &Redis, master: &Redis) {
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    master.follow(replica).unwrap();
}

/// The epoch, asked for until a connection leads to a server that can be written to.
async fn settled_epoch(store: &RedisStore) -> Epoch {
    let until = Instant::now() + SOON;
    loop {
        match store.info().await {
            Ok(info) => return info.epoch,
            Err(error) => assert!(error.is_retryable() && Instant::now() < until, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_promoted_server_that_removes_history_is_refused() {
    let master = Redis::start().unwrap();
    let replica = master.start_replica().unwrap();
    let address = Address::of(&master).await;
    let store = address.place().open().await;
    assert_eq!(store.durability().sync, Some(Sync::Always));
    write_each(&store, &stream("chat"), 0..3).await;
    for (name, value) in [("maxmemory-policy", "allkeys-lru"), ("appendfsync", "everysec")] {
        replica.command(&["CONFIG", "SET", name, value]).unwrap();
    }
    drop(master);
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    address.leads_to(&replica);
    let refused = loop {
        match store.info().await {
            Ok(info) => panic!("{info:?}"),
            Err(StoreError::Unavailable { source: Some(source), .. }) => {
                if let Some(refused) = source.downcast_ref::<ConnectError>() {
                    break refused.clone();
                }
            }
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    };
    assert!(matches!(&refused, ConnectError::Evicts { policy } if policy == "allkeys-lru"));
    replica.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).unwrap();
    let durability = store.info().await.unwrap().durability;
    assert_eq!(
        (durability, store.durability().sync),
        (Durability::ProcessCrash, Some(Sync::Later))
    );
}
