//! Segment for a connection that no longer exists on this host.

use super::{Definition, Doc, Many, answers_any, cost_of_data};
use crate::ownership::{self, Whose};
use crate::event::{Sent, TcpState};

use crate::thresholds::IDLE;
use crate::record::{Confidence, EvidenceKind, Explanation, Origin, Severity, Sentence};
use crate::verdict::advice::Situation;
use crate::verdict::{CapturedCase, LeftCase, SentCase};

pub struct HalfOpen;

impl Definition for HalfOpen {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a segment arrived for a connection that no longer exists on this host",
            known: "reason NO_SOCKET, or TCP_FLAGS at a listener with a recorded former connection. That record says who had it and how it ended",
            remedy: "find out why the peer missed the end of the connection: restart, crash, timeout, a middlebox",
            look_alikes: "a listener without a record of such a connection: `stray_ack`; a SYN-ACK for an abandoned connection attempt: `late_synack`",
            captured: ["*possible* if the sender had reset the connection before, or had been silent for 0.9 s or more (a packet filter looks the same), otherwise unknown", "`reset_by_peer`, or `idle_timeout` if the signs say so"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    /// A restarted listener has no connection.
    fn whose(&self) -> Whose {
        Whose::Former
    }

    fn is_answer(&self) -> bool {
        true
    }

    fn cost(&self, sent: &Sent) -> Severity {
        cost_of_data(sent)
    }

    fn sentence(&self, case: &SentCase) -> String {
        let remote = case.sent.flow.remote;
        match &case.sent.former_connection {
            Some(tombstone) => format!(
                "segment from {remote} for a connection that no longer exists here: {}",
                ownership::connection_end(tombstone, case.at)
            ),
            None => format!("segment from {remote} for a connection that does not exist on this host"),
        }
    }

    fn page(&self) -> Option<Situation> {
        Some(Situation::ConntrackMoved)
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some(
            "find out how the peer missed the end of the connection, or what sent it here: a restart, a balancer or NAT whose entry changed or expired"
                .into(),
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "the peer sent segments on {} that no longer existed here",
            many.connections
        )
    }

    fn left_confidence(&self, _case: &LeftCase) -> Confidence {
        Confidence::Possible
    }

    fn left(&self, case: &LeftCase, explanation: &mut Explanation) {
        inferred(explanation);
        explanation.summary = format!(
            "segment from {} for a connection that does not exist on this host",
            case.packet.destination
        );
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        if case.is_put_in_here() {
            case.cost_of_put_in()
        } else {
            case.cost_of_answered()
        }
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        if case.is_put_in_here() {
            return case.put_in(
                "it does not have the connection, or no longer (for example after a NAT timeout), or its packet filter rejects",
                explanation,
            );
        }
        if case.captured.was_ended_by_it() {
            case.answered(explanation);
            return case.once_more(explanation);
        }
        let (me, peer) = case.ends();
        case.look(explanation);
        case.answered(explanation);
        case.kernel_or_filter(explanation);
        explanation.summary = format!(
            "segment from {peer} for a connection that {} no longer has, or that its packet filter rejects{}",
            me.ip(),
            case.after_silence()
        );
    }
}

/// A segment for a recorded former connection.
pub(super) fn is_remembered(sent: &Sent) -> bool {
    answers_any(sent) && sent.former_connection.is_some()
}

/// The former connection is recorded: it belonged to the service before its restart.
pub(super) fn listener_is_back(sent: &Sent) -> bool {
    answer_at_listener(sent) && sent.former_connection.is_some()
}

/// A listener answers a segment.
pub(super) fn answer_at_listener(sent: &Sent) -> bool {
    sent.passive && at_listener(sent) && answers_any(sent)
}

/// The socket is a listener.
pub(super) fn at_listener(sent: &Sent) -> bool {
    sent.socket_is(|socket| socket.state == TcpState::Listen)
}

/// It answers a segment for which there is no socket.
pub(super) fn no_socket(sent: &Sent) -> bool {
    sent.passive && sent.socket.is_none() && sent.minisock.is_none() && answers_any(sent)
}

/// It answers a segment of a connection on which this end had been silent.
pub(super) fn captured_after_silence(case: &CapturedCase) -> bool {
    let silent = case.captured.sender.silent;
    case.is_answer_of_this_host() && silent.is_some_and(|silent| silent >= IDLE)
}

/// It answers what was on its way when this end had reset the connection.
pub(super) fn captured_once_more_here(case: &CapturedCase) -> bool {
    case.captured.was_ended_by_it() && case.is_made_here()
}

/// Evidence on a kernel that does not report answers without a socket.
pub(super) fn inferred(explanation: &mut Explanation) {
    explanation.add(
        EvidenceKind::Inferred,
        "this kernel does not report answers sent without a socket",
    );
}
