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
            brief: "close() in FIN_WAIT2 with a negative TCP_LINGER2.",
            happened: "close() in FIN_WAIT2 with TCP_LINGER2 below zero",
            known: "reason TCP_ABORT_ON_LINGER",
            remedy: "as above",
            look_alikes: "the reason's name misleads: SO_LINGER {1, 0} shows as TCP_STATE",
            captured: ["unknown: it had closed its side before", "`reset_by_peer`"],
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
            "TCP_LINGER2 is below zero",
        ))
    }

    fn sentence(&self, case: &SentCase) -> String {
        format!(
            "{} closed with TCP_LINGER2 below zero{}",
            case.subject(),
            case.after_age()
        )
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some("leave TCP_LINGER2 at 0 or above: below zero each close() resets".into())
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} closed {} with TCP_LINGER2 below zero",
            many.subject, many.connections
        )
    }
}

pub(super) fn lingers_below_zero(sent: &Sent) -> bool {
    sent.active(|socket| is_closing(socket) && socket.linger2_off)
}
