//! A PID namespace of its own, as a container has one without the host's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::net::TcpListener;
use std::process::Command;

use kernel::{Watch, close_with_linger_zero, eventually, private_namespace, rsttrace};
use serde_json::Value;

/// The command as the first process of a PID namespace, with a `/proc` to it.
fn contained(arguments: &[&str]) -> Command {
    let inner = rsttrace(arguments);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_remove("RUST_LOG");
    command
}

#[test]
#[ignore = "needs root"]
fn processes_beside_it_have_the_ids_of_the_container() {
    let output = contained(&["demo", "--only", "linger-zero", "-o", "json"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let cases = String::from_utf8(output.stdout).unwrap();
    assert!(cases.lines().count() >= 8, "{cases}");
    assert!(complaint.contains("--pid=host"), "{complaint}");
}

#[test]
#[ignore = "needs root"]
fn processes_outside_have_the_ids_of_the_host_and_are_marked() {
    private_namespace(|| {
        let watch = Watch::spawn(&mut contained(&[
            "watch", "-o", "json", "--count", "2", "--noise",
        ]));
        eventually("the start", || {
            watch.has_said("tracing resets").then_some(())
        });
        close_with_linger_zero(&TcpListener::bind("127.0.0.1:0").unwrap());
        let ended = watch.await_end();
        let records = ended.records();
        assert_eq!(records.len(), 2, "{}", ended.stderr);
        for record in &records {
            let process = &record["process"];
            assert_eq!(process["pid"], std::process::id(), "{process}");
            assert_eq!(process["outside"], true, "{process}");
            assert_eq!(process["exe"], Value::Null, "{process}");
        }
        assert!(ended.stderr.contains("--pid=host"), "{}", ended.stderr);
    });
}

#[test]
#[ignore = "needs root"]
fn doctor_says_how_to_share_the_ids_of_the_host() {
    let found = |command: &mut Command| {
        let output = command.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|it| it["kind"] == "pid_namespace");
        finding.map(|it| it["advice"].to_string())
    };
    let arguments = ["doctor", "-o", "json"];
    let advice = found(&mut contained(&arguments)).unwrap();
    assert!(advice.contains("--pid=host"), "{advice}");
    assert_eq!(found(&mut rsttrace(&arguments)), None);
}
