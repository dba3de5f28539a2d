//! Checks of a host, with recommendations. Pure: facts in, findings out.
//!
//! A warning is something wrong: a hook that was refused, or two settings of this host (or one of it and of the cloud
//! it runs in) that contradict each other. Advice is about what may be intended: only the owner knows whether
//! an idle connection without keepalive matters. Only warnings make the command fail.

pub mod containers;
mod devices;
mod drops;
mod hooks;
mod programs;
mod report;
mod sockets;
mod timeouts;

use std::time::Duration;

use serde::Serialize;

use crate::event::{Environment, NetSettings};

pub use crate::sockets::{
    AcceptQueue, Connection, Listener, NetCounters, Program, Sockets, Tracking,
};
pub use devices::{KnownTimeout, known_timeouts};
pub use report::{Counts, NotChecked, Report, SCHEMA, counts, environment};

/// What was found out about a host. What could not be is absent or says why.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The result of attaching the hooks.
    pub tracing: Tracing,
    /// As `uname -r` says it; absent if it cannot be read.
    pub kernel: Option<String>,
    /// This process is in another PID namespace than the initial one.
    pub has_own_pids: bool,
    /// The kernel describes its own types (`/sys/kernel/btf/vmlinux`).
    pub has_btf: bool,
    /// The cloud it runs in, where known.
    pub environment: Option<Environment>,
    /// Of this network namespace.
    pub settings: NetSettings,
    /// Connections that connection tracking remembers now (`nf_conntrack_count`); absent where it is not there.
    pub tracked: Option<u64>,
    /// What this network namespace dropped.
    pub counters: NetCounters,
    /// Of this network namespace; the error says why they could not be listed.
    pub sockets: Result<Sockets, String>,
    /// Connections that were quiet for at least this long count as idle.
    pub idle_from: Duration,
}

/// The result of attaching the hooks as `watch` does.
#[derive(Clone, Debug)]
pub enum Tracing {
    Tried {
        hooks: Vec<Hook>,
        /// eBPF programs that the kernel took, by name.
        programs: Vec<Verified>,
        /// Interfaces that classifiers could not be attached to, and why; some of them if there are many.
        interfaces: Vec<String>,
    },
    /// This process may not; names what is missing and the next step.
    NotPermitted(String),
    /// This kernel cannot be traced; says what it lacks and the next step.
    NotSupported(String),
    /// Something else went wrong.
    Failed(String),
}

/// A fact that hooks give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// Its stable name: `reset_sent`.
    pub fact: &'static str,
    /// The active method, such as `fentry`; absent if it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way: Option<&'static str>,
    /// Programs that give it; none if it was refused, or is inferred from what others give.
    pub programs: Vec<&'static str>,
    /// What the kernel said; absent if it was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The cost of its absence or of this fallback, one sentence; absent without a cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub costs: Option<&'static str>,
    /// Whether something else stands in for most of it.
    pub extra: bool,
}

/// An eBPF program that the kernel took, and what it knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its name in the object.
    pub name: String,
    /// Instructions that the verifier went through; absent before 5.16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_instructions: Option<u64>,
    /// Nanoseconds it ran during the check; 0 unless `kernel.bpf_stats_enabled` is on.
    pub run_time_ns: u64,
    /// Times it ran; 0 unless `kernel.bpf_stats_enabled` is on.
    pub runs: u64,
    /// Times the kernel skipped it because it was interrupted by itself.
    pub missed: u64,
}

/// One thing to say about the host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// What, by a name that stays.
    pub kind: &'static str,
    pub summary: String,
    /// What to change, with the concrete setting; absent if there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Processes it is about, some of them if there are many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Program>,
    /// Port that it is about: of the listener, or of the server that this host's clients are connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How many sockets it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// The longest that one of them has been quiet, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_quiet: Option<f64>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Ok,
    /// May be intended.
    Advice,
    Warning,
}

impl Finding {
    fn ok(kind: &'static str, summary: String) -> Self {
        Self {
            severity: Severity::Ok,
            kind,
            summary,
            advice: None,
            processes: Vec::new(),
            port: None,
            count: None,
            longest_quiet: None,
        }
    }

    fn new(severity: Severity, kind: &'static str, summary: String, advice: String) -> Self {
        Self {
            severity,
            advice: Some(advice),
            ..Self::ok(kind, summary)
        }
    }
}

/// Everything there is to say, the worst first.
pub fn judge(inspection: &Inspection, known: &[KnownTimeout]) -> Vec<Finding> {
    let mut findings = hooks::judge(&inspection.tracing);
    findings.extend(containers::judge(inspection.has_own_pids));
    findings.extend(timeouts::judge(inspection, known));
    if let Ok(sockets) = &inspection.sockets {
        let limits = sockets::Limits {
            idle_from: inspection.idle_from,
            advised: timeouts::advised_keepalive(
                inspection.environment,
                known,
                &inspection.settings,
            ),
            forgotten_after: timeouts::forgotten_after(inspection.environment, known),
        };
        findings.extend(sockets::judge(sockets, limits));
        findings.extend(drops::of_listeners(
            &sockets.listeners,
            &inspection.counters,
        ));
    }
    if let Some(tracking) = &inspection.counters.tracking {
        findings.extend(drops::of_tracking(tracking));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

impl Inspection {
    /// Not one of the checks could be made.
    pub fn is_empty(&self) -> bool {
        matches!(self.tracing, Tracing::NotPermitted(_))
            && self.settings == NetSettings::default()
            && self.sockets.is_err()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::{ConntrackTimeouts, KeepaliveDefaults};

    /// A host as distributions ship it, with nothing wrong.
    pub fn host() -> Inspection {
        Inspection {
            tracing: Tracing::Tried {
                hooks: Vec::new(),
                programs: Vec::new(),
                interfaces: Vec::new(),
            },
            has_own_pids: false,
            kernel: Some("6.18.0".to_owned()),
            has_btf: true,
            environment: None,
            settings: NetSettings {
                keepalive: Some(KeepaliveDefaults {
                    time: Duration::from_secs(7200),
                    interval: Duration::from_secs(75),
                    probes: 9,
                }),
                conntrack: Some(ConntrackTimeouts {
                    established: Duration::from_secs(432_000),
                    unacknowledged: Duration::from_secs(300),
                    close_wait: Duration::from_secs(60),
                    max_retrans: Duration::from_secs(300),
                    loose: true,
                }),
                ipvs: None,
                balanced: Default::default(),
                forwards: false,
            },
            tracked: Some(12),
            counters: NetCounters::default(),
            sockets: Ok(Sockets::default()),
            idle_from: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_host_as_shipped_has_nothing_wrong() {
        let findings = judge(&host(), known_timeouts());
        assert!(findings.iter().all(|it| it.severity != Severity::Warning));
        assert!(findings.is_sorted_by_key(|it| std::cmp::Reverse(it.severity)));
    }

    #[test]
    fn nothing_checked_is_not_the_same_as_something_missing() {
        let mut nothing = host();
        nothing.settings = NetSettings::default();
        nothing.sockets = Err("EPERM".to_owned());
        assert!(!nothing.is_empty());
        nothing.tracing = Tracing::NotPermitted("CAP_BPF missing".to_owned());
        assert!(nothing.is_empty());
        nothing.sockets = Ok(Sockets::default());
        assert!(!nothing.is_empty());
    }
}
