//! Signs that a reset does not come from the peer: one weighted table for live resets and captures.
//!
//! No sign alone decides: a route may change, a clock may be coarse, a neighbor may take over an address. Two independent
//! signs do. After Weaver, Sommer, Paxson, "Detecting Forged TCP Reset Packets", NDSS 2009, and
//! RFC 5961.

use std::net::IpAddr;
use std::time::Duration;

use super::{Around, Arrived, Side};
use crate::event::{Baseline, BootTime, Packet, Received, Route, TcpFlags};
use crate::record::{Confidence, Evidence, EvidenceKind, Form};
use crate::silence::clocks::{self, Trigger};
use crate::thresholds::{BOTH_AT_ONCE, IDLE, LONGEST_DELAYED_ACK, LONGEST_HANDSHAKE};
use crate::words::{self, span};

/// What the signs say together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bearing {
    /// Each sign that was seen with its weight, those that weigh nothing too.
    pub signs: Vec<(i32, Sign)>,
    /// Above zero: against the peer.
    pub weight: i32,
    /// It answers the first segment after a silence, as a device does whose entry has expired; nothing suggests
    /// intent.
    pub forgot: bool,
    /// It comes from this link and the peer is behind this router: a device on the link sent it or answers in the peer's name.
    pub stands_in: Option<IpAddr>,
}

/// A sign, as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Sign {
    /// TTL of the reset.
    Ttl {
        /// Its own.
        seen: u8,
        /// The one to compare it with.
        expected: u8,
        /// Whose that is: `the peer's handshake`.
        whose: &'static str,
        /// Neither a detour nor another start explains the difference.
        is_odd: bool,
        /// It crossed no router, and this one is on the way to the peer.
        gateway: Option<IpAddr>,
    },
    /// Its TTL says that it crossed no router, and one is on the way to the peer.
    OnThisLink {
        /// Its own.
        ttl: u8,
        /// The router.
        gateway: IpAddr,
    },
    /// Another device of the link handed it over than the handshake.
    SourceMac {
        /// The one that handed over the reset.
        seen: [u8; 6],
        /// The one that handed over the handshake.
        usual: [u8; 6],
    },
    /// It has the form of an answer, and there was nothing to answer.
    NothingToAnswer {
        /// Who had sent nothing.
        side: Side,
        /// For how long.
        silent: Duration,
        /// Smoothed round-trip time.
        rtt: Duration,
    },
    /// It answers the first segment after a silence.
    Late {
        /// Whose segment.
        side: Side,
        /// `write` or `keepalive probe`.
        what: &'static str,
        /// How long the wire had been silent.
        silence: Duration,
    },
    /// It came sooner than an answer of the peer could.
    Latency {
        /// Whose segment it answers.
        side: Side,
        /// `write` or `keepalive probe`.
        what: &'static str,
        /// From that to the reset, at most.
        after: Duration,
        /// Least round trip to the peer.
        least: Duration,
    },
    /// It has a window but no timestamps.
    Timestamps,
    /// IP identification without "don't fragment".
    IpId(u16),
    /// Flags that no reset has, beside RST and ACK.
    Flags(TcpFlags),
    /// It acknowledges less than the peer had acknowledged before.
    OldAck {
        /// So many bytes less.
        behind: u32,
        /// It acknowledges nothing but the SYN of this end.
        only_syn: bool,
    },
    /// A reset of the same look did not come from its peer, so long before.
    KnownDevice(Duration),
    /// So many resets with other sequence numbers came with it.
    NearMisses(usize),
    /// A reset went the other way so near to it.
    BothWays(Duration),
    /// The peer kept sending after the reset.
    PeerTalksOn {
        /// After the reset.
        after: Duration,
        /// With this TTL.
        ttl: u8,
    },
}

impl Sign {
    /// The sign in words.
    pub fn evidence(&self) -> Evidence {
        Evidence::new(self.kind(), self.detail())
    }

    fn kind(&self) -> EvidenceKind {
        match self {
            Self::Ttl { .. } | Self::OnThisLink { .. } => EvidenceKind::Ttl,
            Self::SourceMac { .. } => EvidenceKind::SourceMac,
            Self::NothingToAnswer { .. } => EvidenceKind::NothingToAnswer,
            Self::Late { .. } => EvidenceKind::Late,
            Self::Latency { .. } => EvidenceKind::Latency,
            Self::Timestamps => EvidenceKind::Timestamps,
            Self::IpId(_) => EvidenceKind::IpId,
            Self::Flags(_) => EvidenceKind::Flags,
            Self::OldAck { .. } => EvidenceKind::OldAck,
            Self::KnownDevice(_) => EvidenceKind::KnownDevice,
            Self::NearMisses(_) => EvidenceKind::NearMisses,
            Self::BothWays(_) => EvidenceKind::BothWays,
            Self::PeerTalksOn { .. } => EvidenceKind::PeerTalksOn,
        }
    }

    fn detail(&self) -> String {
        match *self {
            Self::Ttl {
                seen,
                expected,
                whose,
                is_odd,
                gateway,
            } => {
                let how = if seen == expected {
                    format!("as in {whose}")
                } else if hops(seen) == 0 && is_odd {
                    format!(
                        "it crossed no router, but {whose} had {expected}, {} away",
                        words::things(hops(expected), "router")
                    )
                } else if is_odd {
                    format!("{whose} had {expected}")
                } else {
                    format!("{whose} had {expected}, which another route or initial TTL explains")
                };
                let route = gateway.map_or_else(String::new, |gateway| {
                    format!("; the route to the peer has the gateway {gateway}")
                });
                format!("TTL {seen}, {how}{route}")
            }
            Self::OnThisLink { ttl, gateway } => format!(
                "TTL {ttl} means that it crossed no router, but the route to the peer has the gateway {gateway}: a device on this link sent it, or answers in the peer's name"
            ),
            Self::SourceMac { seen, usual } => format!(
                "it arrived from {}, the peer's handshake from {}",
                words::mac(seen),
                words::mac(usual)
            ),
            Self::NothingToAnswer { side, silent, rtt } => format!(
                "it has the form of an answer, but {} had sent nothing for {} (RTT {})",
                side.this_host(),
                span(silent),
                span(rtt)
            ),
            Self::Late {
                side,
                what,
                silence,
            } => format!(
                "it answers {} {what}, the first segment after {} of idle time",
                side.our(),
                span(silence)
            ),
            Self::Latency {
                side,
                what,
                after,
                least,
            } => format!(
                "it arrived at most {} after {} {what}; the minimum RTT to the peer is {}",
                span(after),
                side.our(),
                span(least)
            ),
            Self::Timestamps => {
                "it has a window but no timestamps, which both ends had negotiated".to_owned()
            }
            Self::IpId(id) => {
                format!("IP id {id} without \"don't fragment\", unlike Linux's resets")
            }
            Self::Flags(flags) => format!("flags {flags}, which no TCP stack combines with RST"),
            Self::OldAck { only_syn: true, .. } => {
                "it acknowledges nothing but the SYN, though the peer had acknowledged data"
                    .to_owned()
            }
            Self::OldAck { behind, .. } => format!(
                "it acknowledges {} less than the peer had acknowledged before",
                words::bytes(behind)
            ),
            Self::KnownDevice(ago) => format!(
                "a reset with the same TTL and headers did not come from its peer {} earlier",
                span(ago)
            ),
            Self::NearMisses(misses) => format!(
                "{} with other sequence numbers arrived with it",
                words::things(misses, "reset")
            ),
            Self::BothWays(apart) => format!(
                "a reset went the other way within {}, and TCP does not answer a reset with a reset",
                span(apart)
            ),
            Self::PeerTalksOn { after, ttl } => format!(
                "the peer kept sending on this connection {} later (TTL {ttl})",
                span(after)
            ),
        }
    }
}

/// Strong by itself: two of them are proof.
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

    /// Some evidence against the peer, but not enough.
    pub fn is_doubtful(&self) -> bool {
        self.weight > 0 && !self.is_foreign()
    }

    /// One difference between the headers of a stack's segments has innocent explanations, also that of the TTL; two or more have
    /// none in common. Then the usual TTL, which a device may imitate, speaks for nobody.
    fn weigh_contradictions(&mut self) {
        let is_header = |sign: &Sign| {
            matches!(
                sign,
                Sign::Timestamps | Sign::IpId(_) | Sign::Flags(_) | Sign::OldAck { .. }
            )
        };
        let headers = self
            .signs
            .iter()
            .filter(|(_, sign)| is_header(sign))
            .count();
        if headers < 2 {
            return;
        }
        for (weight, sign) in &mut self.signs {
            let own = if let Sign::Ttl { seen, expected, .. } = sign {
                if seen == expected { 0 } else { WEAK }
            } else if is_header(sign) {
                WEAK
            } else {
                continue;
            };
            let more = (own - *weight).max(0);
            self.weight += more;
            *weight += more;
        }
    }

    /// The heaviest sign against the peer, in words; absent if there is none.
    pub fn loudest(&self) -> Option<String> {
        let mut loudest: Option<&(i32, Sign)> = None;
        for sign in &self.signs {
            if sign.0 > loudest.map_or(0, |known| known.0) {
                loudest = Some(sign);
            }
        }
        loudest.map(|(_, sign)| sign.detail())
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
    arrived: &'a Arrived,
    around: &'a Around,
    at: BootTime,
}

impl Case<'_> {
    /// The last handshake with these addresses and ports that a classifier saw.
    fn any_baseline(&self) -> Option<Baseline> {
        self.arrived.sighting.as_ref()?.baseline
    }

    /// The same if it is this connection's.
    fn baseline(&self) -> Option<Baseline> {
        let packet = self.arrived.sighting.as_ref()?;
        packet
            .baseline
            .filter(|_| is_of_handshake(self.received, packet))
    }
}

/// Reads a sign.
type Reader = fn(&Case<'_>) -> Option<(i32, Sign)>;

/// Every sign, by what it is read from. Those of one group have one cause, a change of route for instance, so the heaviest
/// stands for all.
const SIGNS: [&[Reader]; 8] = [
    &[ttl, on_this_link, known_device, other_neighbour],
    &[nothing_to_answer],
    &[answered_after_silence],
    &[answered_too_soon],
    &[without_timestamps, ip_id, strange_flags, old_ack],
    &[near_misses],
    &[both_ways],
    &[peer_talks_on],
];

/// Weighs the signs of an accepted reset whose segment is known.
pub fn weigh(received: &Received, arrived: &Arrived, around: &Around, at: BootTime) -> Bearing {
    let case = Case {
        received,
        arrived,
        around,
        at,
    };
    let mut bearing = Bearing::default();
    for group in SIGNS {
        let seen = bearing.signs.len();
        bearing
            .signs
            .extend(group.iter().filter_map(|sign| sign(&case)));
        let heaviest = bearing.signs[seen..]
            .iter()
            .map(|(weight, _)| *weight)
            .max();
        bearing.weight += heaviest.unwrap_or_default();
    }
    bearing.weigh_contradictions();
    bearing.stands_in = bearing.signs.iter().find_map(|(_, sign)| {
        if let Sign::OnThisLink { gateway, .. } = sign {
            Some(*gateway)
        } else {
            None
        }
    });
    let is_late = |(_, sign): &(i32, Sign)| matches!(sign, Sign::Late { .. });
    let answers = bearing.signs.iter().any(is_late);
    bearing.forgot = answers && around.near_misses == 0 && around.talks_on.is_none();
    bearing
}

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

/// What a TTL says of the end whose address a segment has, from nothing to a strong sign against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TtlGrade {
    /// The one that is expected.
    Usual,
    /// Another one, which another route or initial TTL explains; or there is nothing to compare it with.
    Open,
    /// Another part of the same host may explain it: a proxy of SYNs, a socket with IP_TTL.
    Odd,
    /// Neither explains it.
    Foreign,
}

impl TtlGrade {
    /// Against the one that is expected.
    pub fn of(seen: u8, expected: u8) -> Self {
        let (near, far) = (hops(seen), hops(expected));
        if seen == expected {
            Self::Usual
        } else if far > LONGEST_PATH {
            Self::Open
        } else if near > LONGEST_PATH {
            // No route is that long: another initial TTL, as with IP_TTL.
            Self::Odd
        } else if near == 0 && far > 0 {
            Self::Foreign
        } else if near.abs_diff(far) <= DETOUR {
            Self::Open
        } else if start(seen) != start(expected) {
            Self::Odd
        } else {
            Self::Foreign
        }
    }

    /// Against several, each of which is usual.
    pub fn among(seen: u8, usual: impl Iterator<Item = u8>) -> Self {
        usual
            .map(|usual| Self::of(seen, usual))
            .min()
            .unwrap_or(Self::Open)
    }

    /// Above zero: against that end.
    const fn weight(self) -> i32 {
        match self {
            Self::Usual => -WEAK,
            Self::Open => 0,
            Self::Odd => WEAK,
            Self::Foreign => STRONG,
        }
    }
}

/// What a TTL weighs against the one that is expected.
pub fn weigh_ttl(seen: u8, expected: u8) -> i32 {
    TtlGrade::of(seen, expected).weight()
}

/// The TTL against that of the peer's handshake or, where that was not seen, of its other connections.
fn ttl(case: &Case<'_>) -> Option<(i32, Sign)> {
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
    let gateway = gateway(case).filter(|_| hops(expected) > 0);
    let weight = match weigh_ttl(seen, expected) {
        weight if usual => weight.min(0),
        STRONG if old && hops(seen) > 0 => WEAK,
        weight => weight,
    };
    let is_odd = weight > 0;
    let weight = match weight.clamp(-most, most) {
        // The routing table says so, too: no detour leaves out the router of this link.
        STRONG if gateway.is_some() => FOREIGN,
        weight => weight,
    };
    let sign = Sign::Ttl {
        seen,
        expected,
        whose,
        is_odd,
        gateway,
    };
    Some((weight, sign))
}

/// The router on the way to the peer, if the segment crossed none. In a cloud no router lowers the TTL.
fn gateway(case: &Case<'_>) -> Option<IpAddr> {
    match case.around.route? {
        Route::Gateway(gateway) => {
            (hops(case.arrived.segment.ttl) == 0 && !case.around.in_cloud).then_some(gateway)
        }
        Route::OnLink => None,
    }
}

/// All of the peer's segments may come like that, where a device on this link answers in its name: that is no sign against it.
fn on_this_link(case: &Case<'_>) -> Option<(i32, Sign)> {
    let gateway = gateway(case)?;
    let ttl = case.arrived.segment.ttl;
    let expected = case
        .around
        .segment_ttl
        .or(case.baseline().map(|baseline| baseline.ttl))
        .or(case.around.peer_ttl);
    let contradicts = expected.is_some_and(|expected| hops(expected) > 0);
    (!contradicts).then_some((0, Sign::OnThisLink { ttl, gateway }))
}

/// A device on the path sent another reset, and this one has its look, which is not the peer's.
fn known_device(case: &Case<'_>) -> Option<(i32, Sign)> {
    let (ago, proven) = case.around.known_device?;
    let expected = case.baseline().map(|baseline| baseline.ttl);
    let differs = expected.or(case.around.peer_ttl)? != case.arrived.segment.ttl;
    let weight = if proven { FOREIGN } else { STRONG };
    differs.then_some((weight, Sign::KnownDevice(ago)))
}

/// No stack sets others in a reset.
fn strange_flags(case: &Case<'_>) -> Option<(i32, Sign)> {
    let flags = case.arrived.segment.flags;
    let strange = flags.0 & !(TcpFlags::RST | TcpFlags::ACK) != 0;
    strange.then_some((0, Sign::Flags(flags)))
}

/// What an end has acknowledged it acknowledges in each segment that follows.
fn old_ack(case: &Case<'_>) -> Option<(i32, Sign)> {
    let segment = &case.arrived.segment;
    let acknowledged = case.received.socket.snd_una;
    let behind = acknowledged.wrapping_sub(segment.ack);
    let is_old = segment.flags.has(TcpFlags::ACK) && (1..1 << 31).contains(&behind);
    let isn = case.received.ownership.as_ref().and_then(|it| it.isn);
    let only_syn = isn.is_some_and(|(own, _)| segment.ack == own.wrapping_add(1));
    is_old.then_some((0, Sign::OldAck { behind, only_syn }))
}

/// Routes stay as they are for so long, mostly.
const ROUTE_LIFE: Duration = Duration::from_secs(3_600);

/// A reset without ACK answers a segment (RFC 9293 section 3.5.2), but there was none to answer.
fn nothing_to_answer(case: &Case<'_>) -> Option<(i32, Sign)> {
    let socket = &case.received.socket;
    let silent = socket.since_transmit?;
    let rtt = socket.rtt?;
    let is_answer = !case.arrived.segment.flags.has(TcpFlags::ACK);
    let side = case.around.side;
    let long = silent > rtt.saturating_mul(8).max(LEAST_ANSWER_TIME);
    (is_answer && long).then_some((WEAK, Sign::NothingToAnswer { side, silent, rtt }))
}

/// Longer than interrupts are put off and a busy receiver takes to answer.
const LEAST_ANSWER_TIME: Duration = Duration::from_millis(10);

/// What this host sent, and how long after it the reset came.
fn answer_time(around: &Around) -> Option<(&'static str, Duration)> {
    let quiet = around.quiet?;
    let what = match quiet.trigger {
        Trigger::Write => "write",
        Trigger::Probe => "keepalive probe",
        Trigger::Nothing | Trigger::Close | Trigger::PeerFinish | Trigger::Closed => return None,
    };
    quiet.after.map(|after| (what, after))
}

/// A peer that lives acknowledges; a device whose entry has expired answers the first segment after an idle period.
fn answered_after_silence(case: &Case<'_>) -> Option<(i32, Sign)> {
    let quiet = case.around.quiet.as_ref()?;
    let (what, _) = answer_time(case.around)?;
    let is_late = quiet.wire >= IDLE && case.arrived.form == Some(Form::Passive);
    let sign = Sign::Late {
        side: case.around.side,
        what,
        silence: quiet.wire,
    };
    is_late.then_some((WEAK, sign))
}

/// The answer took less than half the least round trip. That clock may hold a delayed ACK, unless the answer to our
/// SYN is among its samples (the kernel keeps them for 5 minutes, net.ipv4.tcp_min_rtt_wlen) or it is longer than any delay.
fn answered_too_soon(case: &Case<'_>) -> Option<(i32, Sign)> {
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
    let weight = if measured || least > LONGEST_DELAYED_ACK {
        STRONG
    } else {
        WEAK
    };
    let sign = Sign::Latency {
        side: case.around.side,
        what,
        after: at_most,
        least,
    };
    Some((weight, sign))
}

/// Below this the noise of both ends is larger than the way.
const LEAST_ROUND_TRIP: Duration = Duration::from_millis(2);
const RTT_WINDOW: Duration = Duration::from_secs(300);

/// Another device of the link handed it over than the one that handed over the handshake.
fn other_neighbour(case: &Case<'_>) -> Option<(i32, Sign)> {
    let usual = case.baseline()?.source_mac?;
    let seen = case.arrived.sighting.as_ref()?.source_mac?;
    (usual != seen).then_some((WEAK, Sign::SourceMac { seen, usual }))
}

/// A reset sent on a socket that uses timestamps should carry them (RFC 7323 section 3.2), and Linux's do; answers never do.
/// Other systems leave them out, so it weighs nothing.
fn without_timestamps(case: &Case<'_>) -> Option<(i32, Sign)> {
    let packet = case.arrived.sighting.as_ref()?;
    let due = case.received.socket.timestamps && packet.segment.window != 0;
    (due && packet.timestamps.is_none()).then_some((0, Sign::Timestamps))
}

/// Linux sets "don't fragment", with the identification 0 or the connection's own count. Other systems may not.
fn ip_id(case: &Case<'_>) -> Option<(i32, Sign)> {
    let packet = case.arrived.sighting.as_ref()?;
    let id = packet.segment.ip_id.filter(|&id| id != 0)?;
    (packet.dont_fragment == Some(false)).then_some((0, Sign::IpId(id)))
}

/// Somebody tried several sequence numbers. One miss is the peer's own way when data before its reset was lost: the challenge
/// ACK tells it the right number (RFC 5961 section 3.2).
fn near_misses(case: &Case<'_>) -> Option<(i32, Sign)> {
    let misses = case.around.near_misses;
    let weight = match misses {
        0 => return None,
        1 => 0,
        2 => WEAK,
        _ => STRONG,
    };
    Some((weight, Sign::NearMisses(misses)))
}

/// Nobody answers a reset (RFC 9293 section 3.10.7), so an end that resets at the same time does it by chance, unless it only
/// answers what was on its way.
fn both_ways(case: &Case<'_>) -> Option<(i32, Sign)> {
    let apart = case.around.both_ways?;
    let is_active = case.arrived.form == Some(Form::Active);
    (is_active && apart <= BOTH_AT_ONCE).then_some((WEAK, Sign::BothWays(apart)))
}

/// The sender of a reset stops sending on the connection.
fn peer_talks_on(case: &Case<'_>) -> Option<(i32, Sign)> {
    let later = case.around.talks_on?;
    let sign = Sign::PeerTalksOn {
        after: later.after,
        ttl: later.ttl,
    };
    // Not even the peer's own TTL outweighs that.
    Some((PROVEN + WEAK, sign))
}

/// Whether the TTL that was learned is this connection's: a later SYN with the same addresses and ports, which anybody can
/// send, is not.
fn is_of_handshake(received: &Received, packet: &Packet) -> bool {
    let established = received
        .ownership
        .as_ref()
        .and_then(|ownership| ownership.established);
    match (established, packet.baseline) {
        (Some(established), Some(baseline)) => {
            baseline.time <= established.plus(Duration::from_millis(10))
                && established.since(baseline.time) <= LONGEST_HANDSHAKE
        }
        (None, _) | (_, None) => false,
    }
}

/// TTL against the handshake's; absent if that was not seen.
pub(crate) fn ttl_of_handshake(packet: &Packet) -> Option<Evidence> {
    let expected = packet.baseline?.ttl;
    let seen = packet.segment.ttl;
    let detail = if seen == expected {
        format!("TTL {seen}, as in the peer's handshake")
    } else {
        format!("TTL {seen}, the peer's handshake had {expected}")
    };
    Some(Evidence::new(EvidenceKind::Ttl, detail))
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
            // 59 routers: no route.
            (5, 57, WEAK),
        ] {
            assert_eq!(weigh_ttl(seen, expected), weight, "{seen} {expected}");
        }
    }

    #[test]
    fn of_several_usual_ttls_the_best_fit_decides() {
        use TtlGrade::{Foreign, Odd, Open, Usual};
        for (seen, usual, expected) in [
            (64, &[][..], Open),
            (64, &[60], Foreign),
            (64, &[60, 64], Usual),
            (240, &[57, 55], Odd),
            (50, &[60, 51], Open),
        ] {
            let grade = TtlGrade::among(seen, usual.iter().copied());
            assert_eq!(grade, expected, "{seen} {usual:?}");
        }
    }
}
