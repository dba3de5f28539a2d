//! Expired connection tracking or IPVS entries of this host.
//!
//! A host that translates addresses or balances has no sockets for the connections it forwards, only entries that expire.
//! Afterwards a segment of such a connection is answered by its own stack, rejected by a rule, or is forwarded untranslated, to an end
//! without such a connection. The handshake was seen passing here, longer ago than the entry lives without a packet.

use std::net::SocketAddr;
use std::time::Duration;

use crate::correlate::is_passive_form;
use crate::event::{Baseline, BootTime, NetSettings, Packet, Sent};
use crate::record::{Basis, Candidate, EvidenceKind, Explanation, Idle, IdleMode};
use crate::words;

/// An entry that has expired.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpiredEntry {
    table: &'static str,
    setting: &'static str,
    timeout: Duration,
    since_handshake: Duration,
    /// The end of the connection that IPVS is set to balance.
    balanced: Option<SocketAddr>,
}

/// Whether a segment that the kernel answered belonged to a connection that this host had forwarded.
pub fn expired_entry(
    sent: &Sent,
    at: BootTime,
    settings: Option<&NetSettings>,
) -> Option<ExpiredEntry> {
    let unknown =
        sent.socket.is_none() && sent.minisock.is_none() && sent.former_connection.is_none();
    let speaks = sent.cause.is_some_and(|cause| !cause.flags.has(SYN));
    if !unknown || !speaks {
        return None;
    }
    expired(sent.handshake?, at, settings?, &[sent.flow.local])
}

/// The same for a segment that a packet filter rejected.
pub fn expired_entry_of_filter(
    packet: &Packet,
    at: BootTime,
    settings: Option<&NetSettings>,
) -> Option<ExpiredEntry> {
    let ends = [packet.source, packet.destination];
    expired(packet.handshake_of_destination?, at, settings?, &ends)
}

/// The same for a segment that went on untranslated, as the answer to it shows, on its way back: it comes from an end whose
/// handshake with this server has not been seen, only the server's with it.
pub fn expired_entry_of_transit(
    came: &Packet,
    left: &Packet,
    at: BootTime,
    settings: Option<&NetSettings>,
) -> Option<ExpiredEntry> {
    let translated = came.source != left.source || came.destination != left.destination;
    if translated || came.baseline.is_some() || !is_passive_form(left) {
        return None;
    }
    let settings = settings?;
    let ends = [left.destination];
    expired(left.handshake_of_destination?, at, settings, &ends)
        .filter(|entry| entry.balanced.is_some())
}

const SYN: u8 = crate::event::TcpFlags::SYN;

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
    let tables = [
        (
            "connection tracking",
            "net.netfilter.nf_conntrack_tcp_timeout_established",
            settings
                .conntrack
                // What IPVS balances it has translated, too.
                .filter(|_| forwards && balanced.is_none())
                .map(|conntrack| conntrack.established),
        ),
        (
            "IPVS",
            "ipvsadm --set",
            settings
                .ipvs
                // Only to translate it has to forward.
                .filter(|_| balanced.is_some() || (forwards && perhaps))
                .map(|ipvs| ipvs.established),
        ),
    ];
    tables
        .into_iter()
        .filter_map(|(table, setting, timeout)| Some((table, setting, timeout?)))
        .filter(|(_, _, timeout)| since_handshake >= *timeout)
        .min_by_key(|(_, _, timeout)| *timeout)
        .map(|(table, setting, timeout)| ExpiredEntry {
            table,
            setting,
            timeout,
            since_handshake,
            balanced,
        })
}

impl ExpiredEntry {
    /// Adds it to the explanation of a reset that it led to.
    pub(super) fn explain(&self, explanation: &mut Explanation) {
        let timeout = words::span(self.timeout);
        let table = self.table;
        let passed = format!(
            "its handshake passed through this host {} earlier",
            words::span(self.since_handshake)
        );
        let (evidence, summary, condition) = match self.balanced {
            Some(end) => (
                format!(
                    "{passed}, {end} is balanced by {table} on this host, and {table} expires a connection after {timeout} without a packet"
                ),
                format!(
                    "this host's {table} had forwarded the connection and expires idle connections after {timeout}"
                ),
                "",
            ),
            None => (
                format!(
                    "{passed}, and no socket on this host is known for it; {table} expires a connection after {timeout} without a packet"
                ),
                format!(
                    "this host may have forwarded the connection, and its {table} expires idle connections after {timeout}"
                ),
                "if this host forwards such connections, ",
            ),
        };
        explanation.add(EvidenceKind::PassedOnBefore, evidence);
        explanation.summary = format!("{}; {summary}", explanation.summary);
        explanation.advice.insert(
            0,
            format!(
                "{condition}raise {} above their longest idle time, or have the ends send keepalive probes more often than every {timeout}",
                self.setting
            )
            .into(),
        );
    }

    /// It as the record shows it. How long the connection was silent is not known here.
    pub fn idle(&self) -> Idle {
        Idle {
            mode: Some(IdleMode::LateRst),
            candidates: vec![Candidate {
                device: format!("{} of this host ({})", self.table, self.setting).into(),
                timeout: self.timeout.as_secs_f64(),
                mode: Some(IdleMode::LateRst),
                basis: Basis::Host,
            }],
            ..Idle::default()
        }
    }
}

#[cfg(test)]
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
        expired_entry(sent, BootTime(NOW), Some(settings)).map(|it| it.idle().candidates[0].timeout)
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
        own.former_connection = Some(Box::new(tombstone(
            1,
            "x",
            crate::event::TcpState::Established,
        )));
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
            former_connection: Some(Box::new(tombstone(
                1,
                "x",
                crate::event::TcpState::Established,
            ))),
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
            expired_entry_of_transit(came, left, at, Some(settings)).is_some()
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
}
