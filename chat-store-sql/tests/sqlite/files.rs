//! What is in the file, what is refused with which words, and how a store ends.

use std::time::{Duration, Instant};

use chat_core::Namespace;
use chat_core::ports::{
    Durability, EventStore, EventStoreExt as _, Expected, StoreError, ViewError,
};
use chat_core::testkit::fixture::{event, event_with, events, single, stream, try_write, write};
use chat_store_sql::sqlite::{SqliteAccess, SqliteConfig, SqliteDurability, SqliteStore};
use futures::FutureExt as _;

use crate::support::{Place, commit, get, payloads, put};

#[tokio::test]
async fn events_and_views_survive_a_restart() {
    let place = Place::new();
    let store = place.open().await;
    write(&store, &stream("chat/a"), Expected::NoStream, events([1, 2])).await;
    commit(&store, put("user/u", 0, 7, "k", b"value")).await.unwrap();
    let epoch = store.info().await.unwrap().epoch;
    store.close().await;
    assert!(!place.path().with_extension("db-wal").exists(), "the log is left beside the file");

    let store = place.open().await;
    assert_eq!(payloads(&store, "chat/a").await, ["1 {\"number\":1}", "2 {\"number\":2}"]);
    assert_eq!(get(&store, "user/u", "k").await, (7, Some(b"value".to_vec())));
    assert_eq!(store.info().await.unwrap().epoch, epoch);
}

#[tokio::test]
async fn durability_is_what_was_asked_for() {
    let place = Place::new();
    for (asked, told) in [
        (SqliteDurability::Full, Durability::MachineCrash),
        (SqliteDurability::Normal, Durability::ProcessCrash),
    ] {
        let config = place.config().with_durability(asked);
        let store = SqliteStore::open(config).await.unwrap();
        assert_eq!(store.info().await.unwrap().durability, told);
        store.close().await;
    }
}

#[tokio::test]
async fn a_renewed_epoch_is_seen_by_every_handle_and_stays() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let before = one.info().await.unwrap().epoch;
    let after = one.renew_epoch().await.unwrap();
    assert_ne!(before, after);
    assert_eq!(two.info().await.unwrap().epoch, after);
    assert_eq!(place.open().await.info().await.unwrap().epoch, after);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_store_that_did_not_wait_for_the_disk_has_a_new_epoch_after_the_machine_stopped() {
    let place = Place::new();
    let normal = || SqliteStore::open(place.config().with_durability(SqliteDurability::Normal));
    let marks = || {
        let sql = "SELECT count(*) FROM chat_meta WHERE key GLOB 'unsynced/*'";
        place.raw().query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap()
    };
    let store = normal().await.unwrap();
    let epoch = store.info().await.unwrap().epoch;
    assert_eq!(marks(), 1);
    let second = normal().await.unwrap();
    assert_eq!(marks(), 2);
    second.close().await;
    assert_eq!(marks(), 1, "a store that was closed has lost nothing");
    // As a crash of the process: the mark stays, the machine runs on, nothing is lost.
    place.raw().execute("UPDATE chat_meta SET key = key || 'x' WHERE key GLOB 'un*'", ()).unwrap();
    store.close().await;
    assert_eq!(marks(), 1);
    let store = normal().await.unwrap();
    assert_eq!(store.info().await.unwrap().epoch, epoch);
    store.close().await;

    // As a crash of the machine.
    place.raw().execute("UPDATE chat_meta SET value = 'a' WHERE key GLOB 'un*'", ()).unwrap();
    let store = place.open().await;
    let after = store.info().await.unwrap().epoch;
    assert_ne!(after, epoch);
    assert_eq!(marks(), 0);
    store.close().await;
    assert_eq!(place.open().await.info().await.unwrap().epoch, after);
}

#[tokio::test]
async fn stores_that_open_a_new_file_at_once_agree() {
    let place = Place::new();
    let opens = (0..8).map(|_| tokio::spawn(SqliteStore::open(place.config())));
    let stores = futures::future::join_all(opens.collect::<Vec<_>>()).await;
    let mut epochs = Vec::new();
    for store in stores {
        epochs.push(store.unwrap().unwrap().info().await.unwrap().epoch);
    }
    assert_eq!(epochs.len(), 8);
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

#[tokio::test]
async fn no_name_of_one_namespace_can_be_a_name_of_another() {
    let place = Place::new();
    place.open().await.close().await;
    let raw = place.raw();
    let sql = "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'";
    let mut query = raw.prepare(sql).unwrap();
    let names = query.query_map((), |row| row.get::<_, String>(0)).unwrap();
    let names: Vec<_> = names.map(|name| name.unwrap().replacen("chat_", "", 1)).collect();
    assert!(names.len() >= 9, "{names:?}");
    for one in &names {
        for other in &names {
            // The namespace `x` and the namespace `x_y` would share the table `x_y_other`.
            assert!(!one.ends_with(&format!("_{other}")), "{one} and {other}");
        }
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let place = Place::new();
    place.open().await.close().await;
    place.raw().execute("INSERT INTO chat_migrations VALUES (99, 'future')", ()).unwrap();
    for access in [SqliteAccess::ReadWrite, SqliteAccess::ReadOnly] {
        match SqliteStore::open(place.config().with_access(access)).await {
            Err(StoreError::NewerSchema { found: 99, supported }) => assert!(supported < 99),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_store_for_reading_reads_and_refuses_every_write() {
    let place = Place::new();
    let config = place.config().with_access(SqliteAccess::ReadOnly);
    let missing = SqliteStore::open(config.clone()).await;
    assert!(matches!(missing, Err(StoreError::Unavailable { .. })), "{missing:?}");

    let writer = place.open().await;
    write(&writer, &stream("chat/a"), Expected::Any, events([1])).await;
    let reader = SqliteStore::open(config).await.unwrap();
    write(&writer, &stream("chat/a"), Expected::Any, events([2])).await;
    assert_eq!(payloads(&reader, "chat/a").await.len(), 2);
    let refused = try_write(&reader, &stream("chat/a"), Expected::Any, events([3])).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
    let refused = commit(&reader, put("s", 0, 1, "k", b"")).await;
    assert!(matches!(refused, Err(ViewError::Store(StoreError::ReadOnly { .. }))), "{refused:?}");
    let refused = reader.renew_epoch().await;
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
    reader.close().await;
    assert_eq!(payloads(&writer, "chat/a").await.len(), 2);
}

#[tokio::test]
async fn a_file_without_tables_is_not_changed_by_a_store_for_reading() {
    let place = Place::new();
    place.raw().execute_batch("CREATE TABLE other (x)").unwrap();
    let opened = SqliteStore::open(place.config().with_access(SqliteAccess::ReadOnly)).await;
    assert!(matches!(opened, Err(StoreError::ReadOnly { .. })), "{opened:?}");
}

#[tokio::test]
async fn what_cannot_be_a_database_is_refused_with_the_reason() {
    let place = Place::new();
    std::fs::write(place.path(), "no database at all, ".repeat(500)).unwrap();
    let opened = SqliteStore::open(place.config()).await;
    assert!(matches!(opened, Err(StoreError::Corrupt { .. })), "{opened:?}");

    let nowhere = place.path().join("nowhere").join("chat.db");
    let opened = SqliteStore::open(SqliteConfig::new(nowhere)).await;
    assert!(matches!(opened, Err(StoreError::Unavailable { .. })), "{opened:?}");

    let opened = SqliteStore::open(SqliteConfig::new(":memory:")).await;
    match opened {
        Err(StoreError::Invalid { what }) => assert!(what.contains("write-ahead"), "{what}"),
        other => panic!("{other:?}"),
    }

    let place = Place::new();
    place.raw().execute_batch("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (x)").unwrap();
    match SqliteStore::open(place.config()).await {
        Err(StoreError::Invalid { what }) => assert!(what.contains("UTF-16le"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_corrupt_row_is_named_and_hinders_nothing_else() {
    let damages = [
        ("payload = CAST(x'ff' AS TEXT)", "payload"),
        ("metadata = CAST(x'c328' AS TEXT)", "metadata"),
        ("type = ''", "event type"),
        ("event_id = x'0102'", "bytes"),
        ("recorded_at = -1", "time is -1"),
        ("schema_version = 70000", "schema version"),
    ];
    for (damage, said) in damages {
        let place = Place::new();
        let store = place.open().await;
        let name = stream("chat/a");
        write(&store, &name, Expected::Any, events([1, 2, 3])).await;
        let update = format!("UPDATE chat_events SET {damage} WHERE version = 2");
        assert_eq!(place.raw().execute(&update, ()).unwrap(), 1);

        let page = chat_core::ports::PageLimit::events(10);
        let zero = chat_core::Version::ZERO;
        let forward = chat_core::ports::Direction::Forward;
        let read = store.read_stream(&name, forward, zero, page).await.map(drop);
        let partition = store.partition_of(&name);
        let log = store.read_log(partition, chat_core::Position::ZERO, page).await.map(drop);
        for result in [read, log] {
            match result {
                Err(StoreError::Corrupt { place, what }) => {
                    assert_eq!(place, "stream chat/a, version 2 (position 2)");
                    assert!(what.contains(said), "{damage}: {what}");
                }
                other => panic!("{damage}: {other:?}"),
            }
        }
        let one = chat_core::ports::PageLimit::events(1);
        let first = store.read_stream(&name, forward, zero, one).await.unwrap();
        assert_eq!(first.events.len(), 1, "what lies before the damage is readable");
        write(&store, &name, Expected::Exactly(chat_core::Version(3)), events([4])).await;
    }
}

#[tokio::test]
async fn a_repeat_of_a_corrupt_event_is_not_taken_for_anything_else() {
    let place = Place::new();
    let store = place.open().await;
    let name = stream("chat/a");
    write(&store, &name, Expected::Any, events([1])).await;
    place.raw().execute("UPDATE chat_events SET payload = CAST(x'ff' AS TEXT)", ()).unwrap();
    let appends = [1, 2].map(|number| single(&name, Expected::Any, events([number])));
    let answers = store.append(&appends).await;
    assert!(matches!(answers[0], Err(StoreError::Corrupt { .. })), "{answers:?}");
    assert!(answers[1].is_ok(), "{answers:?}");
}

#[tokio::test]
async fn a_damaged_page_is_told_as_corrupt() {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let place = Place::new();
    let store = place.open().await;
    for number in 1..=50 {
        let payload = format!("\"{}\"", "x".repeat(1_000));
        write(&store, &stream("chat/a"), Expected::Any, vec![event_with(number, &payload)]).await;
    }
    store.close().await;
    let mut file = std::fs::OpenOptions::new().write(true).open(place.path()).unwrap();
    let end = file.metadata().unwrap().len();
    // Everything but the first pages, which hold the schema and the roots of all tables.
    assert!(end / 4096 > 25);
    for page in 18..end / 4096 {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xAA; 4096]).unwrap();
    }
    drop(file);
    let store = place.open().await;
    let page = chat_core::ports::PageLimit::events(1_000);
    let partition = chat_core::PartitionId(0);
    let log = store.read_log(partition, chat_core::Position::ZERO, page).await;
    assert!(matches!(log, Err(StoreError::Corrupt { .. })), "{log:?}");
    let written = try_write(&store, &stream("chat/a"), Expected::Any, vec![event(99)]).await;
    assert!(matches!(written, Err(StoreError::Corrupt { .. })), "{written:?}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_takes_nothing_away() {
    let place = Place::new();
    let store = SqliteStore::open(place.config().with_max_pages(60)).await.unwrap();
    let name = stream("chat/a");
    let big = |number| vec![event_with(number, &format!("\"{}\"", "x".repeat(5_000)))];
    let mut written = 0;
    let error = loop {
        match try_write(&store, &name, Expected::Any, big(written + 1)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "the quota has no effect");
    };
    assert!(matches!(error, StoreError::StorageFull { .. }), "{error}");
    assert!(!error.is_retryable());
    assert!(written > 5);
    assert_eq!(store.head(&name).await.unwrap().0, written);
    // What is small still fits, also in one call with what does not.
    let small = single(&stream("chat/b"), Expected::NoStream, vec![event(900)]);
    let huge = event_with(901, &format!("\"{}\"", "x".repeat(500_000)));
    let huge = single(&stream("chat/b"), Expected::Any, vec![huge]);
    let answers = store.append(&[huge, small]).await;
    assert!(matches!(answers[0], Err(StoreError::StorageFull { .. })), "{answers:?}");
    assert!(answers[1].is_ok(), "{answers:?}");
    // A view meets the same wall, and reading goes on.
    let refused = commit(&store, put("s", 0, 1, "k", &vec![1; 50_000])).await;
    let full = matches!(refused, Err(ViewError::Store(StoreError::StorageFull { .. })));
    assert!(full, "{refused:?}");
    assert_eq!(get(&store, "s", "k").await, (0, None));
    store.close().await;

    let store = place.open().await;
    assert_eq!(payloads(&store, "chat/a").await.len(), usize::try_from(written).unwrap());
    let appended = write(&store, &name, Expected::Any, big(written + 1)).await;
    assert!(!appended.repeat, "the refused event was not written");
    assert_eq!(appended.streams[0].first.0, written + 1);
}

#[tokio::test]
async fn a_lock_that_is_not_released_in_time_is_told_as_retryable() {
    let place = Place::new();
    let store = SqliteStore::open(place.config().with_busy_timeout(Duration::from_millis(50)));
    let store = store.await.unwrap();
    let name = stream("chat/a");
    write(&store, &name, Expected::Any, events([1])).await;
    let raw = place.raw();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = try_write(&store, &name, Expected::Any, events([2])).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    assert!(refused.is_retryable());
    assert_eq!(store.head(&name).await.unwrap().0, 1, "reading goes on beside the lock");
    raw.execute_batch("COMMIT").unwrap();
    assert!(!write(&store, &name, Expected::Any, events([2])).await.repeat);
}

#[tokio::test]
async fn a_failure_of_one_append_leaves_the_others_of_its_transaction() {
    let place = Place::new();
    let store = place.open().await;
    place
        .raw()
        .execute_batch(
            "CREATE TRIGGER bad BEFORE INSERT ON chat_events WHEN NEW.payload = '\"bad\"'
             BEGIN SELECT RAISE(ABORT, 'bad'); END",
        )
        .unwrap();
    let name = stream("chat/a");
    let bad = vec![event(3), event_with(4, "\"bad\"")];
    let appends = [events([1, 2]), bad, events([5])].map(|e| single(&name, Expected::Any, e));
    let answers = store.append(&appends).await;
    assert!(matches!(answers[1], Err(StoreError::Bug { .. })), "{answers:?}");
    assert_eq!(answers[0].as_ref().unwrap().streams[0].last.0, 2);
    assert_eq!(answers[2].as_ref().unwrap().streams[0].first.0, 3);
    assert_eq!(payloads(&store, "chat/a").await.len(), 3);
}

#[tokio::test]
async fn a_time_or_checkpoint_that_cannot_be_stored_is_refused() {
    let place = Place::new();
    let store = place.open().await;
    let mut far = event(1);
    far.recorded_at = chat_core::Timestamp(u64::MAX);
    for events in [vec![far.clone()], vec![event(2), far]] {
        let refused = try_write(&store, &stream("chat/a"), Expected::Any, events).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(store.head(&stream("chat/a")).await.unwrap().0, 0);
    let refused = commit(&store, put("s", 0, u64::MAX, "k", b"")).await;
    assert!(matches!(refused, Err(ViewError::Store(StoreError::Invalid { .. }))), "{refused:?}");
    assert_eq!(get(&store, "s", "k").await, (0, None));
}

#[tokio::test]
async fn a_dropped_append_is_carried_out() {
    let place = Place::new();
    let store = place.open().await;
    let name = stream("chat/a");
    let append = [single(&name, Expected::NoStream, events([1]))];
    // Dropped right after it was queued, whether it has been answered by then or not.
    drop(store.append(&append).now_or_never());
    write(&store, &name, Expected::Exists, events([2])).await;
    assert_eq!(payloads(&store, "chat/a").await, ["1 {\"number\":1}", "2 {\"number\":2}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_answers_what_is_queued_and_refuses_what_comes_later() {
    let place = Place::new();
    let store = place.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50 {
        let store = store.clone();
        tasks.spawn(async move {
            let name = stream(&format!("chat/{task}"));
            for number in 1.. {
                let id = task * 1_000_000 + number;
                match try_write(&store, &name, Expected::Any, events([id])).await {
                    Ok(_) => {}
                    Err(StoreError::Closed) => return (name, number - 1),
                    Err(error) => panic!("{error}"),
                }
            }
            unreachable!("the loop has no end of its own")
        });
    }
    // Closes in the middle of the work.
    write(&store, &stream("mark"), Expected::Any, vec![event(999_999_999)]).await;
    store.close().await;
    store.close().await;
    let read = store.heads(&[]).await;
    assert!(matches!(read, Err(StoreError::Closed)), "{read:?}");
    let refused = commit(&store, put("s", 0, 1, "k", b"")).await;
    assert!(matches!(refused, Err(ViewError::Store(StoreError::Closed))), "{refused:?}");

    let again = place.open().await;
    for (name, acknowledged) in tasks.join_all().await {
        assert_eq!(again.head(&name).await.unwrap().0, acknowledged, "{name}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_last_handle_that_is_dropped_ends_the_threads() {
    let place = Place::new();
    let store = place.open().await;
    let (for_events, for_views) = (store.events(), store.views());
    drop(store);
    write(&*for_events, &stream("chat/a"), Expected::Any, events([1])).await;
    drop(for_events);
    commit(&*for_views, put("s", 0, 1, "k", b"")).await.unwrap();
    assert!(open_files(&place) > 0);
    drop(for_views);
    wait_until("connections are still open", || open_files(&place) == 0).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dropped_opening_leaves_no_thread() {
    let place = Place::new();
    // Dropped while the thread opens the file, and after it has opened it.
    for answered in [false, true] {
        let mut opening = Box::pin(SqliteStore::open(place.config()));
        assert!((&mut opening).now_or_never().is_none());
        // The writer has three files open, the others one each.
        wait_until("the file is not opened", || !answered || open_files(&place) >= 6).await;
        drop(opening);
        wait_until("connections are still open", || open_files(&place) == 0).await;
    }
}

#[cfg(target_os = "linux")]
async fn wait_until(otherwise: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        tokio::task::yield_now().await;
    }
}

/// How many files of the database this process has open.
#[cfg(target_os = "linux")]
fn open_files(place: &Place) -> usize {
    let path = place.path();
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(path.parent().unwrap())).count()
}

#[tokio::test]
async fn namespaces_share_a_file_and_nothing_else() {
    let place = Place::new();
    let chat = place.open().await;
    let other = Namespace::new("chat_view").unwrap();
    let other = SqliteStore::open(place.config().with_namespace(other)).await.unwrap();
    assert_ne!(chat.info().await.unwrap().epoch, other.info().await.unwrap().epoch);
    commit(&chat, put("s", 0, 1, "k", b"chat")).await.unwrap();
    commit(&other, put("s", 0, 2, "k", b"other")).await.unwrap();
    assert_eq!(get(&chat, "s", "k").await, (1, Some(b"chat".to_vec())));
    assert_eq!(get(&other, "s", "k").await, (2, Some(b"other".to_vec())));
}
