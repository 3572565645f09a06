//! What each command runs, as data.

use std::num::NonZero;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::child::Children;
use crate::cli::Task;
use crate::metadata::Metadata;
use crate::steps::{Record, Step, Steps, Verdict};
use crate::summary::{closing, say};
use crate::{audit, features, held, hygiene, imports, kept, layers, needs, toolchain};

const TOOLCHAIN: Step = Step { name: "toolchain", act: toolchain::check };
const PROGRAMS: Step = Step { name: "programs", act: needs::check };
const DATABASES: Step = Step { name: "programs", act: needs::databases };
const FORMAT: Step = Step { name: "format", act: format };
const HYGIENE: Step = Step { name: "hygiene", act: hygiene::check };
const IMPORTS: Step = Step { name: "imports", act: imports::check };
const LAYERS: Step = Step { name: "layers", act: layers::check };
const AUDIT: Step = Step { name: "audit", act: audit::check };
const ADVISORIES: Step = Step { name: "advisories", act: audit::advisories };
const LINTS: Step = Step { name: "lints", act: lints };
const FEATURES: Step = Step { name: "features", act: features::check };
const SERVICES: Step = Step { name: "services", act: held::start };
const TESTS: Step = Step { name: "tests", act: tests };
const DOCS: Step = Step { name: "docs", act: docs };

/// The quick ones first: a misplaced comma needs no build to be found.
const TEST: &[Step] = &[
    TOOLCHAIN, PROGRAMS, FORMAT, HYGIENE, IMPORTS, LAYERS, AUDIT, LINTS, FEATURES, SERVICES, TESTS,
    DOCS,
];
const LINT: &[Step] = &[TOOLCHAIN, FORMAT, HYGIENE, IMPORTS, LAYERS, LINTS];

const ADVISORIES_APART: &str = "security advisories are no part of this: they need an advisory \
     database from the network; `cargo xtask audit --advisories` checks them";

/// The long test runs; add a row for another. All are built in release.
///
/// The tests take their size from the environment: `CHAT_SOAK=1` asks for the long form,
/// `CHAT_KIT_CASES` is the number of random histories for each model check, and `CHAT_SOAK_ROUND`
/// (1, 2, …) goes into the seed, so that no two rounds are the same. The number behind a command
/// says for how many histories in memory it runs one.
#[rustfmt::skip]
const SOAKS: &[(&[&str], u64)] = &[
    (&["test", "--release", "--locked", "-p", "chat-core", "--features", "testkit", "--", "--skip", FAULTY], 1),
    (&["test", "--release", "--locked", "-p", "chat-core", "--features", "testkit", FAULTY], UNDER_FAULTS),
    (&["test", "--release", "--locked", "-p", "chat-store-sql", "--all-features"], ON_A_DATABASE),
    (&["test", "--release", "--locked", "-p", "chat-store-redis"], ON_A_DATABASE),
    (&["test", "--release", "--locked", "-p", "chatroom", "--test", "room", "four_processes"], 1),
];

/// Tests of a store in memory whose calls fail now and then and are repeated after a wait.
const FAULTY: &str = "retrying_over_faults";
/// A history takes about twenty times as long where it has to wait for repeats.
const UNDER_FAULTS: u64 = 20;
/// On a database it takes about a thousand times as long as in memory.
const ON_A_DATABASE: u64 = 1_000;

/// How many tests of a binary run at once, unless the environment says so already.
const TEST_THREADS: &str = "RUST_TEST_THREADS";
/// Tests wait for disks and servers half of their time.
const TESTS_FOR_A_CORE: usize = 2;

/// Runs a command; `false` if a step failed.
///
/// # Errors
///
/// When it couldn't even begin.
pub(crate) fn run(task: &Task) -> Result<bool> {
    let mut children = Children::new()?;
    if std::env::var_os("CI").is_some() {
        children.set_environment("CARGO_TERM_COLOR", "never");
    }
    if std::env::var_os(TEST_THREADS).is_none() {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        children.set_environment(TEST_THREADS, (TESTS_FOR_A_CORE * cores).to_string());
    }
    let metadata = Metadata::load(&children)?;
    match task {
        Task::Test => Ok(report(children, metadata, TEST, &[ADVISORIES_APART])),
        Task::Lint => Ok(report(children, metadata, LINT, &[])),
        Task::Audit { advisories: false } => {
            Ok(report(children, metadata, &[AUDIT], &[ADVISORIES_APART]))
        }
        Task::Audit { advisories: true } => {
            Ok(report(children, metadata, &[AUDIT, ADVISORIES], &[]))
        }
        Task::Services { action } => kept::run(*action, &mut children, &metadata.workspace_root),
        Task::Soak { minutes, cases } => soak(children, metadata, *minutes, *cases),
        Task::Bench { arguments } => bench(&children, &metadata, arguments),
    }
}

fn report(children: Children, metadata: Metadata, steps: &[Step], notes: &[&str]) -> bool {
    let mut run = Steps::new(children, metadata);
    let ran = run.run(steps).len();
    let not_run: Vec<_> = steps.iter().skip(ran).map(|step| step.name).collect();
    let records = run.finish();
    say(&closing(records, &not_run, notes));
    all_passed(records)
}

fn all_passed(records: &[Record]) -> bool {
    records.iter().all(|record| matches!(record.verdict, Verdict::Passed(_)))
}

fn format(steps: &mut Steps) -> Result<String> {
    let mut command = steps.cargo(&["fmt", "--all", "--check"]);
    steps.command(&mut command).map(|()| String::new())
}

fn lints(steps: &mut Steps) -> Result<String> {
    let words = ["clippy", "--locked", "--workspace", "--all-targets", "--all-features"];
    let mut command = steps.cargo(&words);
    steps.command(command.args(["--keep-going", "--", "-D", "warnings"])).map(|()| String::new())
}

fn tests(steps: &mut Steps) -> Result<String> {
    // Without --no-fail-fast the count of failures would end with the first binary that has one.
    let words = ["test", "--locked", "--workspace", "--all-features", "--no-fail-fast"];
    let mut command = steps.cargo(&words);
    steps.tests(&mut command).map(|()| String::new())
}

fn docs(steps: &mut Steps) -> Result<String> {
    let words = ["doc", "--locked", "--workspace", "--all-features", "--no-deps"];
    let mut command = steps.cargo(&words);
    steps.command(command.env("RUSTDOCFLAGS", "-D warnings")).map(|()| String::new())
}

/// Runs every soak in turn, and again from the first until the time is used up.
fn soak(
    mut children: Children,
    metadata: Metadata,
    minutes: Option<u64>,
    cases: u64,
) -> Result<bool> {
    let time = Duration::from_secs(minutes.unwrap_or(0).saturating_mul(60));
    children.set_environment("CHAT_SOAK", "1");
    let mut steps = Steps::new(children, metadata);
    steps.cases = cases;
    if all_passed(steps.run(&[DATABASES, SERVICES])) {
        soak_rounds(&mut steps, time);
    }
    let records = steps.finish();
    say(&closing(records, &[], &[]));
    Ok(all_passed(records))
}

fn soak_rounds(steps: &mut Steps, time: Duration) {
    let start = Instant::now();
    for round in 1.. {
        say(&format!("\nround {round}"));
        steps.children.set_environment("CHAT_SOAK_ROUND", round.to_string());
        let records = steps.run(&[Step { name: "soak", act: soak_round }]);
        if !all_passed(records) || start.elapsed() >= time {
            break;
        }
    }
}

fn soak_round(steps: &mut Steps) -> Result<String> {
    for (words, share) in SOAKS {
        let cases = steps.cases.div_ceil(*share);
        steps.children.set_environment("CHAT_KIT_CASES", cases.to_string());
        let mut command = steps.cargo(words);
        steps.tests(&mut command)?;
    }
    Ok(String::new())
}

fn bench(children: &Children, metadata: &Metadata, arguments: &[String]) -> Result<bool> {
    if metadata.member("benches").is_none() {
        bail!("the workspace has no package `benches` yet");
    }
    let mut command = Command::new(crate::metadata::cargo());
    command.current_dir(&metadata.workspace_root);
    command.args(["run", "--release", "--locked", "-p", "benches", "--"]).args(arguments);
    let ended = children.run(&mut command)?;
    if !ended.left.is_empty() {
        bail!("left running, and ended now: {}", ended.left.join(", "));
    }
    Ok(ended.status.success())
}
