//! Counts tests from what the test harness prints.

/// What the `test result:` lines of one or more runs add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// Test binaries and doc test runs that reported.
    pub(crate) suites: u64,
}

impl Tally {
    /// Adds a line of output; any line but a harness's summary changes nothing.
    pub(crate) fn read_line(&mut self, line: &str) {
        if let Some(found) = summary(&without_colour(line)) {
            self.add(found);
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.suites += other.suites;
    }
}

/// Reads `test result: ok. 5 passed; 0 failed; 0 ignored; …`.
fn summary(line: &str) -> Option<Tally> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let counts = rest.strip_prefix("ok. ").or_else(|| rest.strip_prefix("FAILED. "))?;
    let mut tally = Tally { suites: 1, ..Tally::default() };
    let mut named = 0;
    for part in counts.split("; ") {
        let Some((number, label)) = part.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse() else { continue };
        match label {
            "passed" => tally.passed = number,
            "failed" => tally.failed = number,
            "ignored" => tally.ignored = number,
            _ => continue,
        }
        named += 1;
    }
    (named == 3).then_some(tally)
}

/// Drops ANSI colour sequences: with colours forced on, the harness colours the word `ok`.
fn without_colour(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read_line(line);
        }
        tally
    }

    #[test]
    fn summaries_are_added_up() {
        let tally = read(&[
            "running 2 tests",
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.00s",
        ]);
        assert_eq!(tally, Tally { passed: 12, failed: 2, ignored: 1, suites: 2 });
    }

    #[test]
    fn coloured_summary_counts() {
        let line =
            "test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 4 passed; 0 failed; 0 ignored; 0 measured";
        assert_eq!(read(&[line]).passed, 4);
    }

    #[test]
    fn other_lines_count_nothing() {
        let tally = read(&[
            "test store::tests::append_is_atomic ... ok",
            "5 passed; 0 failed",
            "test result: ok.",
            "the test result: ok. 5 passed; 0 failed; 0 ignored",
            "test result: ok. many passed; 0 failed; 0 ignored",
        ]);
        assert_eq!(tally, Tally::default());
    }
}
