//! What the memory adapters promise beyond their ports.

use chat_core::memory::{MemoryBus, MemoryEventStore};
use chat_core::ports::{
    BusItem, EventBus, EventStore, EventStoreExt as _, Expected, Signal, SignalBody, StoreError,
};
use chat_core::testkit::fixture::{events, multi, read_log, single, stream, write_each};
use chat_core::{PartitionId, Topic, Version};
use futures::{FutureExt as _, StreamExt as _};

#[tokio::test]
async fn streams_of_different_partitions_are_not_written_together() {
    let store = MemoryEventStore::with_partitions(8);
    let names: Vec<_> = (0..20).map(|n| stream(&format!("chat/{n}"))).collect();
    let home = store.partition_of(&names[0]);
    let far = names.iter().find(|name| store.partition_of(name) != home).unwrap();
    let writes = vec![(&names[0], Expected::Any, events([1])), (far, Expected::Any, events([2]))];
    let guarded =
        multi(vec![(&names[0], Expected::Any, events([1]))], vec![(far, Expected::NoStream)]);
    for append in [multi(writes, vec![]), guarded] {
        let result = store.append_one(append).await;
        assert!(matches!(result, Err(StoreError::CrossPartition { .. })), "{result:?}");
    }
    assert_eq!(store.head(&names[0]).await.unwrap(), Version::ZERO);
}

#[tokio::test]
async fn positions_have_holes() {
    let store = MemoryEventStore::new();
    write_each(&store, &stream("chat"), 0..30).await;
    let log = read_log(&store, PartitionId(0), 100).await;
    let steps: Vec<_> =
        log.windows(2).map(|pair| pair[1].position.0 - pair[0].position.0).collect();
    assert!(steps.contains(&1) && steps.contains(&2), "{steps:?}");
}

#[tokio::test]
async fn a_new_epoch_is_seen_by_every_handle_and_changes_nothing_else() {
    let store = MemoryEventStore::new();
    let other = store.clone();
    write_each(&store, &stream("chat"), 0..3).await;
    let before = other.info().await.unwrap();
    store.renew_epoch();
    let after = other.info().await.unwrap();
    assert_ne!(before.epoch, after.epoch);
    assert_eq!((before.partitions, before.durability), (after.partitions, after.durability));
    assert_eq!(other.head(&stream("chat")).await.unwrap(), Version(3));
}

#[tokio::test]
async fn an_append_in_a_loop_lets_others_run() {
    let store = MemoryEventStore::new();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 0.. {
                let append = single(&stream("chat"), Expected::Any, events([number]));
                store.append_one(append).await.unwrap();
            }
        }
    });
    // On one thread: this comes back only if the writer gives way.
    tokio::task::yield_now().await;
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());
    assert!(store.head(&stream("chat")).await.unwrap() > Version::ZERO);
}

fn ring(topic: &Topic, version: u64) -> Signal {
    Signal { topic: topic.clone(), body: SignalBody::Ring(Version(version)) }
}

#[tokio::test]
async fn a_topic_goes_with_its_last_subscriber() {
    let bus = MemoryBus::new();
    let topic = Topic::new("chat").unwrap();
    let (one, two) = (bus.subscribe(&topic).await.unwrap(), bus.subscribe(&topic).await.unwrap());
    assert_eq!(bus.topics(), 1);
    drop(one);
    assert_eq!(bus.topics(), 1);
    drop(two);
    assert_eq!(bus.topics(), 0);
    bus.publish(&[ring(&topic, 1)]).await.unwrap();
    assert_eq!(bus.topics(), 0, "a publish makes none");
}

#[tokio::test]
async fn a_subscriber_keeps_the_newest_and_is_told_of_the_rest() {
    let bus = MemoryBus::with_capacity(4);
    let topic = Topic::new("chat").unwrap();
    let mut stream = bus.subscribe(&topic).await.unwrap();
    for version in 1..=10 {
        bus.publish(&[ring(&topic, version)]).await.unwrap();
    }
    assert_eq!(stream.next().await, Some(BusItem::Missed));
    for version in 7..=10 {
        assert_eq!(stream.next().await, Some(BusItem::Signal(ring(&topic, version))));
    }
    assert!(stream.next().now_or_never().is_none(), "nothing more is there");
}

#[tokio::test]
async fn a_bus_closes_with_its_last_handle() {
    let bus = MemoryBus::new();
    let other = bus.clone();
    let topic = Topic::new("chat").unwrap();
    let mut stream = bus.subscribe(&topic).await.unwrap();
    drop(bus);
    other.publish(&[ring(&topic, 1)]).await.unwrap();
    assert_eq!(stream.next().await, Some(BusItem::Signal(ring(&topic, 1))));
    drop(other);
    assert_eq!(stream.next().await, None);
}
