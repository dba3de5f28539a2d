//! Another process destroyed the socket (`ss -K`, bpf_sock_destroy).

use super::{Definition, Doc, Many, cost_of_state};
use crate::ownership::Whose;
use crate::event::{Sent, TcpState};
use crate::record::{Origin, Role, Severity, Sentence};
use crate::verdict::SentCase;
use crate::words;

pub struct SocketDestroyed;

impl Definition for SocketDestroyed {
    fn doc(&self) -> Doc {
        Doc {
            happened: "another process destroyed the socket: `ss -K`, bpf_sock_destroy",
            known: "reason TCP_STATE on a socket still in use. `process` destroyed it, `owner` held it",
            remedy: "–",
            look_alikes: "a process that resets its own socket closes it first: `linger_zero`, `disconnect`",
            captured: ["`local_process`, cause unknown, *likely*", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalProcess
    }

    fn whose(&self) -> Whose {
        Whose::Destroyer
    }

    fn cost(&self, sent: &Sent) -> Severity {
        cost_of_state(sent)
    }

    fn sentence(&self, case: &SentCase) -> String {
        let age = case.after_age();
        match (&case.process, &case.owner) {
            (Some(process), Some(owner)) => format!("{process} destroyed the socket of {owner}{age}"),
            (Some(process), None) if process.role == Role::Closer => {
                format!("{process} destroyed the socket{age}")
            }
            (process, _) => format!(
                "the socket{} was destroyed externally{age}",
                words::after(" of ", process.as_ref())
            ),
        }
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some(
            "find out what destroys sockets at that time: `ss -K`, Cilium socket termination, or another user of SOCK_DESTROY"
                .into(),
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} externally destroyed the sockets{} of {}",
            many.subject, many.of_owner, many.connections
        )
    }
}

pub(super) fn still_connected(sent: &Sent) -> bool {
    sent.active(|socket| !matches!(socket.state, TcpState::Close | TcpState::Listen))
}

/// A process holds the lock of a socket that is in use.
pub(super) fn held_and_connected(sent: &Sent) -> bool {
    still_connected(sent) && sent.socket_is(|socket| socket.owned)
}
