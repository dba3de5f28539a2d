//! `rsttrace probe` finds the idle timeouts of real paths: proxies, conntrack, firewalls, servers.
//!
//! Truth is each path's configuration. All paths are probed side by side, each in namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::io::{self, BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kernel::{Route, Server, abort, private_namespace, rsttrace as command_with, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rsttrace::probe::Report;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
        truth: NOTHING,
        probe: || server(None, &["--max", "4s"]),
    },
    Case {
        name: "nginx HTTP server",
        truth: NOTHING,
        probe: nginx_http,
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
    if report["speech"] == "keepalive" {
        assert_untested(report);
    }
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

/// What is to be found on a path with a responder at its end.
struct BothWays {
    name: &'static str,
    to_server: Truth,
    to_client: Truth,
    /// Of the connections that are lost, in the direction that decides.
    reached: Option<&'static str>,
    /// In the sentence about the path.
    words: &'static str,
    probe: fn() -> Value,
}

const NOTHING: Truth = Truth {
    mode: Some("none"),
    timeout: None,
};

/// The server's first segment after 5 s of silence is unknown here; the client's is taken for a new connection.
const RESET_SERVER_FIRST: &str = "
    ct timeout short { protocol tcp; l3proto ip; policy = { established : 5, close : 2 }; }
    chain timeouts { type filter hook prerouting priority -150; tcp dport 8080 ct timeout set \"short\"; }
    chain stateful { type filter hook forward priority 0; iifname \"bs\" ct state new,invalid reject with tcp reset; }";

const DROP_SERVER_FIRST: &str = "
    ct timeout short { protocol tcp; l3proto ip; policy = { established : 5, close : 2 }; }
    chain timeouts { type filter hook prerouting priority -150; tcp dport 8080 ct timeout set \"short\"; }
    chain stateful { type filter hook forward priority 0; iifname \"bs\" ct state new,invalid drop; }";

const BOTH_WAYS: &[BothWays] = &[
    BothWays {
        name: "firewall, 5 s, rejects what the server sends first",
        to_server: NOTHING,
        to_client: found("late_rst", 5.0),
        reached: Some("writer"),
        words: "when the server writes first: reset",
        probe: || answered(RESET_SERVER_FIRST, Pickup::Always, "203.0.113.3:8080", "8s"),
    },
    BothWays {
        name: "firewall, 5 s, drops what the server sends first",
        to_server: NOTHING,
        to_client: found("silent", 5.0),
        reached: Some("neither"),
        words: "when the server writes first: dropped",
        probe: || answered(DROP_SERVER_FIRST, Pickup::Always, "203.0.113.3:8080", "8s"),
    },
    BothWays {
        name: "firewall, 5 s, drops in both directions",
        to_server: found("silent", 5.0),
        to_client: found("silent", 5.0),
        reached: Some("neither"),
        words: "the same whichever end writes first",
        probe: || answered(DROP, Pickup::Never, "203.0.113.3:8080", "20s"),
    },
    BothWays {
        name: "DNAT, 5 s",
        to_server: found("late_rst", 5.0),
        to_client: found("late_rst", 5.0),
        reached: Some("writer"),
        words: "the same whichever end writes first",
        probe: || answered(DNAT, Pickup::Never, "198.51.100.2:80", "20s"),
    },
    BothWays {
        name: "HAProxy, 4 s",
        to_server: found("fin_at_expiry", 4.0),
        to_client: found("fin_at_expiry", 4.0),
        reached: Some("both"),
        words: "the same whichever end writes first",
        probe: answered_behind_haproxy,
    },
    BothWays {
        name: "relay, resets both ends after 4 s",
        to_server: found("rst_at_expiry", 4.0),
        to_client: found("rst_at_expiry", 4.0),
        reached: Some("both"),
        words: "the same whichever end writes first",
        probe: answered_behind_resetting_relay,
    },
    BothWays {
        name: "no timeout",
        to_server: NOTHING,
        to_client: NOTHING,
        reached: None,
        words: "whichever end wrote first",
        probe: || answered("", Pickup::Never, "203.0.113.3:8080", "7s"),
    },
];

#[test]
#[ignore = "needs root"]
fn with_a_responder_each_direction_of_real_paths_is_found() {
    let reports: Vec<(&BothWays, Value)> = thread::scope(|scope| {
        let running: Vec<_> = BOTH_WAYS
            .iter()
            .map(|case| (case, scope.spawn(case.probe)))
            .collect();
        let joined = running.into_iter().map(|(case, report)| {
            let report = report.join();
            (
                case,
                report.unwrap_or_else(|_| panic!("{}: not probed", case.name)),
            )
        });
        joined.collect()
    });
    for (case, report) in &reports {
        let name = case.name;
        eprintln!(
            "{name:52} {} in {} s",
            report["conclusion"]["summary"], report["took"]
        );
    }
    for (case, report) in &reports {
        let name = case.name;
        assert_eq!(report["speech"], "message", "{name}: {report:#}");
        for (number, truth) in [&case.to_server, &case.to_client].into_iter().enumerate() {
            let direction = &report["directions"][number];
            let about = &direction["conclusion"];
            assert_eq!(direction["tested"], true, "{name}: {report:#}");
            assert_eq!(about["confidence"], "certain", "{name}: {about:#}");
            assert_found(name, truth, about);
        }
        let whole = &report["conclusion"];
        let decides = if case.to_server.mode == Some("none") {
            &case.to_client
        } else {
            &case.to_server
        };
        assert_found(name, decides, whole);
        assert_eq!(whole["confidence"], "certain", "{name}: {whole:#}");
        assert_eq!(
            whole["reached"].as_str(),
            case.reached,
            "{name}: {report:#}"
        );
        assert!(
            whole["summary"].as_str().unwrap().contains(case.words),
            "{name}: {whole:#}"
        );
        // Nothing of the responder broke a silence.
        for observation in report["observations"].as_array().unwrap() {
            assert_eq!(observation.get("heard"), None, "{name}: {observation:#}");
        }
    }
}

fn assert_found(name: &str, truth: &Truth, found: &Value) {
    assert_eq!(found["mode"].as_str(), truth.mode, "{name}: {found:#}");
    let told = found["timeout"].as_f64();
    assert_eq!(told.is_some(), truth.timeout.is_some(), "{name}: {found:#}");
    if let (Some(told), Some(timeout)) = (told, truth.timeout) {
        assert!((told / timeout - 1.0).abs() < 0.05, "{name}: {found:#}");
    }
}

/// Probes a responder through a router with these rules.
fn answered(rules: &str, pickup: Pickup, target: &str, max: &str) -> Value {
    let path = route(rules, pickup);
    let _responder = path.server.enter(|| Responder::start("203.0.113.3:8080"));
    path.client.enter(|| probe(target, &["--max", max]))
}

fn answered_behind_haproxy() -> Value {
    private_namespace(|| {
        let _responder = Responder::start("127.0.0.1:8099");
        let configuration = "listen proxy\n mode tcp\n timeout connect 5s\n timeout client 4s\n timeout server 4s\n \
                             bind 127.0.0.1:8090\n server s 127.0.0.1:8099\n";
        let _proxy = Server::start("haproxy", &["-db", "-f", "conf"], configuration, &[8090]);
        probe("127.0.0.1:8090", &["--max", "20s"])
    })
}

fn answered_behind_resetting_relay() -> Value {
    private_namespace(|| {
        let _responder = Responder::start("127.0.0.1:8099");
        let listener = TcpListener::bind("127.0.0.1:8090").unwrap();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    tokio::spawn(relay(client, Duration::from_secs(4)));
                }
            });
        });
        probe("127.0.0.1:8090", &["--max", "20s"])
    })
}

/// Passes bytes on, and resets both connections when there were none for so long.
async fn relay(mut client: tokio::net::TcpStream, timeout: Duration) {
    let server = tokio::net::TcpStream::connect("127.0.0.1:8099").await;
    let mut server = server.unwrap();
    let (mut there, mut back) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            read = client.read(&mut there) => match read {
                Ok(read @ 1..) => server.write_all(&there[..read]).await.unwrap(),
                Ok(_) | Err(_) => return,
            },
            read = server.read(&mut back) => match read {
                Ok(read @ 1..) => client.write_all(&back[..read]).await.unwrap(),
                Ok(_) | Err(_) => return,
            },
            () = tokio::time::sleep(timeout) => {
                for stream in [&client, &server] {
                    let socket = socket2::SockRef::from(stream);
                    socket.set_linger(Some(Duration::ZERO)).unwrap();
                }
                return;
            }
        }
    }
}

/// `rsttrace probe --listen` in this thread's namespace; ended when dropped.
struct Responder {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Responder {
    /// Returns when it listens.
    fn start(address: &str) -> Self {
        Self::start_with(address, &[])
    }

    fn start_with(address: &str, options: &[&str]) -> Self {
        let mut command = command_with(&["probe", "-v", "--listen", address]);
        let command = command.args(options);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let rest = first.strip_prefix("listening on ").unwrap();
        let address = rest.split(' ').next().unwrap().to_owned();
        Self {
            child,
            lines,
            address,
        }
    }

    /// Interrupts it. The last line, and the log.
    fn end(mut self) -> (String, String) {
        self.interrupt();
        let last = self.lines.next().unwrap().unwrap();
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        (last, log)
    }

    fn interrupt(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).unwrap();
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.interrupt();
            self.child.wait().unwrap();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_path_that_filters_the_server_only_is_not_called_certain_without_a_responder() {
    let path = route(RESET_SERVER_FIRST, Pickup::Always);
    let listener = path
        .server
        .enter(|| TcpListener::bind("203.0.113.3:8080").unwrap());
    keep_all(listener);
    let report = path
        .client
        .enter(|| probe("203.0.113.3:8080", &["--max", "7s"]));
    let found = &report["conclusion"];
    assert_eq!(
        (&found["mode"], &found["confidence"]),
        (&"none".into(), &"likely".into()),
        "{report:#}"
    );
    assert_untested(&report);
}

/// The server's direction is named as not tested, with what to do.
fn assert_untested(report: &Value) {
    assert_eq!(report["speech"], "keepalive", "{report:#}");
    let [to_server, to_client] = &report["directions"].as_array().unwrap()[..] else {
        panic!("{report:#}");
    };
    assert_eq!(
        (&to_server["direction"], &to_server["tested"]),
        (&"to_server".into(), &true.into())
    );
    assert_eq!(
        (&to_client["direction"], &to_client["tested"]),
        (&"to_client".into(), &false.into())
    );
    assert_eq!(to_client.get("conclusion"), None);
    assert!(
        to_client["advice"]
            .as_str()
            .unwrap()
            .contains("rsttrace probe --listen PORT")
    );
    assert_ne!(
        report["conclusion"]["confidence"].as_str(),
        Some("certain").filter(|_| report["conclusion"]["mode"] == "none")
    );
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

/// Its own timers are far longer than the silences.
fn nginx_http() -> Value {
    private_namespace(|| {
        let configuration = "
            daemon off;
            pid nginx.pid;
            error_log stderr;
            events { worker_connections 256; }
            http { access_log off; server { listen 127.0.0.1:8090; } }";
        let arguments = ["-p", ".", "-c", "conf", "-e", "stderr"];
        let _server = Server::start("nginx", &arguments, configuration, &[8090]);
        probe("127.0.0.1:8090", &["--max", "4s"])
    })
}

/// A server that resets connections that were silent for so long, or never.
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
    // Else an entry that expired is picked up again.
    let path = route(rules, Pickup::Never);
    let listener = path
        .server
        .enter(|| TcpListener::bind("203.0.113.3:8080").unwrap());
    keep_all(listener);
    path.client.enter(|| probe(target, options))
}

/// Whether conntrack takes a segment in the middle of a connection for a new one.
#[derive(Clone, Copy)]
enum Pickup {
    Never,
    Always,
}

/// Client, router with these rules, and server.
fn route(rules: &str, pickup: Pickup) -> Route {
    let route = Route::new();
    let router = &route.router;
    router.enter(|| run("nft", &[&format!("table ip path {{ {rules}\n }}")]));
    let loose = match pickup {
        Pickup::Never => "0",
        Pickup::Always => "1",
    };
    router.set("netfilter/nf_conntrack_tcp_loose", loose);
    route
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

/// A service on a port of this process that is no responder.
struct LookAlike {
    name: &'static str,
    /// What it says at once.
    banner: &'static str,
    /// What it says to those who speak.
    answer: String,
    /// Whether it keeps them then.
    keeps: bool,
    /// What the report notes.
    note: Option<&'static str>,
}

fn look_alike(name: &'static str, banner: &'static str, answer: &str, keeps: bool) -> LookAlike {
    LookAlike {
        name,
        banner,
        answer: answer.to_owned(),
        keeps,
        note: None,
    }
}

fn message(words: &str) -> String {
    format!("{:63}\n", format!("rsttrace-probe/{words}"))
}

#[test]
fn what_is_no_responder_is_not_taken_for_one() {
    let bad_request = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let ssh = "SSH-2.0-OpenSSH_10.0p2 Debian-7\r\n";
    let services = [
        look_alike("HTTP server", "", bad_request, false),
        look_alike("SSH server", ssh, "", false),
        look_alike(
            "mail server",
            "220 mail.example.org ESMTP\r\n",
            "500 unknown\r\n",
            true,
        ),
        look_alike("server that says nothing", "", "", true),
        look_alike("beginning of a message", "", "rsttrace-probe/1 ses", true),
        LookAlike {
            note: Some("another version"),
            ..look_alike(
                "other version",
                "",
                &message("2 session 0000000000000001"),
                false,
            )
        },
        LookAlike {
            note: Some("too many other probes"),
            ..look_alike("busy responder", "", &message("1 refused"), false)
        },
    ];
    thread::scope(|scope| {
        for service in services {
            scope.spawn(move || {
                let LookAlike { name, note, .. } = service;
                let report = probe(&service.start(), &["--max", "6s", "--connections", "8"]);
                let found = &report["conclusion"];
                assert_eq!(found["mode"], "none", "{name}: {report:#}");
                assert_untested(&report);
                let notes = found["notes"].to_string();
                assert!(
                    note.is_none_or(|note| notes.contains(note)),
                    "{name}: {report:#}"
                );
                assert_eq!(
                    notes.contains("responder"),
                    note.is_some(),
                    "{name}: {report:#}"
                );
            });
        }
    });
}

impl LookAlike {
    /// Serves for as long as the process lives; gives the address.
    fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = Arc::new(self);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let service = Arc::clone(&service);
                thread::spawn(move || service.meet(stream));
            }
        });
        address
    }

    fn meet(&self, mut stream: TcpStream) {
        stream.write_all(self.banner.as_bytes()).unwrap();
        let mut heard = [0; 64];
        // Keepalive probes are not read.
        if stream.read(&mut heard).is_ok_and(|read| read > 0) {
            assert!(heard.starts_with(b"rsttrace-probe/1 hello "));
            let _ = stream.write_all(self.answer.as_bytes());
            if self.keeps {
                let _ = stream.read(&mut heard);
            }
        }
    }
}

#[test]
fn a_responder_on_all_addresses_serves_both_families() {
    let responder = Responder::start("0");
    let (_, port) = responder.address.rsplit_once(':').unwrap();
    for host in ["127.0.0.1", "[::1]"] {
        let report = probe(
            &format!("{host}:{port}"),
            &["--max", "1s", "--connections", "2"],
        );
        assert_eq!(report["directions"][1]["tested"], true, "{report:#}");
    }
    let (last, log) = responder.end();
    assert!(
        last.contains("probes: 2, their connections: 8, unknown clients closed: 0"),
        "{last}"
    );
    assert!(
        log.contains(" 127.0.0.1:") && log.contains(" [::1]:"),
        "{log}"
    );
}

#[test]
fn an_echo_is_no_responder() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    let report = probe(&address, &["--max", "2s", "--connections", "4"]);
    assert_eq!(report["conclusion"]["mode"], "none", "{report:#}");
    assert_untested(&report);
}

#[test]
fn an_application_that_should_see_nothing_sees_nothing() {
    for options in [
        &["--one-way", "--max", "2s"][..],
        &["--send", "PING", "--max", "2s"],
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let tell = tell.clone();
                thread::spawn(move || {
                    let mut heard = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut heard) {
                        tell.send(heard[..read].to_vec()).unwrap();
                    }
                });
            }
        });
        let report = probe(&address, options);
        assert_eq!(report["directions"][1]["tested"], false, "{report:#}");
        let foreign = told.try_iter().find(|heard| heard != b"PING");
        assert_eq!(foreign, None, "{options:?}");
    }
}

/// `TCP_CLOSE` in include/net/tcp_states.h.
const TCP_CLOSE: u8 = 7;

/// Reads what comes until the end; the error that ended it otherwise.
fn all(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map(|_| all)
}

#[test]
fn a_responder_says_nothing_to_those_who_are_no_probe() {
    let responder = Responder::start("127.0.0.1:0");
    let connect = || {
        let stream = TcpStream::connect(&responder.address).unwrap();
        stream.set_read_timeout(Some(kernel::LIMIT)).unwrap();
        stream
    };
    let say = |bytes: &[u8]| {
        let mut stream = connect();
        stream.write_all(bytes).unwrap();
        let said = all(&stream).unwrap();
        // By a FIN, not by a RST, which is an error of the socket, also after the FIN.
        let _ = stream.shutdown(Shutdown::Write);
        kernel::eventually("the connection is closed", || {
            let state = rsttrace_sys::tcp_state(stream.as_fd()).unwrap();
            (state == TCP_CLOSE).then_some(())
        });
        assert!(stream.take_error().unwrap().is_none());
        said
    };
    // Longer than a message: what is not read would make the close a reset.
    let request = format!(
        "GET / HTTP/1.1\r\nHost: example.org\r\nCookie: {}\r\n\r\n",
        "x".repeat(2000)
    );
    assert_eq!(say(request.as_bytes()), b"");
    assert_eq!(say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), b"");
    assert_eq!(say(b"CONNECT example.org:443 HTTP/1.1\r\n\r\n"), b"");
    // A session that nobody has opened: nothing but the refusal, at once.
    let refused = message("1 refused").into_bytes();
    for order in ["speak", "wait"] {
        let order = format!("1 {order} 0123456789abcdef 0 60000");
        assert_eq!(say(message(&order).as_bytes()), refused);
    }
    assert_eq!(
        say(message("2 hello").as_bytes()),
        message("1 unsupported").into_bytes()
    );
    assert_eq!(say(message("1 pong").as_bytes()), b"");
    // One that says nothing at all.
    let begin = Instant::now();
    assert_eq!(all(&connect()).unwrap(), b"");
    assert!(begin.elapsed() > Duration::from_secs(5));
    let (last, log) = responder.end();
    assert!(
        last.contains("probes: 0, their connections: 0, unknown clients closed: 6"),
        "{last}"
    );
    assert_eq!(log.matches("closed: not a probe").count(), 4, "{log}");
    assert_eq!(
        log.matches("closed: a probe of another version").count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches("closed: no greeting").count(), 1, "{log}");
}

#[test]
fn the_patience_of_a_responder_is_no_idle_timeout() {
    let responder = Responder::start("127.0.0.1:0");
    let report = probe(
        &responder.address,
        &["--one-way", "--min", "15s", "--max", "25s"],
    );
    let found = &report["conclusion"];
    assert_eq!(
        (found.get("mode"), found.get("timeout")),
        (None, None),
        "{report:#}"
    );
    let summary = found["summary"].as_str().unwrap();
    assert!(summary.contains("not a single idle timeout"), "{summary}");
}

/// A client that speaks the probe's protocol.
struct Client(TcpStream);

impl Client {
    fn of(responder: &Responder) -> Self {
        let stream = TcpStream::connect(&responder.address).unwrap();
        stream.set_read_timeout(Some(kernel::LIMIT)).unwrap();
        Self(stream)
    }

    fn say(&mut self, words: &str) {
        let line = message(&format!("1 {words}"));
        self.0.write_all(line.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = [0; 64];
        self.0.read_exact(&mut line).unwrap();
        let line = String::from_utf8(line.to_vec()).unwrap();
        let words = line.strip_prefix("rsttrace-probe/1 ").unwrap();
        words.trim_end().to_owned()
    }

    fn ask(&mut self, words: &str) -> String {
        self.say(words);
        self.hear()
    }
}

#[test]
fn a_session_ends_with_its_control_connection() {
    let responder = Responder::start("127.0.0.1:0");
    let mut control = Client::of(&responder);
    let session = control.ask("hello");
    let session = session.strip_prefix("session ").unwrap();
    assert_eq!(control.ask("alive 7"), "alive 7");
    let mut connection = Client::of(&responder);
    let order = format!("speak {session} 3 600000");
    assert_eq!(connection.ask(&order), "ready");
    drop(control);
    // Its ten minutes are over, and it said nothing more.
    assert_eq!(all(&connection.0).unwrap(), b"");
    // Its session is unknown now.
    assert_eq!(Client::of(&responder).ask(&order), "refused");
    let (last, _) = responder.end();
    assert!(last.contains("probes: 1, their connections: 1,"), "{last}");
}

#[test]
fn a_late_acknowledgment_does_not_shorten_the_silence() {
    let responder = Responder::start("127.0.0.1:0");
    let mut control = Client::of(&responder);
    let session = control.ask("hello");
    let session = session.strip_prefix("session ").unwrap();
    let mut connection = Client::of(&responder);
    // What comes from now on is acknowledged 40 ms later.
    let fd = connection.0.as_fd();
    rsttrace_sys::set_socket_option(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 0).unwrap();
    assert_eq!(connection.ask(&format!("speak {session} 3 600")), "ready");
    assert_eq!(connection.hear(), "ping");
    connection.say("pong");
    let result = control.hear();
    let words: Vec<_> = result.split(' ').collect();
    let ["result", "3", "survived", micros, "0"] = words[..] else {
        panic!("{result}");
    };
    assert!(micros.parse::<u32>().unwrap() >= 600_000, "{result}");
}

#[test]
fn the_end_of_the_responder_is_no_timeout() {
    // Some silences are over then, the others are not.
    let responder = Responder::start_with("127.0.0.1:0", &["--duration", "3500ms"]);
    let report = probe(&responder.address, &["--max", "60s"]);
    let found = &report["conclusion"];
    assert_eq!(found["mode"], "none", "{report:#}");
    assert!(
        found["notes"]
            .to_string()
            .contains("the responder ended after 3."),
        "{report:#}"
    );
    assert!(report["took"].as_f64().unwrap() < 10.0, "{report:#}");
}

#[test]
fn a_responder_ends_after_its_duration_and_names_what_it_cannot_have() {
    let mut command = command_with(&["probe", "--listen", "127.0.0.1:0", "--duration", "300ms"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("at most 300 ms"), "{text}");
    assert!(text.contains("probes: 0,"), "{text}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (address, next) in [
        (address.as_str(), "ss -ltnp"),
        ("192.0.2.1:8443", "ip address"),
    ] {
        let output = command_with(&["probe", "--listen", address])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(next), "{error}");
    }
}
