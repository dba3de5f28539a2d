//! Which connections of several captures are one and the same TCP connection?
//!
//! A pair of initial sequence numbers survives NAT, and so do sequence numbers with timestamps where the beginning was not
//! captured. What is not surely the same stays apart.

use super::clock::Bounds;
use super::stream::Landmark;
use super::trace::{Digest, Life};
use crate::hash::HashMap;

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

/// Puts together what belongs together; turns round what was taken for the wrong end.
pub(super) fn connections(digests: &mut [Digest]) -> Vec<Connection> {
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
    found.connections
}

/// A connection and a direction of it; `None`: several have it.
type Whose = Option<(usize, usize)>;

#[derive(Default)]
struct Found {
    connections: Vec<Connection>,
    by_pair: HashMap<(u32, u32), usize>,
    by_syn: HashMap<(u32, Result<u32, u16>), usize>,
    /// Without a SYN: matched by their segments.
    rest: Vec<LifeAt>,
    /// Who has this landmark.
    landmarks: HashMap<u64, Whose>,
    /// The same of resets: sequence and acknowledgement number, flags.
    resets: HashMap<(u32, Option<u32>, u8), Whose>,
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
        let known = match asked.isn {
            Some(answer) => self.by_pair.get(&(isn, answer)),
            None => None,
        };
        // A SYN alone joins what else began with it, unless two connections with answers did.
        let known = known.or_else(|| {
            self.by_syn
                .get(&syn)
                .filter(|&&index| self.may_be(digests, index, asked.isn))
        });
        let index = match known {
            Some(&index) => index,
            None => self.add(),
        };
        self.by_syn.entry(syn).or_insert(index);
        if let Some(answer) = asked.isn {
            self.by_pair.insert((isn, answer), index);
        }
        self.connections[index].lives.push(at);
        self.connections[index].oriented = true;
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
        self.connections[index].lives.push(at);
        self.remember(digests, index, at);
    }
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
