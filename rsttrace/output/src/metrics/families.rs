//! The metrics and the sources of their values.

use std::time::{Duration, SystemTime};

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::Judged;
use crate::self_stats::{ProgramVitals, TableVitals, Vitals};

/// One metric with all its label values.
pub struct Family {
    /// Its name; a counter's ends in `_total`.
    pub name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    kind: MetricType,
    read: fn(&Judged, &Vitals) -> Vec<Sample>,
}

/// A value and those of its family's labels, in their order.
type Sample = (Vec<String>, f64);

impl Family {
    /// Its values now; `None`: there is none.
    pub fn read(&self, judged: &Judged, vitals: &Vitals) -> Option<MetricFamily> {
        let samples = (self.read)(judged, vitals);
        if samples.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(
            samples
                .into_iter()
                .map(|(values, value)| self.metric(values, value))
                .collect(),
        );
        Some(family)
    }

    fn metric(&self, values: Vec<String>, value: f64) -> Metric {
        let labels = self.labels.iter().zip(values).map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value(value);
            label
        });
        let mut metric = Metric::from_label(labels.collect());
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

/// In the order they are written.
pub const FAMILIES: &[Family] = &[
    counter(
        "rsttrace_resets_total",
        "Resets explained, before filters.",
        &["direction", "origin", "cause", "severity"],
        |judged, _| {
            let resets = judged.resets.iter();
            resets
                .map(|((direction, origin, cause, severity), number)| {
                    let labels = [
                        direction.name(),
                        origin.name(),
                        cause.name(),
                        severity.name(),
                    ];
                    sample(labels, count(*number))
                })
                .collect()
        },
    ),
    counter(
        "rsttrace_incidents_total",
        "Ends of connections with all of their resets, before filters.",
        &[],
        |judged, _| single(count(judged.incidents)),
    ),
    counter(
        "rsttrace_corrections_total",
        "Verdicts that a later reset of the same connection contradicted.",
        &[],
        |judged, _| single(count(judged.corrections)),
    ),
    counter(
        "rsttrace_failures_total",
        "Connects and connections that failed without a reset, before filters.",
        &["kind", "severity"],
        |judged, _| {
            let failures = judged.failures.iter();
            failures
                .map(|((kind, severity), number)| {
                    sample([kind.name(), severity.name()], count(*number))
                })
                .collect()
        },
    ),
    counter(
        "rsttrace_events_total",
        "Kernel events by outcome.",
        &["kind", "outcome"],
        |_, vitals| {
            let events = vitals.events.iter();
            events
                .flat_map(|total| {
                    let kind = total.name.replace(' ', "_");
                    [
                        ("detailed", total.detailed),
                        ("suppressed", total.suppressed),
                        ("lost", total.lost),
                    ]
                    .map(|(outcome, number)| sample([kind.as_str(), outcome], count(number)))
                })
                .collect()
        },
    ),
    counter(
        "rsttrace_kernel_resets_total",
        "Resets as counted by the kernel hooks.",
        &["hook", "socket", "reason", "outcome"],
        |_, vitals| {
            let resets = vitals.resets.iter();
            resets
                .flat_map(|kind| {
                    [("detailed", kind.detailed), ("suppressed", kind.suppressed)].map(
                        |(outcome, number)| {
                            let labels = [kind.hook, kind.socket, kind.reason.as_str(), outcome];
                            sample(labels, count(number))
                        },
                    )
                })
                .collect()
        },
    ),
    counter(
        "rsttrace_events_undecodable_total",
        "Events that could not be decoded.",
        &[],
        |_, vitals| single(count(vitals.shortfalls.undecodable)),
    ),
    counter(
        "rsttrace_resets_judged_early_total",
        "Resets finalized before the correlation window closed (table full).",
        &[],
        |_, vitals| single(count(vitals.shortfalls.judged_early)),
    ),
    counter(
        "rsttrace_observations_ambiguous_total",
        "Observations that matched several resets and were assigned to none.",
        &[],
        |_, vitals| single(count(vitals.shortfalls.ambiguous)),
    ),
    counter(
        "rsttrace_socket_holders_not_asked_total",
        "Socket owner lookups skipped because of the rate or time limit.",
        &[],
        |_, vitals| single(count(vitals.shortfalls.holders_not_asked)),
    ),
    counter(
        "rsttrace_network_not_asked_total",
        "Lookups in connection tracking and the routing table skipped because of the rate limit.",
        &[],
        |_, vitals| single(count(vitals.shortfalls.network_not_asked)),
    ),
    counter(
        "rsttrace_sockets_without_owner_total",
        "Sockets without a recorded owner (out of kernel memory).",
        &[],
        |_, vitals| optional(vitals.shortfalls.without_owner.map(count)),
    ),
    gauge(
        "rsttrace_unwatched_places",
        "Interfaces and network namespaces without classifiers.",
        &[],
        |_, vitals| optional(vitals.shortfalls.unwatched.map(count)),
    ),
    gauge(
        "rsttrace_hook_active",
        "1: active via this method; 0: unavailable.",
        &["fact", "way"],
        |_, vitals| {
            let hooks = vitals.hooks.iter();
            hooks
                .map(|hook| {
                    let active = if hook.way.is_some() { 1.0 } else { 0.0 };
                    sample([hook.fact, hook.way.unwrap_or_default()], active)
                })
                .collect()
        },
    ),
    counter(
        "rsttrace_bpf_program_run_seconds_total",
        "Run time of an eBPF program (requires kernel.bpf_stats_enabled=1).",
        &["program"],
        |_, vitals| by_program(vitals, |program| Some(program.cost?.time.as_secs_f64())),
    ),
    counter(
        "rsttrace_bpf_program_runs_total",
        "Runs of an eBPF program (requires kernel.bpf_stats_enabled=1).",
        &["program"],
        |_, vitals| by_program(vitals, |program| Some(count(program.cost?.runs))),
    ),
    counter(
        "rsttrace_bpf_program_recursion_misses_total",
        "Runs that the kernel skipped because the eBPF program was already running.",
        &["program"],
        |_, vitals| by_program(vitals, |program| program.missed.map(count)),
    ),
    gauge(
        "rsttrace_ring_capacity_bytes",
        "Size of the event buffer.",
        &[],
        |_, vitals| single(count(vitals.buffer.capacity)),
    ),
    gauge(
        "rsttrace_ring_read_peak_bytes",
        "Largest number of bytes read from the buffer before it was empty.",
        &[],
        |_, vitals| single(count(vitals.buffer.most_read)),
    ),
    gauge(
        "rsttrace_table_entries",
        "Entries in use.",
        &["table"],
        |_, vitals| by_table(vitals, |table| table.entries),
    ),
    gauge(
        "rsttrace_table_capacity_entries",
        "Capacity of a table.",
        &["table"],
        |_, vitals| by_table(vitals, |table| table.capacity),
    ),
    counter(
        "rsttrace_table_evictions_total",
        "Entries overwritten by others.",
        &["table"],
        |_, vitals| by_table(vitals, |table| table.evictions),
    ),
    counter(
        "rsttrace_store_records_total",
        "Records of the history by outcome.",
        &["outcome"],
        |_, vitals| {
            let store = vitals.store.iter();
            store
                .flat_map(|store| {
                    [("stored", store.stored), ("lost", store.lost)]
                        .map(|(outcome, number)| sample([outcome], count(number)))
                })
                .collect()
        },
    ),
    gauge(
        "rsttrace_store_bytes",
        "Size of the history on disk.",
        &[],
        |_, vitals| optional(vitals.store.map(|store| count(store.bytes))),
    ),
    counter(
        "rsttrace_output_lines_dropped_total",
        "Lines of standard output, or entries of the journal, dropped because the reader was too slow.",
        &[],
        |_, vitals| optional(vitals.lines_dropped.map(count)),
    ),
    counter(
        "process_cpu_seconds_total",
        "CPU time of the process, user and system.",
        &[],
        |_, vitals| optional(vitals.process.map(|own| own.cpu.as_secs_f64())),
    ),
    gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process.",
        &[],
        |_, vitals| optional(vitals.process.map(|own| count(own.resident))),
    ),
    gauge(
        "process_start_time_seconds",
        "Start time of the process since the Unix epoch, in seconds.",
        &[],
        |_, vitals| {
            let started = vitals.process.and_then(|own| own.started);
            optional(started.map(|time| since_epoch(time).as_secs_f64()))
        },
    ),
    gauge(
        "rsttrace_build_info",
        "Always 1; the version is in the label.",
        &["version"],
        |_, _| vec![sample([env!("CARGO_PKG_VERSION")], 1.0)],
    ),
];

type Read = fn(&Judged, &Vitals) -> Vec<Sample>;

const fn counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: Read,
) -> Family {
    Family {
        name,
        help,
        labels,
        kind: MetricType::COUNTER,
        read,
    }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: Read,
) -> Family {
    Family {
        name,
        help,
        labels,
        kind: MetricType::GAUGE,
        read,
    }
}

fn sample<const N: usize>(labels: [&str; N], value: f64) -> Sample {
    (labels.map(str::to_owned).into(), value)
}

fn single(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

fn optional(value: Option<f64>) -> Vec<Sample> {
    value.map_or_else(Vec::new, single)
}

/// Exact up to 2^53, which no count of this tool reaches.
fn count(number: u64) -> f64 {
    number as f64
}

fn by_program(vitals: &Vitals, read: fn(&ProgramVitals) -> Option<f64>) -> Vec<Sample> {
    let programs = vitals.programs.iter();
    programs
        .filter_map(|program| Some(sample([&program.name], read(program)?)))
        .collect()
}

fn by_table(vitals: &Vitals, read: fn(&TableVitals) -> Option<u64>) -> Vec<Sample> {
    let tables = vitals.tables.iter();
    tables
        .filter_map(|table| Some(sample([table.name], count(read(table)?))))
        .collect()
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        for family in FAMILIES {
            let letters = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(family.name.chars().all(letters), "{}", family.name);
            assert_eq!(
                family.name.ends_with("_total"),
                family.kind == MetricType::COUNTER,
                "{}",
                family.name
            );
            assert!(family.help.ends_with('.'), "{}", family.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
    }

    #[test]
    fn each_sample_has_a_value_for_each_label() {
        let vitals = Vitals {
            events: vec![Default::default()],
            programs: vec![ProgramVitals {
                cost: Some(Default::default()),
                missed: Some(0),
                ..Default::default()
            }],
            tables: vec![TableVitals {
                entries: Some(0),
                capacity: Some(0),
                evictions: Some(0),
                ..Default::default()
            }],
            hooks: vec![Default::default()],
            store: Some(Default::default()),
            lines_dropped: Some(0),
            resets: vec![Default::default()],
            ..Default::default()
        };
        for family in FAMILIES {
            for (values, _) in (family.read)(&Judged::default(), &vitals) {
                assert_eq!(values.len(), family.labels.len(), "{}", family.name);
            }
        }
    }
}
