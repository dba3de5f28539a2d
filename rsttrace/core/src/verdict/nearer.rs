//! Did this reset come from the peer, or from something nearer? One table of signs, weighed together.
//!
//! No sign alone decides: a route may change, a clock may be coarse, a neighbour may take over an address. Two that have
//! nothing to do with each other do. After Weaver, Sommer, Paxson, "Detecting Forged TCP Reset Packets", NDSS 2009, and
//! RFC 5961.

use std::time::Duration;

use super::{Around, Arrived, item, words};
use crate::event::{Baseline, BootTime, Received, TcpFlags};
use crate::idle::clocks::{self, LEAST, Trigger};
use crate::record::{Confidence, Evidence, Form};

/// What the signs say together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bearing {
    /// Each sign that was seen, those that weigh nothing too.
    pub signs: Vec<Evidence>,
    /// Above zero: against the peer.
    pub weight: i32,
    /// What speaks loudest against the peer, as a sentence; absent if nothing does.
    pub loudest: Option<String>,
    /// It answers the first segment after a silence, as a device does that has forgotten the connection; nothing shows that
    /// somebody meant to break it.
    pub forgot: bool,
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
    arrived: &'a Arrived<'a>,
    around: &'a Around,
    at: BootTime,
}

impl Case<'_> {
    /// The last handshake with these addresses and ports that a classifier saw.
    fn any_baseline(&self) -> Option<Baseline> {
        self.arrived.sighting?.baseline
    }

    /// The same if it is this connection's.
    fn baseline(&self) -> Option<Baseline> {
        let packet = self.arrived.sighting?;
        packet
            .baseline
            .filter(|_| super::evidence::is_of_handshake(self.received, packet))
    }
}

/// A sign: what it weighs, its name and what was seen.
type Sign = Option<(i32, &'static str, String)>;

/// Reads a sign.
type Reader = fn(&Case<'_>) -> Sign;

/// Every sign, by what it is read from. Those of one group have one cause, a change of route for instance, so the heaviest
/// stands for all.
const SIGNS: [&[Reader]; 8] = [
    &[ttl, other_neighbour],
    &[nothing_to_answer],
    &[answered_after_silence],
    &[answered_too_soon],
    &[without_timestamps, ip_id],
    &[near_misses],
    &[both_ways],
    &[peer_talks_on],
];

/// Weighs the signs of an accepted reset whose segment is known.
pub fn weigh(received: &Received, arrived: &Arrived<'_>, around: &Around, at: BootTime) -> Bearing {
    let case = Case {
        received,
        arrived,
        around,
        at,
    };
    let mut bearing = Bearing::default();
    let mut loudest = 0;
    for group in SIGNS {
        let mut heaviest = None;
        for (weight, kind, detail) in group.iter().filter_map(|sign| sign(&case)) {
            heaviest = heaviest.max(Some(weight));
            if weight > loudest {
                loudest = weight;
                bearing.loudest = Some(detail.clone());
            }
            bearing.signs.push(item(kind, detail));
        }
        bearing.weight += heaviest.unwrap_or_default();
    }
    let answers = bearing.signs.iter().any(|sign| sign.kind == LATE);
    bearing.forgot = answers && around.near_misses == 0 && around.talks_on.is_none();
    bearing
}

const LATE: &str = "late";

/// Usual starts of a TTL.
const STARTS: [u8; 3] = [64, 128, 255];
/// A detour adds or saves so many routers.
const DETOUR: u8 = 2;

/// No path is longer: a TTL that says so began elsewhere (IP_TTL, RFC 5082).
pub const LONGEST_PATH: u8 = 32;

/// Routers passed, from the nearest usual start.
pub fn hops(ttl: u8) -> u8 {
    start(ttl) - ttl
}

fn start(ttl: u8) -> u8 {
    STARTS
        .into_iter()
        .find(|&start| start >= ttl)
        .unwrap_or(u8::MAX)
}

/// What a TTL weighs against the one that is expected.
pub fn weigh_ttl(seen: u8, expected: u8) -> i32 {
    let (near, far) = (hops(seen), hops(expected));
    if seen == expected {
        -WEAK
    } else if far > LONGEST_PATH || near > LONGEST_PATH {
        0
    } else if near == 0 && far > 0 {
        STRONG
    } else if near.abs_diff(far) <= DETOUR {
        0
    } else if start(seen) != start(expected) {
        // Another part of the same host may answer: a proxy of SYNs, a socket with IP_TTL.
        WEAK
    } else {
        STRONG
    }
}

/// The TTL against that of the peer's handshake or, where that was not seen, of its other connections.
fn ttl(case: &Case<'_>) -> Sign {
    let seen = case.arrived.segment.ttl;
    let own = case.baseline().map(|baseline| baseline.ttl);
    let others = (case.around.peer_ttl, case.any_baseline());
    let (expected, whose, most) = match (case.around.segment_ttl, own, others) {
        (Some(ttl), _, _) => (ttl, "the peer's other segments", STRONG),
        (None, Some(ttl), _) => (ttl, "the peer's handshake", STRONG),
        (None, None, (Some(ttl), _)) => (ttl, "the peer's other connections", WEAK),
        // Anybody can send a later SYN with these addresses: it says nothing.
        (None, None, (None, Some(baseline))) => (baseline.ttl, "a later handshake", 0),
        (None, None, (None, None)) => return None,
    };
    // The peer's newer connections come like that: its route has changed.
    let usual = case.around.peer_ttl == Some(seen);
    let old = case
        .any_baseline()
        .is_some_and(|baseline| case.at.since(baseline.time) > ROUTE_LIFE);
    let weight = match weigh_ttl(seen, expected) {
        weight if usual => weight.min(0),
        STRONG if old && hops(seen) > 0 => WEAK,
        weight => weight,
    };
    let how = if seen == expected {
        format!("as in {whose}")
    } else if hops(seen) == 0 && weight > 0 {
        format!(
            "it passed no router, but {whose} had {expected}, {} away",
            words::things(hops(expected), "router")
        )
    } else if weight > 0 {
        format!("{whose} had {expected}")
    } else {
        format!("{whose} had {expected}, which another route or start explains")
    };
    Some((
        weight.clamp(-most, most),
        "ttl",
        format!("TTL {seen}, {how}"),
    ))
}

/// Routes stay as they are for so long, mostly.
const ROUTE_LIFE: Duration = Duration::from_secs(3_600);

/// A reset without ACK answers a segment (RFC 9293 section 3.5.2), but there was none to answer.
fn nothing_to_answer(case: &Case<'_>) -> Sign {
    let socket = &case.received.socket;
    let silent = socket.since_transmit?;
    let rtt = socket.rtt?;
    let is_answer = !case.arrived.segment.flags.has(TcpFlags::ACK);
    (is_answer && silent > rtt.saturating_mul(8).max(LEAST_ANSWER_TIME)).then(|| {
        let detail = format!(
            "it has the form of an answer, but {} had sent nothing for {} (RTT {})",
            case.around.side.this_host(),
            words::span(silent),
            words::span(rtt)
        );
        (WEAK, "nothing_to_answer", detail)
    })
}

/// Longer than interrupts are put off and a busy receiver takes to answer.
const LEAST_ANSWER_TIME: Duration = Duration::from_millis(10);

/// What this host sent, and how long after it the reset came.
fn answer_time(around: &Around) -> Option<(String, Duration)> {
    let quiet = around.quiet?;
    let what = match quiet.trigger {
        Trigger::Write => "write",
        Trigger::Probe => "keepalive probe",
        _ => return None,
    };
    quiet
        .after
        .map(|after| (format!("{} {what}", around.side.our()), after))
}

/// A peer that lives acknowledges; a device that has forgotten the connection answers the first segment after a silence.
fn answered_after_silence(case: &Case<'_>) -> Sign {
    let quiet = case.around.quiet.as_ref()?;
    let (what, _) = answer_time(case.around)?;
    (quiet.wire >= LEAST && case.arrived.form == Some(Form::Passive)).then(|| {
        let detail = format!(
            "it answers {what}, the first segment after {} of silence",
            words::span(quiet.wire)
        );
        (WEAK, LATE, detail)
    })
}

/// The answer took less than half the least round trip. That clock may hold a delayed acknowledgement, unless the answer to our
/// SYN is among its samples (the kernel keeps them for 5 minutes, net.ipv4.tcp_min_rtt_wlen) or it is longer than any delay.
fn answered_too_soon(case: &Case<'_>) -> Sign {
    let (what, after) = answer_time(case.around)?;
    let socket = &case.received.socket;
    let least = socket.rtt_min?;
    // The exact clock is that of the last segment, which need not be the one that was answered.
    let at_most = socket
        .since_first_unacknowledged
        .map_or(after, |first| first + case.around.resolution);
    if socket.total_retransmits > 0 || least < LEAST_ROUND_TRIP || at_most * 2 >= least {
        return None;
    }
    let ownership = case.received.ownership.as_ref();
    let young = ownership
        .and_then(|ownership| ownership.established)
        .is_some_and(|established| case.at.since(established) < RTT_WINDOW);
    let measured = young && clocks::is_outgoing(ownership) == Some(true);
    let weight = if measured || least > LONGEST_DELAY {
        STRONG
    } else {
        WEAK
    };
    let detail = format!(
        "it came at most {} after {what}, the least round trip to the peer is {}",
        words::span(at_most),
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
    let usual = case.baseline()?.source_mac?;
    let seen = case.arrived.sighting?.source_mac?;
    (usual != seen).then(|| {
        let detail = format!(
            "it came by {}, the peer's handshake by {}",
            words::mac(seen),
            words::mac(usual)
        );
        (WEAK, "source_mac", detail)
    })
}

/// A reset sent on a socket that uses timestamps should carry them (RFC 7323 section 3.2), and Linux's do; answers never do.
/// Other systems leave them out, so it weighs nothing.
fn without_timestamps(case: &Case<'_>) -> Sign {
    let packet = case.arrived.sighting?;
    let due = case.received.socket.timestamps && packet.segment.window != 0;
    (due && packet.timestamps.is_none()).then(|| {
        let detail = "it has a window but no timestamps, which both ends had agreed on".to_owned();
        (0, "timestamps", detail)
    })
}

/// Linux sets "don't fragment", with the identification 0 or the connection's own count. Other systems may not.
fn ip_id(case: &Case<'_>) -> Sign {
    let packet = case.arrived.sighting?;
    let id = packet.segment.ip_id.filter(|&id| id != 0)?;
    (packet.dont_fragment == Some(false)).then(|| {
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
        "{} with other sequence numbers came with it",
        words::things(misses, "reset")
    );
    Some((weight, "near_misses", detail))
}

/// Nobody answers a reset (RFC 9293 section 3.10.7), so an end that resets at the same time does it by chance, unless it only
/// answers what was on its way.
fn both_ways(case: &Case<'_>) -> Sign {
    let apart = case.around.both_ways?;
    (case.arrived.form == Some(Form::Active) && apart <= AT_ONCE).then(|| {
        let detail = format!(
            "a reset went the other way within {}, and no end answers a reset with one",
            words::span(apart)
        );
        (WEAK, "both_ways", detail)
    })
}

/// A box that resets both ends does it in one go.
pub(super) const AT_ONCE: Duration = Duration::from_millis(5);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_count_from_the_nearest_usual_start() {
        for (ttl, expected) in [(64, 0), (57, 7), (65, 63), (128, 0), (250, 5), (255, 0)] {
            assert_eq!(hops(ttl), expected, "{ttl}");
        }
    }

    #[test]
    fn a_ttl_weighs_by_the_routers_passed() {
        for (seen, expected, weight) in [
            (57, 57, -WEAK),
            (56, 57, 0),
            (59, 57, 0),
            (50, 57, STRONG),
            (64, 57, STRONG),
            (64, 63, STRONG),
            (63, 64, 0),
            // Another start: as many routers, some more, and a router of this link.
            (121, 57, 0),
            (250, 57, 0),
            (240, 57, WEAK),
            (255, 63, STRONG),
            // IP_TTL 1, as BGP has it.
            (64, 1, 0),
        ] {
            assert_eq!(weigh_ttl(seen, expected), weight, "{seen} {expected}");
        }
    }
}
