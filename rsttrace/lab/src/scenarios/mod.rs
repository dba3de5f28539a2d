//! The scenarios of the demo.
//!
//! A scenario is described once: data, and two steps of code. Its twins look alike and have another truth.

mod armed;
mod bursts;
mod chain;
mod closing;
mod firewall;
mod flock;
mod forged;
mod forgotten;
mod handshake;
mod harmless;
mod injected;
mod ipvs;
mod late_data;
mod lookalikes;
mod pair;
mod passed_on;
mod prefork;
mod proxies;
mod rough;
mod seen_elsewhere;
mod site;
mod timeouts;
mod translated;
mod transparent;
mod untranslated;
mod vanished;

use std::time::Duration;

use super::StageError;
use super::lab::{IpVersion, Lab};
use super::segment::Segment;
use crate::record::IdleMode;
pub use armed::{Armed, Progress, Staged, stage_together};

/// For which IP versions a scenario is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    /// Each in turn.
    Both,
}

impl Family {
    /// The versions in turn.
    pub fn versions(self) -> &'static [IpVersion] {
        match self {
            Self::V4 => &[IpVersion::V4],
            Self::V6 => &[IpVersion::V6],
            Self::Both => &[IpVersion::V4, IpVersion::V6],
        }
    }
}

/// How long a scenario takes, and so when it is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// At once.
    Short,
    /// It waits out a timeout of seconds; together with others of its kind, see [`stage_together`].
    Long,
    /// It changes the path that all share, or its timing allows no other scenario beside it; one by one, after the others.
    Alone,
}

/// A hop that drops idle connections, as an administrator writes it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    pub name: &'static str,
    /// Remote ends of connections that pass it, as the judging host sees them.
    pub network: &'static str,
    /// Only connections to this port.
    pub port: Option<u16>,
    pub timeout: Duration,
    /// What it does then.
    pub mode: IdleMode,
    /// It hands on the packets of others; else it is the other end itself.
    pub transparent: bool,
}

/// One kind of reset and how it is staged.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub title: &'static str,
    pub family: Family,
    /// Whether a socket exists before the provocation: then it can be older than the tracer. For a long one also:
    /// whether the truth can be known of such a socket, where the tracer is up before the timeout ends.
    pub can_predate: bool,
    pub suite: Suite,
    /// Hops on the path in the configuration of the judging host.
    pub hops: &'static [Hop],
    /// Names of scenarios that look alike and have another truth.
    pub twins: &'static [&'static str],
    open: fn(&mut Lab, IpVersion) -> Result<Armed, StageError>,
}

impl Scenario {
    /// Sets all up that can be before the reset.
    pub fn open(&self, lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
        lab.offers(version)?;
        (self.open)(lab, version)
    }
}

/// The defaults of a scenario.
const SHORT: Scenario = Scenario {
    name: "",
    title: "",
    family: Family::V4,
    can_predate: true,
    suite: Suite::Short,
    hops: &[],
    twins: &[],
    open: |_, _| Err(StageError::Failed("nothing to stage".to_owned())),
};
/// The defaults of one that waits for a timeout.
const LONG: Scenario = Scenario {
    can_predate: false,
    suite: Suite::Long,
    ..SHORT
};
/// The defaults of one that has the lab to itself.
const ALONE: Scenario = Scenario {
    suite: Suite::Alone,
    ..LONG
};

/// Fails the staging unless what was found is what was meant.
pub(crate) fn confirm<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    meant: T,
) -> Result<(), StageError> {
    if found == meant {
        return Ok(());
    }
    Err(StageError::Failed(format!(
        "{what}: {found:?} instead of {meant:?}"
    )))
}

/// Fails the staging unless so much time lay between two captured segments, give or take what a timer may be off.
fn confirm_silence(before: &Segment, after: &Segment, meant: Duration) -> Result<(), StageError> {
    let silence = before
        .captured
        .zip(after.captured)
        .and_then(|(before, after)| after.checked_sub(before));
    match silence {
        Some(silence) if silence.abs_diff(meant) <= meant / TOLERATED => Ok(()),
        other => Err(StageError::Failed(format!(
            "silence of {other:?} instead of {meant:?}"
        ))),
    }
}

/// The part of a timeout that a timer may be off, on a busy machine; a right record may be off by a twentieth.
const TOLERATED: u32 = 25;

/// All scenarios, the plain ones first.
pub const ALL: &[&Scenario] = &[
    &handshake::PORT_CLOSED,
    &handshake::PORT_CLOSED_LATELY,
    &closing::LINGER_ZERO,
    &closing::LINGER_ZERO_MAPPED,
    &closing::CLOSE_UNREAD,
    &closing::LINGER_FIVE_UNREAD,
    &closing::ABORTED_UPLOAD,
    &closing::KILLED_UNREAD,
    &closing::EXIT_UNREAD,
    &closing::WORKER_CLOSES,
    &closing::LINGER2,
    &closing::DISCONNECT,
    &closing::SOCKET_DESTROYED,
    &closing::LISTENER_CLOSED,
    &seen_elsewhere::RECEIVED,
    &seen_elsewhere::FORWARDED,
    &late_data::FIN_WAIT2,
    &late_data::TIME_WAIT,
    &late_data::KILLED,
    &late_data::SHUTDOWN_BOTH,
    &prefork::FORKED,
    &prefork::FORKED_GONE,
    &prefork::FORKED_LINGER_ZERO,
    &prefork::WORKER,
    &prefork::WORKER_GONE,
    &prefork::WORKER_KEEPALIVE,
    &prefork::WORKER_CLOSED,
    &prefork::MASTER,
    &prefork::SHARED,
    &prefork::HANDED_ON,
    &prefork::HANDED_ON_SHUTDOWN,
    &prefork::REUSEPORT,
    &prefork::REUSEPORT_GONE,
    &vanished::HALF_OPEN,
    &vanished::HALF_OPEN_LISTENER_BACK,
    &vanished::BAD_ACK_WHILE_CONNECTING,
    &timeouts::KEEPALIVE,
    &timeouts::USER_TIMEOUT,
    &handshake::LATE_SYNACK,
    &handshake::ACCEPT_OVERFLOW,
    &handshake::STRAY_ACK,
    &handshake::FAST_OPEN,
    &firewall::REJECT_SYN,
    &firewall::REJECT_ESTABLISHED,
    &firewall::REJECT_FORWARDED,
    &harmless::CHECK,
    &harmless::CHECK_WITH_BANNER,
    &harmless::LEAVES_AFTER_ANSWER,
    &harmless::LEAVES_BEFORE_ANSWER,
    &harmless::RESET_BEFORE_REQUEST,
    &injected::RAW_SOCKET,
    &injected::EXACT,
    &injected::IN_WINDOW,
    &injected::OUT_OF_WINDOW,
    &proxies::HAPROXY_SERVER,
    &proxies::HAPROXY_CLIENT,
    &proxies::HAPROXY_NOLINGER,
    &proxies::NGINX_STREAM,
    &proxies::NGINX_RESET,
    &proxies::TLS_GOODBYE,
    &proxies::LAST_WORDS,
    &proxies::SLOW_ANSWER,
    &proxies::CLIENT_LEAVES,
    &proxies::NGINX_CLIENT_LEAVES,
    &proxies::CLIENT_DIES,
    &transparent::REJECTED_PUSH,
    &transparent::ANSWERED_BY_BALANCER,
    &transparent::ANSWERED_BY_UNKNOWN_BALANCER,
    &transparent::ANSWERED_BY_PEER,
    &forgotten::DELETED_DESTINATION_NAT,
    &forgotten::DELETED_SOURCE_NAT,
    &forgotten::HALF_CLOSED,
    &forgotten::NOT_FORGOTTEN,
    &untranslated::ANSWER,
    &untranslated::BACKSCATTER,
    &untranslated::STAND_IN,
    &ipvs::NAT_ANSWERS_CLIENT,
    &ipvs::NAT_PEER_ANSWERS,
    &ipvs::DIRECT_ROUTING,
    &ipvs::NOT_EXPIRED,
    &ipvs::NOT_EXPIRED_UNREAD,
    &ipvs::NOT_EXPIRED_CRASHED,
    &forged::EXPIRED,
    &forged::LEARNED,
    &forged::AMBIGUOUS,
    &forged::PEER_TALKS_ON,
    &forged::FAILOVER,
    &lookalikes::SLOW_APPLICATION,
    &lookalikes::SLOW_APPLICATION_UNREAD,
    &lookalikes::PEER_CRASHED,
    &lookalikes::HOP_NOT_EXPIRED,
    &lookalikes::PERIODIC_WRITER,
    &lookalikes::REROUTED_LONGER,
    &lookalikes::REROUTED_SHORTER,
    &lookalikes::REORDERED,
    &lookalikes::KEEPALIVE,
    &bursts::DEPLOY_RESTART,
    &bursts::GRACEFUL_RESTART,
    &bursts::PROXY_PASSES_ON,
    &bursts::PROXY_PASSES_ON_COMPLETE,
    &bursts::PROXY_PASSES_BACK,
    &bursts::BUSY_PROCESS,
    &passed_on::REFUSED,
    &passed_on::REFUSED_LATE,
    &passed_on::TWO_CLIENTS,
    &passed_on::NOTICED_LATE,
    &passed_on::UNRELATED,
    &rough::LOSSY_LINGER_ZERO,
    &rough::LOSSY_CLOSE_UNREAD,
    &rough::LOSSY_HALF_OPEN,
    &rough::LOSSY_DATA_AFTER_CLOSE,
    &rough::LOSSY_PORT_CLOSED,
    &rough::REORDERED_LINGER_ZERO,
    &rough::REORDERED_CLOSE_UNREAD,
    &rough::REORDERED_HALF_OPEN,
    &rough::REORDERED_DATA_AFTER_CLOSE,
    &rough::REORDERED_PORT_CLOSED,
    &rough::OVERTAKING,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_and_what_is_armed_in_it_can_move_to_another_thread() {
        fn can_move<T: Send>() {}
        can_move::<(Lab, Armed, Staged)>();
    }

    #[test]
    fn names_are_unique_and_every_twin_exists() {
        for (index, scenario) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != scenario.name));
            for twin in scenario.twins {
                assert!(ALL.iter().any(|other| other.name == *twin), "{twin}");
                assert_ne!(*twin, scenario.name);
            }
            assert!(!scenario.twins.is_empty(), "{} has no twin", scenario.name);
            for hop in scenario.hops {
                assert!(hop.network.parse::<ipnet::IpNet>().is_ok(), "{hop:?}");
            }
        }
    }
}
