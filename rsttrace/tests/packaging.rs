//! The files in `rsttrace/packaging`: the systemd unit and the configuration example.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rsttrace::cli::{Request, parse_from};
use rsttrace::config;

/// Exposure level at which `systemd-analyze security` says MEDIUM instead of OK, in tenths.
const MEDIUM: &str = "40";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packaged(name: &str) -> String {
    fs::read_to_string(repository().join("rsttrace/packaging").join(name)).unwrap()
}

fn has_systemd() -> bool {
    Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_ok()
}

/// Whether `systemd-analyze` succeeds on this unit, and its output.
fn analyze(arguments: &[&str], unit: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rsttrace.service");
    fs::write(&file, unit).unwrap();
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(&file)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn systemd_accepts_the_unit_and_calls_its_exposure_ok() {
    if !has_systemd() {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    }
    let unit = packaged("rsttrace.service");
    let built = unit.replace("/usr/bin/rsttrace", env!("CARGO_BIN_EXE_rsttrace"));
    let verify = ["verify", "--man=no"];
    assert_eq!(analyze(&verify, &built), (true, String::new()));
    let security = [
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold",
        MEDIUM,
    ];
    let (is_ok, report) = analyze(&security, &unit);
    assert!(is_ok, "{report}");

    // Both can fail.
    let (_, said) = analyze(&verify, &built.replace("WatchdogSec", "WatchdogSecs"));
    assert!(said.contains("WatchdogSecs"), "{said}");
    assert!(!analyze(&security, &unit.replace("CapabilityBoundingSet=", "#")).0);
}

#[test]
fn the_unit_has_the_capabilities_of_the_page() {
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .filter(|word| word.starts_with("CAP_"))
            .map(str::to_owned)
            .collect()
    };
    let page = fs::read_to_string(repository().join("docs/PERMISSIONS.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| CAP_"));
    let unit = packaged("rsttrace.service");
    let set = unit
        .lines()
        .find(|line| line.starts_with("CapabilityBoundingSet="));
    assert_eq!(names(set.unwrap()), rows.flat_map(names).collect());
}

#[test]
fn the_configuration_example_changes_nothing_and_is_valid_without_its_comment_signs() {
    let example = packaged("config.toml");
    let file = Path::new("config.toml");
    assert_eq!(
        config::parse(example.as_bytes(), file).unwrap(),
        config::Config::default()
    );
    // Prose has a space after the sign.
    let lines = example.lines().filter(|line| !line.starts_with("# "));
    let used: Vec<&str> = lines.map(|line| line.trim_start_matches('#')).collect();
    let used = used.join("\n");
    let config = config::parse(used.as_bytes(), file).unwrap();
    assert_eq!(config.hops.len(), 1);
    assert_eq!(config.store, Some(config::StoreConfig::default()));
    // The keys are options, and their values possible.
    let used_file = tempfile::NamedTempFile::new().unwrap();
    fs::write(used_file.path(), used).unwrap();
    let line = [
        "rsttrace",
        "watch",
        "--config",
        used_file.path().to_str().unwrap(),
    ];
    let Request::Watch(options) = parse_from(line).unwrap() else {
        unreachable!("watch expected");
    };
    assert_eq!(options.show.filter.except.ports.len(), 2);
    assert!(config.watch.len() > 10);
}
