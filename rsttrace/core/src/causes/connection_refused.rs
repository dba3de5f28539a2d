//! The peer answered our SYN with a reset.

use super::{Definition, Doc, Many};
use crate::event::TcpState;
use crate::record::{Confidence, Direction, EvidenceKind, Explanation, Origin, Severity, ServingEnd};
use crate::verdict::peer_signs::weigh_ttl;
use crate::verdict::{AcceptedCase, CapturedCase};

pub struct ConnectionRefused;

impl Definition for ConnectionRefused {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a reset answered our SYN",
            known: "accepted in SYN_SENT",
            remedy: "start the service there, or open the port",
            look_alikes: "a packet filter on the path that rejects; its TTL may reveal it in a capture",
            captured: ["", "*likely*, with the same signs and idle times as in a live trace"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Peer
    }

    fn serving(&self, _direction: Direction) -> Option<ServingEnd> {
        Some(ServingEnd::Remote)
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} {} refused by the peer",
            many.attempts,
            many.was()
        )
    }

    fn accepted(&self, case: &AcceptedCase, explanation: &mut Explanation) {
        let remote = case.received.flow.remote;
        // The sender is on this host, and its own record says why.
        let why = if case.sender.is_some() { "" } else { UNKNOWN_WHY };
        explanation.summary = format!("{remote} refused the connection{why}");
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        case.cost_of_refusal()
    }

    /// A packet filter on the path may reject, too; the TTL reveals a nearer one.
    fn captured_from(&self, case: &CapturedCase) -> (Origin, Confidence) {
        let seen = case.captured.packet.segment.ttl;
        let weight = case.around.peer_ttl.map_or(0, |usual| weigh_ttl(seen, usual));
        let confidence = match weight {
            1.. => Confidence::Possible,
            0 => Confidence::Likely,
            ..0 => Confidence::Certain,
        };
        (Origin::Peer, confidence)
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        let packet = &case.captured.packet;
        case.shape(explanation);
        if let Some(usual) = case.around.peer_ttl {
            let seen = packet.segment.ttl;
            explanation.add(
                EvidenceKind::Ttl,
                format!("TTL {seen}, the peer's other connections had {usual}"),
            );
        }
        explanation.summary = format!("{} refused the connection{UNKNOWN_WHY}", packet.source);
    }
}

const UNKNOWN_WHY: &str = ": no listener there, or a firewall on the path rejects it";

/// This end was connecting.
pub(super) fn was_connecting(case: &AcceptedCase) -> bool {
    case.received.socket.state == TcpState::SynSent
}
