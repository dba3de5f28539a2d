//! The limits of the systemd unit lose nothing: `watch` within them traces other namespaces and names processes. SIGHUP from the
//! service manager reloads the configuration.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

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

#[test]
#[ignore = "needs root"]
fn a_reload_changes_the_filter_of_a_running_trace() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let [config, notify] = ["c.toml", "notify"].map(|name| folder.path().join(name));
        let configure = |text: &str| fs::write(&config, format!("[watch]\nevery = true\n{text}"));
        configure("not-port = 10\n").unwrap();
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let await_message = |begin: &str| {
            let mut buffer = [0; 4096];
            loop {
                let length = manager.recv(&mut buffer).unwrap();
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if message.starts_with(begin) {
                    return message;
                }
            }
        };
        let inode = kernel::netns_inode().to_string();
        let mut command = kernel::rsttrace(&["watch", "-v", "-o", "json", "--netns", &inode]);
        command.arg("--config").arg(&config);
        let watch = Watch::spawn(command.env("NOTIFY_SOCKET", &notify));
        watch.await_classifiers("lo");
        await_message("READY=1");
        let await_words = |words| eventually(words, || watch.has_said(words).then_some(()));
        let refusals = |ports: [u16; 2]| {
            for port in ports {
                await_refusal(closed_port(port));
                kernel::end_burst();
            }
        };
        refusals([10, 9]);
        watch.await_lines(2);

        configure("not-port = 9\nbuffer = \"8MiB\"\n").unwrap();
        watch.signal(Signal::SIGHUP);
        let message = await_message("RELOADING=1\n");
        assert!(message.contains("MONOTONIC_USEC="), "{message}");
        await_message("READY=1");
        await_words("the configuration was reloaded");
        await_words("not applied until a restart: buffer");
        refusals([9, 10]);
        watch.await_lines(4);

        configure("not-prt = 10\n").unwrap();
        watch.signal(Signal::SIGHUP);
        await_message("RELOADING=1\n");
        await_message("READY=1");
        await_words("stays as before: ");
        await_words("c.toml:3: not-prt: unknown option; did you mean `not-port`?");
        refusals([9, 10]);
        watch.await_lines(6);

        let ended = watch.end(Signal::SIGTERM);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let port = |record: &serde_json::Value| {
            let ports = [&record["local"]["port"], &record["remote"]["port"]];
            ports.into_iter().filter_map(|port| port.as_u64()).min()
        };
        let ports: Vec<_> = ended.records().iter().filter_map(port).collect();
        assert_eq!(ports, [9, 9, 10, 10, 10, 10], "{}", ended.stderr);
        // The trace went on: what was filtered was seen, too.
        let sent = ended.total("sent");
        assert_eq!((sent.seen, sent.lost), (6, 0), "{}", ended.stderr);
    });
}
