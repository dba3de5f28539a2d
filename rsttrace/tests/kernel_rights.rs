//! Messages for users who may not trace, and for kernels that cannot be traced.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const NOBODY: u32 = 65_534;

/// The binary where everybody may run it, and the directory that ends with it.
fn public_binary() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rsttrace");
    fs::copy(env!("CARGO_BIN_EXE_rsttrace"), &path).unwrap();
    for path in [directory.path(), &path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    (directory, path)
}

/// One message on standard error: what is wrong, and the next step.
fn assert_one_message(output: &Output, code: i32, words: &[&str]) {
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty());
    assert_eq!(message.matches("rsttrace: ").count(), 1, "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word}: {message}");
    }
}

#[test]
#[ignore = "needs root"]
fn without_rights_tracing_is_3_and_names_what_is_missing_and_the_next_step() {
    let (_directory, binary) = public_binary();
    let tracing = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "sudo"];
    for (arguments, words) in [
        (&["watch"][..], &tracing[..]),
        (&[], &tracing),
        (&["watch", "-o", "json"], &tracing),
        (&["demo"], &["CAP_SYS_ADMIN", "sudo"]),
    ] {
        let output = Command::new(&binary)
            .args(arguments)
            .env_remove("RUST_LOG")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        assert_one_message(&output, 3, words);
    }
}

#[test]
#[ignore = "needs root"]
fn without_rights_the_rest_works() {
    let (_directory, binary) = public_binary();
    for (arguments, code) in [
        (&["schema"][..], 0),
        (&["--help"], 0),
        (&["watch", "--port", "http"], 2),
        (&["demo", "--no-such-option"], 2),
    ] {
        let output = Command::new(&binary)
            .args(arguments)
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(output.stdout.is_empty(), code != 0, "{arguments:?}");
        assert_eq!(output.stderr.is_empty(), code == 0, "{arguments:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn one_missing_right_is_named_alone() {
    let (_directory, binary) = public_binary();
    let output = Command::new("setpriv")
        .args(["--inh-caps=-all", "--bounding-set=-all,+bpf,+net_admin"])
        .arg(&binary)
        .output()
        .unwrap();
    assert_one_message(&output, 3, &["CAP_PERFMON missing", "sudo"]);
}

#[test]
#[ignore = "needs root"]
fn a_root_of_a_user_namespace_is_not_permitted_either() {
    let (_directory, binary) = public_binary();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(&binary)
        .output()
        .unwrap();
    assert_one_message(&output, 3, &["initial user namespace"]);
}

#[test]
#[ignore = "needs root"]
fn a_kernel_without_type_information_is_4_and_says_so() {
    let in_own_mounts = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).unwrap();
        let hides = "/sys/kernel/btf";
        mount(Some("none"), hides, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        for command in ["watch", "demo"] {
            let output = kernel::rsttrace(&[command]).output().unwrap();
            assert_one_message(&output, 4, &["/sys/kernel/btf", "CONFIG_DEBUG_INFO_BTF"]);
        }
    };
    let joined = std::thread::spawn(in_own_mounts).join();
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Lines of the status of each thread of a process, by name, such as `CapEff`.
fn of_each_thread(pid: u32, name: &str) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let value = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let digits = line.unwrap().trim_start_matches(':').trim();
        Some(u64::from_str_radix(digits, 16).unwrap())
    };
    threads.flatten().filter_map(value).collect()
}

#[test]
#[ignore = "needs root"]
fn what_tracing_does_not_need_is_given_up_by_every_thread() {
    use caps::Capability::*;
    let mask = |all: &[caps::Capability]| all.iter().fold(0, |mask, it| mask | it.bitmask());
    let tracing = [
        CAP_BPF,
        CAP_PERFMON,
        CAP_NET_ADMIN,
        CAP_NET_BROADCAST,
        CAP_SYS_ADMIN,
        CAP_SYS_PTRACE,
        CAP_DAC_READ_SEARCH,
    ];
    let starting = [
        CAP_SYS_RESOURCE,
        CAP_IPC_LOCK,
        CAP_SYS_CHROOT,
        CAP_NET_BIND_SERVICE,
        CAP_DAC_OVERRIDE,
    ];
    kernel::private_namespace(|| {
        let watch = kernel::Watch::own_namespace(&[]);
        let pid = watch.pid();
        kernel::eventually("the start", || {
            watch.has_said("tracing resets").then_some(())
        });
        let all = mask(&tracing) | mask(&starting);
        for name in ["CapPrm", "CapEff"] {
            let threads = of_each_thread(pid, name);
            assert!(!threads.is_empty());
            for mask in threads {
                assert_eq!(mask & !all, 0, "{name} {mask:x}");
            }
            // The thread that reads what comes from the network is the first.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = format!("{name}:\t{:016x}\n", mask(&tracing));
            assert!(status.contains(&line), "{status}");
        }
        for name in ["CapBnd", "CapInh", "CapAmb"] {
            assert!(
                of_each_thread(pid, name).iter().all(|&mask| mask == 0),
                "{name}"
            );
        }
        assert!(
            of_each_thread(pid, "NoNewPrivs")
                .iter()
                .all(|&set| set == 1)
        );
    });
}
