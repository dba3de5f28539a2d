//! A listener received a segment of an unknown connection.

use super::{Definition, Doc, Many};
use crate::event::Sent;
use crate::record::{Direction, Origin, Severity, ServingEnd};
use crate::verdict::SentCase;

pub struct StrayAck;

impl Definition for StrayAck {
    fn doc(&self) -> Doc {
        Doc {
            brief: "A listener received a segment of an unknown connection.",
            happened: "a listener got a segment of no connection it knows",
            known: "reason TCP_FLAGS at a listener, nothing remembered",
            remedy: "a restart of the service, or a balancer that sent it to the wrong server",
            look_alikes: "a connection of the service before its restart is remembered: `half_open`",
            captured: ["unknown", "`reset_by_peer`"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::LocalKernel
    }

    fn serving(&self, direction: Direction) -> Option<ServingEnd> {
        (direction == Direction::Sent).then_some(ServingEnd::Local)
    }

    fn is_answer(&self) -> bool {
        true
    }

    fn cost(&self, _sent: &Sent) -> Severity {
        Severity::Noise
    }

    fn sentence(&self, case: &SentCase) -> String {
        let by = case
            .process
            .as_ref()
            .map_or_else(String::new, |process| format!(" ({process})"));
        format!(
            "port {} listens{by} but knows no such connection",
            case.sent.flow.local.port()
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} answered segments of connections that the listener does not know",
            many.resets
        )
    }
}
