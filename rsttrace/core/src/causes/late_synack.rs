//! SYN-ACK for a connection attempt that was already abandoned.

use super::{Definition, Doc, Many, answers_synack, half_open};
use crate::event::{Sent, TcpFlags, TcpState};
use crate::record::{Direction, Explanation, Origin, Severity, ServingEnd};
use crate::verdict::{CapturedCase, SentCase};
use crate::words;

pub struct LateSynack;

impl Definition for LateSynack {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the peer answered a connection attempt that was already abandoned",
            known: "reason NO_SOCKET for a SYN-ACK",
            remedy: "raise the connect timeout: it is shorter than the handshake takes",
            look_alikes: "backscatter of a SYN spoofed with this host's address: *possible* where no connection attempt is recorded",
            captured: ["*possible*: abandoned, a scan, or a packet filter", "`reset_by_peer`, noise"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    fn serving(&self, _direction: Direction) -> Option<ServingEnd> {
        Some(ServingEnd::Remote)
    }

    fn is_answer(&self) -> bool {
        true
    }

    fn cost(&self, _sent: &Sent) -> Severity {
        Severity::Noise
    }

    fn sentence(&self, case: &SentCase) -> String {
        let remote = case.sent.flow.remote;
        if is_abandoned(&case.sent) {
            format!(
                "SYN-ACK from {remote} for a connection attempt{} that was already abandoned",
                words::after(" of ", case.process.as_ref())
            )
        } else {
            format!(
                "SYN-ACK from {remote} for an unknown connection attempt: abandoned before the trace started, or never made (backscatter of a spoofed SYN)"
            )
        }
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} answered SYN-ACKs for connection attempts that were abandoned, or never made, here",
            many.resets
        )
    }

    fn captured_cost(&self, _case: &CapturedCase) -> Severity {
        Severity::Noise
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        let (me, peer) = case.ends();
        case.look(explanation);
        case.answered(explanation);
        case.kernel_or_filter(explanation);
        explanation.summary = format!(
            "SYN-ACK from {peer} for a connection attempt that {} is not, or no longer, waiting for: abandoned, a scan, or its packet filter rejects",
            me.ip()
        );
    }
}

fn is_abandoned(sent: &Sent) -> bool {
    sent.former_connection
        .as_ref()
        .is_some_and(|former| former.last_state == TcpState::SynSent)
}

/// The connection attempt that this SYN-ACK answers was abandoned.
pub(super) fn abandoned_connect(sent: &Sent) -> bool {
    answers_synack(sent) && is_abandoned(sent)
}

pub(super) fn no_socket_synack(sent: &Sent) -> bool {
    half_open::no_socket(sent) && answers_synack(sent)
}

pub(super) fn captured_synack(case: &CapturedCase) -> bool {
    let synack = TcpFlags::SYN | TcpFlags::ACK;
    case.is_answer_of_this_host() && case.answers.is_some_and(|cause| cause.flags.has(synack))
}
