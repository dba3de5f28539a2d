//! A packet filter on this host rejects with tcp-reset.

use super::{Definition, Doc, Many, idle_timeout};
use crate::event::{NamespaceWay, SenderSocket};
use crate::correlate::is_passive_form;
use crate::record::{Cause, Confidence, EvidenceKind, Explanation, Origin, Severity};
use crate::verdict::{AcceptedCase, CapturedCase, LeftCase};

pub struct FirewallReject;

impl Definition for FirewallReject {
    fn doc(&self) -> Doc {
        Doc {
            happened: "an nftables or iptables rule rejected the segment with tcp-reset",
            known: "it left without a socket, in the form of an answer, and no tracepoint reported it",
            remedy: "find the rule: `nft list ruleset`, `iptables -S`",
            look_alikes: "a reset that passes through this host has arrived first: `forwarded`; a packet filter's reset has no window",
            captured: ["never certain: named as an alternative to `port_closed` and `half_open`; on a router captured with directions *possible*, if the reset left without having arrived", "like the host itself, unless its TTL differs: `not_from_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalFirewall
    }

    fn many(&self, many: &Many) -> String {
        format!("a packet filter on this host rejected {}", many.connections)
    }

    fn left_confidence(&self, case: &LeftCase) -> Confidence {
        match (is_stack_silent(case), case.context.coverage.sent_stateless) {
            // Over IPv4 the stack's own answers belong to a socket, too: two independent facts.
            (true, _) if case.packet.source.is_ipv4() => Confidence::Certain,
            // Over IPv6 only the absence of an event speaks for it, and the kernel skips a program that interrupts itself.
            (true, _) | (false, true) => Confidence::Likely,
            (false, false) => Confidence::Possible,
        }
    }

    fn left(&self, case: &LeftCase, explanation: &mut Explanation) {
        explanation.add(EvidenceKind::NoSocket, "the segment belongs to no socket");
        if is_stack_silent(case) {
            explanation.add(EvidenceKind::NoEvent, "the TCP stack did not send it");
        }
        let whose = case.way.as_ref().and_then(place);
        let whose = whose.map_or_else(String::new, |place| format!(" in {place}"));
        explanation.summary = format!(
            "a packet filter on this host{whose} rejected {} with a reset",
            case.packet.destination
        );
        explanation.advice.push(match &case.way {
            Some(way) => {
                let enter = format!("nsenter --net={}", way.path);
                format!("find the rule, in its network namespace: {enter} nft list ruleset, {enter} iptables -S").into()
            }
            None => "find the rule: nft list ruleset, iptables -S".into(),
        });
    }

    fn accepted_from(&self, case: &AcceptedCase) -> (Origin, Confidence) {
        case.origin_from_sender()
            .unwrap_or((Origin::LocalFirewall, Confidence::Possible))
    }

    fn accepted(&self, case: &AcceptedCase, explanation: &mut Explanation) {
        explanation.summary = format!(
            "a packet filter on this host rejected the connection with a reset whose source is {}",
            case.received.flow.remote
        );
        explanation.advice = idle_timeout::advice_on(case);
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        case.cost_of_put_in()
    }

    /// A kernel answers only for its own addresses and those that it translates.
    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        case.put_in(
            "its packet filter rejects, or one of its processes writes raw segments",
            explanation,
        );
    }
}

/// Whose network namespace it is.
fn place(way: &NamespaceWay) -> Option<String> {
    let container = way.container_id.as_deref().map(|id| {
        let short = id.get(..12).unwrap_or(id);
        format!("container {short}")
    });
    let pod = way.pod_uid.as_deref().map(|uid| format!("pod {uid}"));
    let named = way.path.strip_prefix("/run/netns/");
    let named = named.map(|name| format!("network namespace {name}"));
    pod.or(container).or(named)
}

/// No event of the TCP stack, though one would have been reported.
fn is_stack_silent(case: &LeftCase) -> bool {
    case.context.coverage.sent_stateless && case.context.no_sender_missed()
}

/// The stack's own IPv4 answers belong to a socket of the kernel's; those over IPv6 do not before 6.14, so there only the
/// missing event of the stack decides.
pub(super) fn answers_without_socket(case: &LeftCase) -> bool {
    case.packet.sender_socket == SenderSocket::None
        && is_passive_form(&case.packet)
        && case.context.coverage.sent
        && case.context.nothing_lost()
        && (case.packet.source.is_ipv4() || is_stack_silent(case))
}

/// The capturing host sent it, and only forwards what its source sends.
pub(super) fn captured_put_in(case: &CapturedCase) -> bool {
    case.is_put_in_here() && case.captured.sender.comes_in
}

/// A packet filter on this host sent it with the peer's address.
pub(super) fn filter_wrote(case: &AcceptedCase) -> bool {
    case.sender_found(Cause::FirewallReject)
}
