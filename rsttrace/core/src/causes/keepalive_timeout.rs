//! The peer did not answer keepalive probes.

use super::{Definition, Doc, Many};
use crate::event::{Sent, TcpState};
use crate::thresholds::IDLE;
use crate::silence::clocks;
use crate::record::{Evidence, EvidenceKind, Explanation, Origin, Severity, Sentence};
use crate::verdict::{CapturedCase, SentCase};
use crate::words::{self, span};

pub struct KeepaliveTimeout;

impl Definition for KeepaliveTimeout {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the peer did not answer keepalive probes",
            known: "reason TCP_KEEPALIVE_TIMEOUT",
            remedy: "check whether the peer or the path is down",
            look_alikes: "an application that closes with a reset at that moment looks the same in a capture with one probe",
            captured: ["*likely* with two or more unanswered probes, *possible* with one", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    fn decisive(&self, sent: &Sent) -> Option<Evidence> {
        let socket = sent.socket.as_ref()?;
        Some(Evidence::new(
            EvidenceKind::Keepalive,
            format!("{} unanswered probes", socket.probes_out),
        ))
    }

    fn sentence(&self, case: &SentCase) -> String {
        let remote = case.sent.flow.remote;
        let of = words::after(" from ", case.process.as_ref());
        let Some(socket) = &case.sent.socket else {
            return format!("{remote} did not answer keepalive probes{of}");
        };
        let silence = clocks::heard(socket)
            .map_or_else(String::new, |heard| format!(", silent for {}", span(heard)));
        format!(
            "{remote} answered none of {} keepalive probes{of}{silence}",
            socket.probes_out
        )
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some(
            "find out why the peer stopped answering: host down, cable or route, or a device on the path that forgot the connection"
                .into(),
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "the peer did not answer keepalive probes on {}, and the kernel reset {}",
            many.connections,
            many.them()
        )
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        case.cost_of_exchange()
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        let sender = &case.captured.sender;
        let (me, peer) = case.ends();
        let probes = words::things(sender.probes, "keepalive probe");
        let probing = sender.probing.unwrap_or_default();
        case.look(explanation);
        explanation.add(
            EvidenceKind::Probes,
            format!("{probes} within {} unanswered", span(probing)),
        );
        if sender.probes < LEAST_PROBES {
            explanation.add(
                EvidenceKind::LookAlikes,
                "an application that closes with a reset at that moment would look the same in a capture",
            );
        }
        explanation.summary = format!(
            "{peer} did not answer {probes} from {me}, the last one {} before the reset",
            span(sender.probed.unwrap_or_default())
        );
    }
}

pub(super) fn probes_unanswered(sent: &Sent) -> bool {
    sent.active(|socket| {
        socket.state != TcpState::Close
            && socket.keepalive
            && socket.probes_out > 0
            && !socket.owned
    })
}

/// Fewer may be on their way.
const LEAST_PROBES: u8 = 2;

pub(super) fn captured_probes(case: &CapturedCase) -> bool {
    case.is_active_of_this_host() && case.captured.sender.probes >= LEAST_PROBES
}

/// A probe that was not answered for longer than an answer takes.
pub(super) fn captured_probe(case: &CapturedCase) -> bool {
    let captured = &case.captured;
    let since_probe = captured.sender.probed.unwrap_or_default();
    let is_unanswered = since_probe >= IDLE
        && captured
            .onward_trip
            .is_none_or(|trip| since_probe > trip.saturating_mul(8));
    case.is_active_of_this_host() && captured.sender.probes > 0 && is_unanswered
}
