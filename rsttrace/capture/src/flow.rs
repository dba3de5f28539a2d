//! Connection state reconstructed from a packet capture: what the kernel at either end would know at a reset.
//!
//! Pure: segments in, [`CapturedReset`] resets out, in order of time. Each connection is followed as far as its segments show it:
//! who opened it, what is unacknowledged, who was silent for how long, which TTL each end's segments have. A reset is held
//! back for [`LOOKAHEAD`] of the capture's time, since what comes after it tells as much as what came before.
//!
//! Bounded: [`MAX_CONNECTIONS`], of which those that have ended are forgotten first, and [`MAX_HELD`] resets.

mod attempts;
mod connection;
mod end;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::capture::{CaptureTime, Overlay, Segment, Way};
use crate::captured::CapturedReset;
use crate::event::TcpFlags;
use crate::hash::{HashMap, RandomState};
use attempts::Attempts;
use connection::Connection;

/// What comes so long after a reset still says something of it.
pub const LOOKAHEAD: Duration = Duration::from_secs(2);
/// Connections followed at a time.
pub const MAX_CONNECTIONS: usize = 131_072;
/// Resets held back at a time.
pub const MAX_HELD: usize = 65_536;
/// Addresses that are remembered as not the capturing host's.
const MAX_FOREIGN: usize = 65_536;
/// Resets that come in and are looked for among those that leave.
const MAX_PASSING: usize = 256;
/// Addresses of a capture that are named instead of one that is not in it.
const MAX_NAMED: usize = 8;
/// A host passes on what it gets within this.
const PASSAGE: Duration = Duration::from_millis(5);
/// One of so many connections makes room for new ones when the table is full.
const SHARE_TO_FORGET: usize = 4;

/// Follows the connections of one capture.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Boxed, as a table that grows is there twice.
    connections: HashMap<Key, Box<Connection>>,
    held: VecDeque<Held>,
    /// Serial number of the first in `held`.
    first: u64,
    now: CaptureTime,
    local: HashSet<IpAddr>,
    /// While one of `local` has not been seen: the addresses that were.
    addresses: Vec<IpAddr>,
    /// Of `local`.
    local_seen: HashSet<IpAddr>,
    /// Addresses that segments came in from: not the capturing host's.
    foreign: HashSet<IpAddr, RandomState>,
    /// Resets that came in a moment ago: address translation leaves their numbers as they are.
    came_in: VecDeque<(CaptureTime, Numbers)>,
    attempts: Attempts,
    counts: TrackCounts,
}

/// What the tracker did and could not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackCounts {
    /// Connections seen: pairs of ends, each new handshake on them once more.
    pub connections: u64,
    /// Connections forgotten for want of room: their resets are judged without what came before.
    pub forgotten: u64,
    /// Resets judged before what followed them was seen, for want of room.
    pub hurried: u64,
    /// Sightings of a reset that had just been seen: host-side devices, `tcpdump -i any`.
    pub repeated: u64,
    /// Segments whose time lies before the one before.
    pub backwards: u64,
}

impl TrackCounts {
    /// What was not understood as well as it could have been, by name; zeroes, too.
    pub fn shortfalls(&self) -> [(&'static str, u64); 3] {
        [
            ("segments with decreasing timestamps", self.backwards),
            ("connection table evictions", self.forgotten),
            (
                "resets finalized before later segments were read",
                self.hurried,
            ),
        ]
    }
}

/// Sequence number, acknowledgement number and flags.
type Numbers = (u32, u32, u8);

/// What is known of addresses beyond one connection.
struct Places<'a> {
    /// The capturing host's, as the user says.
    local: &'a HashSet<IpAddr>,
    /// Not the capturing host's.
    foreign: &'a HashSet<IpAddr, RandomState>,
    /// The reset in question had come in with other addresses.
    is_translated: bool,
}

/// A reset that waits for what follows it.
#[derive(Debug)]
struct Held {
    due: CaptureTime,
    key: Key,
    reset: Box<CapturedReset>,
}

/// A connection whichever way a segment of it goes: the lesser end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    lesser: End,
    greater: End,
    overlay: Overlay,
}

/// Address and port, quick to compare and to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct End(u128, u16);

impl Tracker {
    /// For a capture of a host with these addresses; empty: not told.
    pub fn new(local: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            local: local
                .into_iter()
                .map(|address| address.to_canonical())
                .collect(),
            ..Self::default()
        }
    }

    /// Takes in the next segment, and gives the resets that have waited long enough.
    pub fn see(&mut self, segment: &Segment<'_>, out: &mut Vec<CapturedReset>) {
        if segment.time < self.now {
            self.counts.backwards += 1;
        }
        self.now = self.now.max(segment.time);
        self.release(self.now, out);
        if self.local_seen.len() < self.local.len() {
            self.look_for_local(segment);
        }
        self.attempts.see(segment);
        let (key, from_greater) = Key::of(segment);
        if !self.connections.contains_key(&key) {
            self.make_room();
            self.counts.connections += 1;
        }
        let connection = self.connections.entry(key).or_default();
        let index = usize::from(from_greater);
        if segment.way == Some(Way::In)
            && connection.comes_in_first(index)
            && self.foreign.len() < MAX_FOREIGN
        {
            self.foreign.insert(segment.source.ip().to_canonical());
        }
        if segment.flags.has(TcpFlags::RST) {
            if connection.is_repeated(index, segment) {
                self.counts.repeated += 1;
                if let Some(serial) = connection.held_of(index)
                    && let Some(waiting) = nth(&mut self.held, serial, self.first)
                {
                    waiting.reset.note_again(segment.ttl, segment.source_mac);
                }
                return;
            }
            let places = Places {
                local: &self.local,
                foreign: &self.foreign,
                is_translated: is_translated(&mut self.came_in, segment),
            };
            let former = connection.takes_back(index, segment, &places);
            let follows = former.is_none();
            let mut reset =
                Box::new(former.unwrap_or_else(|| connection.reset(index, segment, &places)));
            reset.attempt = self.attempts.of_reset(segment);
            for (serial, apart) in connection.held_of_other(index, segment.time) {
                if let Some(waiting) = nth(&mut self.held, serial, self.first) {
                    waiting.reset.other_way = waiting.reset.other_way.or(Some(apart));
                }
            }
            for serial in connection.held_before(index, segment.time) {
                if let Some(waiting) = nth(&mut self.held, serial, self.first) {
                    waiting.reset.note_further(&reset);
                }
            }
            // What comes after it is of the other connection.
            if follows {
                connection.hold(index, self.first + self.held.len() as u64, segment.time);
            }
            self.held.push_back(Held {
                due: self.now.plus(LOOKAHEAD),
                key,
                reset,
            });
            if self.held.len() > MAX_HELD {
                self.counts.hurried += 1;
                self.give(out);
            }
            return;
        }
        if connection.begins_anew(index, segment) {
            self.counts.connections += 1;
            connection.begin_anew(segment);
        }
        let first = self.first;
        let held = &mut self.held;
        connection.follow(index, segment, &mut |serial, follow_up| {
            if let Some(waiting) = nth(held, serial, first) {
                follow_up.note(&mut waiting.reset);
            }
        });
    }

    /// Gives the resets that have waited long enough at `now`: for live captures in which nothing more comes.
    pub fn release(&mut self, now: CaptureTime, out: &mut Vec<CapturedReset>) {
        while self.held.front().is_some_and(|held| held.due <= now) {
            self.give(out);
        }
    }

    /// The capture has ended: gives all that is left.
    pub fn finish(&mut self, out: &mut Vec<CapturedReset>) {
        while self.finish_some(usize::MAX, out) {}
    }

    /// The same, at most so many at a time; whether there were any.
    pub fn finish_some(&mut self, most: usize, out: &mut Vec<CapturedReset>) -> bool {
        let number = self.held.len().min(most);
        (0..number).for_each(|_| self.give(out));
        number > 0
    }

    fn look_for_local(&mut self, segment: &Segment<'_>) {
        for address in [segment.source, segment.destination] {
            let address = address.ip().to_canonical();
            if self.local.contains(&address) {
                self.local_seen.insert(address);
            }
            if self.addresses.len() < MAX_NAMED && !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }

    /// Addresses of the capturing host, as the user says, that no segment had; and some that segments had.
    pub fn local_not_seen(&self) -> (Vec<IpAddr>, &[IpAddr]) {
        let mut missing: Vec<_> = self.local.difference(&self.local_seen).copied().collect();
        missing.sort_unstable();
        (missing, &self.addresses)
    }

    /// What was done and could not be done.
    pub fn counts(&self) -> TrackCounts {
        self.counts
    }

    fn give(&mut self, out: &mut Vec<CapturedReset>) {
        if let Some(held) = self.held.pop_front() {
            if let Some(connection) = self.connections.get_mut(&held.key) {
                connection.release(self.first);
            }
            self.first += 1;
            out.push(*held.reset);
        }
    }

    /// Forgets connections when there are too many: first those that have ended or never began, then the most quiet ones.
    fn make_room(&mut self) {
        if self.connections.len() < MAX_CONNECTIONS {
            return;
        }
        let rank = |connection: &Connection| (connection.is_alive(), connection.last());
        let mut ranks: Vec<_> = self
            .connections
            .values()
            .map(|connection| rank(connection))
            .collect();
        let (_, &mut limit, _) = ranks.select_nth_unstable(MAX_CONNECTIONS / SHARE_TO_FORGET);
        let before = self.connections.len();
        self.connections
            .retain(|_, connection| rank(connection) > limit);
        // All alike: then any of them.
        self.counts.forgotten += (before - self.connections.len()) as u64;
    }
}

/// The reset with this serial number, where it is still held back.
fn nth(held: &mut VecDeque<Held>, serial: u64, first: u64) -> Option<&mut Held> {
    held.get_mut(usize::try_from(serial.checked_sub(first)?).ok()?)
}

/// Whether a reset that leaves had come in with other addresses just before; remembers those that come in.
fn is_translated(came_in: &mut VecDeque<(CaptureTime, Numbers)>, segment: &Segment<'_>) -> bool {
    let numbers = (segment.seq, segment.ack, segment.flags.0);
    while came_in.len() > MAX_PASSING
        || came_in
            .front()
            .is_some_and(|(time, _)| segment.time.since(*time) > PASSAGE)
    {
        came_in.pop_front();
    }
    match segment.way {
        Some(Way::In) => {
            came_in.push_back((segment.time, numbers));
            false
        }
        Some(Way::Out) => came_in.iter().any(|(_, known)| *known == numbers),
        Some(Way::By) | None => false,
    }
}

impl Key {
    /// The connection of a segment, and whether the greater end sent it.
    fn of(segment: &Segment<'_>) -> (Self, bool) {
        let source = End::of(segment.source);
        let destination = End::of(segment.destination);
        let from_greater = source > destination;
        let (lesser, greater) = if from_greater {
            (destination, source)
        } else {
            (source, destination)
        };
        let key = Self {
            lesser,
            greater,
            overlay: segment.overlay,
        };
        (key, from_greater)
    }
}

impl End {
    fn of(address: SocketAddr) -> Self {
        let number = match address.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        Self(number, address.port())
    }
}
