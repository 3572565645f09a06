//! Connections that end, and connections that fall silent.

use std::time::Duration;

use chat_core::ports::{BusItem, Expected};
use chat_core::testkit::fixture::{event, single, stream, write_each};
use chat_core::{Topic, Version};
use chat_store_redis::Topology;
use futures::StreamExt as _;
use test_servers::Redis;
use tokio::time::timeout;

use crate::address::Address;
use crate::support::{Place, SOON, settled};

/// Short, as the tests wait for it to pass; a server that takes longer is asked again.
const TIMEOUT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_connection_that_fell_silent_is_made_anew() {
    let server = Redis::start().unwrap();
    let address = Address::of(&server).await;
    let place = address.place();
    let store = Place { config: place.config.with_timeout(TIMEOUT) }.open().await;
    let name = stream("chat");
    write_each(&store, &name, 0..1).await;
    address.falls_silent();
    let append = single(&name, Expected::Any, vec![event(1)]);
    assert_eq!(settled(&store, append).await.streams[0].first, Version(2));
}

#[tokio::test]
async fn a_subscription_that_fell_silent_is_made_anew_and_says_so() {
    let server = Redis::start().unwrap();
    let address = Address::of(&server).await;
    let place = address.place();
    let store = Place { config: place.config.with_timeout(TIMEOUT) }.open().await;
    let mut signals = store.bus().subscribe(&Topic::new("chat").unwrap()).await.unwrap();
    address.falls_silent();
    let heard = timeout(SOON, signals.next()).await.unwrap();
    assert!(matches!(heard, Some(BusItem::Missed)), "{heard:?}");
}

#[tokio::test]
async fn a_subscription_whose_connection_was_ended_says_so() {
    let server = Redis::start().unwrap();
    let store = Place::at(&server.url(), Topology::Server).open().await;
    let mut signals = store.bus().subscribe(&Topic::new("chat").unwrap()).await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    let heard = timeout(SOON, signals.next()).await.unwrap();
    assert!(matches!(heard, Some(BusItem::Missed)), "{heard:?}");
}
