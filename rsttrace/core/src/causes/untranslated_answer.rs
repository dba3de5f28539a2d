//! SYN-ACK that answers our SYN to another address.

use super::{Definition, Doc, Many};
use crate::event::{BootTime, Sent};
use crate::ownership::Whose;
use crate::record::{Cause, Confidence, Direction, Origin, Sentence, ServingEnd, Severity};
use crate::thresholds::LONGEST_HANDSHAKE;
use crate::verdict::SentCase;
use crate::verdict::advice::Situation;
use crate::words;

use super::rules::Ruling;
use crate::event::Attempt;

pub struct UntranslatedAnswer;

impl Definition for UntranslatedAnswer {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the answer to a SYN of this host came from another address than the SYN was sent to: a NAT translated the SYN, and the answer bypassed it",
            known: "reason NO_SOCKET for a SYN-ACK whose acknowledgment number answers a SYN that left from the same port for another address",
            remedy: "route the answers of that server through the device that translates the service's address, or have it translate the source, too",
            look_alikes: "an abandoned connection attempt, or backscatter: no SYN of this host to another address has that number: `late_synack`",
            captured: ["`late_synack`", "`reset_by_peer`, noise"],
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

    fn page(&self) -> Option<Situation> {
        Some(Situation::NatBypassed)
    }

    fn advice(&self, sent: &Sent) -> Option<Sentence> {
        let (server, client) = (
            sent.flow.remote.ip().to_canonical(),
            sent.flow.local.ip().to_canonical(),
        );
        Some(
            format!(
                "make the answers of {server} to {client} pass the device that translates the service's address: as the gateway of {server}, or by SNAT or masquerade on it (hairpin NAT where both are in one subnet)"
            )
            .into(),
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "the answers to {} came from another address, untranslated: return traffic bypasses the NAT",
            many.attempts
        )
    }
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
