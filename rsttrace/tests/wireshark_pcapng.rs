//! What `--pcapng` writes, as Wireshark's own programs read it. Needs Debian's package tshark.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rsttrace::record::Record;
use rsttrace::sink::{Machine, Pcapng};

/// The sample records in the order of their times.
fn records() -> Vec<Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/records");
    let mut records: Vec<Record> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .map(|text| serde_json::from_str(&text).unwrap())
        .collect();
    records.sort_by(|a, b| a.time.cmp(&b.time));
    records
}

fn capture(folder: &Path) -> (PathBuf, u64) {
    let path = folder.join("resets.pcapng");
    let machine = Machine {
        kernel: Some("6.18.5".to_owned()),
    };
    let place = std::fs::File::create(&path).unwrap();
    let mut file = Pcapng::begin(place, "resets.pcapng", machine).unwrap();
    records().iter().for_each(|record| file.record(record));
    let frames = file.written().frames;
    drop(file);
    (path, frames)
}

fn output(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install tshark"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs tshark"]
fn wireshark_shows_each_reset_with_its_verdict_and_finds_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (file, frames) = capture(folder.path());
    let fields = [
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
        "-T",
        "fields",
        "-e",
        "frame.time_epoch",
        "-e",
        "tcp.flags.reset",
        "-e",
        "tcp.checksum.status",
        "-e",
        "ip.checksum.status",
        "-e",
        "frame.comment",
        "-e",
        "_ws.malformed",
        "-r",
    ];
    let text = output("tshark", &fields, &file);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(lines.len() as u64, frames, "{text}");
    assert!(frames >= 8, "{text}");
    for line in &lines {
        // 1 is good; IPv6 has no checksum of its own.
        assert!(matches!(line[1], "1" | "True"), "{line:?}");
        assert!(matches!(line[2], "1" | "Good"), "{line:?}");
        assert!(matches!(line[3], "1" | "Good" | ""), "{line:?}");
        assert!(!line[4].is_empty() && line[5].is_empty(), "{line:?}");
    }
    assert_eq!(lines[0][0], "1767614621.201344518");
    assert!(
        lines[0][4].contains("middlebox idle_timeout likely"),
        "{text}"
    );
}

#[test]
#[ignore = "needs tshark"]
fn the_file_says_who_wrote_it_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let (file, frames) = capture(folder.path());
    let text = output("capinfos", &[], &file);
    for fact in [
        "pcapng".to_owned(),
        "Raw IP".to_owned(),
        "nanoseconds".to_owned(),
        "Linux 6.18.5".to_owned(),
        concat!("rsttrace ", env!("CARGO_PKG_VERSION")).to_owned(),
        "Name = eth0".to_owned(),
        format!("Number of packets:   {frames}"),
    ] {
        assert!(text.contains(&fact), "{fact} is not in\n{text}");
    }
}
