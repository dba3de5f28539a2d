//! Settings that would have prevented a reset.

mod idle;
mod settings;

pub use idle::{IdleSituation, KeepaliveNow, for_idle};

use std::time::Duration;

use super::words;
use crate::event::Environment;
use crate::record::Sentence;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_how_to_drain_in_the_cloud_it_happened_in() {
        let first = |environment| for_burst(environment).remove(0);
        assert!(first(Some(Environment::Aws)).contains("`deregistration_delay.timeout_seconds`"));
        assert!(first(Some(Environment::Gcp)).contains("`connectionDraining.drainingTimeoutSec`"));
        assert!(first(None).contains("connection draining"));
        let rest = for_burst(None).concat();
        assert!(rest.contains("terminationGracePeriodSeconds") && rest.contains("rolling restart"));
    }
}
