//! Every reset of a burst is accounted for, whatever the buffer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::net::{TcpListener, TcpStream};

use kernel::{
    Ended, Namespace, Watch, await_refusal, closed_port, is_sent_by_the_stack, netns_inode,
    out_resets_by_namespace, private_namespace, set_linger_zero,
};
use nix::sys::signal::Signal;
use serde_json::Value;

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

fn adds_up(arguments: &[&'static str], tracer: Tracer) {
    let arguments = [&["--every", "--noise"], arguments].concat();
    private_namespace(move || {
        let namespace = Namespace::new();
        let ours = [netns_inode(), namespace.inode()];
        for _ in 0..ROUNDS {
            let before = out_resets_by_namespace();
            let watch = Watch::start(&arguments);
            if tracer == Tracer::IsHeldUp {
                watch.signal(Signal::SIGSTOP);
            }
            burst(&namespace);
            watch.signal(Signal::SIGCONT);
            let ended = watch.end(Signal::SIGINT);
            let after = out_resets_by_namespace();

            let staged: u64 = ours.iter().map(|ours| after[ours] - before[ours]).sum();
            assert_eq!(staged, BURST, "staging");
            let mut others = (before, after);
            for ours in &ours {
                others.0.remove(ours);
                others.1.remove(ours);
            }
            // Namespaces that came and went between the two counts show in records at best.
            let strange = |record: &Value| !ours.iter().any(|ours| record["netns"] == *ours);
            if others.0 != others.1 || ended.records().iter().any(strange) {
                println!("others sent resets or made namespaces meanwhile: once more");
                continue;
            }
            check(&ended, tracer);
            return;
        }
        panic!("this machine was never quiet: {ROUNDS} rounds");
    });
}

fn check(ended: &Ended, tracer: Tracer) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let sent = ended.total("sent");
    let summary = &ended.stderr;
    assert_eq!(sent.seen, BURST, "{summary}");
    let sum = sent.detailed + sent.suppressed + sent.lost;
    assert_eq!(sum, BURST, "{summary}");
    assert!(!summary.contains("unaccounted for"), "{summary}");
    if tracer == Tracer::IsHeldUp {
        assert!(sent.detailed > 0 && sent.lost > 0, "{summary}");
    }
    let records = ended.records();
    let shown: Vec<_> = records
        .iter()
        .filter(|record| is_sent_by_the_stack(record))
        .collect();
    assert_eq!(shown.len() as u64, sent.detailed, "{summary}");
    for record in shown {
        let cause = record["verdict"]["cause"].as_str().unwrap_or_default();
        // The event says it all, whatever else was lost.
        assert!(["linger_zero", "port_closed"].contains(&cause), "{record}");
    }
}

/// Both kinds at once, in two namespaces, so that several CPUs send.
fn burst(namespace: &Namespace) {
    std::thread::scope(|scope| {
        // In this thread's namespace.
        scope.spawn(abort_connections);
        scope.spawn(|| namespace.enter(knock_at_a_closed_port));
    });
}

fn abort_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..BURST / 2 {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap();
        set_linger_zero(&client);
        drop(client);
        drop(accepted);
    }
}

fn knock_at_a_closed_port() {
    for _ in 0..BURST / 2 {
        await_refusal(closed_port(9));
    }
}
