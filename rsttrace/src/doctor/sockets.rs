//! Checks of listening sockets and idle connections without keepalive.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::programs::{Role, keepalive_of};
use super::{Connection, Finding, Listener, Program, Severity, Sockets};
use crate::words::{count, span};

/// Processes named in a finding.
const NAMED: usize = 8;

/// What belongs together: one line for a server with thousands of connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    comm: Option<String>,
    role: Role,
    port: u16,
}

/// What sockets are held against.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From when on a connection is idle.
    pub idle_from: Duration,
    /// Seconds until the first probe, to be named in advice; absent where no device is known to compare with.
    pub advised: Option<u64>,
    /// When a device that is surely on the way forgets a connection.
    pub forgotten_after: Option<Duration>,
}

/// Idle connections without keepalive or with one that comes too late, and listeners whose connections would have none.
pub fn judge(sockets: &Sockets, limits: Limits) -> Vec<Finding> {
    let ports: Vec<u16> = sockets.listeners.iter().map(|it| it.local.port()).collect();
    let advised = limits.advised.unwrap_or(DEFAULT_KEEPALIVE);
    let mut idle: BTreeMap<Group, Vec<&Connection>> = BTreeMap::new();
    let mut late: BTreeMap<Group, Vec<&Connection>> = BTreeMap::new();
    for connection in sockets.connections.iter().filter(|it| leaves_host(it)) {
        let is_idle = connection.quiet.is_some_and(|it| it >= limits.idle_from);
        if !connection.keepalive && is_idle {
            let group = group(connection, &ports);
            idle.entry(group).or_default().push(connection);
        } else if comes_late(connection, limits.forgotten_after) {
            let group = group(connection, &ports);
            late.entry(group).or_default().push(connection);
        }
    }
    let mut listening: BTreeMap<Group, Vec<&Listener>> = BTreeMap::new();
    for listener in sockets.listeners.iter().filter(|it| without(it, sockets)) {
        let group = Group {
            comm: comm(&listener.holders),
            role: Role::Server,
            port: listener.local.port(),
        };
        // The connections say it better.
        let is_same = |it: &Group| it.role == Role::Server && it.port == group.port;
        if !idle.keys().any(is_same) {
            listening.entry(group).or_default().push(listener);
        }
    }
    let mut findings = Vec::new();
    for (group, all) in &idle {
        findings.push(of_connections(group, all, advised));
    }
    for (group, all) in &late {
        let limit = limits.forgotten_after.unwrap_or_default();
        findings.push(of_late(group, all, limit, advised));
    }
    for (group, all) in &listening {
        findings.push(of_listeners(group, all, advised));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "sockets_keep_alive",
            "all listeners and all idle connections to other hosts use keepalive".to_owned(),
        ));
    }
    findings
}

/// Where no device is known to compare with: below all common ones but the shortest.
const DEFAULT_KEEPALIVE: u64 = 120;

/// Nothing between the ends of a connection within a host forgets it.
fn leaves_host(connection: &Connection) -> bool {
    !connection.remote.ip().is_loopback() && connection.remote.ip() != connection.local.ip()
}

/// Its probe is sent when the timer fires at the soonest: by then it is forgotten.
fn comes_late(connection: &Connection, forgotten_after: Option<Duration>) -> bool {
    match (connection.silent, connection.next_probe, forgotten_after) {
        (Some(quiet), Some(probe), Some(limit)) => quiet.saturating_add(probe) > limit,
        _ => false,
    }
}

/// It is reachable from other hosts, its connections do not inherit keepalive, and none of them shows that the program
/// turns it on for each.
fn without(listener: &Listener, sockets: &Sockets) -> bool {
    let accepted = |it: &&Connection| {
        let local = listener.local;
        it.local.port() == local.port()
            && (local.ip().is_unspecified() || it.local.ip() == local.ip())
    };
    listener.keepalive == Some(false)
        && !listener.local.ip().is_loopback()
        && !sockets
            .connections
            .iter()
            .filter(accepted)
            .any(|it| it.keepalive)
}

fn group(connection: &Connection, listening: &[u16]) -> Group {
    let local = connection.local.port();
    let (role, port) = if listening.contains(&local) {
        (Role::Server, local)
    } else {
        (Role::Client, connection.remote.port())
    };
    Group {
        comm: comm(&connection.holders),
        role,
        port,
    }
}

fn comm(holders: &[Program]) -> Option<String> {
    holders.first().map(|program| program.comm.clone())
}

fn of_connections(group: &Group, all: &[&Connection], advised: u64) -> Finding {
    let longest = longest_quiet(all);
    let (subject, quiet) = match all.len() {
        1 => ("1 idle connection".to_owned(), "has no keepalive, idle for"),
        more => (
            format!("{} idle connections", count(more as u64)),
            "have no keepalive, the longest idle for",
        ),
    };
    let summary = format!(
        "{subject} {} {quiet} {}",
        owned_and_where(group, all),
        span(longest)
    );
    let kind = "idle_connections_without_keepalive";
    about_connections(
        kind,
        group,
        all,
        summary,
        keepalive_of(group.comm.as_deref(), group.role, group.port, advised),
    )
}

fn of_late(group: &Group, all: &[&Connection], limit: Duration, advised: u64) -> Finding {
    let subject = match all.len() {
        1 => "1 connection".to_owned(),
        more => format!("{} connections", count(more as u64)),
    };
    let summary = format!(
        "{subject} {}: the next keepalive probe is due more than {} s after the last data, too late for this cloud",
        owned_and_where(group, all),
        limit.as_secs()
    );
    let advice = format!(
        "{}; without a setting of its own, the socket uses net.ipv4.tcp_keepalive_time",
        keepalive_of(group.comm.as_deref(), group.role, group.port, advised)
    );
    about_connections("keepalive_too_late", group, all, summary, advice)
}

fn about_connections(
    kind: &'static str,
    group: &Group,
    all: &[&Connection],
    summary: String,
    advice: String,
) -> Finding {
    Finding {
        processes: some(programs(all.iter().flat_map(|it| &it.holders))),
        port: Some(group.port),
        count: Some(all.len()),
        longest_quiet: Some(longest_quiet(all).as_secs_f64()),
        ..Finding::new(Severity::Advice, kind, summary, advice)
    }
}

fn longest_quiet(all: &[&Connection]) -> Duration {
    let quiet = all.iter().filter_map(|it| it.quiet);
    quiet.max().unwrap_or_default()
}

/// `of nginx[87] on port 80`, `of nginx[87] to 10.0.5.2:5432`.
fn owned_and_where(group: &Group, all: &[&Connection]) -> String {
    let whose = whose(group, &programs(all.iter().flat_map(|it| &it.holders)));
    match group.role {
        Role::Server => format!("of {whose} on port {}", group.port),
        Role::Client => format!("of {whose} to {}", to(all)),
    }
}

fn of_listeners(group: &Group, all: &[&Listener], advised: u64) -> Finding {
    let processes = programs(all.iter().flat_map(|it| &it.holders));
    let whose = whose(group, &processes);
    Finding {
        processes: some(processes),
        port: Some(group.port),
        count: Some(all.len()),
        ..Finding::new(
            Severity::Advice,
            "listener_without_keepalive",
            format!(
                "{whose} listens on port {} without keepalive; accepted connections have none either, unless the program enables it for each",
                group.port
            ),
            keepalive_of(group.comm.as_deref(), group.role, group.port, advised),
        )
    }
}

/// `10.0.5.2:5432`, or how many there are on that port.
fn to(all: &[&Connection]) -> String {
    let mut ends: Vec<SocketAddr> = all.iter().map(|it| it.remote).collect();
    ends.sort_unstable();
    ends.dedup();
    match ends[..] {
        [one] => one.to_string(),
        _ => {
            let hosts: Vec<IpAddr> = ends.iter().map(SocketAddr::ip).collect();
            let port = ends.first().map_or(0, SocketAddr::port);
            format!("port {port} on {} hosts", count(hosts.len() as u64))
        }
    }
}

fn programs<'a>(all: impl Iterator<Item = &'a Program>) -> Vec<Program> {
    let mut programs: Vec<_> = all.cloned().collect();
    programs.sort_unstable();
    programs.dedup();
    programs
}

fn some(mut programs: Vec<Program>) -> Vec<Program> {
    programs.truncate(NAMED);
    programs
}

/// `nginx[87]`, `nginx (4 processes)`.
fn whose(group: &Group, processes: &[Program]) -> String {
    match (&group.comm, processes) {
        (Some(comm), [one]) => format!("{comm}[{}]", one.pid),
        (Some(comm), more) => format!("{comm} ({} processes)", more.len()),
        (None, _) => "an unknown process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        idle_from: Duration::from_secs(60),
        advised: Some(175),
        forgotten_after: Some(Duration::from_secs(350)),
    };

    fn program(pid: u32, comm: &str) -> Program {
        Program {
            pid,
            comm: comm.to_owned(),
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn connection(local: &str, remote: &str, quiet: u64) -> Connection {
        Connection {
            local: address(local),
            remote: address(remote),
            keepalive: false,
            next_probe: None,
            quiet: Some(Duration::from_secs(quiet)),
            silent: Some(Duration::from_secs(quiet)),
            holders: vec![program(87, "nginx")],
        }
    }

    fn listener(local: &str, keepalive: Option<bool>) -> Listener {
        Listener {
            local: address(local),
            keepalive,
            queue: Default::default(),
            holders: vec![program(87, "nginx")],
        }
    }

    fn kinds(listeners: Vec<Listener>, connections: Vec<Connection>) -> Vec<&'static str> {
        let sockets = Sockets {
            listeners,
            connections,
        };
        let findings = judge(&sockets, LIMITS);
        findings.iter().map(|it| it.kind).collect()
    }

    const FINE: &[&str] = &["sockets_keep_alive"];
    const IDLE: &[&str] = &["idle_connections_without_keepalive"];
    const LISTENER: &[&str] = &["listener_without_keepalive"];

    #[test]
    fn an_idle_connection_without_keepalive_is_reported_and_its_look_alikes_are_not() {
        let idle = connection("10.0.0.1:80", "10.0.0.9:4", 61);
        let kept = Connection {
            keepalive: true,
            ..idle.clone()
        };
        let on_its_way = Connection {
            quiet: None,
            ..idle.clone()
        };
        assert_eq!(kinds(vec![], vec![idle]), IDLE);
        for other in [
            kept,
            on_its_way,
            connection("10.0.0.1:80", "10.0.0.9:4", 59),
            connection("127.0.0.1:80", "127.0.0.1:4", 600),
            connection("[::1]:80", "[::1]:4", 600),
            connection("10.0.0.1:80", "10.0.0.1:4", 600),
        ] {
            assert_eq!(kinds(vec![], vec![other.clone()]), FINE, "{other:?}");
        }
    }

    #[test]
    fn a_listener_without_keepalive_is_reported_and_its_look_alikes_are_not() {
        assert_eq!(
            kinds(vec![listener("0.0.0.0:80", Some(false))], vec![]),
            LISTENER
        );
        for other in [
            listener("0.0.0.0:80", Some(true)),
            listener("0.0.0.0:80", None),
            listener("127.0.0.1:80", Some(false)),
            listener("[::1]:80", Some(false)),
        ] {
            assert_eq!(kinds(vec![other.clone()], vec![]), FINE, "{other:?}");
        }
    }

    #[test]
    fn a_program_that_turns_keepalive_on_for_each_connection_is_left_alone() {
        let kept = Connection {
            keepalive: true,
            ..connection("10.0.0.1:80", "10.0.0.9:4", 5)
        };
        let listeners = vec![listener("0.0.0.0:80", Some(false))];
        assert_eq!(kinds(listeners.clone(), vec![kept.clone()]), FINE);
        let elsewhere = Connection {
            local: address("10.0.0.1:81"),
            ..kept
        };
        assert_eq!(kinds(listeners, vec![elsewhere]), LISTENER);
    }

    #[test]
    fn a_probe_that_comes_too_late_for_the_cloud_is_reported_and_a_sooner_one_is_not() {
        let kept = |quiet, probe| Connection {
            keepalive: true,
            next_probe: Some(Duration::from_secs(probe)),
            ..connection("10.0.0.1:80", "10.0.0.9:4", quiet)
        };
        let late = ["keepalive_too_late"];
        assert_eq!(kinds(vec![], vec![kept(0, 7200)]), late);
        assert_eq!(kinds(vec![], vec![kept(100, 251)]), late);
        assert_eq!(kinds(vec![], vec![kept(100, 250)]), FINE);
        assert_eq!(kinds(vec![], vec![kept(0, 175)]), FINE);
        let sockets = Sockets {
            listeners: vec![],
            connections: vec![kept(0, 7200)],
        };
        let findings = judge(&sockets, LIMITS);
        assert_eq!(
            findings[0].summary,
            "1 connection of nginx[87] to 10.0.0.9:4: the next keepalive probe is due more than 350 s after the last data, too late for this cloud"
        );
        // Outside a cloud, the devices on the path are unknown.
        let limits = Limits {
            forgotten_after: None,
            ..LIMITS
        };
        assert_eq!(judge(&sockets, limits)[0].kind, "sockets_keep_alive");
    }

    #[test]
    fn thousands_of_connections_of_one_server_are_one_line() {
        let mut connections: Vec<_> = (0..5000_u32)
            .map(|number| {
                let remote = format!("10.1.{}.{}:443", number / 250, number % 250);
                let mut it = connection("10.0.0.1:80", &remote, 60 + u64::from(number));
                it.holders = vec![program(88 + number % 12, "nginx")];
                it
            })
            .collect();
        connections.push(connection("10.0.0.1:40000", "10.0.5.2:5432", 90));
        let sockets = Sockets {
            listeners: vec![
                listener("0.0.0.0:80", Some(false)),
                listener("[::]:80", Some(false)),
            ],
            connections,
        };
        let findings = judge(&sockets, LIMITS);
        let summaries: Vec<_> = findings.iter().map(|it| it.summary.as_str()).collect();
        assert_eq!(
            summaries,
            [
                "5,000 idle connections of nginx (12 processes) on port 80 have no keepalive, the longest idle for 1 h 24 min",
                "1 idle connection of nginx[87] to 10.0.5.2:5432 has no keepalive, idle for 1 min 30 s",
            ]
        );
        assert_eq!(
            (findings[0].count, findings[0].processes.len()),
            (Some(5000), NAMED)
        );
        assert_eq!(findings[0].longest_quiet, Some(5059.0));
    }

    #[test]
    fn sockets_of_other_users_are_reported_without_a_name() {
        let mut idle = connection("10.0.0.1:80", "10.0.0.9:4", 61);
        idle.holders.clear();
        let sockets = Sockets {
            listeners: vec![],
            connections: vec![idle],
        };
        let findings = judge(&sockets, LIMITS);
        assert!(findings[0].summary.contains("an unknown process"));
    }
}
