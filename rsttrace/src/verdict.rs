//! Why was this reset sent, what did it cost, and how sure is that?
//!
//! `rules` names the cause, `severity` the damage, `explain` says it in a sentence, `evidence` lists what it rests on,
//! `advice` what to change. `received` and `wire` judge resets that this host's kernel did not send.

pub mod advice;
mod evidence;
mod explain;
mod received;
mod rules;
mod severity;
#[cfg(test)]
mod tests;
mod wire;
pub mod words;

pub use received::received;
pub use rules::{Ruling, rule};
pub use wire::{Passage, forwarded, made_here, observed};

use crate::attribution::Who;
use crate::event::{BootTime, Coverage, Facts, Sent};
use crate::record::{Cause, Confidence, Evidence, Origin, Verdict};

/// What a verdict may take for granted.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What the hooks can see.
    pub coverage: &'a Coverage,
    /// Events lost around this one: what was not seen may have happened.
    pub lost_nearby: u64,
}

impl Context<'_> {
    /// The absence of an event is a fact only where nothing was lost.
    pub(crate) fn nothing_lost(&self) -> bool {
        self.lost_nearby == 0
    }
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
            format!("{} on this host got it", receiver.label),
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

fn item(kind: &str, detail: impl Into<String>) -> Evidence {
    Evidence {
        kind: kind.to_owned(),
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
