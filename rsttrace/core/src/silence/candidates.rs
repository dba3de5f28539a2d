//! Devices whose idle timeout fits the silence before a reset.
//!
//! A number alone proves nothing: many devices share one, and each can be configured. So this gives a set, narrowed
//! by what the device would have done at its timeout, by the cloud this host runs in, and by what the user says is
//! on the path. How much that is worth is for the verdict to say.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use super::devices::Kind;
use super::devices::{self, Device, Expiry, Role};
use super::software::Program;
use crate::event::Environment;
use crate::record::{Basis, Candidate, IdleMode, Word};
use crate::thresholds::{CLOCK_SLACK, known_tolerance};

/// How long a connection had been quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Since anything at all went over the wire, keepalive probes included.
    pub wire: Duration,
    /// Since data went over it.
    pub application: Duration,
}

/// A device on the path, as the user describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// What to call it.
    pub name: String,
    /// The other ends that are reached through it, or are it, as this host sees them.
    pub network: IpNet,
    /// The service's port; absent: any.
    pub port: Option<u16>,
    /// Its idle timeout.
    pub timeout: Duration,
    /// What it does at the timeout.
    pub mode: IdleMode,
    /// What it is to the connection.
    pub kind: Kind,
}

impl Hop {
    fn is_on_the_way_to(&self, remote: IpAddr, service_port: u16) -> bool {
        self.network.contains(&remote.to_canonical())
            && self.port.is_none_or(|port| port == service_port)
    }
}

/// What is known of the paths to and from this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// The devices that the user named, in the user's order.
    pub hops: Vec<Hop>,
    /// Whose cloud this is; absent if not known, or none: then the devices of all clouds stay.
    pub environment: Option<Environment>,
}

/// What is known of the end that closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosingEnd {
    /// It had accepted the connection; absent if not known.
    pub listened: Option<bool>,
    /// Its process.
    pub process: ClosingProcess,
}

/// The process that closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClosingProcess {
    /// Not known: a device between the ends may have closed as well.
    #[default]
    Unknown,
    /// Of this program; absent if it is none that the table knows.
    Of(Option<&'static Program>),
}

impl ClosingEnd {
    fn may_be(self, device: &Device) -> bool {
        let has_role = match (device.role, self.listened) {
            (Role::Hop | Role::Both, _) | (_, None) => true,
            (Role::Listener, Some(listened)) => listened,
            (Role::Connector, Some(listened)) => !listened,
        };
        has_role
            && match self.process {
                ClosingProcess::Unknown => true,
                ClosingProcess::Of(program) => {
                    program.is_some_and(|program| program.is(device.name))
                }
            }
    }
}

/// A device whose timeout fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// As it stands in the record. Its `mode` is absent where the source does not say what the device does.
    pub candidate: Candidate,
    /// What the device is to the connection.
    pub kind: Kind,
    /// Keepalive probes count as traffic to it; absent if not known.
    pub keepalive_helps: Option<bool>,
    /// The silence is the timeout to within [`CLOCK_SLACK`]. Never so for a late reset: there the timeout is only known
    /// to be no longer than the silence.
    pub precise: bool,
}

/// As many candidates as a reader looks at.
pub const LIMIT: usize = 8;

/// The devices whose timeout fits the silence before a reset on a connection with `remote` at a service on
/// `service_port`, most plausible first, at most [`LIMIT`].
///
/// Named hops come first. Beside them known devices stay only if their timeout fits precisely. Ties keep the order of
/// the user and of the table.
pub fn find(
    mode: IdleMode,
    silence: Silence,
    remote: IpAddr,
    service_port: u16,
    closing: ClosingEnd,
    knowledge: &Knowledge,
) -> Vec<Match> {
    let mut matches: Vec<_> = knowledge
        .hops
        .iter()
        .filter(|hop| hop.mode == mode && hop.is_on_the_way_to(remote, service_port))
        .filter_map(|hop| configured(hop, silence))
        .collect();
    matches.sort_by_key(|found| found.distance);
    let named = !matches.is_empty();
    let mut others: Vec<_> = devices::all()
        .iter()
        .filter(|device| closing.may_be(device))
        .filter_map(|device| known(device, mode, silence, knowledge.environment))
        .filter(|found| !named || found.matched.precise)
        .collect();
    others.sort_by_key(|found| found.rank(mode));
    matches.append(&mut others);
    matches
        .into_iter()
        .take(LIMIT)
        .map(|found| found.matched)
        .collect()
}

/// A match and what speaks against it.
struct Found {
    matched: Match,
    /// Between silence and timeout.
    distance: Duration,
    doubts: Doubts,
}

/// Why another device of the same timeout is more plausible; the greatest doubt first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Doubts {
    /// The timer runs only while one end has closed already.
    half_closed_only: bool,
    /// The device resets only if told to.
    if_configured: bool,
    /// The source does not say what it does.
    unverified: bool,
    /// This host is in a cloud that has devices of its own, and this is none of them.
    of_no_cloud: bool,
    /// It is some cloud's, and whether this host is in that one is not known.
    of_a_cloud: bool,
}

impl Found {
    /// At expiry all that fit, fit: doubts decide. Of a late reset's bounds the closest says most.
    fn rank(&self, mode: IdleMode) -> impl Ord + use<> {
        let late = mode == IdleMode::LateRst;
        let first = if late { self.distance } else { Duration::ZERO };
        (
            self.doubts.half_closed_only,
            first,
            self.doubts,
            Reverse(self.matched.precise),
            self.distance,
        )
    }
}

fn configured(hop: &Hop, silence: Silence) -> Option<Found> {
    let transparent = hop.kind == Kind::Transparent;
    let distance = fit(hop.mode, hop.timeout, silence, transparent)?;
    Some(Found {
        matched: Match {
            candidate: Candidate {
                device: hop.name.as_str().into(),
                timeout: hop.timeout.as_secs_f64(),
                mode: Some(hop.mode),
                basis: Basis::Configured,
            },
            kind: hop.kind,
            keepalive_helps: Some(transparent),
            precise: is_precise(hop.mode, distance),
        },
        distance,
        doubts: Doubts::default(),
    })
}

fn known(
    device: &Device,
    mode: IdleMode,
    silence: Silence,
    environment: Option<Environment>,
) -> Option<Found> {
    let elsewhere = match (device.vendor, environment) {
        (Some(vendor), Some(here)) => vendor != here,
        _ => false,
    };
    if elsewhere || device.name == OWN_KEEPALIVE {
        return None;
    }
    let if_configured = !can(device, mode)?;
    let timeout = device.timeout?;
    // A proxy that hands keepalive on, or takes it for traffic, watches the wire.
    let watches_wire = device.kind == Kind::Transparent || device.keepalive_helps == Some(true);
    let distance = fit(mode, timeout, silence, watches_wire)?;
    Some(Found {
        matched: Match {
            candidate: Candidate {
                device: Word::new_static(device.name),
                timeout: timeout.as_secs_f64(),
                mode: device.verified.then_some(mode),
                basis: Basis::Known,
            },
            kind: device.kind,
            keepalive_helps: device.keepalive_helps,
            precise: is_precise(mode, distance),
        },
        distance,
        doubts: Doubts {
            half_closed_only: device.kind == Kind::Transparent
                && device.keepalive_helps == Some(false),
            if_configured,
            unverified: !device.verified,
            of_no_cloud: environment.is_some() && device.vendor.is_none(),
            of_a_cloud: environment.is_none() && device.vendor.is_some(),
        },
    })
}

/// The probes of a socket of this host: judged by itself, from the kernel's reason.
const OWN_KEEPALIVE: &str = "Linux TCP keepalive";

/// Whether the device does this at its timeout by default; `None`: it never does.
fn can(device: &Device, mode: IdleMode) -> Option<bool> {
    match (mode, device.expiry) {
        (IdleMode::RstAtExpiry, Expiry::RstAtExpiry)
        | (IdleMode::LateRst, Expiry::LateRst)
        | (IdleMode::FinAtExpiry, Expiry::Close)
        | (IdleMode::RstAtExpiry | IdleMode::FinAtExpiry, Expiry::Unknown) => Some(true),
        (IdleMode::RstAtExpiry, Expiry::Silent | Expiry::Close) => {
            device.reset_is_optional.then_some(false)
        }
        _ => None,
    }
}

/// How far the silence is from the timeout, if it fits.
///
/// At expiry it fits to within 1 % of the timeout, at least [`CLOCK_SLACK`]: timers of minutes are looked at every second or
/// so, and people round. So 297 to 303 s fit a timeout of 300 s, and 290 s do not. A late reset came some time after the
/// timeout: each that is no longer than the silence of the wire fits.
fn fit(
    mode: IdleMode,
    timeout: Duration,
    silence: Silence,
    watches_wire: bool,
) -> Option<Duration> {
    match mode {
        IdleMode::RstAtExpiry | IdleMode::FinAtExpiry => {
            let quiet = if watches_wire {
                silence.wire
            } else {
                silence.application
            };
            let distance = quiet.abs_diff(timeout);
            (distance <= known_tolerance(timeout)).then_some(distance)
        }
        IdleMode::LateRst => (timeout <= silence.wire.saturating_add(CLOCK_SLACK))
            .then(|| silence.wire.saturating_sub(timeout)),
    }
}

fn is_precise(mode: IdleMode, distance: Duration) -> bool {
    mode != IdleMode::LateRst && distance <= CLOCK_SLACK
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::silence::software;

    const ANY: ClosingEnd = ClosingEnd {
        listened: None,
        process: ClosingProcess::Unknown,
    };
    const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 3, 7));

    fn quiet(seconds: f64) -> Silence {
        let span = Duration::from_secs_f64(seconds);
        Silence {
            wire: span,
            application: span,
        }
    }

    fn hop(mode: IdleMode, seconds: u64) -> Hop {
        Hop {
            name: "edge balancer".into(),
            network: "10.0.3.0/24".parse().unwrap(),
            port: Some(8080),
            timeout: Duration::from_secs(seconds),
            mode,
            kind: Kind::Transparent,
        }
    }

    fn names(found: &[Match]) -> Vec<&str> {
        found
            .iter()
            .map(|found| found.candidate.device.as_str())
            .collect()
    }

    fn nowhere(mode: IdleMode, seconds: f64) -> Vec<Match> {
        find(
            mode,
            quiet(seconds),
            REMOTE,
            8080,
            ANY,
            &Knowledge::default(),
        )
    }

    fn within(environment: Environment, mode: IdleMode, seconds: f64) -> Vec<Match> {
        let knowledge = Knowledge {
            hops: Vec::new(),
            environment: Some(environment),
        };
        find(mode, quiet(seconds), REMOTE, 8080, ANY, &knowledge)
    }

    use Environment::{Aws, Azure, Gcp, Oci};
    use IdleMode::{FinAtExpiry, LateRst, RstAtExpiry};

    #[test]
    fn a_close_after_five_minutes_is_a_proxy_and_what_runs_anywhere_comes_first() {
        let found = nowhere(FinAtExpiry, 300.0);
        assert_eq!(
            names(&found),
            [
                "Envoy stream idle",
                "Caddy idle_timeout",
                "OCI Load Balancer, backend"
            ]
        );
        assert!(found.iter().all(|found| found.precise));
        assert!(
            found
                .iter()
                .all(|found| found.candidate.basis == Basis::Known)
        );
    }

    #[test]
    fn devices_of_other_clouds_are_left_out_and_those_of_this_one_come_first() {
        assert_eq!(
            names(&within(Oci, FinAtExpiry, 300.0)),
            [
                "OCI Load Balancer, backend",
                "Envoy stream idle",
                "Caddy idle_timeout"
            ]
        );
        assert_eq!(
            names(&within(Aws, FinAtExpiry, 300.0)),
            ["Envoy stream idle", "Caddy idle_timeout"]
        );
        assert_eq!(
            names(&within(Aws, FinAtExpiry, 60.0))[..2],
            ["AWS ALB", "AWS CLB"]
        );
        assert_eq!(
            names(&within(Azure, RstAtExpiry, 240.0)),
            ["Azure Firewall", "Azure Load Balancer"]
        );
        assert_eq!(
            names(&within(Gcp, FinAtExpiry, 600.0))[0],
            "GCP Application LB, backend side"
        );
    }

    fn closed_by(seconds: f64, listened: bool, process: ClosingProcess) -> Vec<Match> {
        let closing = ClosingEnd {
            listened: Some(listened),
            process,
        };
        let knowledge = Knowledge::default();
        find(
            FinAtExpiry,
            quiet(seconds),
            REMOTE,
            8080,
            closing,
            &knowledge,
        )
    }

    #[test]
    fn timers_of_clients_are_none_of_an_end_that_accepted() {
        let unknown = ClosingProcess::Unknown;
        let listener = closed_by(60.0, true, unknown);
        let connector = closed_by(60.0, false, unknown);
        assert!(names(&listener).contains(&"Apache httpd Timeout"));
        assert!(names(&listener).contains(&"AWS ALB"));
        assert!(
            !names(&listener)
                .iter()
                .any(|name| name.starts_with("nginx"))
        );
        assert!(names(&connector).contains(&"nginx upstream keepalive_timeout"));
        assert!(!names(&connector).contains(&"Tomcat connectionTimeout"));
    }

    #[test]
    fn a_known_program_has_its_own_timers_only() {
        let of = |comm| ClosingProcess::Of(software::program(comm, None, None));
        let at = |seconds, comm| names_owned(&closed_by(seconds, true, of(comm)));
        assert_eq!(at(2.0, "gunicorn"), ["gunicorn keepalive"]);
        for other in ["node", "uvicorn", "sshd", "orders"] {
            assert!(at(2.0, other).is_empty(), "{other}");
        }
        assert_eq!(at(75.0, "nginx"), ["nginx keepalive_timeout"]);
        assert!(names_owned(&closed_by(75.0, false, of("nginx"))).is_empty());
    }

    fn names_owned(found: &[Match]) -> Vec<String> {
        names(found).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_late_reset_is_bounded_by_the_silence_and_the_closest_comes_first() {
        let found = nowhere(LateRst, 350.2);
        assert_eq!(
            names(&found),
            [
                "AWS NLB (TCP)",
                "AWS NAT gateway",
                "Linux conntrack unacknowledged / max retrans",
                "Azure NAT Gateway",
                // Only while one end has closed.
                "IPVS FIN_WAIT",
                "Linux conntrack close_wait",
            ]
        );
        assert!(found.iter().all(|found| !found.precise));
        assert_eq!(
            names(&within(Azure, LateRst, 1000.0))[..2],
            [
                "IPVS established",
                "Linux conntrack unacknowledged / max retrans"
            ]
        );
    }

    #[test]
    fn one_percent_fits_and_ten_seconds_of_five_minutes_do_not() {
        for (seconds, fits) in [
            (290.0, false),
            (296.9, false),
            (297.5, true),
            (299.0, true),
            (300.0, true),
            (302.5, true),
            (303.1, false),
        ] {
            let found = nowhere(FinAtExpiry, seconds);
            assert_eq!(
                names(&found).contains(&"Caddy idle_timeout"),
                fits,
                "{seconds} s"
            );
        }
        // A short timeout has a quarter of a second.
        assert!(names(&nowhere(FinAtExpiry, 5.25)).contains(&"uvicorn timeout-keep-alive"));
        assert!(!names(&nowhere(FinAtExpiry, 5.3)).contains(&"uvicorn timeout-keep-alive"));
    }

    #[test]
    fn a_fit_within_the_tolerance_but_not_the_slack_is_not_precise() {
        assert!(nowhere(FinAtExpiry, 300.25).iter().all(|it| it.precise));
        assert!(nowhere(FinAtExpiry, 302.0).iter().all(|it| !it.precise));
    }

    #[test]
    fn what_a_device_never_does_does_not_match() {
        assert_eq!(names(&nowhere(RstAtExpiry, 300.0)), ["F5 BIG-IP FastL4"]);
        // Those that reset only if told to.
        assert_eq!(names(&nowhere(RstAtExpiry, 350.0)), ["AWS GWLB"]);
        assert_eq!(
            names(&nowhere(RstAtExpiry, 75.0)),
            ["nginx keepalive_timeout"]
        );
        // Silent without a choice: nobody gets a reset.
        assert!(nowhere(RstAtExpiry, 1200.0).is_empty());
        assert!(!names(&nowhere(LateRst, 1200.0)).contains(&"GCP Cloud NAT"));
    }

    #[test]
    fn a_device_of_which_nobody_says_what_it_does_comes_without_a_mode() {
        for mode in [RstAtExpiry, FinAtExpiry] {
            let found = nowhere(mode, 120.0);
            assert_eq!(names(&found), ["Citrix NetScaler zombie sweep"]);
            assert_eq!(found[0].candidate.mode, None);
        }
    }

    #[test]
    fn a_device_without_a_default_is_no_candidate() {
        let found = nowhere(FinAtExpiry, 0.0);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn the_keepalive_of_this_host_is_no_device() {
        assert!(
            devices::all()
                .iter()
                .any(|device| device.name == OWN_KEEPALIVE)
        );
        assert!(nowhere(RstAtExpiry, 7875.0).is_empty());
    }

    #[test]
    fn conntrack_is_a_candidate_for_late_resets_only() {
        let late = nowhere(LateRst, 432_000.0);
        assert_eq!(names(&late)[0], "Linux conntrack established");
        for mode in [RstAtExpiry, FinAtExpiry] {
            assert!(nowhere(mode, 432_000.0).is_empty());
        }
    }

    #[test]
    fn probes_keep_a_box_between_quiet_but_not_a_proxy() {
        let probed = Silence {
            wire: Duration::from_secs(75),
            application: Duration::from_secs(300),
        };
        let knowledge = Knowledge::default();
        let found = find(FinAtExpiry, probed, REMOTE, 8080, ANY, &knowledge);
        assert_eq!(names(&found)[0], "Envoy stream idle");
        // F5 saw packets 75 s ago.
        assert!(find(RstAtExpiry, probed, REMOTE, 8080, ANY, &knowledge).is_empty());
        // NLB counts keepalive although it terminates TLS.
        let probed = Silence {
            wire: Duration::from_secs(350),
            application: Duration::from_secs(9000),
        };
        let found = find(FinAtExpiry, probed, REMOTE, 8080, ANY, &knowledge);
        assert_eq!(names(&found), ["AWS NLB (TLS)"]);
    }

    #[test]
    fn a_named_hop_comes_first_and_leaves_known_devices_only_where_they_fit_as_well() {
        let knowledge = |mode, seconds| Knowledge {
            hops: vec![hop(mode, seconds)],
            environment: None,
        };
        let at = |mode, seconds, timeout| {
            find(
                mode,
                quiet(seconds),
                REMOTE,
                8080,
                ANY,
                &knowledge(mode, timeout),
            )
        };
        let late = at(LateRst, 350.2, 120);
        assert_eq!(names(&late), ["edge balancer"]);
        assert_eq!(late[0].candidate.basis, Basis::Configured);
        assert_eq!(late[0].keepalive_helps, Some(true));
        assert_eq!(
            names(&at(FinAtExpiry, 300.1, 300))[..2],
            ["edge balancer", "Envoy stream idle"]
        );
        assert_eq!(names(&at(FinAtExpiry, 301.0, 300)), ["edge balancer"]);
        // One that does not fit changes nothing.
        assert_eq!(
            names(&at(FinAtExpiry, 300.0, 60)),
            names(&nowhere(FinAtExpiry, 300.0))
        );
    }

    #[test]
    fn a_named_hop_is_for_its_addresses_port_and_mode() {
        let knowledge = Knowledge {
            hops: vec![hop(LateRst, 60)],
            environment: None,
        };
        let named = |mode, remote: &str, port| {
            let found = find(
                mode,
                quiet(60.0),
                remote.parse().unwrap(),
                port,
                ANY,
                &knowledge,
            );
            names(&found).contains(&"edge balancer")
        };
        assert!(named(LateRst, "10.0.3.9", 8080));
        assert!(named(LateRst, "::ffff:10.0.3.9", 8080));
        assert!(!named(LateRst, "10.0.4.9", 8080));
        assert!(!named(LateRst, "10.0.3.9", 443));
        assert!(!named(RstAtExpiry, "10.0.3.9", 8080));
    }

    fn any_mode() -> impl Strategy<Value = IdleMode> {
        prop::sample::select(IdleMode::ALL)
    }

    fn any_environment() -> impl Strategy<Value = Option<Environment>> {
        prop::option::of(prop::sample::select(vec![
            Aws,
            Azure,
            Gcp,
            Oci,
            Environment::Ibm,
        ]))
    }

    /// Around the timeouts there are, and anything else.
    fn any_span() -> impl Strategy<Value = Duration> {
        let timeouts: Vec<_> = devices::all().iter().filter_map(|it| it.timeout).collect();
        prop_oneof![
            (prop::sample::select(timeouts), 0_u64..8_000).prop_map(|(timeout, off)| {
                (timeout + Duration::from_millis(off)).saturating_sub(Duration::from_secs(4))
            }),
            (any::<u64>(), 0_u32..1_000_000_000)
                .prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        ]
    }

    fn any_hop() -> impl Strategy<Value = Hop> {
        (any_mode(), any_span(), any::<bool>(), any::<bool>()).prop_map(
            |(mode, timeout, far, transparent)| Hop {
                network: if far { "192.0.2.0/24" } else { "0.0.0.0/0" }
                    .parse()
                    .unwrap(),
                timeout,
                port: None,
                kind: if transparent {
                    Kind::Transparent
                } else {
                    Kind::Terminating
                },
                ..hop(mode, 0)
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_found_fits_and_is_in_order(
            mode in any_mode(),
            wire in any_span(),
            application in any_span(),
            hops in prop::collection::vec(any_hop(), 0..12),
            environment in any_environment(),
        ) {
            let silence = Silence { wire, application };
            let knowledge = Knowledge { hops, environment };
            let found = find(mode, silence, REMOTE, 8080, ANY, &knowledge);
            prop_assert!(found.len() <= LIMIT);
            prop_assert_eq!(&found, &find(mode, silence, REMOTE, 8080, ANY, &knowledge));

            let configured = |it: &Match| it.candidate.basis == Basis::Configured;
            prop_assert!(found.is_sorted_by_key(|it| !configured(it)), "hops first");
            let named = found.iter().any(configured);
            for it in &found {
                let timeout = Duration::try_from_secs_f64(it.candidate.timeout).unwrap_or(Duration::MAX);
                prop_assert!(it.candidate.mode.is_none_or(|its| its == mode));
                prop_assert!(!named || configured(it) || it.precise);
                if mode == LateRst {
                    prop_assert!(!it.precise);
                    // f64 keeps 15 digits.
                    prop_assert!(timeout.as_secs_f64() <= wire.saturating_add(CLOCK_SLACK).as_secs_f64());
                } else if !configured(it) {
                    let off = timeout.abs_diff(wire).min(timeout.abs_diff(application));
                    prop_assert!(off <= known_tolerance(timeout));
                }
                let device = devices::all().iter().find(|device| device.name == it.candidate.device);
                if let (Some(here), Some(vendor)) = (environment, device.and_then(|device| device.vendor)) {
                    prop_assert_eq!(here, vendor);
                }
            }
        }

        #[test]
        fn longer_silence_never_loses_a_late_candidate_without_limit(
            seconds in 0_u64..600_000,
            more in 0_u64..600_000,
        ) {
            let all = |seconds| {
                let silence = quiet(seconds as f64);
                devices::all()
                    .iter()
                    .filter(|device| known(device, LateRst, silence, None).is_some())
                    .count()
            };
            prop_assert!(all(seconds) <= all(seconds + more));
        }
    }
}
