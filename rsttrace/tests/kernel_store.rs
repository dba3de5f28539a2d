//! The history contains what was traced, in every form, during and after the trace, and on a full disk.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use kernel::{
    Watch, await_refusal, close_with_linger_zero, close_with_unread_data, closed_port, eventually,
    private_namespace, rsttrace, run,
};
use nix::sys::signal::Signal;

fn history(file: &Path, arguments: &[&str]) -> Output {
    rsttrace(&["history", "--utc", "--store", file.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

fn answer(file: &Path, arguments: &[&str]) -> String {
    let output = history(file, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// 30 records: two ends of each reset.
fn stage() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = closed_port(9);
    for _ in 0..5 {
        close_with_linger_zero(&server);
        close_with_unread_data(&server);
        await_refusal(closed);
    }
}

/// Said once, when the first record finds no room.
const NOT_STORED: &str = "the missing records are counted";

#[test]
#[ignore = "needs root and a kernel to trace"]
fn history_prints_what_watch_printed() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/history.db");
        let store = ["--noise", "--store", file.to_str().unwrap()];
        let watch = Watch::own_namespace(&store);
        stage();
        watch.await_lines(30);
        // While it is traced.
        eventually("records in the store", || {
            (answer(&file, &["--noise", "-o", "json"]).lines().count() >= 30).then_some(())
        });
        let second = rsttrace(&["watch"]).args(store).output().unwrap();
        assert_eq!(second.status.code(), Some(1));
        let told = String::from_utf8(second.stderr).unwrap();
        assert!(told.contains(&format!("PID {}", watch.pid())), "{told}");
        let ended = watch.end(Signal::SIGINT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);

        let written: Vec<String> = ended.lines.iter().map(|line| line.text.clone()).collect();
        let kept = answer(&file, &["--noise", "-o", "json"]);
        // The tracepoints see the whole host, and the namespace filters only what is shown.
        let found: Vec<&str> = kept
            .lines()
            .filter(|line| written.iter().any(|it| it == line))
            .collect();
        assert_eq!(found, written, "each line, byte for byte, in its order");

        let inode = kernel::netns_inode().to_string();
        let own = |more: &[&str]| answer(&file, &[&["--noise", "--netns", &inode], more].concat());
        assert_eq!(own(&["-o", "json"]).lines().collect::<Vec<_>>(), written);
        assert_eq!(own(&["-o", "csv"]).lines().count(), 1 + written.len());
        assert!(own(&[]).contains("LOCAL PROCESS"));
        assert_eq!(
            own(&["-o", "json", "--limit", "3"])
                .lines()
                .collect::<Vec<_>>(),
            written[written.len() - 3..]
        );
        let of = |cause| {
            own(&[
                "-o",
                "json",
                "--since",
                "1h",
                "--peer",
                "127.0.0.0/8",
                "--cause",
                cause,
            ])
        };
        assert_eq!(of("close_with_unread_data").lines().count(), 5);
        assert_eq!(of("port_closed").lines().count(), 5);
        assert_eq!(own(&["--peer", "10.0.0.0/8", "-o", "json"]), "");
        assert_eq!(own(&["--until", "1h", "-o", "json"]), "");
    });
}

#[test]
#[ignore = "needs root and a kernel to trace"]
fn a_killed_trace_keeps_what_is_older_than_a_second() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        let watch = Watch::own_namespace(&["--noise", "--store", file.to_str().unwrap()]);
        stage();
        watch.await_lines(30);
        let lines = watch.lines();
        // The promise: what is older than that.
        std::thread::sleep(std::time::Duration::from_secs(1));
        watch.end(Signal::SIGKILL);
        let kept = answer(&file, &["--noise", "-o", "json"]);
        for line in lines {
            assert!(kept.lines().any(|it| it == line.text), "{}", line.text);
        }
        // And the next one goes on with it.
        let watch = Watch::own_namespace(&["--noise", "--store", file.to_str().unwrap()]);
        stage();
        watch.await_lines(30);
        let ended = watch.end(Signal::SIGTERM);
        let all = answer(&file, &["--noise", "-o", "json"]);
        assert!(all.starts_with(&kept));
        assert!(all.lines().count() >= kept.lines().count() + ended.lines.len());
    });
}

#[test]
#[ignore = "needs root and a kernel to trace"]
fn on_a_full_disk_tracing_goes_on_and_what_is_not_kept_is_counted() {
    private_namespace(|| {
        // A mount namespace of this thread's own: gone with it.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        run("mount", &["--make-rprivate", "/"]);
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=160k", "tmpfs", place]);
        let file = folder.path().join("history.db");
        let watch =
            Watch::own_namespace(&["--noise", "--every", "--store", file.to_str().unwrap()]);
        let mut expected = 0;
        // It is full at some time, and tracing goes on from there.
        let mut rounds_since = 0;
        while rounds_since < 3 {
            assert!(expected < 10_000, "{expected} records fit");
            stage();
            expected += 30;
            watch.await_lines(expected);
            rounds_since += usize::from(watch.has_said(NOT_STORED));
        }
        let ended = watch.end(Signal::SIGINT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(
            ended.stderr.matches(NOT_STORED).count(),
            1,
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("the disk is full"),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("records missing from the history: "),
            "{}",
            ended.stderr
        );
        let kept = answer(&file, &["--noise", "-o", "json"]);
        assert!(kept.lines().count() > 10, "some were kept before");
        run("umount", &[place]);
    });
}
