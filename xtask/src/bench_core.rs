//! `cargo xtask bench-core`: speed of the pure core compared with another commit.
//!
//! The benches of two commits are run by turns on the same machine, so that what else happens there meets both.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

/// Compare the benchmarks of the pure core with those of an earlier commit
///
/// Builds rsttrace/benches/core.rs of both commits, runs them in turns, and fails if the median of a step exceeds the limit.
#[derive(clap::Args)]
pub struct Args {
    /// The commit to compare with [default: where this branch left main, on main the commit before]
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// Limit: how much slower a step may be, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 15.0)]
    threshold: f64,
    /// Number of runs of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Run only steps whose names contain this text
    #[arg(value_name = "STEP")]
    step: Option<String>,
}

/// Short runs: what makes them sure is that there are several.
const CRITERION: [&str; 9] = [
    "--bench",
    "--output-format",
    "bencher",
    "--warm-up-time",
    "0.2",
    "--measurement-time",
    "0.6",
    "--sample-size",
    "10",
];

/// Nanoseconds by step, one for each round.
type Times = BTreeMap<String, Vec<f64>>;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let base = base(args.base.as_deref())?;
    let folder = workspace::target().join("bench-core");
    let new = build(workspace::root(), &workspace::target())?
        .context("this working tree has no bench `core`")?;
    let tree = Tree::check_out(&folder.join("base"), &base)?;
    let Some(old) = build(&tree.folder, &folder.join("target"))? else {
        eprintln!("{base} has no bench `core` yet: there is nothing to compare with");
        return Ok(());
    };
    let (mut before, mut after) = (Times::new(), Times::new());
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        measure(&old, args.step.as_deref(), &mut before)?;
        measure(&new, args.step.as_deref(), &mut after)?;
    }
    let rows = compare(&before, &after);
    if rows.is_empty() {
        bail!("no step is in both: nothing was compared");
    }
    print!("{}", table(&rows, &base));
    verdict(&rows, args.threshold)
}

/// The commit to compare with, by its short name.
fn base(wanted: Option<&str>) -> Result<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        command::output(git.current_dir(workspace::root()).args(arguments))
            .map(|text| text.trim().to_owned())
    };
    let revision = match wanted {
        Some(revision) => revision.to_owned(),
        None => {
            let head = git(&["rev-parse", "HEAD"])?;
            match git(&["merge-base", "HEAD", "main"]) {
                Ok(left) if left != head => left,
                _ => "HEAD~1".to_owned(),
            }
        }
    };
    let commit = format!("{revision}^{{commit}}");
    git(&["rev-parse", "--short", "--verify", "--quiet", &commit])
        .with_context(|| format!("{revision} is no commit here; name one with --base"))
}

/// A commit, checked out beside the working tree until this is dropped.
struct Tree {
    folder: PathBuf,
}

impl Tree {
    fn check_out(folder: &Path, commit: &str) -> Result<Self> {
        remove(folder);
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        let mut git = Command::new("git");
        git.current_dir(workspace::root())
            .args(["worktree", "add", "--quiet", "--detach", "--force"])
            .arg(folder)
            .arg(commit);
        command::output(&mut git)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Takes away a tree that may not be there.
fn remove(folder: &Path) {
    let mut git = Command::new("git");
    git.current_dir(workspace::root())
        .args(["worktree", "remove", "--force"])
        .arg(folder);
    let _ = command::output(&mut git);
}

/// Builds the bench in `tree`; absent if there is none.
fn build(tree: &Path, target: &Path) -> Result<Option<PathBuf>> {
    if !tree.join("rsttrace/benches/core.rs").exists() {
        return Ok(None);
    }
    let mut cargo = command::cargo();
    cargo
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        .args([
            "bench",
            "--no-run",
            "--package",
            "rsttrace",
            "--bench",
            "core",
        ])
        .args(["--message-format", "json"]);
    command::announce(&cargo);
    let messages = command::output(&mut cargo)?;
    executable(&messages)
        .context("cargo built no bench `core`")
        .map(Some)
}

/// The bench's program among cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let target = message.get("target")?;
        let is_bench = target.get("name")? == "core" && target.get("kind")?.get(0)? == "bench";
        let file = message.get("executable")?.as_str()?;
        is_bench.then(|| file.into())
    })
}

fn measure(program: &Path, step: Option<&str>, times: &mut Times) -> Result<()> {
    let folder = workspace::target().join("bench-core/criterion");
    let mut bench = Command::new(program);
    bench
        .args(CRITERION)
        .args(step)
        .env("CRITERION_HOME", &folder);
    for (step, nanoseconds) in read(&command::output(&mut bench)?) {
        times.entry(step).or_default().push(nanoseconds);
    }
    Ok(())
}

/// `test NAME ... bench:       1,234 ns/iter (+/- 5)`.
fn read(text: &str) -> Vec<(String, f64)> {
    let step = |line: &str| {
        let (name, rest) = line.strip_prefix("test ")?.split_once(" ... bench:")?;
        let number = rest.trim().split_once(" ns/iter")?.0.replace(',', "");
        Some((name.trim().to_owned(), number.parse().ok()?))
    };
    text.lines().filter_map(step).collect()
}

/// A step's medians.
#[derive(Debug, PartialEq)]
struct Row {
    step: String,
    before: f64,
    after: f64,
}

impl Row {
    /// Percent that it got slower; below zero if it got faster.
    fn slower(&self) -> f64 {
        (self.after / self.before - 1.0) * 100.0
    }
}

/// Steps that both have.
fn compare(before: &Times, after: &Times) -> Vec<Row> {
    let row = |(step, before): (&String, &Vec<f64>)| {
        Some(Row {
            step: step.clone(),
            before: median(before)?,
            after: median(after.get(step)?)?,
        })
    };
    before.iter().filter_map(row).collect()
}

fn median(times: &[f64]) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((upper + sorted.get(middle - 1)?) / 2.0)
}

fn table(rows: &[Row], base: &str) -> String {
    let widest = rows.iter().map(|row| row.step.len()).max().unwrap_or(0);
    let mut text = format!("{:widest$}  {base:>10} ns     now ns  difference\n", "step");
    for row in rows {
        text.push_str(&format!(
            "{:widest$}  {:>13.0}  {:>9.0}  {:>+9.1} %\n",
            row.step,
            row.before,
            row.after,
            row.slower()
        ));
    }
    text
}

/// An error that names every step that got too slow.
fn verdict(rows: &[Row], threshold: f64) -> Result<()> {
    let slow: Vec<String> = rows
        .iter()
        .filter(|row| row.slower() > threshold)
        .map(|row| format!("{} ({:+.0} %)", row.step, row.slower()))
        .collect();
    if !slow.is_empty() {
        bail!(
            "slower by more than {threshold} %: {}; on a busy machine look again with more --rounds",
            slow.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(steps: &[(&str, &[f64])]) -> Times {
        let steps = steps.iter();
        steps
            .map(|(step, times)| ((*step).to_owned(), times.to_vec()))
            .collect()
    }

    #[test]
    fn criterion_is_understood() {
        let text = "Gnuplot not found\ntest join/event ... bench:       1,234 ns/iter (+/- 56)\n\ntest x ... bench: 7 ns/iter (+/- 0)\n";
        let expected = [("join/event".to_owned(), 1234.0), ("x".to_owned(), 7.0)];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn the_bench_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"rsttrace"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"kind":["bench"],"name":"core"},"executable":"/t/core-1"}"#;
        assert_eq!(executable(messages), Some("/t/core-1".into()));
        assert_eq!(executable("{}"), None);
    }

    #[test]
    fn one_slow_round_is_no_regression_and_a_slow_median_is() {
        let before = times(&[("a", &[100.0, 100.0, 100.0]), ("gone", &[1.0])]);
        let noisy = times(&[("a", &[101.0, 300.0, 99.0]), ("new", &[1.0])]);
        let rows = compare(&before, &noisy);
        assert_eq!(rows.len(), 1);
        assert!(verdict(&rows, 15.0).is_ok());
        let slow = compare(&before, &times(&[("a", &[120.0, 130.0, 99.0])]));
        let error = verdict(&slow, 15.0).expect_err("20 % slower").to_string();
        assert!(error.contains("a (+20 %)"), "{error}");
        assert!(verdict(&slow, 25.0).is_ok());
        assert!(table(&slow, "abc").contains("+20.0 %"));
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        assert_eq!(median(&[4.0, 2.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }
}
