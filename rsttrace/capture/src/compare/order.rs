//! Order of the captures on the path of a connection, and their clocks.

use std::cmp::Ordering;

use super::clock::{Bounds, Offset};
use super::digest::Digest;
use super::matching::{Connection, bounds};

/// Connections whose segments are asked for the offset of two clocks.
const MOST_ASKED: usize = 2_048;

/// Every capture's clock against every other's, as far as known.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    /// Row A, column B: B against A.
    table: Vec<Vec<Option<Offset>>>,
    bounds: Vec<Vec<Bounds>>,
}

impl Clocks {
    /// From the connections that two captures share.
    pub fn of(connections: &[Connection], digests: &[Digest]) -> Self {
        let number = digests.len();
        let mut clocks = Self {
            table: Vec::new(),
            bounds: vec![vec![Bounds::default(); number]; number],
        };
        let mut asked = vec![vec![0_usize; number]; number];
        for connection in connections {
            let captures = connection.captures();
            for (nth, &a) in captures.iter().enumerate() {
                for &b in &captures[nth + 1..] {
                    if asked[a][b] >= MOST_ASKED {
                        continue;
                    }
                    let found = bounds(connection, digests, [a, b]);
                    asked[a][b] += 1;
                    match order_of(connection, digests, [a, b], &found) {
                        Some(Ordering::Less) => clocks.bounds[a][b].add(found),
                        // The other way round: what went to the server went from B to A.
                        Some(Ordering::Greater) => clocks.bounds[a][b].add(Bounds {
                            upper: found.lower,
                            lower: found.upper,
                        }),
                        _ => {}
                    }
                }
            }
        }
        clocks.work_out();
        clocks
    }

    /// Takes what two legs of a proxy say of two captures.
    pub fn add(&mut self, [a, b]: [usize; 2], bounds: Bounds) {
        if a < b {
            self.bounds[a][b].add(bounds);
        } else if b < a {
            self.bounds[b][a].add(bounds.reversed());
        }
    }

    /// Works out the offsets anew.
    pub fn work_out(&mut self) {
        let number = self.bounds.len();
        self.table = vec![vec![None; number]; number];
        for a in 0..number {
            self.table[a][a] = Some(Offset::SAME);
            for b in a + 1..number {
                if let Some(offset) = self.bounds[a][b].offset() {
                    self.table[a][b] = Some(offset);
                    self.table[b][a] = Some(offset.reversed());
                }
            }
        }
        // By way of a third capture, where that is narrower.
        for via in 0..number {
            for a in 0..number {
                for b in 0..number {
                    let (Some(first), Some(second)) = (self.table[a][via], self.table[via][b])
                    else {
                        continue;
                    };
                    let composed = first.then(&second);
                    let better = self.table[a][b].is_none_or(|known| {
                        (composed.contradictory, composed.half) < (known.contradictory, known.half)
                    });
                    if a != b && a != via && b != via && better {
                        self.table[a][b] = Some(composed);
                    }
                }
            }
        }
    }

    /// B's clock against A's; `None` if nothing bounds it from both sides.
    pub fn between(&self, a: usize, b: usize) -> Option<Offset> {
        *self.table.get(a)?.get(b)?
    }
}

/// Which of two captures is nearer to who opened the connection: the one with more TTL left in what the opener sent and less in
/// what came back; with routers between neither, the one whose times make sense. `None` if nothing tells, or both contradict.
pub(super) fn order_of(
    connection: &Connection,
    digests: &[Digest],
    captures: [usize; 2],
    bounds: &Bounds,
) -> Option<Ordering> {
    // The greatest, then the least: a router's own capture has what came in and what left.
    let ttl = |capture: usize, side: usize| {
        let lives = connection.in_capture(digests, capture);
        let all = lives
            .flat_map(|life| &life.streams[side].lanes)
            .filter_map(|lane| lane.ttl());
        all.fold(None, |range: Option<(u8, u8)>, ttl| {
            Some(range.map_or((ttl, ttl), |(greatest, least)| {
                (greatest.max(ttl), least.min(ttl))
            }))
        })
    };
    let [a, b] = captures;
    let compared = |side: usize| Some(ttl(a, side)?.cmp(&ttl(b, side)?));
    let going = compared(0).map_or(Ordering::Equal, Ordering::reverse);
    let coming = compared(1).unwrap_or(Ordering::Equal);
    match (going, coming) {
        (Ordering::Equal, Ordering::Equal) => {
            let turned = Bounds {
                upper: bounds.lower.clone(),
                lower: bounds.upper.clone(),
            };
            let known = !bounds.upper.is_empty() && !bounds.lower.is_empty();
            match (bounds.is_consistent(), turned.is_consistent()) {
                (true, false) if known => Some(Ordering::Less),
                (false, true) if known => Some(Ordering::Greater),
                _ => None,
            }
        }
        (Ordering::Equal, other) | (other, Ordering::Equal) => Some(other),
        (a, b) if a == b => Some(a),
        _ => None,
    }
}

/// The captures that hold a connection, from who opened it to who was asked, and whether that order is known throughout: what nothing
/// tells stays in the order it was given.
pub(super) fn along(connection: &Connection, digests: &[Digest]) -> (Vec<usize>, bool) {
    let captures = connection.captures();
    let mut sure = true;
    let mut nearer = vec![0_usize; captures.len()];
    for (nth, &a) in captures.iter().enumerate() {
        for (mth, &b) in captures.iter().enumerate().skip(nth + 1) {
            let found = bounds(connection, digests, [a, b]);
            match order_of(connection, digests, [a, b], &found) {
                Some(Ordering::Greater) => nearer[nth] += 1,
                Some(_) => nearer[mth] += 1,
                None => {
                    sure = false;
                    nearer[mth] += 1;
                }
            }
        }
    }
    // In a true order everyone has another number of captures before it.
    let mut seen = nearer.clone();
    seen.sort_unstable();
    sure &= seen.iter().enumerate().all(|(nth, before)| nth == *before);
    let mut order: Vec<_> = captures.iter().copied().zip(nearer).collect();
    order.sort_by_key(|&(_, before)| before);
    (
        order.into_iter().map(|(capture, _)| capture).collect(),
        sure,
    )
}
