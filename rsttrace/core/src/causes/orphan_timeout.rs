//! An orphaned socket timed out in FIN_WAIT2.

use super::{Definition, Doc, Many};
use crate::ownership::Whose;
use crate::event::{Sent, TcpState};
use crate::record::{Origin, Severity};
use crate::verdict::SentCase;

pub struct OrphanTimeout;

impl Definition for OrphanTimeout {
    fn doc(&self) -> Doc {
        Doc {
            happened: "an orphaned socket timed out in FIN_WAIT2",
            known: "reason TCP_STATE, FIN_WAIT2, no process",
            remedy: "–",
            look_alikes: "`ss -K` on an orphaned socket holds the socket lock: `socket_destroyed`",
            captured: ["unknown: its side was already closed", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    fn whose(&self) -> Whose {
        Whose::LastCloser
    }

    fn cost(&self, _sent: &Sent) -> Severity {
        Severity::Noise
    }

    fn sentence(&self, case: &SentCase) -> String {
        let closed = case
            .process
            .as_ref()
            .map_or_else(String::new, |process| format!(" after {process} had closed"));
        format!(
            "{} did not close its side; the socket timed out in FIN_WAIT2{closed}",
            case.sent.flow.remote
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "the peer did not close its side of {}, and the FIN_WAIT2 timeout expired",
            many.connections
        )
    }
}

/// Nobody holds it and its timer ran (`tcp_keepalive_timer`); `ss -K` on an orphan holds the lock.
pub(super) fn orphan_timed_out(sent: &Sent) -> bool {
    sent.active(|socket| {
        socket.state == TcpState::FinWait2 && socket.orphaned && !socket.owned
    })
}
