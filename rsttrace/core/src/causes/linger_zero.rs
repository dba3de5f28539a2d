//! close() with SO_LINGER {1, 0}.

use super::close_with_unread_data::{is_closing, turned_away};
use super::{Definition, Doc, Many, cost_of_state};
use crate::ownership::Whose;
use crate::event::{Sent, TcpState};
use crate::record::{Evidence, EvidenceKind, Origin, Sentence, Severity};
use crate::verdict::advice::Shape;
use crate::verdict::SentCase;

pub struct LingerZero;

impl Definition for LingerZero {
    fn doc(&self) -> Doc {
        Doc {
            happened: "close() with SO_LINGER {1, 0}",
            known: "reason TCP_STATE, socket in CLOSE, both directions shut down, SO_LINGER time 0",
            remedy: "remove the option, unless the reset is intended",
            look_alikes: "connect(AF_UNSPEC) keeps the file of the socket: `disconnect`; after shutdown(SHUT_RDWR) the two look the same, hence *likely*",
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

    fn decisive(&self, sent: &Sent) -> Option<Evidence> {
        sent.socket.as_ref()?;
        Some(Evidence::new(
            EvidenceKind::Linger,
            "SO_LINGER is on with time 0",
        ))
    }

    fn sentence(&self, case: &SentCase) -> String {
        if let Some(age) = case.turned_away() {
            return turned_away(case, age);
        }
        [
            &case.subject(),
            " closed with SO_LINGER {1, 0}",
            &case.after_age_and_idle(),
        ]
        .concat()
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some("close without SO_LINGER {1, 0}, unless the reset is intended".into())
    }

    fn shape(&self) -> Option<Shape> {
        Some(Shape::Abort)
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} closed {} with SO_LINGER {{1, 0}}, which resets {}",
            many.subject,
            many.connections,
            many.them()
        )
    }
}

pub(super) fn lingers_for_zero(sent: &Sent) -> bool {
    sent.active(|socket| is_closing(socket) && socket.linger.is_some_and(|time| time.is_zero()))
}

/// The socket had not been shut down before it closed.
pub(super) fn lingers_from_open(sent: &Sent) -> bool {
    let before = sent
        .ownership
        .as_ref()
        .and_then(|ownership| ownership.state_before_close);
    lingers_for_zero(sent)
        && !matches!(
            before,
            Some(TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck)
        )
}
