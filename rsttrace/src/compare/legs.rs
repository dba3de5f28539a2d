//! Which two connections are the legs of one that a proxy ended and began anew?
//!
//! Both carry the same bytes: what comes in on one leg goes out on the other later, never earlier. Where several
//! connections fit, none is taken.

use std::net::{IpAddr, SocketAddr};

use super::clock::Bounds;
use super::matching::{Connection, nanos};
use super::order::Clocks;
use super::stream::Stream;
use super::trace::{Digest, Life};
use crate::hash::HashMap;

/// Least bytes that both legs have in common.
const LEAST_COMMON: usize = 8;
/// First bytes by which candidates are looked up.
const LOOKED_UP: usize = 4;
/// Candidates that are looked at; more are too many to tell apart.
const MOST_CANDIDATES: usize = 2_048;
/// Bytes by the clock tolerance of one capture: time stamps of two interfaces.
const SLACK: i64 = 2_000;

/// The leg nearer to the client, and the one nearer to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Join {
    /// Number of the client's connection.
    pub client: usize,
    /// Number of the server's connection.
    pub server: usize,
    /// Bytes both have in common at their beginnings.
    pub common: usize,
}

/// What was found of legs.
#[derive(Clone, Debug, Default)]
pub(super) struct Joins {
    /// Sure ones.
    pub joined: Vec<Join>,
    /// Connections that carry what others carry, too: which belongs to which is not known.
    pub ambiguous: Vec<usize>,
}

/// Joins the connections that have resets, and those that such are legs with. Adds to the clocks what they say.
pub(super) fn join(connections: &[Connection], digests: &[Digest], clocks: &mut Clocks) -> Joins {
    // What nobody else carries needs no clock; what it says of the clocks tells others apart.
    let first = search(connections, digests, clocks);
    let mut learned = false;
    for join in &first.joined {
        let (client, server) = (&connections[join.client], &connections[join.server]);
        for a in client.captures() {
            for b in server.captures() {
                if a != b && clocks.between(a, b).is_none() {
                    clocks.add([a, b], marks(client, server, digests, [a, b]));
                    learned = true;
                }
            }
        }
    }
    clocks.work_out();
    if learned {
        search(connections, digests, clocks)
    } else {
        first
    }
}

fn search(connections: &[Connection], digests: &[Digest], clocks: &Clocks) -> Joins {
    let mut index: HashMap<[Vec<u8>; 2], Vec<usize>> = HashMap::default();
    for (number, connection) in connections.iter().enumerate() {
        if let Some(key) = key(connection, digests) {
            index.entry(key).or_default().push(number);
        }
    }
    let none = Vec::new();
    let of = |number: usize| {
        let key = key(&connections[number], digests);
        key.and_then(|key| index.get(&key)).unwrap_or(&none)
    };
    let servers = |client: usize| -> Vec<usize> {
        let fits = |&&other: &&usize| fits(connections, digests, clocks, client, other);
        of(client).iter().filter(fits).copied().take(2).collect()
    };
    let clients = |server: usize| -> Vec<usize> {
        let fits = |&&other: &&usize| fits(connections, digests, clocks, other, server);
        of(server).iter().filter(fits).copied().take(2).collect()
    };
    let mut joins = Joins::default();
    for (number, connection) in connections.iter().enumerate() {
        if !connection.has_reset(digests) || of(number).len() < 2 {
            continue;
        }
        if of(number).len() > MOST_CANDIDATES {
            joins.ambiguous.push(number);
            continue;
        }
        let (to, from) = (servers(number), clients(number));
        let pair = |client: usize, server: usize| Join {
            client,
            server,
            common: common(connections, digests, client, server),
        };
        let unique = |others: &[usize]| others == [number];
        match (to.as_slice(), from.as_slice()) {
            ([], []) => {}
            // Both: nothing tells which is the client's.
            ([a], [b]) if a == b => joins.ambiguous.push(number),
            (to, from) => {
                for &server in to {
                    if to.len() == 1 && unique(&clients(server)) {
                        joins.joined.push(pair(number, server));
                    } else {
                        joins.ambiguous.push(number);
                    }
                }
                for &client in from {
                    if from.len() == 1 && unique(&servers(client)) {
                        joins.joined.push(pair(client, number));
                    } else {
                        joins.ambiguous.push(number);
                    }
                }
            }
        }
    }
    joins.joined.sort_by_key(|join| (join.client, join.server));
    joins.joined.dedup();
    // Whatever is contested on one side is not joined on the other.
    let ambiguous = &joins.ambiguous;
    joins
        .joined
        .retain(|join| !ambiguous.contains(&join.client) && !ambiguous.contains(&join.server));
    joins
}

/// The life that holds the most of both beginnings.
fn fullest<'a>(connection: &'a Connection, digests: &'a [Digest]) -> Option<&'a Life> {
    let lives = connection.all(digests).map(|(_, life)| life);
    lives
        .filter(|life| life.streams[0].isn.is_some())
        .max_by_key(|life| {
            life.streams
                .iter()
                .map(|stream| stream.head.len())
                .sum::<usize>()
        })
}

fn key(connection: &Connection, digests: &[Digest]) -> Option<[Vec<u8>; 2]> {
    let life = fullest(connection, digests)?;
    let [asked, answered] = heads(life);
    if asked.len() + answered.len() < LEAST_COMMON {
        return None;
    }
    Some([asked, answered].map(|head| head[..head.len().min(LOOKED_UP)].to_vec()))
}

/// The first bytes both ways, without a header of the PROXY protocol.
fn heads(life: &Life) -> [&[u8]; 2] {
    let [asked, answered] = &life.streams;
    [
        &asked.head[proxy_header(&asked.head).min(asked.head.len())..],
        &answered.head,
    ]
}

/// Length of the PROXY protocol's header (version 1 or 2) that a balancer puts before what the client sent; 0 if there is none.
fn proxy_header(head: &[u8]) -> usize {
    const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    if head.starts_with(b"PROXY ") {
        let end = head.windows(2).position(|pair| pair == b"\r\n");
        return end.map_or(0, |end| end + 2);
    }
    match head.strip_prefix(BINARY) {
        Some([_, _, high, low, ..]) => {
            BINARY.len() + 4 + usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => 0,
    }
}

fn common(connections: &[Connection], digests: &[Digest], client: usize, server: usize) -> usize {
    let (Some(x), Some(y)) = (
        fullest(&connections[client], digests),
        fullest(&connections[server], digests),
    ) else {
        return 0;
    };
    let (x, y) = (heads(x), heads(y));
    (0..2).map(|side| x[side].len().min(y[side].len())).sum()
}

/// Whether these two may be the client's and the server's leg.
fn fits(
    connections: &[Connection],
    digests: &[Digest],
    clocks: &Clocks,
    client: usize,
    server: usize,
) -> bool {
    if client == server {
        return false;
    }
    let (client, server) = (&connections[client], &connections[server]);
    if !overlap(client, server, digests) {
        return false;
    }
    let (Some(x), Some(y)) = (fullest(client, digests), fullest(server, digests)) else {
        return false;
    };
    carry_the_same(x, y)
        && may_meet(client, server, digests)
        && in_time(client, server, digests, clocks)
}

/// Whether they live at the same time, by every capture that has both. Quickly told: most that carry the same do not.
fn overlap(client: &Connection, server: &Connection, digests: &[Digest]) -> bool {
    client.all(digests).all(|(capture, x)| {
        server
            .in_capture(digests, capture)
            .all(|y| x.first <= y.last && y.first <= x.last)
    })
}

fn carry_the_same(x: &Life, y: &Life) -> bool {
    let (of_x, of_y) = (heads(x), heads(y));
    let mut common = 0;
    for (x, y) in of_x.iter().zip(of_y) {
        let least = x.len().min(y.len());
        if x[..least] != y[..least] {
            return false;
        }
        common += least;
    }
    let whole = |stream: &Stream| stream.holes == 0;
    // A proxy sends no more than it was given.
    let header = proxy_header(&y.streams[0].head) as u64;
    let asked = !whole(&x.streams[0]) || x.streams[0].length + header >= y.streams[0].length;
    let answered = !whole(&y.streams[1]) || y.streams[1].length >= x.streams[1].length;
    // The same timestamps: one stack made both, and a box between rewrites sequence numbers.
    let rewritten = x.streams[0].syn_timestamp.is_some()
        && x.streams[0].syn_timestamp == y.streams[0].syn_timestamp;
    common >= LEAST_COMMON && asked && answered && !rewritten
}

/// Whether a host may be both who was asked on one leg and who opened the other.
fn may_meet(client: &Connection, server: &Connection, digests: &[Digest]) -> bool {
    let ends = |connection: &Connection, side: usize| -> Vec<SocketAddr> {
        connection
            .all(digests)
            .map(|(_, life)| life.ends[side])
            .collect()
    };
    let hosts = |ends: &[SocketAddr]| -> Vec<IpAddr> { ends.iter().map(SocketAddr::ip).collect() };
    let (asked, opener) = (ends(client, 1), ends(server, 0));
    if hosts(&asked)
        .iter()
        .any(|host| hosts(&opener).contains(host))
    {
        return true;
    }
    // Two connections of one client, or to one server, that carry the same.
    let openers = hosts(&ends(client, 0));
    let same_client = hosts(&opener).iter().any(|host| openers.contains(host));
    let servers = ends(server, 1);
    let same_server = asked.iter().any(|asked| servers.contains(asked));
    !same_client && !same_server
}

/// Whether all that came out came in before, in every capture and between any two of them.
fn in_time(client: &Connection, server: &Connection, digests: &[Digest], clocks: &Clocks) -> bool {
    let mut told = false;
    for a in client.captures() {
        for b in server.captures() {
            let found = marks(client, server, digests, [a, b]);
            let offset = if a == b { Some((0, SLACK)) } else { None };
            let offset = offset.or_else(|| {
                let offset = clocks.between(a, b)?;
                (!offset.contradictory).then(|| (offset.nanos, offset.half.saturating_add(SLACK)))
            });
            let fits = match offset {
                Some((offset, slack)) => {
                    told |= !found.upper.is_empty() || !found.lower.is_empty();
                    found
                        .upper
                        .iter()
                        .all(|&(_, d)| d.saturating_add(slack) >= offset)
                        && found
                            .lower
                            .iter()
                            .all(|&(_, d)| d.saturating_sub(slack) <= offset)
                }
                None => {
                    told |= !found.upper.is_empty() && !found.lower.is_empty();
                    found.is_consistent()
                }
            };
            if !fits {
                return false;
            }
        }
    }
    told
}

/// What the bytes on both legs say of two captures: those of the client came to A first, those of the server to B.
fn marks(
    client: &Connection,
    server: &Connection,
    digests: &[Digest],
    [a, b]: [usize; 2],
) -> Bounds {
    let mut bounds = Bounds::default();
    for x in client.in_capture(digests, a) {
        for y in server.in_capture(digests, b) {
            let header = proxy_header(&y.streams[0].head) as u64;
            bounds
                .upper
                .extend(differences(&x.streams[0], &y.streams[0], header));
            bounds
                .lower
                .extend(differences(&x.streams[1], &y.streams[1], 0));
        }
    }
    bounds
}

fn differences(x: &Stream, y: &Stream, header: u64) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    for mark in &x.marks {
        // The first byte goes with the header.
        let there = match mark.position {
            0 => 0,
            position => position + header,
        };
        if let Some(other) = y.marks.iter().find(|other| other.position == there) {
            let at = nanos(mark.time.0);
            all.push((at, nanos(other.time.0).saturating_sub(at)));
        }
    }
    all
}
