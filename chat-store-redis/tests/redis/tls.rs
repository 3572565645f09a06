//! A server that is reached with TLS only.

use chat_core::connect::Backends;
use chat_core::ports::{BusItem, Signal, SignalBody, StoreError};
use chat_core::testkit::fixture::{ids, read_all, stream, write_each};
use chat_core::{Topic, Version};
use chat_store_redis::{ConnectError, RedisStore, Topology};
use futures::StreamExt as _;
use test_servers::Redis;
use tokio::time::timeout;

use crate::support::{Place, SOON};

#[tokio::test]
async fn events_and_signals_travel_encrypted() {
    let server = Redis::start_tls().unwrap();
    let place = Place::at(&server.tls_url(), Topology::Server);
    let place = Place { config: place.config.with_ca_file(server.authority()) };
    let (store, other) = (place.open().await, place.open().await);
    let name = stream("chat");
    write_each(&store, &name, 0..3).await;
    // The same as without TLS: the server has a port for that too.
    let plain = Place::at(&server.url(), Topology::Server);
    let plain =
        Place { config: plain.config.with_namespace(place.config.namespace.clone()) }.open().await;
    assert_eq!(ids(&read_all(&other, &name).await), ids(&read_all(&plain, &name).await));
    let topic = Topic::new("chat").unwrap();
    let mut signals = other.bus().subscribe(&topic).await.unwrap();
    let signal = Signal { topic, body: SignalBody::Ring(Version(3)) };
    store.bus().publish(std::slice::from_ref(&signal)).await.unwrap();
    let heard = timeout(SOON, signals.next()).await.unwrap();
    assert!(matches!(&heard, Some(BusItem::Signal(heard)) if *heard == signal), "{heard:?}");
}

#[tokio::test]
async fn a_url_names_the_authority() {
    let server = Redis::start_tls().unwrap();
    let (url, file) = (server.tls_url(), server.authority());
    let backends = Backends::memory().with(chat_store_redis::backends());
    let opened = backends.open(&format!("{url}?ca_file={}", file.display())).await.unwrap();
    opened.close().await;
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_refused() {
    let (server, other) = (Redis::start_tls().unwrap(), Redis::start_tls().unwrap());
    let place = Place::at(&server.tls_url(), Topology::Server);
    for config in [place.config.clone(), place.config.clone().with_ca_file(other.authority())] {
        let refused = RedisStore::connect(config).await.map(drop);
        let text = format!("{refused:?}");
        let unavailable =
            matches!(refused, Err(ConnectError::Store(StoreError::Unavailable { .. })));
        assert!(unavailable && text.contains("invalid peer certificate"), "{text}");
    }
    let missing = place.config.with_ca_file("no/such/file");
    let refused = RedisStore::connect(missing).await.map(drop);
    assert!(matches!(refused, Err(ConnectError::Store(StoreError::Invalid { .. }))), "{refused:?}");
}
