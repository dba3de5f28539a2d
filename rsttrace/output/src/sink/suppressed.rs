//! The line about suppressed resets.

use crate::causes::definition;
use crate::record::{Direction, SuppressedRecord};
use crate::text;
use crate::words;

/// `+41,233 more port_closed from 203.0.113.0/24, port 9999: suppressed (counted only)`.
pub(super) fn sentence(sum: &SuppressedRecord) -> String {
    let what = match (sum.cause, sum.direction) {
        (Some(cause), _) => cause.to_string(),
        (None, direction) => {
            let plain = match direction {
                Some(Direction::Sent) => "resets sent",
                Some(Direction::Received) => "resets received",
                Some(Direction::Forwarded) => "resets forwarded",
                Some(Direction::Observed) => "resets observed",
                None => "resets",
            };
            match sum.reason.as_deref().or(sum.state.as_deref()) {
                Some(detail) => format!("{plain} ({})", text::escape(detail)),
                None => plain.to_owned(),
            }
        }
    };
    let toward = if sum.direction == Some(Direction::Sent)
        && !sum.cause.is_some_and(|cause| definition(cause).is_answer())
    {
        "to"
    } else {
        "from"
    };
    let port = match (sum.local_port, sum.remote_port) {
        (Some(port), _) => format!("port {port}"),
        (None, Some(port)) => format!("remote port {port}"),
        (None, None) => "many ports".to_owned(),
    };
    let network = sum
        .remote_network
        .as_deref()
        .map_or("many networks".into(), text::escape);
    format!(
        "+{} more {what} {toward} {network}, {port}: suppressed (counted only)",
        words::count(sum.count)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Cause, SUPPRESSED_SCHEMA};

    #[test]
    fn what_they_have_in_common_is_said() {
        let sum = SuppressedRecord {
            schema: SUPPRESSED_SCHEMA.into(),
            time: "2026-01-05T12:03:46.500000000Z".to_owned(),
            since: "2026-01-05T12:03:45.500000000Z".to_owned(),
            host: None,
            count: 41_233,
            direction: Some(Direction::Sent),
            cause: Some(Cause::PortClosed),
            reason: Some("NO_SOCKET".into()),
            state: None,
            netns: None,
            local_port: Some(9999),
            remote_port: None,
            remote_network: Some("203.0.113.0/24".to_owned()),
        };
        let end = ": suppressed (counted only)";
        assert_eq!(
            sentence(&sum),
            format!("+41,233 more port_closed from 203.0.113.0/24, port 9999{end}")
        );
        let several = SuppressedRecord {
            cause: None,
            local_port: None,
            remote_network: None,
            ..sum.clone()
        };
        assert_eq!(
            sentence(&several),
            format!("+41,233 more resets sent (NO_SOCKET) to many networks, many ports{end}")
        );
        let received = SuppressedRecord {
            direction: Some(Direction::Received),
            cause: None,
            reason: None,
            state: Some("ESTABLISHED".into()),
            local_port: None,
            remote_port: Some(443),
            ..sum
        };
        assert_eq!(
            sentence(&received),
            format!(
                "+41,233 more resets received (ESTABLISHED) from 203.0.113.0/24, remote port 443{end}"
            )
        );
    }
}
