//! Prometheus metrics; `docs/METRICS.md` describes each.
//!
//! Counts are of everything that was judged, whatever the filters show. Labels come from closed lists: never addresses,
//! ports, processes or anything else that grows with the traffic.

mod families;
pub mod file;
pub mod http;

use std::collections::BTreeMap;

use prometheus::proto::MetricFamily;
use prometheus::{TEXT_FORMAT, TextEncoder};

use crate::record::Output;
use crate::record::{Cause, Direction, FailureKind, Origin, Severity};
use crate::self_stats::Vitals;

/// Media type of [`exposition`].
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// Counts of what the pipeline judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    resets: BTreeMap<(Direction, Origin, Cause, Severity), u64>,
    incidents: u64,
    corrections: u64,
    failures: BTreeMap<(FailureKind, Severity), u64>,
}

impl Judged {
    pub fn note(&mut self, output: &Output) {
        match output {
            Output::Reset(record) => {
                let verdict = &record.verdict;
                let key = (
                    record.direction,
                    verdict.origin,
                    verdict.cause,
                    verdict.severity,
                );
                *self.resets.entry(key).or_default() += 1;
                self.incidents += u64::from(record.opens_incident());
                self.corrections += u64::from(record.is_correction());
            }
            Output::Failure(failure) => {
                let key = (failure.verdict.kind, failure.verdict.severity);
                *self.failures.entry(key).or_default() += failure.count();
            }
            // The kernel's own counts have them.
            Output::Suppressed(_) => {}
        }
    }
}

/// All metrics in Prometheus's text format, version 0.0.4, which scrapers and node_exporter's textfile collector read. What is
/// not known has no line.
pub fn exposition(judged: &Judged, vitals: &Vitals) -> String {
    let families: Vec<MetricFamily> = families::FAMILIES
        .iter()
        .filter_map(|family| family.read(judged, vitals))
        .collect();
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
        // It refuses families without a metric or a name; there are none.
        log::warn!("cannot write the metrics: {error}");
    }
    text
}

/// Names of all metrics, in the order they are written.
pub fn names() -> impl Iterator<Item = &'static str> {
    families::FAMILIES.iter().map(|family| family.name)
}
