//! Too many orphaned sockets, or tcp_mem exhausted.

use super::{Definition, Doc, Many};
use crate::ownership::Whose;
use crate::event::Sent;
use crate::record::{Origin, Sentence};
use crate::verdict::SentCase;
use crate::words;

pub struct OutOfMemory;

impl Definition for OutOfMemory {
    fn doc(&self) -> Doc {
        Doc {
            happened: "too many orphaned sockets, or `tcp_mem` exhausted",
            known: "reason TCP_ABORT_ON_MEMORY",
            remedy: "raise `net.ipv4.tcp_max_orphans` or `net.ipv4.tcp_mem`",
            look_alikes: "an orphaned socket that timed out in FIN_WAIT2: `orphan_timeout`",
            captured: ["unknown: its side was already closed", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    fn whose(&self) -> Whose {
        Whose::LastCloser
    }

    fn sentence(&self, case: &SentCase) -> String {
        format!(
            "too many orphaned sockets, or tcp_mem exhausted: the kernel dropped the connection{}",
            words::after(" of ", case.process.as_ref())
        )
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some("raise net.ipv4.tcp_max_orphans or net.ipv4.tcp_mem".into())
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "the kernel reset {}: too many orphaned sockets, or tcp_mem exhausted",
            many.connections
        )
    }
}

pub(super) fn orphan_given_up(sent: &Sent) -> bool {
    sent.active(|socket| socket.orphaned && !socket.owned)
}
