//! Connects and connections that fail without a reset, and what only looks like that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use kernel::{
    Ended, Namespace, Watch, close_with_linger_zero, connected_pair, eventually, netns_inode,
    rsttrace, run,
};
use nix::sys::signal::Signal;
use rsttrace_lab::namespace;
use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

const ECONNREFUSED: i64 = 111;
const EADDRNOTAVAIL: i64 = 99;
const ETIMEDOUT: i64 = 110;
const EHOSTUNREACH: i64 = 113;

/// A namespace in which the kernel gives up soon.
fn impatient(test: impl FnOnce() + Send) {
    let namespace = Namespace::new();
    namespace.set("ipv4/tcp_syn_retries", "1");
    namespace.set("ipv4/tcp_retries2", "2");
    namespace.set("ipv4/tcp_orphan_retries", "2");
    namespace.enter(test);
}

/// What a packet filter does with segments to or from a port of this namespace.
fn filter(rules: &str) {
    let table = format!(
        "table ip failures {{ chain input {{ type filter hook input priority 0; {rules} }}; }}"
    );
    run("nft", &[&table]);
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Failures without a reset in this namespace.
fn failures(ended: &Ended) -> Vec<Value> {
    let schema = rsttrace(&["schema", "failure"]).output().unwrap().stdout;
    let schema = jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap();
    let all = ended.values().filter(|value| {
        value["schema"] == "rsttrace.failure.v1" && value["netns"] == netns_inode()
    });
    all.inspect(|failure| {
        let errors: Vec<_> = schema.iter_errors(failure).collect();
        assert!(errors.is_empty(), "{errors:?}: {failure:#}");
    })
    .collect()
}

/// The failures of one kind.
fn of_kind<'a>(failures: &'a [Value], kind: &str) -> Vec<&'a Value> {
    failures
        .iter()
        .filter(|failure| failure["verdict"]["kind"] == kind)
        .collect()
}

/// The only failure of a kind, with its severity, of this process.
fn only<'a>(failures: &'a [Value], kind: &str, severity: &str) -> &'a Value {
    let found = of_kind(failures, kind);
    let [failure] = found[..] else {
        panic!("not one {kind}: {failures:#?}");
    };
    assert_eq!(failure["verdict"]["severity"], severity, "{failure:#}");
    assert_eq!(failure["process"]["pid"], std::process::id(), "{failure:#}");
    let advice = failure["verdict"]["advice"].as_array().unwrap();
    assert!(!advice.is_empty(), "{failure:#}");
    failure
}

fn number(failure: &Value, key: &str) -> f64 {
    let value = failure[key].as_f64();
    value.unwrap_or_else(|| panic!("no {key}: {failure:#}"))
}

#[test]
#[ignore = "needs root"]
fn connects_that_fail_are_told_with_their_error_and_those_that_do_not_are_not() {
    impatient(|| {
        filter(
            "tcp dport 81 drop; tcp dport 82 reject; tcp dport 83 reject with icmp host-unreachable;",
        );
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("history.db");
        let recording = folder.path().join("events.rst");
        let watch = Watch::own_namespace(&[
            "--noise",
            "--store",
            store.to_str().unwrap(),
            "--record",
            recording.to_str().unwrap(),
        ]);
        let fails = |port| TcpStream::connect(at(port)).unwrap_err();
        assert_eq!(fails(81).kind(), ErrorKind::TimedOut);
        assert_eq!(fails(82).kind(), ErrorKind::ConnectionRefused);
        assert_eq!(fails(83).kind(), ErrorKind::HostUnreachable);
        assert_eq!(fails(84).kind(), ErrorKind::ConnectionRefused);
        for wait in [1_500, 400, 1] {
            let wait = Duration::from_millis(wait);
            let error = TcpStream::connect_timeout(&at(81), wait).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        // Both ends of a connection that closes as it should.
        let listener = listener();
        let (client, server) = connected_pair(&listener);
        drop(client);
        drop(server);
        watch.await_record("the last connect", |record| {
            record["verdict"]["cause"] == "port_closed" && record["local"]["port"] == 84
        });
        let ended = watch.end(Signal::SIGINT);
        let failures = failures(&ended);

        let timeout = only(&failures, "connect_timeout", "refused");
        assert_eq!(timeout["error"], ETIMEDOUT);
        assert_eq!(timeout["error_name"], "ETIMEDOUT");
        assert_eq!(timeout["state"], "SYN_SENT");
        assert_eq!(timeout["remote"]["port"], 81);
        assert_eq!(timeout["incident"]["role"], "first");
        assert!(number(timeout, "syns") >= 2.0, "{timeout:#}");
        assert!(number(timeout, "tried") >= 1.0, "{timeout:#}");
        assert_eq!(
            only(&failures, "connect_rejected", "refused")["error"],
            ECONNREFUSED
        );
        assert_eq!(
            only(&failures, "connect_unreachable", "refused")["error"],
            EHOSTUNREACH
        );
        let given_up = of_kind(&failures, "connect_abandoned");
        let [long, short] = given_up[..] else {
            panic!("not two: {failures:#?}");
        };
        assert_eq!(long["verdict"]["severity"], "refused");
        assert!((1.4..30.0).contains(&number(long, "tried")), "{long:#}");
        assert_eq!(long.get("error"), None);
        assert_eq!(long["process"]["role"], "closer");
        assert_eq!(short["verdict"]["severity"], "noise");
        assert_eq!(short["syns"], 1);
        assert_eq!(failures.len(), 5, "{failures:#?}");

        // The history and the recording say the same.
        let told = |arguments: &[&str]| {
            let output = rsttrace(arguments).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let values = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            values.collect::<Vec<_>>()
        };
        let store = store.to_str().unwrap();
        let by_icmp = ["--failure", "connect_unreachable,connect_rejected"];
        let stored = told(&[&["history", "--store", store, "-o", "json"], &by_icmp[..]].concat());
        assert_eq!(stored.len(), 2, "{stored:#?}");
        let own = netns_inode().to_string();
        let lost = ["--severity", "fault", "--netns", &own];
        let none = told(&[&["history", "--store", store, "-o", "json"], &lost[..]].concat());
        assert_eq!(none, Vec::<Value>::new());
        let shown = ["-o", "json", "--noise", "--netns", &own];
        let replayed = told(&[&["replay", recording.to_str().unwrap()], &shown[..]].concat());
        let all: Vec<Value> = ended.values().collect();
        assert!(replayed == all, "{replayed:#?}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_connect_without_a_free_local_port_is_told() {
    impatient(|| {
        let watch = Watch::own_namespace(&[]);
        let listener = listener();
        let own = namespace::own_inode().unwrap();
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        std::fs::write(range, "40000 40001").unwrap();
        let mut open = Vec::new();
        let error = loop {
            match TcpStream::connect(listener.local_addr().unwrap()) {
                Ok(stream) => open.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error().map(i64::from), Some(EADDRNOTAVAIL));
        watch.await_record("the failure", |record| {
            record["verdict"]["kind"] == "no_local_port" && record["netns"] == own
        });
        let ended = watch.end(Signal::SIGINT);
        let failures = failures(&ended);
        let failure = only(&failures, "no_local_port", "refused");
        assert_eq!(failure["error"], EADDRNOTAVAIL);
        assert_eq!(failure["syns"], 0);
        assert_eq!(failure["remote"]["port"], port_of(&listener));
        assert_eq!(failures.len(), 1, "{failures:#?}");
    });
}

#[test]
#[ignore = "needs root"]
fn connections_that_fall_silent_are_told_once_and_resets_are_not_failures() {
    impatient(|| {
        let watch = Watch::own_namespace(&["--noise"]);
        let listener = listener();
        let open = || connected_pair(&listener);
        // Look-alikes: a reset, a close, a keepalive timeout (which sends a reset), a write after the peer's close.
        close_with_linger_zero(&listener);
        let (client, server) = open();
        drop(server);
        let mut gone = client;
        eventually("the end of a connection", || gone.write(b"x").err());
        let (kept, mut kept_peer) = open();
        let (silent, _silent_peer) = open();
        let (impatient, _impatient_peer) = open();
        let (closing, _closing_peer) = open();
        let (finishing, _finishing_peer) = open();
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(1))
            .with_interval(Duration::from_secs(1))
            .with_retries(1);
        SockRef::from(&kept).set_tcp_keepalive(&keepalive).unwrap();
        SockRef::from(&impatient)
            .set_tcp_user_timeout(Some(Duration::from_millis(700)))
            .unwrap();
        let port = port_of(&listener);
        filter(&format!("tcp dport {port} drop; tcp sport {port} drop;"));
        let ports = [&silent, &impatient, &closing, &finishing]
            .map(|stream| stream.local_addr().unwrap().port());
        (&silent).write_all(&[0; 100]).unwrap();
        (&impatient).write_all(b"x").unwrap();
        (&closing).write_all(&[0; 50]).unwrap();
        drop(closing);
        drop(finishing);
        for mut stream in [silent, impatient, kept] {
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        for port in ports {
            watch.await_record("each failure", |record| {
                record["schema"] == "rsttrace.failure.v1" && record["local"]["port"] == port
            });
        }
        let _ = kept_peer.write(b"x");
        let ended = watch.end(Signal::SIGINT);
        let failures = failures(&ended);

        let lost = only(&failures, "retransmission_timeout", "fault");
        assert_eq!(lost["local"]["port"], ports[0]);
        assert_eq!(lost["error"], ETIMEDOUT);
        assert_eq!(lost["unacknowledged"], 100);
        assert!(number(lost, "retransmits") >= 2.0, "{lost:#}");
        assert!(number(lost, "silent") >= number(lost, "tried"), "{lost:#}");
        // One is counted in ticks.
        assert!(
            number(lost, "age") + 0.1 >= number(lost, "silent"),
            "{lost:#}"
        );
        let set = only(&failures, "user_timeout", "fault");
        assert_eq!(set["local"]["port"], ports[1]);
        let closes = of_kind(&failures, "close_timeout");
        let severities: Vec<_> = ports[2..]
            .iter()
            .map(|port| {
                let of_port = closes.iter().find(|it| it["local"]["port"] == *port);
                &of_port.unwrap()["verdict"]["severity"]
            })
            .collect();
        assert_eq!(severities, ["fault", "noise"]);
        assert_eq!(failures.len(), 4, "{failures:#?}");
        // Its reset is told, and nothing else.
        let of_keepalive = ended.records().into_iter().filter(|record| {
            record["verdict"]["cause"] == "keepalive_timeout" && record["netns"] == netns_inode()
        });
        assert_eq!(of_keepalive.count(), 1);
    });
}

/// The limit of connection tracking tables, set for a moment; it is one for all namespaces.
struct ConntrackLimit(String);

impl ConntrackLimit {
    const FILE: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

    fn set(limit: &str) -> Self {
        let before = std::fs::read_to_string(Self::FILE).unwrap();
        std::fs::write(Self::FILE, limit).unwrap();
        Self(before)
    }
}

impl Drop for ConntrackLimit {
    fn drop(&mut self) {
        std::fs::write(Self::FILE, self.0.trim()).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn a_full_connection_tracking_table_is_told() {
    let namespace = Namespace::new();
    let (watch, listener) = namespace.enter(|| {
        filter("ct state new accept;");
        (Watch::own_namespace(&[]), listener())
    });
    let address = listener.local_addr().unwrap();
    {
        let _limit = ConntrackLimit::set("4");
        namespace.enter(|| {
            let mut open = Vec::new();
            eventually("a connect that is dropped", || {
                let wait = Duration::from_millis(1_200);
                match TcpStream::connect_timeout(&address, wait) {
                    Ok(stream) => {
                        open.push(stream);
                        None
                    }
                    Err(error) => Some(error),
                }
            });
        });
    }
    let ended = watch.end(Signal::SIGINT);
    let failures = namespace.enter(|| failures(&ended));
    let full = of_kind(&failures, "conntrack_full");
    let [full] = full[..] else {
        panic!("not one: {failures:#?}");
    };
    assert_eq!(full["verdict"]["severity"], "refused");
    assert!(full["conntrack"]["dropped"].as_u64().unwrap() >= 1);
    assert!(full["conntrack"]["entries"].as_u64().unwrap() >= 4);
    assert_eq!(of_kind(&failures, "connect_abandoned").len(), 1);
}

#[test]
#[ignore = "needs root"]
fn a_listener_whose_accept_queue_is_full_is_told_and_doctor_names_it() {
    impatient(|| {
        let watch = Watch::own_namespace(&[]);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&at(0).into()).unwrap();
        socket.listen(1).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        // One more than the backlog.
        let _queued = [0, 1].map(|_| TcpStream::connect(address).unwrap());
        let mut failed = 0;
        eventually("connects that nobody answers", || {
            let wait = Duration::from_millis(1_500);
            failed += u32::from(TcpStream::connect_timeout(&address, wait).is_err());
            (failed == 2).then_some(())
        });
        let doctor = rsttrace(&["doctor", "-o", "json"]).output().unwrap();
        let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let found = doctor["findings"].as_array().unwrap();
        let full = found
            .iter()
            .find(|it| it["kind"] == "accept_queue_full")
            .unwrap_or_else(|| panic!("{doctor:#}"));
        assert_eq!(full["port"], address.port());
        assert_eq!(full["processes"][0]["pid"], std::process::id());
        assert!(doctor["counters"]["listen_overflows"].as_u64().unwrap() > 0);

        // The end of the trace is the last look.
        let ended = watch.end(Signal::SIGINT);
        let failures = failures(&ended);
        let of_queue = of_kind(&failures, "accept_queue_full");
        assert!(!of_queue.is_empty(), "{failures:#?}");
        let mut dropped = 0;
        for failure in of_queue {
            assert_eq!(failure["local"]["port"], address.port());
            assert_eq!(failure["accept_queue"]["length"], 2);
            assert_eq!(failure["accept_queue"]["limit"], 1);
            assert_eq!(failure["process"]["pid"], std::process::id());
            assert_eq!(failure["verdict"]["severity"], "refused");
            dropped += failure["accept_queue"]["dropped"].as_u64().unwrap();
        }
        // At least a SYN of each.
        assert!(dropped >= 2, "{failures:#?}");
        assert_eq!(of_kind(&failures, "connect_abandoned").len(), 2);
    });
}
