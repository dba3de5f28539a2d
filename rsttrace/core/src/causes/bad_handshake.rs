//! Invalid ACK, SYN or timestamp during the handshake.

use super::{Definition, Doc, Many, answers_any_syn, half_open};
use crate::event::{Sent, TcpState};
use crate::record::{Explanation, Origin, Severity};
use crate::verdict::{CapturedCase, SentCase};
use crate::words;

pub struct BadHandshake;

impl Definition for BadHandshake {
    fn doc(&self) -> Doc {
        Doc {
            happened: "an ACK, SYN or timestamp was invalid during the handshake",
            known: "the kernel's reason says which",
            remedy: "check for an old connection with the same ports, or for NAT",
            look_alikes: "a full accept queue has the same reason for a segment without SYN: `accept_queue_overflow`",
            captured: ["*likely* if the older connection was captured too", "`reset_by_peer`, a *fault* of the older connection"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    fn is_answer(&self) -> bool {
        true
    }

    /// A client that answers so goes on connecting (RFC 9293 section 3.5.1): it has met an older connection.
    fn cost(&self, sent: &Sent) -> Severity {
        if sent.socket_is(|socket| socket.state == TcpState::SynSent) {
            Severity::Noise
        } else {
            Severity::Refused
        }
    }

    fn sentence(&self, case: &SentCase) -> String {
        format!(
            "invalid segment from {} during the handshake{}",
            case.sent.flow.remote,
            words::after(" with ", case.process.as_ref())
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} answered invalid handshake segments",
            many.resets
        )
    }

    /// The client goes on connecting, as live.
    fn captured_cost(&self, _case: &CapturedCase) -> Severity {
        Severity::Noise
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        let (me, peer) = case.ends();
        case.look(explanation);
        case.answered(explanation);
        explanation.summary = format!(
            "{me} opens a new connection with the addresses and ports of an older one that {peer} still has, and resets the older one"
        );
    }
}

pub(super) fn syn_at_listener(sent: &Sent) -> bool {
    half_open::answer_at_listener(sent) && answers_any_syn(sent)
}

/// The connection was being made.
pub(super) fn connecting(sent: &Sent) -> bool {
    let handshake = |state| {
        matches!(
            state,
            TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv
        )
    };
    sent.passive
        && (sent.socket_is(|socket| handshake(socket.state))
            || sent.minisock.is_some_and(handshake))
}

/// This end opens a new connection with addresses and ports for which the other end still has one.
pub(super) fn captured_reconnect(case: &CapturedCase) -> bool {
    case.is_answer_of_this_host() && case.captured.sender.connects_anew
}
