//! Moving house with the program: in steps, after kills, and refused where it must be.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use chat_core::connect::Opened;
use chat_core::ports::{Expected, PageLimit};
use chat_core::testkit::fixture::{events, stream, write};
use chat_core::{PartitionId, Position};

const MOVE: &str = env!("CARGO_BIN_EXE_move_house");

fn call(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("the program starts")
}

/// What a program that must succeed says.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = call(program, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert!(errors.is_empty(), "a bar where nobody looks: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// What a program that must fail says.
fn refused(arguments: &[&str]) -> String {
    let output = call(MOVE, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn url(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

#[test]
fn a_history_moves_in_steps_and_goes_on_in_the_new_house() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old.db"), folder.path().join("new.db"));
    let (from, to) = (url(&old), url(&new));
    let note = |url: &str, text: &str| said(env!("CARGO_BIN_EXE_sqlite_history"), &[url, text]);

    note(&from, "one");
    let first = said(MOVE, &[&format!("{from}?mode=ro"), &to]);
    assert!(first.contains("copied   2 events") && first.contains("behind   0 positions"));
    assert!(first.contains("run this again with --finish"), "{first}");
    // The old house is in use meanwhile.
    note(&from, "two");
    let last = said(MOVE, &[&from, &to, "--finish", "--verify"]);
    assert!(last.contains("copied   3 events"), "{last}");
    assert!(last.contains("verified 3 events, streams: 1; the same"), "{last}");
    assert!(last.contains("start the programs on the new store"), "{last}");

    assert!(refused(&[&from, &to]).contains("this copy is finished"));
    assert_eq!(note(&to, "three"), "2: one\n3: two\n4: three\n");
}

#[test]
fn what_must_not_be_mixed_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old.db"), folder.path().join("new.db"));
    let (from, to) = (url(&old), url(&new));
    for url in [&from, &to] {
        said(env!("CARGO_BIN_EXE_sqlite_history"), &[url, "mine"]);
    }
    assert!(refused(&[&from, &to]).contains("the target holds events (stream chat/"));
    assert!(refused(&[&from, &from]).contains("source and target are the same store"));
    // Another namespace of the same file is another store.
    let beside = format!("{from}?namespace=other");
    assert!(said(MOVE, &[&from, &beside, "--finish", "--verify"]).contains("verified"));
    let secret = refused(&["oracle://me:hunter2@db", &to]);
    assert!(secret.contains("`oracle:`") && !secret.contains("hunter2"), "{secret}");
    assert!(refused(&[&from]).contains("Usage"));
    // A house that is not there is not made to be moved out of.
    let missing = folder.path().join("missing.db");
    let fresh = url(&folder.path().join("fresh.db"));
    assert!(refused(&[&url(&missing), &fresh]).contains("missing.db"));
    assert!(!missing.exists());
}

#[tokio::test]
async fn killed_at_any_moment_it_goes_on_and_ends_with_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let from = url(&folder.path().join("old.db"));
    let old: Opened = examples::open(&format!("{from}?durability=normal")).await.expect("opens");
    for round in 0..40_u64 {
        let name = stream(&format!("stream/{}", round % 9));
        let some = events(round * 500..(round + 1) * 500);
        write(&*old.events, &name, Expected::Any, some).await;
    }
    old.close().await;
    // On a machine that lets this test wait, a whole house may be moved before the kill.
    for attempt in 0..20 {
        let to = url(&folder.path().join(format!("new{attempt}.db")));
        let stopped = killed_again_and_again(&from, &to).await;
        let last = said(MOVE, &[&from, &to, "--finish", "--verify"]);
        assert!(last.contains("copied   20,000 events"), "{last}");
        assert!(last.contains("verified 20,000 events, streams: 9"), "{last}");
        if stopped {
            return;
        }
    }
    panic!("no kill came in the middle");
}

/// Kills several movers, one after the other. Whether a kill came in the middle of the work.
async fn killed_again_and_again(from: &str, to: &str) -> bool {
    let new = examples::open(to).await.expect("opens");
    let (mut before, mut stopped) = (0, false);
    for round in 1..=6 {
        let mut command = Command::new(MOVE);
        command.args([from, to]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        while arrived(&new).await < round * 2_500 && child.try_wait().expect("its state").is_none()
        {
            tokio::task::yield_now().await;
        }
        child.kill().expect("a kill");
        child.wait().expect("its end");
        let arrived = arrived(&new).await;
        assert!(arrived > before || arrived == 20_000, "nothing came in round {round}");
        stopped |= arrived < 20_000;
        before = arrived;
    }
    new.close().await;
    stopped
}

/// How far a store's log goes.
async fn arrived(store: &Opened) -> u64 {
    let (log, one) = (PartitionId(0), PageLimit::events(1));
    store.events.read_log(log, Position::ZERO, one).await.expect("a log").head.0
}
