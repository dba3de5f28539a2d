//! What came out of each kernel is explained as it was when it was recorded: without root, without that kernel.
//!
//! Each case is judged twice, as one network namespace and as the whole host. What the host said about processes is not
//! recorded, so it is origin, cause and confidence that are compared. Cases that were explained wrongly are among them, marked.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use rsttrace::app::{RecordedCase, RecordedResult, RecordedVerdict, replay_each_namespace};
use rsttrace::record::Output;
use rsttrace::record::Record;
use rsttrace::recording::{RecordingError, Replayed, replay};

const RENEW: &str = "run `cargo xtask record` to record it anew";

/// Fewer that are right would mean that a recording went wrong.
const LEAST_CASES: usize = 220;

#[test]
fn every_recorded_reset_is_explained_as_it_was() {
    let mut wrong = String::new();
    let mut kernels = 0;
    for folder in fs::read_dir(data()).unwrap() {
        let folder = folder.unwrap();
        let kernel = folder.file_name().into_string().unwrap();
        let (recording, cases) = read(&kernel);
        let namespaces = explained(&kernel, replay_each_namespace(&*recording));
        let host = explained(&kernel, replay(&*recording));
        let is_right = |case: &&RecordedCase| case.namespace.is_right() && case.host.is_right();
        let right = cases.iter().filter(is_right).count();
        assert!(right >= LEAST_CASES, "{kernel}: {right} cases are right");
        for case in &cases {
            for (sight, records, recorded) in [
                ("one namespace", &namespaces, &case.namespace),
                ("whole host", &host, &case.host),
            ] {
                let told = case.told(records);
                if told != recorded.told {
                    writeln!(
                        wrong,
                        "{kernel}, {sight}: {told:?} instead of {recorded:?}: {case:?}"
                    )
                    .unwrap();
                }
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

fn explained(kernel: &str, judged: Result<Replayed, RecordingError>) -> Vec<Record> {
    let whole = judged.and_then(|Replayed { outputs, end, .. }| end.map(|_| outputs));
    let outputs = whole.unwrap_or_else(|error| panic!("{kernel}: {error}; {RENEW}"));
    let records = outputs.into_iter().filter_map(|output| match output {
        Output::Reset(record) => Some(*record),
        Output::Failure(_) | Output::Suppressed(_) => None,
    });
    records.collect()
}

#[test]
fn what_is_marked_as_right_is_told_as_it_was_staged() {
    for folder in fs::read_dir(data()).unwrap() {
        let kernel = folder.unwrap().file_name().into_string().unwrap();
        for case in read(&kernel).1 {
            for RecordedVerdict {
                staged,
                told,
                result,
            } in [&case.namespace, &case.host]
            {
                let told = told.map(|(origin, cause, _)| (origin, cause));
                if *result == RecordedResult::Right {
                    assert_eq!(told, Some(*staged), "{kernel}: {case:?}");
                } else {
                    println!("{kernel}: known to be wrong: {case:?}");
                }
            }
        }
    }
}
