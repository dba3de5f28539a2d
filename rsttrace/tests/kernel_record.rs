//! A recording reproduces the output byte for byte, also of a flood and after a kill.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use kernel::{
    Ended, FAR, Link, Watch, await_refusal, close_with_linger_zero, close_with_unread_data,
    closed_port, end_burst, eventually, netns_inode, private_namespace, rsttrace, run, syn, volley,
};
use nix::sys::signal::Signal;

/// A folder that goes with it, and a file in it that is not there yet.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resets.rst");
    (folder, file)
}

fn replay(arguments: &[&str], file: &Path) -> Output {
    let output = rsttrace(&[&["replay"], arguments].concat())
        .arg(file)
        .output();
    output.unwrap()
}

fn printed(ended: &Ended) -> String {
    let lines = ended.lines.iter().map(|line| format!("{}\n", line.text));
    lines.collect()
}

/// Resets of every kind that loopback gives without waiting, and some refusals.
fn stage() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..5 {
        close_with_linger_zero(&listener);
        close_with_unread_data(&listener);
        await_refusal(closed_port(9));
        await_refusal("[::1]:9".parse().unwrap());
        end_burst();
    }
}

#[test]
#[ignore = "needs root"]
fn a_replay_prints_what_the_watch_printed() {
    private_namespace(|| {
        let (_folder, file) = place();
        let path = file.to_str().unwrap();
        let inode = netns_inode().to_string();
        let watch = Watch::own_namespace(&["--noise", "--record", path]);
        stage();
        let ended = watch.end(Signal::SIGINT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.records().len() >= 40, "{}", ended.records().len());
        assert!(
            ended.stderr.contains(&format!("recorded to {path}")),
            "{}",
            ended.stderr
        );
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let json = ["-v", "-o", "json", "--noise", "--netns", &inode];
        let replayed = replay(&json, &file);
        let stderr = String::from_utf8(replayed.stderr).unwrap();
        assert_eq!(replayed.status.code(), Some(0), "{stderr}");
        assert!(
            String::from_utf8(replayed.stdout).unwrap() == printed(&ended),
            "{stderr}"
        );
        // The kernel's counts come with it.
        let totals = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("kernel, "));
            lines.map(str::to_owned).collect()
        };
        assert!(!totals(&stderr).is_empty(), "{stderr}");
        assert_eq!(totals(&stderr), totals(&ended.stderr));

        // From a pipe, with other filters.
        let mut child = rsttrace(&["replay", "-", "-o", "json", "--cause", "linger_zero"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&fs::read(&file).unwrap()).unwrap();
        drop(stdin);
        let filtered = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let of_cause = filtered
            .lines()
            .filter(|line| line.contains(&format!("\"netns\":{inode},")));
        assert_eq!(of_cause.count(), 5, "{filtered}");

        let again = Watch::start_unready(&["--record", path]).await_end();
        assert_eq!(again.code, Some(2), "{}", again.stderr);
        assert!(again.stderr.contains("--force"), "{}", again.stderr);
    });
}

#[test]
#[ignore = "needs root"]
fn sums_of_a_flood_are_replayed_byte_for_byte() {
    private_namespace(|| {
        let (_folder, file) = place();
        let link = Link::new();
        let watch = link.watch(&["--noise", "--record", file.to_str().unwrap()]);
        let sums = || {
            let lines = watch.lines().into_iter();
            lines.filter(|line| line.record()["schema"] == "rsttrace.suppressed.v1")
        };
        let mut from = 0;
        // One begins a flood and another goes on with it, for each port of it.
        eventually("four sums", || {
            link.near.enter(|| {
                volley(from..from + 5_000, |number| {
                    let port = 20_000 + (number % 40_000) as u16;
                    let client = (Ipv4Addr::new(198, 51, 100, 7), port);
                    syn(client, (FAR, 1 + (number % 3) as u16), number)
                });
            });
            from += 5_000;
            std::thread::sleep(Duration::from_millis(200));
            (sums().count() >= 4).then_some(())
        });
        let ended = watch.end(Signal::SIGINT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let replayed = replay(&["-o", "json", "--noise"], &file);
        assert_eq!(replayed.status.code(), Some(0));
        assert_same(
            &String::from_utf8(replayed.stdout).unwrap(),
            &printed(&ended),
        );
        println!(
            "{} bytes for {} lines; {}",
            fs::metadata(&file).unwrap().len(),
            ended.lines.len(),
            ended.stderr
        );
    });
}

#[test]
#[ignore = "needs root"]
fn a_killed_recorder_loses_its_last_second() {
    private_namespace(|| {
        let (_folder, file) = place();
        let inode = netns_inode().to_string();
        let watch = Watch::own_namespace(&["--noise", "--record", file.to_str().unwrap()]);
        stage();
        watch.await_lines(40);
        // What came until here is in the file soon after, and needs nothing else to happen.
        let until_here = watch.lines().len();
        let json = ["-v", "-o", "json", "--noise", "--netns", &inode];
        eventually("what was printed in the file", || {
            let replayed = String::from_utf8(replay(&json, &file).stdout).unwrap();
            (replayed.lines().count() >= until_here).then_some(())
        });
        stage();
        watch.await_lines(until_here + 1);
        let ended = watch.end(Signal::SIGKILL);
        assert_eq!(ended.code, None);
        let replayed = replay(&["-o", "json", "--noise", "--netns", &inode], &file);
        let stderr = String::from_utf8(replayed.stderr).unwrap();
        assert_eq!(replayed.status.code(), Some(0), "{stderr}");
        assert!(stderr.contains("it ends at byte"), "{stderr}");
        assert!(!stderr.contains("no events lost"), "{stderr}");
        let (again, before) = (String::from_utf8(replayed.stdout).unwrap(), printed(&ended));
        assert!(
            before.starts_with(&again) || again.starts_with(&before),
            "{again}\n---\n{before}"
        );
        assert!(again.lines().count() >= until_here, "{stderr}");
    });
}

#[test]
#[ignore = "needs root"]
fn record_prints_no_record_and_says_what_it_wrote() {
    private_namespace(|| {
        let (_folder, file) = place();
        let inode = netns_inode().to_string();
        let mut command = rsttrace(&["record", "--netns", &inode]);
        let recorder = Watch::spawn(command.arg(&file));
        recorder.await_classifiers("lo");
        stage();
        // It prints nothing that could be waited for, so the file is read.
        let json = ["-v", "-o", "json", "--noise", "--netns", &inode];
        eventually("all resets in the file", || {
            let replayed = String::from_utf8(replay(&json, &file).stdout).unwrap();
            (replayed.lines().count() >= 40).then_some(())
        });
        let ended = recorder.end(Signal::SIGINT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.lines.is_empty());
        assert!(
            ended.stderr.contains("\n20 resets, seen 40 times, in "),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(" events, "), "{}", ended.stderr);
        let replayed = replay(&["-o", "json", "--noise", "--netns", &inode], &file);
        let lines = String::from_utf8(replayed.stdout).unwrap();
        assert_eq!(lines.lines().count(), 40, "{lines}");
        let table = replay(&["--noise", "--utc", "--netns", &inode], &file);
        assert!(
            String::from_utf8(table.stdout)
                .unwrap()
                .contains("LOCAL PROCESS certain")
        );
    });
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_ends_the_recording_and_not_the_trace() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=8k", "rsttrace-test", at],
        );
        let file = folder.path().join("resets.rst");
        let inode = netns_inode().to_string();
        let watch =
            Watch::own_namespace(&["--noise", "--every", "--record", file.to_str().unwrap()]);
        for _ in 0..20 {
            stage();
        }
        watch.await_lines(20 * 40);
        let ended = watch.end(Signal::SIGINT);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("tracing continues"),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("missing from the recording"),
            "{}",
            ended.stderr
        );
        let replayed = replay(&["-o", "json", "--noise", "--netns", &inode], &file);
        run("umount", &[at]);
        assert_eq!(replayed.status.code(), Some(0));
        assert!(printed(&ended).starts_with(&String::from_utf8(replayed.stdout).unwrap()));
    });
}

/// Fails with the first line that differs.
fn assert_same(replayed: &str, printed: &str) {
    for (number, (one, other)) in replayed.lines().zip(printed.lines()).enumerate() {
        assert_eq!(one, other, "line {number}");
    }
    assert_eq!(replayed.lines().count(), printed.lines().count());
}
