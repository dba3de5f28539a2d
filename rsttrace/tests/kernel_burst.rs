//! Every reset of a burst is accounted for, whatever the buffer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::net::{TcpListener, TcpStream};

use kernel::{Link, Run, abort, await_refusal, closed_port, is_sent_by_the_stack};
use nix::sys::signal::Signal;

/// Half by linger 0, half by SYNs to a closed port.
const BURST: u64 = 10_000;
/// Other programs of this machine may send resets, which the tracer counts, too; then the round says nothing.
const ROUNDS: usize = 6;

#[test]
#[ignore = "needs root"]
fn the_ring_accounts_for_each_reset() {
    accounts_for_each("ring");
}

#[test]
#[ignore = "needs root"]
fn perf_buffers_account_for_each_reset() {
    accounts_for_each("perf");
}

/// Those it has room for, and those that a tiny buffer cannot hold.
fn accounts_for_each(transport: &'static str) {
    adds_up(&["--transport", transport], Tracer::Runs);
    adds_up(
        &["--transport", transport, "--buffer", "64KiB"],
        Tracer::IsHeldUp,
    );
}

#[derive(Clone, Copy, PartialEq)]
enum Tracer {
    Runs,
    /// Stopped during the burst, so that its buffer overflows for certain.
    IsHeldUp,
}

fn adds_up(arguments: &[&str], tracer: Tracer) {
    let arguments = [&["--every", "--noise"], arguments].concat();
    let link = Link::new();
    for _ in 0..ROUNDS {
        let run = Run::with(&link, &arguments, |watch| {
            if tracer == Tracer::IsHeldUp {
                watch.signal(Signal::SIGSTOP);
            }
            // Both kinds at once, in two namespaces, so that several CPUs send.
            std::thread::scope(|scope| {
                scope.spawn(|| link.near.enter(abort_connections));
                scope.spawn(|| link.far.enter(knock_at_a_closed_port));
            });
            watch.signal(Signal::SIGCONT);
        });
        // A segment that is sent once more draws one more.
        if run.is_alone() && run.staged == BURST {
            return check(&run, tracer);
        }
        println!("others sent resets meanwhile: once more");
    }
    panic!("this machine was never quiet: {ROUNDS} rounds");
}

fn check(run: &Run, tracer: Tracer) {
    let summary = &run.ended.stderr;
    let sent = run.total();
    let sum = sent.detailed + sent.suppressed + sent.lost;
    assert_eq!((sent.seen, sum), (BURST, BURST), "{summary}");
    assert!(!summary.contains("unaccounted for"), "{summary}");
    if tracer == Tracer::IsHeldUp {
        assert!(sent.detailed > 0 && sent.lost > 0, "{summary}");
    }
    let shown: Vec<_> = run.records().filter(is_sent_by_the_stack).collect();
    assert_eq!(shown.len() as u64, sent.detailed, "{summary}");
    for record in shown {
        let cause = record["verdict"]["cause"].as_str().unwrap_or_default();
        // The event is enough, whatever else was lost.
        assert!(["linger_zero", "port_closed"].contains(&cause), "{record}");
    }
}

fn abort_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..BURST / 2 {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap();
        abort(client);
        drop(accepted);
    }
}

fn knock_at_a_closed_port() {
    for _ in 0..BURST / 2 {
        await_refusal(closed_port(9));
    }
}
