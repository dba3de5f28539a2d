//! `rsttrace probe` finds the idle timeouts of real paths: proxies, conntrack, firewalls, servers.
//!
//! Truth is each path's configuration. All paths are probed side by side, each in namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use kernel::{Route, Server, abort, private_namespace, rsttrace as command_with, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rsttrace::probe::Report;
use serde_json::Value;

/// What a path must be found to do.
struct Truth {
    /// `none`: nothing. Absent: no single timeout.
    mode: Option<&'static str>,
    /// In seconds.
    timeout: Option<f64>,
}

struct Case {
    name: &'static str,
    truth: Truth,
    /// Sets the path up, probes it, gives the report.
    probe: fn() -> Value,
}

const fn found(mode: &'static str, timeout: f64) -> Truth {
    Truth {
        mode: Some(mode),
        timeout: Some(timeout),
    }
}

const CASES: &[Case] = &[
    Case {
        name: "HAProxy, timeout client 3s",
        truth: found("fin_at_expiry", 3.0),
        probe: || haproxy("timeout client 3s\n timeout server 3s"),
    },
    Case {
        name: "HAProxy, timeout client 7s",
        truth: found("fin_at_expiry", 7.0),
        probe: || haproxy("timeout client 7s\n timeout server 7s"),
    },
    Case {
        name: "HAProxy, option nolinger, 4s",
        truth: found("fin_at_expiry", 4.0),
        probe: || haproxy("option nolinger\n timeout client 4s\n timeout server 4s"),
    },
    Case {
        name: "nginx stream, proxy_timeout 4s",
        truth: found("fin_at_expiry", 4.0),
        probe: nginx,
    },
    Case {
        name: "server, linger 0 after 4 s",
        truth: found("rst_at_expiry", 4.0),
        probe: || server(Some(Duration::from_secs(4)), &[]),
    },
    Case {
        name: "DNAT, 5 s, balancer's own stack answers",
        truth: found("late_rst", 5.0),
        probe: || routed(DNAT, "198.51.100.2:80", &[]),
    },
    Case {
        name: "DNAT, 5 s, firewall rejects with reset",
        truth: found("late_rst", 5.0),
        probe: || routed(&format!("{DNAT} {REJECT}"), "198.51.100.2:80", &[]),
    },
    Case {
        name: "DNAT, 5 s, bytes instead of keepalive",
        truth: found("late_rst", 5.0),
        probe: || routed(DNAT, "198.51.100.2:80", &["--send", r"PING\r\n"]),
    },
    Case {
        name: "firewall, 5 s, drops",
        truth: found("silent", 5.0),
        probe: || routed(DROP, "203.0.113.3:8080", &[]),
    },
    Case {
        name: "server that never closes",
        truth: Truth {
            mode: Some("none"),
            timeout: None,
        },
        probe: || server(None, &["--max", "4s"]),
    },
    Case {
        name: "server that is restarted",
        truth: Truth {
            mode: None,
            timeout: None,
        },
        probe: restarted,
    },
];

#[test]
#[ignore = "needs root"]
fn timeouts_of_real_paths_are_found_with_their_mode() {
    let begin = Instant::now();
    let reports: Vec<(&Case, Value)> = thread::scope(|scope| {
        let running: Vec<_> = CASES
            .iter()
            .map(|case| (case, scope.spawn(case.probe)))
            .collect();
        running
            .into_iter()
            .map(|(case, report)| {
                (
                    case,
                    report
                        .join()
                        .unwrap_or_else(|_| panic!("{}: not probed", case.name)),
                )
            })
            .collect()
    });
    for (case, report) in &reports {
        let found = &report["conclusion"];
        eprintln!(
            "{:42} staged {:?} {:?}  concluded {} {} [{} {}] {} {}/{} in {} s",
            case.name,
            case.truth.mode,
            case.truth.timeout,
            found["mode"],
            found["timeout"],
            found["at_least"],
            found["at_most"],
            found["confidence"],
            found["samples"],
            found["of"],
            report["took"],
        );
    }
    eprintln!("all in {:.1} s", begin.elapsed().as_secs_f64());
    for (case, report) in &reports {
        assert_right(case, report);
    }
}

fn assert_right(case: &Case, report: &Value) {
    let found = &report["conclusion"];
    let told = |key: &str| found[key].as_f64();
    let name = case.name;
    assert_eq!(report["schema"], "rsttrace.probe.v1");
    assert_eq!(
        found["mode"].as_str(),
        case.truth.mode,
        "{name}: {report:#}"
    );
    let Some(timeout) = case.truth.timeout else {
        assert_eq!(told("timeout"), None, "{name}: {report:#}");
        return;
    };
    let off = (told("timeout").unwrap() / timeout - 1.0).abs();
    assert!(off < 0.05, "{name}: {report:#}");
    assert_eq!(found["confidence"], "certain", "{name}: {report:#}");
    // Timers fire a little late, never early.
    assert!(told("at_most").unwrap() >= timeout, "{name}: {report:#}");
    // One timeout; two with losses; openings; and 3 s a round where answers do not come, here also those to bytes.
    let waits = case.truth.mode == Some("silent") || report["speech"] == "bytes";
    let answers = if waits { 6.0 } else { 0.0 };
    let (rounds, overhead) = match case.truth.mode {
        Some("silent" | "late_rst") => (2.2, 2.0 + answers),
        _ => (1.05, 2.0),
    };
    let took = report["took"].as_f64().unwrap();
    assert!(took < timeout * rounds + overhead, "{name}: {took} s");
}

/// The report on a target, probed from the calling thread's namespace.
fn probe(target: &str, options: &[&str]) -> Value {
    let mut command = command_with(&["probe", target, "-o", "json"]);
    let output = command.args(options).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.is_empty(), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let parsed: Report = serde_json::from_value(report.clone()).unwrap();
    assert_eq!(serde_json::to_value(parsed).unwrap(), report);
    report
}

/// Accepts connections and keeps them, as long as the process lives.
fn keep_all(listener: TcpListener) {
    thread::spawn(move || {
        let kept: Vec<_> = listener.incoming().collect();
        drop(kept);
    });
}

fn haproxy(settings: &'static str) -> Value {
    private_namespace(move || {
        keep_all(TcpListener::bind("127.0.0.1:8099").unwrap());
        let configuration = format!(
            "listen proxy\n mode tcp\n timeout connect 5s\n {settings}\n bind 127.0.0.1:8090\n server s 127.0.0.1:8099\n"
        );
        let _proxy = Server::start("haproxy", &["-db", "-f", "conf"], &configuration, &[8090]);
        probe("127.0.0.1:8090", &[])
    })
}

fn nginx() -> Value {
    private_namespace(|| {
        keep_all(TcpListener::bind("127.0.0.1:8099").unwrap());
        let configuration = "
            load_module /usr/lib/nginx/modules/ngx_stream_module.so;
            daemon off;
            pid nginx.pid;
            error_log stderr;
            events { worker_connections 256; }
            stream { server { listen 127.0.0.1:8090; proxy_pass 127.0.0.1:8099; proxy_timeout 4s; } }";
        let arguments = ["-p", ".", "-c", "conf", "-e", "stderr"];
        let _proxy = Server::start("nginx", &arguments, configuration, &[8090]);
        probe("127.0.0.1:8090", &[])
    })
}

/// A server that resets connections after this idle time, or never.
fn server(timeout: Option<Duration>, options: &'static [&'static str]) -> Value {
    private_namespace(move || {
        let listener = TcpListener::bind("127.0.0.1:8090").unwrap();
        match timeout {
            None => keep_all(listener),
            Some(timeout) => drop(thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || reset_when_silent(stream, timeout));
                }
            })),
        }
        probe("127.0.0.1:8090", options)
    })
}

/// Resets the connection after this idle time.
fn reset_when_silent(stream: TcpStream, timeout: Duration) {
    // Not by SO_RCVTIMEO, whose timer may be late by an eighth.
    thread::sleep(timeout);
    abort(stream);
}

/// A server that loses all its connections at one moment, and accepts new ones afterwards.
fn restarted() -> Value {
    private_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:8090").unwrap();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let begin = Instant::now();
            let (mut kept, mut restarted) = (Vec::new(), false);
            loop {
                kept.extend(listener.accept().ok());
                if !restarted && begin.elapsed() > Duration::from_secs(5) {
                    kept.clear();
                    restarted = true;
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        probe("127.0.0.1:8090", &[])
    })
}

/// A transparent balancer whose entries expire after 5 s.
const DNAT: &str = "
    ct timeout short { protocol tcp; l3proto ip; policy = { established : 5, close : 2 }; }
    chain timeouts { type filter hook prerouting priority -150; tcp dport 80 ct timeout set \"short\"; }
    chain translate { type nat hook prerouting priority dstnat; ip daddr 198.51.100.2 tcp dport 80 dnat to 203.0.113.3:8080; }";

/// What belongs to no connection is rejected: before the balancer's own stack, which the translated address belongs to,
/// and on the way to the server.
const REJECT: &str = "
    chain reject_in { type filter hook input priority 0; tcp dport 80 tcp flags & (syn | ack) != syn reject with tcp reset; }
    chain reject_on { type filter hook forward priority 0; ct state invalid reject with tcp reset; }";

/// A firewall that forgets after 5 s and drops what it does not know.
const DROP: &str = "
    ct timeout short { protocol tcp; l3proto ip; policy = { established : 5, close : 2 }; }
    chain timeouts { type filter hook prerouting priority -150; tcp dport 8080 ct timeout set \"short\"; }
    chain stateful { type filter hook forward priority 0; ct state invalid drop; ct state new tcp flags & (syn | ack) != syn drop; }";

/// Client, a router with these rules, server; the target as the client names it.
fn routed(rules: &str, target: &str, options: &[&str]) -> Value {
    let Route {
        client,
        router,
        server,
    } = Route::new();
    router.enter(|| run("nft", &[&format!("table ip path {{ {rules}\n }}")]));
    // Otherwise an expired entry is picked up again.
    router.set("netfilter/nf_conntrack_tcp_loose", "0");
    keep_all(server.enter(|| TcpListener::bind("203.0.113.3:8080").unwrap()));
    client.enter(|| probe(target, options))
}

#[test]
fn a_server_of_this_process_is_probed_without_any_rights() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || reset_when_silent(stream, Duration::from_millis(1500)));
        }
    });
    let report = probe(
        &address.to_string(),
        &["--max", "20s", "--connections", "12"],
    );
    let found = &report["conclusion"];
    assert_eq!(found["mode"], "rst_at_expiry", "{report:#}");
    assert!(
        (found["timeout"].as_f64().unwrap() / 1.5 - 1.0).abs() < 0.05,
        "{report:#}"
    );
    assert_eq!(report["observations"].as_array().unwrap().len(), 12);
    assert_eq!(report["target"]["port"], address.port());
}

#[test]
fn a_server_that_turns_connections_away_is_reported_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().for_each(drop));
    let report = probe(&address, &[]);
    let found = &report["conclusion"];
    assert_eq!(found.get("mode"), None, "{report:#}");
    let summary = found["summary"].as_str().unwrap();
    assert!(summary.contains("rejects connections"), "{summary}");
    assert!(report["took"].as_f64().unwrap() < 3.0, "{report:#}");
}

#[test]
fn a_silence_begins_anew_when_the_other_end_speaks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(600));
                stream.write_all(b"220 ready\r\n").unwrap();
                thread::sleep(Duration::from_millis(1500));
            });
        }
    });
    let report = probe(&address, &["--max", "9s"]);
    let found = &report["conclusion"];
    assert_eq!(found["mode"], "fin_at_expiry", "{report:#}");
    assert!(
        (found["timeout"].as_f64().unwrap() / 1.5 - 1.0).abs() < 0.05,
        "{report:#}"
    );
}

#[test]
fn keepalive_probes_of_the_other_end_are_no_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(1));
    let socket = socket2::SockRef::from(&listener);
    socket
        .set_tcp_keepalive(&keepalive.with_interval(Duration::from_secs(1)))
        .unwrap();
    keep_all(listener);
    let report = probe(&address, &["--min", "2500ms", "--max", "3500ms"]);
    let found = &report["conclusion"];
    assert_eq!(found["mode"], "none", "{report:#}");
    assert!(found["at_least"].as_f64().unwrap() < 1.5, "{report:#}");
    let note = found["notes"][0].as_str().unwrap();
    assert!(note.contains("sent data or keepalive probes"), "{note}");
}

#[test]
fn an_interruption_concludes_and_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut command = command_with(&["probe", &address.to_string(), "-o", "json"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let first = listener.accept().unwrap();
    keep_all(listener);
    // A second of silence on each connection, and a second silence is begun.
    thread::sleep(Duration::from_millis(2500));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    drop(first);
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["conclusion"]["mode"], "none", "{report:#}");
    assert!(report["conclusion"]["at_least"].as_f64().unwrap() >= 1.0);
}

#[test]
fn a_target_that_cannot_be_probed_is_1_and_says_what_to_do() {
    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    for (target, next) in [
        (refusing.as_str(), "ss -ltn"),
        ("no-such-host.invalid:80", "check the name"),
    ] {
        let output = command_with(&["probe", target]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{target}: {error}");
        assert!(error.contains(next), "{target}: {error}");
        assert!(output.stdout.is_empty(), "{target}");
    }
}
