//! What `rsttrace history` says of the sample records, in each form.

use std::process::Command;
use std::time::Duration;

use rsttrace::record::Output;
use rsttrace::store::{Limits, Writer};

use super::{assert_golden, records};

fn outputs() -> Vec<Output> {
    let sum = serde_json::from_str(include_str!("../data/suppressed.json")).unwrap();
    let mut outputs: Vec<Output> = records()
        .into_iter()
        .map(|record| Output::Reset(Box::new(record)))
        .collect();
    outputs.push(Output::Suppressed(Box::new(sum)));
    let failure = super::summary::failure(412, "java", "ETIMEDOUT", 110);
    outputs.push(Output::Failure(Box::new(failure)));
    outputs
}

/// Standard output and standard error of the command, of a history with all samples.
fn ask(arguments: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let limits = Limits {
        age: Duration::from_secs(100 * 365 * 86_400),
        ..Limits::default()
    };
    let mut writer = Writer::open(&file, limits).unwrap();
    assert_eq!(writer.append(&outputs()).lost, 0);
    drop(writer);
    let output = Command::new(env!("CARGO_BIN_EXE_rsttrace"))
        .args(["history", "--utc", "--store"])
        .arg(&file)
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let stderr = stderr.replace(&file.display().to_string(), "history.db");
    (String::from_utf8(output.stdout).unwrap(), stderr)
}

#[test]
fn each_form() {
    for (name, arguments) in [
        ("table.txt", &["--noise"][..]),
        ("newest.txt", &["--limit", "3"]),
        ("records.jsonl", &["--noise", "-o", "json"]),
        ("records.csv", &["--noise", "-o", "csv"]),
        ("histogram.txt", &["--histogram", "--noise"]),
        ("nothing.txt", &["--since", "2026-02-01"]),
    ] {
        let (stdout, stderr) = ask(arguments);
        let both = match name.ends_with(".txt") {
            true => format!("{stdout}--- on standard error\n{stderr}"),
            false => stdout,
        };
        assert_golden(&format!("history/{name}"), &both);
    }
}

#[test]
fn filters_are_those_of_watch_and_a_peer() {
    let lines = |arguments: &[&str]| {
        let (stdout, _) = ask(&[arguments, &["-o", "json"]].concat());
        stdout.lines().count()
    };
    let all = lines(&["--noise"]);
    assert!(lines(&[]) < all, "noise is hidden");
    assert!((1..all).contains(&lines(&["--peer", "10.0.3.0/24", "--noise"])));
    assert!((1..all).contains(&lines(&["--process", "java"])));
    assert_eq!(
        lines(&["--cause", "idle_timeout"]) + lines(&["--not-cause", "idle_timeout", "--noise"]),
        all
    );
    // A sum is of no known silence, and may be what is asked for.
    assert_eq!(
        lines(&["--until", "2026-01-05T12:03:41.201Z", "--noise"]),
        0
    );
}
