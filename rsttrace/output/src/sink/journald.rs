//! Entries of the systemd journal, with a field for each fact that entries are searched by.
//!
//! `OBJECT_PID` makes journald add user and command of the process, and with `OBJECT_SYSTEMD_UNIT` `journalctl --unit nginx` shows the
//! resets of nginx, too.

mod entry;
mod socket;
mod units;

use std::io::{self, Write};
use std::time::Instant;

use entry::Entry;
pub use socket::{JOURNAL, Journal};
use units::{Units, units};

use super::dedup::{Groups, Kind, More};
use super::layout::Layout;
use super::{Sink, append_json, suppressed};
use crate::record::{
    Endpoint, FailureRecord, Incident, Process, Record, Role, Severity, SuppressedRecord,
};
use crate::summary::Summary;

/// `MESSAGE_ID` of a reset.
const RESET: &str = "63a5b3cf4d874db3b9616b52aa1e3b2e";
/// Of a failure without a reset.
const FAILURE: &str = "a219b9abbf6043ddb0a9582ded9097e3";
/// Of a count of resets without details, in a flood.
const SUPPRESSED: &str = "6148e8141fbd49199caf2050f1b6d4f5";
/// Of a count of records like one that has an entry.
const SIMILAR: &str = "f9f3520da2394954a2223e1bb8996429";

/// Priority of noise, and of the counts of a flood: informational.
const INFO: u8 = 6;

/// Entries to the journal, the summary to `aside`.
pub struct Journald<A> {
    journal: Journal,
    aside: A,
    groups: Option<Groups>,
}

impl<A: Write> Journald<A> {
    /// Writes entries to `journal`, the summary to `aside`; with `every` one for each record, else similar ones are counted.
    pub fn new(journal: Journal, aside: A, every: bool) -> Self {
        Self {
            journal,
            aside,
            groups: (!every).then(Groups::default),
        }
    }

    fn similar(&self, all: Vec<More>) {
        for more in all {
            let text = format!(
                "+{} similar since {}: {}",
                more.count, more.since, more.label
            );
            let severity = match &more.kind {
                Kind::Reset(kind) => kind.severity,
                Kind::Failure(kind) => kind.severity,
            };
            let mut entry = Entry::new(&text, priority(severity), SIMILAR);
            entry.add("RSTTRACE_COUNT", more.count);
            in_common(&mut entry, &more.kind);
            self.journal.offer(entry.into_bytes());
        }
    }
}

impl<A: Write> Sink for Journald<A> {
    fn record(&mut self, now: Instant, record: &Record) -> io::Result<()> {
        self.tick(now)?;
        if let Some(groups) = &mut self.groups
            && !groups.admit_record(now, record, Layout::label)
        {
            return Ok(());
        }
        self.journal.offer(reset(record)?);
        Ok(())
    }

    fn failure(&mut self, now: Instant, failure: &FailureRecord) -> io::Result<()> {
        self.tick(now)?;
        if let Some(groups) = &mut self.groups
            && !groups.admit_failure(now, failure, Layout::failure_label)
        {
            return Ok(());
        }
        self.journal.offer(failed(failure)?);
        Ok(())
    }

    fn suppressed(&mut self, _now: Instant, sum: &SuppressedRecord) -> io::Result<()> {
        let mut entry = Entry::new(&suppressed::sentence(sum), INFO, SUPPRESSED);
        entry.add("RSTTRACE_COUNT", sum.count);
        entry.add_known("RSTTRACE_CAUSE", sum.cause);
        entry.add_known("RSTTRACE_DIRECTION", sum.direction);
        entry.add_known("RSTTRACE_LOCAL_PORT", sum.local_port);
        entry.add_known("RSTTRACE_REMOTE_PORT", sum.remote_port);
        entry.add_known("RSTTRACE_NETNS", sum.netns);
        entry.add_json(sum)?;
        self.journal.offer(entry.into_bytes());
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.groups.as_ref().and_then(Groups::deadline)
    }

    fn tick(&mut self, now: Instant) -> io::Result<()> {
        let due = self.groups.as_mut().map(|groups| groups.due(now));
        self.similar(due.unwrap_or_default());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let rest = self.groups.as_mut().map(Groups::drain);
        self.similar(rest.unwrap_or_default());
        self.journal.finish();
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let ended = self.end();
        // A closed standard error is no failure.
        let _ = self.aside.write_all(summary.render().as_bytes());
        let _ = self.aside.flush();
        ended
    }
}

fn in_common(entry: &mut Entry, kind: &Kind) {
    match kind {
        Kind::Reset(kind) => {
            entry.add("RSTTRACE_CAUSE", kind.cause);
            entry.add("RSTTRACE_ORIGIN", kind.origin);
            entry.add("RSTTRACE_SEVERITY", kind.severity);
            entry.add("RSTTRACE_CONFIDENCE", kind.confidence);
            entry.add_known("RSTTRACE_CLASS", kind.class);
            entry.add("RSTTRACE_DIRECTION", kind.direction);
            entry.add("RSTTRACE_LOCAL_ADDRESS", kind.local);
            entry.add("RSTTRACE_REMOTE_ADDRESS", kind.remote);
            entry.add_known("RSTTRACE_PROCESS", kind.process.as_ref());
            entry.add_known("RSTTRACE_NETNS", kind.netns);
        }
        Kind::Failure(kind) => {
            entry.add("RSTTRACE_FAILURE", kind.kind);
            entry.add("RSTTRACE_SEVERITY", kind.severity);
            entry.add_known("RSTTRACE_PROCESS", kind.process.as_ref());
            entry.add_known("RSTTRACE_NETNS", kind.netns);
        }
    }
}

fn reset(record: &Record) -> io::Result<Vec<u8>> {
    let verdict = &record.verdict;
    let priority = priority(verdict.severity);
    let mut entry = Entry::new(&Layout::message(record), priority, RESET);
    entry.add("RSTTRACE_CAUSE", verdict.cause);
    entry.add("RSTTRACE_ORIGIN", verdict.origin);
    entry.add("RSTTRACE_SEVERITY", verdict.severity);
    entry.add("RSTTRACE_CONFIDENCE", verdict.confidence);
    entry.add_known("RSTTRACE_CLASS", verdict.class);
    entry.add("RSTTRACE_DIRECTION", record.direction);
    ends(&mut entry, Some(&record.local), Some(&record.remote));
    around(&mut entry, record.incident.as_ref(), record.netns);
    process(&mut entry, record.process.as_ref());
    let mut record = record.clone();
    conceal(record.process.as_mut());
    conceal(record.owner.as_deref_mut());
    entry.add_json(&record)?;
    Ok(entry.into_bytes())
}

fn failed(failure: &FailureRecord) -> io::Result<Vec<u8>> {
    let verdict = &failure.verdict;
    let priority = priority(verdict.severity);
    let mut entry = Entry::new(&Layout::failure_message(failure), priority, FAILURE);
    entry.add("RSTTRACE_FAILURE", verdict.kind);
    entry.add("RSTTRACE_SEVERITY", verdict.severity);
    entry.add("RSTTRACE_CONFIDENCE", verdict.confidence);
    ends(&mut entry, failure.local.as_ref(), failure.remote.as_ref());
    around(&mut entry, failure.incident.as_ref(), failure.netns);
    process(&mut entry, failure.process.as_ref());
    let mut failure = failure.clone();
    conceal(failure.process.as_mut());
    entry.add_json(&failure)?;
    Ok(entry.into_bytes())
}

/// Command lines may have passwords, and more users than root read the journal.
fn conceal(process: Option<&mut Process>) {
    if let Some(process) = process {
        process.cmdline = None;
    }
}

/// As syslog numbers them: warning, notice, informational.
fn priority(severity: Severity) -> u8 {
    match severity {
        Severity::Fault => 4,
        Severity::Refused => 5,
        Severity::Noise => INFO,
    }
}

fn ends(entry: &mut Entry, local: Option<&Endpoint>, remote: Option<&Endpoint>) {
    if let Some(local) = local {
        entry.add("RSTTRACE_LOCAL_ADDRESS", local.address);
        entry.add("RSTTRACE_LOCAL_PORT", local.port);
    }
    if let Some(remote) = remote {
        entry.add("RSTTRACE_REMOTE_ADDRESS", remote.address);
        entry.add("RSTTRACE_REMOTE_PORT", remote.port);
    }
}

fn around(entry: &mut Entry, incident: Option<&Incident>, netns: Option<u32>) {
    entry.add_known("RSTTRACE_INCIDENT", incident.map(|incident| incident.id));
    entry.add_known("RSTTRACE_NETNS", netns);
}

fn process(entry: &mut Entry, process: Option<&Process>) {
    let Some(process) = process else { return };
    entry.add("RSTTRACE_PROCESS", &process.comm);
    entry.add("RSTTRACE_PID", process.pid);
    // journald looks at the process itself, and adds its unit again; of one that has ended it knows nothing. The number of a former owner
    // may belong to another process by now.
    if !process.outside && process.role != Role::FormerOwner {
        entry.add("OBJECT_PID", process.pid);
    }
    let Units { system, user } = process.cgroup.as_deref().map(units).unwrap_or_default();
    entry.add_known("OBJECT_SYSTEMD_UNIT", system);
    entry.add_known("OBJECT_SYSTEMD_USER_UNIT", user);
    entry.add_known("RSTTRACE_CONTAINER_ID", process.container_id.as_ref());
    if let Some(names) = &process.workload {
        entry.add_known("RSTTRACE_WORKLOAD", names.name.as_ref());
        entry.add_known("RSTTRACE_NAMESPACE", names.namespace.as_ref());
        entry.add_known("RSTTRACE_POD", names.pod.as_ref());
        entry.add_known("RSTTRACE_CONTAINER", names.container.as_ref());
    }
}

#[cfg(test)]
mod tests;
