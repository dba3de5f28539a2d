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
            brief: "Too many orphaned sockets, or tcp_mem exhausted.",
            happened: "too many orphaned sockets, or `tcp_mem` exhausted",
            known: "reason TCP_ABORT_ON_MEMORY",
            remedy: "`net.ipv4.tcp_max_orphans`, `tcp_mem`",
            look_alikes: "an orphan in FIN_WAIT2 whose time is over: `orphan_timeout`",
            captured: ["unknown: it had closed its side before", "`reset_by_peer`"],
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
            "too many orphaned sockets or no TCP memory: the kernel dropped the connection{}",
            words::after(" of ", case.process.as_ref())
        )
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some("raise net.ipv4.tcp_max_orphans or net.ipv4.tcp_mem".into())
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "the kernel reset {} for want of TCP memory, or for too many orphans",
            many.connections
        )
    }
}

pub(super) fn orphan_given_up(sent: &Sent) -> bool {
    sent.active(|socket| socket.orphaned && !socket.owned)
}
