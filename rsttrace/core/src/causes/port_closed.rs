//! SYN to a port without a listener.

use super::{Definition, Doc, Many, answers, half_open};
use crate::ownership::{self, Whose};
use crate::event::{Sent, TcpFlags};
use crate::record::{
    Direction, EvidenceKind, Explanation, Origin, Sentence, Severity, ServingEnd,
};
use crate::verdict::advice::Situation;
use crate::verdict::{CapturedCase, LeftCase, SentCase};
use crate::words::span;

pub struct PortClosed;

impl Definition for PortClosed {
    fn doc(&self) -> Doc {
        Doc {
            happened: "SYN to a port without a listener",
            known: "reason NO_SOCKET for a SYN; the last listener is named if it is recorded",
            remedy: "start the service, or stop the client",
            look_alikes: "a packet filter that rejects the SYN, without an event of the TCP stack: `firewall_reject`",
            captured: ["*possible*: a packet filter that rejects looks the same", "`connection_refused`; *possible* if its TTL differs from that of the host's other connections"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    /// No process: the port is closed. The former listener is evidence only.
    fn whose(&self) -> Whose {
        Whose::Nobody
    }

    fn serving(&self, direction: Direction) -> Option<ServingEnd> {
        (direction == Direction::Sent).then_some(ServingEnd::Local)
    }

    fn is_answer(&self) -> bool {
        true
    }

    fn cost(&self, _sent: &Sent) -> Severity {
        Severity::Refused
    }

    fn sentence(&self, case: &SentCase) -> String {
        let port = case.sent.flow.local.port();
        match &case.sent.former_listener {
            Some(tombstone) => format!(
                "no listener on port {port} ({} stopped listening {} ago)",
                ownership::listener(&tombstone.ownership),
                span(case.at.since(tombstone.died))
            ),
            None => match &case.receiver {
                // It has no process of its own: the client on this host is who to ask.
                Some(client) => format!("no listener on port {port}, to which {} connected", client.label),
                None => format!("no listener on port {port}"),
            },
        }
    }

    fn advice(&self, sent: &Sent) -> Option<Sentence> {
        Some(match sent.former_listener {
            Some(_) => "start the service that listened there, or stop its clients".into(),
            None => {
                let port = sent.flow.local.port();
                format!("start the service that belongs on port {port}, or correct the port at its clients").into()
            }
        })
    }

    fn page(&self) -> Option<Situation> {
        Some(Situation::Refused)
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} {} refused: no listener",
            many.attempts,
            many.was()
        )
    }

    fn left(&self, case: &LeftCase, explanation: &mut Explanation) {
        half_open::inferred(explanation);
        explanation.summary = format!("no listener on port {}", case.packet.source.port());
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        case.cost_of_refusal()
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        let source = case.captured.packet.source;
        case.shape(explanation);
        explanation.add(
            EvidenceKind::LookAlikes,
            "the kernel's answer and a packet filter's answer on this host look the same in a capture",
        );
        explanation.summary = format!(
            "{} refused a connection to port {}: no listener, or its packet filter rejects",
            source.ip(),
            source.port()
        );
        explanation.advice.push(
            "check for a listener on that host (`ss -ltn`); rsttrace there shows which it is"
                .into(),
        );
    }
}

pub(super) fn answers_syn(sent: &Sent) -> bool {
    answers(sent, TcpFlags::SYN, TcpFlags::ACK)
}

pub(super) fn no_socket_syn(sent: &Sent) -> bool {
    half_open::no_socket(sent) && answers_syn(sent)
}
