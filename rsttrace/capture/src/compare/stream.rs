//! Data kept of one direction of a connection in one capture.
//!
//! Enough to know it again elsewhere (its first bytes, a sample of its segments), to order it in time, and to see what
//! resets had in common with its other segments. All of it is bounded.

use std::sync::LazyLock;

use smallvec::SmallVec;

use crate::capture::{CaptureTime, Segment, TcpOptions, Way};
use crate::event::TcpFlags;
use crate::hash::RandomState;

/// First bytes of a stream that are kept.
const HEAD: usize = 256;
/// Segments of one direction that are kept as landmarks.
const LANDMARKS: usize = 24;
/// Beginnings of data after a pause that are kept.
const MARKS: usize = 16;
/// Resets of one direction that are kept, and FINs.
const ENDS: usize = 8;
/// Places at the capturing host that a direction's segments are seen at.
const LANES: usize = 4;
/// Data after so long without any begins anew.
const PAUSE_NANOS: u64 = 20_000_000;
/// Values of TTL told apart at one place.
const TTLS: usize = 3;

/// The same keys for all captures: landmarks are compared between them.
static KEYS: LazyLock<RandomState> = LazyLock::new(|| RandomState::with_seeds(7, 11, 13, 17));

#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    /// Initial sequence number, if its SYN was captured.
    pub isn: Option<u32>,
    /// TSval of the SYN.
    pub syn_timestamp: Option<u32>,
    /// When its SYN was first seen, and in which frame.
    pub syn: Option<Sighting>,
    /// First bytes, in order; empty without ISN.
    pub head: Vec<u8>,
    /// Stream position behind the last byte seen; 0 without ISN.
    pub length: u64,
    /// Behind the highest sequence number seen.
    pub next: Option<u32>,
    /// Segments other than SYN, FIN and RST.
    pub plain: u64,
    /// Last segment with payload.
    pub last_data: Option<Sighting>,
    /// Last segment that is no reset.
    pub last: Option<CaptureTime>,
    /// FINs, each once.
    pub fins: Vec<Sighting>,
    /// Resets, the first of them.
    pub resets: Vec<Sighting>,
    /// Further resets, counted.
    pub more_resets: u64,
    /// Where at the capturing host it was seen.
    pub lanes: SmallVec<[Lane; 2]>,
    /// A sample of its segments: those with the lowest keys, so that two captures keep the same.
    pub landmarks: Vec<Landmark>,
    /// Where data began after a pause; empty without ISN.
    pub marks: Vec<Mark>,
    /// The other side acknowledged what this capture does not hold.
    pub holes: u64,
}

/// A segment as one capture saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// By the capture's clock.
    pub time: CaptureTime,
    pub frame: u64,
    /// Where at the capturing host.
    pub place: Place,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; absent without ACK.
    pub ack: Option<u32>,
    /// Window, unscaled.
    pub window: u16,
    pub flags: TcpFlags,
}

impl Sighting {
    fn of(segment: &Segment<'_>) -> Self {
        Self {
            time: segment.time,
            frame: segment.frame,
            place: Place::of(segment),
            ttl: segment.ttl,
            seq: segment.seq,
            ack: segment.flags.has(TcpFlags::ACK).then_some(segment.ack),
            window: segment.window,
            flags: segment.flags,
        }
    }
}

/// An interface and the way through it, as far as the file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// As in [`Segment::interface`].
    pub interface: u32,
    /// As in [`Segment::way`].
    pub way: Option<Way>,
}

impl Place {
    fn of(segment: &Segment<'_>) -> Self {
        Self {
            interface: segment.interface,
            way: segment.way,
        }
    }
}

/// The segments of one direction at one place.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub place: Place,
    /// First segment that is no reset.
    pub first: CaptureTime,
    /// Last segment that is no reset.
    pub last: CaptureTime,
    /// TTLs of segments that are no resets, with how many had them.
    ttls: SmallVec<[(u8, u64); 2]>,
    /// Some had yet others.
    more_ttls: bool,
}

impl Lane {
    /// The TTL of most of its segments.
    pub fn ttl(&self) -> Option<u8> {
        self.ttls
            .iter()
            .max_by_key(|(ttl, count)| (*count, *ttl))
            .map(|(ttl, _)| *ttl)
    }

    /// Those that ordinary segments had.
    pub fn ttls(&self) -> impl Iterator<Item = u8> {
        self.ttls.iter().map(|(ttl, _)| *ttl)
    }

    /// Ordinary segments had more TTLs than are kept: none of them says anything.
    pub fn varies(&self) -> bool {
        self.more_ttls
    }
}

/// A segment that another capture may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Landmark {
    /// Hash of what neither NAT nor offloading changes.
    pub key: u64,
    /// When it was first seen.
    pub time: CaptureTime,
    /// Numbers of the lanes it was seen in, as bits.
    pub lanes: u8,
    /// Seen again at the same place: which of them another capture means is not known.
    pub twice: bool,
    /// Whether the key alone is unlikely to be that of another connection: it has timestamps.
    pub strong: bool,
}

/// Data that began after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Stream position of its first byte.
    pub position: u64,
    /// When it was first seen.
    pub time: CaptureTime,
}

impl Stream {
    /// Takes a segment of this direction.
    pub fn see(&mut self, segment: &Segment<'_>) {
        if segment.flags.has(TcpFlags::RST) {
            if self.resets.len() < ENDS * 2 {
                self.resets.push(Sighting::of(segment));
            } else {
                self.more_resets += 1;
            }
            return;
        }
        let syn = segment.flags.has(TcpFlags::SYN);
        let fin = segment.flags.has(TcpFlags::FIN);
        if syn && self.isn.is_none() && self.next.is_none() {
            self.isn = Some(segment.seq);
            self.syn_timestamp = segment.options.timestamps.map(|(value, _)| value);
            self.syn = Some(Sighting::of(segment));
        }
        if fin && self.fins.len() < ENDS {
            self.fins.push(Sighting::of(segment));
        }
        self.plain += u64::from(!syn && !fin);
        let lane = self.lane(segment);
        self.landmark(segment, lane);
        if segment.payload_len > 0 {
            self.data(segment, syn);
        }
        let end = segment
            .seq
            .wrapping_add(segment.payload_len)
            .wrapping_add(u32::from(syn))
            .wrapping_add(u32::from(fin));
        if self.next.is_none_or(|next| after(end, next)) {
            self.next = Some(end);
        }
        self.last = Some(segment.time);
    }

    /// The other side acknowledged up to here.
    pub fn acknowledged(&mut self, ack: u32) {
        if let Some(next) = self.next
            && after(ack, next)
            // Anything farther is no acknowledgement of this stream.
            && ack.wrapping_sub(next) < 1 << 30
        {
            self.holes += 1;
            self.next = Some(ack);
        }
    }

    fn data(&mut self, segment: &Segment<'_>, syn: bool) {
        let pause = self
            .last_data
            .is_none_or(|last| segment.time.0.saturating_sub(last.time.0) >= PAUSE_NANOS);
        let Some(isn) = self.isn else {
            self.last_data = Some(Sighting::of(segment));
            return;
        };
        let begin = isn.wrapping_add(1);
        let seq = segment.seq.wrapping_add(u32::from(syn));
        // From the farthest byte known, so that streams beyond 4 GB count on.
        let behind = begin.wrapping_add(self.length as u32);
        let offset = i64::from(seq.wrapping_sub(behind) as i32);
        let Some(position) = self.length.checked_add_signed(offset) else {
            return;
        };
        let end = position + u64::from(segment.payload_len);
        if end > self.length {
            if pause && position == self.length {
                if self.marks.len() >= MARKS {
                    // The first marks join the legs of a proxy; of later ones the latest follow the clocks.
                    self.marks.remove(MARKS / 2);
                }
                self.marks.push(Mark {
                    position,
                    time: segment.time,
                });
            }
            self.length = end;
            self.last_data = Some(Sighting::of(segment));
        }
        let have = self.head.len();
        if have < HEAD
            && let Ok(position) = usize::try_from(position)
            && position <= have
            && let Some(new) = segment.payload.get(have - position..)
        {
            let room = HEAD - have;
            self.head.extend_from_slice(&new[..new.len().min(room)]);
        }
    }

    /// The number of its lane; none for what is seen at more places than are kept.
    fn lane(&mut self, segment: &Segment<'_>) -> Option<usize> {
        let place = Place::of(segment);
        let known = self.lanes.iter().position(|lane| lane.place == place);
        if known.is_none() && self.lanes.len() < LANES {
            self.lanes.push(Lane {
                place,
                first: segment.time,
                last: segment.time,
                ttls: SmallVec::new(),
                more_ttls: false,
            });
        }
        let at = known.unwrap_or(self.lanes.len() - 1);
        let lane = self.lanes.get_mut(at).filter(|lane| lane.place == place)?;
        lane.last = segment.time;
        let known = lane.ttls.iter().position(|(ttl, _)| *ttl == segment.ttl);
        match known {
            Some(at) => lane.ttls[at].1 += 1,
            None if lane.ttls.len() < TTLS => lane.ttls.push((segment.ttl, 1)),
            None => lane.more_ttls = true,
        }
        Some(at)
    }

    fn landmark(&mut self, segment: &Segment<'_>, lane: Option<usize>) {
        let lane = lane.map_or(0, |lane| 1 << lane);
        let key = landmark_key(segment);
        let at = match self
            .landmarks
            .binary_search_by_key(&key, |landmark| landmark.key)
        {
            Ok(at) => {
                let known = &mut self.landmarks[at];
                known.twice |= known.lanes & lane != 0;
                known.lanes |= lane;
                return;
            }
            Err(at) => at,
        };
        if at >= LANDMARKS {
            return;
        }
        self.landmarks.truncate(LANDMARKS - 1);
        self.landmarks.insert(
            at,
            Landmark {
                key,
                time: segment.time,
                lanes: lane,
                twice: false,
                strong: segment.options.timestamps.is_some(),
            },
        );
    }
}

/// What of a segment is the same in every capture of it, whatever NAT and offloading did: where it begins, not where it
/// ends. Retransmissions differ in the timestamps option or, without one, in the IPv4 identification.
fn landmark_key(segment: &Segment<'_>) -> u64 {
    let TcpOptions { timestamps, .. } = segment.options;
    let data = segment.payload_len > 0;
    let kept = if data {
        TcpFlags::SYN
    } else {
        TcpFlags::SYN | TcpFlags::FIN
    };
    KEYS.hash_one((
        segment.seq,
        segment.flags.has(TcpFlags::ACK).then_some(segment.ack),
        segment.flags.0 & kept,
        data,
        timestamps,
        timestamps.is_none().then_some(segment.ip_id),
    ))
}

/// Whether a sequence number is after another (RFC 9293 section 3.4).
pub(super) fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}
