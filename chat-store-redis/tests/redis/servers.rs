//! Servers that are killed, emptied, trimmed, or set up so that they would lose history. Each test
//! has a server of its own.

use std::sync::{Arc, Mutex};

use chat_core::ports::{
    Append, BusItem, Direction, EventStore as _, EventStoreExt as _, Expected, Guard, PageLimit,
    Signal, SignalBody, StoreError,
};
use chat_core::testkit::fixture::{event, read_all, read_log, single, stream, write_each};
use chat_core::testkit::scenarios::world::soak;
use chat_core::{PartitionId, StreamId, Topic, Version};
use chat_store_redis::{ConnectError, RedisDurability, RedisStore, Secret, Topology};
use futures::StreamExt as _;
use test_servers::{Fsync, Redis};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::timeout;

use crate::support::{Place, SOON, settled};
use crate::work::{Work, lost};

fn start(fsync: Fsync) -> (Redis, Place) {
    let server = Redis::start_with(fsync).unwrap();
    let place = Place::at(&server.url(), Topology::Server).with_partitions(2);
    (server, place)
}

/// A store whose streams are all in one partition.
async fn start_whole(fsync: Fsync) -> (Redis, Place, RedisStore) {
    let (server, place) = start(fsync);
    let place = place.with_partitions(1);
    let store = place.open().await;
    (server, place, store)
}

/// The key of this in the partition of a stream.
fn key(place: &Place, store: &RedisStore, name: &StreamId, rest: &str) -> String {
    let (namespace, partition) = (&place.config.namespace, store.partition_of(name));
    format!("{namespace}:{{{namespace}:{partition}}}:{rest}")
}

/// The key where the namespace is described.
fn namespace_key(place: &Place) -> String {
    let namespace = &place.config.namespace;
    format!("{namespace}:{{{namespace}}}:namespace")
}

const WRITERS: u64 = 8;

/// Appends until the server is gone; what was acknowledged, and the number under way at the end.
async fn append_until_gone(store: RedisStore, round: u64, writer: u64) -> (Vec<(u64, u64)>, u64) {
    let name = stream(&format!("chat/{}", writer % 3));
    let mut acknowledged = Vec::new();
    for number in (round * 100 + writer) * 1_000_000.. {
        match store.append_one(single(&name, Expected::Any, vec![event(number)])).await {
            Ok(appended) => acknowledged.push((number, appended.streams[0].first.0)),
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                return (acknowledged, number);
            }
        }
    }
    unreachable!("numbers do not end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_that_syncs_loses_nothing_that_was_acknowledged() {
    let (mut server, place) = start(Fsync::Always);
    let place = Place { config: place.config.with_patience(std::time::Duration::from_millis(50)) };
    let epoch = place.open().await.info().await.unwrap().epoch;
    for round in 0..soak(100, 5) {
        let store = place.open().await;
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(append_until_gone(store.clone(), round, writer));
        }
        // Killed in the middle of the work, at another moment each time.
        let name = stream("chat/0");
        let before = store.head(&name).await.unwrap().0;
        while store.head(&name).await.unwrap().0 < before + 20 + round * 37 % 200 {
            tokio::task::yield_now().await;
        }
        server.kill().unwrap();
        let written = writers.join_all().await;
        server.restart().unwrap();
        let store = place.open().await;
        assert_eq!(store.info().await.unwrap().epoch, epoch, "nothing was lost");
        for (writer, (acknowledged, next)) in (0..).zip(written) {
            let _: u64 = writer;
            let name = stream(&format!("chat/{}", next / 1_000_000 % 100 % 3));
            for (number, version) in acknowledged {
                let found = store.find(&name, event(number).id).await.unwrap();
                assert_eq!(found.map(|found| found.version.0), Some(version), "{number}");
            }
            let there = store.find(&name, event(next).id).await.unwrap().is_some();
            let settled = store.append_one(single(&name, Expected::Any, vec![event(next)])).await;
            assert_eq!(settled.unwrap().repeat, there, "what was under way is settled");
        }
        chat_core::testkit::audit::audit_all(&store.events()).await;
    }
}

#[tokio::test]
async fn a_server_that_lost_its_data_gets_a_new_epoch() {
    let (server, place) = start(Fsync::Always);
    let (store, other) = (place.open().await, place.open().await);
    let name = stream("chat");
    write_each(&store, &name, 0..3).await;
    let epoch = store.info().await.unwrap().epoch;
    assert_eq!(other.info().await.unwrap().epoch, epoch);
    server.command(&["FLUSHALL"]).unwrap();
    // The first to write notices; the event is written once, in the new epoch.
    let appended = store.append_one(single(&name, Expected::Any, vec![event(9)])).await.unwrap();
    assert_eq!(appended.streams[0].first, Version(1));
    let renewed = store.info().await.unwrap().epoch;
    assert_ne!(renewed, epoch);
    assert_eq!(other.info().await.unwrap().epoch, renewed, "once for all");
    assert_eq!(place.open().await.info().await.unwrap().epoch, renewed);
}

#[tokio::test]
async fn a_server_that_syncs_later_gets_a_new_epoch_when_it_is_started_again() {
    let (mut server, place) = start(Fsync::EverySecond);
    let store = place.open().await;
    write_each(&store, &stream("chat"), 0..3).await;
    let epoch = store.info().await.unwrap().epoch;
    assert_eq!(place.open().await.info().await.unwrap().epoch, epoch, "it was not started again");
    server.kill().unwrap();
    server.restart().unwrap();
    let renewed = place.open().await.info().await.unwrap().epoch;
    assert_ne!(renewed, epoch);
    assert_eq!(store.info().await.unwrap().epoch, renewed, "once for all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_that_syncs_later_loses_tails_at_most_and_says_so() {
    let (mut server, place) = start(Fsync::EverySecond);
    let place = Place { config: place.config.with_patience(SOON) };
    let store = place.open().await;
    let work = Work::start(&place).await;
    for _ in 0..soak(100, 2) {
        work.more(300).await;
        let epoch = store.info().await.unwrap().epoch;
        block_in_place(|| {
            server.kill().unwrap();
            server.restart().unwrap();
        });
        work.more(300).await;
        assert_ne!(store.info().await.unwrap().epoch, epoch);
    }
    // Nothing, unless the kill met the server in the middle of a sync.
    let _tails = lost(&place, &work.end().await).await;
}

#[tokio::test]
async fn a_server_that_would_lose_history_is_refused() {
    let (server, place) = start(Fsync::EverySecond);
    let strict = place.config.clone().with_durability(RedisDurability::FsyncAlways);
    let refused = RedisStore::connect(strict).await;
    assert!(matches!(refused, Err(ConnectError::Durability { .. })), "{refused:?}");
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).unwrap();
    let refused = RedisStore::connect(place.config.clone()).await;
    let named = matches!(&refused, Err(ConnectError::Evicts { policy }) if policy == "allkeys-lru");
    assert!(named, "{refused:?}");
}

#[tokio::test]
async fn a_server_that_syncs_less_while_it_rewrites_its_file_syncs_later() {
    let (server, place) = start(Fsync::Always);
    let strict = place.config.clone().with_durability(RedisDurability::FsyncAlways);
    drop(RedisStore::connect(strict.clone()).await.unwrap());
    server.command(&["CONFIG", "SET", "no-appendfsync-on-rewrite", "yes"]).unwrap();
    let refused = RedisStore::connect(strict).await;
    assert!(matches!(refused, Err(ConnectError::Durability { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_hides_its_settings_is_refused_if_it_removes_history() {
    let (server, place) = start(Fsync::Always);
    server
        .command(&["ACL", "SETUSER", "ann", "on", ">secret", "~*", "&*", "+@all", "-config"])
        .unwrap();
    let hidden = place.config.clone().with_credentials(Some("ann".into()), Secret::new("secret"));
    let store = RedisStore::connect(hidden.clone()).await.unwrap();
    assert_eq!(store.durability().sync, None, "it is not known");
    server.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).unwrap();
    let refused = RedisStore::connect(hidden).await;
    let named =
        matches!(&refused, Err(ConnectError::Evicts { policy }) if policy == "volatile-lru");
    assert!(named, "{refused:?}");
}

#[tokio::test]
async fn a_partition_that_lost_everything_begins_a_new_epoch() {
    let (server, place) = start(Fsync::Always);
    let store = place.open().await;
    write_each(&store, &stream("chat"), 0..3).await;
    let epoch = store.info().await.unwrap().epoch;
    // As after the promotion of an empty replica of the node that held it.
    let kept = ["state", "log", "heads", "s:chat", "i:chat"];
    let kept = kept.map(|rest| key(&place, &store, &stream("chat"), rest));
    drop(store);
    for key in &kept {
        server.command(&["DEL", key]).unwrap();
    }
    let (store, other) = (place.open().await, place.open().await);
    let renewed = store.info().await.unwrap().epoch;
    assert_ne!(renewed, epoch);
    assert_eq!(other.info().await.unwrap().epoch, renewed, "once for all");
}

#[tokio::test]
async fn the_server_that_holds_the_namespace_is_compared_too() {
    let (server, place) = start(Fsync::Always);
    let store = place.open().await;
    let epoch = store.info().await.unwrap().epoch;
    // As if it had become master after the partitions' servers did.
    let key = namespace_key(&place);
    server.command(&["HSET", &key, "run", "another:history", "sync", "later"]).unwrap();
    let renewed = store.info().await.unwrap().epoch;
    assert_ne!(renewed, epoch);
    assert_eq!(place.open().await.info().await.unwrap().epoch, renewed, "once for all");
}

#[tokio::test]
async fn a_full_server_that_was_started_again_can_be_read() {
    for fsync in [Fsync::Always, Fsync::EverySecond] {
        let (mut server, place) = start(fsync);
        let place = Place { config: place.config.with_patience(SOON) };
        let store = place.open().await;
        let name = stream("chat");
        write_each(&store, &name, 0..3).await;
        let epoch = store.info().await.unwrap().epoch;
        server.kill().unwrap();
        server.restart().unwrap();
        server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
        assert_eq!(read_all(&store, &name).await.len(), 3);
        let full = store.append_one(single(&name, Expected::Any, vec![event(3)])).await;
        assert!(matches!(full, Err(StoreError::StorageFull { .. })), "{full:?}");
        let same = store.info().await.unwrap().epoch == epoch;
        assert_eq!(same, fsync == Fsync::Always);
    }
}

#[tokio::test]
async fn databases_of_one_server_are_separate() {
    let (mut server, place) = start(Fsync::EverySecond);
    let beside = Place { config: place.config.clone().with_database(2) };
    let stores = [place.open().await, beside.open().await];
    let mut epochs = Vec::new();
    for store in &stores {
        write_each(store, &stream("chat"), 0..3).await;
        epochs.push(store.info().await.unwrap().epoch);
    }
    // What the first hears is its own.
    let topic = Topic::new("chat").unwrap();
    let mut signals = stores[0].bus().subscribe(&topic).await.unwrap();
    for (store, version) in [(&stores[1], 1), (&stores[0], 2)] {
        let signal = Signal { topic: topic.clone(), body: SignalBody::Ring(Version(version)) };
        store.bus().publish(&[signal]).await.unwrap();
    }
    let heard = timeout(SOON, signals.next()).await.unwrap();
    let own = Signal { topic: topic.clone(), body: SignalBody::Ring(Version(2)) };
    assert!(matches!(&heard, Some(BusItem::Signal(heard)) if *heard == own), "{heard:?}");
    server.kill().unwrap();
    server.restart().unwrap();
    // One that has been entered makes the scripts known for itself only: the first call to the other
    // begins its new epoch.
    let append = |number| single(&stream("chat"), Expected::Any, vec![event(number)]);
    settled(&stores[0], append(3)).await;
    settled(&stores[1], append(3)).await;
    drop(stores);
    for (place, epoch) in [&place, &beside].into_iter().zip(epochs) {
        let database = place.config.database.to_string();
        let key = namespace_key(place);
        let script = "redis.call('SELECT', ARGV[1]) return redis.call('HGET', KEYS[1], 'epoch')";
        let now = server.command(&["EVAL", script, "1", &key, &database]).unwrap();
        assert_ne!(now.trim(), epoch.0.to_string(), "database {database}");
    }
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let (_server, place) = start(Fsync::Always);
    drop(place.open().await);
    let refused = RedisStore::connect(place.clone().with_partitions(3).config).await;
    let named = matches!(refused, Err(ConnectError::Partitions { found: 2, wanted: 3 }));
    assert!(named, "{refused:?}");
}

#[tokio::test]
async fn an_older_format_is_refused() {
    let (server, place) = start(Fsync::Always);
    drop(place.open().await);
    let key = namespace_key(&place);
    server.command(&["HSET", &key, "format", "1"]).unwrap();
    let refused = RedisStore::connect(place.config.clone()).await;
    let named = matches!(&refused, Err(ConnectError::Store(StoreError::Invalid { what }))
        if what.contains("format 1"));
    assert!(named, "{refused:?}");
}

/// Whether this says that this stream is damaged.
fn names<T>(result: &Result<T, StoreError>, name: &StreamId) -> bool {
    matches!(result, Err(StoreError::Corrupt { place, .. }) if *place == format!("stream {name}"))
}

fn one(name: &StreamId, number: u64) -> Append {
    single(name, Expected::Any, vec![event(number)])
}

fn two(name: &StreamId, number: u64) -> Append {
    single(name, Expected::Any, vec![event(number), event(number + 1)])
}

#[tokio::test]
async fn a_damaged_stream_is_named_and_the_others_of_a_batch_are_written() {
    let (server, place, store) = start_whole(Fsync::Always).await;
    let damages = [
        "no index",
        "another index",
        "an index of others",
        "no head",
        "another head",
        "a head before",
        "other events",
        "events ahead",
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let (damaged, whole) =
            (stream(&format!("damaged-{number}")), stream(&format!("whole-{number}")));
        write_each(&store, &damaged, 0..3).await;
        let index = key(&place, &store, &damaged, &format!("i:{damaged}"));
        let heads = key(&place, &store, &damaged, "heads");
        let events = key(&place, &store, &damaged, &format!("s:{damaged}"));
        let commands: &[&[&str]] = match damage {
            "no index" => &[&["DEL", &index]],
            "another index" => &[&["DEL", &index], &["SET", &index, "no hash"]],
            "no head" => &[&["HDEL", &heads, damaged.as_str()]],
            "another head" => &[&["HSET", &heads, damaged.as_str(), "-4"]],
            "a head before" => &[&["HSET", &heads, damaged.as_str(), "1"]],
            "other events" => &[&["DEL", &events], &["SET", &events, "no stream"]],
            "events ahead" => &[&["XADD", &events, "9-0", "e", "x", "p", "x"]],
            // The version of the id that is repeated below is no number.
            _ => &[&["EVAL", &no_version(1), "1", &index], &["EVAL", &no_version(2), "1", &index]],
        };
        for command in commands {
            server.command(command).unwrap();
        }
        let mut batch = vec![one(&damaged, 1), two(&damaged, 1), one(&whole, 10), two(&whole, 20)];
        if damage != "an index of others" {
            batch.splice(0..0, [one(&damaged, 30), two(&damaged, 40)]);
        }
        let results = store.append(&batch).await;
        for (append, result) in batch.iter().zip(results) {
            match append.writes()[0].stream == damaged {
                true => assert!(names(&result, &damaged), "{damage}: {result:?}"),
                false => assert!(!result.unwrap().repeat, "{damage}"),
            }
        }
        assert_eq!(read_all(&store, &whole).await.len(), 3, "{damage}");
    }
}

/// A script that makes the version of this event's id no number.
fn no_version(number: u64) -> String {
    let id: String =
        event(number).id.0.as_bytes().iter().map(|byte| format!("\\{byte:03}")).collect();
    format!("return redis.call('HSET', KEYS[1], '{id}', 'x')")
}

#[tokio::test]
async fn a_stream_whose_head_or_index_is_gone_is_not_read_as_if_it_were_whole() {
    let (server, place, store) = start_whole(Fsync::Always).await;
    let (no_head, no_index) = (stream("no-head"), stream("no-index"));
    for name in [&no_head, &no_index] {
        write_each(&store, name, 0..3).await;
    }
    let heads = key(&place, &store, &no_head, "heads");
    // However few there are, Redis does not look through all to find one.
    let encoding = server.command(&["OBJECT", "ENCODING", &heads]).unwrap();
    assert_eq!(encoding.trim(), "hashtable");
    server.command(&["HDEL", &heads, "no-head"]).unwrap();
    server.command(&["DEL", &key(&place, &store, &no_index, "i:no-index")]).unwrap();
    for name in [&no_head, &no_index] {
        let limit = PageLimit::events(9);
        let page = store.read_stream(name, Direction::Forward, Version::ZERO, limit).await;
        assert!(matches!(page, Err(StoreError::Corrupt { .. })), "{page:?}");
    }
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_keeps_no_id() {
    let (server, place, store) = start_whole(Fsync::Always).await;
    let (name, new) = (stream("chat"), stream("new"));
    write_each(&store, &name, 0..3).await;
    // A command that enters the ids of several events is refused behind one that entered a single id.
    server.command(&["ACL", "SETUSER", "default", "-hset"]).unwrap();
    let batch = [one(&name, 3), one(&new, 3), two(&name, 4)];
    for result in store.append(&batch).await {
        assert!(
            matches!(result, Err(StoreError::Invalid { .. } | StoreError::Bug { .. })),
            "{result:?}"
        );
    }
    server.command(&["ACL", "SETUSER", "default", "+hset"]).unwrap();
    let left = server.command(&["EXISTS", &key(&place, &store, &new, "i:new")]).unwrap();
    assert_eq!(left.trim(), "0");
    for result in store.append(&batch).await {
        assert!(!result.unwrap().repeat);
    }
    assert_eq!(read_all(&store, &name).await.len(), 6);
}

#[tokio::test]
async fn a_log_that_is_out_of_order_takes_no_append_and_keeps_no_id() {
    let (server, place, store) = start_whole(Fsync::Always).await;
    let (name, new) = (stream("chat"), stream("new"));
    write_each(&store, &name, 0..3).await;
    let log = key(&place, &store, &name, "log");
    let kept = key(&place, &store, &name, "kept");
    server.command(&["RENAME", &log, &kept]).unwrap();
    server.command(&["XADD", &log, "1000-0", "t", "x", "r", "1 1 chat"]).unwrap();
    let batch = [one(&name, 3), two(&name, 4), one(&new, 3), two(&new, 4)];
    for result in store.append(&batch).await {
        assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{result:?}");
    }
    assert_eq!(store.heads(&[name.clone(), new.clone()]).await.unwrap(), [Version(3), Version(0)]);
    let left = server.command(&["EXISTS", &key(&place, &store, &new, "i:new")]).unwrap();
    assert_eq!(left.trim(), "0");
    server.command(&["RENAME", &kept, &log]).unwrap();
    for result in store.append(&batch).await {
        assert!(!result.unwrap().repeat);
    }
    assert_eq!(read_all(&store, &name).await.len(), 6);
    assert_eq!(read_all(&store, &new).await.len(), 3);
}

#[tokio::test]
async fn more_streams_than_a_command_takes_are_written_at_once() {
    let (_server, _, store) = start_whole(Fsync::EverySecond).await;
    let names: Vec<_> = (0..2_500).map(|number| stream(&format!("chat/{number}"))).collect();
    // Each writes to one stream and is guarded by sixty others.
    let guarded = names.chunks(61).map(|names| {
        let guard = |name: &StreamId| Guard { stream: name.clone(), expected: Expected::NoStream };
        let write = one(&stream(&format!("{}-guarded", names[0])), 0).into_parts().0;
        Append::multi(write, names.iter().map(guard).collect()).unwrap()
    });
    let guarded: Vec<_> = guarded.collect();
    for repeat in [false, true] {
        let results = store.append(&guarded).await;
        assert!(results.into_iter().all(|result| result.unwrap().repeat == repeat));
    }
    let batch: Vec<_> = names.iter().take(1_000).map(|name| one(name, 1)).collect();
    for repeat in [false, true] {
        let results = store.append(&batch).await;
        assert!(results.into_iter().all(|result| result.unwrap().repeat == repeat));
    }
}

#[tokio::test]
async fn a_full_server_says_so_and_goes_on_when_there_is_room() {
    let (server, place) = start(Fsync::Always);
    let store = place.open().await;
    let name = stream("chat");
    write_each(&store, &name, 0..3).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let append = |number| single(&name, Expected::Any, vec![event(number)]);
    for append in [append(3), two(&name, 4)] {
        let full = store.append_one(append).await;
        assert!(matches!(full, Err(StoreError::StorageFull { .. })), "{full:?}");
    }
    assert_eq!(read_all(&store, &name).await.len(), 3, "it can be read");
    assert!(store.append_one(append(2)).await.unwrap().repeat, "a repeat needs no room");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(store.append_one(append(3)).await.unwrap().streams[0].first, Version(4));
    assert!(!store.append_one(two(&name, 4)).await.unwrap().repeat);
}

#[tokio::test]
async fn trimmed_history_is_an_error_and_versions_go_on() {
    let (server, place) = start(Fsync::Always);
    let store = place.open().await;
    let name: StreamId = stream("chat");
    write_each(&store, &name, 0..5).await;
    let key = key(&place, &store, &name, "s:chat");
    server.command(&["XTRIM", &key, "MAXLEN", "2"]).unwrap();
    let limit = PageLimit::events(10);
    let page = store.read_stream(&name, Direction::Forward, Version::ZERO, limit).await;
    assert!(matches!(page, Err(StoreError::Corrupt { .. })), "{page:?}");
    let log = store.read_log(store.partition_of(&name), chat_core::Position::ZERO, limit).await;
    assert!(matches!(log, Err(StoreError::Corrupt { .. })), "{log:?}");
    let page = store.read_stream(&name, Direction::Forward, Version(3), limit).await.unwrap();
    assert_eq!(page.events.len(), 2);
    let append = store.append_one(single(&name, Expected::Exactly(Version(5)), vec![event(7)]));
    assert_eq!(append.await.unwrap().streams[0].first, Version(6));
    server.command(&["DEL", &key]).unwrap();
    let page = store.read_stream(&name, Direction::Backward, Version::MAX, limit).await;
    assert!(matches!(page, Err(StoreError::Corrupt { .. })), "{page:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_over_several_handles_lose_nothing_and_readers_miss_nothing() {
    let (_server, place) = start(Fsync::Always);
    let handles = [place.open().await, place.open().await, place.open().await, place.open().await];
    let heard = Arc::new(Mutex::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..32_u64 {
        let (store, heard) = (handles[usize::try_from(writer % 4).unwrap()].clone(), heard.clone());
        writers.spawn(async move {
            for number in 0..30 {
                let name = match number % 2 {
                    0 => stream("one"),
                    _ => stream(&format!("chat/{writer}")),
                };
                let append = single(&name, Expected::Any, vec![event(writer * 1_000 + number)]);
                assert!(!store.append_one(append).await.unwrap().repeat);
                *heard.lock().unwrap() += 1;
            }
        });
    }
    let store = place.open().await;
    let mut seen = [chat_core::Position::ZERO; 2];
    let mut count = 0;
    while count < 32 * 30 {
        for (partition, after) in (0..).map(PartitionId).zip(&mut seen) {
            let page = store.read_log(partition, *after, PageLimit::events(17)).await.unwrap();
            (count, *after) = (count + page.events.len(), page.next);
        }
        tokio::task::yield_now().await;
    }
    writers.join_all().await;
    assert_eq!(*heard.lock().unwrap(), 32 * 30);
    let mut logged = 0;
    for partition in [0, 1].map(PartitionId) {
        logged += read_log(&store, partition, 1_000).await.len();
    }
    assert_eq!((count, logged), (32 * 30, 32 * 30));
    assert_eq!(read_all(&store, &stream("one")).await.len(), 32 * 15);
}
