//! Summary at the end of a trace.
//!
//! Memory is bounded: the number of causes is fixed, and rare processes and peers are combined as "others" when
//! there are too many.

mod render;
pub mod tally;

use std::net::IpAddr;
use std::time::Duration;

use crate::findings::{Findings, Limits};
use crate::hash::{self, HashMap, LruCache};
use crate::record::{CaptureRecord, Cause, Direction, FailureRecord, Origin, Record, Severity};
use crate::self_stats::{KernelTotal, Vitals};
use crate::stats::leg::Leg;
use crate::text::escape;

type Tally<K> = tally::Tally<K, 1, 1024>;

/// Resets whose further records are known as such.
const MOST_COUNTED: usize = 1_024;

/// Stands for an unknown process.
const NO_PROCESS: &str = "(no local process)";

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// It is noise, and only counted.
    Hidden,
    Shown,
    /// It is shown for its incident, whose first record the filter left out.
    ForIncident,
}

/// Counts of everything that was reported.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    causes: HashMap<(Severity, Origin, Cause), u64>,
    /// Of what was shown, by the first record of each incident; absent before the first.
    findings: Option<Findings>,
    processes: Tally<String>,
    peers: Tally<IpAddr>,
    failures: HashMap<Severity, u64>,
    failed: Tally<String>,
    /// Resets of which a record was counted, while their others may follow; absent before the first.
    counted: Option<LruCache<Leg, ()>>,
    /// Further records of these.
    again: u64,
    incidents: u64,
    corrections: u64,
    hidden: u64,
    left_out: u64,
    suppressed: u64,
    suppressed_may_match: bool,
    totals: Totals,
    /// All counts are shown, not only what their reader can act on.
    is_detailed: bool,
    /// A process as it is counted: reused from record to record.
    name: String,
}

/// What is known of a trace as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How long the trace ran.
    pub duration: Duration,
    /// What the kernel side counted, by kind of event.
    pub kernel: Vec<KernelTotal>,
    /// It is a recording's, which breaks off or was not read to its end: so `kernel` and `shortfalls` are not known.
    pub is_cut_off: bool,
    /// It is a recording's, and --count ended the replay before that: likewise.
    pub is_enough: bool,
    /// The trace goes on: likewise.
    pub is_running: bool,
    /// Limits that were reached, by name; no event is missing because of them. Zeros are not shown.
    pub shortfalls: Vec<(String, u64)>,
    /// Idle timeouts that the resets have shown, each a sentence.
    pub lessons: Vec<String>,
    /// Captures that were read to their end; absent for a trace.
    pub captures: Option<Vec<CaptureRecord>>,
    /// The cost of the tracer itself; absent: not shown.
    pub vitals: Option<Vitals>,
}

impl Summary {
    /// With all counts if `is_detailed`, else with what their reader can act on.
    pub fn new(is_detailed: bool) -> Self {
        Self {
            is_detailed,
            ..Self::default()
        }
    }

    /// A reset that the filter wants.
    pub fn record(&mut self, record: &Record, view: View) {
        let verdict = &record.verdict;
        let hidden = view == View::Hidden;
        let speaks = view == View::ForIncident;
        let severity = if speaks {
            record.impact()
        } else {
            verdict.severity
        };
        let opens = speaks || record.opens_incident();
        let key = (severity, verdict.origin, verdict.cause);
        *self.causes.entry(key).or_default() += 1;
        self.hidden += u64::from(hidden);
        if let Some(leg) = Leg::of(record) {
            let counted = self.counted.get_or_insert_with(|| hash::lru(MOST_COUNTED));
            self.again += u64::from(counted.put(leg, ()).is_some());
        }
        self.incidents += u64::from(opens);
        self.corrections += u64::from(record.is_correction());
        if !hidden && severity != Severity::Noise && opens {
            let findings = &mut self.findings;
            findings
                .get_or_insert_with(|| Findings::new(Limits::TRACE))
                .add(record);
        }
        self.name.clear();
        match &record.process {
            Some(process) => self.name.extend([
                &*escape(&process.comm),
                "[",
                itoa::Buffer::new().format(process.pid),
                "]",
            ]),
            None => self.name.push_str(NO_PROCESS),
        }
        self.processes.add(self.name.as_str(), 0);
        let peer = match record.direction {
            // The source sent it.
            Direction::Forwarded => &record.local.address,
            Direction::Observed if record.capture.is_some() && record.left_local() => {
                &record.local.address
            }
            Direction::Sent | Direction::Received | Direction::Observed => &record.remote.address,
        };
        self.peers.add(peer, 0);
    }

    /// A reset that the filter does not want.
    pub fn left_out(&mut self) {
        self.left_out += 1;
    }

    /// Resets that were counted and not described; `wanted`: the filter may want them, `all`: it wants everything.
    pub fn suppressed(&mut self, count: u64, wanted: bool, all: bool) {
        if wanted {
            self.suppressed += count;
            self.suppressed_may_match |= !all;
        }
    }

    /// A failure without a reset that the filter wants; `hidden`: not shown because it is noise.
    pub fn failure(&mut self, failure: &FailureRecord, hidden: bool) {
        *self.failures.entry(failure.verdict.severity).or_default() += 1;
        self.hidden += u64::from(hidden);
        let process = failure.process.as_ref().map_or_else(
            || NO_PROCESS.to_owned(),
            |process| format!("{}[{}]", escape(&process.comm), process.pid),
        );
        let how = format!("{process}  {}", failure.verdict.kind);
        self.failed.add(&how, 0);
    }

    /// Captures that were read to their end.
    pub fn captures(&self) -> &[CaptureRecord] {
        self.totals.captures.as_deref().unwrap_or_default()
    }

    pub fn total(&mut self, totals: Totals) {
        self.totals = totals;
    }
}
