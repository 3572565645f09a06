//! Several handles, as several processes have them, that write at the same time.

use chat_core::ports::{Append, EventStore as _, EventStoreExt as _, Expected, StoreError};
use chat_core::testkit::crowd;
use chat_core::testkit::fixture::{event, events, multi, read_all, single, stream, write};
use chat_core::{Namespace, Version};
use chat_store_sql::postgres::PostgresStore;
use sqlx::{Connection as _, PgConnection};

use crate::support::{Place, execute, url};

const HANDLES: u64 = 4;
const HELD_BACK: u64 = 10;

/// Everybody stands still between taking a position and the commit, each time for another while;
/// and a host takes its place in the log and commits only when another append waits behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_four_processes_lose_nothing_and_a_reader_misses_nothing() {
    if let Some(part) = test_servers::part() {
        let (namespace, process) = part.split_once(' ').unwrap();
        let place = Place::named(Namespace::new(namespace).unwrap());
        return crowd::write(&place.open().await.events(), process.parse().unwrap()).await;
    }
    let place = Place::new();
    let (store, ns) = (place.open().await, place.namespace());
    execute(&format!(
        "CREATE FUNCTION {ns}_dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$;
         CREATE TRIGGER dawdle AFTER INSERT ON {ns}_events
         FOR EACH STATEMENT EXECUTE FUNCTION {ns}_dawdle()"
    ))
    .await;
    let others = usize::try_from(2 * HELD_BACK).unwrap();
    let reading = tokio::spawn(crowd::follow(place.open().await.events(), others));
    let test = "writers::writers_in_four_processes_lose_nothing_and_a_reader_misses_nothing";
    let start = |process| test_servers::again(test, &format!("{ns} {process}")).unwrap().spawn();
    let children: Vec<_> = (0..crowd::PROCESSES).map(|process| start(process).unwrap()).collect();
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    for number in 0..HELD_BACK {
        let append = |id| single(&stream("chat/shared"), Expected::Any, vec![event(id)]);
        let mut transaction = connection.begin().await.unwrap();
        store.append_in(&mut transaction, append(1_000_000_000 + number)).await.unwrap();
        let behind = tokio::spawn({
            let (store, append) = (store.clone(), append(2_000_000_000 + number));
            async move { store.append_one(append).await.unwrap() }
        });
        place.wait_for_a_waiting_append().await;
        transaction.commit().await.unwrap();
        behind.await.unwrap();
    }
    reading.await.unwrap();
    for mut child in children {
        assert!(child.wait().unwrap().success());
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

/// Appends over several streams in opposite orders never block each other for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opposite_orders_of_streams_do_not_deadlock() {
    let place = Place::new();
    let rounds: u64 = if std::env::var_os("CHAT_SOAK").is_some() { 2_500 } else { 50 };
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..HANDLES {
        let store = place.open().await;
        tasks.spawn(async move {
            let (one, two) = (stream("1/{k}"), stream("2/{k}"));
            for round in 0..rounds {
                let id = (writer * rounds + round) * 2;
                let mut writes = vec![
                    (&one, Expected::Any, events([id])),
                    (&two, Expected::Any, events([id + 1])),
                ];
                if writer % 2 == 1 {
                    writes.reverse();
                }
                let append: Append = multi(writes, vec![]);
                assert!(!store.append_one(append).await.unwrap().repeat);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let store = place.open().await;
    let heads = store.heads(&[stream("1/{k}"), stream("2/{k}")]).await.unwrap();
    assert_eq!(heads, [Version(HANDLES * rounds); 2]);
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
