//! The result of a comparison, as other programs read it: one JSON object a connection, schema `rsttrace.comparison.v1`.
//!
//! A key that is absent means "not known". Durations are seconds, times RFC 3339 UTC with nanoseconds by the clock of the
//! connection's first capture, addresses strings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::{Cause, Confidence, Endpoint, Evidence, Sentence, Word};

/// The value of [`ConnectionComparison::schema`].
pub const SCHEMA: &str = "rsttrace.comparison.v1";

/// What several captures say together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The captures, in the order they were given, with their clocks against that of the first.
    pub captures: Vec<CaptureClock>,
    /// The connections with a reset, by the time of their first one.
    pub connections: Vec<ConnectionComparison>,
    /// Resets that were not kept, per connection the first sixteen of each direction are: those beyond.
    pub resets_left_out: u64,
    /// Connections that were not kept: more than a comparison holds.
    pub connections_left_out: u64,
}

/// A capture and its clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureClock {
    /// Its name, as it was given.
    pub file: Word,
    /// By how much its clock is ahead of the first capture's; absent if nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<f64>,
    /// `offset` is right within this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
    /// By how many millionths its clock is faster than the first capture's; absent if it was not examined: that takes 20 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_ppm: Option<f64>,
    /// What was seen contradicts every offset: a clock was set meanwhile.
    pub contradictory: bool,
    /// TCP segments in it.
    pub segments: u64,
    /// Why it may lack segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// One connection as its captures show it, from the client to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionComparison {
    /// Always `rsttrace.comparison.v1`.
    pub schema: Word,
    /// The client, as the capture nearest to it shows it.
    pub client: Endpoint,
    /// The server, as the capture nearest to it shows it.
    pub server: Endpoint,
    /// What is between them.
    pub path: PathKind,
    /// Where it was seen, from the client to the server: the columns of the table.
    pub points: Vec<Point>,
    /// The captures that hold it, with their clocks against that of the first one given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captures: Vec<CaptureClock>,
    /// Whether that order follows from what was seen; else it is the order in which the captures were given.
    pub order_known: bool,
    /// What happened, in time: the rows of the table.
    pub events: Vec<Event>,
    /// Longest silence before a reset, as the first point saw it; absent below 1 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<f64>,
    /// Its resets.
    pub resets: Vec<ResetComparison>,
    /// Why the captures show different resets; absent if they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<String>,
}

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// One TCP connection with the same addresses everywhere.
    Direct,
    /// One TCP connection (the same sequence numbers) whose addresses are rewritten: a transparent (layer 4) balancer or NAT.
    Translated,
    /// Two TCP connections that carry the same bytes: a balancer or proxy ends the one and opens the other.
    Terminated,
    /// Only one capture holds it.
    Alone,
    /// Several connections carry the same bytes at the same time: which belong together is not known.
    Ambiguous,
}

/// A place where a connection was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// The capture.
    pub file: Word,
    /// Which leg: 1 from the client to the proxy, 2 from there on; 1 where there is no proxy.
    pub leg: u8,
    /// Who opened the connection, as seen here.
    pub opener: Endpoint,
    /// Who was asked, as seen here.
    pub asked: Endpoint,
}

/// Something that happened on a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// From the client's side to the server's, or back.
    pub direction: Toward,
    /// Where it was seen.
    pub sightings: Vec<Sighting>,
}

/// What happened.
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

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Toward {
    /// From who opened the connection.
    Server,
    /// To who opened the connection.
    Client,
}

/// One capture's view of something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sighting {
    /// Number of the point in `points`, from 0 on.
    pub point: usize,
    /// Number of the frame in the file.
    pub frame: u64,
    /// By the clock of the connection's first capture; by its own if the offset is not known.
    pub time: String,
    /// Since the first event of the connection; absent if the offset of the clock is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TTL of most other segments of that direction there; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual_ttl: Option<u8>,
    /// Interface, where the file tells several apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interface: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// One reset, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResetComparison {
    /// When it was first seen.
    pub time: String,
    /// Which leg it was on, as in [`Point::leg`].
    pub leg: u8,
    /// Which way it went.
    pub direction: Toward,
    /// In whose name, as the first capture that saw it shows it.
    pub source: Endpoint,
    /// Where to, as the last capture that saw it shows it.
    pub destination: Endpoint,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; absent without ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<u32>,
    /// Who made it.
    pub made_by: MadeBy,
    /// How sure that is.
    pub confidence: Confidence,
    /// Who made it and how that is known, for people.
    pub sentence: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// Where it was seen, in the order of its way.
    pub sightings: Vec<Sighting>,
    /// Captures that hold the connection and not this reset, and what that proves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// What the captures say each by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alone: Vec<Alone>,
}

/// Who made a reset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MadeBy {
    /// The client's host.
    Client {
        /// It, as the capture nearest to it shows it.
        host: Endpoint,
    },
    /// The server's host.
    Server {
        /// It, as the capture nearest to it shows it.
        host: Endpoint,
    },
    /// The balancer or proxy that ends one leg and opens the other.
    Proxy {
        /// Its end of the leg.
        host: Endpoint,
    },
    /// The host where this capture was made, in the name of an end.
    CaptureHost {
        /// The capture.
        file: Word,
    },
    /// Something between two places.
    Between {
        /// The capture nearer to the end whose name it bears; absent: that end itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Word>,
        /// The capture that saw it. Where it was made at an interface without telling which way segments went, its own host may be the
        /// maker: the sentence says so.
        before: Word,
    },
    /// Not known; the sentence says why.
    Unknown,
}

/// A capture without the reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// The capture.
    pub file: Word,
    /// Whether the reset did not pass there.
    pub proves: bool,
    /// Why, or why not.
    pub because: Sentence,
}

/// What one capture says of a reset by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alone {
    /// The capture.
    pub file: Word,
    /// The frame.
    pub frame: u64,
    /// The cause.
    pub cause: Cause,
    /// The sentence.
    pub summary: String,
    /// What to change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Sentence>,
}
