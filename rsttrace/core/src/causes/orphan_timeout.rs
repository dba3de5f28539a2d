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
            brief: "An orphaned socket timed out in FIN_WAIT2.",
            happened: "a closed socket waited too long in FIN_WAIT2",
            known: "reason TCP_STATE, FIN_WAIT2, no process",
            remedy: "–",
            look_alikes: "`ss -K` on an orphan holds the socket's lock: `socket_destroyed`",
            captured: ["unknown: it had closed its side before", "`reset_by_peer`"],
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
            "{} never closed its side: the kernel gave up waiting{closed}",
            case.sent.flow.remote
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "the other end of {} never closed its side, and the kernel gave up waiting",
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
