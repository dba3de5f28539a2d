//! Matching of the same TCP connection in several captures.
//!
//! A pair of initial sequence numbers survives NAT, and so do sequence numbers with timestamps where the beginning was not
//! captured. What is not surely the same stays apart.

use std::net::SocketAddr;

use super::clock::Bounds;
use super::digest::{Digest, Life};
use super::stream::Landmark;
use crate::hash::HashMap;

/// Lives of one connection that are kept: a connection that so many captures hold under so many addresses is none.
const MOST_LIVES: usize = 64;
/// Longest that a host takes to pass a SYN on.
const LONGEST_STAY: i64 = 5_000_000;
/// Times this close are the same: captures in microseconds.
const TIE: i64 = 2_000;
/// Routers that one host is.
const MOST_ROUTERS: u8 = 2;

/// Where a life is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LifeAt {
    /// Number of the capture, as they were given.
    pub capture: usize,
    /// Number of the life in it.
    pub life: usize,
}

/// One TCP connection, from one TCP stack to another, as all captures hold it.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    /// Its lives, all the same way round.
    pub lives: Vec<LifeAt>,
    /// Whether it is known who opened it.
    pub oriented: bool,
}

impl Connection {
    /// Its lives in one capture.
    pub fn in_capture<'a>(
        &'a self,
        digests: &'a [Digest],
        capture: usize,
    ) -> impl Iterator<Item = &'a Life> {
        let here = self.lives.iter().filter(move |at| at.capture == capture);
        here.filter_map(move |at| digests.get(at.capture)?.lives.get(at.life))
    }

    /// All its lives, with their captures.
    pub fn all<'a>(&'a self, digests: &'a [Digest]) -> impl Iterator<Item = (usize, &'a Life)> {
        self.lives
            .iter()
            .filter_map(|at| Some((at.capture, digests.get(at.capture)?.lives.get(at.life)?)))
    }

    /// The captures that hold it, in the order they were given.
    pub fn captures(&self) -> Vec<usize> {
        let mut all: Vec<_> = self.lives.iter().map(|at| at.capture).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether any capture has a reset of it.
    pub fn has_reset(&self, digests: &[Digest]) -> bool {
        self.all(digests).any(|(_, life)| life.has_reset())
    }
}

/// Puts together what belongs together; turns round what was taken for the wrong end. Also says how many lives were left out.
pub(super) fn connections(digests: &mut [Digest]) -> (Vec<Connection>, u64) {
    let mut found = Found::default();
    for capture in 0..digests.len() {
        for life in 0..digests[capture].lives.len() {
            found.by_isn(digests, LifeAt { capture, life });
        }
    }
    let rest = std::mem::take(&mut found.rest);
    if !rest.is_empty() {
        found.index(digests);
        for at in rest {
            found.by_segments(digests, at);
        }
    }
    for connection in &mut found.connections {
        if !connection.oriented {
            orient_by_port(digests, connection);
        }
    }
    (found.connections, found.left_out)
}

/// What a SYN is known by, whoever it is for.
type Syn = (u32, Result<u32, u16>);

/// A connection and a direction of it; `None`: several have it.
type Whose = Option<(usize, usize)>;

#[derive(Default)]
struct Found {
    connections: Vec<Connection>,
    by_pair: HashMap<(u32, u32), usize>,
    /// `None`: several connections began so, a scan for instance.
    by_syn: HashMap<Syn, Option<usize>>,
    /// The same between these two.
    by_ends: HashMap<(Syn, [SocketAddr; 2]), usize>,
    /// Without a SYN: matched by their segments.
    rest: Vec<LifeAt>,
    /// Who has this landmark.
    landmarks: HashMap<u64, Whose>,
    /// The same of resets: sequence and acknowledgement number, flags.
    resets: HashMap<(u32, Option<u32>, u8), Whose>,
    /// Lives beyond what is kept of one connection.
    left_out: u64,
}

impl Found {
    fn by_isn(&mut self, digests: &[Digest], at: LifeAt) {
        let life = &digests[at.capture].lives[at.life];
        let [opener, asked] = &life.streams;
        let Some(isn) = opener.isn else {
            self.rest.push(at);
            return;
        };
        // Without timestamps a SYN is known by the port, which NAT may change: then it stays alone.
        let syn = (isn, opener.syn_timestamp.ok_or(life.ends[0].port()));
        let ends = (syn, life.ends);
        let known = asked
            .isn
            .and_then(|answer| self.by_pair.get(&(isn, answer)).copied());
        // A SYN alone joins what else began with it, unless several did.
        let known = known.or_else(|| {
            let same = self.by_ends.get(&ends).copied();
            same.or_else(|| self.by_syn.get(&syn).copied().flatten())
                .filter(|&index| self.may_be(digests, index, asked.isn))
                .filter(|&index| self.may_pass(digests, index, at))
        });
        let index = known.unwrap_or_else(|| self.add());
        self.by_syn
            .entry(syn)
            .and_modify(|one| *one = one.filter(|one| *one == index))
            .or_insert(Some(index));
        self.by_ends.entry(ends).or_insert(index);
        if let Some(answer) = asked.isn {
            self.by_pair.insert((isn, answer), index);
        }
        self.put(index, at);
        self.connections[index].oriented = true;
    }

    fn put(&mut self, index: usize, at: LifeAt) {
        let lives = &mut self.connections[index].lives;
        if lives.len() < MOST_LIVES {
            lives.push(at);
        } else {
            self.left_out += 1;
        }
    }

    /// Whether the host of a capture may have passed on what it has of the connection already as this life: one scan sends the
    /// same SYN to many.
    fn may_pass(&self, digests: &[Digest], index: usize, at: LifeAt) -> bool {
        let life = &digests[at.capture].lives[at.life];
        let mut here = self.connections[index].in_capture(digests, at.capture);
        here.all(|other| other.ends == life.ends || is_passed_on(other, life))
    }

    /// Whether the connection's other ISN is not known to be another.
    fn may_be(&self, digests: &[Digest], index: usize, answer: Option<u32>) -> bool {
        let known = self.connections[index]
            .all(digests)
            .find_map(|(_, life)| life.streams[1].isn);
        known.is_none() || answer.is_none() || known == answer
    }

    fn add(&mut self) -> usize {
        self.connections.push(Connection::default());
        self.connections.len() - 1
    }

    fn index(&mut self, digests: &[Digest]) {
        for index in 0..self.connections.len() {
            for at in self.connections[index].lives.clone() {
                self.remember(digests, index, at);
            }
        }
    }

    fn remember(&mut self, digests: &[Digest], index: usize, at: LifeAt) {
        let life = &digests[at.capture].lives[at.life];
        for (side, stream) in life.streams.iter().enumerate() {
            for landmark in &stream.landmarks {
                note(&mut self.landmarks, landmark.key, (index, side));
            }
            for reset in &stream.resets {
                let key = (reset.seq, reset.ack, reset.flags.0);
                note(&mut self.resets, key, (index, side));
            }
        }
    }

    fn by_segments(&mut self, digests: &mut [Digest], at: LifeAt) {
        let life = &digests[at.capture].lives[at.life];
        let mut votes: HashMap<(usize, bool), (usize, usize)> = HashMap::default();
        let mut contested = false;
        for (side, stream) in life.streams.iter().enumerate() {
            for Landmark { key, strong, .. } in &stream.landmarks {
                match self.landmarks.get(key) {
                    Some(Some((index, there))) => {
                        let vote = votes.entry((*index, side != *there)).or_default();
                        vote.0 += usize::from(*strong);
                        vote.1 += 1;
                    }
                    Some(None) => contested = true,
                    None => {}
                }
            }
            // A reset by itself is weak: it needs its numbers, and the same ports.
            for reset in &stream.resets {
                let key = (reset.seq, reset.ack, reset.flags.0);
                if let Some(Some((index, there))) = self.resets.get(&key)
                    && reset.seq != 0
                    && has_ports(&self.connections[*index], digests, life)
                {
                    votes.entry((*index, side != *there)).or_default().1 += 2;
                }
            }
        }
        votes.retain(|_, (strong, all)| *strong > 0 || *all > 1);
        let mut sure = votes.keys();
        let index = match (sure.next(), sure.next()) {
            (Some(&(index, turned)), None) if !contested => {
                if turned {
                    digests[at.capture].lives[at.life].turn();
                }
                index
            }
            _ => self.add(),
        };
        let oriented = digests[at.capture].lives[at.life].oriented;
        self.connections[index].oriented |= oriented;
        self.put(index, at);
        self.remember(digests, index, at);
    }
}

/// Whether one host got the SYN of the one and sent that of the other.
fn is_passed_on(a: &Life, b: &Life) -> bool {
    let syn = |life: &Life| life.streams[0].syn;
    let (Some(a), Some(b)) = (syn(a), syn(b)) else {
        return false;
    };
    let (first, then) = if a.ttl > b.ttl { (a, b) } else { (b, a) };
    let stay = nanos(then.time.0).saturating_sub(nanos(first.time.0));
    let turns = first.place.way.is_none() || first.place.way != then.place.way;
    (-TIE..=LONGEST_STAY).contains(&stay)
        && turns
        && (1..=MOST_ROUTERS).contains(&first.ttl.saturating_sub(then.ttl))
}

fn note<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Whose>, key: K, whose: (usize, usize)) {
    index
        .entry(key)
        .and_modify(|known| *known = known.filter(|known| *known == whose))
        .or_insert(Some(whose));
}

fn has_ports(connection: &Connection, digests: &[Digest], life: &Life) -> bool {
    let ports = |life: &Life| {
        let [a, b] = life.ends.map(|end| end.port());
        (a.min(b), a.max(b))
    };
    connection
        .all(digests)
        .any(|(_, other)| ports(other) == ports(life))
}

/// Nobody saw it begin: the lower port is the service's.
fn orient_by_port(digests: &mut [Digest], connection: &Connection) {
    let first = connection.all(digests).next();
    let turned = first.is_some_and(|(_, life)| life.ends[0].port() < life.ends[1].port());
    if turned {
        for at in &connection.lives {
            digests[at.capture].lives[at.life].turn();
        }
    }
}

/// What the segments of a connection say of the clocks of two captures, if A is nearer to who opened it.
pub(super) fn bounds(connection: &Connection, digests: &[Digest], [a, b]: [usize; 2]) -> Bounds {
    let differences = |side: usize| {
        let mut of_a: HashMap<u64, i64> = HashMap::default();
        for life in connection.in_capture(digests, a) {
            for landmark in unambiguous(life, side) {
                let time = nanos(landmark.time.0);
                let first = of_a.entry(landmark.key).or_insert(time);
                *first = time.min(*first);
            }
        }
        let mut of_both: HashMap<u64, (i64, i64)> = HashMap::default();
        for life in connection.in_capture(digests, b) {
            for landmark in unambiguous(life, side) {
                if let Some(&at) = of_a.get(&landmark.key) {
                    let difference = nanos(landmark.time.0).saturating_sub(at);
                    let least = of_both.entry(landmark.key).or_insert((at, difference));
                    least.1 = least.1.min(difference);
                }
            }
        }
        let mut all: Vec<_> = of_both.into_values().collect();
        all.sort_unstable();
        all
    };
    Bounds {
        upper: differences(0),
        lower: differences(1),
    }
}

fn unambiguous(life: &Life, side: usize) -> impl Iterator<Item = &Landmark> {
    let all = life.streams[side].landmarks.iter();
    all.filter(|landmark| !landmark.twice)
}

/// As a number that differences are taken of.
pub(super) fn nanos(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
