//! Settings that would have prevented a reset.

mod idle;
mod settings;

pub use idle::{IdleSituation, KeepaliveNow, for_idle};

use std::time::Duration;

use super::words;
use crate::event::Environment;
use crate::record::Sentence;

/// For many connections that were reset at once: something they share went down. `environment` is the cloud this host
/// runs in, absent if not known or none.
pub fn for_burst(environment: Option<Environment>) -> Vec<Sentence> {
    vec![
        format!(
            "if a server or balancer was taken out of service, {}",
            settings::draining(environment)
        )
        .into(),
        "drain it before it stops: stop accepting, finish open connections, then exit (systemd: TimeoutStopSec; Kubernetes: a preStop wait and terminationGracePeriodSeconds)".into(),
        "restart servers one at a time, each after the previous one is healthy again (rolling restart)".into(),
    ]
}

/// For a reset that does not look like the peer's. `neighbour` delivered it; absent on devices without addresses.
pub fn for_foreign(neighbour: Option<[u8; 6]>) -> Vec<Sentence> {
    let first = neighbour.map(|address| {
        format!(
            "find the owner of MAC address {} (`ip neigh`): that neighbor delivered the reset",
            words::mac(address)
        )
        .into()
    });
    let capture: Sentence = "capture resets at the peer as well (`tcpdump 'tcp[tcpflags] & tcp-rst != 0'`): a reset that did not leave there was sent on the path".into();
    first.into_iter().chain([capture]).collect()
}

/// For a peer that stopped waiting for this end's response.
pub fn for_late_answer(patience: Duration) -> Vec<Sentence> {
    vec![format!(
        "the peer waited {} for a response: respond sooner, or raise its response timeout (nginx proxy_read_timeout, HAProxy timeout server, the client's read timeout)",
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
