//! Origin of a reset, from where it was seen and where it was not.
//!
//! A reset that was made at a place was not seen before it on the way from the end whose name it bears. So the places are walked from
//! that end on: the last that would have seen it and did not, and the first that saw it, have its maker between them.
//! What a capture lacks proves something only if it covers that moment, see [`path::absence`].

use super::clock::Offset;
use super::digest::Digest;
use super::matching::{Connection, nanos};
use super::order::Clocks;
use super::path::{self, Absence, Passage, Path, Station};
use super::stream::Sighting;
use crate::capture::Way;
use crate::record::{Confidence, Evidence, EvidenceKind};
use crate::verdict::peer_signs::{hops, weigh_ttl};

/// Who, without names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// The end whose address it bears.
    Claimed,
    /// The host of this capture.
    Host(usize),
    /// Between the place of a capture (or the end whose address it bears) and that of another.
    Between(Option<usize>, usize),
    Unknown,
}

/// How near the maker is to the first place that saw the reset, by a TTL that was not lowered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Near {
    /// A router is between them, or nothing tells.
    Far,
    /// No router is between them.
    Neighbour,
    /// The same, and nothing says that it came in there: it may be that host itself.
    HostOrNeighbour,
}

/// What a TTL says of the end whose name a reset bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    /// Other segments of that end have the same.
    Usual,
    /// Another one, which a detour or another start explains; or there is nothing to compare it with.
    Open,
    /// Another part of the same host may explain it.
    Odd,
    /// It does not come from there on the way of the others.
    Foreign,
}

#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub maker: Maker,
    pub confidence: Confidence,
    /// How it is known, to follow "…: "; for an unknown maker, why it is not.
    pub because: String,
    pub evidence: Vec<Evidence>,
    /// Captures without it: number, and what that means.
    pub missing: Vec<(usize, Absence)>,
    /// How near to the first place that saw it.
    pub place: Near,
    /// Whatever is on the link of the end whose name it bears would look the same.
    pub or_neighbour: bool,
    /// It did not get farther than this capture, though the next would have seen it.
    pub dropped: Option<(usize, usize)>,
}

/// What a judgement is made from.
pub(super) struct Case<'a> {
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

#[derive(Default)]
struct Facts {
    evidence: Vec<Evidence>,
}

impl Facts {
    fn add(&mut self, kind: EvidenceKind, detail: String) {
        self.evidence.push(Evidence::new(kind, detail));
    }
}

impl Case<'_> {
    pub fn judge(&self) -> Judgement {
        let absent = self.absences();
        let mut judgement = self.decide(&absent);
        judgement.place = self.near();
        judgement.missing = self.missing(&absent);
        judgement.dropped = self.dropped(&absent);
        judgement
    }

    /// Whether what passes one station passes the other, as far as one capture tells: of two captures their order says it.
    fn concerns(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.path.stations[a], &self.path.stations[b]);
        a.capture != b.capture || path::linked(self.digests, self.passage.side, a, b)
    }

    fn name(&self, capture: usize) -> &str {
        self.digests.get(capture).map_or("", Digest::name)
    }

    /// For each station without the reset, what that means.
    fn absences(&self) -> Vec<Option<Absence>> {
        let stations = self.path.stations.iter().zip(&self.passage.seen);
        stations
            .map(|(station, seen)| {
                seen.is_none().then(|| {
                    path::absence(
                        self.connection,
                        self.digests,
                        self.clocks,
                        station,
                        self.passage,
                    )
                })
            })
            .collect()
    }

    fn decide(&self, absent: &[Option<Absence>]) -> Judgement {
        let seen = self.passage.seen.iter().enumerate();
        let Some((first, sighting)) = seen
            .filter_map(|(at, seen)| Some((at, seen.as_ref()?)))
            .next()
        else {
            return unknown("it is not in any capture".to_owned());
        };
        let station = &self.path.stations[first];
        let proof = (0..first)
            .rev()
            .find(|&at| absent[at] == Some(Absence::Proof) && self.concerns(at, first));
        // Within one capture the order is that of its own clock and TTLs.
        let at_home =
            proof.is_some_and(|proof| self.path.stations[proof].capture == station.capture);
        if !self.order_known && self.captures.len() > 1 && !at_home {
            return unknown(
                "the order of the captures on the path is unknown: neither TTLs nor times distinguish them"
                    .to_owned(),
            );
        }
        let alone = self.captures.len() == 1 && !self.joined;
        match proof {
            Some(_) if at_home => self.made_at_host(station, sighting),
            // What came before in the order contradicts it: the same captures saw it later.
            Some(proof) => self.after_absence(&self.path.stations[proof], station, sighting),
            None if alone => unknown(format!(
                "only {} contains this connection",
                self.name(station.capture)
            )),
            None => self.without_absence(absent, first, sighting),
        }
    }

    /// It left a host that it had not come to.
    fn made_at_host(&self, station: &Station, sighting: &Sighting) -> Judgement {
        let name = self.name(station.capture);
        let mut facts = Facts::default();
        facts.add(
            EvidenceKind::NotPassed,
            format!("{name} shows it leaving but not arriving, although it has the other packets of this direction at both places"),
        );
        let ttl = self.ttl(station, sighting);
        self.other_ttl(station, sighting, &mut facts);
        let (not_seen, went_on) = self.upstream(station.capture, &mut facts);
        // Whoever goes on did not send it; else a packet that the capture lost may have come in.
        if hops(sighting.ttl) > 0 && !went_on {
            return unknown(format!(
                "{name} shows it leaving but not arriving, yet {} as if it had been forwarded; {name} may have missed its arrival",
                with_ttl(sighting)
            ));
        }
        if self.came_so(station, sighting) && !not_seen {
            return unknown(format!(
                "{name} shows it leaving but not arriving, yet {} like forwarded packets; {name} may have missed its arrival",
                with_ttl(sighting)
            ));
        }
        // What came in leaves with less than a host starts with.
        let own_start = ttl == Ttl::Foreign && station.place.way == Some(Way::Out);
        Judgement {
            maker: Maker::Host(station.capture),
            confidence: if went_on || own_start {
                Confidence::Certain
            } else {
                Confidence::Likely
            },
            because: format!(
                "it left this host {} without having arrived",
                with_ttl(sighting)
            ),
            ..facts.into()
        }
    }

    /// A capture nearer to the end whose name it bears proves that it did not pass there.
    fn after_absence(&self, before: &Station, station: &Station, sighting: &Sighting) -> Judgement {
        let (upstream, name) = (self.name(before.capture), self.name(station.capture));
        let mut facts = Facts::default();
        facts.add(
            EvidenceKind::NotSeen,
            format!("{upstream} covers that time and does not contain it"),
        );
        let ttl = self.ttl(station, sighting);
        let foreign = ttl == Ttl::Foreign;
        self.other_ttl(station, sighting, &mut facts);
        let went_on = self.went_on(before.capture, &mut facts);
        // One detour past the other capture explains both that it is missing there and its TTL: only who goes on is surely not the
        // sender.
        let confidence = match (went_on, foreign) {
            (true, _) => Confidence::Certain,
            (false, true) => Confidence::Likely,
            (false, false) => Confidence::Possible,
        };
        let own_start = hops(sighting.ttl) == 0 && foreign;
        if own_start && station.place.way == Some(Way::Out) {
            return Judgement {
                maker: Maker::Host(station.capture),
                confidence,
                because: format!(
                    "{upstream} does not contain it, and in {name} it leaves the host {}, an initial TTL",
                    with_ttl(sighting)
                ),
                ..facts.into()
            };
        }
        Judgement {
            maker: Maker::Between(Some(before.capture), station.capture),
            confidence,
            because: match (ttl, station.usual) {
                (Ttl::Foreign, Some(usual)) => format!(
                    "{upstream} does not contain it, and in {name} it appears {} where other packets have {usual}",
                    with_ttl(sighting)
                ),
                _ if went_on => {
                    format!("{upstream} covers that time and does not contain it, {name} does")
                }
                (Ttl::Usual, _) => format!(
                    "{upstream} covers that time and does not contain it; but in {name} it has the usual TTL of its source, \
                     so {upstream} may have missed it"
                ),
                _ => format!(
                    "{upstream} covers that time and does not contain it; but its TTL in {name}, {}, is compatible with its \
                     source, so {upstream} may have missed it",
                    sighting.ttl
                ),
            },
            ..facts.into()
        }
    }

    /// No capture nearer to the end whose name it bears proves anything.
    fn without_absence(
        &self,
        absent: &[Option<Absence>],
        first: usize,
        sighting: &Sighting,
    ) -> Judgement {
        let station = &self.path.stations[first];
        let name = self.name(station.capture);
        let mut facts = Facts::default();
        let Some(usual) = station.usual else {
            return unknown(format!(
                "{name} contains no other packet in that direction to compare it with"
            ));
        };
        let ttl = self.ttl(station, sighting);
        let left = station.place.way == Some(Way::Out);
        let came_in = station.place.way == Some(Way::In);
        if ttl != Ttl::Usual {
            self.other_ttl(station, sighting, &mut facts);
            let foreign = ttl == Ttl::Foreign;
            if hops(sighting.ttl) == 0 && hops(usual) > 0 && foreign && left {
                return Judgement {
                    maker: Maker::Host(station.capture),
                    confidence: Confidence::Likely,
                    because: format!(
                        "in {name} it leaves the host {}, an initial TTL, where other packets have {usual}",
                        with_ttl(sighting)
                    ),
                    ..facts.into()
                };
            }
            if hops(usual) == 0 && !came_in {
                return unknown(format!(
                    "in {name} it appears {}, where other packets have {usual}: the TCP stack of the sender did not send it like them, and \
                     no capture shows who did",
                    with_ttl(sighting)
                ));
            }
            if ttl == Ttl::Open {
                return unknown(format!(
                    "in {name} it appears {}, where other packets have {usual}: another route or initial TTL of its source explains this as \
                     well as another sender",
                    with_ttl(sighting)
                ));
            }
            return Judgement {
                maker: Maker::Between(None, station.capture),
                confidence: if foreign {
                    Confidence::Likely
                } else {
                    Confidence::Possible
                },
                because: format!(
                    "in {name} it appears {} where other packets have {usual}",
                    with_ttl(sighting)
                ),
                ..facts.into()
            };
        }
        // A capture nearer to its end lacks it, and may have missed it.
        if let Some(Some(Absence::Nothing(why))) = absent[..first].last() {
            return unknown(format!(
                "it has the usual TTL of its source, but a capture closer to the source does not contain it: {why}"
            ));
        }
        facts.add(
            EvidenceKind::Ttl,
            format!(
                "in {name} it appears {}, like other packets of its source",
                with_ttl(sighting)
            ),
        );
        let own = hops(usual) == 0;
        // A bridge has it leaving, too: its segments came in before.
        let at_source = own
            && left
            && !self.path.stations.iter().any(|other| {
                other.capture == station.capture
                    && other.place.way == Some(Way::In)
                    && other.usual.is_some()
            });
        if at_source {
            facts.add(
                EvidenceKind::Left,
                format!("{name} shows it leaving its host"),
            );
        }
        let passed = self.passed_on(first, sighting);
        if let (Some(passed), true) = (&passed, own) {
            facts.add(EvidenceKind::Passed, passed.clone());
        }
        // Whatever is on the sender's link starts with the same TTL: only its own host has it leaving.
        let confidence = if at_source {
            Confidence::Certain
        } else {
            Confidence::Likely
        };
        let because = match (own, passed) {
            (true, Some(passed)) => format!(
                "it appears first in {name}, {}, the initial TTL of its source; {passed}",
                with_ttl(sighting)
            ),
            (true, None) => format!(
                "in {name} it appears {}, the initial TTL of its source",
                with_ttl(sighting)
            ),
            (false, _) => format!(
                "in {name} it appears {}, like all packets from there; no capture is closer to the source",
                with_ttl(sighting)
            ),
        };
        Judgement {
            maker: Maker::Claimed,
            confidence,
            because,
            or_neighbour: own && !at_source,
            ..facts.into()
        }
    }

    /// The TTL against those of the other segments at that place.
    fn ttl(&self, station: &Station, sighting: &Sighting) -> Ttl {
        if station.usual.is_none() {
            return Ttl::Open;
        }
        let lives = self.connection.in_capture(self.digests, station.capture);
        let lanes = lives
            .flat_map(|life| &life.streams[self.passage.side].lanes)
            .filter(|lane| lane.place == station.place);
        let mut least = None;
        let mut varies = false;
        for lane in lanes {
            varies |= lane.varies();
            for usual in lane.ttls() {
                let weight = if usual == sighting.ttl {
                    i32::MIN
                } else {
                    weigh_ttl(sighting.ttl, usual)
                };
                least = Some(least.map_or(weight, |least: i32| least.min(weight)));
            }
        }
        match least {
            Some(i32::MIN) => Ttl::Usual,
            Some(weight) if weight > 0 && !varies => {
                if weight > 1 {
                    Ttl::Foreign
                } else {
                    Ttl::Odd
                }
            }
            _ => Ttl::Open,
        }
    }

    /// Whether segments that come in to this capture's host leave it with this TTL: a bridge does not lower it.
    fn came_so(&self, station: &Station, sighting: &Sighting) -> bool {
        self.ttl(station, sighting) == Ttl::Usual
            && self.path.stations.iter().any(|other| {
                other.capture == station.capture
                    && other.place != station.place
                    && other.usual.is_some()
                    && self.ttl(other, sighting) == Ttl::Usual
            })
    }

    /// Notes a TTL that other segments of its source do not have.
    fn other_ttl(&self, station: &Station, sighting: &Sighting, facts: &mut Facts) {
        if let (Some(usual), Ttl::Foreign | Ttl::Odd | Ttl::Open) =
            (station.usual, self.ttl(station, sighting))
        {
            let detail = format!(
                "in {} it has TTL {}, other packets of its source have {usual}",
                self.name(station.capture),
                sighting.ttl
            );
            facts.add(EvidenceKind::Ttl, detail);
        }
    }

    /// Notes that another capture, nearer to its end, does not hold it, and whether that end went on; both.
    fn upstream(&self, host: usize, facts: &mut Facts) -> (bool, bool) {
        let stations = self.path.stations.iter().zip(self.absences());
        let mut before = stations.take_while(|(station, _)| station.capture != host);
        let Some((station, _)) = before.find(|(_, a)| *a == Some(Absence::Proof)) else {
            return (false, false);
        };
        let detail = format!(
            "{} covers that time and does not contain it",
            self.name(station.capture)
        );
        facts.add(EvidenceKind::NotSeen, detail);
        (true, self.went_on(station.capture, facts))
    }

    /// Notes that the end whose name it bears went on sending afterwards; whether it did.
    fn went_on(&self, capture: usize, facts: &mut Facts) -> bool {
        let Some(offset) = self.clocks.between(self.passage.first.0, capture) else {
            return false;
        };
        let at = self
            .passage
            .first
            .1
            .saturating_add(offset.at_a(self.passage.first.1));
        let lives = self.connection.in_capture(self.digests, capture);
        let last = lives
            .filter_map(|life| life.streams[self.passage.side].last)
            .map(|last| nanos(last.0))
            .max();
        // A moment later: a segment that crossed the reset says nothing.
        let after = at
            .saturating_add(offset.half_at(self.passage.first.1))
            .saturating_add(50_000_000);
        let went_on = !offset.contradictory && last.is_some_and(|last| last > after);
        if went_on {
            facts.add(
                EvidenceKind::WentOn,
                format!(
                    "in {} the alleged sender continues the connection afterwards",
                    self.name(capture)
                ),
            );
        }
        went_on
    }

    /// The next capture that saw it, and how much later.
    fn passed_on(&self, first: usize, sighting: &Sighting) -> Option<String> {
        let here = self.path.stations[first].capture;
        let later = self
            .path
            .stations
            .iter()
            .zip(&self.passage.seen)
            .skip(first + 1);
        let (station, seen) = later
            .filter(|(station, _)| station.capture != here)
            .find_map(|(station, seen)| Some((station, seen.as_ref()?)))?;
        let name = self.name(station.capture);
        let after = self
            .clocks
            .between(here, station.capture)
            .and_then(|offset| {
                let gap = offset
                    .to_a(nanos(seen.time.0))
                    .saturating_sub(nanos(sighting.time.0));
                later_by(gap, &offset, nanos(sighting.time.0))
            });
        let ttl = if seen.ttl == sighting.ttl {
            String::new()
        } else {
            format!(" with TTL {}", seen.ttl)
        };
        Some(match after {
            Some(after) => format!("in {name} it appears {after} later{ttl}"),
            None => format!("it also appears in {name}{ttl}"),
        })
    }

    fn near(&self) -> Near {
        let mut seen = self.path.stations.iter().zip(&self.passage.seen);
        let first = seen.find_map(|(station, seen)| Some((station, seen.as_ref()?)));
        match first {
            Some((station, first)) if hops(first.ttl) == 0 => {
                if station.place.way == Some(Way::In) || self.is_last(station.capture) {
                    Near::Neighbour
                } else {
                    Near::HostOrNeighbour
                }
            }
            _ => Near::Far,
        }
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
        let mut all = Vec::new();
        for &capture in self.captures {
            let here = || {
                self.path
                    .stations
                    .iter()
                    .zip(absent)
                    .filter(move |(station, _)| station.capture == capture)
            };
            if here().any(|(_, absence)| absence.is_none()) {
                continue;
            }
            let best = here()
                .filter_map(|(_, absence)| absence.as_ref())
                .find(|absence| **absence == Absence::Proof)
                .or_else(|| here().find_map(|(_, absence)| absence.as_ref()));
            let none = || {
                let why = format!("{} contains nothing in that direction", self.name(capture));
                Absence::Nothing(why)
            };
            all.push((capture, best.cloned().unwrap_or_else(none)));
        }
        all
    }

    /// The last capture that saw it and the next one, which would have.
    fn dropped(&self, absent: &[Option<Absence>]) -> Option<(usize, usize)> {
        if !self.order_known && self.captures.len() > 1 {
            return None;
        }
        let last = self.passage.seen.iter().rposition(Option::is_some)?;
        let next = (last + 1..absent.len())
            .find(|&at| absent[at] == Some(Absence::Proof) && self.concerns(last, at))?;
        Some((
            self.path.stations[last].capture,
            self.path.stations[next].capture,
        ))
    }
}

impl From<Facts> for Judgement {
    fn from(facts: Facts) -> Self {
        Self {
            maker: Maker::Unknown,
            confidence: Confidence::Possible,
            because: String::new(),
            evidence: facts.evidence,
            missing: Vec::new(),
            place: Near::Far,
            or_neighbour: false,
            dropped: None,
        }
    }
}

fn unknown(because: String) -> Judgement {
    let mut facts = Facts::default();
    facts.add(EvidenceKind::Missing, because.clone());
    Judgement {
        because,
        ..facts.into()
    }
}

fn with_ttl(sighting: &Sighting) -> String {
    format!("with TTL {}", sighting.ttl)
}

/// `0.2 ms`, if that is more than what is known of the clocks.
fn later_by(gap: i64, offset: &Offset, at: i64) -> Option<String> {
    (!offset.contradictory && gap > offset.half_at(at)).then(|| span(gap))
}

/// `0.2 ms`, `12 µs`, `3.0 s`.
pub(super) fn span(nanos: i64) -> String {
    match nanos.unsigned_abs() {
        under @ 0..1_000 => format!("{under} ns"),
        under @ 1_000..100_000 => format!("{} µs", under / 1_000),
        other => crate::words::span(std::time::Duration::from_nanos(other)),
    }
}
