//! JSON result of a comparison: one object per connection, schema `rsttrace.comparison.v1`.
//!
//! An absent key means "not known". Durations are seconds, times RFC 3339 UTC with nanoseconds by the clock of the
//! connection's first capture, addresses strings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::{Cause, Confidence, Endpoint, Evidence, Sentence, Word};

/// The value of [`ConnectionComparison::schema`].
pub const SCHEMA: &str = "rsttrace.comparison.v1";

/// Result of comparing several captures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The captures in the given order, with clock offsets relative to the first one.
    pub captures: Vec<CaptureClock>,
    /// Connections with a reset, ordered by their first reset.
    pub connections: Vec<ConnectionComparison>,
    /// Number of resets omitted: each connection has at most 16 per direction.
    pub resets_left_out: u64,
    /// Number of connections omitted because of the limit of a comparison.
    pub connections_left_out: u64,
}

/// A capture and its clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureClock {
    /// File name as given.
    pub file: Word,
    /// Clock offset in seconds; positive if ahead of the first capture. Absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<f64>,
    /// Uncertainty of `offset` in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
    /// Clock drift relative to the first capture in parts per million; absent for captures shorter than 20 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_ppm: Option<f64>,
    /// Whether no constant offset fits, because a clock was set during the capture.
    pub contradictory: bool,
    /// Number of TCP segments in the capture.
    pub segments: u64,
    /// Reasons why segments may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// One connection in several captures, from the client to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionComparison {
    /// Always `rsttrace.comparison.v1`.
    pub schema: Word,
    /// Client address in the capture closest to the client.
    pub client: Endpoint,
    /// Server address in the capture closest to the server.
    pub server: Endpoint,
    /// Kind of path between client and server.
    pub path: PathKind,
    /// Capture points from the client to the server: the columns of the table.
    pub points: Vec<Point>,
    /// The captures that contain the connection, with clock offsets relative to the first given capture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captures: Vec<CaptureClock>,
    /// Whether the order of `points` was derived from the captures; otherwise it is the given order.
    pub order_known: bool,
    /// Events in order of time: the rows of the table.
    pub events: Vec<Event>,
    /// Longest idle time before a reset at the first point, in seconds; absent below 1 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<f64>,
    /// Resets of the connection.
    pub resets: Vec<ResetComparison>,
    /// Why the captures show different resets; absent if they agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<String>,
}

/// Kind of path between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// One TCP connection with the same addresses everywhere.
    Direct,
    /// One TCP connection (same sequence numbers) with translated addresses: NAT or a transparent (layer 4) load balancer.
    Translated,
    /// Two TCP connections with the same payload: a proxy terminates one and opens the other.
    Terminated,
    /// Only one capture contains the connection.
    Alone,
    /// Several connections carry the same payload at the same time, so the match is ambiguous.
    Ambiguous,
}

/// A point where a connection was captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// File name of the capture.
    pub file: Word,
    /// Number of the leg: 1 from the client to the first proxy, 2 after it; 1 without a proxy.
    pub leg: u8,
    /// Client address at this point.
    pub opener: Endpoint,
    /// Server address at this point.
    pub asked: Endpoint,
}

/// An event of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Kind of event.
    pub kind: EventKind,
    /// Direction of the segment.
    pub direction: Toward,
    /// Sightings of the segment.
    pub sightings: Vec<Sighting>,
}

/// Kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// SYN.
    Syn,
    /// SYN-ACK.
    SynAck,
    /// The last segment that brought new payload.
    LastData,
    /// FIN.
    Fin,
    /// RST.
    Reset,
}

/// Direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Toward {
    /// From client to server.
    Server,
    /// From server to client.
    Client,
}

/// A segment in one capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sighting {
    /// Index in `points`.
    pub point: usize,
    /// Frame number in the file.
    pub frame: u64,
    /// Time by the clock of the connection's first capture, or by the capture's own clock if the offset is not known.
    pub time: String,
    /// Seconds since the first event of the connection; absent if the clock offset is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Most frequent TTL of other segments in this direction at this point; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual_ttl: Option<u8>,
    /// Interface number; 0 if the file does not distinguish interfaces.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interface: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Analysis of one reset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResetComparison {
    /// Time of the first sighting.
    pub time: String,
    /// Number of the leg, as in [`Point::leg`].
    pub leg: u8,
    /// Direction of the reset.
    pub direction: Toward,
    /// Source address in the first capture that contains the reset.
    pub source: Endpoint,
    /// Destination address in the last capture that contains the reset.
    pub destination: Endpoint,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; absent without ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<u32>,
    /// Sender of the reset.
    pub made_by: MadeBy,
    /// Confidence in `made_by`.
    pub confidence: Confidence,
    /// Sender and reason as a sentence.
    pub sentence: String,
    /// Facts that support the result.
    pub evidence: Vec<Evidence>,
    /// Sightings in the order of the path.
    pub sightings: Vec<Sighting>,
    /// Captures that contain the connection but not this reset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Verdicts of the captures on their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alone: Vec<Alone>,
}

/// Sender of a reset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MadeBy {
    /// The client.
    Client {
        /// Address in the capture closest to it.
        host: Endpoint,
    },
    /// The server.
    Server {
        /// Address in the capture closest to it.
        host: Endpoint,
    },
    /// The proxy between two legs.
    Proxy {
        /// Address of the proxy on this leg.
        host: Endpoint,
    },
    /// The host of this capture, with the address of an end.
    CaptureHost {
        /// File name of the capture.
        file: Word,
    },
    /// A device between two points.
    Between {
        /// The capture closer to the alleged sender; absent: the alleged sender itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Word>,
        /// The capture that contains the reset. If the capture has no packet directions, its own host may be the sender; the sentence
        /// says so.
        before: Word,
    },
    /// Not known; the sentence says why.
    Unknown,
}

/// A capture that does not contain the reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// File name of the capture.
    pub file: Word,
    /// Whether the absence proves that the reset did not pass there.
    pub proves: bool,
    /// Reason for `proves`.
    pub because: Sentence,
}

/// Verdict of one capture on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alone {
    /// File name of the capture.
    pub file: Word,
    /// Frame number in the file.
    pub frame: u64,
    /// Cause of the reset.
    pub cause: Cause,
    /// Summary in one sentence.
    pub summary: String,
    /// Recommended changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Sentence>,
}
