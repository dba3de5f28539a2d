//! The listening socket was closed with connections in its accept queue.

use super::{Definition, Doc, Many};
use crate::ownership::Whose;
use crate::event::{Sent, TcpState};
use crate::record::{Direction, Evidence, EvidenceKind, Origin, ServingEnd};
use crate::verdict::advice::{Shape, Situation};
use crate::verdict::SentCase;

pub struct ListenerClosed;

impl Definition for ListenerClosed {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the listening socket was closed with connections in its accept queue",
            known: "reason TCP_STATE on a socket that never had a file",
            remedy: "drain before a restart, or hand over the listening socket",
            look_alikes: "an accepted connection has a file: `linger_zero`, `disconnect`",
            captured: ["`local_process`, cause unknown, *likely*", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalProcess
    }

    fn whose(&self) -> Whose {
        Whose::ListenerCloser
    }

    fn serving(&self, direction: Direction) -> Option<ServingEnd> {
        (direction == Direction::Sent).then_some(ServingEnd::Local)
    }

    fn decisive(&self, sent: &Sent) -> Option<Evidence> {
        sent.socket.as_ref()?;
        Some(Evidence::new(
            EvidenceKind::Unaccepted,
            "no process had accepted this connection",
        ))
    }

    fn sentence(&self, case: &SentCase) -> String {
        format!(
            "{} closed the listening socket on port {} before this connection was accepted",
            case.subject(),
            case.sent.flow.local.port()
        )
    }

    fn shape(&self) -> Option<Shape> {
        Some(Shape::Unaccepted)
    }

    fn page(&self) -> Option<Situation> {
        Some(Situation::Restart)
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} closed its listening socket before accepting {}",
            many.subject, many.connections
        )
    }
}

pub(super) fn child_of_listener(sent: &Sent) -> bool {
    sent.active(|socket| {
        socket.state == TcpState::Close && !socket.has_file && !socket.orphaned
    })
}
