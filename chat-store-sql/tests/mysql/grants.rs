//! A store whose user may do as little as `grants.sql` says.

use chat_core::ports::{EventBus as _, EventStore, Expected, Signal, SignalBody, StoreError};
use chat_core::ports::{ViewBatch, ViewId, ViewOp, ViewStore as _};
use chat_core::testkit::fixture::{event, event_id, read_all, read_log, single, stream, write};
use chat_core::{Checkpoint, PartitionId, ProjectionName, Scope, Topic, Version, ViewKey};
use chat_store_sql::mysql::{GRANTS, MysqlConfig, MysqlMigrate, MysqlStore};
use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};

use crate::support::Place;

/// The configuration of a new user with these rights.
async fn user_with(place: &Place, grants: &str) -> MysqlConfig {
    let name = format!("u{}", place.namespace());
    let grants = place.sql(grants).replace("{user}", &format!("'{name}'@'%'"));
    let sql = format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'little'; {grants}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut place.raw().await).await.unwrap();
    let mut config = place.config().with_migrate(MysqlMigrate::Never);
    config.server = config.server.username(&name).password("little");
    config
}

#[tokio::test]
async fn everything_works_with_the_rights_of_the_file() {
    let place = Place::new();
    let other = place.open().await;
    let config = user_with(&place, GRANTS).await;
    let store = MysqlStore::connect(config.clone()).await.unwrap();
    let name = stream("chat/a");
    write(&store, &name, Expected::NoStream, vec![event(1)]).await;
    // Somebody else writes, so that the next one goes under the lock; and a repeat, and a conflict.
    for round in 0..4 {
        write(&other, &name, Expected::Any, vec![event(10 + round)]).await;
        write(&store, &name, Expected::Any, vec![event(20 + round)]).await;
    }
    let repeat = store.append(&[single(&name, Expected::NoStream, vec![event(1)])]).await;
    assert!(repeat[0].as_ref().unwrap().repeat);
    let late = store.append(&[single(&name, Expected::NoStream, vec![event(2)])]).await;
    assert!(matches!(late[0], Err(StoreError::Conflict { actual: Version(9), .. })), "{late:?}");
    assert_eq!(read_all(&store, &name).await.len(), 9);
    assert_eq!(read_log(&store, PartitionId(0), 5).await.len(), 9);
    assert!(store.find(&name, event_id(1)).await.unwrap().is_some());

    let view =
        ViewId { scope: Scope::new("s").unwrap(), projection: ProjectionName::new("p").unwrap() };
    let key = ViewKey::new("k").unwrap();
    let ops = vec![ViewOp::Clear, ViewOp::Delete(key.clone()), ViewOp::Put(key, (*b"v").into())];
    for step in 0..2 {
        let (expected, next) = (Checkpoint(step), Checkpoint(step + 1));
        let batch = ViewBatch { view: view.clone(), expected, next, ops: ops.clone() };
        store.commit(&[batch]).await.pop().unwrap().unwrap();
    }

    let topic = Topic::new("t").unwrap();
    let mut heard = store.subscribe(&topic).await.unwrap();
    let ring = Signal { topic, body: SignalBody::Ring(Version(1)) };
    other.publish(std::slice::from_ref(&ring)).await.unwrap();
    store.publish(&[ring]).await.unwrap();
    assert!(heard.next().await.is_some());

    let mut raw = MySqlConnection::connect_with(&config.server).await.unwrap();
    for denied in ["DELETE FROM {ns}_events", "UPDATE {ns}_events SET payload = ''"] {
        let denied = sqlx::raw_sql(AssertSqlSafe(place.sql(denied)));
        let error = denied.execute(&mut raw).await.unwrap_err().to_string();
        assert!(error.contains("denied"), "{error}");
    }
}

#[tokio::test]
async fn who_may_only_read_is_told_so_when_it_writes() {
    let place = Place::new();
    write(&place.open().await, &stream("a"), Expected::Any, vec![event(1)]).await;
    let grants = "GRANT SELECT ON {ns}_events TO {user}; GRANT SELECT ON {ns}_meta TO {user}; \
                  GRANT SELECT ON {ns}_migrations TO {user}";
    let store = MysqlStore::connect(user_with(&place, grants).await).await.unwrap();
    assert_eq!(read_all(&store, &stream("a")).await.len(), 1);
    let refused = store.append(&[single(&stream("a"), Expected::Any, vec![event(2)])]).await;
    assert!(matches!(refused[0], Err(StoreError::ReadOnly { .. })), "{refused:?}");
}
