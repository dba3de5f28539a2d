//! One end of a connection, as the segments it sent and those that answered them show it.

use std::time::Duration;

use crate::capture::{CaptureTime, Segment, Way};
use crate::event::TcpFlags;
use crate::thresholds::{
    BEFORE_LAST_WORDS, IDLE, LAST_WORDS, LONGEST_ANSWER, LONGEST_FAREWELL, LONGEST_LAST_WORDS,
};

/// Sightings of one segment on several devices of a host are not further apart.
pub const REPEATED: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    /// Initial sequence number.
    pub isn: Option<u32>,
    /// The sequence number after the last byte it sent; absent before its first segment.
    pub next: Option<u32>,
    /// The highest number the other end acknowledged of it.
    pub acked: Option<u32>,
    /// When it sent the first byte that is not acknowledged.
    pub unacknowledged_since: Option<CaptureTime>,
    /// When it last sent new data.
    pub data: Option<CaptureTime>,
    /// When it last sent anything but a reset.
    pub segment: Option<CaptureTime>,
    /// The same of the segment before that.
    segment_before: Option<CaptureTime>,
    /// When it sent the first byte of what its last acknowledgment covers, and when that came.
    taken: Option<(CaptureTime, CaptureTime)>,
    /// Payload bytes it sent, retransmissions not counted.
    pub bytes: u64,
    /// Payload bytes it sent since the other end last sent data.
    pub unanswered: u64,
    /// Segments it sent again.
    pub retransmits: u32,
    /// Of those, since the last acknowledgement.
    pub retransmits_now: u8,
    /// Keepalive probes that nothing answered.
    pub probes: u8,
    /// When the first and the last of them were sent.
    pub probed: Option<(CaptureTime, CaptureTime)>,
    /// What it said since data had not moved for a while.
    flight: Option<Flight>,
    /// Its FIN.
    pub fin: Option<Fin>,
    /// Least and last time from a segment of it to its acknowledgement: the way from the capture to the other end and back.
    pub round_trip: Option<(Duration, Duration)>,
    /// The segment that is timed: the number to be acknowledged, and when it was sent.
    timed: Option<(u32, CaptureTime)>,
    /// TTLs of its segments: least and greatest.
    pub ttl: Option<(u8, u8)>,
    /// TTL of its SYN or SYN-ACK, and when.
    pub handshake: Option<(u8, CaptureTime)>,
    /// Source MAC address of the same.
    pub mac: Option<[u8; 6]>,
    /// Window it offers, as in its last segment.
    pub window: u16,
    /// Shift of that window.
    pub scale: Option<u8>,
    /// Its SYN had timestamps.
    pub timestamps: bool,
    /// It sent more than SYNs and acknowledgements.
    pub spoke: bool,
    /// Segments of it were seen to come in, and to leave.
    pub ways: (bool, bool),
    /// Its segments were seen twice, before and after a router.
    pub passes: bool,
    /// Its segments were seen twice, on whatever devices.
    repeats: bool,
    /// TTL of its last segment.
    last_ttl: u8,
    /// What its last segment looked like, and when.
    last: Option<(Looks, CaptureTime)>,
    /// The same of its last reset, and where it was seen.
    last_reset: Option<(Looks, CaptureTime, Seen)>,
}

/// Data of one end after a silence.
#[derive(Clone, Copy, Debug)]
struct Flight {
    began: CaptureTime,
    bytes: u32,
    /// How long no data had moved either way before.
    quiet: Duration,
}

impl Flight {
    /// It was the last words before this FIN: a TLS close_notify, or a message after a long silence.
    fn is_followed_by(&self, fin: &Segment<'_>) -> bool {
        let is_short = self.bytes <= LONGEST_FAREWELL
            || self.bytes <= LONGEST_LAST_WORDS && self.quiet >= BEFORE_LAST_WORDS;
        is_short && fin.time.since(self.began) <= LAST_WORDS
    }
}

/// A FIN.
#[derive(Clone, Copy, Debug)]
pub struct Fin {
    /// When it was first sent.
    pub time: CaptureTime,
    /// How long no data had moved either way then, the last words of its end aside.
    pub quiet: Duration,
}

/// What tells a segment from the next one of the same end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looks {
    seq: u32,
    ack: u32,
    flags: u8,
    payload: u32,
    ip_id: Option<u16>,
}

/// What another device of the capturing host may change, or give to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    interface: u32,
    ttl: u8,
    way: Option<Way>,
    source_mac: Option<[u8; 6]>,
}

impl Seen {
    fn of(segment: &Segment<'_>) -> Self {
        Self {
            interface: segment.interface,
            ttl: segment.ttl,
            way: segment.way,
            source_mac: segment.source_mac,
        }
    }
}

impl Looks {
    fn of(segment: &Segment<'_>) -> Self {
        Self {
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags.0,
            payload: segment.payload_len,
            ip_id: segment.ip_id,
        }
    }
}

/// What a segment was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The same segment on another device.
    Repeated,
    /// Something new: data, SYN, FIN.
    New,
    /// What had been sent before.
    Again,
    /// A keepalive probe: it lies before what comes next.
    Probe,
    /// Nothing but an acknowledgement.
    Acknowledgement,
}

impl End {
    /// Takes notice of a segment it sent; `quiet`: how long no data had moved either way.
    pub fn sends(&mut self, segment: &Segment<'_>, quiet: Duration) -> Kind {
        self.note_way(segment);
        self.ttl = Some(match self.ttl {
            Some((least, greatest)) => (least.min(segment.ttl), greatest.max(segment.ttl)),
            None => (segment.ttl, segment.ttl),
        });
        if is_repetition(self.last, segment) {
            self.passes |= self.last_ttl != segment.ttl;
            self.repeats = true;
            return Kind::Repeated;
        }
        self.last_ttl = segment.ttl;
        self.last = Some((Looks::of(segment), segment.time));
        let begins = segment.flags.has(TcpFlags::SYN);
        if begins && self.isn.is_none() {
            // What came before it and does not follow from it was of another connection.
            if self
                .next
                .is_some_and(|next| next.wrapping_sub(segment.seq) > FAR)
            {
                (self.next, self.acked, self.timed) = (None, None, None);
            }
            self.isn = Some(segment.seq);
            self.handshake = Some((segment.ttl, segment.time));
            self.mac = segment.source_mac;
            self.scale = segment.options.window_scale;
            self.timestamps = segment.options.timestamps.is_some();
        }
        self.window = segment.window;
        let end = end_of(segment);
        let kind = self.kind(segment, end);
        self.segment_before = self.segment.replace(segment.time);
        match kind {
            Kind::New => {
                self.next = Some(end);
                self.spoke |= !begins;
                if end != segment.seq {
                    self.unacknowledged_since = self.unacknowledged_since.or(Some(segment.time));
                    self.timed = self.timed.or(Some((end, segment.time)));
                }
                if segment.payload_len > 0 {
                    self.speaks(segment, quiet);
                    self.bytes += u64::from(segment.payload_len);
                    self.unanswered += u64::from(segment.payload_len);
                    self.data = Some(segment.time);
                }
                if segment.flags.has(TcpFlags::FIN) && self.fin.is_none() {
                    let last_words = self.flight.filter(|flight| flight.is_followed_by(segment));
                    self.fin = Some(Fin {
                        time: segment.time,
                        quiet: last_words.map_or(quiet, |flight| flight.quiet),
                    });
                }
            }
            Kind::Again => {
                self.retransmits = self.retransmits.saturating_add(1);
                self.retransmits_now = self.retransmits_now.saturating_add(1);
                // Which of the two an acknowledgement is for cannot be told (Karn's algorithm, RFC 6298 section 3).
                self.timed = None;
            }
            Kind::Probe => {
                self.probes = self.probes.saturating_add(1);
                let first = self.probed.map_or(segment.time, |(first, _)| first);
                self.probed = Some((first, segment.time));
            }
            Kind::Acknowledgement | Kind::Repeated => {}
        }
        kind
    }

    /// Takes notice of new data; `quiet`: how long none had moved either way.
    fn speaks(&mut self, segment: &Segment<'_>, quiet: Duration) {
        let bytes = segment.payload_len;
        match &mut self.flight {
            Some(flight) if quiet < IDLE => flight.bytes = flight.bytes.saturating_add(bytes),
            Some(_) | None => {
                self.flight = Some(Flight {
                    began: segment.time,
                    bytes,
                    quiet,
                });
            }
        }
    }

    fn kind(&self, segment: &Segment<'_>, end: u32) -> Kind {
        let Some(next) = self.next else {
            return Kind::New;
        };
        if is_before(next, end) {
            return Kind::New;
        }
        let is_probe = segment.seq == next.wrapping_sub(1)
            && segment.payload_len <= 1
            && segment.flags.0 & (TcpFlags::SYN | TcpFlags::FIN) == 0
            && self.acked == Some(next);
        if is_probe {
            Kind::Probe
        } else if end != segment.seq {
            Kind::Again
        } else {
            Kind::Acknowledgement
        }
    }

    /// Takes notice of a segment the other end sent.
    pub fn hears(&mut self, segment: &Segment<'_>, kind: Kind) {
        if kind == Kind::Repeated {
            return;
        }
        self.probes = 0;
        self.probed = None;
        if kind == Kind::New && segment.payload_len > 0 {
            self.unanswered = 0;
            self.flight = None;
        }
        if !segment.flags.has(TcpFlags::ACK) {
            return;
        }
        let advances = self.acked.is_none_or(|acked| is_before(acked, segment.ack));
        let is_sane = self.next.is_none_or(|next| !is_before(next, segment.ack));
        if !advances || !is_sane {
            return;
        }
        self.acked = Some(segment.ack);
        self.retransmits_now = 0;
        let since = self.unacknowledged_since;
        self.unacknowledged_since = match self.next {
            Some(next) if is_before(segment.ack, next) => Some(segment.time),
            _ => None,
        };
        let is_bare = kind == Kind::Acknowledgement && self.unacknowledged_since.is_none();
        self.taken = since.filter(|_| is_bare).map(|since| (since, segment.time));
        if let Some((number, time)) = self.timed
            && !is_before(segment.ack, number)
        {
            let took = segment.time.since(time);
            let least = self.round_trip.map_or(took, |(least, _)| least.min(took));
            self.round_trip = Some((least, took));
            self.timed = None;
        }
    }

    /// Which way a segment of it went.
    pub fn note_way(&mut self, segment: &Segment<'_>) {
        match segment.way {
            Some(Way::In | Way::By) => self.ways.0 = true,
            Some(Way::Out) => self.ways.1 = true,
            None => {}
        }
    }

    /// The same reset on another device; it is taken notice of. Answers to several segments look alike, too: kernels send them with the
    /// identification 0.
    pub fn resets_again(&mut self, segment: &Segment<'_>) -> bool {
        let seen = Seen::of(segment);
        let is_numbered = segment.ip_id.is_some_and(|id| id != 0);
        let again = self.last_reset.is_some_and(|(looks, time, before)| {
            is_repetition(Some((looks, time)), segment)
                && (is_numbered || self.repeats || before != seen)
        });
        self.last_reset = Some((Looks::of(segment), segment.time, seen));
        again
    }

    /// Bytes that are not acknowledged, its FIN counted.
    pub fn outstanding(&self) -> u32 {
        match (self.next, self.acked) {
            (Some(next), Some(acked)) => next.wrapping_sub(acked),
            _ => 0,
        }
    }

    /// Its last data were acknowledged, and nothing more, just before `peer` reset the connection: since when they were on their way, and
    /// when `peer` had been heard of before that. Such an acknowledgment does not end a silence; the data did.
    pub fn reset_at_write(
        &self,
        peer: &Self,
        now: CaptureTime,
    ) -> Option<(CaptureTime, Option<CaptureTime>)> {
        let (since, acknowledged) = self.taken?;
        let is_last = peer.segment == Some(acknowledged)
            && self.segment.is_none_or(|last| last <= acknowledged);
        (is_last && now.since(acknowledged) <= LONGEST_ANSWER)
            .then_some((since, peer.segment_before))
    }

    /// Window it offers, bytes.
    pub fn offers(&self) -> u32 {
        u32::from(self.window) << self.scale.unwrap_or_default().min(14)
    }
}

/// No window and no loss of a capture makes numbers of one connection differ by more.
pub const FAR: u32 = 1 << 25;

/// These numbers may be of one connection.
pub fn is_near(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).min(other.wrapping_sub(one)) <= FAR
}

fn is_repetition(last: Option<(Looks, CaptureTime)>, segment: &Segment<'_>) -> bool {
    last.is_some_and(|(looks, time)| {
        looks == Looks::of(segment) && segment.time.since(time) <= REPEATED
    })
}

/// The sequence number after a segment.
pub fn end_of(segment: &Segment<'_>) -> u32 {
    let flags =
        u32::from(segment.flags.has(TcpFlags::SYN)) + u32::from(segment.flags.has(TcpFlags::FIN));
    segment
        .seq
        .wrapping_add(segment.payload_len)
        .wrapping_add(flags)
}

/// Sequence numbers wrap (RFC 9293 section 3.4).
pub fn is_before(one: u32, other: u32) -> bool {
    other.wrapping_sub(one).wrapping_sub(1) < (1 << 31) - 1
}
