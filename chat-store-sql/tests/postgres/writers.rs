//! Several handles, as several processes have them, that write at the same time.

use std::collections::HashSet;
use std::sync::Arc;

use chat_core::ports::{EventStore, EventStoreExt as _, Expected, PageLimit, StoreError};
use chat_core::testkit::fixture::{event, events, read_all, single, stream, write};
use chat_core::testkit::processes::write_in_opposite_orders;
use chat_core::{PartitionId, Position, Version};
use chat_store_sql::postgres::PostgresStore;
use sqlx::{Connection as _, PgConnection};

use crate::support::{PATIENCE, Place, execute, url};

const HANDLES: u64 = 4;
const WRITERS: u64 = 8;
const APPENDS: u64 = 25;
const HELD_BACK: u64 = 10;
const TOTAL: usize = (HANDLES * WRITERS * APPENDS * 2) as usize;

/// Reads the log from the start until it has met this many events.
async fn follow(store: PostgresStore, total: usize) -> Vec<chat_core::EventId> {
    let mut after = Position::ZERO;
    let mut seen = Vec::new();
    while seen.len() < total {
        let page = store.read_log(PartitionId(0), after, PageLimit::events(13)).await.unwrap();
        assert!(page.events.windows(2).all(|pair| pair[0].position < pair[1].position));
        after = page.next;
        seen.extend(page.events.iter().map(|event| event.event.id));
        tokio::task::yield_now().await;
    }
    seen
}

/// To the chat that all share, and to one of its own where it must know the version.
async fn write_all(store: PostgresStore, writer: u64) {
    let own = stream(&format!("chat/own/{writer}"));
    for number in 0..APPENDS {
        let id = (writer * APPENDS + number) * 2;
        let appends = [
            single(&stream("chat/shared"), Expected::Any, vec![event(id)]),
            single(&own, Expected::Exactly(Version(number)), vec![event(id + 1)]),
        ];
        for answer in store.append(&appends).await {
            assert!(!answer.unwrap().repeat);
        }
    }
}

/// Thirty-two writers on one chat and on many, with commits held back in between: nothing is lost,
/// nothing is there twice, and a reader of the log misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_several_handles_lose_nothing_and_a_reader_misses_nothing() {
    let place = Place::new();
    let reader = tokio::spawn(follow(place.open().await, TOTAL + 2 * HELD_BACK as usize));
    let mut tasks = tokio::task::JoinSet::new();
    for handle in 0..HANDLES {
        let store = place.open().await;
        for writer in 0..WRITERS {
            tasks.spawn(write_all(store.clone(), handle * WRITERS + writer));
        }
    }
    // A host that takes its place in the log and commits only when another append waits behind it.
    let store = place.open().await;
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    for number in 0..HELD_BACK {
        let append = |id| single(&stream("chat/shared"), Expected::Any, vec![event(id)]);
        let mut transaction = connection.begin().await.unwrap();
        store.append_in(&mut transaction, append(1_000_000 + number)).await.unwrap();
        let behind = tokio::spawn({
            let (store, append) = (store.clone(), append(2_000_000 + number));
            async move { store.append_one(append).await.unwrap() }
        });
        place.wait_for_a_waiting_append().await;
        transaction.commit().await.unwrap();
        behind.await.unwrap();
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let seen = tokio::time::timeout(PATIENCE, reader).await.expect("every event is met").unwrap();
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), TOTAL + 2 * HELD_BACK as usize);
    let shared = read_all(&store, &stream("chat/shared")).await;
    assert_eq!(shared.len(), TOTAL / 2 + 2 * HELD_BACK as usize);
    assert!((1..).zip(&shared).all(|(version, event)| event.version == Version(version)));
    for writer in 0..HANDLES * WRITERS {
        let own = stream(&format!("chat/own/{writer}"));
        assert_eq!(store.head(&own).await.unwrap(), Version(APPENDS));
    }
}

/// Of many creators in several handles exactly one wins, whatever each remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_creators_in_several_handles_exactly_one_wins() {
    let place = Place::new();
    let mut stores = Vec::new();
    for _ in 0..HANDLES {
        stores.push(place.open().await);
    }
    for round in 0..20 {
        let name = stream(&format!("chat/{round}"));
        let create = |(number, store): (u64, &PostgresStore)| {
            let (store, name) = (store.clone(), name.clone());
            let id = round * 100 + number;
            tokio::spawn(async move {
                store.append_one(single(&name, Expected::NoStream, vec![event(id)])).await
            })
        };
        let tasks: Vec<_> = (0..).zip(&stores).map(create).collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(StoreError::Conflict { actual, .. }) => assert_eq!(actual, Version(1)),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, 1);
    }
}

/// What this handle remembers of a stream is compared before it is used: another one has written
/// meanwhile.
#[tokio::test]
async fn a_head_that_another_handle_moved_is_noticed() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let name = stream("chat/a");
    for round in 0..5 {
        let version = Version(round * 2);
        for (store, version, id) in
            [(&one, version, round * 2), (&two, version.next(), round * 2 + 1)]
        {
            // A stale expectation is refused with the version of now, before and after.
            let stale = single(&name, Expected::Exactly(Version(99)), vec![event(1_000)]);
            let refused = store.append_one(stale).await;
            let Err(StoreError::Conflict { actual, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(actual, version);
            write(store, &name, Expected::Exactly(version), vec![event(id)]).await;
        }
    }
    // Streams that only one of them writes are not mixed up by the other's writes.
    write(&one, &stream("chat/b"), Expected::Any, events([100])).await;
    write(&two, &stream("chat/c"), Expected::Any, events([101])).await;
    write(&one, &stream("chat/b"), Expected::Exactly(Version(1)), events([102])).await;
    write(&two, &stream("chat/b"), Expected::Exactly(Version(2)), events([103])).await;
    write(&one, &stream("chat/b"), Expected::Any, events([104])).await;
    assert_eq!(one.head(&stream("chat/b")).await.unwrap(), Version(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_to_several_streams_in_opposite_orders_never_meet_a_deadlock() {
    let place = Place::new();
    let mut handles: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..HANDLES {
        handles.push(place.open().await.events());
    }
    write_in_opposite_orders(&handles).await;
}

/// What the database refuses for the moment is tried again inside.
#[tokio::test]
async fn deadlocks_and_serialization_failures_do_not_reach_the_caller() {
    let place = Place::new();
    let store = place.open().await;
    let ns = place.namespace();
    // The first four inserts of rows are refused, each with another code.
    execute(&format!(
        "CREATE SEQUENCE {ns}_refused;
         CREATE FUNCTION {ns}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             CASE nextval('{ns}_refused')
                 WHEN 1 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '40001';
                 WHEN 2 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '40P01';
                 WHEN 3 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '55P03';
                 WHEN 4 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '40P01';
                 ELSE RETURN NULL;
             END CASE;
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON {ns}_events
         FOR EACH STATEMENT EXECUTE FUNCTION {ns}_refuse()"
    ))
    .await;
    let appended = write(&store, &stream("chat/a"), Expected::NoStream, events([1, 2])).await;
    assert!(!appended.repeat);
    assert_eq!(read_all(&store, &stream("chat/a")).await.len(), 2);
}
