//! Runs tests with their output shown, and counts results from the closing lines of cargo test and nextest.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    ops::AddAssign,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::command;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Tally {
    pub const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        ignored: 0,
    };

    pub fn ran(&self) -> u64 {
        self.passed + self.failed
    }

    /// The last line of `cargo test`, here for the sum of several runs.
    pub fn closing_line(&self, took: Duration) -> String {
        let verdict = if self.failed == 0 { "ok" } else { "FAILED" };
        format!(
            "test result: {verdict}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s",
            self.passed,
            self.failed,
            self.ignored,
            took.as_secs_f64()
        )
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Runs tests to the end. No tests, and a failure without a failed test, are errors.
pub fn run(command: &mut Command) -> Result<Tally> {
    let shown = command::announce(command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{shown}`"))?;
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let tally = thread::scope(|scope| {
        let errors = scope.spawn(|| show_and_count(stderr, io::stderr()));
        let mut tally = show_and_count(stdout, io::stdout());
        tally += errors.join().unwrap_or_default();
        tally
    });
    let status = child
        .wait()
        .with_context(|| format!("wait for `{shown}`"))?;
    judged(tally, status.success()).with_context(|| format!("`{shown}` ({status})"))
}

/// Counts the results in the output of tests.
pub fn of_output(text: &str) -> Tally {
    show_and_count(Some(text.as_bytes()), io::sink())
}

fn judged(tally: Tally, success: bool) -> Result<Tally> {
    if tally.failed == 0 && !success {
        bail!("failed outside of its tests");
    }
    if tally.ran() == 0 {
        bail!("ran no test");
    }
    Ok(tally)
}

fn show_and_count(from: Option<impl Read>, mut to: impl Write) -> Tally {
    let mut tally = Tally::default();
    let Some(from) = from else { return tally };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from
        .read_until(b'\n', &mut line)
        .is_ok_and(|length| length > 0)
    {
        // If the reader of our output is gone, the tests still run.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        if let Some(one) = counted(&String::from_utf8_lossy(&line)) {
            tally += one;
        }
        line.clear();
    }
    tally
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …` and `Summary [ 0.1s] 4 tests run: 3 passed, 1 skipped`.
fn counted(line: &str) -> Option<Tally> {
    let line = line.trim();
    let counts = match line.strip_prefix("test result: ") {
        Some(result) => result.split_once(". ")?.1,
        None => line
            .strip_prefix("Summary [")?
            .split_once(" run: ")
            .map(|(_, counts)| counts)?,
    };
    let mut tally = Tally::default();
    for count in counts.split([';', ',']) {
        let mut words = count.split_whitespace();
        let (Some(number), Some(what)) = (words.next(), words.next()) else {
            continue;
        };
        let field = match what {
            "passed" => &mut tally.passed,
            // "exec failed" and "timed out" are nextest's.
            "failed" | "exec" | "timed" => &mut tally.failed,
            "ignored" | "skipped" => &mut tally.ignored,
            _ => continue,
        };
        *field += number.parse::<u64>().ok()?;
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_line_of_cargo_test_is_counted() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.01s\n";
        let tally = Tally {
            passed: 3,
            failed: 1,
            ignored: 2,
        };
        assert_eq!(counted(line), Some(tally));
        assert_eq!(counted(&tally.closing_line(Duration::ZERO)), Some(tally));
    }

    #[test]
    fn closing_line_of_nextest_is_counted() {
        assert_eq!(
            counted(
                "     Summary [   0.123s] 12/14 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 4 skipped"
            ),
            Some(Tally {
                passed: 9,
                failed: 3,
                ignored: 4
            })
        );
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in [
            "",
            "test a::b ... ok",
            "test result: ok",
            "Summary [",
            "3 passed; 1 failed",
        ] {
            assert_eq!(counted(line), None, "{line}");
        }
    }

    #[test]
    fn only_a_failure_without_a_failed_test_or_without_tests_is_an_error() {
        let passed = Tally {
            passed: 1,
            ..Tally::default()
        };
        assert!(judged(Tally::default(), true).is_err());
        assert!(judged(passed, false).is_err());
        assert_eq!(judged(passed, true).ok(), Some(passed));
        assert_eq!(judged(Tally::FAILED, false).ok(), Some(Tally::FAILED));
    }
}
