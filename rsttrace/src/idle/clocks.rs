//! What do a socket's clocks say about the silence before a reset?
//!
//! `lsndtime` moves with every retransmission, so while data is unacknowledged the first send of it counts instead
//! (`chrono_start`); the silence that matters then ended with that send.

use std::time::Duration;

use crate::event::{Socket, TcpState};
use crate::record::Idle;

/// The clocks, for a socket whose connection was in `state`; `None` where there was no connection yet.
pub fn idle(socket: &Socket, state: TcpState) -> Option<Idle> {
    if !state.is_synchronized() {
        return None;
    }
    let heard = earliest(socket.since_ack, socket.since_received);
    let sent = match socket.since_first_unacknowledged {
        Some(first) if socket.retransmits > 0 => Some(first),
        _ => socket.since_sent,
    };
    let data = earliest(sent, socket.since_received);
    let quiet = match socket.since_first_unacknowledged {
        // Heard of after that send: no silence came before the trigger.
        Some(first) => heard.map(|heard| heard.saturating_sub(first)),
        None => earliest(data, heard),
    };
    if quiet.is_none() && data.is_none() && heard.is_none() {
        return None;
    }
    Some(Idle {
        quiet_before: seconds(quiet),
        since_data: seconds(data),
        since_heard: seconds(heard),
        reset_after_send: seconds(socket.since_first_unacknowledged),
        // Which kind of timeout fits, known devices and learned timeouts are judged elsewhere.
        ..Idle::default()
    })
}

/// The shorter of two spans, where known.
fn earliest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn seconds(span: Option<Duration>) -> Option<f64> {
    span.map(|span| span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::fixtures::socket;

    fn ms(value: u64) -> Option<Duration> {
        Some(Duration::from_millis(value))
    }

    #[test]
    fn silence_ends_with_the_first_unacknowledged_send_not_with_its_retransmission() {
        let mut socket = socket(1);
        socket.since_ack = ms(2016);
        socket.since_received = ms(5000);
        socket.since_sent = ms(240);
        socket.since_first_unacknowledged = ms(1016);
        socket.retransmits = 3;
        let idle = idle(&socket, TcpState::Established).expect("established");
        assert_eq!(idle.quiet_before, Some(1.0));
        assert_eq!(idle.reset_after_send, Some(1.016));
        assert_eq!(idle.since_data, Some(1.016));
        assert_eq!(idle.since_heard, Some(2.016));
    }

    #[test]
    fn with_nothing_outstanding_silence_counts_from_the_last_sign_of_life() {
        let mut socket = socket(1);
        socket.since_ack = ms(300_000);
        socket.since_received = ms(301_000);
        socket.since_sent = ms(300_040);
        let idle = idle(&socket, TcpState::Established).expect("established");
        assert_eq!(idle.quiet_before, Some(300.0));
        assert_eq!(idle.since_data, Some(300.04));
        assert_eq!(idle.reset_after_send, None);
    }

    #[test]
    fn a_reply_heard_after_the_send_leaves_no_silence_before_it() {
        let mut socket = socket(1);
        socket.since_ack = ms(10);
        socket.since_first_unacknowledged = ms(500);
        let idle = idle(&socket, TcpState::Established).expect("established");
        assert_eq!(idle.quiet_before, Some(0.0));
    }

    #[test]
    fn a_connect_that_was_refused_has_no_idle_clocks() {
        assert_eq!(idle(&socket(1), TcpState::SynSent), None);
    }
}
