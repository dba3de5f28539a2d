//! Which concrete setting would have prevented this reset?

mod idle;
mod settings;

pub use idle::{IdleSituation, KeepaliveNow, for_idle};

use std::time::Duration;

use super::words;
use crate::event::{Environment, Sent};
use crate::record::{Cause, Sentence};

/// For a reset the kernel sent; empty where no setting helps.
pub fn for_sent(sent: &Sent, cause: Cause) -> Vec<Sentence> {
    let advice: Sentence = match cause {
        Cause::KilledWithUnreadData => {
            "find who sent the signal: the kernel log for the out-of-memory killer, TimeoutStopSec, a deploy"
                .into()
        }
        Cause::PortClosed if sent.former_listener.is_some() => {
            "start the service that listened there, or stop its clients".into()
        }
        Cause::CloseWithUnreadData => {
            "read until the end of the stream before close(), or shutdown(SHUT_WR) and drain first"
                .into()
        }
        Cause::LingerZero => "close without SO_LINGER {1, 0}, unless the reset is meant".into(),
        Cause::Linger2 => {
            "leave TCP_LINGER2 at 0 or above: below zero each close() resets".into()
        }
        Cause::OutOfMemory => "raise net.ipv4.tcp_max_orphans or net.ipv4.tcp_mem".into(),
        Cause::AcceptQueueOverflow => overflow(sent).into(),
        _ => return Vec::new(),
    };
    vec![advice]
}

/// For many connections that were reset at once: something they share was taken away. `environment` is the cloud this host
/// runs in, absent if not known or none.
pub fn for_burst(environment: Option<Environment>) -> Vec<Sentence> {
    vec![
        format!(
            "if a server or balancer was taken out of service, {}",
            settings::draining(environment)
        )
        .into(),
        "let it drain before it stops: stop accepting, finish what is open, then exit (systemd: TimeoutStopSec; Kubernetes: a preStop wait and terminationGracePeriodSeconds)".into(),
        "restart servers one at a time, each once the one before is healthy again (rolling restart)".into(),
    ]
}

/// For a reset that does not look like the peer's. `neighbour` handed it over; absent on devices without addresses.
pub fn for_foreign(neighbour: Option<[u8; 6]>) -> Vec<Sentence> {
    let first = neighbour.map(|address| {
        format!(
            "find out whose address {} is (`ip neigh`): that neighbour handed the reset over",
            words::mac(address)
        )
        .into()
    });
    let capture: Sentence = "capture resets at the other end, too (`tcpdump 'tcp[tcpflags] & tcp-rst != 0'`): what did not leave there was written on the way".into();
    first.into_iter().chain([capture]).collect()
}

/// For an end that gave up waiting for this end's answer.
pub fn for_late_answer(patience: Duration) -> Vec<Sentence> {
    vec![format!(
        "the other end had asked and waited {}: answer sooner, or raise its timeout for answers (nginx proxy_read_timeout, HAProxy timeout server, the client's read timeout)",
        words::silence(patience)
    )
    .into()]
}

fn overflow(sent: &Sent) -> String {
    let limit = sent
        .socket
        .as_ref()
        .and_then(|socket| socket.accept_queue)
        .map_or_else(String::new, |(_, limit)| format!(" (now {limit})"));
    format!(
        "raise the backlog of listen(){limit} and net.core.somaxconn, or set net.ipv4.tcp_abort_on_overflow to 0 so that clients retry"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Socket, TcpFlags, TcpState};
    use crate::pipeline::fixtures::{Scene, closing, segment, socket};

    #[test]
    fn an_overflow_names_the_backlog_it_had() {
        let mut sent = Scene::new().answer(segment(TcpFlags::ACK, 1, 1, 0));
        sent.socket = Some(Socket {
            state: TcpState::Listen,
            accept_queue: Some((129, 128)),
            ..socket(1)
        });
        let advice = for_sent(&sent, Cause::AcceptQueueOverflow);
        assert!(advice[0].contains("(now 128)"), "{advice:?}");
    }

    #[test]
    fn a_burst_is_told_how_to_drain_in_the_cloud_it_happened_in() {
        let first = |environment| for_burst(environment).remove(0);
        assert!(first(Some(Environment::Aws)).contains("`deregistration_delay.timeout_seconds`"));
        assert!(first(Some(Environment::Gcp)).contains("`connectionDraining.drainingTimeoutSec`"));
        assert!(first(None).contains("connection draining"));
        let rest = for_burst(None).concat();
        assert!(rest.contains("terminationGracePeriodSeconds") && rest.contains("rolling restart"));
    }

    #[test]
    fn where_no_setting_helps_there_is_no_advice() {
        let sent = Scene::new().active(None, closing(1));
        for cause in [Cause::PortClosed, Cause::SocketDestroyed, Cause::Unknown] {
            assert!(for_sent(&sent, cause).is_empty(), "{cause}");
        }
    }
}
