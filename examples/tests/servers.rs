//! The programs that need a server, each in a namespace of its own; and moving house from each server
//! to the next.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;

use chat_core::connect::StoreUrl;

/// The URL of a test server, with a namespace that nobody else uses.
fn server(variable: &str) -> String {
    let url = std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set; run `cargo xtask services up` and set what it prints, or run \
             `cargo xtask test`"
        )
    });
    let url = match variable {
        "CHAT_TEST_REDIS_CLUSTER" => url.replacen("redis:", "redis+cluster:", 1),
        _ => url,
    };
    let namespace = format!("ex{}", &uuid::Uuid::new_v4().simple().to_string()[..20]);
    let url: StoreUrl = url.parse().expect("a URL");
    url.with_parameter("namespace", &namespace).expose().to_owned()
}

/// What a program says that must succeed.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn postgres_rings_the_other_process() {
    let program = env!("CARGO_BIN_EXE_postgres");
    let heard = "the database brings a bus: yes\n\
                 heard in the other process: ann: Is there any tea left?\n";
    let url = server("CHAT_TEST_POSTGRES");
    assert_eq!(said(program, &[&url]), heard);
    assert_eq!(said(program, &[&url]), heard, "on what the first run left");
}

#[test]
fn mysql_knows_a_repeated_message_in_another_process() {
    let program = env!("CARGO_BIN_EXE_mysql");
    let told = "the first process took it\nanother process had it already\n\
                times in the history: 1\n";
    let url = server("CHAT_TEST_MYSQL");
    assert_eq!(said(program, &[&url]), told);
    assert_eq!(said(program, &[&url]), told, "on what the first run left");
}

#[test]
fn redis_carries_typing_and_messages() {
    let told = said(env!("CARGO_BIN_EXE_redis"), &[&server("CHAT_TEST_REDIS")]);
    assert_eq!(told, "ann is typing …\nann: psst\n");
}

#[test]
fn redis_cluster_spreads_chats_and_lists_them() {
    let told = said(env!("CARGO_BIN_EXE_redis_cluster"), &[&server("CHAT_TEST_REDIS_CLUSTER")]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 4, "{told}");
    assert_eq!(lines.first(), Some(&"spread over several partitions: yes"));
    assert!(lines.iter().skip(1).all(|line| line.starts_with("room ")), "{told}");
}

#[test]
fn a_house_moves_from_a_file_through_every_server_and_back_into_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let history = env!("CARGO_BIN_EXE_sqlite_history");
    let (first, last) = (file("first.db"), file("last.db"));
    said(history, &[&first, "one"]);
    said(history, &[&first, "two"]);
    let houses = [
        first,
        server("CHAT_TEST_POSTGRES"),
        server("CHAT_TEST_REDIS"),
        server("CHAT_TEST_MYSQL"),
        server("CHAT_TEST_REDIS_CLUSTER"),
        last.clone(),
    ];
    for (old, new) in houses.iter().zip(houses.iter().skip(1)) {
        let moved = said(env!("CARGO_BIN_EXE_move_house"), &[old, new, "--finish", "--verify"]);
        assert!(moved.contains("verified 3 events, streams: 1"), "{old} to {new}: {moved}");
    }
    assert_eq!(said(history, &[&last, "three"]), "2: one\n3: two\n4: three\n");
}
