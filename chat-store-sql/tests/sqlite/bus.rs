//! The file of the signals, and signals between real processes.

use chat_core::Topic;
use chat_core::ports::{BusError, BusItem, EventBus, Signal, SignalBody};
use chat_core::{Json, Version};
use chat_store_sql::sqlite::{SqliteAccess, SqliteConfig, SqliteStore};
use futures::StreamExt as _;
use test_servers::program::{Player, Role};

use crate::support::Place;

fn topic() -> Topic {
    Topic::new("chat").unwrap()
}

fn typing(number: u64) -> Signal {
    Signal { topic: topic(), body: SignalBody::Ephemeral(Json::from_text(number.to_string())) }
}

fn ring(number: u64) -> Signal {
    Signal { topic: topic(), body: SignalBody::Ring(Version(number)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_go_to_other_processes_and_back() {
    const ROUNDS: u64 = 100;
    let test = "bus::signals_go_to_other_processes_and_back";
    if let Some(role) = Role::given() {
        // An echo, of rings for whatever is typed.
        let store = SqliteStore::open(SqliteConfig::new(role.place)).await.unwrap();
        let mut heard = store.subscribe(&topic()).await.unwrap();
        store.publish(&[ring(0)]).await.unwrap();
        while let Some(item) = heard.next().await {
            let BusItem::Signal(Signal { body: SignalBody::Ephemeral(json), .. }) = item else {
                continue;
            };
            let number = json.as_str().parse().unwrap();
            store.publish(&[ring(number)]).await.unwrap();
            if number == ROUNDS {
                break;
            }
        }
        drop(heard);
        return store.close().await;
    }
    let place = Place::new();
    let store = place.open().await;
    let mut heard = store.subscribe(&topic()).await.unwrap();
    let player = Player::play(test, place.path(), 0).unwrap();
    for number in 0..=ROUNDS {
        if number > 0 {
            store.publish(&[typing(number)]).await.unwrap();
        }
        while heard.next().await.unwrap() != BusItem::Signal(ring(number)) {}
    }
    tokio::task::spawn_blocking(move || player.finish().unwrap()).await.unwrap();
    drop(heard);
    store.close().await;
}

#[tokio::test]
async fn the_file_of_the_signals_is_made_at_the_first_use_and_anew_if_it_is_gone() {
    let place = Place::new();
    let mut signals = place.path().into_os_string();
    signals.push("-signals");
    let file = std::path::PathBuf::from(signals);
    for _ in 0..2 {
        let store = place.open().await;
        let bus = store.bus();
        assert!(!file.exists());
        let mut heard = bus.subscribe(&topic()).await.unwrap();
        assert!(file.exists());
        bus.publish(&[typing(1), ring(2)]).await.unwrap();
        assert_eq!(heard.next().await, Some(BusItem::Signal(typing(1))));
        assert_eq!(heard.next().await, Some(BusItem::Signal(ring(2))));
        store.close().await;
        assert_eq!(heard.next().await, None);
        let closed = bus.publish(&[ring(3)]).await;
        assert!(matches!(closed, Err(BusError::Closed)), "{closed:?}");
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn a_store_that_only_reads_has_no_signals() {
    let place = Place::new();
    place.open().await.close().await;
    let config = place.config().with_access(SqliteAccess::ReadOnly);
    let store = SqliteStore::open(config).await.unwrap();
    let refused = store.publish(&[ring(1)]).await;
    assert!(matches!(refused, Err(BusError::Unavailable { .. })), "{refused:?}");
    let refused = store.subscribe(&topic()).await.err();
    assert!(matches!(refused, Some(BusError::Unavailable { .. })), "{refused:?}");
    store.close().await;
}
