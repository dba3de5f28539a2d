//! The peer sent data after the application had closed the socket.

use super::{Definition, Doc, Many, cost_of_data};
use crate::ownership::Whose;
use crate::event::{Sent, TcpState};

use crate::thresholds::IDLE;
use crate::record::{
    Confidence, Evidence, EvidenceKind, Explanation, Origin, Sentence, Severity,
};
use crate::verdict::advice::Shape;
use crate::verdict::{CapturedCase, SentCase};
use crate::words::{self, bytes, span};

pub struct DataAfterClose;

impl Definition for DataAfterClose {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the peer sent data after the application had closed the socket",
            known: "reasons TCP_ABORT_ON_DATA, TCP_TIMEWAIT_SOCKET",
            remedy: "nothing, unless data was lost (*fault*)",
            look_alikes: "data already unread at close(): `close_with_unread_data`",
            captured: ["*likely*", "*likely* for data that crossed the FIN, if the capture cannot tell which end it was made at; otherwise `reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    fn whose(&self) -> Whose {
        Whose::LastCloser
    }

    fn is_answer(&self) -> bool {
        true
    }

    fn cost(&self, sent: &Sent) -> Severity {
        cost_of_data(sent)
    }

    fn decisive(&self, sent: &Sent) -> Option<Evidence> {
        let socket = sent.socket.as_ref()?;
        (socket.orphaned || socket.receive_shutdown).then(|| {
            Evidence::new(
                EvidenceKind::Shutdown,
                "the application had closed the socket or shut down receiving",
            )
        })
    }

    fn sentence(&self, case: &SentCase) -> String {
        let sent = &case.sent;
        let remote = sent.flow.remote;
        let what = sent
            .cause
            .filter(|cause| cause.payload_len > 0)
            .map_or_else(|| "a segment".to_owned(), |cause| bytes(cause.payload_len));
        let former = sent.former_connection.as_ref();
        let closer = (sent.remembered()).and_then(|ownership| ownership.closer.as_ref());
        let who = case
            .process
            .as_ref()
            .map_or_else(|| "the application".to_owned(), ToString::to_string);
        let silence = closer
            .map(|closer| closer.quiet)
            .filter(|quiet| *quiet >= IDLE)
            .map_or_else(String::new, |quiet| {
                format!(" after {} of idle time", words::silence(quiet))
            });
        let how = format!("{}{silence}", words::ended(closer));
        let died = former.map(|former| former.died);
        match closer.and_then(|closer| closer.time).or(died) {
            Some(time) => format!(
                "{remote} sent {what} {} after {who} had {how}",
                span(case.at.since(time))
            ),
            None => format!("{remote} sent {what} after {who} had {how}"),
        }
    }

    fn shape(&self) -> Option<Shape> {
        Some(Shape::Unread)
    }

    fn advice(&self, sent: &Sent) -> Option<Sentence> {
        sent.cause.filter(|cause| cause.payload_len > 0)?;
        Some(
            "close only after the peer has finished: shutdown(SHUT_WR), then read until the end of the stream"
                .into(),
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "data arrived on {} after {} had closed",
            many.connections, many.subject
        )
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        match case.answers {
            Some(_) => case.cost_of_answered(),
            None => case.cost_of_exchange(),
        }
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        let (me, peer) = case.ends();
        let acknowledged = case.captured.sender.acknowledges.map(|(data, _)| data);
        let cause = case.answers.or(acknowledged);
        let what = match cause.map_or(0, |cause| cause.payload_len) {
            0 => "a segment".to_owned(),
            length => bytes(length),
        };
        case.look(explanation);
        case.answered(explanation);
        let finished = case.captured.sender.finished.unwrap_or_default();
        let sent = case.captured.sender.answers.map(|(_, since)| since);
        explanation.summary = if sent.is_some_and(|sent| sent > finished) {
            format!("{peer} sent {what}, and {me} closed before it arrived")
        } else {
            format!("{peer} sent {what} {} after {me} had closed", span(finished))
        };
    }

    fn captured_from(&self, case: &CapturedCase) -> (Origin, Confidence) {
        if case.captured.vantage.is_none() {
            (Origin::Peer, Confidence::Likely)
        } else {
            (Origin::LocalKernel, Confidence::Certain)
        }
    }
}

pub(super) fn time_wait(sent: &Sent) -> bool {
    sent.passive && sent.minisock == Some(TcpState::TimeWait)
}

pub(super) fn data_at_closed(sent: &Sent) -> bool {
    let has_data = sent.cause.is_some_and(|cause| cause.payload_len > 0);
    sent.passive
        && has_data
        && sent.socket_is(|socket| {
            socket.state != TcpState::Listen && (socket.orphaned || socket.receive_shutdown)
        })
}

/// It answers data that crossed this end's FIN, in a capture that cannot tell which end it was made at.
pub(super) fn captured_crossing_fin(case: &CapturedCase) -> bool {
    let captured = &case.captured;
    let sent = captured.sender.answers.map(|(_, since)| since);
    captured.vantage.is_none()
        && captured.talks_on.is_none()
        && case.answers.is_some_and(|cause| cause.payload_len > 0)
        && !case.has_other_ttl()
        && captured.sender.finished.zip(sent).is_some_and(|(finished, sent)| sent > finished)
}

/// It answers a segment that came after this end's FIN.
pub(super) fn captured_after_fin(case: &CapturedCase) -> bool {
    case.is_answer_of_this_host() && case.captured.sender.finished.is_some()
}
