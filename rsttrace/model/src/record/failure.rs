//! Failures without a reset: one JSON object each, schema `rsttrace.failure.v1`.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Confidence, Endpoint, FailureKind, Id, Incident, Process, Role, Sentence, Severity, Word,
};
use crate::words;

/// The value of [`FailureRecord::schema`].
pub const FAILURE_SCHEMA: &str = "rsttrace.failure.v1";

/// A connect or a connection that failed without a reset, or connects that a listener dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailureRecord {
    /// Always `rsttrace.failure.v1`.
    pub schema: Word,
    /// Identifies this record uniquely across hosts.
    pub id: Id,
    /// Time of the failure: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Word>,
    /// Local end; the listener's address for `accept_queue_full`. Port 0 if no local port was free. Absent for
    /// `conntrack_full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<Endpoint>,
    /// Remote end; absent for `accept_queue_full` and `conntrack_full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Endpoint>,
    /// Inode number of the network namespace (`/proc/PID/ns/net`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// What failed, and what to change.
    pub verdict: FailureVerdict,
    /// errno reported to the application; absent if the application gave up, and for what is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<i32>,
    /// Name of the errno, for example `ETIMEDOUT`; absent for values unusual for TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_name: Option<Word>,
    /// TCP state at the time of the failure, as shown by `ss`; absent for `conntrack_full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Word>,
    /// Seconds since the handshake; absent if the connection is older than the trace, or was never established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<f64>,
    /// Seconds since the first SYN or, on an established connection, since the first retransmission of the data that was not
    /// acknowledged; absent if there was none. For what is counted, the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried: Option<f64>,
    /// Seconds since the peer was last heard from; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<f64>,
    /// SYNs that were sent; absent for established connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syns: Option<u32>,
    /// Consecutive unanswered retransmissions or window probes; absent for connects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    /// Bytes that the application had sent and the peer had not acknowledged; absent for connects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<u32>,
    /// The accept queue of a listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_queue: Option<AcceptQueue>,
    /// The connection tracking table of the network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conntrack: Option<ConntrackTable>,
    /// The process that held the connection, or that listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The end of a connection that this record belongs to; absent for what is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<Incident>,
}

/// Explanation of a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailureVerdict {
    /// What failed.
    pub kind: FailureKind,
    /// Impact of the failure.
    pub severity: Severity,
    /// Confidence in the kind.
    pub confidence: Confidence,
    /// Summary in one sentence.
    pub summary: String,
    /// Recommended changes, each a sentence with the concrete setting.
    pub advice: Vec<Sentence>,
}

/// The accept queue of a listener when its drops were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptQueue {
    /// Connections that waited for accept().
    pub length: u32,
    /// Backlog of listen(), limited by net.core.somaxconn; the queue is full above it.
    pub limit: u32,
    /// SYNs and last ACKs of handshakes that the listener dropped in the interval.
    pub dropped: u64,
}

/// A connection tracking table when its drops were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConntrackTable {
    /// Entries of the network namespace (`nf_conntrack_count`).
    pub entries: u64,
    /// `net.netfilter.nf_conntrack_max`.
    pub limit: u64,
    /// Packets that were dropped in the interval.
    pub dropped: u64,
}

impl FailureRecord {
    /// Impact of the whole incident, as far as it is known with this record.
    pub fn impact(&self) -> Severity {
        self.incident
            .as_ref()
            .map_or(self.verdict.severity, |incident| incident.severity)
    }

    /// Whether the default view, in which noise is hidden, leaves it out.
    pub fn is_noise(&self) -> bool {
        self.verdict.severity == Severity::Noise
    }

    /// How many failures it stands for.
    pub fn count(&self) -> u64 {
        let queue = self.accept_queue.map(|queue| queue.dropped);
        let table = self.conntrack.map(|table| table.dropped);
        queue.or(table).unwrap_or(1)
    }
}

/// The value of [`TimedOutRecord::schema`].
pub const TIMED_OUT_SCHEMA: &str = "rsttrace.timeout.v1";

/// A connection that failed without a reset, as earlier versions wrote it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TimedOutRecord {
    /// Always `rsttrace.timeout.v1`.
    pub schema: Word,
    id: Id,
    time: String,
    host: Option<Word>,
    local: Endpoint,
    remote: Endpoint,
    netns: Option<u32>,
    error: i32,
    error_name: Option<Word>,
    state: Word,
    age: Option<f64>,
    process: Option<Process>,
}

impl From<TimedOutRecord> for FailureRecord {
    fn from(old: TimedOutRecord) -> Self {
        let error = words::errno(old.error);
        let is_closed = old
            .process
            .as_ref()
            .is_some_and(|process| process.role == Role::FormerOwner);
        let (kind, severity) = if is_closed {
            (FailureKind::CloseTimeout, Severity::Noise)
        } else {
            (FailureKind::RetransmissionTimeout, Severity::Fault)
        };
        Self {
            schema: Word::new_static(FAILURE_SCHEMA),
            id: old.id,
            time: old.time,
            host: old.host,
            local: Some(old.local),
            remote: Some(old.remote),
            netns: old.netns,
            verdict: FailureVerdict {
                kind,
                severity,
                confidence: Confidence::Certain,
                summary: format!("the connection failed in {}: {error}", old.state),
                advice: Vec::new(),
            },
            error: Some(old.error),
            error_name: old.error_name,
            state: Some(old.state),
            age: old.age,
            tried: None,
            silent: None,
            syns: None,
            retransmits: None,
            unacknowledged: None,
            accept_queue: None,
            conntrack: None,
            process: old.process,
            incident: None,
        }
    }
}

/// A connect that nobody answered, for tests.
#[cfg(feature = "testing")]
#[allow(clippy::unwrap_used, reason = "tests")]
pub fn sample_failure() -> FailureRecord {
    let text = include_str!("../../../tests/data/failures/connect_timeout.json");
    serde_json::from_str(text).unwrap()
}

/// No address, of an end that is not known.
pub fn nowhere() -> Endpoint {
    Endpoint {
        address: Ipv4Addr::UNSPECIFIED.into(),
        port: 0,
    }
}
