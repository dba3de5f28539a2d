//! A reader of the output that does not read stops neither the trace, nor its history and metrics, nor its end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kernel::{await_refusal, closed_port, eventually, private_namespace, rsttrace};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Refused connects, each with two records of more than a kilobyte: more than waits for a reader.
const CONNECTS: u64 = 3_000;

/// `rsttrace watch` whose standard output nobody reads. Ended when dropped.
struct Stalled {
    child: Child,
    /// Kept open.
    _stdout: PipeReader,
}

impl Stalled {
    fn start(arguments: &[&str], stderr: impl FnOnce(&io::PipeWriter) -> Stdio) -> Self {
        let (reader, writer) = io::pipe().unwrap();
        let arguments = [&["watch", "-o", "json", "--noise", "--every"], arguments].concat();
        let child = rsttrace(&arguments)
            .stdin(Stdio::null())
            .stderr(stderr(&writer))
            .stdout(writer)
            .spawn();
        Self {
            child: child.unwrap(),
            _stdout: reader,
        }
    }

    /// Whether it holds eBPF programs.
    fn has_programs(&self) -> bool {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
            .any(|file| file.to_string_lossy().contains("bpf-prog"))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A metric, as soon as the server answers.
fn metric(address: SocketAddr, name: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let line = answer.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

fn stage() {
    for _ in 0..CONNECTS {
        await_refusal(closed_port(9));
    }
}

#[test]
#[ignore = "needs root"]
fn history_metrics_and_signals_go_on_and_the_lines_are_counted() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("history.db");
        let store = store.to_str().unwrap();
        let address = free_address();
        let metrics = address.to_string();
        let mut watch = Stalled::start(&["--store", store, "--metrics", &metrics], |_| {
            Stdio::piped()
        });
        let mut stderr = BufReader::new(watch.child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("history:") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it has ended");
        }
        stage();
        let dropped = eventually("lines dropped", || {
            metric(address, "rsttrace_output_lines_dropped_total ").filter(|lines| *lines > 0)
        });
        eventually("a full history", || {
            let records = r#"rsttrace_store_records_total{outcome="stored"} "#;
            metric(address, records).filter(|records| *records >= 2 * CONNECTS)
        });
        watch.signal(Signal::SIGINT);
        let begun = Instant::now();
        let status = eventually("the end", || watch.child.try_wait().unwrap());
        println!(
            "{dropped} lines dropped, ended {:?} after SIGINT",
            begun.elapsed()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(status.code(), Some(0));
        let mut summary = String::new();
        stderr.read_to_string(&mut summary).unwrap();
        assert!(
            summary.contains("the reader of the output is too slow"),
            "{summary}"
        );
        assert!(summary.contains("no events lost"), "{summary}");
        assert!(summary.contains("lines of output dropped"), "{summary}");
    });
}

#[test]
#[ignore = "needs root"]
fn the_first_signal_after_the_end_of_the_duration_costs_no_summary() {
    private_namespace(|| {
        let mut watch = Stalled::start(&["--duration", "1s"], |_| Stdio::piped());
        let mut stderr = BufReader::new(watch.child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("to stop") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it has ended");
        }
        assert!(watch.has_programs());
        stage();
        // Then the end waits for the reader of standard output.
        eventually("hooks taken off", || (!watch.has_programs()).then_some(()));
        watch.signal(Signal::SIGINT);
        let status = eventually("the end", || watch.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{status}");
        let mut summary = String::new();
        stderr.read_to_string(&mut summary).unwrap();
        assert!(summary.contains("no events lost"), "{summary}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_second_signal_ends_at_once_also_if_nobody_reads_standard_error() {
    private_namespace(|| {
        let address = free_address();
        let metrics = address.to_string();
        // Both in one pipe, as with `2>&1 | less`.
        let mut watch = Stalled::start(&["--metrics", &metrics], |stdout| {
            stdout.try_clone().unwrap().into()
        });
        eventually("metrics", || metric(address, "rsttrace_incidents_total "));
        stage();
        eventually("lines dropped", || {
            metric(address, "rsttrace_output_lines_dropped_total ").filter(|lines| *lines > 0)
        });
        let begun = Instant::now();
        // The first one takes the hooks off.
        let status = eventually("the end", || {
            watch.signal(Signal::SIGTERM);
            watch.child.try_wait().unwrap()
        });
        println!("ended {:?} after the first signal", begun.elapsed());
        // With one signal, each of the two readers has two seconds.
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        assert!(status.signal().is_some(), "{status}");
    });
}
