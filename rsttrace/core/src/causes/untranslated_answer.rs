//! SYN-ACK that answers our SYN to another address.

use std::net::IpAddr;

use super::late_synack::captured_synack;
use super::rules::Ruling;
use super::{Definition, Doc, Many};
use crate::event::{Attempt, BootTime, Sent};
use crate::ownership::Whose;
use crate::record::{
    Cause, Confidence, Direction, EvidenceKind, Explanation, Origin, Sentence, ServingEnd, Severity,
};
use crate::thresholds::LONGEST_HANDSHAKE;
use crate::verdict::{CapturedCase, SentCase};
use crate::verdict::advice::Situation;
use crate::words;

pub struct UntranslatedAnswer;

impl Definition for UntranslatedAnswer {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the answer to a SYN of this host came from another address than the SYN was sent to: a NAT translated the SYN, and the answer bypassed it",
            known: "reason NO_SOCKET for a SYN-ACK whose acknowledgment number answers a SYN that left from the same port for another address",
            remedy: "route the answers of that server through the device that translates the service's address, or have it translate the source, too",
            look_alikes: "an abandoned connection attempt, or backscatter: no SYN of this host to another address has that number: `late_synack`",
            captured: ["*likely*, if the capture has the SYN and did not see it translated, otherwise `late_synack`", "`reset_by_peer`, noise"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    /// The attempt names the process, as no event does.
    fn whose(&self) -> Whose {
        Whose::Nobody
    }

    fn serving(&self, _direction: Direction) -> Option<ServingEnd> {
        Some(ServingEnd::Remote)
    }

    fn is_answer(&self) -> bool {
        true
    }

    fn cost(&self, _sent: &Sent) -> Severity {
        Severity::Refused
    }

    fn sentence(&self, case: &SentCase) -> String {
        let remote = case.sent.flow.remote;
        let whose = words::after(" of ", case.process.as_ref());
        let to = match &case.attempt {
            Some(attempt) => format!(" to {}", attempt.to),
            None => String::new(),
        };
        format!(
            "the answer to the connect{to}{whose} came from {remote}, untranslated: return traffic bypasses the NAT"
        )
    }

    fn captured_cost(&self, _case: &CapturedCase) -> Severity {
        Severity::Refused
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        let (me, peer) = case.ends();
        case.look(explanation);
        case.answered(explanation);
        if let Some(attempt) = &case.captured.attempt {
            explanation.add(
                EvidenceKind::Nat,
                format!(
                    "the SYN-ACK that it answers has the number of the SYN from {me} to {}",
                    attempt.to
                ),
            );
            explanation.summary = format!(
                "the answer to the connect of {} to {} came from {peer}, untranslated: return traffic bypasses the NAT",
                me.ip(),
                attempt.to
            );
        }
        explanation.advice.push(advice(peer.ip(), me.ip()));
        Situation::NatBypassed.refer(&mut explanation.advice);
    }

    fn page(&self) -> Option<Situation> {
        Some(Situation::NatBypassed)
    }

    fn advice(&self, sent: &Sent) -> Option<Sentence> {
        Some(advice(sent.flow.remote.ip(), sent.flow.local.ip()))
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "the answers to {} came from another address, untranslated: return traffic bypasses the NAT",
            many.attempts
        )
    }
}

fn advice(server: IpAddr, client: IpAddr) -> Sentence {
    let (server, client) = (server.to_canonical(), client.to_canonical());
    format!(
        "make the answers of {server} to {client} pass the device that translates the service's address: as the gateway of {server}, or by SNAT or masquerade on it (hairpin NAT where both are in one subnet)"
    )
    .into()
}

/// The capture has the SYN, and saw it go to another address only.
pub(super) fn captured_untranslated(case: &CapturedCase) -> bool {
    captured_synack(case) && case.captured.attempt.is_some()
}

/// What a SYN-ACK is that answers this attempt of a process of this host.
pub fn ruling(found: Ruling, attempt: &Attempt, at: BootTime) -> Option<Ruling> {
    let is_current = at.since(attempt.sent) <= LONGEST_HANDSHAKE;
    (found.cause == Cause::LateSynack && is_current).then_some(Ruling {
        cause: Cause::UntranslatedAnswer,
        confidence: Confidence::Certain,
        why: None,
    })
}
