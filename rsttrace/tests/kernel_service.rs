//! The limits of the systemd unit lose nothing: `watch` within them traces other namespaces and names processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use kernel::{Watch, await_refusal, closed_port, eventually, private_namespace};
use nix::sys::signal::Signal;

/// The values of a setting of the unit.
fn setting(name: &str) -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/rsttrace.service");
    let unit = fs::read_to_string(file).unwrap();
    let value = unit
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = value.unwrap_or_else(|| panic!("no {name} in the unit"));
    value.split(' ').map(str::to_owned).collect()
}

/// The system calls of names and groups (`@NAME`).
fn system_calls(names: &[String]) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for name in names {
        if !name.starts_with('@') {
            calls.insert(name.clone());
            continue;
        }
        let mut analyze = Command::new("systemd-analyze");
        let output = analyze.args(["syscall-filter", name]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let inner = text.lines().skip(1).map(|line| line.trim().to_owned());
        let inner: Vec<_> = inner
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        assert!(!inner.is_empty(), "systemd has no {name}");
        calls.extend(system_calls(&inner));
    }
    calls
}

/// What is between the first parenthesis and the first separator after it.
fn first_argument(call: &str) -> &str {
    let (_, arguments) = call.split_once('(').unwrap();
    arguments.split([',', ')', ' ']).next().unwrap()
}

#[test]
#[ignore = "needs root"]
fn the_unit_permits_what_tracing_needs() {
    let folder = tempfile::tempdir().unwrap();
    let calls_file = folder.path().join("calls");
    let capabilities = setting("CapabilityBoundingSet").into_iter();
    let capabilities = capabilities.map(|name| name.to_lowercase().replace("cap_", ",+"));
    let bounding_set = format!("--bounding-set=-all{}", capabilities.collect::<String>());
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-o"]).arg(&calls_file);
    command.args(["unshare", "--mount", "--propagation", "slave"]);
    command.args([
        "setpriv",
        "--no-new-privs",
        "--inh-caps=-all",
        &bounding_set,
    ]);
    command.arg(env!("CARGO_BIN_EXE_rsttrace"));
    command.args(["watch", "-v", "-o", "json", "--every", "--store"]);
    command.arg(folder.path().join("history.db"));
    command.args(["--metrics", "127.0.0.1:0"]);
    let watch = Watch::spawn(&mut command);
    eventually("the start", || {
        watch.has_said("tracing resets").then_some(())
    });
    // A namespace that comes later.
    private_namespace(|| {
        watch.await_classifiers("lo");
        let port = closed_port(9);
        await_refusal(port);
        let received = watch.await_record("the client's end", |record| {
            record["direction"] == "received" && record["netns"] == kernel::netns_inode()
        });
        let own = std::env::current_exe().unwrap();
        assert_eq!(
            received["process"]["exe"],
            own.to_str().unwrap(),
            "{received:#}"
        );
    });
    let ended = watch.end(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("without classifiers"),
        "{}",
        ended.stderr
    );

    let mut allowed = system_calls(&setting("SystemCallFilter"));
    // Of the programs that set the limits.
    allowed.insert("mount".to_owned());
    let families: BTreeSet<_> = setting("RestrictAddressFamilies").into_iter().collect();
    let text = fs::read_to_string(calls_file).unwrap();
    let calls: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, call)| call.trim_start()))
        .filter(|call| call.starts_with(|first: char| first.is_ascii_lowercase()))
        .collect();
    let name = |call: &str| call.split('(').next().unwrap().to_owned();
    let used: BTreeSet<_> = calls.iter().map(|call| name(call)).collect();
    assert!(used.contains("bpf") && used.contains("setns"), "{used:?}");
    let refused: Vec<_> = used.difference(&allowed).collect();
    assert!(refused.is_empty(), "SystemCallFilter= lacks {refused:?}");
    for call in calls {
        let argument = first_argument(call);
        match name(call).as_str() {
            "socket" => assert!(families.contains(argument), "{call}"),
            "setns" => assert!(call.contains("CLONE_NEWNET"), "{call}"),
            "unshare" => assert!(
                ["CLONE_NEWNET", "CLONE_FS", "CLONE_NEWNS"].contains(&argument),
                "{call}"
            ),
            "mmap" | "mprotect" => assert!(!call.contains("PROT_WRITE|PROT_EXEC"), "{call}"),
            _ => {}
        }
    }
}
