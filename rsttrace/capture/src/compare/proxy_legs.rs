//! Matching of the two connections of a terminating proxy.
//!
//! Both carry the same bytes: what comes in on one leg goes out on the other later, never earlier. Where several
//! connections fit, none is taken. Without a clock that both captures are known by, the bytes are not enough: an address in
//! common, or the header of a proxy, has to say so too.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::clock::{Bounds, Offset};
use super::digest::{Digest, Life};
use super::matching::{Connection, nanos};
use super::order::Clocks;
use super::stream::Stream;
use crate::hash::HashMap;

/// Least bytes that both legs have in common.
const LEAST_COMMON: usize = 8;
/// The same where no host is known to be on both legs, or no clock.
const LEAST_TELLING: usize = 32;
/// Different bytes among those.
const LEAST_DIFFERENT: usize = 12;
/// First bytes each way by which candidates are looked up.
const LOOKED_UP: usize = 32;
/// The same where one leg holds less.
const FEW_LOOKED_UP: usize = 4;
/// Candidates that are looked at; more are too many to tell apart.
const MOST_CANDIDATES: usize = 2_048;
/// Bytes by the clock tolerance of one capture: time stamps of two interfaces.
const SLACK: i64 = 2_000;
/// Rate by which two clocks may differ unnoticed, of a million.
const UNSEEN_DRIFT_PPM: i64 = 100;

/// The leg nearer to the client, and the one nearer to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    pub ambiguous: HashSet<usize>,
}

/// Joins the connections that have resets, and those that such are legs with. Adds to the clocks what they say.
pub(super) fn join(connections: &[Connection], digests: &[Digest], clocks: &mut Clocks) -> Joins {
    // What nobody else carries needs no clock; what it says of the clocks tells others apart.
    let mut first = search(connections, digests, clocks, &HashSet::default());
    let mut said: HashMap<[usize; 2], Vec<(Join, Bounds)>> = HashMap::default();
    for join in &first.joined {
        let (client, server) = (&connections[join.client], &connections[join.server]);
        if !is_supported(client, server, digests) {
            continue;
        }
        for a in client.captures() {
            for b in server.captures() {
                if a == b || clocks.between(a, b).is_some() {
                    continue;
                }
                let found = marks(client, server, digests, [a, b]);
                let (pair, found) = if a < b {
                    ([a, b], found)
                } else {
                    ([b, a], found.reversed())
                };
                said.entry(pair).or_default().push((*join, found));
            }
        }
    }
    let mut contradicted = HashSet::new();
    let mut learned = false;
    for (pair, said) in said {
        // No join is tested against a clock that rests on it, but all of them against each other.
        let agreed = agreed(&said, unseen(digests, pair));
        for ((join, found), agrees) in said.into_iter().zip(agreed) {
            if agrees {
                clocks.add(pair, found);
                learned = true;
            } else {
                contradicted.insert((join.client, join.server));
            }
        }
    }
    let pair = |join: &Join| (join.client, join.server);
    first
        .joined
        .retain(|join| !contradicted.contains(&pair(join)));
    for (client, server) in contradicted {
        first.ambiguous.extend([client, server]);
    }
    if !learned {
        return first;
    }
    clocks.work_out();
    let kept: HashSet<_> = first.joined.iter().map(pair).collect();
    let mut second = search(connections, digests, clocks, &kept);
    second.joined.extend(first.joined);
    second.joined.sort_by_key(pair);
    second.joined.dedup();
    let joined = &second.joined;
    let sure: HashSet<_> = joined.iter().flat_map(|j| [j.client, j.server]).collect();
    second.ambiguous.retain(|number| !sure.contains(number));
    second
}

/// By how much two clocks may have drifted apart while both captures ran.
fn unseen(digests: &[Digest], pair: [usize; 2]) -> i64 {
    let spans = pair.iter().filter_map(|&capture| {
        let digest = digests.get(capture)?;
        Some(nanos(digest.last?.0).saturating_sub(nanos(digest.first?.0)))
    });
    spans.max().unwrap_or(0) / 1_000_000 * UNSEEN_DRIFT_PPM
}

/// Which of the joins say the same of two clocks, if more than half do; else none.
fn agreed(said: &[(Join, Bounds)], unseen: i64) -> Vec<bool> {
    let ranges: Vec<_> = said
        .iter()
        .map(|(_, bounds)| {
            let (low, high) = bounds.range();
            let slack = unseen.saturating_add(SLACK);
            (low.saturating_sub(slack), high.saturating_add(slack))
        })
        .collect();
    let mut edges: Vec<(i64, i32)> = Vec::new();
    for &(low, high) in &ranges {
        edges.extend([(low, -1), (high, 1)]);
    }
    // At one time beginnings come before ends.
    edges.sort_unstable();
    let (mut open, mut most, mut at) = (0_usize, 0_usize, 0);
    for (time, edge) in edges {
        if edge < 0 {
            open += 1;
            if open > most {
                (most, at) = (open, time);
            }
        } else {
            open = open.saturating_sub(1);
        }
    }
    let clear = most * 2 > ranges.len();
    ranges
        .iter()
        .map(|&(low, high)| clear && (low..=high).contains(&at))
        .collect()
}

/// Connections by how they begin.
#[derive(Default)]
struct Beginnings {
    /// With as many bytes each way as are looked up.
    long: HashMap<[Vec<u8>; 2], Vec<usize>>,
    all: HashMap<[Vec<u8>; 2], Vec<usize>>,
    /// Those with fewer bytes.
    short: HashMap<[Vec<u8>; 2], Vec<usize>>,
}

impl Beginnings {
    fn of(connections: &[Connection], digests: &[Digest]) -> Self {
        let mut index = Self::default();
        for (number, connection) in connections.iter().enumerate() {
            let Some(heads) = beginning(connection, digests) else {
                continue;
            };
            let few = cut(heads, FEW_LOOKED_UP);
            index.all.entry(few.clone()).or_default().push(number);
            let kind = if is_long(heads) {
                index.long.entry(cut(heads, LOOKED_UP)).or_default()
            } else {
                index.short.entry(few).or_default()
            };
            kind.push(number);
        }
        index
    }

    /// Those that may carry the same.
    fn like(&self, connection: &Connection, digests: &[Digest]) -> Vec<usize> {
        let Some(heads) = beginning(connection, digests) else {
            return Vec::new();
        };
        let few = cut(heads, FEW_LOOKED_UP);
        let lists = if is_long(heads) {
            [self.long.get(&cut(heads, LOOKED_UP)), self.short.get(&few)]
        } else {
            [self.all.get(&few), None]
        };
        lists.into_iter().flatten().flatten().copied().collect()
    }
}

fn is_long(heads: [&[u8]; 2]) -> bool {
    heads.iter().all(|head| head.len() >= LOOKED_UP)
}

fn cut(heads: [&[u8]; 2], most: usize) -> [Vec<u8>; 2] {
    heads.map(|head| head[..head.len().min(most)].to_vec())
}

/// `kept`: clients' and servers' legs that are known to belong together.
fn search(
    connections: &[Connection],
    digests: &[Digest],
    clocks: &Clocks,
    kept: &HashSet<(usize, usize)>,
) -> Joins {
    let index = Beginnings::of(connections, digests);
    let belongs = |client: usize, server: usize| {
        kept.contains(&(client, server)) || fits(connections, digests, clocks, client, server)
    };
    let servers = |client: usize, of: &[usize]| -> Vec<usize> {
        let fits = |&&other: &&usize| belongs(client, other);
        of.iter().filter(fits).copied().take(2).collect()
    };
    let clients = |server: usize, of: &[usize]| -> Vec<usize> {
        let fits = |&&other: &&usize| belongs(other, server);
        of.iter().filter(fits).copied().take(2).collect()
    };
    let mut joins = Joins::default();
    for (number, connection) in connections.iter().enumerate() {
        if !connection.has_reset(digests) {
            continue;
        }
        let of = index.like(connection, digests);
        if of.len() < 2 {
            continue;
        }
        if of.len() > MOST_CANDIDATES {
            joins.ambiguous.insert(number);
            continue;
        }
        let (to, from) = (servers(number, &of), clients(number, &of));
        let pair = |client: usize, server: usize| Join {
            client,
            server,
            common: common(connections, digests, client, server),
        };
        let unique = |others: &[usize]| others == [number];
        let like = |other: usize| index.like(&connections[other], digests);
        match (to.as_slice(), from.as_slice()) {
            ([], []) => {}
            // Both: nothing tells which is the client's.
            ([a], [b]) if a == b => {
                joins.ambiguous.insert(number);
            }
            (to, from) => {
                for &server in to {
                    if to.len() == 1 && unique(&clients(server, &like(server))) {
                        joins.joined.push(pair(number, server));
                    } else {
                        joins.ambiguous.insert(number);
                    }
                }
                for &client in from {
                    if from.len() == 1 && unique(&servers(client, &like(client))) {
                        joins.joined.push(pair(client, number));
                    } else {
                        joins.ambiguous.insert(number);
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

fn beginning<'a>(connection: &'a Connection, digests: &'a [Digest]) -> Option<[&'a [u8]; 2]> {
    let heads = heads(fullest(connection, digests)?);
    (heads[0].len() + heads[1].len() >= LEAST_COMMON).then_some(heads)
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

/// Who the client is, by such a header.
fn proxied(head: &[u8]) -> Option<SocketAddr> {
    const BINARY: usize = 12;
    let header = head.get(..proxy_header(head))?;
    if let Some(text) = header.strip_prefix(b"PROXY ") {
        let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
        let (ip, port) = (words.nth(1)?, words.nth(1)?);
        return Some((ip.parse::<IpAddr>().ok()?, port.parse().ok()?).into());
    }
    let ends = header.get(BINARY + 4..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*ends.get(at)?, *ends.get(at + 1)?]));
    match header.get(BINARY + 1)? {
        0x11 => {
            let ip: [u8; 4] = ends.get(..4)?.try_into().ok()?;
            Some((IpAddr::from(ip), port(8)?).into())
        }
        0x21 => {
            let ip: [u8; 16] = ends.get(..16)?.try_into().ok()?;
            Some((IpAddr::from(ip), port(32)?).into())
        }
        _ => None,
    }
}

/// Whether more than the bytes says that these are legs of one proxy: the host that was asked opened the other, or that tells
/// in its header whom it speaks for.
fn is_supported(client: &Connection, server: &Connection, digests: &[Digest]) -> bool {
    let ends = |connection: &Connection, side: usize| -> HashSet<SocketAddr> {
        let lives = connection.all(digests);
        lives.map(|(_, life)| life.ends[side]).collect()
    };
    let asked: HashSet<IpAddr> = ends(client, 1).iter().map(SocketAddr::ip).collect();
    if ends(server, 0).iter().any(|end| asked.contains(&end.ip())) {
        return true;
    }
    let openers = ends(client, 0);
    let mut lives = server.all(digests);
    lives.any(|(_, life)| {
        proxied(&life.streams[0].head).is_some_and(|client| openers.contains(&client))
    })
}

/// Whether the common bytes are so many and so different that nobody else says them.
fn is_telling(x: &Life, y: &Life) -> bool {
    let mut count = 0;
    let mut different = HashSet::new();
    for (x, y) in heads(x).iter().zip(heads(y)) {
        let least = x.len().min(y.len());
        count += least;
        different.extend(x[..least].iter().copied());
    }
    count >= LEAST_TELLING && different.len() >= LEAST_DIFFERENT
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
    if !carry_the_same(x, y) || !may_meet(client, server, digests) {
        return false;
    }
    let supported = is_supported(client, server, digests);
    // Where the clock is known, what only a few bytes say is told by time too.
    match in_time(client, server, digests, clocks) {
        Timing::Against => false,
        Timing::ByClock => supported || is_telling(x, y),
        Timing::WithoutClock => supported && is_telling(x, y),
    }
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

/// What the times say of two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timing {
    /// They are no legs, or nothing tells.
    Against,
    /// By a known clock all that came out came in before.
    ByClock,
    /// Some difference of the clocks makes it so.
    WithoutClock,
}

/// Whether all that came out came in before, in every capture and between any two of them.
fn in_time(
    client: &Connection,
    server: &Connection,
    digests: &[Digest],
    clocks: &Clocks,
) -> Timing {
    let (mut told, mut by_clock) = (false, false);
    for a in client.captures() {
        for b in server.captures() {
            let found = marks(client, server, digests, [a, b]);
            let offset = if a == b {
                Some(Offset::SAME)
            } else {
                clocks.between(a, b).filter(|offset| !offset.contradictory)
            };
            let Some(offset) = offset else {
                told |= !found.upper.is_empty() && !found.lower.is_empty();
                if !found.is_consistent_within(found.unseen_drift()) {
                    return Timing::Against;
                }
                continue;
            };
            // However wide the clock is: some offset has to satisfy all.
            let found = found.against(&offset);
            let within = |&(at, d): &(i64, i64), sign: i64| {
                let slack = offset.half_at(at).saturating_add(SLACK);
                d.saturating_mul(sign).saturating_add(slack) >= 0
            };
            let bounds = found.upper.iter().chain(&found.lower);
            let unseen = bounds.map(|&(at, _)| offset.half_at(at).saturating_sub(offset.half));
            if !found.is_consistent_within(unseen.max().unwrap_or(0).saturating_mul(2))
                || !found.upper.iter().all(|bound| within(bound, 1))
                || !found.lower.iter().all(|bound| within(bound, -1))
            {
                return Timing::Against;
            }
            by_clock |= !found.upper.is_empty() || !found.lower.is_empty();
        }
    }
    match (by_clock, told) {
        (true, _) => Timing::ByClock,
        (false, true) => Timing::WithoutClock,
        (false, false) => Timing::Against,
    }
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
