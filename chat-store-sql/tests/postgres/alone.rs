//! A writer that has been alone for a while inserts without comparing; whatever has changed since
//! is noticed all the same.

use chat_core::ports::{
    Append, EventStore as _, EventStoreExt as _, Expected, Guard, StoreError, StreamWrite,
};
use chat_core::testkit::fixture::{
    event, event_with, events, ids, read_all, read_log, single, stream, write,
};
use chat_core::{Json, NewEvent, PartitionId, StreamId, Version};
use chat_store_sql::postgres::PostgresStore;
use sqlx::{Connection as _, PgConnection};

use crate::support::{PATIENCE, Place, execute, number, url};

/// More groups than it takes to be taken for alone.
const GROUPS: u64 = 20;

/// A store that has written alone, events 1 to [`GROUPS`] of one stream.
async fn alone(place: &Place, name: &StreamId) -> PostgresStore {
    let store = place.open().await;
    for number in 1..=GROUPS {
        write(&store, name, Expected::Exactly(Version(number - 1)), vec![event(number)]).await;
    }
    assert_eq!(inserting(place).await, 1, "it inserts by itself");
    store
}

/// Connections of the namespace whose last statement is a plain insert.
async fn inserting(place: &Place) -> i64 {
    let namespace = place.namespace();
    number(&format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE application_name = '{namespace}' AND query LIKE 'INSERT INTO {namespace}_events%'"
    ))
    .await
}

/// The log has no holes, and the stream these events.
async fn assert_holds(
    store: &PostgresStore,
    name: &StreamId,
    numbers: impl IntoIterator<Item = u64>,
) {
    let stored = read_all(store, name).await;
    let expected: Vec<_> = events(numbers).iter().map(|event| event.id).collect();
    assert_eq!(ids(&stored), expected);
    assert!((1..).zip(&stored).all(|(version, event)| event.version == Version(version)));
    let log = read_log(store, PartitionId(0), 1_000).await;
    assert!((1..).zip(&log).all(|(position, event)| event.position.0 == position));
}

#[tokio::test]
async fn what_another_wrote_is_noticed_by_who_was_alone() {
    let place = Place::new();
    let (name, elsewhere) = (stream("chat/a"), stream("chat/b"));
    let one = alone(&place, &name).await;
    let two = place.open().await;
    // To another stream, so that only the end of the log has moved.
    write(&two, &elsewhere, Expected::NoStream, events([101])).await;
    write(&one, &name, Expected::Exactly(Version(GROUPS)), events([102])).await;
    assert_eq!(inserting(&place).await, 0, "it compares now");
    for number in 103..=103 + GROUPS {
        write(&one, &name, Expected::Any, events([number])).await;
    }
    assert_eq!(inserting(&place).await, 1, "it is alone again");
    // To the same stream.
    write(&two, &name, Expected::Any, events([201])).await;
    let head = Version(2 * GROUPS + 2);
    let stale = one.append_one(single(&name, Expected::Exactly(head), events([202]))).await;
    let conflict =
        matches!(stale, Err(StoreError::Conflict { actual, .. }) if actual.0 == head.0 + 1);
    assert!(conflict, "{stale:?}");
    write(&one, &name, Expected::Any, events([203, 204])).await;
    let all = (1..=GROUPS).chain(102..=103 + GROUPS).chain([201, 203, 204]);
    assert_holds(&one, &name, all).await;
}

#[tokio::test]
async fn who_was_alone_waits_for_another_that_is_about_to_commit() {
    for commits in [true, false] {
        let place = Place::new();
        let name = stream("chat/a");
        let store = alone(&place, &name).await;
        let mut connection = PgConnection::connect(&url()).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        let theirs = single(&name, Expected::Any, events([101, 102]));
        store.append_in(&mut transaction, theirs).await.unwrap();
        // Four events: more than the other has, so that some places would be free.
        let append = single(&name, Expected::Any, events(111..115));
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.append_one(append).await }
        });
        place.wait_for_a_waiting_append().await;
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
        let appended = waiting.await.unwrap().unwrap();
        let theirs = if commits { 2 } else { 0 };
        assert_eq!(appended.streams[0].last, Version(GROUPS + theirs + 4));
        let all = (1..=GROUPS).chain(101..101 + theirs).chain(111..115);
        assert_holds(&store, &name, all).await;
    }
}

#[tokio::test]
async fn a_repeat_a_reused_id_and_a_bad_text_are_told_to_who_is_alone() {
    let place = Place::new();
    let name = stream("chat/a");
    let store = alone(&place, &name).await;
    let again = single(&name, Expected::Exactly(Version(3)), vec![event(4)]);
    assert!(store.append_one(again).await.unwrap().repeat);
    let again = single(&name, Expected::Any, vec![event(5)]);
    assert!(store.append_one(again).await.unwrap().repeat);
    let reused = single(&name, Expected::Any, vec![event_with(5, "{\"other\":1}")]);
    let reused = store.append_one(reused).await;
    assert!(matches!(reused, Err(StoreError::IdReused { .. })), "{reused:?}");
    let bad = single(&name, Expected::Any, vec![event_with(101, "no {json")]);
    let bad = store.append_one(bad).await;
    assert!(matches!(bad, Err(StoreError::Invalid { .. })), "{bad:?}");
    assert_holds(&store, &name, 1..=GROUPS).await;
}

/// Nothing is known of the stream: only its first version proves that it is there already.
#[tokio::test]
async fn a_stream_that_another_began_is_no_new_one_for_who_is_alone() {
    let place = Place::new();
    let (name, theirs, new) = (stream("chat/a"), stream("chat/b"), stream("chat/c"));
    write(&place.open().await, &theirs, Expected::NoStream, events([100])).await;
    let store = alone(&place, &name).await;
    let begin = |stream: &StreamId, number| single(stream, Expected::NoStream, events([number]));
    let appends =
        [begin(&new, 101), begin(&theirs, 102), single(&name, Expected::Any, events([103]))];
    let mut answers = store.append(&appends).await.into_iter();
    assert!(answers.next().unwrap().is_ok());
    let taken = answers.next().unwrap();
    assert!(matches!(&taken, Err(StoreError::Conflict { actual: Version(1), .. })), "{taken:?}");
    assert!(answers.next().unwrap().is_ok());
    assert_holds(&store, &name, (1..=GROUPS).chain([103])).await;
    assert_eq!(read_all(&store, &theirs).await.len(), 1);
    // A guard compares too.
    let guard = Guard { stream: theirs.clone(), expected: Expected::NoStream };
    let write = StreamWrite { stream: name, expected: Expected::Any, events: events([104]) };
    let guarded = store.append_one(Append::multi(vec![write], vec![guard]).unwrap()).await;
    assert!(matches!(&guarded, Err(StoreError::Conflict { .. })), "{guarded:?}");
}

#[tokio::test]
async fn who_was_alone_trusts_nothing_behind_a_connection_that_was_ended() {
    let place = Place::new();
    let name = stream("chat/a");
    let store = alone(&place, &name).await;
    for (round, new) in (1..=3).map(|round| (round, stream(&format!("chat/new-{round}")))) {
        // At rest, and in the middle of an append.
        assert!(place.end_connections().await > 0);
        write(&store, &new, Expected::NoStream, events([round * 100])).await;
        let mut connection = PgConnection::connect(&url()).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        let theirs = single(&new, Expected::Any, events([round * 100 + 1]));
        store.append_in(&mut transaction, theirs).await.unwrap();
        let append = single(&name, Expected::Any, events([1_000 + round]));
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.append_one(append).await }
        });
        place.wait_for_a_waiting_append().await;
        place.end_connections().await;
        transaction.commit().await.unwrap();
        assert!(!waiting.await.unwrap().unwrap().repeat);
        for number in 0..GROUPS {
            let id = 10_000 * round + number;
            write(&store, &new, Expected::Exactly(Version(2 + number)), events([id])).await;
        }
        assert_eq!(inserting(&place).await, 1, "it inserts by itself again");
    }
    assert_holds(&store, &name, (1..=GROUPS).chain(1_001..=1_003)).await;
}

#[tokio::test]
async fn who_is_alone_keeps_events_as_they_are() {
    let place = Place::new();
    let name = stream("chat/a");
    let store = alone(&place, &name).await;
    let noted = |number: u64| {
        let metadata = Some(Json::from_text(format!("{{ \"trace\":  {number} }}")));
        NewEvent { metadata, ..event_with(number, "[ \"\\u0041 語\" ]") }
    };
    let groups = [vec![noted(101)], vec![event(102)], vec![event(103), noted(104), event(105)]];
    for group in &groups {
        write(&store, &name, Expected::Any, group.clone()).await;
    }
    let stored = read_all(&store, &name).await;
    let stored = stored.iter().skip(usize::try_from(GROUPS).unwrap()).map(|event| &event.event);
    assert!(stored.eq(groups.iter().flatten()));
}

/// As behind a fail-over that the connection does not notice.
#[tokio::test]
async fn a_log_that_was_cut_back_gets_no_hole() {
    let place = Place::new();
    let name = stream("chat/a");
    let store = alone(&place, &name).await;
    let namespace = place.namespace();
    execute(&format!("DELETE FROM {namespace}_events WHERE position > {GROUPS} - 5")).await;
    write(&store, &name, Expected::Any, events([101])).await;
    assert_holds(&store, &name, (1..=GROUPS - 5).chain([101])).await;
}

#[tokio::test]
async fn who_is_alone_reads_no_whole_table_by_a_plan_of_an_empty_one() {
    let place = Place::new();
    let name = stream("chat/a");
    let store = alone(&place, &name).await;
    // Now the planner knows that reading a table so short is the quickest.
    let namespace = place.namespace();
    execute(&format!("ANALYZE {namespace}_events")).await;
    for number in 101..=100 + GROUPS {
        write(&store, &name, Expected::Any, vec![event(number)]).await;
    }
    write(&store, &name, Expected::Any, events(1_000..1_500)).await;
    write(&store, &name, Expected::Any, events([2_000])).await;
    // The writer's session reports what it did when it ends.
    store.close().await;
    let counted = async |column: &str| {
        let relation = format!("relname = '{namespace}_events'");
        number(&format!("SELECT {column} FROM pg_stat_user_tables WHERE {relation}")).await
    };
    let rows = i64::try_from(2 * GROUPS + 501).unwrap();
    let arrives = async {
        while counted("n_tup_ins").await < rows {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, arrives).await.expect("the session has reported");
    assert_eq!(counted("seq_tup_read").await, 0);
}
