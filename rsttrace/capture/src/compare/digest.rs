//! Data kept of one capture for the comparison.
//!
//! One [`Life`] for each connection and pair of addresses: a balancer's own capture holds a connection that it passes on
//! twice, once before and once after its addresses were rewritten.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::stream::Stream;
use crate::capture::{CaptureTime, Overlay, ReadCounts, Segment};
use crate::event::TcpFlags;
use crate::hash::HashMap;
use crate::record::Word;

/// Connections of one capture that are kept, about 3 KB each at most.
const MOST_LIVES: usize = 32_768;
/// The same of each of very many captures.
const LEAST_LIVES: usize = 1_024;
/// Reasons why a capture may lack segments that are kept.
const MOST_LOSSES: usize = 8;

/// One capture, digested. Its memory is bounded: 32,768 connections; beyond them those without a reset that were quiet the longest
/// are forgotten, and counted.
#[derive(Clone, Debug)]
pub struct Digest {
    pub(super) name: Word,
    pub(super) lives: Vec<Life>,
    current: HashMap<Flow, usize>,
    /// Connections that are kept.
    pub(super) most_lives: usize,
    pub(super) first: Option<CaptureTime>,
    pub(super) last: Option<CaptureTime>,
    /// TCP segments seen.
    pub(super) segments: u64,
    /// Of them those with neither data nor SYN: what a filter for data leaves out, as it does resets.
    pub(super) bare: u64,
    /// Connections forgotten.
    pub(super) forgotten: u64,
    /// Segments that were acknowledged and are not in it; counted in the end.
    pub(super) holes: u64,
    /// Why it may lack segments.
    pub(super) losses: Vec<String>,
}

/// A pair of addresses, the lower first.
type Flow = (Overlay, SocketAddr, SocketAddr);

/// A connection under one pair of addresses.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// Where the addresses hold.
    pub overlay: Overlay,
    /// Who opened it and who was asked; of a connection whose SYN was not captured, who was seen first and the other.
    pub ends: [SocketAddr; 2],
    /// Whether it is known who opened it.
    pub oriented: bool,
    /// What either end sent.
    pub streams: [Stream; 2],
    /// First segment.
    pub first: CaptureTime,
    /// Last segment.
    pub last: CaptureTime,
    /// Longest silence: between two segments, or before a reset.
    pub silence: Option<Silence>,
}

/// A time without segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// The last segment before.
    pub from: CaptureTime,
    /// The first segment after.
    pub until: CaptureTime,
}

impl Silence {
    /// How long it was.
    pub fn span(&self) -> Duration {
        self.until.since(self.from)
    }
}

impl Digest {
    /// Of the capture of this name, as users know it: the file's name.
    pub fn new(name: impl Into<Word>) -> Self {
        Self {
            name: name.into(),
            lives: Vec::new(),
            current: HashMap::default(),
            most_lives: MOST_LIVES,
            first: None,
            last: None,
            segments: 0,
            bare: 0,
            forgotten: 0,
            holes: 0,
            losses: Vec::new(),
        }
    }

    /// One of so many captures that are compared: all of them together keep as many connections as one alone would.
    pub fn among(mut self, captures: usize) -> Self {
        self.most_lives = (MOST_LIVES / captures.max(1)).max(LEAST_LIVES);
        self
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The capture is known to lack segments, for this reason ("3 packets were dropped by the kernel"; "the file is cut off"): that a
    /// reset is not in it proves nothing then.
    pub fn lacks(&mut self, reason: impl Into<String>) {
        if self.losses.len() < MOST_LOSSES {
            self.losses.push(reason.into());
        }
    }

    /// The capture is read to its end: what of it could not be read may have been of any connection.
    pub fn ended(&mut self, counts: &ReadCounts) {
        for (what, number) in counts.shortfalls() {
            if number > 0 {
                self.lacks(format!("{what}: {number}"));
            }
        }
    }

    /// Takes the next segment, in the order of the file.
    pub fn see(&mut self, segment: &Segment<'_>) {
        self.segments += 1;
        let is_bare = segment.payload_len == 0 && !segment.flags.has(TcpFlags::SYN);
        self.bare += u64::from(is_bare);
        let time = segment.time;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        let index = self.life_of(segment);
        if let Some(life) = self.lives.get_mut(index) {
            life.see(segment);
        }
    }

    /// No more segments will come: frees what only reading needed.
    pub fn finish(&mut self) {
        self.current = HashMap::default();
        let streams = self.lives.iter().flat_map(|life| &life.streams);
        self.holes = streams.map(|stream| stream.holes).sum();
        for life in &mut self.lives {
            for stream in &mut life.streams {
                stream.head.shrink_to_fit();
                stream.landmarks.shrink_to_fit();
            }
        }
    }

    fn life_of(&mut self, segment: &Segment<'_>) -> usize {
        let (a, b) = (segment.source, segment.destination);
        let flow = (segment.overlay, a.min(b), a.max(b));
        if let Some(&index) = self.current.get(&flow)
            && self
                .lives
                .get(index)
                .is_some_and(|life| !life.is_over(segment))
        {
            return index;
        }
        if self.lives.len() >= self.most_lives {
            self.forget();
        }
        let index = self.lives.len();
        self.lives.push(Life::new(segment));
        self.current.insert(flow, index);
        index
    }

    /// Forgets an eighth of the connections: the quietest of those without reset, of all if there are none.
    fn forget(&mut self) {
        let mut order: Vec<_> = self
            .lives
            .iter()
            .map(|life| (life.has_reset(), life.last))
            .collect();
        let nth = order.len() / 8;
        let (_, &mut limit, _) = order.select_nth_unstable(nth);
        let before = self.lives.len();
        self.lives
            .retain(|life| (life.has_reset(), life.last) > limit);
        self.forgotten += (before - self.lives.len()) as u64;
        self.current.clear();
        for (index, life) in self.lives.iter().enumerate() {
            let [a, b] = life.ends;
            self.current
                .insert((life.overlay, a.min(b), a.max(b)), index);
        }
    }
}

/// Tells of each capture that seems to be a part of another, which was written to several files in turn: what is not in the one
/// part is in the other.
pub(super) fn tell_rotated(digests: &mut [Digest]) {
    let mut found = Vec::new();
    for (a, before) in digests.iter().enumerate() {
        for (b, after) in digests.iter().enumerate() {
            if a != b && before.last < after.first && goes_on(before, after) {
                let why = format!(
                    "{} seems to continue in {}; merge the files of one capture with mergecap",
                    before.name, after.name
                );
                found.extend([(a, why.clone()), (b, why)]);
            }
        }
    }
    for (capture, why) in found {
        digests[capture].lacks(why);
    }
}

/// Whether connections of the one are in the other without their beginning, and with none of the same segments.
fn goes_on(before: &Digest, after: &Digest) -> bool {
    let flow = |life: &Life| {
        let [a, b] = life.ends;
        (life.overlay, a.min(b), a.max(b))
    };
    let open = |life: &&Life| life.streams.iter().all(|s| s.isn.is_none() && s.plain > 0);
    let middle: HashMap<Flow, &Life> = after
        .lives
        .iter()
        .filter(open)
        .map(|l| (flow(l), l))
        .collect();
    let keys = |life: &Life| -> HashSet<u64> {
        let all = life.streams.iter().flat_map(|stream| &stream.landmarks);
        all.map(|landmark| landmark.key).collect()
    };
    let mut both = before
        .lives
        .iter()
        .filter(|life| life.streams.iter().all(|stream| stream.plain > 0))
        .filter_map(|life| Some((life, middle.get(&flow(life))?)))
        .peekable();
    both.peek().is_some() && both.all(|(a, b)| keys(a).is_disjoint(&keys(b)))
}

impl Life {
    fn new(segment: &Segment<'_>) -> Self {
        let syn = segment.flags.has(TcpFlags::SYN);
        let answer = syn && segment.flags.has(TcpFlags::ACK);
        let mut ends = [segment.source, segment.destination];
        if answer {
            ends.reverse();
        }
        Self {
            overlay: segment.overlay,
            ends,
            oriented: syn,
            streams: Default::default(),
            first: segment.time,
            last: segment.time,
            silence: None,
        }
    }

    /// Whether this segment begins another connection between the same addresses: a SYN with another ISN.
    fn is_over(&self, segment: &Segment<'_>) -> bool {
        if !segment.flags.has(TcpFlags::SYN) || segment.flags.has(TcpFlags::RST) {
            return false;
        }
        let stream = &self.streams[self.side_of(segment.source)];
        if segment.flags.has(TcpFlags::ACK) {
            let other = &self.streams[1 - self.side_of(segment.source)];
            // An answer to another SYN; one to the same SYN with another ISN (SYN cookies) stays.
            return other
                .isn
                .is_some_and(|isn| segment.ack != isn.wrapping_add(1))
                || other.isn.is_none() && (stream.next.is_some() || other.next.is_some());
        }
        match stream.isn {
            Some(isn) => isn != segment.seq,
            // Its beginning was not captured, or all there was were resets.
            None => stream.next.is_some() || self.streams.iter().any(|s| !s.resets.is_empty()),
        }
    }

    fn side_of(&self, source: SocketAddr) -> usize {
        usize::from(source != self.ends[0])
    }

    fn see(&mut self, segment: &Segment<'_>) {
        let side = self.side_of(segment.source);
        let silence = Silence {
            from: self.last,
            until: segment.time,
        };
        if self
            .silence
            .is_none_or(|longest| silence.span() > longest.span())
        {
            self.silence = Some(silence);
        }
        self.last = self.last.max(segment.time);
        self.streams[side].see(segment);
        if segment.flags.has(TcpFlags::ACK) && !segment.flags.has(TcpFlags::RST) {
            self.streams[1 - side].acknowledged(segment.ack);
        }
    }

    /// Whether it has a reset, either way.
    pub fn has_reset(&self) -> bool {
        self.streams.iter().any(|stream| !stream.resets.is_empty())
    }

    /// Turned round: who was taken for the opener was the other.
    pub fn turn(&mut self) {
        self.ends.reverse();
        self.streams.reverse();
    }
}
