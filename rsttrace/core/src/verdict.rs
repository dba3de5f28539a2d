//! Verdicts, one file per way of observation.
//!
//! [`crate::causes::rules`] selects the cause, and the file of the cause composes the text; the common parts are here. A case keeps
//! the facts of a verdict, so that the text can be composed later, or never.

mod accepted;
pub mod advice;
mod arrived;
mod captured;
mod conntrack_expiry;
mod forwarded;
mod left;
pub mod located;
pub mod peer_signs;
mod sent;
#[cfg(test)]
mod tests;

pub(crate) use accepted::is_finished;
pub use accepted::{AcceptedCase, Arrived, Clocks, Witness, form};
pub use arrived::{ArrivedCase, OtherReset};
pub use captured::{CapturedCase, side};
pub use conntrack_expiry::{
    ExpiredEntry, expired_entry, expired_entry_of_filter, expired_entry_of_transit,
};
pub use forwarded::ForwardedCase;
pub use left::LeftCase;
pub use located::LocatedCase;
pub use sent::SentCase;

use std::net::SocketAddr;
use std::time::Duration;

use crate::captured::TalksOn;
use crate::classes::Recurrence;
use crate::event::{Coverage, Environment, Flow, Packet, Route, Segment};
use crate::flood::Suppressed;
use crate::record::{
    Candidate, Cause, Class, Confidence, EvidenceKind, Explanation, FailureVerdict, Learned,
    Origin, Severity, Verdict,
};
use crate::silence::candidates::{ClosingProcess, Match};
use crate::silence::clocks::Quiet;
use crate::silence::learned::Burst;
use crate::words;

/// What a verdict may take for granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// What the hooks can see.
    pub coverage: Coverage,
    /// Events lost around this one: what was not seen may have happened.
    pub lost_nearby: u64,
    /// Observations around this one that were counted and not handed on. Those of one reset go the same way, unless its
    /// addresses were translated on the way.
    pub suppressed_nearby: Suppressed,
    /// The cloud this host runs in; absent if none, or not known.
    pub environment: Option<Environment>,
}

impl Context {
    /// The absence of an event is a fact only where nothing was lost.
    pub(crate) fn nothing_lost(&self) -> bool {
        self.lost_nearby == 0
    }

    /// The same for the TCP stack's word on a reset it sent.
    pub(crate) fn no_sender_missed(&self) -> bool {
        self.nothing_lost() && self.suppressed_nearby.sent == 0
    }

    /// The same for a reset's acceptance by its socket.
    pub(crate) fn no_receiver_missed(&self) -> bool {
        self.nothing_lost() && self.suppressed_nearby.received_alone == 0
    }

    /// The same for a reset on the wire.
    pub(crate) fn no_packet_missed(&self) -> bool {
        self.nothing_lost() && self.suppressed_nearby.packets_alone == 0
    }

    /// Says that events were lost, if any were.
    fn note_lost(&self, explanation: &mut Explanation) {
        if !self.nothing_lost() {
            let lost = words::count(self.lost_nearby);
            explanation.add(
                EvidenceKind::LostEvents,
                format!(
                    "{lost} events were lost around this time, so unseen events may have happened"
                ),
            );
        }
    }
}

/// What is known around an accepted reset beyond the events of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    /// The silence before it; absent without an established connection.
    pub quiet: Option<Quiet>,
    /// Many connections of its path went with it, after silences that differ.
    pub burst: Option<Burst>,
    /// Connections with that host that ended together with it.
    pub together: Option<Together>,
    /// The timeout that its path has shown, where it fits.
    pub learned: Option<Learned>,
    /// Configured and known devices whose timeout fits.
    pub matches: Vec<Match>,
    /// The peer kept sending on this connection.
    pub talks_on: Option<TalksOn>,
    /// TTL of the peer's other connections, where all have the same.
    pub peer_ttl: Option<u8>,
    /// Resets for this connection that were not accepted, shortly before.
    pub near_misses: usize,
    /// The peer's own close, where it came just after an answer of its kernel that ended the connection here.
    pub abort: Option<Segment>,
    /// How far from it another reset went the other way.
    pub both_ways: Option<Duration>,
    /// TTL of the peer's other segments on this connection, where they were seen.
    pub segment_ttl: Option<u8>,
    /// The next hop to the peer; absent if it was not looked up.
    pub route: Option<Route>,
    /// This host is in a cloud, whose routers do not lower the TTL.
    pub in_cloud: bool,
    /// How long before a reset of the same look did not come from its peer, and whether that was certain.
    pub known_device: Option<(Duration, bool)>,
    /// Resolution of the socket's clocks: spans counted back by them may be that much longer.
    pub resolution: Duration,
    /// What the source of the connection does again and again.
    pub recurrence: Recurrence,
    /// Whose end this is.
    pub side: Side,
}

/// Whose end got a reset, for sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// This host's.
    #[default]
    Ours,
    /// Another host's: a capture saw it pass.
    Theirs,
}

impl Side {
    /// `our`, before what it sent.
    pub const fn our(self) -> &'static str {
        match self {
            Self::Ours => "our",
            Self::Theirs => "the receiver's",
        }
    }

    /// `this host`.
    pub const fn this_host(self) -> &'static str {
        match self {
            Self::Ours => "this host",
            Self::Theirs => "the receiver",
        }
    }
}

/// Connections that ended together, by one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// How many.
    pub connections: usize,
    /// From the first to the last of them.
    pub within: Duration,
}

impl Together {
    /// `one of 10 connections that it closed within 3.0 ms`.
    fn phrase(self, what: &str) -> String {
        let (connections, within) = (
            words::count(self.connections as u64),
            words::span(self.within),
        );
        format!("one of {connections} connections {what} within {within}")
    }
}

/// Another end of the same reset on this host: what it knows goes into this end's evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherEnd {
    /// Who, for a sentence: `nginx[87]`, `a packet filter on this host`.
    pub label: String,
    /// The verdict of its own record; absent for a receiving end, which cannot know.
    pub verdict: Option<Verdict>,
    /// Its own record says that it had translated the connection: it is not the peer.
    pub only_translates: bool,
    /// The process that had closed.
    pub closing: ClosingProcess,
    /// Its own record says that it was at a timeout: it closed after an idle period, or its entry had expired.
    pub timeout: Option<OwnTimeout>,
}

/// A timeout of the end that sent a reset, by its own record.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnTimeout {
    /// Settings of this host by which a connection that it only forwards had expired; empty for an end of the connection.
    pub settings: Vec<Candidate>,
}

/// A process of this host closed after a silence that a timer of its own may have ended.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnTimer {
    /// The silence.
    pub quiet: Quiet,
    /// The timeout that earlier closes of the service have shown, where it fits.
    pub learned: Option<Learned>,
    /// Defaults of the program that fit, most plausible first.
    pub fits: Vec<Candidate>,
}

/// Why a process that closed after a silence was at no timer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTimer {
    /// Its connection with `remote` had just ended.
    OtherLeg {
        /// The other end of that connection.
        remote: SocketAddr,
        /// How it ended.
        how: OtherEnding,
    },
    /// It closed so many connections at once, after silences that differ.
    Many(usize),
    /// It ended right after.
    Ending,
    /// Its configuration has no timer of that length.
    NotSet,
}

/// How another connection of the same process ended, if the process did not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherEnding {
    /// It was reset.
    Reset,
    /// The peer closed it.
    Finished,
    /// The peer did not answer.
    TimedOut,
}

impl OtherEnd {
    /// Who and why by its own record; absent for a receiving end.
    pub(crate) fn found(&self) -> Option<(Origin, Cause)> {
        let verdict = self.verdict.as_ref()?;
        Some((verdict.origin, verdict.cause))
    }

    fn summary(&self) -> &str {
        self.verdict.as_ref().map_or("", Verdict::summary)
    }
}

/// Why a leg of a proxy was reset.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The chain of records it belongs to.
    pub link: u64,
    /// The verdict on the first leg.
    pub verdict: Verdict,
    /// From the end of that leg to the reset of this one.
    pub after: Duration,
    /// How sure it is that the two belong together.
    pub confidence: Confidence,
    /// What the two legs have in common.
    pub likeness: Likeness,
}

/// What two legs of a proxy have in common, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// The bytes that came in by one went out by the other.
    Bytes,
    /// In one direction; in the other something was left to pass on.
    PartOfBytes,
    /// Nothing but the process: the first leg was not connected, or its bytes are not known.
    Process,
    /// About as many bytes, and the later leg was opened for the earlier one.
    Rewritten,
}

/// A failure without a reset as what others failed because of.
pub fn of_failure(failure: &FailureVerdict) -> Verdict {
    let (summary, advice) = (failure.summary.clone(), failure.advice.clone());
    let who = (Origin::LocalKernel, Cause::Unknown);
    Verdict::new(who, failure.severity, failure.confidence, move || {
        Explanation {
            summary: summary.to_string(),
            advice,
            ..Explanation::default()
        }
    })
}

/// Who sent a reset, why, at what cost and how sure: a verdict without words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Who.
    pub origin: Origin,
    /// Why.
    pub cause: Cause,
    /// What it cost.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// Kind of a frequent end of a connection; absent for all others.
    pub class: Option<Class>,
}

impl Judgement {
    /// How to find out more about a fault on which there is no other advice; `outgoing`: this end connected, absent if not known.
    fn advise_anyway(self, flow: &Flow, outgoing: Option<bool>, explanation: &mut Explanation) {
        if self.severity == Severity::Fault && explanation.advice.is_empty() {
            let there = advice::capture_there(flow, outgoing);
            explanation.advice.push(there);
        }
    }
}

/// The connection of a reset that came in, from this host's view.
const fn received_from(packet: &Packet) -> Flow {
    Flow {
        local: packet.destination,
        remote: packet.source,
    }
}

impl Judgement {
    fn verdict(self, explain: impl FnOnce() -> Explanation + Send + 'static) -> Verdict {
        let who = (self.origin, self.cause);
        Verdict::new(who, self.severity, self.confidence, explain).of_class(self.class)
    }
}

/// The less sure of two: `Confidence` goes from certain down.
pub(crate) fn at_most(confidence: Confidence, limit: Confidence) -> Confidence {
    confidence.max(limit)
}

/// `a segment with flags P. and 100 bytes`.
fn headers(segment: &Segment) -> String {
    let mut text = format!("a segment with flags {}", segment.flags);
    if segment.payload_len > 0 {
        text.push_str(&format!(" and {}", words::bytes(segment.payload_len)));
    }
    text
}
