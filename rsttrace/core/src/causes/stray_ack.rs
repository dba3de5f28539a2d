//! A listener received a segment of an unknown connection.

use super::{Definition, Doc, Many, cost_of_data};
use crate::event::Sent;
use crate::record::{Direction, Origin, Severity, ServingEnd, Sentence};
use crate::verdict::advice::Situation;
use crate::verdict::SentCase;

pub struct StrayAck;

impl Definition for StrayAck {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a listener received a segment of an unknown connection",
            known: "reason TCP_FLAGS at a listener, no former connection recorded",
            remedy: "check for a restart of the service, or a load balancer that sent it to the wrong server",
            look_alikes: "a connection from before a restart of the service is recorded: `half_open`",
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

    /// Data for a connection that lives elsewhere: a balancer has moved it here.
    fn cost(&self, sent: &Sent) -> Severity {
        cost_of_data(sent)
    }

    fn sentence(&self, case: &SentCase) -> String {
        let by = case
            .process
            .as_ref()
            .map_or_else(String::new, |process| format!(" ({process})"));
        format!(
            "the listener on port {}{by} has no such connection",
            case.sent.flow.local.port()
        )
    }

    fn page(&self) -> Option<Situation> {
        Some(Situation::ConntrackMoved)
    }

    fn advice(&self, _sent: &Sent) -> Option<Sentence> {
        Some(
            "find out what sent it here: a balancer or NAT whose entry changed or expired, or a restart of this host"
                .into(),
        )
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} answered segments of connections unknown to the listener",
            many.resets
        )
    }
}
