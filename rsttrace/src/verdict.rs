//! Why was this reset sent, what did it cost, and how sure is that?
//!
//! `rules` names the cause, `severity` the damage, `explain` says it in a sentence, `evidence` lists what it rests on,
//! `advice` what to change. `received` and `wire` judge resets that this host's kernel did not send.

pub mod advice;
mod captured;
mod evidence;
mod explain;
mod forgotten;
mod nearer;
mod received;
mod rules;
mod severity;
#[cfg(test)]
mod tests;
pub mod timeout;
mod wire;
pub mod words;

pub use captured::{captured, side};
pub use evidence::talks_on;
pub use forgotten::{Forgotten, forgotten, forgotten_by_filter, forgotten_in_transit};
pub(crate) use nearer::weigh_ttl;
pub use nearer::{LONGEST_PATH, hops};
pub use received::{Accepted, Arrived, Witness, form, received};
pub use rules::{Ruling, rule};
pub use wire::{OtherReset, Passage, forwarded, made_here, observed};

use std::time::Duration;

use crate::attribution::Who;
use crate::event::{BootTime, Coverage, Environment, Facts, Sent};
use crate::flood::Suppressed;
use crate::idle::candidates::Match;
use crate::idle::clocks::Quiet;
use crate::idle::memory::Burst;
use crate::pipeline::Reason;
use crate::record::{
    Candidate, Cause, Confidence, Evidence, Learned, Origin, Process, Sentence, Verdict, Word,
};

/// What a verdict may take for granted.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What the hooks can see.
    pub coverage: &'a Coverage,
    /// Events lost around this one: what was not seen may have happened.
    pub lost_nearby: u64,
    /// Observations around this one that were counted and not handed on. Those of one reset go the same way, unless its
    /// addresses were translated on the way.
    pub suppressed_nearby: Suppressed,
    /// The cloud this host runs in; absent if none, or not known.
    pub environment: Option<Environment>,
}

impl Context<'_> {
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
}

/// What was on its way when the peer reset may come so long after it, out of order.
pub const REORDERED: Duration = Duration::from_millis(10);

/// What is known around an accepted reset beyond the events of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    /// The silence before it; absent without an established connection.
    pub quiet: Option<Quiet>,
    /// Many connections of its path went with it.
    pub burst: Option<Burst>,
    /// The timeout that its path has shown, where it fits.
    pub learned: Option<Learned>,
    /// Configured and known devices whose timeout fits.
    pub matches: Vec<Match>,
    /// The peer spoke on this connection afterwards.
    pub talks_on: Option<TalksOn>,
    /// TTL of the peer's other connections, where all have the same.
    pub peer_ttl: Option<u8>,
    /// Resets for this connection that were not accepted, shortly before.
    pub near_misses: usize,
    /// How far from it another reset went the other way.
    pub both_ways: Option<Duration>,
    /// TTL of the peer's other segments on this connection, where they were seen.
    pub segment_ttl: Option<u8>,
    /// Resolution of the socket's clocks: spans counted back by them may be that much longer.
    pub resolution: Duration,
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

/// A segment of the peer after "its" reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TalksOn {
    /// After the reset.
    pub after: Duration,
    /// Its TTL.
    pub ttl: u8,
}

/// Another end of the same reset on this host: what it knows goes into this end's evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherEnd {
    /// Who, for a sentence: `nginx[87]`, `a packet filter of this host`.
    pub label: String,
    /// What its own record says.
    pub summary: String,
    /// Who and why by its own record; absent for a receiving end, which cannot know.
    pub found: Option<(Origin, Cause)>,
    /// How sure its own record is of that.
    pub confidence: Confidence,
    /// Its own record says that it was at a timeout: it closed after a silence, or had forgotten the connection.
    pub timeout: Option<OwnTimeout>,
}

/// A timeout of the end that sent a reset, by its own record.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnTimeout {
    /// Settings of this host by which it had forgotten a connection that it only passes on; empty for an end of the connection.
    pub settings: Vec<Candidate>,
    /// What to change there.
    pub advice: Vec<Sentence>,
}

/// Judges a reset that the kernel sent.
pub fn sent(
    sent: &Sent,
    at: BootTime,
    facts: &Facts,
    ruling: Ruling,
    who: &Who,
    receiver: Option<&OtherEnd>,
) -> Verdict {
    let mut evidence = evidence::of_sent(sent, at, facts, ruling);
    if let Some(receiver) = receiver {
        evidence.push(item(
            "local_receiver",
            [&receiver.label, " on this host got it"].concat(),
        ));
    }
    Verdict {
        origin: origin_of(ruling.cause),
        cause: ruling.cause,
        severity: severity::of_sent(sent, ruling.cause),
        confidence: ruling.confidence,
        summary: explain::sent(sent, at, ruling.cause, who, facts),
        evidence,
        advice: advice::for_sent(sent, ruling.cause),
    }
}

/// A process that is known to have timeouts closed after a silence: what it did to its socket is only how.
pub fn own_timeout(verdict: &mut Verdict, quiet: &Quiet, process: Option<&str>) {
    verdict.evidence.push(item(
        "own_timeout",
        format!(
            "it closed after {} without data, as at an idle timeout of its own",
            words::silence(quiet.application)
        ),
    ));
    verdict.advice = advice::for_idle(&advice::IdleSituation {
        mode: quiet.mode,
        timeout: Some(quiet.application),
        silence: quiet.application,
        matches: &[],
        transparent: false,
        keepalive: None,
        process,
        sent_by_us: true,
    });
}

/// The reset of one leg of a proxy turned out to be passed on from another.
pub fn pass_on(verdict: &mut Verdict, reason: &Reason, process: Option<&Process>) {
    let who = process.map_or_else(|| "the process".to_owned(), words::process);
    verdict.evidence.push(item(
        "own_cause",
        format!("by itself: {}, {}", verdict.cause, verdict.summary),
    ));
    verdict.evidence.push(item(
        "other_leg",
        format!(
            "{} after a reset of another connection of this process, which carried the same bytes: {}",
            words::span(reason.after),
            reason.summary
        ),
    ));
    verdict.origin = reason.origin;
    verdict.cause = Cause::Propagated;
    verdict.confidence = at_most(verdict.confidence, reason.confidence);
    verdict.summary = format!("{who} passed a reset on: {}", reason.summary);
    verdict.advice = Vec::new();
}

/// Who is behind a cause that this host's own stack shows.
fn origin_of(cause: Cause) -> Origin {
    match cause {
        Cause::CloseWithUnreadData
        | Cause::KilledWithUnreadData
        | Cause::LingerZero
        | Cause::Linger2
        | Cause::Disconnect
        | Cause::ListenerClosed
        | Cause::SocketDestroyed
        | Cause::RawSocket => Origin::LocalProcess,
        Cause::KeepaliveTimeout
        | Cause::OutOfMemory
        | Cause::OrphanTimeout
        | Cause::PortClosed
        | Cause::HalfOpen
        | Cause::DataAfterClose
        | Cause::LateSynack
        | Cause::AcceptQueueOverflow
        | Cause::StrayAck
        | Cause::BadHandshake
        | Cause::Mptcp => Origin::LocalKernel,
        Cause::FirewallReject => Origin::LocalFirewall,
        Cause::ConnectionRefused | Cause::ResetByPeer | Cause::IdleTimeout => Origin::Peer,
        Cause::NotFromPeer | Cause::BlindAttempt => Origin::Middlebox,
        Cause::Forwarded => Origin::Forwarded,
        Cause::Propagated | Cause::Unknown => Origin::Unknown,
    }
}

/// The more careful of two.
fn at_most(confidence: Confidence, limit: Confidence) -> Confidence {
    confidence.max(limit)
}

fn item(kind: &'static str, detail: impl Into<Sentence>) -> Evidence {
    Evidence {
        kind: Word::new_static(kind),
        detail: detail.into(),
    }
}

fn lost(context: &Context<'_>) -> Option<Evidence> {
    (!context.nothing_lost()).then(|| {
        let lost = words::count(context.lost_nearby);
        item(
            "lost_events",
            format!(
                "{lost} events were lost around this time, so what was not seen may have happened"
            ),
        )
    })
}
