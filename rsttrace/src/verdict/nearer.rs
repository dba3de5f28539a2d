//! Did this reset come from the peer, or from something nearer? One table of signs, weighed together.
//!
//! No sign alone decides: a route may change, a clock may be coarse, a neighbour may take over an address. Two that have
//! nothing to do with each other do. After Weaver, Sommer, Paxson, "Detecting Forged TCP Reset Packets", NDSS 2009, and
//! RFC 5961.

use std::time::Duration;

use super::{Around, item, words};
use crate::event::{BootTime, Packet, Received, TcpFlags};
use crate::idle::clocks::{LEAST, Quiet, Trigger};
use crate::join::is_passive_form;
use crate::record::{Confidence, Evidence};

/// What the signs say together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bearing {
    /// Each sign that was seen, those that weigh nothing too.
    pub signs: Vec<Evidence>,
    /// Above zero: against the peer.
    pub weight: i32,
}

/// Speaks for itself: two of them are proof.
const STRONG: i32 = 2;
/// Has innocent explanations, too.
const WEAK: i32 = 1;
/// From here on the reset does not look like the peer's: a strong sign and another one.
const FOREIGN: i32 = 3;
/// Two strong signs and another one, or the peer itself.
const PROVEN: i32 = 5;

impl Bearing {
    /// It does not look like it came from the peer.
    pub fn is_foreign(&self) -> bool {
        self.weight >= FOREIGN
    }

    /// Something speaks against the peer, but not enough.
    pub fn is_doubtful(&self) -> bool {
        self.weight > 0 && !self.is_foreign()
    }

    /// How sure a verdict that rests on this may be.
    pub fn confidence(&self) -> Confidence {
        if self.weight >= PROVEN {
            Confidence::Certain
        } else {
            Confidence::Likely
        }
    }
}

/// What the signs are read from.
struct Case<'a> {
    received: &'a Received,
    packet: &'a Packet,
    around: &'a Around,
    at: BootTime,
}

/// A sign: what it weighs, its name and what was seen.
type Sign = Option<(i32, &'static str, String)>;

/// Every sign, the most telling last.
const SIGNS: [fn(&Case<'_>) -> Sign; 9] = [
    ttl,
    nothing_to_answer,
    answered_after_silence,
    answered_too_soon,
    other_neighbour,
    without_timestamps,
    ip_id,
    near_misses,
    peer_talks_on,
];

/// Weighs the signs of an accepted reset that was seen on the wire.
pub fn weigh(received: &Received, packet: &Packet, around: &Around, at: BootTime) -> Bearing {
    let case = Case {
        received,
        packet,
        around,
        at,
    };
    let mut bearing = Bearing::default();
    for sign in SIGNS {
        if let Some((weight, kind, detail)) = sign(&case) {
            bearing.weight += weight;
            bearing.signs.push(item(kind, detail));
        }
    }
    bearing
}

/// Usual starts of a TTL.
const STARTS: [u8; 3] = [64, 128, 255];
/// A detour adds or saves so many routers.
const DETOUR: u8 = 2;

/// Routers passed, from the nearest usual start.
fn hops(ttl: u8) -> u8 {
    STARTS
        .into_iter()
        .find(|&start| start >= ttl)
        .map_or(0, |start| start - ttl)
}

/// The TTL against that of the peer's handshake or, where that was not seen, of its other connections.
fn ttl(case: &Case<'_>) -> Sign {
    let seen = case.packet.segment.ttl;
    let own = case
        .packet
        .baseline
        .filter(|_| super::evidence::is_of_handshake(case.received, case.packet))
        .map(|baseline| baseline.ttl);
    let (expected, whose, most) = match (own, case.around.peer_ttl, case.packet.baseline) {
        (Some(ttl), _, _) => (ttl, "the peer's handshake", STRONG),
        (None, Some(ttl), _) => (ttl, "the peer's other connections", WEAK),
        // Anybody can send a later SYN with these addresses: it says nothing.
        (None, None, Some(baseline)) => (baseline.ttl, "a later handshake", 0),
        (None, None, None) => return None,
    };
    let (weight, how) = if seen == expected {
        (-WEAK, format!("as in {whose}"))
    } else if hops(seen) == hops(expected) {
        (
            0,
            format!("{whose} had {expected}: another start, as many routers"),
        )
    } else if hops(seen) == 0 {
        (
            STRONG,
            format!(
                "it passed no router, but {whose} had {expected}, {} away",
                words::things(hops(expected).into(), "router")
            ),
        )
    } else if seen.abs_diff(expected) > DETOUR {
        (STRONG, format!("{whose} had {expected}"))
    } else {
        (
            0,
            format!("{whose} had {expected}, which a change of route explains"),
        )
    };
    Some((weight.min(most), "ttl", format!("TTL {seen}, {how}")))
}

/// A reset without ACK answers a segment (RFC 9293 section 3.5.2), but there was none to answer.
fn nothing_to_answer(case: &Case<'_>) -> Sign {
    let socket = &case.received.socket;
    let silent = socket.since_transmit?;
    let rtt = socket.rtt?;
    let is_answer = !case.packet.segment.flags.has(TcpFlags::ACK);
    (is_answer && silent > rtt.saturating_mul(8).max(LEAST_ANSWER_TIME)).then(|| {
        let detail = format!(
            "it has the form of an answer, but this host had sent nothing for {} (RTT {})",
            words::span(silent),
            words::span(rtt)
        );
        (WEAK, "nothing_to_answer", detail)
    })
}

/// Longer than interrupts are put off and a busy receiver takes to answer.
const LEAST_ANSWER_TIME: Duration = Duration::from_millis(10);

/// What this host sent, and how long after it the reset came.
fn answer_time(quiet: &Quiet) -> Option<(&'static str, Duration)> {
    let what = match quiet.trigger {
        Trigger::Write => "our write",
        Trigger::Probe => "our keepalive probe",
        _ => return None,
    };
    quiet.after.map(|after| (what, after))
}

/// A peer that lives acknowledges; a device that has forgotten the connection answers the first segment after a silence.
fn answered_after_silence(case: &Case<'_>) -> Sign {
    let quiet = case.around.quiet.as_ref()?;
    let (what, _) = answer_time(quiet)?;
    (quiet.wire >= LEAST && is_passive_form(case.packet)).then(|| {
        let detail = format!(
            "it answers {what}, the first segment after {} of silence",
            words::span(quiet.wire)
        );
        (WEAK, "late", detail)
    })
}

/// The answer took less than half the least round trip. That clock may hold a delayed acknowledgement, unless the handshake
/// is among its samples (the kernel keeps them for 5 minutes, net.ipv4.tcp_min_rtt_wlen) or it is longer than any delay.
fn answered_too_soon(case: &Case<'_>) -> Sign {
    let (what, after) = answer_time(case.around.quiet.as_ref()?)?;
    let least = case.received.socket.rtt_min?;
    let trips = case.received.socket.total_retransmits == 0;
    if !trips || least < LEAST_ROUND_TRIP || after * 2 >= least {
        return None;
    }
    let young = case
        .received
        .ownership
        .as_ref()
        .and_then(|ownership| ownership.established)
        .is_some_and(|established| case.at.since(established) < RTT_WINDOW);
    let weight = if young || least > LONGEST_DELAY {
        STRONG
    } else {
        WEAK
    };
    let detail = format!(
        "it came {} after {what}, the least round trip to the peer is {}",
        words::span(after),
        words::span(least)
    );
    Some((weight, "latency", detail))
}

/// Below this the noise of both ends is larger than the way.
const LEAST_ROUND_TRIP: Duration = Duration::from_millis(2);
const RTT_WINDOW: Duration = Duration::from_secs(300);
/// Longer than acknowledgements are put off.
const LONGEST_DELAY: Duration = Duration::from_millis(250);

/// Another device of the link handed it over than the one that handed over the handshake.
fn other_neighbour(case: &Case<'_>) -> Sign {
    let usual = case
        .packet
        .baseline
        .filter(|_| super::evidence::is_of_handshake(case.received, case.packet))?
        .source_mac?;
    let seen = case.packet.source_mac?;
    (usual != seen).then(|| {
        let detail = format!(
            "it came by {}, the peer's handshake by {}",
            words::mac(seen),
            words::mac(usual)
        );
        (WEAK, "source_mac", detail)
    })
}

/// A reset sent on a socket that uses timestamps carries them (RFC 7323 section 3.2); answers never do.
fn without_timestamps(case: &Case<'_>) -> Sign {
    let due = case.received.socket.timestamps && case.packet.segment.window != 0;
    (due && case.packet.timestamps.is_none()).then(|| {
        let detail = "it has a window but no timestamps, which both ends had agreed on".to_owned();
        (WEAK, "timestamps", detail)
    })
}

/// Linux sets "don't fragment", with the identification 0 or the connection's own count. Other systems may not.
fn ip_id(case: &Case<'_>) -> Sign {
    let id = case.packet.segment.ip_id.filter(|&id| id != 0)?;
    (case.packet.dont_fragment == Some(false)).then(|| {
        let detail = format!("IP id {id} without \"don't fragment\", unlike Linux's resets");
        (0, "ip_id", detail)
    })
}

/// Somebody tried several sequence numbers. One miss is the peer's own way when data before its reset was lost: the challenge
/// ACK tells it the right number (RFC 5961 section 3.2).
fn near_misses(case: &Case<'_>) -> Sign {
    let misses = case.around.near_misses;
    let weight = match misses {
        0 => return None,
        1 => 0,
        2 => WEAK,
        _ => STRONG,
    };
    let detail = format!(
        "{} with other sequence numbers came just before it",
        words::things(misses, "reset")
    );
    Some((weight, "near_misses", detail))
}

/// Whoever has reset a connection does not speak on it any more.
fn peer_talks_on(case: &Case<'_>) -> Sign {
    let later = case.around.talks_on?;
    let detail = format!(
        "{} later the peer spoke on this connection as if nothing had happened (TTL {})",
        words::span(later.after),
        later.ttl
    );
    // Not even the peer's own TTL speaks against that.
    Some((PROVEN + WEAK, "peer_talks_on", detail))
}
