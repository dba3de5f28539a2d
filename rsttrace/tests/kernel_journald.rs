//! `watch -o journald` and a journald that reads, or does not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kernel::{Watch, close_with_linger_zero, eventually, netns_inode, private_namespace, rsttrace};
use nix::sys::signal::Signal;

/// `watch -o journald` where the journal's socket is the one in this folder.
fn watch(folder: &Path, arguments: &[&str]) -> Watch {
    let inner = rsttrace(&["watch", "-o", "journald", "--noise", "--netns"]);
    let script = r#"set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal
mount --bind "$1" /run/systemd/journal
shift
exec "$@"
"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command
        .arg(folder)
        .arg(inner.get_program())
        .args(inner.get_args());
    command
        .arg(netns_inode().to_string())
        .args(arguments)
        .env_remove("RUST_LOG");
    Watch::spawn(&mut command)
}

fn await_start(watch: &Watch) {
    eventually("the start", || {
        watch.has_said("tracing resets").then_some(())
    });
}

#[test]
#[ignore = "needs root"]
fn a_reset_is_an_entry_with_fields() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let journal = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        journal.set_read_timeout(Some(kernel::LIMIT)).unwrap();
        let watch = watch(folder.path(), &["--count", "2"]);
        await_start(&watch);
        close_with_linger_zero(&TcpListener::bind("127.0.0.1:0").unwrap());
        for cause in ["linger_zero", "reset_by_peer"] {
            let mut entry = vec![0; 1 << 16];
            let length = journal.recv(&mut entry).unwrap();
            let entry = String::from_utf8(entry[..length].to_vec()).unwrap();
            let has = |line: &str| entry.lines().any(|it| it == line);
            assert!(has(&format!("RSTTRACE_CAUSE={cause}")), "{entry}");
            assert!(has("SYSLOG_IDENTIFIER=rsttrace"), "{entry}");
            assert!(
                has(&format!("OBJECT_PID={}", std::process::id())),
                "{entry}"
            );
        }
        let ended = watch.await_end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.lines.is_empty());
        assert!(ended.stderr.contains("no events lost"), "{}", ended.stderr);
    });
}

#[test]
#[ignore = "needs root"]
fn a_journald_that_does_not_read_neither_stops_the_trace_nor_its_end() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let journal = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        let watch = watch(folder.path(), &["--every"]);
        await_start(&watch);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // More than the queue of the socket takes (net.unix.max_dgram_qlen, SO_SNDBUF).
        for _ in 0..2_000 {
            close_with_linger_zero(&listener);
        }
        let begun = Instant::now();
        let ended = watch.end(Signal::SIGTERM);
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("dropped because"), "{}", ended.stderr);
        drop(journal);
    });
}

#[test]
#[ignore = "needs root"]
fn without_journald_the_start_names_the_next_step() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let ended = watch(folder.path(), &[]).await_end();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("-o json"), "{}", ended.stderr);
    });
}
