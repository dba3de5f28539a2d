//! Which devices could have ended a connection after this silence?
//!
//! At expiry the silence is the timeout, give or take a timer's coarseness ([`tolerance`]). A device that forgets silently
//! shows only that its timeout was over, so a late reset gives an upper bound.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::devices::{Device, Expiry, devices};
use crate::event::Environment;
use crate::record::{Basis, Candidate, IdleMode};

pub use super::devices::Kind;

/// Candidates that a record names.
const MOST: usize = 8;

/// Two silences that a timer may have measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Nothing went over the wire, probes included: what a transparent device measures.
    pub wire: Duration,
    /// No data: what a terminating device or the server itself measures.
    pub application: Duration,
}

/// A device that the user has named.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// What the user calls it.
    pub name: String,
    /// The other ends whose connections pass it, as this host sees them.
    pub network: IpNet,
    /// Only connections to this port; absent: all.
    pub port: Option<u16>,
    /// Its idle timeout.
    pub timeout: Duration,
    /// What it does then.
    pub mode: IdleMode,
    /// Where it stands.
    pub kind: Kind,
}

/// What is known about the devices around this host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knowledge {
    /// Those the user has named.
    pub hops: Vec<Hop>,
    /// The cloud this host runs in: devices of others are none of its candidates.
    pub environment: Option<Environment>,
}

/// A device whose timeout fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// As the record names it.
    pub candidate: Candidate,
    /// Where it stands.
    pub kind: Kind,
    /// Whether TCP keepalive keeps its timer from expiring; absent if not known.
    pub keepalive_helps: Option<bool>,
    /// The silence is its timeout; else only longer.
    pub precise: bool,
}

/// The devices whose timeout a silence fits, the most plausible first: those the user named or, if there is none, those of
/// the table.
pub fn find(
    mode: IdleMode,
    silence: Silence,
    remote: IpAddr,
    service: u16,
    knowledge: &Knowledge,
) -> Vec<Match> {
    let configured: Vec<Match> = knowledge
        .hops
        .iter()
        .filter(|hop| {
            hop.mode == mode
                && hop.network.contains(&remote)
                && hop.port.is_none_or(|port| port == service)
                && fits(mode, silence.for_kind(hop.kind), hop.timeout)
        })
        .map(|hop| Match {
            candidate: Candidate {
                device: hop.name.clone(),
                timeout: hop.timeout.as_secs_f64(),
                mode: Some(mode),
                basis: Basis::Configured,
            },
            kind: hop.kind,
            keepalive_helps: Some(hop.kind == Kind::Transparent),
            precise: is_precise(mode),
        })
        .collect();
    if !configured.is_empty() {
        return configured;
    }
    let mut found: Vec<(&Device, Duration)> = devices()
        .iter()
        .filter(|device| explains(device, mode))
        .filter(|device| is_here(device, knowledge.environment))
        .filter_map(|device| Some((device, device.timeout?)))
        .filter(|(device, timeout)| fits(mode, silence.for_kind(device.kind), *timeout))
        .collect();
    // The nearest first, then what its maker documents.
    found.sort_by_key(|(device, timeout)| {
        (
            silence.for_kind(device.kind).abs_diff(*timeout),
            Reverse(device.verified),
        )
    });
    found.truncate(MOST);
    found
        .into_iter()
        .map(|(device, timeout)| Match {
            candidate: Candidate {
                device: device.name.to_owned(),
                timeout: timeout.as_secs_f64(),
                mode: Some(mode),
                basis: Basis::Known,
            },
            kind: device.kind,
            keepalive_helps: device.keepalive_helps,
            precise: is_precise(mode),
        })
        .collect()
}

impl Silence {
    /// The one that a device of this kind measures.
    pub fn for_kind(self, kind: Kind) -> Duration {
        match kind {
            Kind::Transparent => self.wire,
            Kind::Terminating | Kind::Endpoint => self.application,
        }
    }
}

/// How far a silence may be from a timeout: timers are coarse, the kernel's clocks of a socket too. 300 s: 297 to 303.
pub fn tolerance(timeout: Duration) -> Duration {
    (timeout / 100).max(Duration::from_millis(250))
}

fn fits(mode: IdleMode, silence: Duration, timeout: Duration) -> bool {
    if is_precise(mode) {
        silence.abs_diff(timeout) <= tolerance(timeout)
    } else {
        silence >= timeout
    }
}

fn is_precise(mode: IdleMode) -> bool {
    mode != IdleMode::LateRst
}

/// Whether what a device does at expiry can have been this. Keepalive of the own host is a verdict of its own.
fn explains(device: &Device, mode: IdleMode) -> bool {
    match mode {
        IdleMode::RstAtExpiry => {
            device.may_reset && !device.name.starts_with("Linux TCP keepalive")
        }
        IdleMode::FinAtExpiry => device.expiry == Expiry::Close,
        IdleMode::LateRst => device.expiry == Expiry::LateReset,
    }
}

/// Devices of another cloud are not on this host's paths, as far as it is known where it runs.
fn is_here(device: &Device, environment: Option<Environment>) -> bool {
    match (device.cloud, environment) {
        (Some(cloud), Some(here)) => cloud == here,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(mode: IdleMode, millis: u64, environment: Option<Environment>) -> Vec<String> {
        let silence = Duration::from_millis(millis);
        let knowledge = Knowledge {
            hops: Vec::new(),
            environment,
        };
        let both = Silence {
            wire: silence,
            application: silence,
        };
        find(mode, both, [10, 0, 3, 7].into(), 443, &knowledge)
            .into_iter()
            .map(|found| found.candidate.device)
            .collect()
    }

    #[test]
    fn five_minutes_then_fin_fits_those_that_close_at_300() {
        let found = names(IdleMode::FinAtExpiry, 300_000, None);
        for device in [
            "Envoy stream idle",
            "Caddy idle_timeout",
            "OCI Load Balancer, backend",
        ] {
            assert!(found.iter().any(|name| name == device), "{found:?}");
        }
        assert!(found.iter().all(|name| !name.starts_with("F5")));
        assert!(!names(IdleMode::FinAtExpiry, 297_500, None).is_empty());
        assert!(names(IdleMode::FinAtExpiry, 290_000, None).is_empty());
        let at_expiry = names(IdleMode::RstAtExpiry, 300_000, None);
        assert_eq!(at_expiry, ["F5 BIG-IP FastL4"]);
    }

    #[test]
    fn a_late_reset_fits_what_had_expired_the_nearest_first() {
        let found = names(IdleMode::LateRst, 350_200, None);
        assert!(found[0].starts_with("AWS"), "{found:?}");
        assert!(found.iter().any(|name| name == "Azure NAT Gateway"));
        assert!(found.iter().all(|name| name != "IPVS established"), "900 s");
    }

    #[test]
    fn in_a_cloud_devices_of_others_are_left_out() {
        let found = names(IdleMode::LateRst, 400_000, Some(Environment::Azure));
        assert!(
            found.iter().all(|name| !name.starts_with("AWS")),
            "{found:?}"
        );
        assert!(found.iter().any(|name| name.starts_with("Azure")));
    }

    #[test]
    fn keepalive_probes_keep_transparent_devices_awake_but_not_proxies() {
        let silence = Silence {
            wire: Duration::from_secs(60),
            application: Duration::from_secs(300),
        };
        let found = |mode| {
            find(
                mode,
                silence,
                [10, 0, 3, 7].into(),
                443,
                &Knowledge::default(),
            )
            .into_iter()
            .map(|found| (found.candidate.device, found.kind))
            .collect::<Vec<_>>()
        };
        assert!(found(IdleMode::RstAtExpiry).is_empty(), "F5 is transparent");
        let closing = found(IdleMode::FinAtExpiry);
        assert!(closing.iter().any(|(name, _)| name == "Caddy idle_timeout"));
        assert!(closing.iter().all(|(_, kind)| *kind != Kind::Transparent));
    }

    #[test]
    fn what_the_user_named_goes_before_the_table() {
        let hop = Hop {
            name: "edge".to_owned(),
            network: "10.0.3.0/24".parse().expect("a network"),
            port: Some(443),
            timeout: Duration::from_secs(300),
            mode: IdleMode::FinAtExpiry,
            kind: Kind::Terminating,
        };
        let knowledge = Knowledge {
            hops: vec![hop],
            environment: None,
        };
        let five_minutes = Silence {
            wire: Duration::from_secs(300),
            application: Duration::from_secs(300),
        };
        let found = |address: [u8; 4], port| {
            find(
                IdleMode::FinAtExpiry,
                five_minutes,
                address.into(),
                port,
                &knowledge,
            )
        };
        let here = found([10, 0, 3, 7], 443);
        assert_eq!(here.len(), 1);
        assert_eq!(here[0].candidate.basis, Basis::Configured);
        for (address, port) in [([10, 0, 4, 7], 443), ([10, 0, 3, 7], 80)] {
            let table = found(address, port);
            assert!(table.iter().all(|it| it.candidate.basis == Basis::Known));
            assert!(!table.is_empty());
        }
    }

    proptest! {
        #[test]
        fn every_candidate_fits(seconds in 0_u64..1_000_000, late: bool) {
            let silence = Duration::from_secs(seconds);
            let both = Silence { wire: silence, application: silence };
            let mode = if late { IdleMode::LateRst } else { IdleMode::FinAtExpiry };
            let found = find(mode, both, [10, 0, 3, 7].into(), 443, &Knowledge::default());
            prop_assert!(found.len() <= MOST);
            for one in found {
                let timeout = Duration::from_secs_f64(one.candidate.timeout);
                if late {
                    prop_assert!(silence >= timeout && !one.precise);
                } else {
                    prop_assert!(silence.abs_diff(timeout) <= tolerance(timeout) && one.precise);
                }
            }
        }
    }
}
