//! What is kept of a trace until its page is written?
//!
//! Of each reset sixteen bytes for the timeline and, where one is known, its silence; everything else is bounded.

use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

use jiff::Timestamp;

use super::chains::Chains;
use super::finding::Findings;
use super::tally::{Counts, Tally, rank};
use crate::pipeline::Output;
use crate::record::{Basis, Cause, Record, SuppressedRecord, TimedOutRecord, Word};

/// Records in the page's table.
pub(super) const MOST_ROWS: usize = 5_000;
/// Sums and deaths without a reset that are told one by one.
const MOST_KEPT: usize = 1_000;
/// Names of hosts.
const MOST_HOSTS: usize = 1_000;
/// Timeouts that are marked.
const MOST_TIMEOUTS: usize = 256;

/// A silence before a timeout, before something else: the kinds of the histogram.
pub(super) const KINDS_OF_SILENCE: usize = 2;

/// Outputs put together.
#[derive(Debug, Default)]
pub struct Gathering {
    pub(super) resets: Counts,
    pub(super) hosts: BTreeMap<Word, u64>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// Nanoseconds since 1970, rank of the severity.
    pub(super) marks: Vec<(i64, usize)>,
    /// Seconds, kind.
    pub(super) silences: Vec<(f64, usize)>,
    pub(super) timeouts: BTreeMap<u64, Timeout>,
    pub(super) causes: Tally<Cause>,
    pub(super) processes: Tally<Word>,
    pub(super) peers: Tally<IpAddr>,
    pub(super) origins: Tally<crate::record::Origin>,
    pub(super) findings: Findings,
    pub(super) chains: Chains,
    pub(super) suppressed: u64,
    pub(super) sums: Vec<SuppressedRecord>,
    pub(super) dead: u64,
    pub(super) deaths: BTreeMap<(Word, Word), u64>,
    rows: BinaryHeap<Row>,
    serial: u64,
}

/// A timeout that silences were compared with; its key is in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Timeout {
    /// Devices with it, and where that is known from.
    pub devices: BTreeMap<Word, Basis>,
    /// The path itself has shown it: most resets it was learned from.
    pub learned: Option<u64>,
    /// Records that name it.
    pub records: u64,
}

/// A record of the table. The greatest is the first to go: the least bad, and of those the oldest.
#[derive(Debug)]
pub(super) struct Row {
    rank: usize,
    serial: u64,
    pub record: Box<Record>,
}

impl Row {
    fn key(&self) -> (usize, std::cmp::Reverse<u64>) {
        (self.rank, std::cmp::Reverse(self.serial))
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
            Output::TimedOut(dead) => self.died(&dead),
            Output::Suppressed(sum) => self.sum(*sum),
        }
    }

    /// Resets so far, those in sums not among them.
    pub fn resets(&self) -> u64 {
        super::tally::total(self.resets)
    }

    fn reset(&mut self, record: Box<Record>) {
        let severity = record.verdict.severity;
        self.resets[rank(severity)] += 1;
        self.host(record.host.as_ref());
        if let Some(time) = self.span(&record.time)
            && let Ok(nanos) = i64::try_from(time.as_nanosecond())
        {
            self.marks.push((nanos, rank(severity)));
        }
        self.causes.add(record.verdict.cause, severity);
        self.origins.add(record.verdict.origin, severity);
        self.peers.add(record.remote.address, severity);
        if let Some(process) = &record.process {
            self.processes.add(process.comm.clone(), severity);
        }
        self.silence(&record);
        self.findings.add(&record);
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

    fn silence(&mut self, record: &Record) {
        let Some(idle) = &record.idle else {
            return;
        };
        if let Some(quiet) = idle.quiet_before {
            let kind = usize::from(record.verdict.cause != Cause::IdleTimeout);
            self.silences.push((quiet, kind));
        }
        for candidate in &idle.candidates {
            if let Some(timeout) = self.timeout(candidate.timeout) {
                timeout.records += 1;
                timeout
                    .devices
                    .insert(candidate.device.clone(), candidate.basis);
            }
        }
        if let Some(learned) = &idle.learned
            && let Some(timeout) = self.timeout(learned.timeout)
        {
            timeout.records += 1;
            timeout.learned = timeout.learned.max(Some(learned.samples));
        }
    }

    fn timeout(&mut self, seconds: f64) -> Option<&mut Timeout> {
        // Not a number, or less than nothing, is none.
        let millis = (seconds * 1_000.0).round() as u64;
        let full = self.timeouts.len() >= MOST_TIMEOUTS && !self.timeouts.contains_key(&millis);
        (millis > 0 && !full).then(|| self.timeouts.entry(millis).or_default())
    }

    fn died(&mut self, dead: &TimedOutRecord) {
        self.dead += 1;
        self.host(dead.host.as_ref());
        self.span(&dead.time);
        let process = dead
            .process
            .as_ref()
            .map_or("–".into(), |it| it.comm.clone());
        let error = dead
            .error_name
            .clone()
            .unwrap_or_else(|| format!("errno {}", dead.error).into());
        if self.deaths.len() < MOST_KEPT {
            *self.deaths.entry((process, error)).or_default() += 1;
        }
    }

    fn sum(&mut self, sum: SuppressedRecord) {
        self.suppressed = self.suppressed.saturating_add(sum.count);
        self.host(sum.host.as_ref());
        self.span(&sum.since);
        self.span(&sum.time);
        if self.sums.len() < MOST_KEPT {
            self.sums.push(sum);
        }
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
    pub(super) fn take_rows(&mut self) -> Vec<Box<Record>> {
        let mut rows = std::mem::take(&mut self.rows).into_vec();
        rows.sort_by(|a, b| {
            let times = a.record.time.cmp(&b.record.time);
            times.then_with(|| a.serial.cmp(&b.serial))
        });
        rows.into_iter().map(|row| row.record).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::Severity;

    #[test]
    fn the_least_bad_records_are_left_out_first() {
        let text = include_str!("../../tests/data/records/close_with_unread_data.json");
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
