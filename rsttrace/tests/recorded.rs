//! What came out of each kernel is explained as it was when it was recorded: without root, without that kernel.
//!
//! What the host said about processes is not recorded, so it is origin, cause and confidence that are compared.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;

use flate2::bufread::GzDecoder;
use rsttrace::app::RecordedCase;
use rsttrace::pipeline::Output;
use rsttrace::record::Record;
use rsttrace::recording::Recording;
use rsttrace_common::WIRE_VERSION;

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
        let records = explained(&kernel, &recording);
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

fn read(kernel: &str) -> (Recording, Vec<RecordedCase>) {
    let file = |name: &str| data().join(kernel).join(name);
    let events = File::open(file("events.gz")).unwrap();
    let mut events = BufReader::new(GzDecoder::new(BufReader::new(events)));
    let recording =
        Recording::read(&mut events).unwrap_or_else(|error| panic!("{kernel}: {error}; {RENEW}"));
    let wire = recording.head.wire;
    assert_eq!(
        wire, WIRE_VERSION,
        "{kernel}: recorded with wire version {wire}, this is {WIRE_VERSION}: {RENEW}"
    );
    let cases = fs::read_to_string(file("cases.jsonl")).unwrap();
    let cases = cases
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (recording, cases.collect())
}

fn explained(kernel: &str, recording: &Recording) -> Vec<Record> {
    let outputs = recording.judge().unwrap_or_else(|error| {
        panic!("{kernel}: an event cannot be decoded any more ({error}): {RENEW}")
    });
    let records = outputs.into_iter().filter_map(|output| match output {
        Output::Reset(record) => Some(*record),
        Output::TimedOut(_) | Output::Suppressed(_) => None,
    });
    records.collect()
}
