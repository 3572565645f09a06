//! Each server starts, answers, survives a kill with its data, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use test_servers::{Fsync, MariaDb, Postgres, Redis, RedisCluster};

/// None of its processes and nothing of its folder, named by its data folder, is left.
fn assert_gone(processes: &[u32], data: &str) {
    for process in processes {
        assert!(!runs(&process.to_string()), "process {process} is left");
    }
    let home = Path::new(data).parent().unwrap();
    assert!(home.file_name().unwrap().to_str().unwrap().starts_with("test-server-"));
    assert!(!home.exists(), "{} is left", home.display());
}

#[test]
fn postgres_survives_a_kill() {
    let mut server = Postgres::start().unwrap();
    server.query("CREATE TABLE kept AS SELECT 'one' AS name, NULL AS nothing").unwrap();
    let backends = "SELECT pid FROM pg_stat_activity UNION SELECT pg_backend_pid()";
    let backends = server.query(backends).unwrap();
    let url = server.url();
    server.kill().unwrap();
    for backend in backends.lines() {
        assert!(!runs(backend), "process {backend} is left");
    }
    assert!(server.query("SELECT 1").is_err());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(server.query("TABLE kept").unwrap(), "one|");
    let settings = "SELECT current_setting('fsync'), current_setting('synchronous_commit'), \
                    current_setting('max_connections')";
    assert_eq!(server.query(settings).unwrap(), "on|on|200");
    let refused = server.query("SELECT nothing FROM nowhere").unwrap_err().to_string();
    assert!(refused.contains("42P01"), "{refused}");
    server.stop().unwrap();
    server.restart().unwrap();
    assert_eq!(server.query("TABLE kept").unwrap(), "one|");
    let folder = server.query("SHOW data_directory").unwrap();
    let process = server.process().unwrap();
    drop(server);
    assert_gone(&[process], &folder);
}

#[test]
fn mariadb_survives_a_kill() {
    let mut server = MariaDb::start().unwrap();
    server.query("CREATE TABLE kept (name VARCHAR(9), nothing INT) ENGINE=InnoDB").unwrap();
    server.query("INSERT INTO kept VALUES ('one', NULL)").unwrap();
    let url = server.url();
    server.kill().unwrap();
    assert!(server.query("SELECT 1").is_err());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(server.query("SELECT * FROM kept").unwrap(), "one\t");
    let settings = "SELECT @@innodb_flush_log_at_trx_commit, @@log_bin, @@max_connections";
    assert_eq!(server.query(settings).unwrap(), "1\t0\t400");
    let refused = server.query("SELECT nothing FROM nowhere").unwrap_err().to_string();
    assert!(refused.contains("1146"), "{refused}");
    server.stop().unwrap();
    server.restart().unwrap();
    assert_eq!(server.query("SELECT * FROM kept").unwrap(), "one\t");
    let folder = server.query("SELECT @@datadir").unwrap();
    let process = server.process().unwrap();
    drop(server);
    assert_gone(&[process], &folder);
}

#[test]
fn redis_survives_a_kill() {
    let mut server = Redis::start().unwrap();
    assert_eq!(server.command(&["SET", "kept", "one two"]).unwrap(), "OK");
    let url = server.url();
    server.check().unwrap();
    server.kill().unwrap();
    server.check().unwrap();
    assert!(server.command(&["PING"]).is_err());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(server.command(&["GET", "kept"]).unwrap(), "one two");
    let settings = ["appendonly", "appendfsync", "save", "maxmemory-policy"];
    let settings = settings.map(|name| server.command(&["CONFIG", "GET", name]).unwrap());
    let expected =
        ["appendonly\nyes", "appendfsync\nalways", "save\n", "maxmemory-policy\nnoeviction"];
    assert_eq!(settings, expected);
    let folder = server.command(&["CONFIG", "GET", "dir"]).unwrap();
    let process = server.process().unwrap();
    drop(server);
    assert_gone(&[process], folder.lines().last().unwrap());
}

#[test]
fn server_that_ended_by_itself_is_found_out() {
    let mut server = Redis::start().unwrap();
    // It closes the connection without an answer.
    server.command(&["SHUTDOWN"]).unwrap_err();
    wait_until(|| server.check().is_err());
    let error = format!("{:#}", server.check().unwrap_err());
    assert!(error.contains("User requested shutdown"), "{error}");
    server.restart().unwrap();
    server.check().unwrap();
}

#[test]
fn redis_flushes_as_asked() {
    let server = Redis::start_with(Fsync::EverySecond).unwrap();
    let setting = server.command(&["CONFIG", "GET", "appendfsync"]).unwrap();
    assert_eq!(setting, "appendfsync\neverysec");
}

#[test]
fn cluster_replaces_a_killed_master() {
    let mut cluster = RedisCluster::start().unwrap();
    let urls = cluster.urls();
    assert_eq!(urls.len(), 6);
    assert_eq!(cluster.url(), urls[0]);
    assert!(cluster.command(6, &["PING"]).is_err());
    // Slot 12182, which is the last third's.
    assert_eq!(in_charge(&cluster, &["SET", "foo", "kept"]).1, "OK");
    let moved = cluster.command(0, &["GET", "foo"]).unwrap_err().to_string();
    assert!(moved.contains("MOVED 12182"), "{moved}");
    let (master, _) = in_charge(&cluster, &["GET", "foo"]);
    // A replica learns of it later: until then a killed master takes it along.
    let holds = |node: &usize| cluster.command(*node, &["DBSIZE"]).is_ok_and(|keys| keys == "1");
    wait_until(|| (0..6).filter(holds).count() == 2);

    cluster.kill_node(master).unwrap();
    let (other, value) = in_charge(&cluster, &["GET", "foo"]);
    assert_ne!(other, master);
    assert_eq!(value, "kept");
    cluster.restart_node(master).unwrap();
    wait_until(|| cluster.command(master, &["DBSIZE"]).is_ok_and(|keys| keys == "1"));

    // All at once, as when the power fails: the first ones can't wait for the others.
    (0..6).for_each(|node| cluster.kill_node(node).unwrap());
    (0..6).for_each(|node| cluster.restart_node(node).unwrap());
    assert_eq!(in_charge(&cluster, &["GET", "foo"]).1, "kept");
    assert_eq!(cluster.urls(), urls);

    let processes = cluster.processes();
    let folder = |node| cluster.command(node, &["CONFIG", "GET", "dir"]).unwrap();
    let folders: Vec<_> = (0..6).map(folder).collect();
    drop(cluster);
    assert_eq!(processes.len(), 6);
    folders.iter().for_each(|folder| assert_gone(&processes, folder.lines().last().unwrap()));
}

/// The node that carries a command out, and what it answers. Others refuse it.
fn in_charge(cluster: &RedisCluster, words: &[&str]) -> (usize, String) {
    let mut found = None;
    wait_until(|| {
        found = (0..6).find_map(|node| Some((node, cluster.command(node, words).ok()?)));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn kept_server_runs_on_until_it_is_ended() {
    let place = tempfile::tempdir().unwrap();
    let server = Postgres::start_kept(&place.path().join("postgres")).unwrap();
    let folder = server.query("SHOW data_directory").unwrap();
    let kept = server.keep().unwrap();
    assert!(kept.runs());
    assert!(PathBuf::from(&folder).starts_with(&kept.folder));
    // A later process with the same number is another.
    assert!(!test_servers::Kept { began: "never".to_owned(), ..kept.clone() }.runs());
    kept.end().unwrap();
    assert!(!kept.runs());
    assert!(!kept.folder.exists());
    kept.end().unwrap();
}

#[test]
fn server_dropped_while_killed_leaves_nothing() {
    let mut server = MariaDb::start().unwrap();
    let folder = server.query("SELECT @@datadir").unwrap();
    let process = server.process().unwrap();
    server.kill().unwrap();
    assert!(server.process().is_none());
    server.kill().unwrap();
    drop(server);
    assert_gone(&[process], &folder);
}

/// Whether a process runs; always none where there is no list of them.
fn runs(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while !holds() {
        assert!(std::time::Instant::now() < until, "not so after two minutes");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}
