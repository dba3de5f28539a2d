//! Fields of the public record, from the observations of the kernel.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use smol_str::ToSmolStr as _;

use crate::correlate::{NamespaceView, Numbers};
use crate::event::{
    self, BootTime, HostContext, HostFacts, KeepaliveDefaults, Ownership, Segment, Sent, TcpState,
};
use crate::flood::{Sum, SumNames};
use crate::record::{
    Cause, Direction, Endpoint, Form, Id, Idle, Isn, Keepalive, Kernel, Packet, Record, SCHEMA,
    SUPPRESSED_SCHEMA, Socket, SuppressedRecord, Timestamps, Verdict, Word, nowhere,
};
use crate::verdict::advice::KeepaliveNow;
use crate::verdict::{self, Around, Arrived, OwnTimer, peer_signs};
use crate::words;

/// A record with what every one has; the ends are filled in by the caller, the number when it comes out.
pub fn blank(
    time: BootTime,
    direction: Direction,
    host: &HostFacts,
    netns: Option<u32>,
    verdict: Verdict,
) -> Box<Record> {
    Box::new(Record {
        schema: Word::new_static(SCHEMA),
        id: unnumbered(),
        time: timestamp(time, host),
        host: host.host.clone(),
        direction,
        local: nowhere(),
        remote: nowhere(),
        netns,
        interface: None,
        verdict,
        process: None,
        owner: None,
        socket: None,
        idle: None,
        packet: None,
        kernel: None,
        link: None,
        incident: None,
        capture: None,
    })
}

/// Resets that were counted only.
pub fn suppressed(sum: &Sum, names: SumNames, host: &HostFacts) -> SuppressedRecord {
    let kind = &sum.kind;
    SuppressedRecord {
        schema: Word::new_static(SUPPRESSED_SCHEMA),
        time: timestamp(sum.until, host),
        since: timestamp(sum.since, host),
        host: host.host.clone(),
        count: sum.count,
        direction: kind.direction(),
        cause: sum.cause,
        reason: names.reason.map(|reason| reason.word()),
        state: names.state.map(|state| Word::new_static(state.name())),
        netns: names.netns,
        local_port: kind.local_port,
        remote_port: kind.remote_port,
        remote_network: kind.network.map(|network| network.to_string()),
    }
}

/// An address and port as the record shows them.
pub fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        address: address.ip().to_canonical(),
        port: address.port(),
    }
}

/// The socket as it stood.
pub fn socket(
    socket: &event::Socket,
    state: TcpState,
    ownership: Option<&Ownership>,
    at: BootTime,
    facts: &HostContext,
) -> Socket {
    let keepalive = keepalive(socket, facts);
    // A listener has no connection of its own; what it remembers is the process.
    let connection = (state != TcpState::Listen).then_some(());
    let ownership = connection.and(ownership);
    Socket {
        cookie: socket.cookie.0,
        inode: socket.inode,
        state: Word::new_static(state.name()),
        age: age(ownership, at),
        keepalive: Keepalive {
            enabled: keepalive.enabled,
            time: seconds(keepalive.time),
            interval: seconds(keepalive.interval),
            probes: socket
                .keepalive_probes
                .map(u32::from)
                .or(defaults(facts).map(|known| known.probes)),
        },
        linger: seconds(socket.linger),
        isn: ownership
            .and_then(|ownership| ownership.isn)
            .map(|(local, remote)| Isn { local, remote }),
        unread: connection.map(|()| u64::from(socket.unread)),
        unsent: connection.map(|()| u64::from(socket.unacknowledged)),
        bytes_sent: connection.map(|()| socket.bytes_sent),
        bytes_received: connection.map(|()| socket.bytes_received),
        rtt: seconds(socket.rtt),
        retransmits: connection.map(|()| u64::from(socket.total_retransmits)),
    }
}

/// The keepalive settings that hold for a socket now.
pub fn keepalive(socket: &event::Socket, facts: &HostContext) -> KeepaliveNow {
    let defaults = defaults(facts);
    KeepaliveNow {
        enabled: socket.keepalive,
        time: socket.keepalive_time.or(defaults.map(|known| known.time)),
        interval: socket
            .keepalive_interval
            .or(defaults.map(|known| known.interval)),
        from_sysctl: socket.keepalive_time.is_none(),
    }
}

/// The namespace's keepalive settings; absent if they could not be read.
fn defaults(facts: &HostContext) -> Option<KeepaliveDefaults> {
    facts.settings.as_ref()?.keepalive
}

/// The clocks of an accepted reset with what the silence fits.
pub fn with_timeout(idle: Idle, around: &Around, cause: Cause) -> Idle {
    let fits = !around.matches.is_empty() || around.learned.is_some();
    Idle {
        mode: around
            .quiet
            .filter(|_| cause == Cause::IdleTimeout || fits)
            .map(|quiet| quiet.mode),
        candidates: around
            .matches
            .iter()
            .map(|found| found.candidate.clone())
            .collect(),
        learned: around.learned.clone().map(Box::new),
        ..idle
    }
}

/// Adds what is known of the timer at which a process of this host may have closed.
pub fn add_own_timer(idle: &mut Idle, timer: &OwnTimer) {
    idle.mode = Some(timer.quiet.mode);
    idle.learned = timer.learned.clone().map(Box::new);
    idle.candidates.clone_from(&timer.fits);
}

/// The segment as it was seen.
pub fn packet(packet: &event::Packet) -> Packet {
    of_segment(&packet.segment, Some(verdict::form(packet)), Some(packet))
}

/// The segment of an accepted reset, as far as it is known.
pub fn arrived(arrived: &Arrived) -> Packet {
    of_segment(&arrived.segment, arrived.form, arrived.sighting.as_deref())
}

fn of_segment(segment: &Segment, form: Option<Form>, sighting: Option<&event::Packet>) -> Packet {
    let numbers = Numbers::of_segment(segment);
    Packet {
        ttl: Some(segment.ttl),
        hops: Some(peer_signs::hops(segment.ttl)),
        expected_ttl: sighting
            .and_then(|packet| packet.baseline)
            .map(|baseline| baseline.ttl),
        ip_id: segment.ip_id,
        seq: Some(numbers.seq),
        ack: numbers.ack,
        window: Some(segment.window),
        flags: Some(segment.flags.to_smolstr()),
        timestamps: sighting
            .and_then(|packet| packet.timestamps)
            .map(|(value, echo)| Timestamps { value, echo }),
        mac: sighting
            .and_then(|packet| packet.source_mac)
            .map(|address| words::mac(address).into()),
        form,
    }
}

/// The segment that was not seen, as far as the kernel's state determines it.
pub fn determined(sent: &Sent) -> Option<Packet> {
    let numbers = Numbers::of_sent(sent)?;
    Some(Packet {
        ttl: None,
        hops: None,
        expected_ttl: None,
        ip_id: None,
        seq: Some(numbers.seq),
        ack: numbers.ack,
        window: None,
        flags: Some(Word::new_static(if numbers.ack.is_some() {
            "R."
        } else {
            "R"
        })),
        timestamps: None,
        mac: None,
        form: Some(if sent.passive {
            Form::Passive
        } else {
            Form::Active
        }),
    })
}

/// The hooks that saw a reset at the end that sent it or the one that got it.
pub fn hooks(first: &[&'static str], part: &NamespaceView, sending: bool) -> Vec<Word> {
    let saw = |egress: bool| part.packets.iter().any(|seen| seen.event.egress == egress);
    let mut list = Vec::with_capacity(first.len() + 1);
    list.extend(first.iter().map(|&hook| Word::new_static(hook)));
    if saw(false) && (!sending || part.was_forwarded()) {
        list.push(Word::new_static("tc:ingress"));
    }
    if saw(true) && sending {
        list.push(Word::new_static("tc:egress"));
    }
    list
}

/// The hook that told of a sent reset: the tracepoint shows those without a socket only where it gives a reason (6.10).
pub fn hook_of(sent: &Sent) -> &'static str {
    if sent.socket.is_some() || sent.reason.is_some() {
        "tcp:tcp_send_reset"
    } else if sent.flow.local.is_ipv4() {
        "function:tcp_v4_send_reset"
    } else {
        "function:tcp_v6_send_reset"
    }
}

/// Only devices saw it.
pub fn seen_only(part: &NamespaceView, sending: bool) -> Kernel {
    Kernel {
        reason: None,
        state: None,
        hook: hooks(&[], part, sending),
    }
}

pub fn age(ownership: Option<&Ownership>, at: BootTime) -> Option<f64> {
    ownership
        .and_then(|ownership| ownership.established)
        .map(|established| at.since(established).as_secs_f64())
}

pub fn unnumbered() -> Id {
    Id {
        boot: Word::default(),
        number: 0,
    }
}

/// RFC 3339, UTC, nanoseconds. A time that no calendar has (a broken recording) shows as the epoch.
pub fn timestamp(time: BootTime, host: &HostFacts) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));
    let nanoseconds = i128::from(time.0).saturating_add(host.realtime_offset_ns);
    let timestamp = Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    PRINTER.timestamp_to_string(&timestamp)
}

fn seconds(span: Option<Duration>) -> Option<f64> {
    span.map(|span| span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::host;

    #[test]
    fn times_have_all_nine_digits() {
        let mut host = host();
        host.realtime_offset_ns = 1_700_000_000_000_000_000;
        assert_eq!(
            timestamp(BootTime(5), &host),
            "2023-11-14T22:13:20.000000005Z"
        );
        assert_eq!(
            timestamp(BootTime(0), &host),
            "2023-11-14T22:13:20.000000000Z"
        );
    }

    #[test]
    fn a_time_that_no_calendar_has_is_the_epoch() {
        let mut host = host();
        host.realtime_offset_ns = i128::MAX;
        assert_eq!(
            timestamp(BootTime(5), &host),
            "1970-01-01T00:00:00.000000000Z"
        );
        host.realtime_offset_ns = -6;
        assert_eq!(
            timestamp(BootTime(5), &host),
            "1969-12-31T23:59:59.999999999Z"
        );
    }
}
