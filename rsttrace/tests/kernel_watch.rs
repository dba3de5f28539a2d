//! `rsttrace watch` with real resets: records, filters, stop conditions, latency.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use kernel::{
    LIMIT, Watch, abort, await_refusal, await_reset, close_with_linger_zero,
    close_with_unread_data, closed_port, connected_pair, end_burst, eventually, netns_inode,
    private_namespace, rsttrace, run,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// What DESIGN promises, from the event to the record.
const PROMISED: Duration = Duration::from_millis(250);
/// On a loaded machine tracer and test wait for a CPU; the fastest records show that this is not what is needed.
const SCHEDULING: Duration = Duration::from_millis(500);

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn has_port(record: &Value, port: u16) -> bool {
    record["local"]["port"] == port || record["remote"]["port"] == port
}

#[test]
#[ignore = "needs root"]
fn every_line_is_as_the_schema_says_and_both_ends_of_a_reset_share_a_link() {
    private_namespace(|| {
        let schema = rsttrace(&["schema"]).output().unwrap().stdout;
        let schema = jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap();
        let begin = SystemTime::now();
        let watch = Watch::own_namespace(&["--duration", "3s", "--every", "--noise"]);
        let listener = listener();
        let expected = [
            (close_with_linger_zero(&listener), "linger_zero"),
            (close_with_unread_data(&listener), "close_with_unread_data"),
        ];
        await_refusal(closed_port(9));
        await_refusal("[::1]:9".parse().unwrap());
        let dual = TcpListener::bind("[::]:0").unwrap();
        let mapped = TcpStream::connect(("127.0.0.1", dual.local_addr().unwrap().port())).unwrap();
        let address = mapped.local_addr().unwrap();
        let (accepted, _) = dual.accept().unwrap();
        abort(mapped);
        await_reset(&accepted);
        let ended = watch.await_end();

        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(begin.elapsed().unwrap() >= Duration::from_secs(3));
        let mut chains: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for record in ended.records() {
            let errors: Vec<_> = schema.iter_errors(&record).collect();
            assert!(errors.is_empty(), "{errors:?}: {record:#}");
            assert_eq!(record["netns"], netns_inode());
            let chain = record["link"]["id"].as_u64().expect("both ends are here");
            chains.entry(chain).or_default().push(record);
        }
        for chain in chains.values() {
            let directions: Vec<_> = chain.iter().map(|record| &record["direction"]).collect();
            let [sent, received] = &chain[..] else {
                panic!("not two ends: {directions:?}");
            };
            assert_eq!(directions, ["sent", "received"]);
            assert_eq!(sent["local"], received["remote"]);
            assert_eq!(sent["remote"], received["local"]);
            assert_eq!(sent["link"]["role"], "sender");
            assert_eq!(received["link"]["role"], "receiver");
        }
        assert_eq!(chains.len(), 5);
        let mapped = chains
            .values()
            .find(|chain| has_port(&chain[0], address.port()));
        for record in mapped.unwrap() {
            assert_eq!(record["local"]["address"], "127.0.0.1");
            assert_eq!(record["remote"]["address"], "127.0.0.1");
        }
        for (client, cause) in expected {
            let chain = chains
                .values()
                .find(|chain| has_port(&chain[0], client.port()));
            assert_eq!(chain.unwrap()[0]["verdict"]["cause"], cause);
        }
        let six = chains
            .values()
            .find(|chain| chain[0]["local"]["address"] == "::1");
        assert_eq!(six.unwrap()[0]["verdict"]["cause"], "port_closed");
    });
}

#[test]
#[ignore = "needs root"]
fn the_count_ends_it_after_so_many_lines() {
    private_namespace(|| {
        let watch = Watch::own_namespace(&["--count", "3", "--every"]);
        for _ in 0..4 {
            await_refusal(closed_port(9));
        }
        let ended = watch.await_end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.records().len(), 3);
        assert!(
            ended.stderr.contains("\n2 resets, seen 3 times, in "),
            "{}",
            ended.stderr
        );
    });
}

#[test]
#[ignore = "needs root"]
fn signals_end_it_with_the_summary() {
    private_namespace(|| {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let watch = Watch::own_namespace(&["--every"]);
            await_refusal(closed_port(9));
            let ended = watch.end(signal);
            assert_eq!(ended.code, Some(0), "{signal}: {}", ended.stderr);
            assert_eq!(ended.records().len(), 2, "{signal}: {}", ended.stderr);
            assert!(
                ended.stderr.contains("\n1 reset, seen 2 times, in "),
                "{}",
                ended.stderr
            );
            assert!(ended.stderr.contains("no events lost"), "{}", ended.stderr);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_summary_so_far_does_not_end_it() {
    private_namespace(|| {
        let watch = Watch::own_namespace(&["--every"]);
        await_refusal(closed_port(9));
        watch.await_lines(2);
        watch.signal(Signal::SIGUSR1);
        eventually("a summary", || {
            watch.has_said("still tracing").then_some(())
        });
        assert!(watch.has_said("\n1 reset, seen 2 times, in "));
        end_burst();
        await_refusal(closed_port(10));
        watch.await_lines(4);
        let ended = watch.end(Signal::SIGINT);
        assert!(
            ended.stderr.contains("\n2 resets, seen 4 times, in "),
            "{}",
            ended.stderr
        );
    });
}

/// The service manager's socket, and the next message on it.
fn notified(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4_096];
    let length = socket.recv(&mut buffer).expect("a notification");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_service_manager_hears_of_readiness_status_life_and_end() {
    private_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let inode = netns_inode().to_string();
        let mut command = rsttrace(&["watch", "-v", "-o", "json", "--every", "--netns", &inode]);
        command.env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", "200000");
        let watch = Watch::spawn(&mut command);
        let first = notified(&socket);
        assert!(
            first.starts_with("READY=1\nSTATUS=0 resets in ") && first.ends_with("\nWATCHDOG=1"),
            "{first}"
        );
        // Ready means that resets are seen from now on.
        watch.await_classifiers("lo");
        await_refusal(closed_port(9));
        eventually("the count in the status", || {
            let message = notified(&socket);
            assert!(message.ends_with("\nWATCHDOG=1"), "{message}");
            message
                .contains("STATUS=1 reset, seen 2 times, in ")
                .then_some(())
        });
        watch.signal(Signal::SIGTERM);
        eventually("the end", || {
            (notified(&socket) == "STOPPING=1\nSTATUS=stopping").then_some(())
        });
        let ended = watch.await_end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        socket.set_nonblocking(true).unwrap();
        assert_eq!(
            socket.recv(&mut [0; 64]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

#[test]
#[ignore = "needs root"]
fn a_reader_that_goes_away_ends_it_quietly() {
    private_namespace(|| {
        let inode = netns_inode().to_string();
        let arguments = ["watch", "-o", "json", "--netns", &inode];
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = rsttrace(&arguments)
            .stdout(Stdio::from(writer))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(reader);
        let code = eventually("the end", || {
            await_refusal(closed_port(9));
            child.try_wait().unwrap()
        });
        let mut complaints = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut complaints).unwrap();
        assert_eq!(code.code(), Some(0), "{complaints}");
        let lower = complaints.to_lowercase();
        for word in ["error", "pipe", "panic"] {
            assert!(!lower.contains(word), "{complaints}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn filters_choose_while_it_runs() {
    private_namespace(|| {
        let inode = netns_inode().to_string();
        let start = |filter: &[&str]| {
            Watch::start_unready(&[&["--noise", "--netns", &inode], filter].concat())
        };
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let port_text = port.to_string();
        let watches = [
            start(&[]),
            start(&["--port", &port_text]),
            start(&["--not-port", &port_text]),
            start(&["--process", "bash"]),
            start(&["--cause", "linger_zero"]),
            start(&["--direction", "received"]),
        ];
        for watch in &watches {
            watch.await_classifiers("lo");
        }
        let client = close_with_linger_zero(&listener);
        await_refusal(closed_port(9));
        // Last: a tracer that has seen this has seen the others.
        let bash = Command::new("bash")
            .args(["-c", "exec 3<>/dev/tcp/127.0.0.1/10"])
            .stderr(Stdio::null())
            .status();
        assert!(!bash.unwrap().success());
        watches[0].await_record("bash's end", |record| {
            record["direction"] == "received" && has_port(record, 10)
        });

        let shown = watches.map(|watch| {
            let ended = watch.end(Signal::SIGTERM);
            let records = ended.records().into_iter();
            let of: Vec<_> = records
                .map(|record| {
                    let ports = [client.port(), 9, 10];
                    let at = ports.iter().position(|&port| has_port(&record, port));
                    (
                        at.unwrap(),
                        record["direction"].as_str().unwrap().to_owned(),
                    )
                })
                .collect();
            of
        });
        let pairs = |wanted: &[(usize, &str)]| -> Vec<(usize, String)> {
            wanted.iter().map(|&(at, way)| (at, way.into())).collect()
        };
        let (sent, received) = ("sent", "received");
        let [all, with, without, process, cause, direction] = shown;
        assert_eq!(
            all,
            pairs(&[
                (0, sent),
                (0, received),
                (1, sent),
                (1, received),
                (2, sent),
                (2, received)
            ])
        );
        assert_eq!(with, pairs(&[(0, sent), (0, received)]));
        assert_eq!(
            without,
            pairs(&[(1, sent), (1, received), (2, sent), (2, received)])
        );
        assert_eq!(process, pairs(&[(2, received)]));
        assert_eq!(cause, pairs(&[(0, sent)]));
        assert_eq!(
            direction,
            pairs(&[(0, received), (1, received), (2, received)])
        );
    });
}

#[test]
#[ignore = "needs root"]
fn a_record_comes_soon_after_its_event_and_in_order() {
    private_namespace(|| {
        let watch = Watch::own_namespace(&["--every"]);
        let listener = listener();
        for round in 1..=10 {
            close_with_linger_zero(&listener);
            watch.await_lines(2 * round);
        }
        let ended = watch.end(Signal::SIGINT);
        let mut last = SystemTime::UNIX_EPOCH;
        let mut delays = Vec::new();
        for line in &ended.lines {
            let time = line.record()["time"].as_str().unwrap().to_owned();
            let time: SystemTime = time.parse::<jiff::Timestamp>().unwrap().into();
            assert!(time >= last, "out of order");
            last = time;
            // The wall clock may be stepped meanwhile; then this is no delay.
            delays.push(line.arrived.duration_since(time).unwrap_or_default());
        }
        delays.sort();
        println!("delays: {delays:?}");
        assert_eq!(delays.len(), 20);
        assert!(delays[delays.len() / 2] <= PROMISED, "{delays:?}");
        assert!(
            delays[delays.len() - 1] <= PROMISED + SCHEDULING,
            "{delays:?}"
        );
    });
}

#[test]
#[ignore = "needs root"]
fn a_connection_that_dies_of_silence_is_counted_by_process() {
    private_namespace(|| {
        let watch = Watch::own_namespace(&[]);
        let listener = listener();
        let (mut client, server) = connected_pair(&listener);
        let timeout = Duration::from_millis(300);
        let socket = socket2::SockRef::from(&client);
        socket.set_tcp_user_timeout(Some(timeout)).unwrap();
        let port = listener.local_addr().unwrap().port();
        black_hole(port);
        client.write_all(b"into the void").unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(server);
        let ended = watch.end(Signal::SIGINT);
        let resets = ended.records();
        assert!(resets.is_empty(), "{resets:#?}");
        let line = format!("[{}]  user_timeout", std::process::id());
        let summary = &ended.stderr;
        assert!(
            summary.contains("1 failure without a reset: 1 fault"),
            "{summary}"
        );
        assert!(summary.contains(&line), "{summary}");
    });
}

/// Segments to or from this port no longer arrive in this namespace.
fn black_hole(port: u16) {
    let rules = format!(
        "table inet void {{ chain in {{ type filter hook input priority 0; \
         tcp dport {port} drop; tcp sport {port} drop; }}; }}"
    );
    run("nft", &[&rules]);
}

#[test]
#[ignore = "needs root"]
fn a_socket_older_than_the_tool_has_no_age() {
    private_namespace(|| {
        let listener = listener();
        let (older, older_peer) = connected_pair(&listener);
        let address = older.local_addr().unwrap();
        let inode = netns_inode().to_string();
        let table = Watch::spawn(&mut rsttrace(&["watch", "-v", "--netns", &inode]));
        let watch = Watch::own_namespace(&["--every"]);
        table.await_classifiers("lo");
        abort(older);
        await_reset(&older_peer);
        let younger = close_with_linger_zero(&listener);

        let of = |local: SocketAddr| {
            watch.await_record("the closing end", |record| {
                record["direction"] == "sent" && record["local"]["port"] == local.port()
            })
        };
        let (older, younger) = (of(address), of(younger));
        assert_eq!(older["verdict"]["cause"], "linger_zero");
        assert_eq!(older["socket"].get("age"), None, "{older:#}");
        assert_eq!(older["process"]["pid"], std::process::id());
        let age = younger["socket"]["age"].as_f64().unwrap();
        assert!(age < LIMIT.as_secs_f64(), "{age}");

        let shown = table.end(Signal::SIGINT);
        let text: Vec<_> = shown.lines.into_iter().map(|line| line.text).collect();
        let text = text.join("\n");
        let begin = text.find(&format!("sent {address} ")).unwrap();
        // A reset may take several lines; the next one is the other end's.
        let entry = text[begin..].split(" recv ").next().unwrap();
        assert!(entry.contains("before start"), "{text}");
    });
}
