//! What scripts rely on: exit codes, which stream says what, and no complaint when a reader goes away.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

fn rsttrace(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsttrace"));
    command.args(arguments.split_whitespace());
    command.env_remove("RUST_LOG");
    command
}

fn run(arguments: &str) -> Output {
    rsttrace(arguments).output().unwrap()
}

#[test]
fn bad_usage_is_2_and_says_what_would_do() {
    for (arguments, next) in [
        ("--buffer 3MiB", "4MiB"),
        ("--duration 20", "20s"),
        ("watch --duration soon", "500ms"),
        ("--every --details 5", "cannot be used with"),
        ("--details 0", "1..=10000"),
        ("--cause bad_luck", "port_closed"),
        ("--port http", "443"),
        ("--address example.org", "10.0.3.0/24"),
        ("--netns no-such-namespace", "ip netns"),
        ("--interface lo --no-loopback", "leave one of them out"),
        ("--metrics 9464", "127.0.0.1:9464"),
        ("--metrics localhost:9464", "127.0.0.1:9464"),
        ("--metrics 127.0.0.1:70000", "127.0.0.1:9464"),
        ("--metrics 192.0.2.1:9464", "`ip address`"),
        ("--metrics-file no-such-folder/x.prom", "make it"),
        ("--metrics-file src", "write one like"),
        ("--metrics-file new/", "write one like"),
        ("--pcapng no-such-folder/x.pcapng", "folder that exists"),
        ("--config no-such-file.toml", "leave --config out"),
        ("--config Cargo.toml", "the file holds [[hop]]"),
        ("demo --only a --require 2", "lower it"),
        ("doctor --idle 60", "60s"),
        ("probe example.org", "HOST:PORT"),
        ("probe 2001:db8::1:80", "[2001:db8::1]:80"),
        ("probe a:1 --min 200ms", "--send"),
        ("probe a:1 --min 2m --max 1m", "raise --max"),
        (r"probe a:1 --send \q", r"\xHH"),
        ("report no-such-file.jsonl", "name a file"),
        ("report /dev/null -O no-such-folder/x.html", "--out"),
        ("--no-such-option", "--help"),
        ("no-such-command", "--help"),
    ] {
        let output = run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains(next), "{arguments}: {error}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}

#[test]
fn help_version_and_schema_are_data_on_standard_output() {
    for arguments in [
        "--help",
        "-h",
        "--version",
        "watch --help",
        "demo --help",
        "doctor --help",
        "probe --help",
        "schema",
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        assert!(!output.stdout.is_empty(), "{arguments}");
        assert!(output.stderr.is_empty(), "{arguments}");
    }
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value = serde_json::from_slice(&run("schema").stdout).unwrap();
    assert_eq!(schema["title"], "rsttrace.reset.v1");
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for arguments in ["schema", "--help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = rsttrace(arguments)
            .stdout(Stdio::from(writer))
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        assert!(output.stderr.is_empty(), "{arguments}");
    }
}

/// As whoever runs the tests, but never as root.
fn run_unprivileged(arguments: &str) -> Output {
    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("rsttrace");
    std::fs::copy(env!("CARGO_BIN_EXE_rsttrace"), &binary).unwrap();
    for path in [directory.path(), &binary] {
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, everybody).unwrap();
    }
    let mut command = Command::new(&binary);
    command.args(arguments.split_whitespace());
    command.env_remove("RUST_LOG");
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

#[test]
fn metrics_that_cannot_be_had_end_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = run(&format!("--metrics {address}"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("choose another port"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let closed = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(folder.path(), closed).unwrap();
    let file = folder.path().join("x.prom");
    let output = run_unprivileged(&format!("watch --metrics-file {}", file.display()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("run as root, or name a folder"), "{error}");
    assert!(!file.exists());
}

#[test]
fn without_rights_the_doctor_names_what_is_missing_and_checks_the_rest() {
    let output = run_unprivileged("doctor -o json");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "rsttrace.doctor.v1");
    // What is wrong with this machine is not known here; that the exit code says so, is.
    let code = if report["result"] == "wrong" { 1 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{error}");
    let findings = report["findings"].as_array().unwrap();
    let rights = findings
        .iter()
        .find(|finding| finding["kind"] == "tracing_not_permitted")
        .unwrap();
    assert_eq!(rights["severity"], "advice");
    assert!(rights["summary"].as_str().unwrap().contains("CAP_BPF"));
    assert!(report["settings"]["keepalive"]["time"].is_u64());
    assert_eq!(report["not_checked"][0]["what"], "hooks");
    let table = run_unprivileged("doctor --idle 10m");
    assert_eq!(table.status.code(), Some(code));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("CAP_BPF") && table.contains("keepalive"),
        "{table}"
    );
}

#[test]
fn a_report_says_which_lines_are_no_records_and_fails_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("resets.jsonl");
    let sum = include_str!("data/suppressed.json").replace('\n', "");
    std::fs::write(&lines, format!("hello\n{sum}\n")).unwrap();
    let out = folder.path().join("page.html");
    let output = rsttrace("report")
        .args([lines.as_os_str(), "--out".as_ref(), out.as_os_str()])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.contains("line 1: not JSON"), "{error}");
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("line 1: not JSON"));

    std::fs::write(&lines, "hello\nworld\n").unwrap();
    let output = rsttrace("report").args([&lines]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("none of 2 lines is a record") && error.contains("-o json"),
        "{error}"
    );
}
