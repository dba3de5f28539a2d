//! What came out of each kernel is explained as it was when it was recorded: without root, without that kernel.
//!
//! What the host said about processes is not recorded, so it is origin, cause and confidence that are compared.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use rsttrace::app::RecordedCase;
use rsttrace::judge::Sight;
use rsttrace::record::Output;
use rsttrace::record::Record;
use rsttrace::recording::{Replayed, replay};

const RENEW: &str = "run `cargo xtask record` to record it anew";

/// Fewer would mean that a recording went wrong.
const LEAST_CASES: usize = 220;

#[test]
fn every_recorded_reset_is_explained_as_it_was() {
    let mut wrong = String::new();
    let mut kernels = 0;
    for folder in fs::read_dir(data()).unwrap() {
        let folder = folder.unwrap();
        let kernel = folder.file_name().into_string().unwrap();
        let (recording, cases) = read(&kernel);
        let records = explained(judge(&kernel, &recording));
        assert!(
            cases.len() >= LEAST_CASES,
            "{kernel}: {} cases",
            cases.len()
        );
        for case in &cases {
            let verdict = case.find(&records).map(|record| &record.verdict);
            let told = verdict.map(|told| (told.origin, told.cause, told.confidence));
            if told != Some((case.origin, case.cause, case.confidence)) {
                writeln!(wrong, "{kernel}: {told:?} instead of {case:?}").unwrap();
            }
        }
        kernels += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(kernels >= 5, "{kernels} kernels");
}

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/kernels")
}

fn read(kernel: &str) -> (Vec<u8>, Vec<RecordedCase>) {
    let file = |name: &str| data().join(kernel).join(name);
    let recording = fs::read(file("events.rst")).unwrap();
    let cases = fs::read_to_string(file("cases.jsonl")).unwrap();
    let cases = cases
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (recording, cases.collect())
}

fn judge(kernel: &str, recording: &[u8]) -> Vec<Output> {
    let judged = replay(recording, Sight::EachNamespace);
    let whole = judged.and_then(|Replayed { outputs, end, .. }| end.map(|_| outputs));
    whole.unwrap_or_else(|error| panic!("{kernel}: {error}; {RENEW}"))
}

fn explained(outputs: Vec<Output>) -> Vec<Record> {
    let records = outputs.into_iter().filter_map(|output| match output {
        Output::Reset(record) => Some(*record),
        Output::TimedOut(_) | Output::Suppressed(_) => None,
    });
    records.collect()
}
