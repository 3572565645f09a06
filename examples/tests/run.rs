//! Each program runs, and says what its head promises.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

fn run(program: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new(program);
    // No model of the surroundings: the programs must work without one.
    for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "CHAT_DATABASE"] {
        command.env_remove(name);
    }
    told(program, command.args(arguments))
}

fn told(program: &str, command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn memory_shows_a_conversation_and_what_is_unread() {
    let shown = run(env!("CARGO_BIN_EXE_memory"), &[]);
    assert_eq!(shown, "ann: Is there any tea left?\nbob: Plenty.\nann has 1 unread in tea\n");
}

#[test]
fn sqlite_history_knows_what_an_earlier_run_wrote() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("notes.db").display());
    let program = env!("CARGO_BIN_EXE_sqlite_history");
    let first = run(program, &[Path::new(&url), Path::new("one")]);
    let second = run(program, &[Path::new(&url), Path::new("two")]);
    assert_eq!(first, "2: one\n");
    assert_eq!(second, "2: one\n3: two\n");
}

#[test]
fn live_timeline_gives_each_message_once_across_a_break() {
    is_the_timeline(&run(env!("CARGO_BIN_EXE_live_timeline"), &[]));
}

#[test]
fn live_timeline_runs_on_the_store_of_the_argument_or_the_environment() {
    let program = env!("CARGO_BIN_EXE_live_timeline");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("chat.db");
    let url = format!("sqlite:{}", file.display());
    is_the_timeline(&run(program, &[Path::new(&url)]));
    assert!(file.exists());
    is_the_timeline(&told(program, Command::new(program).env("CHAT_DATABASE", &url)));
}

#[test]
fn a_store_that_cannot_be_opened_is_explained_in_words_without_its_password() {
    let program = env!("CARGO_BIN_EXE_live_timeline");
    for (url, words) in [
        ("oracle://ann:hunter2@db/chat", "no store with the scheme `oracle:`; this program has"),
        (
            "sqlite:x.db?speed=high",
            "the store's URL sqlite:x.db?speed=high is wrong: the parameter",
        ),
        ("hunter2", "begins with a scheme"),
    ] {
        let output = Command::new(program).arg(url).output().expect("the program starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{url}");
        assert!(errors.contains(words) && !errors.contains("hunter2"), "{url}: {errors}");
    }
}

fn is_the_timeline(shown: &str) {
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines,
        [
            "history  ann: before anybody looked",
            "live     ann: while bob listens",
            "resumed  ann: while bob was away",
        ]
    );
}

#[test]
fn ai_participant_answers_and_says_that_it_is_offline() {
    let shown = run(env!("CARGO_BIN_EXE_ai_participant"), &[]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..2], ["the model is offline", "ann: @assistant what can you do?"]);
    assert!(lines[2].starts_with("assistant: ") && lines[2].contains("offline"), "{}", lines[2]);
}

#[test]
fn own_store_carries_the_engine() {
    let shown = run(env!("CARGO_BIN_EXE_own_store"), &[]);
    assert_eq!(shown, "ann: kept in a list of my own\n");
}

#[test]
fn webhook_says_what_it_needs() {
    let output = Command::new(env!("CARGO_BIN_EXE_webhook")).output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("the address to post to"), "{errors}");
}
