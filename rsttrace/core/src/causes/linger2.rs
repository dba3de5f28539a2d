//! close() in FIN_WAIT2 with a negative TCP_LINGER2.

use super::close_with_unread_data::is_closing;
use super::{Definition, Doc, Many};
use crate::ownership::Whose;
use crate::event::Sent;
use crate::record::{Evidence, EvidenceKind, Origin, Sentence};
use crate::verdict::SentCase;

pub struct Linger2;

impl Definition for Linger2 {
    fn doc(&self) -> Doc {
        Doc {
            happened: "close() in FIN_WAIT2 with a negative TCP_LINGER2",
            known: "reason TCP_ABORT_ON_LINGER",
            remedy: "leave TCP_LINGER2 at 0 or above, unless the reset is intended",
            look_alikes: "SO_LINGER {1, 0}: despite this reason's name, it has reason TCP_STATE (`linger_zero`)",
            captured: ["unknown: its side was already closed", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalProcess
    }

    fn whose(&self) -> Whose {
        Whose::Closer
    }

    fn decisive(&self, sent: &Sent) -> Option<Evidence> {
        sent.socket.as_ref()?;
        Some(Evidence::new(
            EvidenceKind::Linger2,
            "TCP_LINGER2 is negative",
        ))
    }

    fn sentence(&self, case: &SentCase) -> String {
        format!(
            "{} closed with a negative TCP_LINGER2{}",
            case.subject(),
            case.after_age()
        )
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some("leave TCP_LINGER2 at 0 or above: with a negative value each close() resets".into())
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} closed {} with a negative TCP_LINGER2",
            many.subject, many.connections
        )
    }
}

pub(super) fn lingers_below_zero(sent: &Sent) -> bool {
    sent.active(|socket| is_closing(socket) && socket.linger2_off)
}
