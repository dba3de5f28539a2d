//! Captures of client, balancer and server together name who sent each reset, and why they disagree.
//!
//! Real balancers in namespaces, `tcpdump` at every place, at one interface and at all of them. Each scene is judged from
//! several sets of its captures: whichever are missing, no wrong sender may be named.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "kernel_pcap/lab.rs"]
mod captures;
mod kernel;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use captures::{Lab, say};
use kernel::{Server, abort, eventually, rsttrace};
use rsttrace::compare::Comparison;
use rsttrace::compare::report::{MadeBy, PathKind, ResetComparison, Toward};
use rsttrace::record::Endpoint;
use rsttrace::terminal::Palette;
use serde_json::Value;

const HAPROXY: &str = "
defaults
    mode tcp
    timeout connect 2s
    timeout client 2s
    timeout server 2s
listen front
    bind 198.51.100.2:80
    server a 203.0.113.3:8080
";

/// Who sent the reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Client,
    Server,
    Balancer,
    /// The router between client and balancer.
    Router,
}

/// What must be found of one scene.
struct Scene {
    /// Least resets in all captures together.
    resets: usize,
    path: PathKind,
    /// Without the client's capture the sender cannot be distinguished from the client: its resets look the same.
    needs_client: bool,
    /// Whether the sender can be determined at all: otherwise no wrong one may be named.
    named: bool,
}

const TERMINATED: Scene = Scene {
    resets: 1,
    path: PathKind::Terminated,
    needs_client: false,
    named: true,
};
const TRANSLATED: Scene = Scene {
    path: PathKind::Translated,
    ..TERMINATED
};

/// Who made the resets toward the server, and toward the client, of a leg.
type Truths = fn(&ResetComparison) -> Truth;

/// Sets of captures, and whether each sender must be named with it: otherwise no wrong one may be named.
const SETS: [(&[&str], bool); 8] = [
    (&["client", "balancer", "server"], true),
    (&["server", "client", "balancer"], true),
    (&["client-any", "balancer", "server-any"], true),
    (&["client", "balancer-front", "server"], false),
    (&["client", "balancer-back", "server"], false),
    (&["client", "server"], false),
    (&["client", "balancer"], false),
    (&["balancer", "server"], false),
];

impl Scene {
    fn check(&self, lab: &Lab, name: &str, truth: Truths) {
        let mut failures = Vec::new();
        for (set, complete) in SETS {
            if self.needs_client && !set.iter().any(|name| name.starts_with("client")) {
                continue;
            }
            self.judge(lab, truth, set, complete, &mut failures);
        }
        // Clocks that are off by an hour change nothing.
        lab.shift("server", "3600.5", "server-ahead");
        let set = ["client", "balancer", "server-ahead"];
        let comparison = self.judge(lab, truth, &set, true, &mut failures);
        let offset = comparison.captures[2].offset.unwrap_or_default();
        if (offset - 3600.5).abs() > 0.001 {
            failures.push(format!("offset {offset}"));
        }
        self.judge(
            lab,
            truth,
            &["client", "server-ahead"],
            false,
            &mut failures,
        );
        assert!(failures.is_empty(), "{name}: {failures:#?}");
    }

    fn judge(
        &self,
        lab: &Lab,
        truth: Truths,
        set: &[&str],
        complete: bool,
        failures: &mut Vec<String>,
    ) -> Comparison {
        let comparison = lab.compare(set);
        let complete = complete && self.named;
        let (mut right, mut unknown) = (0, 0);
        for connection in &comparison.connections {
            if complete && connection.path != self.path {
                failures.push(format!("{set:?}: {:?}", connection.path));
            }
            for reset in &connection.resets {
                let truth = truth(reset);
                match fits(&reset.made_by, truth, self.path) {
                    Some(true) => right += 1,
                    Some(false) => {
                        failures.push(format!("{set:?}: {truth:?}, not: {}", reset.sentence));
                    }
                    None => unknown += 1,
                }
            }
        }
        println!("== {set:?}: {right} right, {unknown} unknown");
        println!("{}", comparison.render(200, Palette::default()));
        if complete && (unknown > 0 || right < self.resets) {
            failures.push(format!("{set:?}: {right} right, {unknown} unknown"));
        }
        comparison
    }
}

/// One of the terminating balancer's own addresses.
fn is_of_proxy(end: &Endpoint) -> bool {
    ["198.51.100.2", "203.0.113.254"].contains(&end.address.to_string().as_str())
}

/// `None`: it is not named.
fn fits(made_by: &MadeBy, truth: Truth, path: PathKind) -> Option<bool> {
    // The far end of a leg whose other leg is not known.
    let is_proxys = |host: &Endpoint| path == PathKind::Terminated && is_of_proxy(host);
    let is_balancers = |file: &str| file.starts_with("balancer");
    Some(match made_by {
        MadeBy::Unknown => return None,
        MadeBy::Client { host } | MadeBy::Server { host } if is_proxys(host) => {
            truth == Truth::Balancer
        }
        MadeBy::Client { .. } => truth == Truth::Client,
        MadeBy::Server { .. } => truth == Truth::Server,
        MadeBy::Proxy { .. } => truth == Truth::Balancer,
        MadeBy::CaptureHost { file } => match truth {
            Truth::Balancer => is_balancers(file),
            _ => false,
        },
        // Who is between these two?
        MadeBy::Between { after, before } => {
            let between = |a: &str, b: &str| {
                let side = |file: &str| {
                    usize::from(!file.starts_with("client"))
                        + usize::from(file.starts_with("server"))
                };
                let (low, high) = (side(a).min(side(b)), side(a).max(side(b)));
                match truth {
                    Truth::Balancer => low == 0 && high == 2 || is_balancers(a) || is_balancers(b),
                    Truth::Router => low == 0 && high > 0,
                    _ => false,
                }
            };
            match after {
                Some(after) => between(after, before),
                None => matches!(truth, Truth::Balancer | Truth::Router),
            }
        }
    })
}

/// Nothing is sent for a while: a part of the scene.
fn silence() {
    std::thread::sleep(Duration::from_millis(300));
}

/// Waits until the kernel reports the reset to this end.
fn await_reset(stream: &TcpStream) {
    eventually("the reset", || stream.take_error().unwrap());
}

/// Waits until the other end has closed, politely.
fn await_close(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn haproxy(lab: &Lab) -> Server {
    lab.balancer
        .enter(|| Server::start("haproxy", &["-db", "-f", "conf"], HAPROXY, &[80]))
}

/// Stages a scene with every capture running. What `stage` gives lives on until they have ended.
fn staged<T>(lab: &Lab, stage: impl FnOnce(TcpStream, TcpStream) -> T) {
    let listener = lab.listen();
    let captures = lab.capture();
    let (near, far) = lab.connect(&listener);
    let kept = stage(near, far);
    lab.go_on();
    captures.end();
    drop(kept);
}

#[test]
#[ignore = "needs root"]
fn a_terminating_balancers_timeout_is_the_balancers() {
    let lab = Lab::new(false);
    let _balancer = haproxy(&lab);
    staged(&lab, |mut near, _far| {
        await_close(&mut near);
        near.write_all(b"late").unwrap();
        await_reset(&near);
    });
    TERMINATED.check(&lab, "terminating, timeout", |_| Truth::Balancer);
}

#[test]
#[ignore = "needs root"]
fn a_server_that_resets_behind_a_terminating_balancer_is_named() {
    let lab = Lab::new(false);
    let _balancer = haproxy(&lab);
    staged(&lab, |mut near, far| {
        silence();
        abort(far);
        await_close(&mut near);
        near.write_all(b"late").unwrap();
        await_reset(&near);
    });
    TERMINATED.check(&lab, "terminating, server resets", |reset| {
        match reset.direction {
            Toward::Client if !is_of_proxy(&reset.source) => Truth::Server,
            _ => Truth::Balancer,
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_client_that_resets_a_terminating_balancer_is_named() {
    let lab = Lab::new(false);
    let _balancer = haproxy(&lab);
    staged(&lab, |near, mut far| {
        silence();
        abort(near);
        // A FIN or a RST: that is the balancer's choice.
        let end = far.read(&mut [0]).map_err(|error| error.kind());
        assert!(
            matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
    });
    TERMINATED.check(&lab, "terminating, client resets", |reset| {
        match reset.direction {
            Toward::Server if !is_of_proxy(&reset.source) => Truth::Client,
            _ => Truth::Balancer,
        }
    });
}

const REJECTS: &str = "chain f { type filter hook forward priority 0; ct state invalid reject with tcp reset; \
                       ct state new tcp flags & (syn|ack) != syn reject with tcp reset; }";

#[test]
#[ignore = "needs root"]
fn a_transparent_balancer_that_forgot_resets_both_in_the_others_name() {
    let lab = Lab::new(false);
    lab.translate(REJECTS);
    staged(&lab, |mut near, mut far| {
        lab.await_forgotten();
        far.write_all(b"late push").unwrap();
        await_reset(&far);
        near.write_all(b"late question").unwrap();
        await_reset(&near);
    });
    Scene {
        resets: 2,
        ..TRANSLATED
    }
    .check(&lab, "transparent, forgotten, rejects", |_| Truth::Balancer);
    assert_command_says_so(&lab);
}

/// One command, and one sentence why they differ.
fn assert_command_says_so(lab: &Lab) {
    let files = ["client", "balancer", "server"].map(|name| lab.path(name).display().to_string());
    let of = |output: &str| {
        let mut arguments = vec!["pcap", "--noise", "-o", output];
        arguments.extend(files.iter().map(String::as_str));
        let output = rsttrace(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text: String = of("table").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("sent both, one with the address of each end."),
        "{text}"
    );
    let json = of("json");
    let values = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found: Vec<_> = values
        .filter(|value| value["schema"] == "rsttrace.comparison.v1")
        .collect();
    assert_eq!(found.len(), 1, "{json}");
    assert_eq!(found[0]["path"], "translated");
    for reset in found[0]["resets"].as_array().unwrap() {
        assert_eq!(reset["made_by"]["kind"], "capture_host", "{reset:#}");
        assert_eq!(reset["made_by"]["file"], files[1].as_str(), "{reset:#}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_balancer_that_rejects_a_known_connection_is_named() {
    let lab = Lab::new(false);
    lab.translate("");
    staged(&lab, |mut near, far| {
        lab.filter("table ip u { chain f { type filter hook forward priority 0; tcp dport 8080 reject with tcp reset; }; }");
        near.write_all(b"rejected").unwrap();
        await_reset(&near);
        (near, far)
    });
    TRANSLATED.check(&lab, "transparent, reject rule", |_| Truth::Balancer);
}

#[test]
#[ignore = "needs root"]
fn a_balancer_that_forgot_and_answers_by_itself_is_named() {
    let lab = Lab::new(false);
    lab.translate("");
    staged(&lab, |mut near, _far| {
        lab.await_forgotten();
        near.write_all(b"late question").unwrap();
        await_reset(&near);
    });
    // The server's end is closed later: that goes to the client under an address it does not know.
    TRANSLATED.check(
        &lab,
        "transparent, forgotten, client sends",
        |reset| match reset.direction {
            Toward::Client => Truth::Balancer,
            Toward::Server => Truth::Client,
        },
    );
}

#[test]
#[ignore = "needs root"]
fn a_client_that_resets_what_is_no_longer_translated_is_named() {
    let lab = Lab::new(false);
    lab.translate("");
    staged(&lab, |_near, mut far| {
        lab.await_forgotten();
        far.write_all(b"late push").unwrap();
        await_reset(&far);
    });
    // The client's end is closed later: that comes to the balancer's own stack.
    TRANSLATED.check(
        &lab,
        "transparent, forgotten, server sends",
        |reset| match reset.direction {
            Toward::Client => Truth::Balancer,
            Toward::Server => Truth::Client,
        },
    );
}

#[test]
#[ignore = "needs root"]
fn a_server_that_resets_through_a_transparent_balancer_is_named() {
    let lab = Lab::new(false);
    lab.translate("");
    staged(&lab, |near, far| {
        silence();
        abort(far);
        await_reset(&near);
    });
    TRANSLATED.check(&lab, "transparent, server resets", |_| Truth::Server);
}

#[test]
#[ignore = "needs root"]
fn a_servers_resets_with_another_ttl_are_nobody_elses() {
    // As by IP_TTL, another stack of that host, or another route: it looks like somebody else's, and is not.
    for (name, ttl) in [
        ("server resets with another start", "255"),
        ("server resets by another route", "62"),
    ] {
        let lab = Lab::new(true);
        lab.translate("");
        let mangle = format!(
            "table ip m {{ chain o {{ type filter hook output priority 0; tcp flags & rst == rst ip ttl set {ttl}; }}; }}"
        );
        lab.server.enter(|| kernel::run("nft", &[&mangle]));
        staged(&lab, |near, far| {
            silence();
            abort(far);
            await_reset(&near);
        });
        Scene {
            named: false,
            ..TRANSLATED
        }
        .check(&lab, name, |_| Truth::Server);
    }
}

#[test]
#[ignore = "needs root"]
fn a_client_that_resets_through_a_transparent_balancer_is_named() {
    let lab = Lab::new(false);
    lab.translate("");
    staged(&lab, |near, far| {
        silence();
        abort(near);
        await_reset(&far);
    });
    TRANSLATED.check(&lab, "transparent, client resets", |_| Truth::Client);
}

#[test]
#[ignore = "needs root"]
fn a_servers_reset_that_the_balancer_drops_is_still_the_servers() {
    let lab = Lab::new(false);
    lab.translate("");
    staged(&lab, |mut near, far| {
        lab.filter("table ip u { chain f { type filter hook forward priority 0; tcp flags & rst == rst drop; }; }");
        abort(far);
        lab.await_resets_of_server(1);
        // The client goes on; each of its segments is reset again.
        near.write_all(b"still here").unwrap();
        lab.await_resets_of_server(2);
    });
    TRANSLATED.check(&lab, "transparent, server resets, dropped", |_| {
        Truth::Server
    });
}

#[test]
#[ignore = "needs root"]
fn a_forger_between_the_captures_is_placed_there() {
    for (name, ttls) in [
        ("forger with its own TTL", [64, 64]),
        ("forger with the TTLs of the ends", [63, 62]),
    ] {
        let lab = Lab::new(true);
        lab.translate("");
        staged(&lab, |mut near, far| {
            silence();
            lab.forge_at_data(&mut near, ttls);
            await_reset(&near);
            await_reset(&far);
        });
        Scene {
            resets: 2,
            needs_client: ttls == [63, 62],
            ..TRANSLATED
        }
        .check(&lab, name, |_| Truth::Router);
    }
}

#[test]
#[ignore = "needs root"]
fn without_a_reset_nothing_is_found() {
    // A check of the lab itself.
    let lab = Lab::new(true);
    lab.translate("");
    staged(&lab, |mut near, mut far| say(&mut near, &mut far, b"done"));
    for (set, _) in SETS {
        assert!(lab.compare(set).connections.is_empty());
    }
}
