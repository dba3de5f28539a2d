//! connect(AF_UNSPEC), or a disconnect with unsent data.

use super::{Definition, Doc, Many, cost_of_state};
use crate::ownership::Whose;
use crate::event::{Sent, TcpState};
use crate::record::{Origin, Severity, Sentence};
use crate::verdict::SentCase;

pub struct Disconnect;

impl Definition for Disconnect {
    fn doc(&self) -> Doc {
        Doc {
            happened: "connect(AF_UNSPEC) on a live connection, or a disconnect with unsent data",
            known: "reason TCP_STATE without shutdown, or TCP_DISCONNECT_WITH_DATA",
            remedy: "–",
            look_alikes: "close() with SO_LINGER {1, 0} has shut down both directions: `linger_zero`",
            captured: ["`local_process`, cause unknown, *likely*", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalProcess
    }

    fn whose(&self) -> Whose {
        Whose::Closer
    }

    fn cost(&self, sent: &Sent) -> Severity {
        cost_of_state(sent)
    }

    fn sentence(&self, case: &SentCase) -> String {
        format!(
            "{} disconnected the socket with connect(AF_UNSPEC){}",
            case.subject(),
            case.after_age()
        )
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some(
            "remove connect(AF_UNSPEC) on connected sockets, or shutdown() and read until the end of the stream before it"
                .into(),
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} disconnected {} instead of closing",
            many.subject, many.connections
        )
    }
}

pub(super) fn disconnects(sent: &Sent) -> bool {
    sent.active(|socket| socket.state == TcpState::Close && socket.has_file)
}
