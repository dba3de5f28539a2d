//! Floods: exact counts, and details of the resets among them that are of another kind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kernel::{
    FAR, FAR_TOO, Link, NEAR, NEAR_TOO, Run, abort, await_reset, connected_from, end_unread,
    eventually, is_sent_by_the_stack, private_namespace, run, sustain, syn, volley,
};
use rsttrace::kernel::{Options, Tracer};
use rsttrace_lab::{Flags, Segment};
use serde_json::Value;

/// Connections that are reset in a storm: half by their client, half by their server.
const STORM: u64 = 20_000;
const SERVICE: u16 = 8_080;
const NETWORK: &str = "198.18.1.0/24";

#[test]
#[ignore = "needs root"]
fn a_storm_adds_up_and_each_reset_is_counted_once() {
    private_namespace(|| {
        let link = Link::new();
        let staged = Run::of(&link, &["--noise"], || storm(&link, NEAR, SERVICE, STORM));
        assert_eq!(staged.staged, STORM);
        let (described, counted) = staged.check_sums();
        println!(
            "{described} described, {counted} counted; {:?}",
            staged.total()
        );
        // A hundred of each kind at once, twenty a second.
        assert!((200..STORM / 4).contains(&described), "{described}");
        for sum in staged.sums().filter(|sum| sum["direction"] == "sent") {
            assert_eq!(sum["cause"], "linger_zero", "{sum}");
            assert_eq!(sum["remote_network"], NETWORK, "{sum}");
            let [near, far] = link.inodes();
            if sum["netns"] == near {
                assert_eq!(
                    (&sum["remote_port"], sum.get("local_port")),
                    (&SERVICE.into(), None)
                );
            } else {
                assert_eq!(sum["netns"], far, "{sum}");
                assert_eq!(
                    (&sum["local_port"], sum.get("remote_port")),
                    (&SERVICE.into(), None)
                );
            }
        }
        for record in staged
            .records()
            .filter(|record| record["direction"] == "sent")
        {
            assert_eq!(record["verdict"]["cause"], "linger_zero", "{record}");
            assert_eq!(record["verdict"]["confidence"], "certain", "{record}");
        }
        staged.check_chains();
        staged.check_blames(&["unknown"]);
    });
}

/// Every end waits for its reset, so that both ends of each have a record.
fn storm(link: &Link, from: Ipv4Addr, port: u16, connections: u64) {
    let listener = link.listen(SocketAddr::from((FAR, port)));
    link.near.enter(|| {
        for number in 0..connections {
            let (client, server) = connected_from(SocketAddr::from((from, 0)), &listener);
            let (closes, waits) = if number % 2 == 0 {
                (client, server)
            } else {
                (server, client)
            };
            abort(closes);
            await_reset(&waits);
        }
    });
}

/// SYNs from one network to a closed port.
fn fixed(number: u32) -> Segment {
    let host = (1 + number % 200) as u8;
    let port = 20_000 + (number % 40_000) as u16;
    let from = (Ipv4Addr::new(198, 51, 100, host), port);
    syn(from, (FAR, CLOSED), number)
}

/// SYNs from one address to port after port.
fn scan(number: u32) -> Segment {
    let from = (Ipv4Addr::new(203, 0, 113, 5), 61_000);
    syn(from, (FAR, 1 + (number % 5_000) as u16), number)
}

/// SYNs from anywhere.
fn random(number: u32) -> Segment {
    random_to(CLOSED, number)
}

/// SYNs to a port that is translated to the closed one.
fn translated(number: u32) -> Segment {
    random_to(TRANSLATED, number)
}

fn random_to(port: u16, number: u32) -> Segment {
    let [a, b, c, _] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
    let from = Ipv4Addr::new(11 + a % 100, b, c, 9);
    syn(
        (from, 1_024 + (number % 60_000) as u16),
        (FAR, port),
        number,
    )
}

/// SYNs to the port that the firewall rejects.
fn rejected(number: u32) -> Segment {
    Segment {
        destination: SocketAddr::from((FAR, REJECTED)),
        ..fixed(number)
    }
}

/// The same segment of a connection that nobody knows, again and again.
fn stray(_: u32) -> Segment {
    Segment {
        flags: Flags::ACK,
        ack: 77,
        ..syn((Ipv4Addr::new(198, 51, 100, 7), 40_000), (FAR, CLOSED), 1)
    }
}

const CLOSED: u16 = 9;
const REJECTED: u16 = 7_000;
const TRANSLATED: u16 = 7_001;
/// A second, of each flood.
const RATE: u32 = 10_000;

/// Does something while floods are going on, each well beyond what is described.
fn under_fire(link: &Link, floods: &[fn(u32) -> Segment], act: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let fired: Vec<AtomicU64> = floods.iter().map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for (flood, fired) in floods.iter().zip(&fired) {
            let stop = &stop;
            scope.spawn(move || link.near.enter(|| sustain(RATE, stop, fired, flood)));
        }
        // The floods have to end also after a panic, or the scope would wait for them.
        let stopped = StopAtEnd(&stop);
        eventually("floods", || {
            let all = fired
                .iter()
                .all(|fired| fired.load(Ordering::Relaxed) > 5_000);
            all.then_some(())
        });
        act();
        drop(stopped);
    });
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs root"]
fn floods_hide_no_reset_of_another_kind() {
    private_namespace(|| {
        let link = Link::new();
        let listener = link.listen(SocketAddr::from((FAR_TOO, 8_443)));
        let mut clients = Vec::new();
        let staged = Run::of(&link, &["--noise"], || {
            under_fire(&link, &[fixed, scan, random], || {
                clients = link
                    .near
                    .enter(|| (0..20).map(|number| lose_two(&listener, number)).collect());
            });
        });
        println!("{:?} {:?}", staged.tally(), staged.total());
        let records: Vec<Value> = staged.records().collect();
        for (unread, aborted) in clients {
            // (client, cause at the sender, whether the server sent it)
            for (client, cause, by_server) in [
                (unread, "close_with_unread_data", true),
                (aborted, "linger_zero", false),
            ] {
                let of_it = records.iter().filter(|record| {
                    [&record["local"], &record["remote"]]
                        .iter()
                        .any(|end| is_at(end, client))
                });
                let of_it: Vec<_> = of_it.collect();
                let [sent, received] = of_it[..] else {
                    panic!("not two records of {client}: {of_it:?}");
                };
                assert_eq!(sent["direction"], "sent", "{sent}");
                assert_eq!(is_at(&sent["remote"], client), by_server, "{sent}");
                assert_eq!(received["direction"], "received", "{received}");
                for (record, cause, hooks) in [
                    (sent, cause, ["tcp:tcp_send_reset", "tc:egress"]),
                    (
                        received,
                        "reset_by_peer",
                        ["tcp:tcp_receive_reset", "tc:ingress"],
                    ),
                ] {
                    assert_eq!(record["verdict"]["cause"], cause, "{record}");
                    assert_eq!(record["verdict"]["confidence"], "certain", "{record}");
                    // A client that has sent nothing leaves as a health check does.
                    let impact = if by_server { "fault" } else { "noise" };
                    assert_eq!(record["incident"]["severity"], impact, "{record}");
                    assert_eq!(
                        record["kernel"]["hook"],
                        serde_json::json!(hooks),
                        "{record}"
                    );
                    assert_eq!(record["process"]["pid"], std::process::id(), "{record}");
                    assert!(record["socket"]["cookie"].is_number(), "{record}");
                }
            }
        }
        staged.check_sums();
        staged.check_blames(&["unknown"]);
    });
}

/// A connection that its server closes with unread data, and one that its client aborts; their clients' addresses. Each has a port of
/// its own: the kernel gives that of an aborted connection away again at once.
fn lose_two(listener: &TcpListener, number: u16) -> (SocketAddr, SocketAddr) {
    let client = |port| SocketAddr::from((NEAR_TOO, port));
    let (unread, aborted) = (client(20_000 + number), client(21_000 + number));
    end_unread(connected_from(unread, listener));
    let (client, server) = connected_from(aborted, listener);
    abort(client);
    await_reset(&server);
    (unread, aborted)
}

fn is_at(end: &Value, address: SocketAddr) -> bool {
    end["address"] == address.ip().to_string() && end["port"] == address.port()
}

#[test]
#[ignore = "needs root"]
fn a_firewalls_reset_stays_one_among_answers_of_the_stack() {
    private_namespace(|| {
        let link = Link::new();
        reject(&link);
        let mut clients = Vec::new();
        let staged = Run::of(&link, &["--noise"], || {
            under_fire(&link, &[fixed, random], || {
                clients = link.near.enter(|| (0..20).map(be_rejected).collect());
            });
        });
        println!("{:?} {:?}", staged.tally(), staged.total());
        for client in clients {
            let sent = staged
                .records()
                .find(|record| record["direction"] == "sent" && is_at(&record["remote"], client));
            let sent = sent.unwrap_or_else(|| panic!("nothing of {client}"));
            assert_eq!(sent["verdict"]["cause"], "firewall_reject", "{sent}");
            assert_eq!(sent["verdict"]["origin"], "local_firewall", "{sent}");
        }
        for record in staged
            .records()
            .filter(|record| record["direction"] == "sent")
        {
            if record["local"]["port"] != REJECTED {
                assert_eq!(record["verdict"]["cause"], "port_closed", "{record}");
            }
        }
        for sum in staged.sums().filter(|sum| sum["direction"] == "sent") {
            assert_eq!(sum["cause"], "port_closed", "{sum}");
        }
        staged.check_sums();
    });
}

fn reject(link: &Link) {
    let rule = format!(
        "table ip wall {{ chain input {{ type filter hook input priority 0; \
         tcp dport {REJECTED} reject with tcp reset; }}\n }}"
    );
    link.far.enter(|| run("nft", &[&rule]));
}

/// The client's address.
fn be_rejected(number: u16) -> SocketAddr {
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    client
        .bind(&SocketAddr::from((NEAR_TOO, 20_000 + number)).into())
        .unwrap();
    let address = client.local_addr().unwrap().as_socket().unwrap();
    let refusal = client.connect(&SocketAddr::from((FAR_TOO, REJECTED)).into());
    assert_eq!(refusal.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    address
}

#[test]
#[ignore = "needs root"]
fn a_flood_of_a_firewalls_resets_is_reported_as_such() {
    private_namespace(|| {
        let link = Link::new();
        reject(&link);
        let staged = Run::of(&link, &["--noise"], || {
            link.near.enter(|| volley(0..20_000, rejected));
        });
        println!("{:?} {:?}", staged.tally(), staged.total());
        assert_eq!(staged.staged, 0, "the stack sent some");
        let is_sent = |value: &Value| value["direction"] == "sent";
        let records: Vec<_> = staged.records().filter(is_sent).collect();
        let described = records.len() as u64;
        assert!((100..1_000).contains(&described), "{described}");
        for record in records {
            assert_eq!(record["verdict"]["cause"], "firewall_reject", "{record}");
        }
        let sums: Vec<_> = staged.sums().filter(is_sent).collect();
        let counted: u64 = sums.iter().map(|sum| sum["count"].as_u64().unwrap()).sum();
        assert_eq!(counted, 20_000 - described);
        for sum in sums {
            let cause = sum["cause"].as_str();
            assert!(
                cause.is_none_or(|cause| cause == "firewall_reject"),
                "{sum}"
            );
        }
    });
}

#[test]
#[ignore = "needs root"]
fn one_flow_that_is_reset_again_and_again_is_counted_exactly() {
    private_namespace(|| {
        let link = Link::new();
        let begin = Instant::now();
        let staged = Run::of(&link, &["--noise"], || {
            link.near.enter(|| volley(0..20_000, stray));
        });
        println!("{:?} {:?}", staged.tally(), staged.total());
        assert!(staged.staged > 10_000, "staging: {}", staged.staged);
        let (described, _) = staged.check_sums();
        let most = 100 + 20 * (begin.elapsed().as_secs() + 1);
        assert!(
            (100..=most).contains(&described),
            "{described} of at most {most}"
        );
        staged.check_blames(&["unknown"]);
    });
}

#[test]
#[ignore = "needs root"]
fn where_addresses_are_translated_nobody_is_blamed_wrongly() {
    private_namespace(|| {
        let link = Link::new();
        let (port, aborted) = (TRANSLATED, TRANSLATED + 1);
        let there = format!(
            "table ip there {{ chain first {{ type nat hook prerouting priority -100; \
             tcp dport {port} dnat to {FAR}:{CLOSED}; }}\n }}"
        );
        let here = format!(
            "table ip here {{ chain last {{ type nat hook postrouting priority 100; \
             tcp dport {aborted} snat to {NEAR_TOO}; }}\n }}"
        );
        link.far.enter(|| run("nft", &[&there]));
        link.near.enter(|| run("nft", &[&here]));
        let staged = Run::of(&link, &["--noise"], || {
            under_fire(&link, &[translated], || storm(&link, NEAR, aborted, 5_000));
        });
        println!("{:?} {:?}", staged.tally(), staged.total());
        staged.check_blames(&[]);
        for record in staged.records().filter(is_sent_by_the_stack) {
            let cause = record["verdict"]["cause"].as_str().unwrap();
            assert!(["linger_zero", "port_closed"].contains(&cause), "{record}");
        }
        assert_eq!(staged.total().lost, 0, "{}", staged.ended.stderr);
    });
}

#[test]
#[ignore = "needs root"]
fn every_reset_is_described_if_that_is_asked_for() {
    private_namespace(|| {
        let link = Link::new();
        let arguments = ["--noise", "--every", "--buffer", "64MiB"];
        let staged = Run::of(&link, &arguments, || storm(&link, NEAR, SERVICE, 3_000));
        assert_eq!(staged.check_sums(), (3_000, 0));
        assert_eq!(staged.total().suppressed, 0);
        staged.check_chains();
    });
}

#[test]
#[ignore = "needs root"]
fn the_rate_of_details_is_that_asked_for() {
    private_namespace(|| {
        let link = Link::new();
        for rate in [5_u64, 200] {
            let lasts = Duration::from_secs(3);
            let mut took = Duration::ZERO;
            let text = rate.to_string();
            let staged = Run::of(&link, &["--noise", "--details", &text], || {
                let begin = Instant::now();
                under_fire(&link, &[fixed], || {
                    eventually("its time", || (begin.elapsed() >= lasts).then_some(()));
                });
                took = begin.elapsed();
            });
            let (described, _) = staged.check_sums();
            println!("--details {rate}: {described} described in {took:?}");
            let more = rate as f64 * took.as_secs_f64();
            let bounds = 100 + (more * 0.7) as u64..=110 + (more * 1.2) as u64;
            assert!(bounds.contains(&described), "{described} not in {bounds:?}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn exact_counts_by_class_add_up_to_those_of_the_hooks() {
    private_namespace(|| {
        let link = Link::new();
        let mut tracer = Tracer::start(&Options {
            detail_interval: Some(Duration::from_millis(50)),
            ..Options::default()
        })
        .unwrap();
        storm(&link, NEAR, SERVICE, 3_000);
        link.near.enter(|| volley(0..5_000, fixed));
        link.near.enter(|| volley(0..2_000, stray));
        tracer.stop();
        let counters = tracer.counters().unwrap();
        let classes = tracer.flood().classes().unwrap();
        println!("{counters:?}\n{classes:?}");
        let sum =
            |of: fn(&rsttrace::kernel::ClassTotal) -> u64| classes.iter().map(of).sum::<u64>();
        assert_eq!(
            sum(|total| total.seen),
            counters.sent_seen + counters.received_seen
        );
        assert_eq!(
            sum(|total| total.suppressed),
            counters.sent_suppressed + counters.received_suppressed
        );
        assert!(counters.sent_seen > 5_000 && counters.sent_suppressed > 2_000);
    });
}
