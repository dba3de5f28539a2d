//! Data collected for the report.
//!
//! All of it is bounded, however many resets there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

use jiff::Timestamp;

use super::chains::Chains;
use super::tally::{Counts, Tally};
use super::timeline::{Marks, Spans};
use crate::findings::{Findings, rank};
use crate::record::Output;
use crate::record::{
    Cause, FailureKind, FailureRecord, Origin, Record, Sentence, Severity, SuppressedRecord, Word,
};
use crate::stats::quiet;

/// Records in the page's table.
pub(super) const MOST_ROWS: usize = 5_000;
/// Sums that are kept, the largest of them.
const MOST_SUMS: usize = 64;
/// Kinds of failures without a reset that are distinguished.
const MOST_FAILURES: usize = 1_000;
const MOST_HOSTS: usize = 1_000;

#[derive(Debug, Default)]
pub struct Gathering {
    /// Each reset once, from either of its ends; the same for all fields except `records`.
    pub(super) resets: Counts,
    records: u64,
    pub(super) hosts: BTreeMap<Word, u64>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// By rank of the severity.
    pub(super) marks: Marks<3>,
    pub(super) silences: quiet::Counter,
    pub(super) causes: Tally<Cause>,
    pub(super) processes: Tally<Word>,
    pub(super) peers: Tally<IpAddr>,
    pub(super) origins: Tally<Origin>,
    pub(super) findings: Findings,
    pub(super) chains: Chains,
    pub(super) suppressed: u64,
    /// While resets were counted and not described.
    pub(super) floods: Spans,
    sums: BinaryHeap<Reverse<Sum>>,
    pub(super) failed: u64,
    pub(super) failures: BTreeMap<FailureGroup, Failures>,
    rows: BinaryHeap<Row>,
    serial: u64,
}

/// What failures without a reset have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FailureGroup {
    pub severity: Severity,
    pub kind: FailureKind,
    pub process: Word,
    /// Address of the other end; a listener's own. Absent for a table.
    pub address: Option<IpAddr>,
}

/// How many there are, and what the newest says.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub number: u64,
    pub summary: String,
    pub advice: Option<Sentence>,
}

/// A sum; of two that are as large the earlier one is the greater.
#[derive(Debug)]
struct Sum {
    count: u64,
    serial: Reverse<u64>,
    sum: SuppressedRecord,
}

impl Sum {
    fn key(&self) -> (u64, Reverse<u64>) {
        (self.count, self.serial)
    }
}

impl PartialEq for Sum {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Sum {}

impl PartialOrd for Sum {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sum {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// A record of the table. The greatest is the first to go: the least bad, and of those the oldest.
#[derive(Debug)]
pub(super) struct Row {
    rank: usize,
    serial: u64,
    pub record: Box<Record>,
}

impl Row {
    fn key(&self) -> (usize, Reverse<u64>) {
        (self.rank, Reverse(self.serial))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Gathering {
    /// One more output, in any order; in that of their times chains are whole.
    pub fn add(&mut self, output: Output) {
        match output {
            Output::Reset(record) => self.reset(record),
            Output::Failure(failure) => self.failed(&failure),
            Output::Suppressed(sum) => self.sum(*sum),
        }
    }

    /// Resets so far, each once; those in sums are not among them.
    pub fn resets(&self) -> u64 {
        super::tally::total(self.resets)
    }

    /// Records of resets so far: each end on this host and each hop of a reset has one.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn reset(&mut self, record: Box<Record>) {
        let severity = record.verdict.severity;
        self.records += 1;
        self.host(record.host.as_ref());
        let time = self.span(&record.time);
        if self.findings.add(&record) {
            self.resets[rank(severity)] += 1;
            if let Some(nanos) = time.and_then(nanos) {
                self.marks.add(nanos, rank(severity));
            }
            self.causes.add(&record.verdict.cause, rank(severity));
            self.origins.add(&record.verdict.origin, rank(severity));
            self.peers.add(&record.remote.address, rank(severity));
            if let Some(process) = &record.process {
                self.processes.add(&process.comm, rank(severity));
            }
        }
        self.silences.record(&record);
        self.chains.add(&record);
        self.rows.push(Row {
            rank: rank(severity),
            serial: self.serial,
            record,
        });
        self.serial += 1;
        if self.rows.len() > MOST_ROWS {
            self.rows.pop();
        }
    }

    fn failed(&mut self, failure: &FailureRecord) {
        let verdict = &failure.verdict;
        self.failed += failure.count();
        self.host(failure.host.as_ref());
        self.span(&failure.time);
        let process = failure.process.as_ref();
        let group = FailureGroup {
            severity: verdict.severity,
            kind: verdict.kind,
            process: process.map_or("–".into(), |it| it.comm.clone()),
            address: failure
                .remote
                .as_ref()
                .or(failure.local.as_ref())
                .map(|end| end.address),
        };
        if self.failures.len() < MOST_FAILURES || self.failures.contains_key(&group) {
            let failures = self.failures.entry(group).or_default();
            failures.number += failure.count();
            failures.summary.clone_from(&verdict.summary);
            failures.advice = verdict.advice.first().cloned();
        }
    }

    fn sum(&mut self, sum: SuppressedRecord) {
        self.suppressed = self.suppressed.saturating_add(sum.count);
        self.host(sum.host.as_ref());
        let since = self.span(&sum.since).and_then(nanos);
        let until = self.span(&sum.time).and_then(nanos);
        if let (Some(since), Some(until)) = (since, until) {
            self.floods.add(since, until);
        }
        self.sums.push(Reverse(Sum {
            count: sum.count,
            serial: Reverse(self.serial),
            sum,
        }));
        self.serial += 1;
        if self.sums.len() > MOST_SUMS {
            self.sums.pop();
        }
    }

    /// The largest sums, largest first.
    pub(super) fn take_sums(&mut self) -> Vec<SuppressedRecord> {
        let sums = std::mem::take(&mut self.sums).into_sorted_vec();
        sums.into_iter().map(|Reverse(it)| it.sum).collect()
    }

    fn host(&mut self, host: Option<&Word>) {
        if let Some(host) = host
            && (self.hosts.len() < MOST_HOSTS || self.hosts.contains_key(host))
        {
            *self.hosts.entry(host.clone()).or_default() += 1;
        }
    }

    /// Widens what is covered; gives the time back if it is one.
    fn span(&mut self, time: &str) -> Option<Timestamp> {
        let time: Timestamp = time.parse().ok()?;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        Some(time)
    }

    /// The worst records, in the order of their times.
    pub(super) fn take_rows(&mut self) -> Vec<Record> {
        let mut rows = std::mem::take(&mut self.rows).into_vec();
        rows.sort_by(|a, b| {
            let times = a.record.time.cmp(&b.record.time);
            times.then_with(|| a.serial.cmp(&b.serial))
        });
        rows.into_iter().map(|row| *row.record).collect()
    }
}

/// Since 1970; `None` before, and in the far future.
fn nanos(time: Timestamp) -> Option<i64> {
    let nanos = i64::try_from(time.as_nanosecond()).ok()?;
    (nanos >= 0).then_some(nanos)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::{Link, LinkRole, sample_failure};

    fn sum(count: u64) -> SuppressedRecord {
        let text = include_str!("../../../tests/data/suppressed.json");
        let mut sum: SuppressedRecord = serde_json::from_str(text).unwrap();
        sum.count = count;
        sum
    }

    fn failure(comm: &str) -> FailureRecord {
        let mut failure = sample_failure();
        if let Some(process) = &mut failure.process {
            process.comm = comm.into();
        }
        failure
    }

    #[test]
    fn both_ends_of_a_reset_are_one_reset_in_every_figure() {
        let text = include_str!("../../../tests/data/records/idle_timeout_middlebox.json");
        let mut sent: Record = serde_json::from_str(text).unwrap();
        sent.link = Some(Link {
            id: 7,
            role: LinkRole::Sender,
        });
        let mut received = sent.clone();
        std::mem::swap(&mut received.local, &mut received.remote);
        received.link = Some(Link {
            id: 7,
            role: LinkRole::Receiver,
        });
        let mut gathering = Gathering::default();
        for record in [sent, received] {
            gathering.add(Output::Reset(Box::new(record)));
        }
        assert_eq!((gathering.resets(), gathering.records()), (1, 2));
        assert_eq!(gathering.silences.histogram().total(), 1);
        let steps = gathering.marks.steps().unwrap().counts;
        assert_eq!(steps.iter().flatten().sum::<u64>(), 1);
        let top = |counts: Vec<Counts>| {
            counts
                .into_iter()
                .map(super::super::tally::total)
                .sum::<u64>()
        };
        assert_eq!(
            top(gathering.causes.top(9).0.iter().map(|it| it.1).collect()),
            1
        );
        assert_eq!(
            top(gathering.peers.top(9).0.iter().map(|it| it.1).collect()),
            1
        );
        let found = std::mem::take(&mut gathering.findings).finish();
        assert_eq!(found.iter().map(|it| it.count).sum::<u64>(), 1);
    }

    #[test]
    fn the_largest_sums_are_kept_whenever_they_came() {
        let mut gathering = Gathering::default();
        for count in 1..=5_000 {
            gathering.add(Output::Suppressed(Box::new(sum(count))));
        }
        let sums = gathering.take_sums();
        assert_eq!((sums.len(), sums[0].count), (MOST_SUMS, 5_000));
        assert!(sums.windows(2).all(|pair| pair[0].count > pair[1].count));
        assert_eq!(gathering.suppressed, 5_000 * 5_001 / 2);
    }

    #[test]
    fn known_failures_are_counted_however_many_groups_there_are() {
        let mut gathering = Gathering::default();
        gathering.add(Output::Failure(Box::new(failure("first"))));
        for number in 0..MOST_FAILURES + 5 {
            gathering.add(Output::Failure(Box::new(failure(&format!("p{number}")))));
        }
        gathering.add(Output::Failure(Box::new(failure("first"))));
        let first = gathering.failures.iter().find(|it| it.0.process == "first");
        assert_eq!(first.unwrap().1.number, 2);
        assert_eq!(gathering.failures.len(), MOST_FAILURES);
        assert_eq!(gathering.failed, MOST_FAILURES as u64 + 7);
    }

    #[test]
    fn the_least_bad_records_are_left_out_first() {
        let text = include_str!("../../../tests/data/records/close_with_unread_data.json");
        let fault: Record = serde_json::from_str(text).unwrap();
        let mut noise = fault.clone();
        noise.verdict.severity = Severity::Noise;
        let mut gathering = Gathering::default();
        gathering.add(Output::Reset(Box::new(fault)));
        for _ in 0..MOST_ROWS + 10 {
            gathering.add(Output::Reset(Box::new(noise.clone())));
        }
        assert_eq!(gathering.resets(), MOST_ROWS as u64 + 11);
        let rows = gathering.take_rows();
        assert_eq!(rows.len(), MOST_ROWS);
        let faults = rows
            .iter()
            .filter(|it| it.verdict.severity == Severity::Fault);
        assert_eq!(faults.count(), 1);
    }
}
