//! Connections that break while nobody looks, and while somebody waits.

use std::time::Duration;

use chat_core::ports::{
    BusItem, EventStore as _, EventStoreExt as _, Expected, Signal, SignalBody, StoreError,
    ViewStore as _,
};
use chat_core::ports::{ViewBatch, ViewError, ViewId};
use chat_core::testkit::fixture::{assert_holds, event, events, single, stream, write};
use chat_core::{Checkpoint, Json, ProjectionName, Scope, Topic, Version};
use chat_store_sql::postgres::PostgresStore;
use futures::StreamExt as _;
use sqlx::{Connection as _, PgConnection};

use crate::support::{PATIENCE, Place, url};

fn view_step(number: u64) -> ViewBatch {
    let view =
        ViewId { scope: Scope::new("s").unwrap(), projection: ProjectionName::new("p").unwrap() };
    let (expected, next) = (Checkpoint(number), Checkpoint(number + 1));
    ViewBatch { view, expected, next, ops: Vec::new() }
}

#[tokio::test]
async fn a_store_whose_connections_were_ended_goes_on_by_itself() {
    let place = Place::new();
    let store = place.open().await;
    let name = stream("chat/a");
    let mut version = 0;
    let mut checkpoint = 0;
    for round in 0..5 {
        write(&store, &name, Expected::Exactly(Version(version)), events([round])).await;
        version += 1;
        // A view that was written is told from one that may have been.
        match store.commit(&[view_step(checkpoint)]).await.pop().unwrap() {
            Ok(()) => checkpoint += 1,
            Err(ViewError::Store(StoreError::OutcomeUnknown { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        assert_holds(&store, &name, 0..version).await;
        assert!(place.end_connections().await >= 1);
    }
    assert_eq!(store.heads(&[name]).await.unwrap(), [Version(version)]);
}

/// The writer's connection ends while an append is under way: the store itself finds out what
/// happened, and the append is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_connection_ends_is_settled() {
    let place = Place::new();
    let (store, other) = (place.open().await, place.open().await);
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    for round in 0..3 {
        // It waits for the lock, so it is under way for certain.
        let mut transaction = connection.begin().await.unwrap();
        let first = single(&stream("chat/b"), Expected::Any, vec![event(100 + round)]);
        other.append_in(&mut transaction, first).await.unwrap();
        let append = single(&stream("chat/a"), Expected::Any, vec![event(round)]);
        let waiting = tokio::spawn({
            let store: PostgresStore = store.clone();
            async move { store.append_one(append).await }
        });
        place.wait_for_a_waiting_append().await;
        place.end_connections().await;
        place.wait_for_a_waiting_append().await;
        transaction.commit().await.unwrap();
        let appended = waiting.await.unwrap().unwrap();
        assert_eq!(appended.streams[0].first, Version(round + 1));
    }
    assert_holds(&store, &stream("chat/a"), 0..3).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_unavailable() {
    let mut config = Place::new().config().with_acquire_timeout(Duration::from_millis(500));
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    config.server = config.server.port(port);
    let refused = PostgresStore::connect(config).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_did_not_happen() {
    let place = Place::new();
    let waits = place.open().await;
    let hasty = place.config().with_statement_timeout(Duration::from_secs(1));
    // On a slow machine anything may take too long; it can be done again.
    let store = loop {
        match PostgresStore::connect(hasty.clone()).await {
            Ok(store) => break store,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let first = single(&stream("chat/b"), Expected::Any, vec![event(100)]);
    waits.append_in(&mut transaction, first).await.unwrap();
    let append = single(&stream("chat/a"), Expected::Any, vec![event(1)]);
    let refused = store.append_one(append.clone()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    transaction.rollback().await.unwrap();
    let appended = loop {
        match store.append_one(append.clone()).await {
            Ok(appended) => break appended,
            Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error}"),
        }
    };
    assert!(!appended.repeat);
}

#[tokio::test]
async fn what_is_closed_answers_so_and_what_was_queued_is_done() {
    let place = Place::new();
    let store = place.open().await;
    let bus = store.bus();
    let mut signals = bus.subscribe(&Topic::new("t").unwrap()).await.unwrap();
    let queued: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            let append = single(&stream("chat/a"), Expected::Any, vec![event(number)]);
            tokio::spawn(async move { store.append_one(append).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await;
    store.close().await;
    let mut done = Vec::new();
    for (number, answer) in (0..).zip(queued) {
        match answer.await.unwrap() {
            Ok(_) => done.push(number),
            Err(error) => assert!(matches!(error, StoreError::Closed), "{error}"),
        }
    }
    assert!(signals.next().await.is_none());
    let append = single(&stream("chat/a"), Expected::Any, vec![event(1_000)]);
    assert!(matches!(store.append_one(append).await, Err(StoreError::Closed)));
    assert!(matches!(store.info().await, Err(StoreError::Closed)));
    assert!(bus.publish(&[ring(1)]).await.is_err());
    let mut there: Vec<_> =
        chat_core::testkit::fixture::read_all(&place.open().await, &stream("chat/a"))
            .await
            .iter()
            .map(|stored| stored.event.id)
            .collect();
    there.sort();
    assert_eq!(
        there,
        done.into_iter().map(chat_core::testkit::fixture::event_id).collect::<Vec<_>>()
    );
    let left = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND state <> 'idle'",
        place.namespace()
    );
    assert_eq!(crate::support::number(&left).await, 0);
}

fn ring(version: u64) -> Signal {
    Signal { topic: Topic::new("t").unwrap(), body: SignalBody::Ring(Version(version)) }
}

/// The next item, whatever it is.
async fn next(stream: &mut chat_core::ports::BusStream) -> BusItem {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("something comes").unwrap()
}

#[tokio::test]
async fn a_subscriber_is_told_of_a_gap_and_hears_what_comes_after() {
    let place = Place::new();
    let (store, other) = (place.open().await, place.open().await);
    let mut signals = store.bus().subscribe(&Topic::new("t").unwrap()).await.unwrap();
    for round in 0..3 {
        other.bus().publish(&[ring(round)]).await.unwrap();
        assert_eq!(next(&mut signals).await, BusItem::Signal(ring(round)));
        place.end_connections().await;
        assert_eq!(next(&mut signals).await, BusItem::Missed);
    }
}

/// Above what one notification may hold, from another process, between small ones.
#[tokio::test]
async fn signals_above_the_limit_of_a_notification_arrive_whole_and_in_order() {
    let place = Place::new();
    let (store, other) = (place.open().await, place.open().await);
    let mut signals = store.bus().subscribe(&Topic::new("t").unwrap()).await.unwrap();
    let large = |fill: &str| {
        let text = fill.repeat(SignalBody::MAX_EPHEMERAL_BYTES / fill.len());
        let body = SignalBody::Ephemeral(Json::from_text(text));
        Signal { topic: Topic::new("t").unwrap(), body }
    };
    let sent = [ring(1), large("x"), large("x"), ring(2), large("日"), large("\n \" {"), ring(3)];
    let bus = other.bus();
    bus.publish(&sent).await.unwrap();
    let halves = futures::future::join_all(sent.iter().map(|signal| async {
        bus.publish(std::slice::from_ref(signal)).await.unwrap();
    }));
    halves.await;
    for signal in sent.iter().chain(&sent) {
        assert_eq!(next(&mut signals).await, BusItem::Signal(signal.clone()));
    }
}

/// A payload that PostgreSQL cannot hold spoils nothing but its own append.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_cannot_be_stored_is_refused_alone() {
    let place = Place::new();
    let store = place.open().await;
    let name = stream("chat/a");
    let wrong = ["no {json", "", "\"\0\"", "{\"a\":1}x", "\u{feff}{}"];
    let mut appends = Vec::new();
    for (number, text) in (0..).zip(wrong) {
        appends.push(single(&name, Expected::Any, events([number * 2])));
        let payload = chat_core::testkit::fixture::event_with(number * 2 + 1, text);
        appends.push(single(&name, Expected::Any, vec![payload]));
    }
    let mut metadata = event(100);
    metadata.metadata = Some(Json::from_text("{"));
    appends.push(single(&name, Expected::Any, vec![metadata]));
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    appends.push(single(
        &name,
        Expected::Any,
        vec![chat_core::testkit::fixture::event_with(101, &deep)],
    ));
    let mut late = event(102);
    late.recorded_at = chat_core::Timestamp(u64::MAX);
    appends.push(single(&name, Expected::Any, vec![late]));
    let answers = store.append(&appends).await;
    for (index, answer) in answers.iter().enumerate() {
        if index < wrong.len() * 2 && index % 2 == 0 {
            assert!(answer.is_ok(), "{index}: {answer:?}");
        } else {
            let refused = answer.as_ref().unwrap_err();
            assert!(matches!(refused, StoreError::Invalid { .. }), "{index}: {refused}");
            let shown = format!("{refused} {refused:?}");
            assert!(!shown.contains("no {json"), "{shown}");
        }
    }
    assert_holds(&store, &name, (0..5).map(|number| number * 2)).await;
}
