//! Accept queue full with tcp_abort_on_overflow set.

use super::{Definition, Doc, Many, answers_any_syn, half_open};
use crate::event::Sent;
use crate::record::{Direction, Evidence, EvidenceKind, Origin, Sentence, Severity, ServingEnd};
use crate::verdict::advice::Situation;
use crate::verdict::SentCase;
use crate::words;

pub struct AcceptQueueOverflow;

impl Definition for AcceptQueueOverflow {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the accept queue was full and `tcp_abort_on_overflow` is set",
            known: "reason INVALID_SYN for a segment without SYN at a listener",
            remedy: "accept faster, or raise the backlog and `net.core.somaxconn`",
            look_alikes: "an invalid SYN: `bad_handshake`; a segment of an unknown connection while the queue has room: `stray_ack`",
            captured: ["unknown", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
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

    fn decisive(&self, sent: &Sent) -> Option<Evidence> {
        let (waiting, limit) = queue(sent)?;
        Some(Evidence::new(
            EvidenceKind::AcceptQueue,
            format!("{waiting} connections waiting for accept(), limit {limit}"),
        ))
    }

    fn sentence(&self, case: &SentCase) -> String {
        let queue = queue(&case.sent).map_or_else(String::new, |(waiting, limit)| {
            format!(": {waiting} connections waiting for accept(), limit {limit}")
        });
        let by = case
            .process
            .as_ref()
            .map_or_else(String::new, |process| format!(" ({process})"));
        format!(
            "the accept queue of port {}{by} is full{queue}",
            case.sent.flow.local.port(),
        )
    }

    fn advice(&self, sent: &Sent) -> Option<Sentence> {
        let now = queue(sent).map(|(_, limit)| limit);
        let limit = words::after(" (now ", now) + if now.is_some() { ")" } else { "" };
        let advice = format!(
            "raise the backlog of listen(){limit} and net.core.somaxconn, or set net.ipv4.tcp_abort_on_overflow to 0 so that clients retry"
        );
        Some(advice.into())
    }

    fn page(&self) -> Option<Situation> {
        Some(Situation::AcceptQueue)
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} {} refused: the accept queue of {} was full",
            many.attempts,
            many.was(),
            many.subject
        )
    }
}

/// Connections waiting for accept(), and the limit.
fn queue(sent: &Sent) -> Option<(u32, u32)> {
    sent.socket.as_ref()?.accept_queue
}

pub(super) fn queue_full_at_listener(sent: &Sent) -> bool {
    half_open::answer_at_listener(sent)
        && !answers_any_syn(sent)
        && queue(sent).is_some_and(|(waiting, limit)| waiting > limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Socket, TcpFlags, TcpState};
    use crate::engine::fixtures::{Scene, segment, socket};

    #[test]
    fn the_advice_names_the_backlog_it_had() {
        let mut sent = Scene::new().answer(segment(TcpFlags::ACK, 1, 1, 0));
        sent.socket = Some(Socket {
            state: TcpState::Listen,
            accept_queue: Some((129, 128)),
            ..socket(1)
        });
        let advice = AcceptQueueOverflow.advice(&sent).expect("advice");
        assert!(advice.contains("(now 128)"), "{advice}");
    }
}
