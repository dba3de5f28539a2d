//! `rsttrace doctor` finds what is wrong in a network namespace, and nothing where nothing is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use kernel::{
    Namespace, Server, Watch, close_with_unread_data, connected_from, eventually,
    private_namespace, rsttrace, run,
};
use rsttrace::host::settings;
use serde_json::Value;

/// This end's address and the other's: not loopback, so that something could be on the way.
const SERVER: &str = "10.9.0.1";
const CLIENT: &str = "10.9.0.2";

fn set(name: &str, value: u64) {
    let path = Path::new("/proc/sys/net").join(name);
    fs::write(path, value.to_string()).unwrap();
}

/// Ends of a connection, and the listener it came by.
struct Connection {
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    /// Both ends in the calling thread's namespace.
    fn open() -> Self {
        for address in [SERVER, CLIENT] {
            run("ip", &["address", "add", address, "dev", "lo"]);
        }
        let listener = TcpListener::bind((SERVER, 0)).unwrap();
        let from = (CLIENT.parse::<Ipv4Addr>().unwrap(), 0);
        let (client, server) = connected_from(from.into(), &listener);
        Self {
            listener,
            client,
            server,
        }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    fn keep_alive(&self) {
        for socket in [
            socket2::SockRef::from(&self.listener),
            socket2::SockRef::from(&self.client),
            socket2::SockRef::from(&self.server),
        ] {
            socket.set_keepalive(true).unwrap();
        }
    }
}

/// Exit code and report of `rsttrace doctor` in the calling thread's namespace. Whatever is quiet while it starts is idle.
fn doctor() -> (Option<i32>, Value) {
    let output = rsttrace(&["doctor", "--idle", "1ms", "-o", "json"]).output();
    let output = output.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("no report: {error}"));
    (output.status.code(), report)
}

/// The findings of one kind.
fn findings<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = report["findings"].as_array().unwrap();
    all.iter().filter(|it| it["kind"] == kind).collect()
}

#[test]
#[ignore = "needs root"]
fn settings_that_contradict_each_other_are_wrong_and_those_that_fit_are_not() {
    private_namespace(|| {
        set("ipv4/ip_forward", 1);
        set("ipv4/tcp_keepalive_time", 7200);
        set("netfilter/nf_conntrack_tcp_timeout_established", 3600);
        // A rule that uses connection tracking, and a connection for it to track.
        run("nft", &["add table ip t"]);
        run(
            "nft",
            &["add chain ip t c { type filter hook input priority 0; }"],
        );
        run("nft", &["add rule ip t c ct state invalid drop"]);
        let connection = Connection::open();
        connection.keep_alive();

        let (code, report) = doctor();
        assert_eq!(code, Some(1), "{report:#}");
        assert_eq!(report["result"], "wrong");
        assert_eq!(report["settings"]["conntrack"]["established"], 3600);
        assert_eq!(report["settings"]["conntrack"]["tracked"], 1);
        let found = findings(&report, "conntrack_forgets_before_keepalive");
        assert_eq!(found[0]["severity"], "warning");
        let advice = found[0]["advice"].as_str().unwrap();
        assert!(advice.contains("sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established="));

        set("ipv4/tcp_keepalive_time", 120);
        set("netfilter/nf_conntrack_tcp_timeout_established", 86_400);
        let (code, report) = doctor();
        assert_eq!(
            (code, &report["result"]),
            (Some(0), &"ok".into()),
            "{report:#}"
        );
        assert_eq!(findings(&report, "conntrack_fits").len(), 1);

        // The same contradiction where nothing is forwarded.
        set("ipv4/ip_forward", 0);
        set("netfilter/nf_conntrack_tcp_timeout_established", 60);
        let (code, report) = doctor();
        assert_eq!(code, Some(0), "{report:#}");
        assert_eq!(findings(&report, "conntrack_fits").len(), 1);
    });
}

#[test]
#[ignore = "needs root"]
fn sockets_without_keepalive_are_listed_with_their_process_until_they_have_it() {
    private_namespace(|| {
        set("ipv4/tcp_keepalive_time", 120);
        let connection = Connection::open();
        let idle = "idle_connections_without_keepalive";
        let (code, report) = doctor();
        // Advice is no failure.
        assert_eq!(code, Some(0), "{report:#}");
        let found = findings(&report, idle);
        assert_eq!(found.len(), 2, "one an end: {report:#}");
        for end in found {
            assert_eq!(end["severity"], "advice");
            assert_eq!(end["port"], connection.port());
            assert_eq!(end["processes"][0]["pid"], std::process::id());
            assert!(end["longest_quiet"].as_f64().unwrap() >= 0.001);
        }
        assert_eq!(report["sockets"]["idle"], 2);

        connection.keep_alive();
        let (code, report) = doctor();
        assert_eq!(code, Some(0));
        assert_eq!(findings(&report, idle).len(), 0, "{report:#}");
        assert_eq!(findings(&report, "sockets_keep_alive").len(), 1);
    });
}

#[test]
#[ignore = "needs root"]
fn a_listener_is_asked_for_its_own_option() {
    private_namespace(|| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let within = TcpListener::bind("127.0.0.1:0").unwrap();
        let kind = "listener_without_keepalive";
        let (_, report) = doctor();
        let found = findings(&report, kind);
        assert_eq!(found.len(), 1, "{report:#}");
        assert_eq!(found[0]["port"], listener.local_addr().unwrap().port());
        let socket = socket2::SockRef::from(&listener);
        socket.set_keepalive(true).unwrap();
        let (_, report) = doctor();
        assert_eq!(findings(&report, kind).len(), 0, "{report:#}");
        drop(within);
    });
}

fn nginx(listen: &str) -> Server {
    let configuration = format!(
        "daemon off; worker_processes 2; pid nginx.pid; error_log stderr;
         events {{ worker_connections 64; }}
         http {{
             access_log off;
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;
             server {{ listen {listen}; location / {{ return 200 'served'; }} }}
         }}"
    );
    let arguments = ["-p", ".", "-c", "conf", "-e", "stderr"];
    Server::start("nginx", &arguments, &configuration, &[8080])
}

#[test]
#[ignore = "needs root"]
fn nginx_gets_advice_in_its_own_words_and_with_it_no_more() {
    private_namespace(|| {
        let kind = "listener_without_keepalive";
        let without = nginx("8080");
        let (_, report) = doctor();
        let found = findings(&report, kind);
        assert_eq!(found.len(), 1, "{report:#}");
        // Its workers have the listener, too.
        assert_eq!(found[0]["processes"].as_array().unwrap().len(), 3);
        assert_eq!(found[0]["processes"][0]["comm"], "nginx");
        let advice = found[0]["advice"].as_str().unwrap();
        let setting = advice.split(" so_keepalive=").nth(1).unwrap();
        let setting = setting.trim_end_matches(';').to_owned();
        drop(without);

        let _with = nginx(&format!("8080 so_keepalive={setting}"));
        let (_, report) = doctor();
        assert_eq!(findings(&report, kind).len(), 0, "{report:#}");
    });
}

#[test]
#[ignore = "needs root"]
fn hooks_are_granted_here_and_nothing_of_them_stays() {
    private_namespace(|| {
        let (_, report) = doctor();
        let hooks = report["hooks"].as_array().unwrap();
        let mut needed = hooks.iter().filter(|hook| hook["extra"] == false);
        assert!(
            needed.all(|hook| hook.get("refused").is_none()),
            "{report:#}"
        );
        // One that stays loaded, and one that is unloaded when it has run.
        for name in ["tcp_receive_reset", "seed_sockets"] {
            let programs = report["programs"].as_array().unwrap();
            let program = programs.iter().find(|program| program["name"] == name);
            assert!(program.is_some(), "{name}: {report:#}");
        }
        // What is refused is said, and else that nothing is.
        let refused = hooks.iter().filter(|hook| hook.get("refused").is_some());
        let refused = refused.count();
        assert_eq!(findings(&report, "hook_refused").len(), refused);
        let lesser = findings(&report, "hook_lesser").len();
        let granted = findings(&report, "hooks_granted").len();
        assert_eq!(granted == 1, refused + lesser == 0, "{report:#}");
        eventually("no classifier is left", || {
            let left = aya::programs::SchedClassifier::query_tcx(
                "lo",
                aya::programs::TcAttachType::Ingress,
            );
            left.is_ok_and(|(_, programs)| programs.is_empty())
                .then_some(())
        });
    });
}

#[test]
#[ignore = "needs root"]
fn another_namespace_is_read_as_it_is_and_ours_stays_ours() {
    let other = Namespace::new();
    other.set("ipv4/tcp_keepalive_time", "611");
    other.set("ipv4/ip_forward", "1");
    let before = settings::of_this_namespace();
    let there = settings::of_namespace(&other.path(), None).unwrap();
    assert_eq!(there.keepalive.unwrap().time, Duration::from_secs(611));
    assert!(there.forwards && there.conntrack.is_some());
    assert_eq!(settings::of_this_namespace(), before);
    assert_ne!(before.keepalive, there.keepalive);
}

#[test]
#[ignore = "needs root"]
fn a_record_has_the_keepalive_settings_of_its_own_namespace() {
    let other = Namespace::new();
    other.set("ipv4/tcp_keepalive_time", "611");
    let watch = Watch::start_unready(&["--netns", &other.inode().to_string(), "--every"]);
    let record = other.enter(|| {
        watch.await_classifiers("lo");
        close_with_unread_data(&TcpListener::bind("127.0.0.1:0").unwrap());
        watch.await_record("the sent reset", |it| it["direction"] == "sent")
    });
    assert_eq!(record["socket"]["keepalive"]["time"], 611.0, "{record:#}");
}
