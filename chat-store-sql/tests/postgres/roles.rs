//! A role that may do no more than it must, and tables that are not what they should be.

use chat_core::ports::{EventStore as _, EventStoreExt as _, Expected, StoreError, ViewStore as _};
use chat_core::ports::{ViewBatch, ViewGet, ViewId, ViewOp};
use chat_core::testkit::fixture::{assert_holds, event, events, single, stream, write};
use chat_core::{Checkpoint, ProjectionName, Scope, ViewKey};
use chat_store_sql::postgres::{PostgresMigrate, PostgresStore, drop_namespace, grants};

use crate::support::{Place, execute};

#[tokio::test]
async fn a_role_with_the_granted_rights_appends_and_reads_and_cannot_change_events() {
    let place = Place::new();
    let admin = place.open().await;
    let role = format!("{}_role", place.namespace());
    execute(&format!("CREATE ROLE {role} LOGIN")).await;
    execute(&grants(place.namespace(), &role)).await;

    let mut config = place.config().with_migrate(PostgresMigrate::Never);
    config.server = config.server.username(&role);
    let store = PostgresStore::connect(config).await.unwrap();
    let name = stream("chat/a");
    write(&store, &name, Expected::NoStream, events([1, 2])).await;
    // The exact way as well: a repeat, a conflict, and a payload that is not JSON.
    let again = write(&store, &name, Expected::NoStream, events([1, 2])).await;
    assert!(again.repeat);
    let conflict = store.append_one(single(&name, Expected::NoStream, vec![event(3)])).await;
    assert!(matches!(conflict, Err(StoreError::Conflict { .. })));
    assert_holds(&store, &name, [1, 2]).await;
    store.info().await.unwrap();
    assert_eq!(store.heads(&[name]).await.unwrap()[0].0, 2);

    let view =
        ViewId { scope: Scope::new("s").unwrap(), projection: ProjectionName::new("p").unwrap() };
    let key = ViewKey::new("k").unwrap();
    let ops = [
        vec![ViewOp::Put(key.clone(), b"1"[..].into()), ViewOp::Delete(ViewKey::new("x").unwrap())],
        vec![ViewOp::Clear, ViewOp::Put(key.clone(), b"2"[..].into())],
    ];
    for (ops, number) in ops.into_iter().zip(0..) {
        let (expected, next) = (Checkpoint(number), Checkpoint(number + 1));
        let batch = ViewBatch { view: view.clone(), expected, next, ops };
        store.commit(&[batch]).await.pop().unwrap().unwrap();
    }
    let found = store.get(&[ViewGet { view, keys: vec![key] }]).await.unwrap();
    assert_eq!(found[0].values[0].as_deref(), Some(&b"2"[..]));
    store.bus().publish(&[]).await.unwrap();

    let refused = store.renew_epoch().await;
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
    for forbidden in
        ["UPDATE {ns}_events SET type = 'x'", "DELETE FROM {ns}_events", "TRUNCATE {ns}_events"]
    {
        let statement = forbidden.replace("{ns}", place.namespace().as_str());
        let answer = crate::support::try_execute(&format!("SET ROLE {role}; {statement}")).await;
        let message = answer.unwrap_err().to_string();
        assert!(message.contains("permission denied"), "{message}");
    }
    store.close().await;
    admin.close().await;
    execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_store_that_must_not_migrate_says_what_is_missing() {
    let place = Place::new();
    let config = place.config().with_migrate(PostgresMigrate::Never);
    let refused = PostgresStore::connect(config.clone()).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    place.open().await;
    PostgresStore::connect(config).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let place = Place::new();
    place.open().await.close().await;
    execute(&format!("INSERT INTO {}_migrations VALUES (1000, 'later')", place.namespace())).await;
    let refused = PostgresStore::connect(place.config()).await;
    let found = match refused {
        Err(StoreError::NewerSchema { found, .. }) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found, 1000);
}

#[tokio::test]
async fn the_down_migrations_leave_nothing_and_the_next_store_starts_anew() {
    let place = Place::new();
    let store = place.open().await;
    write(&store, &stream("chat/a"), Expected::Any, events([1])).await;
    let epoch = store.info().await.unwrap().epoch;
    store.close().await;
    drop_namespace(&place.config()).await.unwrap();
    let left = format!(
        "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE '{ns}%')
              + (SELECT count(*) FROM pg_proc WHERE proname LIKE '{ns}%')",
        ns = place.namespace()
    );
    assert_eq!(crate::support::number(&left).await, 0);
    // Nothing to take away is no error.
    drop_namespace(&place.config()).await.unwrap();
    let store = place.open().await;
    assert_holds(&store, &stream("chat/a"), []).await;
    assert_ne!(store.info().await.unwrap().epoch, epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_start_at_once_on_an_empty_database_all_work() {
    let place = Place::new();
    let opened = (0..6).map(|number| {
        let config = place.config();
        tokio::spawn(async move {
            let store = PostgresStore::connect(config).await.unwrap();
            write(&store, &stream("chat/all"), Expected::Any, events([number])).await;
            store.info().await.unwrap().epoch
        })
    });
    let mut epochs = Vec::new();
    for opened in opened.collect::<Vec<_>>() {
        epochs.push(opened.await.unwrap());
    }
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    let store = place.open().await;
    assert_eq!(store.head(&stream("chat/all")).await.unwrap().0, 6);
}

#[tokio::test]
async fn another_encoding_and_another_server_are_refused_with_a_reason() {
    let place = Place::new();
    let name = format!("{}_latin", place.namespace());
    execute(&format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ))
    .await;
    let mut config = place.config();
    config.server = config.server.database(&name);
    let refused = PostgresStore::connect(config.clone()).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
    let refused = PostgresStore::connect(config).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}
