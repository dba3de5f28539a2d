//! Lost connection tracking or IPVS entries of this host.
//!
//! A host that translates addresses or balances has no sockets for the connections it forwards, only entries that expire or are
//! deleted. Afterwards a segment of such a connection is answered by its own stack, rejected by a rule, or is forwarded
//! untranslated, to an end without such a connection. What this host translated it remembers; else the handshake was seen passing
//! here, longer ago than the entry lives without a packet.

use std::net::SocketAddr;
use std::time::Duration;

use super::advice::Situation;
use crate::correlate::is_passive_form;
use crate::event::{
    Baseline, BootTime, ConntrackTimeouts, Flow, IpvsTimeouts, NetSettings, Packet, Sent, Socket,
    TcpFlags, TcpState, Tracked, Translated,
};
use crate::record::{Basis, Candidate, EvidenceKind, Explanation, Idle, IdleMode, Sentence};
use crate::words::span;

/// An entry that is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpiredEntry {
    table: Table,
    since_handshake: Duration,
    /// The timer that may have ended it; absent where it is younger than each.
    timer: Option<Timer>,
    basis: Grounds,
}

/// Who keeps the entry, and how long it lives without a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Table {
    /// Absent settings: they could not be read.
    Conntrack(Option<ConntrackTimeouts>),
    Ipvs(IpvsTimeouts),
}

/// A timer of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Timer {
    setting: &'static str,
    timeout: Duration,
    /// It ends connections that one end has closed.
    half_closed: bool,
}

/// Why this host is said to have forwarded the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Grounds {
    /// Its classifiers saw the handshake leave translated.
    Translated {
        /// The answered segment, as it came.
        came: Flow,
        /// As its handshake left.
        left: Translated,
    },
    /// IPVS is set to balance this end of the connection.
    Balances(SocketAddr),
    /// It forwards, and saw the handshake.
    Forwards,
}

/// Whether a segment that the kernel answered belonged to a connection that this host had forwarded.
pub fn expired_entry(
    sent: &Sent,
    at: BootTime,
    settings: Option<&NetSettings>,
    translated: Option<Translated>,
) -> Option<ExpiredEntry> {
    let at_listener = |socket: &Socket| socket.state == TcpState::Listen;
    let unknown = sent.socket.as_ref().is_none_or(at_listener)
        && sent.minisock.is_none()
        && sent.former_connection.is_none();
    let speaks = sent.cause.is_some_and(|cause| !cause.flags.has(SYN));
    if !unknown || !speaks {
        return None;
    }
    remembered(sent.flow, sent.handshake, at, settings, translated).or_else(|| {
        let handshake = sent.handshake.filter(|_| sent.socket.is_none())?;
        expired(handshake, at, settings?, &[sent.flow.local])
    })
}

/// The same for a segment that a packet filter rejected.
pub fn expired_entry_of_filter(
    packet: &Packet,
    at: BootTime,
    settings: Option<&NetSettings>,
    translated: Option<Translated>,
) -> Option<ExpiredEntry> {
    let handshake = packet.handshake_of_destination;
    remembered(answered_by(packet), handshake, at, settings, translated).or_else(|| {
        let ends = [packet.source, packet.destination];
        expired(handshake?, at, settings?, &ends)
    })
}

/// The same for a segment that went on untranslated, as the answer to it shows, on its way back: it comes from an end whose
/// handshake with this server has not been seen, only the server's with it.
pub fn expired_entry_of_transit(
    came: &Packet,
    left: &Packet,
    at: BootTime,
    settings: Option<&NetSettings>,
    translated: Option<Translated>,
) -> Option<ExpiredEntry> {
    let is_translated = came.source != left.source || came.destination != left.destination;
    if is_translated || !is_passive_form(left) {
        return None;
    }
    let handshakes = [came.baseline, left.handshake_of_destination];
    let newest = handshakes.into_iter().flatten().max_by_key(|it| it.time);
    remembered(answered_by(left), newest, at, settings, translated).or_else(|| {
        if came.baseline.is_some() {
            return None;
        }
        let ends = [left.destination];
        expired(left.handshake_of_destination?, at, settings?, &ends)
            .filter(|entry| matches!(entry.basis, Grounds::Balances(_)))
    })
}

/// The connection of the segment that a reset answers.
fn answered_by(reset: &Packet) -> Flow {
    Flow {
        local: reset.source,
        remote: reset.destination,
    }
}

const SYN: u8 = TcpFlags::SYN;

/// This host translated the handshake; a later one with the same addresses went another way.
fn remembered(
    came: Flow,
    handshake: Option<Baseline>,
    at: BootTime,
    settings: Option<&NetSettings>,
    translated: Option<Translated>,
) -> Option<ExpiredEntry> {
    let left = translated?;
    if handshake.is_some_and(|handshake| handshake.time > left.seen) {
        return None;
    }
    let since_handshake = at.since(left.seen);
    let ends = [came.local, came.remote, left.source, left.destination];
    let ipvs = settings
        .filter(|it| {
            ends.iter()
                .any(|end| it.balanced.includes(*end) == Some(true))
        })
        .and_then(|it| it.ipvs);
    let table = match ipvs {
        Some(timeouts) => Table::Ipvs(timeouts),
        None => Table::Conntrack(settings.and_then(|it| it.conntrack)),
    };
    Some(ExpiredEntry {
        table,
        since_handshake,
        timer: table.timer(since_handshake),
        basis: Grounds::Translated { came, left },
    })
}

/// `ends`: those of the connection that IPVS may be set to balance.
fn expired(
    handshake: Baseline,
    at: BootTime,
    settings: &NetSettings,
    ends: &[SocketAddr],
) -> Option<ExpiredEntry> {
    let since_handshake = at.since(handshake.time);
    let balances = |end: &&SocketAddr| settings.balanced.includes(**end);
    let balanced = settings
        .ipvs
        .and_then(|_| ends.iter().find(|end| balances(end) == Some(true)))
        .copied();
    let perhaps = ends.iter().any(|end| balances(&end) != Some(false));
    let forwards = settings.forwards;
    let conntrack = settings
        .conntrack
        // What IPVS balances it has translated, too.
        .filter(|_| forwards && balanced.is_none())
        .map(|timeouts| Table::Conntrack(Some(timeouts)));
    let ipvs = settings
        .ipvs
        // Only to translate it has to forward.
        .filter(|_| balanced.is_some() || (forwards && perhaps))
        .map(Table::Ipvs);
    [conntrack, ipvs]
        .into_iter()
        .flatten()
        .filter_map(|table| Some((table, table.established()?)))
        .filter(|(_, timer)| since_handshake >= timer.timeout)
        .min_by_key(|(_, timer)| timer.timeout)
        .map(|(table, timer)| ExpiredEntry {
            table,
            since_handshake,
            timer: Some(timer),
            basis: balanced.map_or(Grounds::Forwards, Grounds::Balances),
        })
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Conntrack(_) => "connection tracking",
            Self::Ipvs(_) => "IPVS",
        }
    }

    fn established(self) -> Option<Timer> {
        let (setting, timeout) = match self {
            Self::Conntrack(timeouts) => (
                "net.netfilter.nf_conntrack_tcp_timeout_established",
                timeouts?.established,
            ),
            Self::Ipvs(timeouts) => ("ipvsadm --set", timeouts.established),
        };
        Some(Timer {
            setting,
            timeout,
            half_closed: false,
        })
    }

    fn half_closed(self) -> Option<Timer> {
        let (setting, timeout) = match self {
            Self::Conntrack(timeouts) => (
                "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
                timeouts?.close_wait,
            ),
            Self::Ipvs(timeouts) => ("ipvsadm --set (FIN)", timeouts.fin_wait),
        };
        Some(Timer {
            setting,
            timeout,
            half_closed: true,
        })
    }

    /// The timer that may have ended an entry of this age, the plain one first.
    fn timer(self, age: Duration) -> Option<Timer> {
        let timers = [self.established(), self.half_closed()];
        timers
            .into_iter()
            .flatten()
            .find(|timer| age >= timer.timeout)
    }
}

impl ExpiredEntry {
    /// This host is known to have forwarded the connection.
    pub fn is_certain(&self) -> bool {
        matches!(self.basis, Grounds::Translated { .. })
    }

    /// Nothing but the age speaks for an open connection: both ends may have closed it, and the entry with it.
    pub fn may_have_ended(&self) -> bool {
        self.is_certain() && self.timer.is_none_or(|timer| timer.half_closed)
    }

    /// Adds it to the explanation of a reset that it led to.
    pub(super) fn explain(&self, explanation: &mut Explanation) {
        let (evidence, summary) = match self.basis {
            Grounds::Translated { came, left } => self.of_translated(came, left),
            Grounds::Balances(end) => self.of_balanced(end),
            Grounds::Forwards => self.of_forwarded(),
        };
        explanation.add(EvidenceKind::PassedOnBefore, evidence);
        explanation.summary = format!("{}; {summary}", explanation.summary);
        let mut advice = self.advice();
        Situation::ConntrackMoved.refer(std::slice::from_mut(&mut advice));
        explanation.advice.insert(0, advice);
    }

    fn advice(&self) -> Sentence {
        if self.is_kept() {
            return "set net.netfilter.nf_conntrack_tcp_be_liberal=1, or find out why connection tracking takes the segment as invalid (`conntrack -S`; net.netfilter.nf_conntrack_log_invalid=6 logs each): out of window, an asymmetric path, a wrong checksum".into();
        }
        let condition = match self.basis {
            Grounds::Forwards => "if this host forwards such connections, ",
            Grounds::Translated { .. } | Grounds::Balances(_) => "",
        };
        match self.timer {
            Some(timer) if timer.half_closed => format!(
                "find out what removed the entry: {REMOVED}; if one end had closed its direction, raise {} above the longest time that the other sends on",
                timer.setting
            )
            .into(),
            Some(timer) => format!(
                "{condition}raise {} above their longest idle time, or have the ends send keepalive probes more often than every {}",
                timer.setting,
                span(timer.timeout)
            )
            .into(),
            None => format!("find out what removed the entry: {REMOVED}").into(),
        }
    }

    /// Connection tracking still has the entry.
    fn is_kept(&self) -> bool {
        match self.basis {
            Grounds::Translated { left, .. } => left.tracked == Some(Tracked::Translated),
            Grounds::Balances(_) | Grounds::Forwards => false,
        }
    }

    fn of_translated(&self, came: Flow, left: Translated) -> (String, String) {
        let to = translation(came, left);
        let age = span(self.since_handshake);
        let table = self.table.name();
        let evidence = format!(
            "its handshake passed through this host {age} earlier, came as {} to {} and left as {} to {}",
            came.remote, came.local, left.source, left.destination
        );
        if self.is_kept() {
            let summary = format!(
                "this host translates the connection {to} and still has its entry, but {table} took this segment as invalid"
            );
            return (evidence, summary);
        }
        let gone = match (self.table, left.tracked) {
            (Table::Conntrack(_), Some(Tracked::Nothing | Tracked::Untranslated)) => {
                "its conntrack entry is gone".to_owned()
            }
            (Table::Conntrack(_), Some(Tracked::Translated) | None) | (Table::Ipvs(_), _) => {
                format!("its {table} no longer does")
            }
        };
        let why = match self.timer {
            Some(timer) if timer.half_closed => {
                let idle = self.table.established();
                let idle = idle.map_or_else(String::new, |idle| {
                    format!(", idle ones after {}", span(idle.timeout))
                });
                format!(
                    "it was deleted or evicted, or the connection was half-closed (expires after {}{idle}), or both ends had closed",
                    span(timer.timeout)
                )
            }
            Some(timer) => {
                let shorter = self.table.half_closed();
                let shorter = shorter.filter(|it| it.timeout < timer.timeout);
                let shorter = shorter.map_or_else(String::new, |it| {
                    format!(", half-closed ones after {}", span(it.timeout))
                });
                format!(
                    "idle connections expire after {}{shorter}",
                    span(timer.timeout)
                )
            }
            None => format!(
                "it was deleted or evicted ({age} is below its timeouts), or both ends had closed"
            ),
        };
        let summary = format!(
            "this host had translated the connection {to} (handshake {age} earlier); {gone}: {why}"
        );
        (evidence, summary)
    }

    fn of_balanced(&self, end: SocketAddr) -> (String, String) {
        let (table, timeout) = (self.table.name(), self.timeout());
        (
            format!(
                "{}, {end} is balanced by {table} on this host, and {table} expires a connection after {timeout} without a packet",
                self.passed()
            ),
            format!(
                "this host's {table} had forwarded the connection and expires idle connections after {timeout}"
            ),
        )
    }

    fn of_forwarded(&self) -> (String, String) {
        let (table, timeout) = (self.table.name(), self.timeout());
        (
            format!(
                "{}, and no socket on this host is known for it; {table} expires a connection after {timeout} without a packet",
                self.passed()
            ),
            format!(
                "this host may have forwarded the connection, and its {table} expires idle connections after {timeout}"
            ),
        )
    }

    fn passed(&self) -> String {
        let age = span(self.since_handshake);
        format!("its handshake passed through this host {age} earlier")
    }

    fn timeout(&self) -> String {
        self.timer
            .map_or_else(String::new, |timer| span(timer.timeout))
    }

    /// It as the record shows it, where a timer may have ended it. How long the connection was silent is not known here.
    pub fn idle(&self) -> Option<Idle> {
        let timer = self
            .timer
            .filter(|timer| !timer.half_closed && !self.is_kept())?;
        Some(Idle {
            mode: Some(IdleMode::LateRst),
            candidates: vec![Candidate {
                device: format!("{} of this host ({})", self.table.name(), timer.setting).into(),
                timeout: timer.timeout.as_secs_f64(),
                mode: Some(IdleMode::LateRst),
                basis: Basis::Host,
            }],
            ..Idle::default()
        })
    }
}

/// What removes entries before their time.
const REMOVED: &str = "`conntrack -D` or a flush by a deploy, a restart of Docker, kube-proxy or the packet filter, a change of its NAT rules, a full table (`conntrack -S`: early_drop)";

/// `to 203.0.113.3:8080`, `from 198.51.100.2:80`, or both: what differs.
fn translation(came: Flow, left: Translated) -> String {
    let to = (left.destination != came.local).then(|| format!("to {}", left.destination));
    let from = (left.source != came.remote).then(|| format!("from {}", left.source));
    let parts: Vec<String> = [to, from].into_iter().flatten().collect();
    parts.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::engine::fixtures::{NOW, SECOND, Scene, segment, tombstone};
    use crate::event::{Balanced, ConntrackTimeouts, IpvsTimeouts, Target};

    fn settings(forwards: bool) -> NetSettings {
        NetSettings {
            conntrack: Some(ConntrackTimeouts {
                established: Duration::from_secs(3),
                unacknowledged: Duration::from_secs(300),
                close_wait: Duration::from_secs(60),
                max_retrans: Duration::from_secs(300),
                loose: false,
            }),
            forwards,
            ..NetSettings::default()
        }
    }

    fn answer(flags: u8, seconds_ago: Option<u64>) -> Sent {
        let mut sent = Scene::new().answer(segment(flags, 1, 2, 50));
        sent.handshake = seconds_ago.map(|seconds| Baseline {
            time: BootTime(NOW - seconds * SECOND),
            ttl: 64,
            source_mac: None,
        });
        sent
    }

    /// Of IPVS that balances what these addresses say and forgets after 2 s.
    fn balancing(forwards: bool, addresses: &[SocketAddr], others: bool) -> NetSettings {
        NetSettings {
            ipvs: Some(IpvsTimeouts {
                established: Duration::from_secs(2),
                fin_wait: Duration::from_secs(2),
            }),
            balanced: Balanced {
                addresses: addresses.to_vec(),
                others,
            },
            ..settings(forwards)
        }
    }

    fn found(sent: &Sent, settings: &NetSettings) -> Option<f64> {
        let entry = expired_entry(sent, BootTime(NOW), Some(settings), None)?;
        entry.idle().map(|idle| idle.candidates[0].timeout)
    }

    #[test]
    fn a_forwarding_host_names_its_own_table_and_others_do_not() {
        let late = answer(0x18, Some(5));
        assert_eq!(found(&late, &settings(true)), Some(3.0));
        assert_eq!(found(&late, &settings(false)), None, "does not forward");
        assert_eq!(
            found(&answer(0x18, Some(2)), &settings(true)),
            None,
            "too young"
        );
        assert_eq!(
            found(&answer(0x18, None), &settings(true)),
            None,
            "never seen"
        );
        assert_eq!(
            found(&answer(0x02, Some(5)), &settings(true)),
            None,
            "a SYN"
        );
        let mut own = answer(0x18, Some(5));
        own.former_connection = Some(Box::new(tombstone(1, "x", TcpState::Established)));
        assert_eq!(found(&own, &settings(true)), None, "its own connection");
    }

    #[test]
    fn ipvs_is_named_only_for_what_it_balances_and_then_alone() {
        let late = answer(0x18, Some(5));
        let service = late.flow.local;
        let every_port = SocketAddr::new(service.ip(), 0);
        let other = SocketAddr::new(service.ip(), service.port() + 1);
        for (forwards, addresses, others, expected) in [
            (true, vec![service], false, Some(2.0)),
            (true, vec![every_port], false, Some(2.0)),
            // Direct routing forwards nothing.
            (false, vec![service], false, Some(2.0)),
            (true, vec![other], false, Some(3.0)),
            (false, vec![other], false, None),
            // By firewall mark: it may be.
            (true, vec![other], true, Some(2.0)),
            (false, vec![other], true, None),
        ] {
            let settings = balancing(forwards, &addresses, others);
            assert_eq!(
                found(&late, &settings),
                expected,
                "{forwards} {addresses:?} {others}"
            );
        }
        let young = answer(0x18, Some(1));
        assert_eq!(found(&young, &balancing(true, &[service], false)), None);
        let own = Sent {
            former_connection: Some(Box::new(tombstone(1, "x", TcpState::Established))),
            ..late
        };
        assert_eq!(found(&own, &balancing(true, &[service], false)), None);
    }

    #[test]
    fn the_answer_to_what_went_on_untranslated_shows_that_ipvs_forgot() {
        let scene = Scene::new();
        let seen = |seconds_ago: u64| {
            Some(Baseline {
                time: BootTime(NOW - seconds_ago * SECOND),
                ttl: 64,
                source_mac: None,
            })
        };
        let came = scene.ingress(0x04, 1, 0, Target::None);
        let left = Packet {
            egress: true,
            handshake_of_destination: seen(5),
            baseline: None,
            ..came.clone()
        };
        let at = BootTime(NOW);
        let settings = balancing(true, &[left.destination], false);
        let found = |came: &Packet, left: &Packet, settings: &NetSettings| {
            expired_entry_of_transit(came, left, at, Some(settings), None).is_some()
        };
        assert!(found(&came, &left, &settings));
        let elsewhere = balancing(true, &[left.source], false);
        assert!(!found(&came, &left, &elsewhere), "another service");
        assert!(
            !found(&came, &left, &balancing(true, &[], true)),
            "not known"
        );
        let young = Packet {
            handshake_of_destination: seen(1),
            ..left.clone()
        };
        assert!(!found(&came, &young, &settings), "too young");
        let direct = Packet {
            baseline: seen(5),
            ..came.clone()
        };
        assert!(!found(&direct, &left, &settings), "its own handshake");
        let translated = Packet {
            destination: left.source,
            ..came.clone()
        };
        assert!(!found(&translated, &left, &settings), "translated");
        let mut active = left.clone();
        active.segment.window = 512;
        assert!(!found(&came, &active, &settings), "its process did it");
    }

    fn translated(seconds_ago: u64, tracked: Option<Tracked>) -> Translated {
        Translated {
            source: "192.0.2.1:4000".parse().unwrap(),
            destination: "203.0.113.3:8611".parse().unwrap(),
            seen: BootTime(NOW - seconds_ago * SECOND),
            tracked,
        }
    }

    /// The summary and first advice of a segment of a connection that was translated.
    fn told(sent: &Sent, settings: &NetSettings, translated: Translated) -> Option<Explanation> {
        let entry = expired_entry(sent, BootTime(NOW), Some(settings), Some(translated))?;
        let mut explanation = Explanation::default();
        entry.explain(&mut explanation);
        Some(explanation)
    }

    fn patient() -> NetSettings {
        let mut settings = settings(true);
        settings.conntrack.as_mut().unwrap().established = Duration::from_secs(432_000);
        settings
    }

    #[test]
    fn what_was_translated_is_named_and_the_reason_fits_the_age() {
        let late = answer(0x18, None);
        let gone = Some(Tracked::Nothing);
        for (settings, seconds, tracked, summary, advice) in [
            (
                settings(true),
                5,
                gone,
                "its conntrack entry is gone: idle connections expire after 3.0 s",
                "raise net.netfilter.nf_conntrack_tcp_timeout_established",
            ),
            (
                patient(),
                70,
                Some(Tracked::Untranslated),
                "it was deleted or evicted, or the connection was half-closed (expires after 1 min 0 s, idle ones after 5 d 0 h)",
                "find out what removed the entry: `conntrack -D`",
            ),
            (
                patient(),
                5,
                gone,
                "it was deleted or evicted (5.0 s is below its timeouts), or both ends had closed",
                "find out what removed the entry: `conntrack -D`",
            ),
            (
                patient(),
                5,
                None,
                "its connection tracking no longer does: it was deleted",
                "find out what removed the entry",
            ),
            (
                patient(),
                5,
                Some(Tracked::Translated),
                "took this segment as invalid",
                "set net.netfilter.nf_conntrack_tcp_be_liberal=1",
            ),
        ] {
            let told = told(&late, &settings, translated(seconds, tracked)).unwrap();
            assert!(told.summary.contains("203.0.113.3:8611"), "{told:?}");
            assert!(told.summary.contains(summary), "{told:?}");
            assert!(told.advice[0].starts_with(advice), "{told:?}");
            assert!(told.advice[0].contains("rsttrace explain conntrack-moved"));
        }
    }

    #[test]
    fn a_later_handshake_or_an_own_connection_was_not_translated() {
        let of = |sent: &Sent| told(sent, &patient(), translated(5, None)).is_some();
        assert!(of(&answer(0x18, Some(5))), "that handshake itself");
        assert!(!of(&answer(0x18, Some(4))), "a later one to this host");
        assert!(!of(&answer(0x02, None)), "a SYN");
        let mut own = answer(0x18, None);
        own.former_connection = Some(Box::new(tombstone(1, "x", TcpState::Established)));
        assert!(!of(&own), "its own connection");
    }

    #[test]
    fn a_balanced_connection_is_of_ipvs() {
        let late = answer(0x18, None);
        let settings = balancing(true, &[late.flow.local], false);
        let told = told(&late, &settings, translated(5, Some(Tracked::Nothing))).unwrap();
        assert!(
            told.summary
                .ends_with("its IPVS no longer does: idle connections expire after 2.0 s"),
            "{told:?}"
        );
        assert!(told.advice[0].starts_with("raise ipvsadm --set above"));
    }

    #[test]
    fn a_reset_on_its_way_shows_what_went_on_untranslated() {
        let scene = Scene::new();
        let came = scene.ingress(0x04, 1, 0, Target::None);
        let left = Packet {
            egress: true,
            baseline: None,
            ..came.clone()
        };
        let found = |came: &Packet, left: &Packet| {
            let memory = Some(translated(5, Some(Tracked::Nothing)));
            expired_entry_of_transit(came, left, BootTime(NOW), Some(&patient()), memory)
                .is_some_and(|entry| entry.is_certain() && entry.may_have_ended())
        };
        assert!(found(&came, &left));
        let seen = |seconds_ago: u64| {
            Some(Baseline {
                time: BootTime(NOW - seconds_ago * SECOND),
                ttl: 64,
                source_mac: None,
            })
        };
        let direct = Packet {
            baseline: seen(1),
            ..came.clone()
        };
        assert!(!found(&direct, &left), "a later connection without the NAT");
        let translated = Packet {
            destination: left.source,
            ..came.clone()
        };
        assert!(!found(&translated, &left), "translated as it should be");
    }
}
