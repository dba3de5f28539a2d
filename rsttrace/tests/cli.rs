//! What scripts rely on: exit codes, which stream says what, and no complaint when a reader goes away.

#![allow(clippy::unwrap_used, reason = "these are tests")]

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
        ("--cause bad_luck", "port_closed"),
        ("--port http", "443"),
        ("--address example.org", "10.0.3.0/24"),
        ("--netns no-such-namespace", "ip netns"),
        ("--interface lo --no-loopback", "leave one of them out"),
        ("--config no-such-file.toml", "leave --config out"),
        ("--config Cargo.toml", "the file holds [[hop]]"),
        ("demo --only a --require 2", "lower it"),
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
