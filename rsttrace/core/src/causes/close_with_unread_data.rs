//! close() with unread data in the receive buffer.

use std::time::Duration;

use super::{Definition, Doc, Many};
use crate::ownership::Whose;
use crate::event::{Sent, Socket, TcpState};
use crate::record::{Evidence, EvidenceKind, Origin, Sentence};
use crate::verdict::advice::{Shape, Situation};
use crate::verdict::SentCase;
use crate::words::{bytes, span};

pub struct CloseWithUnreadData;

impl Definition for CloseWithUnreadData {
    fn doc(&self) -> Doc {
        Doc {
            happened: "close() or exit with unread data in the receive buffer: the kernel sends RST instead of FIN (RFC 2525 section 2.17)",
            known: "reason TCP_ABORT_ON_CLOSE",
            remedy: "read to the end of the stream before close(), or shutdown(SHUT_WR) and drain first",
            look_alikes: "a process killed by a signal: `killed_with_unread_data`; a client that leaves at most 100 bytes unread after a complete exchange loses nothing (*noise*)",
            captured: ["`local_process`, cause unknown, *likely*; unanswered bytes suggest unread data", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalProcess
    }

    fn whose(&self) -> Whose {
        Whose::Closer
    }

    fn decisive(&self, sent: &Sent) -> Option<Evidence> {
        unread(sent)
    }

    fn sentence(&self, case: &SentCase) -> String {
        let (name, unread) = (case.subject(), unread_bytes(&case.sent));
        if let Some(age) = case.turned_away() {
            turned_away(case, age)
        } else if case.sent.ended_by().0 {
            format!("{name} exited with {unread}{}", case.after_age())
        } else {
            format!("{name} closed with {unread}{}", case.after_age_and_idle())
        }
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some(
            "read until the end of the stream before close(), or shutdown(SHUT_WR) and drain first"
                .into(),
        )
    }

    fn shape(&self) -> Option<Shape> {
        Some(Shape::Unread)
    }

    fn page(&self) -> Option<Situation> {
        Some(Situation::UnreadData)
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} closed {} with unread data",
            many.subject, many.connections
        )
    }
}

/// `sshd[812] turned 10.0.3.7 away: closed 2.1 ms after the handshake with all 21 bytes unread`.
pub(super) fn turned_away(case: &SentCase, age: Duration) -> String {
    let unread = case.sent.socket.as_ref().map_or(0, |socket| socket.unread);
    format!(
        "{} turned {} away: closed {} after the handshake without reading ({} unread); its log says which limit or access rule it was",
        case.subject(),
        case.sent.flow.remote.ip().to_canonical(),
        span(age),
        bytes(unread)
    )
}

/// Both directions shut and no file yet gone: the application called close() or died.
pub(super) fn is_closing(socket: &Socket) -> bool {
    socket.state == TcpState::Close && socket.receive_shutdown && socket.send_shutdown
}

/// The application closed the socket with bytes unread.
pub(super) fn closed_with_unread(sent: &Sent) -> bool {
    sent.active(|socket| is_closing(socket) && socket.unread > 0)
}

pub(super) fn unread(sent: &Sent) -> Option<Evidence> {
    let socket = sent.socket.as_ref()?;
    Some(Evidence::new(
        EvidenceKind::Unread,
        format!("{} received but not read", bytes(socket.unread)),
    ))
}

/// `1,448 bytes unread`, or `unread data` where the number is not known.
pub(super) fn unread_bytes(sent: &Sent) -> String {
    let socket = sent.socket.as_ref();
    let unread = socket.map_or(0, |socket| socket.unread);
    match unread {
        0 => "unread data".to_owned(),
        unread => format!("{} unread", bytes(unread)),
    }
}
