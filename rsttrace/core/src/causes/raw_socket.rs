//! Sent through a raw socket on this host.

use super::{Definition, Doc, Many, idle_timeout};
use crate::event::SenderSocket;
use crate::record::{Cause, Confidence, EvidenceKind, Explanation, Origin};
use crate::verdict::{AcceptedCase, LeftCase};

pub struct RawSocket;

impl Definition for RawSocket {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a program sent the segment through a raw socket",
            known: "the segment belongs to a raw socket, found by its inode",
            remedy: "–",
            look_alikes: "a packet filter's reset belongs to no socket: `firewall_reject`",
            captured: ["unknown if it answers nothing; with the numbers, TTL and timing of an answer it is taken for one", "like the host itself, unless its signs differ"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalProcess
    }

    fn many(&self, many: &Many) -> String {
        format!("a raw socket on this host reset {}", many.connections)
    }

    fn accepted_from(&self, case: &AcceptedCase) -> (Origin, Confidence) {
        case.origin_from_sender()
            .unwrap_or((Origin::LocalProcess, Confidence::Possible))
    }

    fn accepted(&self, case: &AcceptedCase, explanation: &mut Explanation) {
        let who = case.sender.as_ref().map_or("a process", |end| &end.label);
        explanation.summary = format!(
            "{who} on this host wrote a reset with source {}",
            case.received.flow.remote
        );
        explanation.advice = idle_timeout::advice_on(case);
    }

    fn left(&self, case: &LeftCase, explanation: &mut Explanation) {
        explanation.add(
            EvidenceKind::RawSocket,
            "the segment belongs to a raw socket",
        );
        let who = case.raw_sender.as_ref().map_or_else(
            || "a raw socket".to_owned(),
            |who| format!("{who} with a raw socket"),
        );
        explanation.summary = format!("{who} sent a reset to {}", case.packet.destination);
    }
}

pub(super) fn belongs_to_raw_socket(case: &LeftCase) -> bool {
    matches!(case.packet.sender_socket, SenderSocket::Raw { .. })
}

/// A raw socket on this host sent it with the peer's address.
pub(super) fn raw_socket_wrote(case: &AcceptedCase) -> bool {
    case.sender_found(Cause::RawSocket)
}
