//! The process was killed with unread data in the receive buffer.

use super::close_with_unread_data::{closed_with_unread, unread, unread_bytes};
use super::{Definition, Doc, Many};
use crate::ownership::Whose;
use crate::event::Sent;
use crate::record::{Evidence, Origin, Sentence};
use crate::verdict::advice::{Shape, Situation};
use crate::verdict::SentCase;
use crate::words;

pub struct KilledWithUnreadData;

impl Definition for KilledWithUnreadData {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a signal killed the process while received data was unread: the kernel sends RST instead of FIN (RFC 2525 section 2.17)",
            known: "reason TCP_ABORT_ON_CLOSE in a task that exits because of a signal",
            remedy: "find out what killed it: the out-of-memory killer, a stop timeout, a deploy",
            look_alikes: "a process that exits voluntarily: `close_with_unread_data`",
            captured: ["`local_process`, cause unknown, *likely*; unanswered bytes suggest unread data", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalProcess
    }

    fn whose(&self) -> Whose {
        Whose::Closer
    }

    fn decisive(&self, sent: &Sent) -> Option<Evidence> {
        unread(sent)
    }

    fn sentence(&self, case: &SentCase) -> String {
        let (name, age) = (case.subject(), case.after_age());
        let unread = unread_bytes(&case.sent);
        match case.sent.ended_by().1 {
            Some(signal) => format!(
                "{name} was killed by {} with {unread}{age}",
                words::signal(signal)
            ),
            None => format!("{name} was killed with {unread}{age}"),
        }
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some(
            "find out who sent the signal: the kernel log for the out-of-memory killer, TimeoutStopSec, a deploy"
                .into(),
        )
    }

    fn shape(&self) -> Option<Shape> {
        Some(Shape::Killed)
    }

    fn page(&self) -> Option<Situation> {
        Some(Situation::Restart)
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} was killed with unread data on {}",
            many.subject, many.connections
        )
    }
}

/// The task that closed was being killed by a signal; a voluntary exit counts as a close.
pub(super) fn closer_was_killed(sent: &Sent) -> bool {
    matches!(sent.ended_by(), (true, Some(_)))
}

pub(super) fn killed_with_unread(sent: &Sent) -> bool {
    closed_with_unread(sent) && closer_was_killed(sent)
}
