//! A packet filter on this host rejects with tcp-reset.

use super::{Definition, Doc, Many, idle_timeout};
use crate::event::SenderSocket;
use crate::correlate::is_passive_form;
use crate::record::{Cause, Confidence, EvidenceKind, Explanation, Origin, Severity};
use crate::verdict::{AcceptedCase, CapturedCase, LeftCase};

pub struct FirewallReject;

impl Definition for FirewallReject {
    fn doc(&self) -> Doc {
        Doc {
            brief: "A packet filter on this host rejects with tcp-reset.",
            happened: "an nftables or iptables rule rejects with tcp-reset",
            known: "it left without any socket, in the form of an answer, and no tracepoint saw it",
            remedy: "`nft list ruleset`, `iptables -S`",
            look_alikes: "a reset that passes through this host has come in before: `forwarded`; one with a window is no filter's",
            captured: ["never sure: named beside port_closed and half_open; on a router captured with directions *possible*, for the reset left without having come", "as the host itself, unless its TTL differs: `not_from_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalFirewall
    }

    fn many(&self, many: &Many) -> String {
        format!("a packet filter of this host rejected {}", many.connections)
    }

    fn left_confidence(&self, case: &LeftCase) -> Confidence {
        match (is_stack_silent(case), case.context.coverage.sent_stateless) {
            (true, _) => Confidence::Certain,
            (false, true) => Confidence::Likely,
            (false, false) => Confidence::Possible,
        }
    }

    fn left(&self, case: &LeftCase, explanation: &mut Explanation) {
        explanation.add(EvidenceKind::NoSocket, "it belongs to no socket");
        if is_stack_silent(case) {
            explanation.add(EvidenceKind::NoEvent, "the TCP stack did not send it");
        }
        explanation.summary = format!(
            "a packet filter of this host rejected {} with a reset",
            case.packet.destination
        );
        explanation
            .advice
            .push("find the rule: nft list ruleset, iptables -S".into());
    }

    fn accepted_from(&self, case: &AcceptedCase) -> (Origin, Confidence) {
        case.origin_from_sender()
            .unwrap_or((Origin::LocalFirewall, Confidence::Possible))
    }

    fn accepted(&self, case: &AcceptedCase, explanation: &mut Explanation) {
        explanation.summary = format!(
            "a packet filter of this host rejected the connection in the name of {}",
            case.received.flow.remote
        );
        explanation.advice = idle_timeout::advice_on(case);
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        case.cost_of_put_in()
    }

    /// A kernel answers for its own addresses only, and for those that it translates.
    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        case.put_in(
            "its packet filter rejects, or a process of it writes segments of its own",
            explanation,
        );
    }
}

/// The TCP stack would have said so, had it sent the reset.
fn is_stack_silent(case: &LeftCase) -> bool {
    case.context.coverage.sent_stateless && case.context.no_sender_missed()
}

/// The stack's own IPv4 answers belong to a socket of the kernel's; those over IPv6 do not before 6.14, so there only the stack's
/// silence tells.
pub(super) fn answers_without_socket(case: &LeftCase) -> bool {
    case.packet.sender_socket == SenderSocket::None
        && is_passive_form(&case.packet)
        && case.context.coverage.sent
        && case.context.nothing_lost()
        && (case.packet.source.is_ipv4() || is_stack_silent(case))
}

/// The capturing host made it and only passes on what its source sends.
pub(super) fn captured_put_in(case: &CapturedCase) -> bool {
    case.is_put_in_here() && case.captured.sender.comes_in
}

/// A packet filter of this host wrote it in the peer's name.
pub(super) fn filter_wrote(case: &AcceptedCase) -> bool {
    case.sender_found(Cause::FirewallReject)
}
