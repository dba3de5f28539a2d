//! A socket of this host accepted a reset: what does that end know of it?

use super::{Context, OtherEnd, at_most, evidence, explain, item, lost, severity};
use crate::event::{BootTime, Packet, Received, TcpState};
use crate::record::{Cause, Confidence, Idle, Origin, Severity, Verdict};

/// Judges an accepted reset. What another end on this host knows is evidence, it does not change the cause.
pub fn received(
    received: &Received,
    at: BootTime,
    packet: Option<&Packet>,
    idle: Option<&Idle>,
    sender: Option<&OtherEnd>,
    context: &Context<'_>,
) -> Verdict {
    let connecting = received.socket.state == TcpState::SynSent;
    let severity = severity::of_received(received);
    let mut list = vec![item(
        "accepted",
        format!("the kernel accepted it in {}", received.socket.state),
    )];
    let (cause, mut confidence, mut summary) = if connecting {
        let summary = explain::refused(received.flow.remote, sender.is_some());
        (Cause::ConnectionRefused, Confidence::Certain, summary)
    } else {
        let finished = severity == Severity::Noise;
        let summary = explain::received(received, at, idle, finished);
        (Cause::ResetByPeer, Confidence::Likely, summary)
    };
    let mut from_peer = true;
    match packet {
        Some(packet) => {
            list.extend(evidence::ttl(packet));
            let unasked = evidence::nothing_to_answer(received, packet).filter(|_| !connecting);
            // Two independent facts; either alone may have an innocent reason.
            let other_ttl = evidence::ttl_is_other(packet) == Some(true)
                && evidence::is_of_handshake(received, packet);
            from_peer = !(other_ttl && unasked.is_some());
            if evidence::ttl_differs(packet) || unasked.is_some() {
                confidence = at_most(confidence, Confidence::Possible);
            }
            list.extend(unasked);
        }
        None if context.coverage.packets && context.nothing_lost() && sender.is_none() => {
            list.push(item(
                "not_seen_on_wire",
                "no watched device saw the segment come in",
            ));
        }
        None => {}
    }
    if sender.is_none() && !from_peer {
        list.extend(lost(context));
        return Verdict {
            origin: Origin::Middlebox,
            cause: Cause::NotFromPeer,
            severity,
            confidence: Confidence::Likely,
            summary: explain::not_from_peer(received.flow.remote),
            evidence: list,
            advice: Vec::new(),
        };
    }
    let mut origin = Origin::Peer;
    let mut cause = cause;
    if let Some(sender) = sender {
        match sender.found {
            // Written in the peer's name on this host: not the peer.
            Some((made_by, made_how @ (Cause::FirewallReject | Cause::RawSocket))) => {
                (origin, cause) = (made_by, made_how);
                confidence = Confidence::Certain;
                summary = explain::made_here(received.flow.remote, made_how, &sender.label);
            }
            Some((Origin::LocalProcess | Origin::LocalKernel, _)) => {
                confidence = Confidence::Certain;
            }
            // Seen, but not understood: that proves nothing.
            _ => confidence = at_most(confidence, Confidence::Likely),
        }
        if origin == Origin::Peer {
            summary = format!("{summary}; on this host: {}", sender.summary);
        }
        list.push(item(
            "local_sender",
            format!("{} on this host sent it: {}", sender.label, sender.summary),
        ));
    } else {
        list.extend(lost(context));
    }
    Verdict {
        origin,
        cause,
        severity,
        confidence,
        summary,
        evidence: list,
        advice: Vec::new(),
    }
}
