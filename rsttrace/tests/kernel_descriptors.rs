//! The limit of open files: raised where that is allowed, and otherwise what goes unwatched is said at once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::process::Command;

use kernel::{Watch, eventually, netns_inode, private_namespace, rsttrace, run};
use nix::sys::signal::Signal;

/// Pairs of interfaces: four descriptors each.
const PAIRS: usize = 80;

/// `rsttrace watch` of this namespace, after a command of the shell.
fn after(limit: &str, arguments: &[&str]) -> Command {
    let inode = netns_inode().to_string();
    let watch = rsttrace(&[&["watch", "-v", "-o", "json", "--netns", &inode], arguments].concat());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
    command.arg(watch.get_program()).args(watch.get_args());
    command
}

fn make_interfaces() {
    let each = format!("for i in $(seq {PAIRS}); do ip link add a$i type veth peer name b$i; done");
    run("sh", &["-c", &each]);
}

#[test]
#[ignore = "needs root"]
fn a_soft_limit_is_raised() {
    private_namespace(|| {
        make_interfaces();
        let watch = Watch::spawn(&mut after("ulimit -Sn 256; ulimit -Hn 4096", &[]));
        eventually("the start", || {
            watch.has_said("tracing resets").then_some(())
        });
        eventually("all classifiers", || {
            (watch.held("link_id").len() >= 4 * PAIRS).then_some(())
        });
        let ended = watch.end(Signal::SIGINT);
        assert!(!ended.stderr.contains("not watched"), "{}", ended.stderr);
        assert!(
            !ended.stderr.contains("without classifiers"),
            "{}",
            ended.stderr
        );
    });
}

#[test]
#[ignore = "needs root"]
fn what_goes_unwatched_is_said_once_while_it_runs() {
    private_namespace(|| {
        make_interfaces();
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("history.db");
        let arguments = ["--store", store.to_str().unwrap()];
        let watch = Watch::spawn(&mut after("ulimit -n 256", &arguments));
        eventually("a warning", || watch.has_said("LimitNOFILE=").then_some(()));
        eventually("the start", || {
            watch.has_said("tracing resets").then_some(())
        });
        let ended = watch.end(Signal::SIGINT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let warnings = ended.stderr.matches("not watched").count();
        assert_eq!(warnings, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("now 256"), "{}", ended.stderr);
        let unwatched = ended.stderr.lines().find_map(|line| {
            let count = line.strip_prefix("interfaces or namespaces without classifiers: ")?;
            count.parse::<usize>().ok()
        });
        println!(
            "{} of {} interfaces unwatched",
            unwatched.unwrap(),
            2 * PAIRS + 1
        );
    });
}

#[test]
#[ignore = "needs root"]
fn a_start_with_too_small_a_limit_says_which_one_to_raise() {
    for limit in [20, 30, 60, 100] {
        let output = after(&format!("ulimit -n {limit}"), &[]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains(&format!("only {limit} open files")),
            "{stderr}"
        );
        assert!(stderr.contains("LimitNOFILE="), "{stderr}");
        assert!(!stderr.contains("report what it prints"), "{stderr}");
    }
}
