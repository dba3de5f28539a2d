//! Checks of keepalive against conntrack, IPVS and known devices.

use std::time::Duration;

use super::devices::KnownTimeout;
use super::{Finding, Inspection, Severity};
use crate::event::{ConntrackTimeouts, Environment, NetSettings};

/// RFC 5382, REQ-5: no translator may forget an established connection sooner. The default first probe comes before.
const RFC_5382: Duration = Duration::from_secs(7440);
/// Devices named in a sentence.
const NAMED: usize = 3;

/// Keepalive, connection tracking, IPVS and the devices on the way against each other.
pub fn judge(inspection: &Inspection, known: &[KnownTimeout]) -> Vec<Finding> {
    let settings = &inspection.settings;
    let mut findings = Vec::new();
    let Some(keepalive) = settings.keepalive else {
        return findings;
    };
    let first = keepalive.time;
    findings.extend(against_devices(first, inspection.environment, known));
    if let Some(conntrack) = settings.conntrack {
        findings.push(against_conntrack(first, conntrack, inspection));
        if settings.forwards && conntrack.established > first && conntrack.established < RFC_5382 {
            findings.push(Finding::new(
                Severity::Advice,
                "conntrack_below_rfc5382",
                format!(
                    "this host forwards traffic, and its conntrack timeout for established connections is {}, below the minimum of RFC 5382 ({}); other hosts send their first keepalive probe after 7200 s by default",
                    seconds(conntrack.established),
                    seconds(RFC_5382)
                ),
                raise_conntrack(),
            ));
        }
    }
    if let Some(ipvs) = settings.ipvs {
        findings.push(if ipvs.established <= first {
            Finding::new(
                Severity::Warning,
                "ipvs_forgets_before_keepalive",
                format!(
                    "IPVS expires idle connections after {}, before the first keepalive probe at {}; this host then answers with a reset",
                    seconds(ipvs.established),
                    seconds(first)
                ),
                format!(
                    "sysctl -w net.ipv4.tcp_keepalive_time={} on both ends, or ipvsadm --set {} 0 0",
                    half(ipvs.established),
                    RFC_5382.as_secs()
                ),
            )
        } else {
            Finding::ok(
                "ipvs_outlives_keepalive",
                format!(
                    "IPVS keeps idle connections for {}, longer than the time to the first keepalive probe",
                    seconds(ipvs.established)
                ),
            )
        });
        if let Some(conntrack) = settings.conntrack
            && conntrack.established < ipvs.established
        {
            findings.push(Finding::new(
                Severity::Warning,
                "conntrack_forgets_before_ipvs",
                format!(
                    "conntrack expires established connections after {}, before IPVS does ({}): the address translation is lost first",
                    seconds(conntrack.established),
                    seconds(ipvs.established)
                ),
                format!(
                    "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established={}",
                    ipvs.established.as_secs().max(RFC_5382.as_secs())
                ),
            ));
        }
    }
    findings
}

/// The first probe that leaves room for a lost one before the shortest timeout: of known devices, and of this host's own
/// connection tracking where it passes connections on. Not later than this host's own; absent if nothing is known.
pub fn advised_keepalive(
    environment: Option<Environment>,
    known: &[KnownTimeout],
    settings: &NetSettings,
) -> Option<u64> {
    let on_the_way = known.iter().filter(|it| it.environment == environment);
    let devices = on_the_way.map(|it| it.timeout).min().map(half);
    let tracking = settings
        .conntrack
        .filter(|_| settings.forwards)
        .map(|conntrack| half(conntrack.established));
    let own = settings.keepalive.map(|keepalive| keepalive.time.as_secs());
    [devices, tracking, own].into_iter().flatten().min()
}

/// When the first device that is surely on the way forgets a connection; absent where none surely is.
pub fn forgotten_after(
    environment: Option<Environment>,
    known: &[KnownTimeout],
) -> Option<Duration> {
    let cloud = known.iter().filter(|it| it.environment.is_some());
    let on_the_way = cloud.filter(|it| it.environment == environment);
    on_the_way.map(|it| it.timeout).min()
}

/// In a cloud, its own devices are on the way of what leaves the network: a later probe is wrong. Elsewhere, what is on
/// the way is not known.
fn against_devices(
    first: Duration,
    environment: Option<Environment>,
    known: &[KnownTimeout],
) -> Option<Finding> {
    let mut on_the_way: Vec<_> = known
        .iter()
        .filter(|it| it.environment == environment)
        .collect();
    on_the_way.sort_by_key(|it| it.timeout);
    let advised = half(on_the_way.first()?.timeout);
    let sooner: Vec<_> = on_the_way.iter().filter(|it| it.timeout <= first).collect();
    if sooner.is_empty() {
        return Some(Finding::ok(
            "keepalive_soon_enough",
            format!(
                "the first keepalive probe after {} is sent before any known device on the path expires the connection",
                seconds(first)
            ),
        ));
    }
    let named = sooner.iter().take(NAMED);
    let mut names: Vec<_> = named
        .map(|it| format!("{} {}", it.device, seconds(it.timeout)))
        .collect();
    if let more @ 1.. = sooner.len() - names.len() {
        names.push(format!("{more} more"));
    }
    let (severity, kind, whose, unless) = match environment {
        Some(environment) => (
            Severity::Warning,
            "keepalive_later_than_environment",
            format!("{} expires idle connections earlier", name(environment)),
            "",
        ),
        None => (
            Severity::Advice,
            "keepalive_later_than_known",
            "some devices expire idle connections earlier".to_owned(),
            "if one of them is on the path: ",
        ),
    };
    Some(Finding::new(
        severity,
        kind,
        format!(
            "the first keepalive probe is sent after {}; {whose}: {}",
            seconds(first),
            names.join(", ")
        ),
        format!(
            "{unless}sysctl -w net.ipv4.tcp_keepalive_time={advised} net.ipv4.tcp_keepalive_intvl=15; connections without SO_KEEPALIVE send no probes at all"
        ),
    ))
}

/// A host that forwards loses the connections of others, and the translation of addresses with them. One that does
/// not, only if it takes no segment of a connection it does not know.
fn against_conntrack(first: Duration, conntrack: ConntrackTimeouts, host: &Inspection) -> Finding {
    let established = seconds(conntrack.established);
    let forwards = host.settings.forwards;
    if conntrack.established > first || (!forwards && conntrack.loose) {
        return Finding::ok(
            "conntrack_fits",
            if conntrack.established > first {
                format!(
                    "conntrack keeps idle connections for {established}, longer than the time to the first keepalive probe"
                )
            } else {
                format!(
                    "conntrack expires idle connections after {established} but picks them up again (nf_conntrack_tcp_loose=1); this host does not forward traffic"
                )
            },
        );
    }
    let first = seconds(first);
    let advice = format!(
        "{}, or set a lower net.ipv4.tcp_keepalive_time on both ends of the connections",
        raise_conntrack()
    );
    if !forwards {
        return Finding::new(
            Severity::Advice,
            "conntrack_drops_forgotten",
            format!(
                "conntrack expires idle connections after {established}, before the first keepalive probe at {first}; rules that drop invalid packets then break the connection (nf_conntrack_tcp_loose=0)"
            ),
            format!("{advice}; or sysctl -w net.netfilter.nf_conntrack_tcp_loose=1"),
        );
    }
    // It is there, but no rule of this namespace uses it.
    let idle = host.tracked == Some(0);
    let (severity, now) = if idle {
        (Severity::Advice, " (it has no entries now)")
    } else {
        (Severity::Warning, "")
    };
    Finding::new(
        severity,
        "conntrack_forgets_before_keepalive",
        format!(
            "this host forwards traffic, and conntrack expires idle connections after {established}, before the first keepalive probe at {first}; later packets are no longer translated{now}"
        ),
        advice,
    )
}

fn raise_conntrack() -> String {
    "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=86400".to_owned()
}

/// Half of it: should a probe be lost, there is time for another.
fn half(timeout: Duration) -> u64 {
    (timeout.as_secs() / 2).max(1)
}

/// As settings are written.
fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs())
}

/// As people call it.
fn name(environment: Environment) -> &'static str {
    match environment {
        Environment::Aws => "AWS",
        Environment::Azure => "Azure",
        Environment::Gcp => "Google Cloud",
        Environment::Oci => "Oracle Cloud",
        Environment::Ibm => "IBM Cloud",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::known_timeouts;
    use super::super::tests::host;
    use super::*;
    use crate::event::IpvsTimeouts;

    /// Severity and kind of each finding for a host that differs from the usual one.
    fn found(change: impl FnOnce(&mut Inspection)) -> Vec<(Severity, &'static str)> {
        let mut host = host();
        change(&mut host);
        let findings = judge(&host, known_timeouts());
        findings.iter().map(|it| (it.severity, it.kind)).collect()
    }

    fn keepalive(host: &mut Inspection, seconds: u64) {
        host.settings.keepalive.as_mut().unwrap().time = Duration::from_secs(seconds);
    }

    fn conntrack(host: &mut Inspection, seconds: u64) {
        host.settings.conntrack.as_mut().unwrap().established = Duration::from_secs(seconds);
    }

    #[test]
    fn in_a_cloud_a_probe_later_than_its_devices_is_wrong_and_a_sooner_one_is_not() {
        let wrong = (Severity::Warning, "keepalive_later_than_environment");
        let fine = (Severity::Ok, "keepalive_soon_enough");
        for (environment, time, expected) in [
            (Environment::Aws, 7200, wrong),
            (Environment::Aws, 350, wrong),
            (Environment::Aws, 349, fine),
            (Environment::Aws, 120, fine),
            (Environment::Azure, 300, wrong),
            (Environment::Azure, 200, fine),
        ] {
            let findings = found(|host| {
                host.environment = Some(environment);
                keepalive(host, time);
            });
            assert_eq!(findings[0], expected, "{environment:?} {time}");
        }
    }

    #[test]
    fn a_cloud_whose_balancers_are_all_proxies_says_nothing_of_keepalive() {
        let findings = found(|host| host.environment = Some(Environment::Oci));
        assert!(
            findings
                .iter()
                .all(|(_, kind)| !kind.starts_with("keepalive"))
        );
    }

    #[test]
    fn elsewhere_a_late_probe_is_a_matter_of_advice() {
        let findings = found(|_| {});
        assert_eq!(
            findings[0],
            (Severity::Advice, "keepalive_later_than_known")
        );
        let findings = found(|host| keepalive(host, 120));
        assert_eq!(findings[0], (Severity::Ok, "keepalive_soon_enough"));
    }

    #[test]
    fn the_advice_leaves_room_for_a_lost_probe_and_names_the_shortest_first() {
        let mut host = host();
        host.environment = Some(Environment::Aws);
        let finding = judge(&host, known_timeouts()).remove(0);
        assert!(finding.advice.unwrap().contains("tcp_keepalive_time=175 "));
        assert!(
            finding.summary.contains("AWS NLB (TCP) 350 s, "),
            "{}",
            finding.summary
        );
        assert_eq!(
            advised_keepalive(
                Some(Environment::Aws),
                known_timeouts(),
                &NetSettings::default()
            ),
            Some(175)
        );
        assert_eq!(
            advised_keepalive(
                Some(Environment::Oci),
                known_timeouts(),
                &NetSettings::default()
            ),
            None
        );
    }

    #[test]
    fn only_in_a_cloud_it_is_sure_what_is_on_the_way() {
        let limit = |environment| forgotten_after(environment, known_timeouts());
        assert_eq!(
            limit(Some(Environment::Aws)),
            Some(Duration::from_secs(350))
        );
        assert_eq!((limit(Some(Environment::Oci)), limit(None)), (None, None));
    }

    #[test]
    fn only_a_host_that_forwards_forgets_for_others() {
        let kind = "conntrack_forgets_before_keepalive";
        let of = |forwards: bool, established: u64, tracked: u64| {
            found(|host| {
                host.settings.forwards = forwards;
                conntrack(host, established);
                host.tracked = Some(tracked);
            })
        };
        assert!(of(true, 3600, 5).contains(&(Severity::Warning, kind)));
        assert!(of(true, 7200, 5).contains(&(Severity::Warning, kind)));
        // Longer, not forwarding, nothing tracked.
        assert!(of(true, 432_000, 5).contains(&(Severity::Ok, "conntrack_fits")));
        assert!(of(false, 3600, 5).contains(&(Severity::Ok, "conntrack_fits")));
        assert!(of(true, 3600, 0).contains(&(Severity::Advice, kind)));
    }

    #[test]
    fn a_shorter_timeout_is_fine_where_keepalive_is_shorter_still() {
        let findings = found(|host| {
            host.settings.forwards = true;
            conntrack(host, 7_500);
            keepalive(host, 120);
        });
        assert!(
            findings
                .iter()
                .all(|(severity, _)| *severity == Severity::Ok),
            "{findings:?}"
        );
        let findings = found(|host| {
            host.settings.forwards = true;
            conntrack(host, 3600);
            keepalive(host, 120);
        });
        assert!(findings.contains(&(Severity::Advice, "conntrack_below_rfc5382")));
    }

    #[test]
    fn a_host_that_takes_no_unknown_segment_loses_its_own_connections() {
        let findings = found(|host| {
            conntrack(host, 3600);
            host.settings.conntrack.as_mut().unwrap().loose = false;
        });
        assert!(findings.contains(&(Severity::Advice, "conntrack_drops_forgotten")));
    }

    #[test]
    fn ipvs_is_held_against_keepalive_and_conntrack() {
        let of = |ipvs: u64, first: u64, tracked: u64| {
            found(|host| {
                host.settings.ipvs = Some(IpvsTimeouts {
                    established: Duration::from_secs(ipvs),
                    fin_wait: Duration::from_secs(120),
                });
                keepalive(host, first);
                conntrack(host, tracked);
            })
        };
        let wrong = (Severity::Warning, "ipvs_forgets_before_keepalive");
        assert!(of(900, 7200, 432_000).contains(&wrong));
        assert!(of(900, 900, 432_000).contains(&wrong));
        assert!(!of(900, 600, 432_000).contains(&wrong));
        let first = (Severity::Warning, "conntrack_forgets_before_ipvs");
        assert!(of(900, 200, 600).contains(&first));
        assert!(!of(900, 200, 900).contains(&first));
    }

    #[test]
    fn without_settings_nothing_is_said() {
        let findings = found(|host| host.settings = Default::default());
        assert_eq!(findings, []);
    }
}
