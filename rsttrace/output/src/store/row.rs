//! Columns of a record.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;

use super::codec::{Coding, MOST, Packer};
use crate::record::{
    Endpoint, FailureRecord, Output, Process, Record, Severity, SuppressedRecord, nowhere,
};
use crate::sink::append_json;

/// What `kind` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reset = 0,
    Failure = 1,
    Suppressed = 2,
}

/// One row, in the order of [`INSERT`].
#[derive(Debug)]
pub(super) struct Row {
    time: i64,
    kind: Kind,
    /// Direction, origin, cause, severity, confidence.
    names: [Option<&'static str>; 5],
    ends: Option<(Endpoint, Endpoint)>,
    netns: Option<u32>,
    quiet: Option<f64>,
    pid: Option<u32>,
    words: Option<String>,
    coding: Coding,
    line: Vec<u8>,
}

/// Numbers, addresses, and the header of a row; more than they ever take.
const VALUES: usize = 160;

pub(super) const INSERT: &str = "INSERT INTO record (time, kind, direction, origin, cause, severity, confidence, \
     local, local_port, remote, remote_port, netns, quiet, pid, words, coding, line) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

impl Row {
    /// The row of an output; `scratch` is overwritten.
    pub fn of(output: &Output, packer: &mut Packer, scratch: &mut Vec<u8>) -> io::Result<Self> {
        scratch.clear();
        let mut row = match output {
            Output::Reset(record) => {
                append_json(scratch, &**record)?;
                Self::reset(record)?
            }
            Output::Failure(failure) => {
                append_json(scratch, &**failure)?;
                Self::failure(failure)?
            }
            Output::Suppressed(sum) => {
                append_json(scratch, &**sum)?;
                Self::suppressed(sum)?
            }
        };
        if scratch.len() > MOST {
            return Err(io::Error::other("record larger than 1 MiB"));
        }
        (row.coding, row.line) = packer.pack(scratch);
        Ok(row)
    }

    fn new(kind: Kind, time: &str) -> io::Result<Self> {
        Ok(Self {
            time: nanoseconds(time)?,
            kind,
            names: [None; 5],
            ends: None,
            netns: None,
            quiet: None,
            pid: None,
            words: None,
            coding: Coding::Plain,
            line: Vec::new(),
        })
    }

    fn reset(record: &Record) -> io::Result<Self> {
        let verdict = &record.verdict;
        Ok(Self {
            names: [
                Some(record.direction.name()),
                Some(verdict.origin.name()),
                Some(verdict.cause.name()),
                severity(record).map(Severity::name),
                Some(verdict.confidence.name()),
            ],
            ends: Some((record.local.clone(), record.remote.clone())),
            netns: record.netns,
            quiet: record.idle.as_ref().and_then(|idle| idle.quiet_before),
            pid: record.process.as_ref().map(|process| process.pid),
            words: words(record.process.iter().chain(record.owner.as_deref())),
            ..Self::new(Kind::Reset, &record.time)?
        })
    }

    fn failure(failure: &FailureRecord) -> io::Result<Self> {
        let remote = failure.remote.clone().unwrap_or_else(nowhere);
        let local = failure.local.clone().unwrap_or_else(nowhere);
        Ok(Self {
            names: [
                None,
                None,
                Some(failure.verdict.kind.name()),
                Some(failure.verdict.severity.name()),
                Some(failure.verdict.confidence.name()),
            ],
            ends: Some((local, remote)),
            netns: failure.netns,
            pid: failure.process.as_ref().map(|process| process.pid),
            words: words(failure.process.iter()),
            ..Self::new(Kind::Failure, &failure.time)?
        })
    }

    fn suppressed(sum: &SuppressedRecord) -> io::Result<Self> {
        let mut row = Self::new(Kind::Suppressed, &sum.time)?;
        row.names[0] = sum.direction.map(|direction| direction.name());
        row.names[2] = sum.cause.map(|cause| cause.name());
        row.netns = sum.netns;
        Ok(row)
    }

    /// Bytes of its cell in the table, at most, as SQLite stores it: its values, and what stands before them.
    pub fn cell(&self) -> u64 {
        let names = self.names.iter().flatten().map(|name| name.len()).sum();
        let words = self.words.as_deref().map_or(0, str::len);
        [self.line.len(), words, names, VALUES]
            .into_iter()
            .map(|bytes| bytes as u64)
            .sum()
    }

    /// Runs [`INSERT`].
    pub fn insert(&self, statement: &mut rusqlite::Statement<'_>) -> rusqlite::Result<usize> {
        let [direction, origin, cause, severity, confidence] = self.names;
        let local = self.ends.as_ref().map(|(local, _)| local);
        let remote = self.ends.as_ref().map(|(_, remote)| remote);
        let address = |end: Option<&Endpoint>| end.map(|end| bytes(end.address));
        statement.execute(rusqlite::params![
            self.time,
            self.kind as i64,
            direction,
            origin,
            cause,
            severity,
            confidence,
            address(local),
            local.map(|end| end.port),
            address(remote),
            remote.map(|end| end.port),
            self.netns,
            self.quiet,
            self.pid,
            self.words,
            self.coding as i64,
            self.line,
        ])
    }
}

/// The severity that a query narrows down by; absent where [`Record::is_noise`] depends on the query.
fn severity(record: &Record) -> Option<Severity> {
    let severity = record.verdict.severity;
    let is_open = severity == Severity::Noise && !record.is_noise(true);
    (!is_open).then_some(severity)
}

/// An RFC 3339 time in nanoseconds since the epoch, UTC.
pub(super) fn nanoseconds(time: &str) -> io::Result<i64> {
    time.parse::<Timestamp>()
        .ok()
        .and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .ok_or_else(|| io::Error::other(format!("{time}: invalid time")))
}

/// In network order: 4 bytes or 16. The addresses of a network are between its first and its last.
pub(super) fn bytes(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

/// What a word of a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Pid,
    /// Name of the process or of its executable.
    Name,
    Unit,
    /// ID or name of the container.
    Container,
    /// UID or name of the pod, or namespace, `/` and name.
    Pod,
}

impl Word {
    /// As it stands among the words, behind the line before it: without `\n` at its end, so that it finds beginnings, too.
    pub fn mark(self, word: &str) -> String {
        let kind = match self {
            Self::Pid => 'p',
            Self::Name => 'n',
            Self::Unit => 'u',
            Self::Container => 'c',
            Self::Pod => 'k',
        };
        // A line of words is one line, and nothing ends SQLite's text early.
        let word = word.replace(['\n', '\0'], " ");
        match self {
            Self::Container | Self::Pod => format!("\n{kind}{}", word.to_ascii_lowercase()),
            _ => format!("\n{kind}{word}"),
        }
    }
}

/// The words that find the processes.
fn words<'a>(processes: impl Iterator<Item = &'a Process>) -> Option<String> {
    let mut words = String::new();
    for process in processes {
        let name = process.exe.as_deref().map(Path::new);
        let name = name
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        let pid = process.pid.to_string();
        let names = process.workload.as_ref();
        let pod = names.and_then(|names| names.pod.as_deref());
        let namespace = names.and_then(|names| names.namespace.as_deref());
        let namespaced = namespace
            .zip(pod)
            .map(|(namespace, pod)| format!("{namespace}/{pod}"));
        let all = [
            (Word::Pid, Some(pid.as_str())),
            (Word::Name, Some(process.comm.as_str())),
            (Word::Name, name),
            (Word::Unit, process.unit.as_deref()),
            (Word::Container, process.container_id.as_deref()),
            (
                Word::Container,
                names.and_then(|names| names.container.as_deref()),
            ),
            (Word::Pod, process.pod_uid.as_deref()),
            (Word::Pod, pod),
            (Word::Pod, namespaced.as_deref()),
        ];
        for (kind, word) in all {
            let mark = word.map(|word| kind.mark(word) + "\n").unwrap_or_default();
            if !words.contains(&mark) {
                words.push_str(&mark);
            }
        }
    }
    (!words.is_empty()).then_some(words)
}
