//! A server ends with the process that started it, even if that is killed.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use test_servers::Redis;
use test_servers::program::{Player, Role, command, this_program};

const BOUND: Duration = Duration::from_secs(120);

#[test]
fn server_ends_with_a_process_that_is_killed() {
    if Role::given().is_some() {
        hold();
    }
    let place = tempfile::tempdir().unwrap();
    let test = "server_ends_with_a_process_that_is_killed";
    let mut command = command(&this_program().unwrap(), test, "", 0);
    command.env("TMPDIR", place.path());
    let mut holder = Player::start(command).unwrap();
    let server = holder.said("holds ").next();
    let server = server.unwrap();
    assert!(runs(&server));
    holder.kill().unwrap();
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
