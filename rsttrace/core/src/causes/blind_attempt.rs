//! Rejected reset: out of window, or answered with a challenge ACK (RFC 5961); the connection stays up.

use super::{Definition, Doc, Many};
use crate::event::{Target, TcpFlags, TcpState};
use crate::correlate::{accepts, acknowledges_syn, is_in_window};
use crate::record::{Confidence, EvidenceKind, Explanation, Origin, Severity};
use crate::verdict::{ArrivedCase, CapturedCase};
use crate::words::bytes;

pub struct BlindAttempt;

impl Definition for BlindAttempt {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the reset was rejected: in the window without the expected sequence number (challenge ACK, RFC 5961), or out of window; the connection stays up",
            known: "the socket expected another sequence number. If the reset has the peer's TTL, is the only one rejected, and the next was accepted, it overtook the peer's own data instead (`reset_by_peer`, *possible*)",
            remedy: "–",
            look_alikes: "the peer's own reset that overtook its data: `reset_by_peer`",
            captured: ["", "the same signs and idle times as in a live trace"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Middlebox
    }

    fn many(&self, many: &Many) -> String {
        let live = if many.is_one {
            "was rejected; the connection"
        } else {
            "were rejected; the connections"
        };
        format!("{} {live} stayed up", many.resets)
    }

    fn arrived_from(&self, case: &ArrivedCase) -> (Origin, Confidence) {
        if let Some(origin) = case.written_here_by() {
            (origin, Confidence::Likely)
        } else if case.sender.is_some() || case.may_be_peers() {
            (Origin::Unknown, Confidence::Possible)
        } else {
            (Origin::Middlebox, Confidence::Likely)
        }
    }

    fn arrived(&self, case: &ArrivedCase, explanation: &mut Explanation) {
        explain_miss(case, explanation);
        let source = case.packet.source;
        explanation.summary = match aim(case) {
            Some(Aim::Connecting) => {
                format!("RST from {source} rejected (does not acknowledge our SYN)")
            }
            Some(Aim::InWindow(_)) => format!(
                "RST from {source} rejected (in window, unexpected sequence number) with a challenge ACK; connection still up"
            ),
            Some(Aim::Fits | Aim::Outside) | None => {
                format!("RST from {source} rejected (sequence number out of window); connection still up")
            }
        };
    }

    fn captured_cost(&self, _case: &CapturedCase) -> Severity {
        Severity::Noise
    }

    fn captured_from(&self, case: &CapturedCase) -> (Origin, Confidence) {
        if case.has_other_ttl() {
            (Origin::Middlebox, Confidence::Certain)
        } else {
            (Origin::Unknown, Confidence::Certain)
        }
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        case.missed(explanation);
        let named = if case.has_other_ttl() {
            "with source"
        } else {
            "from"
        };
        explanation.summary = format!(
            "RST {named} {} rejected (unexpected sequence or acknowledgment number); connection still up",
            case.captured.packet.source
        );
    }
}

/// Where a reset hits the socket it is aimed at.
pub(super) enum Aim {
    /// The socket would accept it.
    Fits,
    /// The socket was connecting, and it does not acknowledge the SYN.
    Connecting,
    /// So many bytes beyond the number expected next.
    InWindow(u32),
    /// Elsewhere.
    Outside,
}

/// Where it hits; absent without a full socket.
pub(super) fn aim(case: &ArrivedCase) -> Option<Aim> {
    let segment = &case.packet.segment;
    let Target::Socket {
        state,
        rcv_nxt,
        rcv_wnd,
        snd_una,
        snd_nxt,
        ..
    } = case.packet.target
    else {
        return None;
    };
    let connecting = state == TcpState::SynSent;
    let fits = if connecting {
        segment.flags.has(TcpFlags::ACK) && acknowledges_syn(snd_una, snd_nxt, segment.ack)
    } else {
        accepts(state, rcv_nxt, segment.seq)
    };
    Some(if fits {
        Aim::Fits
    } else if connecting {
        Aim::Connecting
    } else if is_in_window(rcv_nxt, rcv_wnd, segment.seq) {
        Aim::InWindow(segment.seq.wrapping_sub(rcv_nxt))
    } else {
        Aim::Outside
    })
}

/// The socket expected another number, and nothing hides whether it took it.
pub(super) fn missed(case: &ArrivedCase) -> bool {
    matches!(
        aim(case),
        Some(Aim::Connecting | Aim::InWindow(_) | Aim::Outside)
    )
}

/// The socket it was aimed at, and by how much it missed.
pub(super) fn explain_miss(case: &ArrivedCase, explanation: &mut Explanation) {
    if let Target::Socket { state, .. } = case.packet.target {
        explanation.add(EvidenceKind::Socket, format!("target socket in {state}"));
    }
    match aim(case) {
        Some(Aim::Connecting) => {
            explanation.add(EvidenceKind::Sequence, "it does not acknowledge our SYN");
        }
        Some(Aim::InWindow(ahead)) => explanation.add(
            EvidenceKind::Sequence,
            format!("{} beyond the expected sequence number, in the window", bytes(ahead)),
        ),
        Some(Aim::Outside) => explanation.add(EvidenceKind::Sequence, "out of window"),
        Some(Aim::Fits) | None => {}
    }
}

/// It missed and the connection lives, but it does not have the TTL of its source's other segments.
pub(super) fn captured_miss_of_another(case: &CapturedCase) -> bool {
    captured_miss(case) && case.has_other_ttl()
}

/// It missed, and the connection lives.
pub(super) fn captured_miss(case: &CapturedCase) -> bool {
    case.is_missed() && case.lives_on().is_some()
}
