//! Places where a reset was seen, and where it was not.

use super::digest::{Digest, Life};
use super::matching::{Connection, nanos};
use super::order::Clocks;
use super::stream::{Place, Sighting};
use crate::capture::Way;

/// A place that the segments of one direction pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Station {
    /// Number of the capture.
    pub capture: usize,
    /// Number of the life in it.
    pub life: usize,
    /// Interface and way.
    pub place: Place,
    /// Number of its lane in the life.
    lane: Option<usize>,
    /// TTL of most segments; absent at a place where only resets were seen.
    pub usual: Option<u8>,
    /// First ordinary segment.
    since: Option<i64>,
}

/// One direction's stations, from the sender's end on.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    /// In order.
    pub stations: Vec<Station>,
}

/// A reset, and what each station says of it.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    /// Its direction: 0 from who opened the connection.
    pub side: usize,
    /// At each station of that direction.
    pub seen: Vec<Option<Sighting>>,
    /// When it was first seen, by the clock of that capture.
    pub first: (usize, i64),
}

/// Whether a station that did not see a reset would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// It would have.
    Proof,
    /// Perhaps not, because.
    Nothing(String),
}

impl Passage {
    /// Where it was seen, from the sender's end on.
    pub fn sightings<'a>(
        &'a self,
        path: &'a Path,
    ) -> impl Iterator<Item = (&'a Station, &'a Sighting)> {
        let stations = path.stations.iter().zip(&self.seen);
        stations.filter_map(|(station, seen)| Some((station, seen.as_ref()?)))
    }
}

impl Path {
    /// Of one direction, along captures in the order from who opened the connection.
    pub fn of(
        connection: &Connection,
        digests: &[Digest],
        captures: &[usize],
        side: usize,
    ) -> Self {
        let mut order = captures.to_vec();
        if side == 1 {
            order.reverse();
        }
        let mut stations = Vec::new();
        for capture in order {
            let mut here = stations_of(connection, digests, capture, side);
            here.sort_by_key(|station| {
                let way = match station.place.way {
                    Some(Way::In) => 0,
                    Some(Way::Out) => 2,
                    _ => 1,
                };
                let ttl = station.usual.map(|ttl| u8::MAX - ttl);
                (station.usual.is_none(), ttl, way, station.since)
            });
            stations.extend(here);
        }
        Self { stations }
    }

    fn index(&self, capture: usize, life: usize, place: Place) -> Option<usize> {
        let all = || self.stations.iter().enumerate();
        let same = |station: &Station| station.capture == capture && station.place == place;
        all()
            .find(|(_, station)| same(station) && station.life == life)
            .or_else(|| all().find(|(_, station)| same(station) && station.usual.is_some()))
            .map(|(index, _)| index)
    }
}

fn stations_of(
    connection: &Connection,
    digests: &[Digest],
    capture: usize,
    side: usize,
) -> Vec<Station> {
    let mut all: Vec<Station> = Vec::new();
    let lives = || connection.lives.iter().filter(|at| at.capture == capture);
    let life_at = |life: usize| -> Option<&Life> { digests.get(capture)?.lives.get(life) };
    for at in lives() {
        let Some(life) = life_at(at.life) else {
            continue;
        };
        let lanes = life.streams[side].lanes.iter().enumerate();
        all.extend(lanes.map(|(number, lane)| Station {
            capture,
            life: at.life,
            place: lane.place,
            lane: Some(number),
            usual: lane.ttl(),
            since: Some(nanos(lane.first.0)),
        }));
    }
    // Where nothing but a reset was seen.
    for at in lives() {
        let Some(life) = life_at(at.life) else {
            continue;
        };
        for reset in &life.streams[side].resets {
            let known = all.iter().any(|station| {
                station.place == reset.place && (station.life == at.life || station.usual.is_some())
            });
            if !known {
                all.push(Station {
                    capture,
                    life: at.life,
                    place: reset.place,
                    lane: None,
                    usual: None,
                    since: None,
                });
            }
        }
    }
    all
}

/// Whether the segments of this direction pass both stations of one capture. Two interfaces may share the load, and the
/// addresses of a connection may change: what passes one of them then need not pass the other.
pub(super) fn linked(digests: &[Digest], side: usize, a: &Station, b: &Station) -> bool {
    let passing = |station: &Station| -> Vec<u64> {
        let life = digests
            .get(station.capture)
            .and_then(|digest| digest.lives.get(station.life));
        let (Some(life), Some(lane)) = (life, station.lane) else {
            return Vec::new();
        };
        let landmarks = life.streams[side].landmarks.iter();
        landmarks
            .filter(|landmark| landmark.lanes & 1 << lane != 0)
            .map(|l| l.key)
            .collect()
    };
    let (of_a, of_b) = (passing(a), passing(b));
    let both = of_a.iter().filter(|key| of_b.contains(key)).count();
    a.capture == b.capture && both > 0 && both * 2 >= of_a.len().min(of_b.len())
}

/// Longest that a segment may be on its way from one capture to the next, beyond what is known of the clocks.
const LONGEST_WAY: i64 = 3_000_000_000;
/// Times this close are the same: captures in microseconds.
const TIE: i64 = 2_000;

/// The resets of one direction, each with all its sightings.
pub(super) fn passages(
    connection: &Connection,
    digests: &[Digest],
    clocks: &Clocks,
    path: &Path,
    side: usize,
) -> Vec<Passage> {
    let mut sightings: Vec<(usize, usize, Sighting)> = Vec::new();
    for at in &connection.lives {
        let Some(life) = digests.get(at.capture).and_then(|d| d.lives.get(at.life)) else {
            continue;
        };
        for reset in &life.streams[side].resets {
            if let Some(station) = path.index(at.capture, at.life, reset.place) {
                sightings.push((at.capture, station, *reset));
            }
        }
    }
    // By the clock of one of the captures, as far as that can be told.
    let reference = sightings.first().map_or(0, |(capture, ..)| *capture);
    let common = |capture: usize, sighting: &Sighting| {
        let time = nanos(sighting.time.0);
        let offset = clocks.between(reference, capture);
        offset.map_or(time, |offset| offset.to_a(time))
    };
    sightings.sort_by_key(|(capture, station, sighting)| (common(*capture, sighting), *station));
    let mut found: Vec<Passage> = Vec::new();
    for (capture, station, sighting) in sightings {
        let same = |passage: &&mut Passage| {
            passage.seen[station].is_none()
                && passage.seen.iter().enumerate().all(|(at, seen)| {
                    let Some(seen) = seen else { return true };
                    let there = path.stations[at].capture;
                    is_same(seen, &sighting)
                        && in_turn(clocks, (there, seen), (capture, &sighting), at < station)
                })
        };
        match found.iter_mut().find(same) {
            Some(passage) => passage.seen[station] = Some(sighting),
            None => {
                let mut seen = vec![None; path.stations.len()];
                seen[station] = Some(sighting);
                found.push(Passage {
                    side,
                    seen,
                    first: (capture, nanos(sighting.time.0)),
                });
            }
        }
    }
    found
}

fn is_same(a: &Sighting, b: &Sighting) -> bool {
    (a.seq, a.ack, a.flags) == (b.seq, b.ack, b.flags)
}

/// Whether one segment may have been seen by both: not too far apart, and not downstream first. (An end that got a
/// forged reset may answer with one that has the same numbers.)
fn in_turn(
    clocks: &Clocks,
    (there, seen): (usize, &Sighting),
    (here, new): (usize, &Sighting),
    downstream: bool,
) -> bool {
    let Some(offset) = clocks.between(there, here) else {
        return true;
    };
    let later = offset
        .to_a(nanos(new.time.0))
        .saturating_sub(nanos(seen.time.0));
    let way = if downstream {
        later
    } else {
        later.saturating_neg()
    };
    let slack = if offset.contradictory {
        LONGEST_WAY
    } else {
        offset.half_at(nanos(seen.time.0)).saturating_add(TIE)
    };
    way >= slack.saturating_neg() && way <= LONGEST_WAY.saturating_add(slack)
}

/// What it means that this station did not see the reset.
pub(super) fn absence(
    connection: &Connection,
    digests: &[Digest],
    clocks: &Clocks,
    station: &Station,
    passage: &Passage,
) -> Absence {
    let nothing = |why: String| Absence::Nothing(why);
    let Some(digest) = digests.get(station.capture) else {
        return nothing("no such capture".to_owned());
    };
    let name = &digest.name;
    let Some(offset) = clocks.between(passage.first.0, station.capture) else {
        return nothing(format!(
            "the clock offset of {name} is unknown, so it may not cover that time"
        ));
    };
    let at = passage.first.1.saturating_add(offset.at_a(passage.first.1));
    let margin = offset.half_at(passage.first.1);
    let begins = digest.first.map_or(i64::MAX, |first| nanos(first.0));
    let ends = digest.last.map_or(i64::MIN, |last| nanos(last.0));
    if begins > at.saturating_sub(margin) {
        return nothing(format!("{name} starts later"));
    }
    if ends < at.saturating_add(margin) {
        return nothing(format!(
            "{name} has no packets after that time; it may have ended earlier"
        ));
    }
    if station.since.is_none_or(|since| since > at) {
        return nothing(format!("{name} has no earlier packets in that direction"));
    }
    if let Some(loss) = digest.losses.first() {
        return nothing(format!("{name} has missing packets: {loss}"));
    }
    let lives = || connection.in_capture(digests, station.capture);
    let mut streams = lives().flat_map(|life| &life.streams);
    if digest.holes > 0 {
        return nothing(format!(
            "{name} has missing packets: it does not contain some that were acknowledged"
        ));
    }
    if digest.forgotten > 0 {
        return nothing(format!(
            "{name} has too many connections: {} of them were dropped from memory",
            digest.forgotten
        ));
    }
    if digest.bare == 0 {
        return nothing(format!(
            "{name} contains only SYNs and packets with data; it seems to be filtered"
        ));
    }
    if streams.all(|stream| stream.plain == 0) {
        return nothing(format!(
            "{name} contains only SYN, FIN and RST of the connection; it seems to be filtered"
        ));
    }
    if lives().any(|life| life.streams[passage.side].more_resets > 0) {
        return nothing(format!(
            "{name} has too many resets of this connection; some were dropped from memory"
        ));
    }
    Absence::Proof
}
