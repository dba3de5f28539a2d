//! Which facts does a verdict rest on?

use std::time::Duration;

use super::words::{self, bytes};
use super::{Ruling, item, nearer};
use crate::event::{
    BootTime, Facts, Ownership, Packet, Received, Segment, Sent, TcpState, Tombstone,
};
use crate::record::{Cause, Evidence};

/// Facts about a reset the kernel sent.
pub fn of_sent(sent: &Sent, at: BootTime, facts: &Facts, ruling: Ruling) -> Vec<Evidence> {
    let mut list = Vec::with_capacity(5);
    list.push(reason(sent, ruling));
    if let Some(cause) = &sent.cause {
        list.push(item("segment", format!("it answers {}", segment(cause))));
    } else if sent.passive {
        list.push(item("segment", "the segment it answers could not be read"));
    }
    list.extend(state(sent));
    list.extend(socket(sent, ruling.cause));
    list.extend(ending(sent));
    if let Some(tombstone) = &sent.former_connection {
        list.push(item("tombstone", connection_end(tombstone, at, facts)));
    }
    if let Some(tombstone) = &sent.former_listener {
        list.push(item("former_listener", listener_end(tombstone, at)));
    }
    if sent.socket.is_none() && sent.former_connection.is_none() && ruling.cause == Cause::HalfOpen
    {
        list.push(item(
            "tombstone",
            "no connection with these addresses and ports is remembered: it ended before the tool was there, was forgotten for want of room, or was another host's",
        ));
    }
    list
}

/// A reset had ended the connection here so long ago, but the peer knows nothing of it.
pub fn talks_on(after: Duration) -> Evidence {
    let detail = format!(
        "the connection had ended here {} earlier by a reset in the peer's name, but the peer speaks on: that reset does not look like it came from the peer",
        words::span(after)
    );
    item("peer_talks_on", detail)
}

/// TTL against the handshake's, if that was seen.
pub fn ttl(packet: &Packet) -> Option<Evidence> {
    let expected = packet.baseline?.ttl;
    let seen = packet.segment.ttl;
    let detail = if seen == expected {
        format!("TTL {seen}, as in the peer's handshake")
    } else {
        format!("TTL {seen}, the peer's handshake had {expected}")
    };
    Some(item("ttl", detail))
}

/// Whether the TTL speaks against the peer; `None`: the handshake was not seen.
pub fn ttl_is_other(packet: &Packet) -> Option<bool> {
    packet
        .baseline
        .map(|baseline| nearer::weigh_ttl(packet.segment.ttl, baseline.ttl) > 0)
}

/// Whether the TTL that was learned is this connection's: a later SYN with the same addresses and ports, which anybody can
/// send, is not.
pub fn is_of_handshake(received: &Received, packet: &Packet) -> bool {
    let established = received
        .ownership
        .as_ref()
        .and_then(|ownership| ownership.established);
    match (established, packet.baseline) {
        (Some(established), Some(baseline)) => {
            baseline.time <= established.plus(Duration::from_millis(10))
                && established.since(baseline.time) <= LONGEST_HANDSHAKE
        }
        _ => false,
    }
}

/// A SYN so long before the connection is another one's.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(130);

/// `a segment (P.) with 100 bytes`.
pub fn headers(segment: &Segment) -> String {
    let mut text = format!("a segment with flags {}", segment.flags);
    if segment.payload_len > 0 {
        text.push_str(&format!(" and {}", bytes(segment.payload_len)));
    }
    text
}

/// The same with its TTL, where that is known.
fn segment(segment: &Segment) -> String {
    let mut text = headers(segment);
    if segment.ttl > 0 {
        text.push_str(&format!(", TTL {}", segment.ttl));
    }
    text
}

fn reason(sent: &Sent, ruling: Ruling) -> Evidence {
    match sent.reason.as_deref() {
        Some(reason) if ruling.cause == Cause::Unknown => item(
            "kernel_reason",
            format!("the kernel's reason is {reason}, which does not tell the cause here"),
        ),
        Some("NOT_SPECIFIED") => item(
            "inferred",
            "the kernel names no reason; inferred from the socket and the segment",
        ),
        Some(reason) => item(
            "kernel_reason",
            ["the kernel's reason is ", reason].concat(),
        ),
        None => item(
            "inferred",
            "this kernel gives no reasons; inferred from the socket and the segment",
        ),
    }
}

fn state(sent: &Sent) -> Option<Evidence> {
    if let Some(minisock) = sent.minisock {
        return Some(item("state", format!("the connection was in {minisock}")));
    }
    let socket = sent.socket.as_ref()?;
    let before = sent
        .ownership
        .as_ref()
        .and_then(|ownership| ownership.state_before_close)
        .filter(|_| socket.state == TcpState::Close);
    Some(match before {
        Some(before) => item(
            "state",
            ["the socket was in ", before.name(), " before it closed"].concat(),
        ),
        None => item(
            "state",
            ["the socket was in ", socket.state.name()].concat(),
        ),
    })
}

/// The setting or number of the socket that decided.
fn socket(sent: &Sent, cause: Cause) -> Option<Evidence> {
    let socket = sent.socket.as_ref()?;
    match cause {
        Cause::CloseWithUnreadData | Cause::KilledWithUnreadData => Some(item(
            "unread",
            format!("{} received and never read", bytes(socket.unread)),
        )),
        Cause::LingerZero => Some(item("linger", "SO_LINGER is on with time 0")),
        Cause::Linger2 => Some(item("linger2", "TCP_LINGER2 is below zero")),
        Cause::KeepaliveTimeout => Some(item(
            "keepalive",
            format!("{} probes without an answer", socket.probes_out),
        )),
        Cause::AcceptQueueOverflow => socket.accept_queue.map(|(waiting, limit)| {
            item(
                "accept_queue",
                format!("{waiting} connections waited for accept(), the limit is {limit}"),
            )
        }),
        Cause::ListenerClosed => Some(item(
            "unaccepted",
            "no process had accepted this connection",
        )),
        Cause::DataAfterClose if socket.orphaned || socket.receive_shutdown => Some(item(
            "shutdown",
            "the application could not receive any more: it had closed or shut down",
        )),
        _ => None,
    }
}

/// How the closing task ended, if it did.
fn ending(sent: &Sent) -> Option<Evidence> {
    let (exiting, signal) = match sent.actor() {
        Some(current) => (current.exiting, current.signal),
        None => {
            let closer = sent.ownership.as_ref()?.closer.as_ref()?;
            (closer.exiting, closer.signal)
        }
    };
    match signal {
        Some(signal) if exiting => Some(item(
            "signal",
            format!("the process was being killed by {}", words::signal(signal)),
        )),
        _ if exiting => Some(item("exiting", "the process was exiting")),
        _ => None,
    }
}

/// `nginx[87] had closed it 40.0 s earlier, from FIN_WAIT2`.
pub fn connection_end(tombstone: &Tombstone, at: BootTime, facts: &Facts) -> String {
    let who = crate::attribution::former(tombstone, facts).map_or_else(
        || "a process not known".to_owned(),
        |who| words::process(&who),
    );
    let ago = words::span(at.since(tombstone.died));
    let state = tombstone.last_state;
    match (tombstone.error, tombstone.last_state.is_synchronized()) {
        (0, true) if tombstone.fin_sent || tombstone.ownership.closer.is_some() => {
            let how = match words::ended(tombstone.ownership.closer.as_ref()).as_str() {
                "closed" => "closed this connection".to_owned(),
                how => format!("{how} with this connection open"),
            };
            format!("{who} had {how}; it ended {ago} earlier, from {state}")
        }
        (0, _) => format!("{who} had this connection; it ended {ago} earlier, from {state}"),
        (error, _) => format!(
            "{who} had this connection; it ended {ago} earlier with {}, from {state}",
            words::errno(error)
        ),
    }
}

/// `exporter[311] listened on this port until 40.0 s earlier`.
fn listener_end(tombstone: &Tombstone, at: BootTime) -> String {
    let who = listener(&tombstone.ownership);
    format!(
        "{who} listened on this port until {} earlier",
        words::span(at.since(tombstone.died))
    )
}

/// Who listened: the process that called listen().
pub fn listener(ownership: &Ownership) -> String {
    ownership.owner.as_ref().map_or_else(
        || "a process not known".to_owned(),
        |task| format!("{}[{}]", task.comm, task.pid),
    )
}
