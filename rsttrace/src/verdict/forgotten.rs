//! Has this host itself forgotten a connection that it passed on?
//!
//! A host that translates addresses or balances keeps no sockets of the connections it passes on, only entries that expire.
//! Afterwards a segment of such a connection is answered by its own stack or rejected by a rule. The handshake was seen
//! passing here, longer ago than the entry lives without a packet.

use std::time::Duration;

use super::{item, words};
use crate::event::{Baseline, BootTime, NetSettings, Packet, Sent};
use crate::record::{Basis, Candidate, Cause, Idle, IdleMode, Severity, Verdict};

/// An entry that has expired.
#[derive(Clone, Debug, PartialEq)]
pub struct Forgotten {
    table: &'static str,
    setting: &'static str,
    timeout: Duration,
    since_handshake: Duration,
}

/// Whether a segment that the kernel answered belonged to a connection this host had passed on.
pub fn forgotten(sent: &Sent, at: BootTime, settings: Option<&NetSettings>) -> Option<Forgotten> {
    let unknown =
        sent.socket.is_none() && sent.minisock.is_none() && sent.former_connection.is_none();
    let speaks = sent.cause.is_some_and(|cause| !cause.flags.has(SYN));
    if !unknown || !speaks {
        return None;
    }
    expired(sent.handshake?, at, settings?)
}

/// The same for a segment that a packet filter rejected.
pub fn forgotten_by_filter(
    verdict: &Verdict,
    packet: &Packet,
    at: BootTime,
    settings: Option<&NetSettings>,
) -> Option<Forgotten> {
    if verdict.cause != Cause::FirewallReject {
        return None;
    }
    expired(packet.handshake_of_destination?, at, settings?)
}

const SYN: u8 = crate::event::TcpFlags::SYN;

fn expired(handshake: Baseline, at: BootTime, settings: &NetSettings) -> Option<Forgotten> {
    if !settings.forwards {
        return None;
    }
    let since_handshake = at.since(handshake.time);
    let tables = [
        (
            "connection tracking",
            "net.netfilter.nf_conntrack_tcp_timeout_established",
            settings.conntrack.map(|conntrack| conntrack.established),
        ),
        (
            "IPVS",
            "ipvsadm --set",
            settings.ipvs.map(|ipvs| ipvs.established),
        ),
    ];
    tables
        .into_iter()
        .filter_map(|(table, setting, timeout)| Some((table, setting, timeout?)))
        .filter(|(_, _, timeout)| since_handshake >= *timeout)
        .min_by_key(|(_, _, timeout)| *timeout)
        .map(|(table, setting, timeout)| Forgotten {
            table,
            setting,
            timeout,
            since_handshake,
        })
}

impl Forgotten {
    /// Adds it to a verdict: the cause stays what the kernel did.
    pub fn note(&self, verdict: &mut Verdict) {
        let timeout = words::span(self.timeout);
        verdict.evidence.push(item(
            "passed_on_before",
            format!(
                "its handshake passed here {} before, and no socket of this host is known for it; {} forgets a connection after {timeout} without a packet",
                words::span(self.since_handshake),
                self.table
            ),
        ));
        verdict.summary = format!(
            "{}; this host may have passed the connection on, and its {} forgets after {timeout} of silence",
            verdict.summary, self.table
        );
        // Whoever spoke had not closed.
        if verdict.severity == Severity::Noise {
            verdict.severity = Severity::Fault;
        }
        verdict.advice.insert(
            0,
            format!(
                "if this host passes such connections on, raise {} above their longest silence, or have the ends send keepalive probes more often than every {timeout}",
                self.setting
            ),
        );
    }

    /// It as the record shows it. How long the connection was silent is not known here.
    pub fn idle(&self) -> Idle {
        Idle {
            mode: Some(IdleMode::LateRst),
            candidates: vec![Candidate {
                device: format!("{} of this host ({})", self.table, self.setting),
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
    use crate::event::ConntrackTimeouts;
    use crate::pipeline::fixtures::{NOW, SECOND, Scene, segment, tombstone};

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

    fn found(sent: &Sent, settings: &NetSettings) -> Option<f64> {
        forgotten(sent, BootTime(NOW), Some(settings)).map(|it| it.idle().candidates[0].timeout)
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
        own.former_connection = Some(tombstone(1, "x", crate::event::TcpState::Established));
        assert_eq!(found(&own, &settings(true)), None, "its own connection");
    }
}
