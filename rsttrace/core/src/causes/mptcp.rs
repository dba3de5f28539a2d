//! Reset of an MPTCP subflow.

use super::{Definition, Doc, Many, cost_of_state};
use crate::event::Sent;
use crate::record::{Origin, Severity};
use crate::verdict::SentCase;
use crate::words;

pub struct Mptcp;

impl Definition for Mptcp {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a subflow of an MPTCP connection was reset",
            known: "the kernel's MPTCP reasons",
            remedy: "–",
            look_alikes: "",
            captured: ["like any active reset", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    fn cost(&self, sent: &Sent) -> Severity {
        cost_of_state(sent)
    }

    fn sentence(&self, case: &SentCase) -> String {
        format!(
            "an MPTCP subflow was reset{}",
            words::after(" of ", case.process.as_ref())
        )
    }

    fn many(&self, many: &Many) -> String {
        format!("{} {} reset (MPTCP subflows)", many.connections, many.was())
    }
}

pub(super) fn is_mptcp(sent: &Sent) -> bool {
    sent.socket_is(|socket| socket.mptcp)
}
