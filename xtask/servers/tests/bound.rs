//! A server ends with the process that started it, even if that is killed.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_servers::Redis;

/// Tells this program that a test started it as the process to be killed.
const HOLDER: &str = "TEST_SERVERS_HOLDER";
const BOUND: Duration = Duration::from_secs(120);

#[test]
fn server_ends_with_a_process_that_is_killed() {
    if std::env::var_os(HOLDER).is_some() {
        hold();
    }
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "server_ends_with_a_process_that_is_killed", "--nocapture"]);
    command.env(HOLDER, "1").env("TMPDIR", place.path()).stdout(Stdio::piped());
    let mut holder = command.spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    // The test program's own words may stand before on the line.
    let server = lines.find_map(|line| Some(line.unwrap().split_once("holds ")?.1.to_owned()));
    let server = server.unwrap();
    assert!(runs(&server));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let until = Instant::now() + BOUND;
    while runs(&server) {
        assert!(Instant::now() < until, "process {server} is left");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Starts a server from a thread that ends, as that of a test does, and says which.
#[expect(clippy::print_stdout, reason = "the test reads it")]
fn hold() -> ! {
    let server = std::thread::spawn(|| Redis::start().unwrap()).join().unwrap();
    server.command(&["PING"]).unwrap();
    println!("holds {}", server.process().unwrap());
    loop {
        std::thread::park();
    }
}

fn runs(process: &str) -> bool {
    let stat = Path::new("/proc").join(process).join("stat");
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
