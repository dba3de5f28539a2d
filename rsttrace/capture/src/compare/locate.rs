//! Facts about where a reset was seen, and where it was not; [`LocatedCase`] says who sent it.
//!
//! The places are walked from the end whose address it has: the last that would have seen it and did not, and the first that saw
//! it. What a capture lacks proves something only if it covers that moment, see [`path::absence`].

use std::time::Duration;

use super::digest::Digest;
use super::matching::{Connection, nanos};
use super::order::Clocks;
use super::path::{self, Absence, Passage, Path, Station};
use super::stream::{Lane, Sighting};
use crate::capture::Way;
use crate::record::Word;
use crate::thresholds::CROSSED;
use crate::verdict::LocatedCase;
use crate::verdict::located::{Location, NotSeen, Passed};
use crate::verdict::peer_signs::{TtlGrade, hops};

/// A reset with its sender.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub case: LocatedCase,
    pub location: Location,
    /// Captures without it: number, and what that means.
    pub missing: Vec<(usize, Absence)>,
    /// The last capture that contains it, and the next one, which would.
    pub dropped: Option<(usize, usize)>,
}

/// What the facts are collected from.
pub(super) struct Survey<'a> {
    pub connection: &'a Connection,
    pub digests: &'a [Digest],
    pub clocks: &'a Clocks,
    /// The captures from who opened the connection to who was asked.
    pub captures: &'a [usize],
    /// Whether that order is known.
    pub order_known: bool,
    /// Whether it is a leg of a proxy whose other leg is known.
    pub joined: bool,
    pub path: &'a Path,
    pub passage: &'a Passage,
}

impl Survey<'_> {
    /// `None` if no capture contains it.
    pub fn locate(&self) -> Option<Located> {
        let stations = self.path.stations.iter().zip(&self.passage.seen);
        // For each station without it, what that means.
        let absent: Vec<_> = stations
            .map(|(station, seen)| seen.is_none().then(|| self.absence(station)))
            .collect();
        let mut seen = self.passage.seen.iter().enumerate();
        let (first, sighting) = seen.find_map(|(at, seen)| Some((at, seen.as_ref()?)))?;
        let case = self.case(&absent, first, sighting);
        Some(Located {
            location: case.location(),
            case,
            missing: self.missing(&absent),
            dropped: self.dropped(&absent),
        })
    }

    /// The facts, from its first sighting.
    fn case(&self, absent: &[Option<Absence>], first: usize, sighting: &Sighting) -> LocatedCase {
        let all = &self.path.stations;
        let station = &all[first];
        let is_here = |other: &Station| other.capture == station.capture;
        let here = || all.iter().filter(|other| is_here(other));
        let before = || {
            let is_proof = |at: &usize| absent[*at] == Some(Absence::Proof);
            (0..first).rev().filter(is_proof).map(|at| &all[at])
        };
        LocatedCase {
            capture: self.name(station.capture),
            ttl: sighting.ttl,
            usual_ttl: station.usual.or_else(|| {
                let ttls = self.others(station).filter_map(Lane::ttl);
                ttls.min_by_key(|&ttl| TtlGrade::of(sighting.ttl, ttl))
            }),
            grade: self.grade(station, sighting.ttl),
            leaves: station.place.way == Some(Way::Out),
            arrives: station.place.way == Some(Way::In),
            others_arrive: here()
                .any(|other| other.place.way == Some(Way::In) && other.usual.is_some()),
            ttl_elsewhere: here().any(|other| {
                other.place != station.place && self.grade(other, sighting.ttl) == TtlGrade::Usual
            }),
            is_last: self.is_last(station.capture),
            is_closest: all.first().is_some_and(is_here),
            not_arrived: before().any(|other| self.linked(other, station)),
            not_seen: before().find(|other| !is_here(other)).map(|other| NotSeen {
                capture: self.name(other.capture),
                continues: self.continues(other.capture),
            }),
            may_be_missed: match absent[..first].last() {
                Some(Some(Absence::Nothing(why))) => Some(why.clone()),
                Some(Some(Absence::Proof) | None) | None => None,
            },
            passed: self.passed(station.capture, sighting),
            order_known: self.order_known,
            is_alone: self.captures.len() == 1 && !self.joined,
        }
    }

    /// Whether one capture shows that what passes one station passes the other.
    fn linked(&self, a: &Station, b: &Station) -> bool {
        path::linked(self.digests, self.passage.side, a, b)
    }

    fn name(&self, capture: usize) -> Word {
        let digest = self.digests.get(capture);
        digest.map_or_else(Word::default, |digest| digest.name.clone())
    }

    fn absence(&self, station: &Station) -> Absence {
        let (connection, clocks) = (self.connection, self.clocks);
        path::absence(connection, self.digests, clocks, station, self.passage)
    }

    /// What other connections of the same source show at a place.
    fn others(&self, station: &Station) -> impl Iterator<Item = &Lane> {
        let digest = self.digests.get(station.capture);
        let lives = digest.map_or(&[][..], |digest| &digest.lives);
        let own = lives.get(station.life);
        let source = own.map(|life| (life.overlay, life.ends[self.passage.side].ip()));
        lives
            .iter()
            .flat_map(|life| {
                life.streams
                    .iter()
                    .zip(&life.ends)
                    .map(move |it| (life, it))
            })
            .filter(move |(life, (_, end))| Some((life.overlay, end.ip())) == source)
            .flat_map(|(_, (stream, _))| &stream.lanes)
            .filter(|lane| lane.place == station.place && !lane.varies())
    }

    /// A TTL against those of the other segments at a place.
    fn grade(&self, station: &Station, ttl: u8) -> TtlGrade {
        let lives = self.connection.in_capture(self.digests, station.capture);
        let lanes: Vec<_> = lives
            .flat_map(|life| &life.streams[self.passage.side].lanes)
            .filter(|lane| lane.place == station.place)
            .collect();
        // A refused connect has no other segment.
        let lanes = if lanes.is_empty() {
            self.others(station).collect()
        } else {
            lanes
        };
        let grade = TtlGrade::among(ttl, lanes.iter().flat_map(|lane| lane.ttls()));
        if lanes.iter().any(|lane| lane.varies()) {
            grade.min(TtlGrade::Open)
        } else {
            grade
        }
    }

    /// Whether the end whose address it has sends on afterwards, as this capture shows.
    fn continues(&self, capture: usize) -> bool {
        let (first, time) = self.passage.first;
        let Some(offset) = self.clocks.between(first, capture) else {
            return false;
        };
        let lives = self.connection.in_capture(self.digests, capture);
        let last = lives
            .filter_map(|life| life.streams[self.passage.side].last)
            .map(|last| nanos(last.0))
            .max();
        let after = time
            .saturating_add(offset.at_a(time))
            .saturating_add(offset.half_at(time))
            .saturating_add(i64::try_from(CROSSED.as_nanos()).unwrap_or(i64::MAX));
        !offset.contradictory && last.is_some_and(|last| last > after)
    }

    /// The next capture that saw it.
    fn passed(&self, here: usize, sighting: &Sighting) -> Option<Passed> {
        let mut later = self.passage.sightings(self.path);
        let (station, seen) = later.find(|(station, _)| station.capture != here)?;
        let at = nanos(sighting.time.0);
        let offset = self.clocks.between(here, station.capture);
        let later = offset.and_then(|offset| {
            let gap = offset.to_a(nanos(seen.time.0)).saturating_sub(at);
            let is_known = !offset.contradictory && gap > offset.half_at(at);
            is_known.then(|| Duration::from_nanos(gap.unsigned_abs()))
        });
        Some(Passed {
            capture: self.name(station.capture),
            later,
            ttl: seen.ttl,
        })
    }

    /// Whether the capture is the last on the reset's way, at its receiver's host as far as TTLs tell.
    fn is_last(&self, capture: usize) -> bool {
        let last = match self.passage.side {
            0 => self.captures.last(),
            _ => self.captures.first(),
        };
        let lives = self.connection.in_capture(self.digests, capture);
        let back = lives
            .flat_map(|life| &life.streams[1 - self.passage.side].lanes)
            .filter_map(|lane| lane.ttl())
            .max();
        last == Some(&capture) && back.is_some_and(|ttl| hops(ttl) == 0)
    }

    /// Captures that hold it nowhere.
    fn missing(&self, absent: &[Option<Absence>]) -> Vec<(usize, Absence)> {
        let lacks = |&capture: &usize| {
            let stations = self.path.stations.iter().zip(absent);
            let here = stations.filter(|(station, _)| station.capture == capture);
            let nowhere: Vec<&Absence> = here
                .map(|(_, absence)| absence.as_ref())
                .collect::<Option<_>>()?;
            let best = nowhere
                .into_iter()
                .min_by_key(|absence| **absence != Absence::Proof);
            let none = || {
                let why = format!("{} contains nothing in that direction", self.name(capture));
                Absence::Nothing(why)
            };
            Some((capture, best.cloned().unwrap_or_else(none)))
        };
        self.captures.iter().filter_map(lacks).collect()
    }

    /// The last capture that saw it and the next one, which would have.
    fn dropped(&self, absent: &[Option<Absence>]) -> Option<(usize, usize)> {
        if !self.order_known {
            return None;
        }
        let at = self.passage.seen.iter().rposition(Option::is_some)?;
        let last = &self.path.stations[at];
        let mut later = self.path.stations.iter().zip(absent).skip(at + 1);
        let (next, _) = later.find(|(next, absence)| {
            let concerns = next.capture != last.capture || self.linked(last, next);
            **absence == Some(Absence::Proof) && concerns
        })?;
        Some((last.capture, next.capture))
    }
}
