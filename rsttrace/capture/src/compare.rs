//! Comparison of several captures of the same connections: the sender of each reset, and why captures disagree.
//!
//! Pure: segments go in ([`Digest::see`]), a [`Comparison`] comes out. [`digest`] keeps what matters of one capture,
//! [`matching`] finds the same connection in others, [`proxy_legs`] the two connections of a proxy, [`clock`] and [`order`] put them
//! on one time line and one path, [`path`] says where a reset was seen and where not. [`locate`] collects these facts for the core, which
//! decides who sent it, and [`narrative`] puts it in words.

mod clock;
mod digest;
mod locate;
mod matching;
mod narrative;
mod order;
mod path;
mod proxy_legs;
mod render;
pub mod report;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::SocketAddr;

pub use digest::Digest;
use matching::Connection;
use order::Clocks;
use proxy_legs::Joins;
use report::CaptureClock;
pub use report::Comparison;

use crate::hash::HashMap;
use crate::record::Record;

/// Connections that are reported.
const MOST_REPORTED: usize = 4_096;
/// Proxies one after the other that are followed, and one.
const MOST_LEGS: usize = 16;

/// Compares captures. `records`: what each capture says of its resets by itself; those with [`Record::capture`] are
/// quoted at the resets they are of, the others are not used.
pub fn compare(digests: Vec<Digest>, records: &[Record]) -> Comparison {
    let mut digests = digests;
    for digest in &mut digests {
        digest.finish();
    }
    digest::tell_rotated(&mut digests);
    let (connections, lives_left_out) = matching::connections(&mut digests);
    let mut clocks = Clocks::of(&connections, &digests);
    let joins = proxy_legs::join(&connections, &digests, &mut clocks);
    let all = All {
        digests: &digests,
        connections: &connections,
        clocks: &clocks,
        joins: &joins,
        records: narrative::index(records),
    };
    let chains = all.chains();
    let mut reported: Vec<_> = chains.iter().map(|chain| all.tell(chain)).collect();
    reported.sort_by(|a, b| {
        let first =
            |c: &report::ConnectionComparison| c.resets.first().map(|reset| reset.time.clone());
        first(a).cmp(&first(b))
    });
    let connections_left_out = reported.len().saturating_sub(MOST_REPORTED) as u64
        + digests.iter().map(|digest| digest.forgotten).sum::<u64>()
        + lives_left_out;
    reported.truncate(MOST_REPORTED);
    let lives = digests.iter().flat_map(|digest| &digest.lives);
    Comparison {
        captures: all.clocks(),
        connections: reported,
        resets_left_out: lives
            .flat_map(|life| &life.streams)
            .map(|stream| stream.more_resets)
            .sum(),
        connections_left_out,
    }
}

/// What is known of all captures together.
struct All<'a> {
    digests: &'a [Digest],
    connections: &'a [Connection],
    clocks: &'a Clocks,
    joins: &'a Joins,
    records: narrative::Index<'a>,
}

/// The legs of one way from a client to a server.
struct Chain<'a> {
    legs: Vec<&'a Connection>,
    /// Whether other connections carry the same, so that other legs may belong to it.
    ambiguous: bool,
}

impl<'a> All<'a> {
    /// The ways with a reset on one of their legs.
    fn chains(&self) -> Vec<Chain<'a>> {
        let next: HashMap<usize, usize> = self
            .joins
            .joined
            .iter()
            .map(|join| (join.client, join.server))
            .collect();
        let later: HashSet<usize> = next.values().copied().collect();
        let mut chains = Vec::new();
        let mut told = HashSet::new();
        // Begin where nothing comes before; then with what is left: legs that go round, and more than one chain holds.
        let all = 0..self.connections.len();
        let firsts = all.clone().filter(|number| !later.contains(number));
        for number in firsts.chain(all) {
            if !told.insert(number) {
                continue;
            }
            let mut legs = vec![&self.connections[number]];
            let mut last = number;
            while let Some(&server) = next.get(&last)
                && legs.len() < MOST_LEGS
                && told.insert(server)
            {
                last = server;
                legs.push(&self.connections[last]);
            }
            if legs.iter().any(|leg| leg.has_reset(self.digests)) {
                chains.push(Chain {
                    legs,
                    ambiguous: self.joins.ambiguous.contains(&number),
                });
            }
        }
        chains
    }

    fn clocks(&self) -> Vec<CaptureClock> {
        let seconds = |nanos: i64| nanos as f64 / 1e9;
        let all = self.digests.iter().enumerate();
        all.map(|(number, digest)| {
            let offset = self.clocks.between(0, number);
            CaptureClock {
                file: digest.name.clone(),
                offset: offset.map(|offset| seconds(offset.nanos)),
                within: offset.map(|offset| seconds(offset.half)),
                drift_ppm: offset
                    .filter(|offset| offset.drifts && !offset.contradictory)
                    .map(|offset| (offset.drift * 1e9).round() / 1e3),
                contradictory: offset.is_some_and(|offset| offset.contradictory),
                segments: digest.segments,
                lacks: digest.losses.clone(),
            }
        })
        .collect()
    }

    /// The ends of a connection as the captures nearest to them show them.
    fn ends(&self, connection: &Connection, order: &[usize]) -> [SocketAddr; 2] {
        let nearest = |capture: Option<&usize>, side: usize| {
            // Of several lives there the one that passes nearer to that end.
            capture.and_then(|&capture| {
                let lives = connection.in_capture(self.digests, capture);
                lives
                    .filter_map(|life| {
                        let ttl = life.streams[side]
                            .lanes
                            .iter()
                            .filter_map(|lane| lane.ttl());
                        let begun = life.streams[side].isn.is_some();
                        Some(((begun, ttl.max()?), life.ends[side]))
                    })
                    .max_by_key(|(key, _)| *key)
            })
        };
        let any = connection.all(self.digests).next().map_or(
            [(std::net::Ipv4Addr::UNSPECIFIED, 0).into(); 2],
            |(_, life)| life.ends,
        );
        [
            nearest(order.first(), 0).map_or(any[0], |(_, end)| end),
            nearest(order.last(), 1).map_or(any[1], |(_, end)| end),
        ]
    }
}
