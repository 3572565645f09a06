//! What is printed at the end: each step, what it ran, how long it took, and the count of tests.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::stdio::dup2_stdout;

use crate::steps::{Record, Verdict};
use crate::tally::Tally;

/// Prints one line. A closed terminal is no reason to stop: the work and its clean-up go on.
#[cfg(not(test))]
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints where the test harness keeps it apart from the results.
#[cfg(test)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Sends whatever is printed from now on to standard error; an answer that a shell is to read goes
/// into what this returns, the former standard output.
pub(crate) fn answers_apart() -> std::io::Result<File> {
    let answers = std::io::stdout().as_fd().try_clone_to_owned()?;
    dup2_stdout(std::io::stderr())?;
    Ok(answers.into())
}

/// The closing text; its last line is `N passed, M failed`, or says that no step of a run without
/// tests failed.
///
/// A step that failed without a failing test counts as one failure, so that the last line never
/// looks like success when the run was none.
pub(crate) fn closing(records: &[Record], not_run: &[&str], notes: &[&str]) -> String {
    let width = records.iter().map(|record| record.name.len()).max().unwrap_or_default();
    let mut lines = vec![String::new(), format!("{:width$}  {:>9}  result", "step", "time")];
    for record in records {
        let time = shown_time(record.took);
        lines.push(format!("{:width$}  {time:>9}  {}", record.name, result(record)));
        for ran in &record.ran {
            lines.push(format!("{:width$}  {:>9}    {ran}", "", ""));
        }
    }
    let total = records.iter().map(|record| record.took).sum();
    lines.push(format!("{:width$}  {:>9}", "total", shown_time(total)));
    if !not_run.is_empty() {
        lines.push(format!("not run after the failure: {}", not_run.join(", ")));
    }
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    let (passed, failed) = counts(records);
    lines.push(String::new());
    if records.iter().all(|record| record.tally.suites == 0) && failed == 0 {
        lines.push("all steps passed".to_owned());
    } else {
        lines.push(format!("{passed} passed, {failed} failed"));
    }
    lines.join("\n")
}

fn counts(records: &[Record]) -> (u64, u64) {
    let mut all = Tally::default();
    let mut steps_failed = 0;
    for record in records {
        all.add(record.tally);
        if matches!(record.verdict, Verdict::Failed(_)) && record.tally.failed == 0 {
            steps_failed += 1;
        }
    }
    (all.passed, all.failed + steps_failed)
}

fn result(record: &Record) -> String {
    let mut words = match &record.verdict {
        Verdict::Passed(detail) if detail.is_empty() => "ok".to_owned(),
        Verdict::Passed(detail) => format!("ok: {detail}"),
        Verdict::Failed(why) => format!("FAILED: {why}"),
    };
    let tally = record.tally;
    if tally.suites > 0 {
        words.push_str(&format!(
            " ({} passed, {} failed in {} suites)",
            tally.passed, tally.failed, tally.suites
        ));
    }
    words
}

/// `0.3 s`, `12.0 s`, `3 m 07 s`.
pub(crate) fn shown_time(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} m {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &'static str, verdict: Verdict, tally: Tally) -> Record {
        let ran = vec!["cargo something".to_owned()];
        Record { name, took: Duration::from_millis(1500), verdict, tally, ran }
    }

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed, ignored: 0, suites: 1 }
    }

    fn ok() -> Verdict {
        Verdict::Passed(String::new())
    }

    #[test]
    fn last_line_sums_all_steps() {
        let records = [record("unit", ok(), tally(100, 0)), record("doc", ok(), tally(23, 0))];
        let text = closing(&records, &[], &["a note"]);
        assert_eq!(text.lines().last(), Some("123 passed, 0 failed"));
        assert!(text.contains("note: a note"));
        assert!(text.contains("cargo something"));
    }

    #[test]
    fn failed_step_without_tests_counts_as_a_failure() {
        let failed = Verdict::Failed("no compiler".to_owned());
        let records = [record("unit", failed, Tally::default())];
        let text = closing(&records, &["docs"], &[]);
        assert_eq!(text.lines().last(), Some("0 passed, 1 failed"));
        assert!(text.contains("not run after the failure: docs"));
        assert!(text.contains("FAILED: no compiler"));
    }

    #[test]
    fn run_without_tests_claims_none() {
        let text = closing(&[record("format", ok(), Tally::default())], &[], &[]);
        assert_eq!(text.lines().last(), Some("all steps passed"));
    }

    #[test]
    fn failing_tests_are_not_counted_twice() {
        let records = [record("unit", Verdict::Failed("exit 101".to_owned()), tally(7, 2))];
        assert_eq!(closing(&records, &[], &[]).lines().last(), Some("7 passed, 2 failed"));
    }

    #[test]
    fn times_read_easily() {
        assert_eq!(shown_time(Duration::from_millis(340)), "0.3 s");
        assert_eq!(shown_time(Duration::from_secs(187)), "3 m 07 s");
    }
}
