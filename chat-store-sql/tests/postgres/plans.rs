//! Sessions keep the plans that they made while a namespace was young; none of these may read whole
//! tables when they are old.

use chat_core::ports::Expected;
use chat_core::testkit::fixture::{event, events, single, stream};
use sqlx::{Connection as _, PgConnection};

use crate::support::{Place, url};

/// Rows of the namespace's tables that this transaction has met in scans of whole tables.
async fn scanned(connection: &mut PgConnection, place: &Place) -> i64 {
    let scanned = "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_xact_user_tables
                   WHERE relname LIKE $1 || '\\_%'";
    let scanned = sqlx::query_scalar(scanned).bind(place.namespace().as_str());
    scanned.fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn appending_reads_no_whole_table_by_a_plan_of_an_empty_one() {
    let place = Place::new();
    let store = place.open().await;
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let append = async |transaction: &mut _, number: u64| {
        let append = single(&stream("chat/a"), Expected::Any, vec![event(number)]);
        store.append_in(transaction, append).await.unwrap()
    };
    // More often than the database tries plans for the values at hand.
    for number in 0..12 {
        append(&mut transaction, number).await;
    }
    let many = single(&stream("chat/b"), Expected::NoStream, events(1_000..1_500));
    store.append_in(&mut transaction, many).await.unwrap();
    let before = scanned(&mut transaction, &place).await;
    for number in 12..20 {
        append(&mut transaction, number).await;
    }
    assert!(append(&mut transaction, 12).await.repeat);
    assert_eq!(scanned(&mut transaction, &place).await, before);
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn committing_views_reads_no_whole_table_by_a_plan_of_an_empty_one() {
    let place = Place::new();
    place.open().await.close().await;
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let commit = format!(
        "SELECT {}_commit_views(
             array_agg('s' || i), array_agg('p'::text), array_agg($2::bigint),
             array_agg($2::bigint + 1), array_agg(i - $1::bigint + 1), array_agg('k'::text),
             array_agg(CASE WHEN i % 2 = $2 % 2 THEN 'v'::bytea END))
         FROM generate_series($1::bigint, $1::bigint + 3) i",
        place.namespace()
    );
    let commit = async |transaction: &mut PgConnection, first: i64, checkpoint: i64| {
        let statement = sqlx::query_scalar(sqlx::AssertSqlSafe(commit.clone()));
        let statement = statement.bind(first).bind(checkpoint);
        let actual: Vec<i64> = statement.fetch_one(transaction).await.unwrap();
        assert_eq!(actual, [checkpoint; 4]);
    };
    for checkpoint in 0..12 {
        commit(&mut transaction, 0, checkpoint).await;
    }
    for scope in 1..100 {
        commit(&mut transaction, scope * 4, 0).await;
    }
    let before = scanned(&mut transaction, &place).await;
    for checkpoint in 12..20 {
        commit(&mut transaction, 0, checkpoint).await;
    }
    assert_eq!(scanned(&mut transaction, &place).await, before);
    transaction.rollback().await.unwrap();
}
