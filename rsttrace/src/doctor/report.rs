//! JSON report of the doctor, schema `rsttrace.doctor.v1`.
//!
//! Keys are only ever added. Absent means "not known". Times are in seconds.

use serde::Serialize;

use super::{Finding, Hook, Inspection, NetCounters, Severity, Tracing, Verified};
use crate::event::{Environment, NetSettings};

/// Names what the object looks like.
pub const SCHEMA: &str = "rsttrace.doctor.v1";

/// Everything that was found out, and what it means.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    /// Inode of the network namespace that settings and sockets are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'static str>,
    kernel: Kernel<'a>,
    /// Absent if they could not be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    hooks: Option<&'a [Hook]>,
    /// eBPF programs that are loaded for them, or were at the start; absent if they could not be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    programs: Option<&'a [Verified]>,
    settings: Settings,
    counters: &'a NetCounters,
    /// Absent if they could not be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<Counts>,
    /// What could not be checked, and why.
    not_checked: Vec<NotChecked<'a>>,
    /// `ok` if nothing is wrong, else `wrong`.
    result: &'static str,
    findings: &'a [Finding],
}

#[derive(Debug, Serialize)]
struct Kernel<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a str>,
    btf: bool,
}

#[derive(Debug, Serialize)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    keepalive: Option<Keepalive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conntrack: Option<Conntrack>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipvs: Option<Ipvs>,
    forwards: bool,
}

#[derive(Debug, Serialize)]
struct Keepalive {
    time: u64,
    interval: u64,
    probes: u32,
}

#[derive(Debug, Serialize)]
struct Conntrack {
    established: u64,
    unacknowledged: u64,
    close_wait: u64,
    max_retrans: u64,
    loose: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracked: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Ipvs {
    established: u64,
    fin_wait: u64,
}

/// Of all sockets, also within this host.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Counts {
    /// Sockets that listen.
    pub listening: usize,
    pub established: usize,
    /// Connections that were quiet for as long as counts as idle.
    pub idle: usize,
    /// Seconds from which on a connection counts as idle.
    pub idle_from: f64,
}

/// A part that could not be checked.
#[derive(Debug, Serialize)]
pub struct NotChecked<'a> {
    /// `hooks`, `settings` or `sockets`.
    pub what: &'static str,
    pub why: &'a str,
}

impl<'a> Report<'a> {
    pub fn new(
        host: Option<&'a str>,
        netns: Option<u32>,
        inspection: &'a Inspection,
        findings: &'a [Finding],
    ) -> Self {
        let (hooks, programs) = match &inspection.tracing {
            Tracing::Tried {
                hooks, programs, ..
            } => (Some(hooks.as_slice()), Some(programs.as_slice())),
            _ => (None, None),
        };
        let wrong = findings.iter().any(|it| it.severity == Severity::Warning);
        Self {
            schema: SCHEMA,
            host,
            netns,
            environment: inspection.environment.map(environment),
            kernel: Kernel {
                release: inspection.kernel.as_deref(),
                btf: inspection.has_btf,
            },
            hooks,
            programs,
            settings: settings(&inspection.settings, inspection.tracked),
            counters: &inspection.counters,
            sockets: counts(inspection),
            not_checked: not_checked(inspection),
            result: if wrong { "wrong" } else { "ok" },
            findings,
        }
    }
}

/// Sockets by kind; absent if they could not be listed.
pub fn counts(inspection: &Inspection) -> Option<Counts> {
    let sockets = inspection.sockets.as_ref().ok()?;
    let quiet = sockets.connections.iter().filter_map(|it| it.quiet);
    Some(Counts {
        listening: sockets.listeners.len(),
        established: sockets.connections.len(),
        idle: quiet.filter(|&quiet| quiet >= inspection.idle_from).count(),
        idle_from: inspection.idle_from.as_secs_f64(),
    })
}

/// Parts that could not be checked.
pub fn not_checked(inspection: &Inspection) -> Vec<NotChecked<'_>> {
    let hooks = match &inspection.tracing {
        Tracing::Tried { .. } => None,
        Tracing::NotPermitted(why) | Tracing::NotSupported(why) | Tracing::Failed(why) => {
            Some(("hooks", why.as_str()))
        }
    };
    let settings = inspection.settings.keepalive.is_none();
    let settings = settings.then_some(("settings", "cannot read /proc/sys/net/ipv4"));
    let sockets = inspection.sockets.as_ref().err();
    let sockets = sockets.map(|why| ("sockets", why.as_str()));
    let all = hooks.into_iter().chain(settings).chain(sockets);
    all.map(|(what, why)| NotChecked { what, why }).collect()
}

pub fn environment(environment: Environment) -> &'static str {
    match environment {
        Environment::Aws => "aws",
        Environment::Azure => "azure",
        Environment::Gcp => "gcp",
        Environment::Oci => "oci",
        Environment::Ibm => "ibm",
    }
}

fn settings(settings: &NetSettings, tracked: Option<u64>) -> Settings {
    Settings {
        keepalive: settings.keepalive.map(|it| Keepalive {
            time: it.time.as_secs(),
            interval: it.interval.as_secs(),
            probes: it.probes,
        }),
        conntrack: settings.conntrack.map(|it| Conntrack {
            established: it.established.as_secs(),
            unacknowledged: it.unacknowledged.as_secs(),
            close_wait: it.close_wait.as_secs(),
            max_retrans: it.max_retrans.as_secs(),
            loose: it.loose,
            tracked,
        }),
        ipvs: settings.ipvs.map(|it| Ipvs {
            established: it.established.as_secs(),
            fin_wait: it.fin_wait.as_secs(),
        }),
        forwards: settings.forwards,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::host;
    use super::super::{judge, known_timeouts};
    use super::*;

    fn report(inspection: &Inspection) -> serde_json::Value {
        let findings = judge(inspection, known_timeouts());
        let report = Report::new(Some("lab"), Some(7), inspection, &findings);
        serde_json::to_value(report).expect("plain data")
    }

    #[test]
    fn what_is_not_known_is_left_out_and_said_to_be_not_checked() {
        let mut nothing = host();
        nothing.settings = NetSettings::default();
        nothing.tracing = Tracing::NotPermitted("CAP_BPF missing. Run as root".to_owned());
        nothing.sockets = Err("no sock_diag".to_owned());
        let value = report(&nothing);
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["not_checked"].as_array().map(Vec::len), Some(3));
        for absent in ["hooks", "programs", "sockets", "environment"] {
            assert!(value.get(absent).is_none(), "{absent}");
        }
        assert!(!value.to_string().contains("null"), "{value}");
    }

    #[test]
    fn what_an_old_kernel_does_not_tell_of_a_program_is_left_out() {
        let mut host = host();
        let program = |name: &str, verified_instructions| Verified {
            name: name.to_owned(),
            verified_instructions,
            run_time_ns: 0,
            runs: 0,
            missed: 0,
        };
        host.tracing = Tracing::Tried {
            hooks: Vec::new(),
            programs: vec![program("a", Some(907)), program("b", None)],
            interfaces: Vec::new(),
        };
        let value = report(&host);
        assert_eq!(value["programs"][0]["verified_instructions"], 907);
        assert!(value["programs"][1].get("verified_instructions").is_none());
        assert_eq!(value["programs"][1]["name"], "b");
    }

    #[test]
    fn a_warning_makes_the_result_wrong_and_advice_does_not() {
        let mut host = host();
        assert_eq!(report(&host)["result"], "ok");
        host.environment = Some(Environment::Aws);
        let value = report(&host);
        assert_eq!(value["result"], "wrong");
        assert_eq!(value["environment"], "aws");
        assert_eq!(value["settings"]["keepalive"]["time"], 7200);
        assert_eq!(value["findings"][0]["severity"], "warning");
    }
}
