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
    match packet {
        Some(packet) => {
            list.extend(evidence::ttl(packet));
            if evidence::ttl_differs(packet) {
                confidence = at_most(confidence, Confidence::Possible);
            }
        }
        None if context.coverage.packets && context.nothing_lost() && sender.is_none() => {
            list.push(item(
                "not_seen_on_wire",
                "no watched device saw the segment come in",
            ));
        }
        None => {}
    }
    if let Some(sender) = sender {
        confidence = Confidence::Certain;
        summary = format!("{summary}; on this host: {}", sender.summary);
        list.push(item(
            "local_sender",
            format!("{} on this host sent it: {}", sender.label, sender.summary),
        ));
    } else {
        list.extend(lost(context));
    }
    Verdict {
        origin: Origin::Peer,
        cause,
        severity,
        confidence,
        summary,
        evidence: list,
        advice: Vec::new(),
    }
}
