//! Sentences of a comparison.

use std::net::SocketAddr;
use std::time::Duration;

use super::digest::Life;
use super::locate::{Located, Survey};
use super::matching::{Connection, nanos};
use super::order;
use super::path::{self, Absence, Passage, Path};
use super::report::{
    Alone, CaptureClock, ConnectionComparison, Event, EventKind, MadeBy, Missing, PathKind, Point,
    ResetComparison, SCHEMA, Sighting, Toward,
};
use super::stream;
use super::{All, Chain};
use crate::event::TcpFlags;
use crate::hash::HashMap;
use crate::record::{Cause, Confidence, Endpoint, Evidence, EvidenceKind, Record, Word};
use crate::thresholds::IDLE;
use crate::verdict::located::{Sender, delay};
use crate::words;

/// Resets of one connection that are told of.
const MOST_RESETS: usize = 64;

/// Records by the place their capture holds them at.
pub(super) type Index<'a> = HashMap<(&'a str, u64), &'a Record>;

/// Those that say where their capture holds them.
pub(super) fn index(records: &[Record]) -> Index<'_> {
    let placed = records.iter().filter_map(|record| {
        let point = record.capture.as_ref()?;
        Some(((point.file.as_str(), point.frame), record))
    });
    placed.collect()
}

/// A leg, laid out.
struct Leg<'a> {
    connection: &'a Connection,
    /// From 1 on.
    number: u8,
    captures: Vec<usize>,
    order_known: bool,
    paths: [Path; 2],
    ends: [SocketAddr; 2],
    /// First of its points in the connection's.
    first_point: usize,
    /// Capture and life of each of its points.
    places: Vec<(usize, usize)>,
}

/// A reset before its sentence.
struct Reset {
    leg: usize,
    passage: Passage,
    located: Located,
    /// By the common clock, if there is one.
    at: Option<i64>,
}

impl All<'_> {
    /// What is told of one chain.
    pub(super) fn tell(&self, chain: &Chain<'_>) -> ConnectionComparison {
        let legs = self.legs(chain);
        let reference = legs
            .first()
            .and_then(|leg| leg.captures.first())
            .copied()
            .unwrap_or(0);
        let mut resets = self.resets(&legs, reference);
        resets.truncate(MOST_RESETS);
        let teller = Teller {
            all: self,
            legs: &legs,
            reference,
            start: self.start(&legs, reference),
        };
        let points = teller.points();
        let told: Vec<_> = resets
            .iter()
            .map(|reset| teller.reset(reset, &resets))
            .collect();
        let client = legs.first().map(|leg| leg.ends[0]);
        let server = legs.last().map(|leg| leg.ends[1]);
        let kind = kind(chain, &points);
        ConnectionComparison {
            schema: Word::new_static(SCHEMA),
            client: endpoint(client),
            server: endpoint(server),
            path: kind,
            order_known: legs.iter().all(|leg| leg.order_known),
            captures: self.clocks_of(&legs),
            events: teller.events(&resets),
            silence: teller.silence(),
            disagreement: teller.disagreement(&told, &points, kind),
            resets: told,
            points,
        }
    }

    fn legs<'c>(&self, chain: &Chain<'c>) -> Vec<Leg<'c>> {
        let mut first_point = 0;
        let mut legs = Vec::new();
        for (connection, number) in chain.legs.iter().zip(1_u8..) {
            let (captures, order_known) = order::along(connection, self.digests);
            let paths = [0, 1].map(|side| Path::of(connection, self.digests, &captures, side));
            let places = self.places(connection, &captures);
            let count = places.len();
            legs.push(Leg {
                connection,
                number,
                ends: self.ends(connection, &captures),
                order_known: order_known || captures.len() < 2,
                captures,
                paths,
                first_point,
                places,
            });
            first_point += count;
        }
        legs
    }

    /// Capture and life of each place a connection was seen at, from who opened it on.
    fn places(&self, connection: &Connection, captures: &[usize]) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        for &capture in captures {
            let mut here: Vec<_> = connection
                .lives
                .iter()
                .filter(|at| at.capture == capture)
                .filter_map(|at| {
                    let life = self.digests.get(capture)?.lives.get(at.life)?;
                    let ttl = |side: usize| {
                        let lanes = life.streams[side].lanes.iter();
                        lanes.filter_map(|lane| lane.ttl()).max()
                    };
                    // Nearer to the opener: more left of its TTL, less of the other's.
                    let key = (ttl(0).map(|ttl| u8::MAX - ttl), ttl(1), life.first, at.life);
                    Some((key, (capture, at.life)))
                })
                .collect();
            here.sort();
            all.extend(here.into_iter().map(|(_, place)| place));
        }
        all
    }

    fn clocks_of(&self, legs: &[Leg<'_>]) -> Vec<CaptureClock> {
        let holds = |number: usize| legs.iter().any(|leg| leg.captures.contains(&number));
        let clocks = self.clocks().into_iter().enumerate();
        clocks
            .filter(|(number, _)| holds(*number))
            .map(|(_, clock)| clock)
            .collect()
    }

    fn common(&self, reference: usize, capture: usize, time: u64) -> Option<i64> {
        let offset = self.clocks.between(reference, capture)?;
        Some(offset.to_a(nanos(time)))
    }

    fn start(&self, legs: &[Leg<'_>], reference: usize) -> Option<i64> {
        let lives = legs.iter().flat_map(|leg| leg.connection.all(self.digests));
        lives
            .filter_map(|(capture, life)| self.common(reference, capture, life.first.0))
            .min()
    }

    fn resets(&self, legs: &[Leg<'_>], reference: usize) -> Vec<Reset> {
        let mut all = Vec::new();
        for (number, leg) in legs.iter().enumerate() {
            for (side, path) in leg.paths.iter().enumerate() {
                let passages =
                    path::passages(leg.connection, self.digests, self.clocks, path, side);
                for passage in passages {
                    let survey = Survey {
                        connection: leg.connection,
                        digests: self.digests,
                        clocks: self.clocks,
                        captures: &leg.captures,
                        order_known: leg.order_known,
                        joined: legs.len() > 1,
                        path,
                        passage: &passage,
                    };
                    let Some(located) = survey.locate() else {
                        continue;
                    };
                    let (capture, time) = passage.first;
                    let offset = self.clocks.between(reference, capture);
                    all.push(Reset {
                        leg: number,
                        at: offset.map(|offset| offset.to_a(time)),
                        located,
                        passage,
                    });
                }
            }
        }
        all.sort_by_key(|reset| reset.at.unwrap_or(reset.passage.first.1));
        all
    }
}

fn kind(chain: &Chain<'_>, points: &[Point]) -> PathKind {
    if chain.legs.len() > 1 {
        return PathKind::Terminated;
    }
    if chain.ambiguous {
        return PathKind::Ambiguous;
    }
    if points
        .windows(2)
        .any(|pair| (&pair[0].opener, &pair[0].asked) != (&pair[1].opener, &pair[1].asked))
    {
        return PathKind::Translated;
    }
    if points.iter().all(|point| point.file == points[0].file) {
        PathKind::Alone
    } else {
        PathKind::Direct
    }
}

struct Teller<'a, 'b> {
    all: &'a All<'b>,
    legs: &'a [Leg<'a>],
    reference: usize,
    /// First segment, by the reference clock.
    start: Option<i64>,
}

impl Teller<'_, '_> {
    fn name(&self, capture: usize) -> Word {
        self.all
            .digests
            .get(capture)
            .map_or_else(Word::default, |digest| digest.name.clone())
    }

    /// By its capture and its number in it.
    fn life(&self, (capture, life): (usize, usize)) -> Option<&Life> {
        self.all.digests.get(capture)?.lives.get(life)
    }

    fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for leg in self.legs {
            for &(capture, life) in &leg.places {
                let life = self.life((capture, life));
                points.push(Point {
                    file: self.name(capture),
                    leg: leg.number,
                    opener: endpoint(life.map(|life| life.ends[0])),
                    asked: endpoint(life.map(|life| life.ends[1])),
                });
            }
        }
        points
    }

    fn sighting(
        &self,
        leg: &Leg<'_>,
        (capture, life): (usize, usize),
        seen: &stream::Sighting,
        usual_ttl: Option<u8>,
    ) -> Option<Sighting> {
        let point = leg
            .places
            .iter()
            .position(|place| *place == (capture, life))?;
        let at = self.all.common(self.reference, capture, seen.time.0);
        let after = at
            .zip(self.start)
            .map(|(at, start)| at.saturating_sub(start) as f64 / 1e9);
        Some(Sighting {
            point: leg.first_point + point,
            frame: seen.frame,
            time: timestamp(at.unwrap_or(nanos(seen.time.0))),
            after,
            ttl: seen.ttl,
            usual_ttl,
            interface: seen.place.interface,
        })
    }

    fn events(&self, resets: &[Reset]) -> Vec<Event> {
        let mut events = Vec::new();
        for (number, leg) in self.legs.iter().enumerate() {
            for side in [0, 1] {
                let mut syn = Vec::new();
                let mut data = Vec::new();
                let mut fin = Vec::new();
                for &(capture, life_number) in &leg.places {
                    let Some(life) = self.life((capture, life_number)) else {
                        continue;
                    };
                    let stream = &life.streams[side];
                    let see = |seen: &stream::Sighting| {
                        let lane = stream.lanes.iter().find(|lane| lane.place == seen.place);
                        let usual = lane.and_then(|lane| lane.ttl());
                        self.sighting(leg, (capture, life_number), seen, usual)
                    };
                    syn.extend(stream.syn.as_ref().and_then(see));
                    data.extend(stream.last_data.as_ref().and_then(see));
                    fin.extend(stream.fins.first().and_then(see));
                }
                let direction = toward(side);
                let kinds = [
                    (
                        if side == 0 {
                            EventKind::Syn
                        } else {
                            EventKind::SynAck
                        },
                        syn,
                    ),
                    (EventKind::LastData, data),
                    (EventKind::Fin, fin),
                ];
                events.extend(kinds.into_iter().filter(|(_, all)| !all.is_empty()).map(
                    |(kind, sightings)| Event {
                        kind,
                        direction,
                        sightings,
                    },
                ));
            }
            events.extend(
                resets
                    .iter()
                    .filter(|reset| reset.leg == number)
                    .map(|reset| Event {
                        kind: EventKind::Reset,
                        direction: toward(reset.passage.side),
                        sightings: self.seen(reset),
                    }),
            );
        }
        events.sort_by(|a, b| {
            let first = |event: &Event| {
                let all = event.sightings.iter().filter_map(|sighting| sighting.after);
                all.fold(f64::INFINITY, f64::min)
            };
            first(a).total_cmp(&first(b))
        });
        events
    }

    /// Where a reset was seen, from its sender's end on.
    fn stations<'r>(
        &'r self,
        reset: &'r Reset,
    ) -> impl Iterator<Item = (&'r path::Station, &'r stream::Sighting)> {
        let path = &self.legs[reset.leg].paths[reset.passage.side];
        reset.passage.sightings(path)
    }

    fn seen(&self, reset: &Reset) -> Vec<Sighting> {
        let leg = &self.legs[reset.leg];
        self.stations(reset)
            .filter_map(|(station, seen)| {
                let life = self.life_of(leg, reset, station, seen);
                self.sighting(leg, (station.capture, life), seen, station.usual)
            })
            .collect()
    }

    /// The life that holds the sighting: that of the station, unless the reset came with other addresses.
    fn life_of(
        &self,
        leg: &Leg<'_>,
        reset: &Reset,
        station: &path::Station,
        seen: &stream::Sighting,
    ) -> usize {
        let holds = |life: &Life| life.streams[reset.passage.side].resets.contains(seen);
        let lives = leg
            .connection
            .lives
            .iter()
            .filter(|at| at.capture == station.capture);
        let mut holders = lives.filter(|at| self.life((at.capture, at.life)).is_some_and(holds));
        holders.next().map_or(station.life, |at| at.life)
    }

    /// The longest silence of the first leg, if it was what came before its end.
    fn silence(&self) -> Option<f64> {
        let life = self.life(*self.legs.first()?.places.first()?)?;
        let streams = life.streams.iter();
        let end = streams
            .flat_map(|stream| stream.fins.iter().chain(&stream.resets))
            .map(|sighting| sighting.time)
            .min()?;
        let silence = life.silence?;
        let before =
            end.since(silence.until).as_secs_f64() < IDLE.as_secs_f64() && silence.until <= end;
        let span = silence.span().as_secs_f64();
        (before && span >= IDLE.as_secs_f64()).then_some(span)
    }

    fn reset(&self, reset: &Reset, all: &[Reset]) -> ResetComparison {
        let leg = &self.legs[reset.leg];
        let (case, location) = (&reset.located.case, reset.located.location);
        let explanation = case.explain(location.sender);
        let sightings = self.seen(reset);
        let claimed = self.end(reset.leg, reset.passage.side);
        let (source, destination) = self.addresses(reset);
        let made_by = match location.sender {
            Sender::Alleged => claimed.clone(),
            Sender::CaptureHost => MadeBy::CaptureHost {
                file: case.capture.clone(),
            },
            Sender::Between => MadeBy::Between {
                after: case.not_seen.as_ref().map(|place| place.capture.clone()),
                before: case.capture.clone(),
            },
            Sender::Unknown(_) => MadeBy::Unknown,
        };
        let mut evidence = explanation.evidence;
        let mut sentence = self.sentence(reset, &explanation.summary, &claimed, source);
        if let Some((kind, detail)) = self.across(reset, all) {
            sentence = format!("{sentence} {detail}");
            evidence.push(Evidence::new(kind, detail));
        }
        let first = reset.passage.seen.iter().flatten().next();
        let alone = self.alone(reset);
        let missing = reset
            .located
            .missing
            .iter()
            .map(|(capture, absence)| Missing {
                file: self.name(*capture),
                proves: *absence == Absence::Proof,
                because: match absence {
                    Absence::Proof => "it covers that time and contains the connection".into(),
                    Absence::Nothing(why) => why.clone().into(),
                },
            });
        ResetComparison {
            time: timestamp(reset.at.unwrap_or(reset.passage.first.1)),
            leg: leg.number,
            direction: toward(reset.passage.side),
            source: endpoint(Some(source)),
            destination: endpoint(Some(destination)),
            seq: first.map_or(0, |first| first.seq),
            ack: first
                .filter(|first| first.flags.has(TcpFlags::ACK))
                .and_then(|first| first.ack),
            confidence: location.confidence,
            made_by,
            sentence,
            evidence,
            sightings,
            missing: missing.collect(),
            alone,
        }
    }

    /// Source where it was seen first, destination where it was seen last.
    fn addresses(&self, reset: &Reset) -> (SocketAddr, SocketAddr) {
        let leg = &self.legs[reset.leg];
        let side = reset.passage.side;
        let ends: Vec<_> = self
            .stations(reset)
            .filter_map(|(station, seen)| {
                let life = self.life_of(leg, reset, station, seen);
                let life = self.life((station.capture, life))?;
                Some((life.ends[side], life.ends[1 - side]))
            })
            .collect();
        (
            ends.first().map_or(leg.ends[side], |ends| ends.0),
            ends.last().map_or(leg.ends[1 - side], |ends| ends.1),
        )
    }

    /// Who is at the end of a leg.
    fn end(&self, leg: usize, side: usize) -> MadeBy {
        let host = endpoint(Some(self.legs[leg].ends[side]));
        match side {
            0 if leg == 0 => MadeBy::Client { host },
            1 if leg + 1 == self.legs.len() => MadeBy::Server { host },
            _ => MadeBy::Proxy { host },
        }
    }

    fn sentence(
        &self,
        reset: &Reset,
        because: &str,
        claimed: &MadeBy,
        source: SocketAddr,
    ) -> String {
        let (case, location) = (&reset.located.case, reset.located.location);
        let name = &case.capture;
        let in_name = format!("with the address of {}", whose(claimed, source));
        let was = match location.confidence {
            Confidence::Possible => "seems to have been",
            Confidence::Certain | Confidence::Likely => "was",
        };
        let near = case.distance();
        let mut sentence = match (location.sender, &case.not_seen) {
            (Sender::Alleged, _) => format!(
                "{}{} sent it: {because}.",
                capital(&who(claimed)),
                if case.may_be_neighbor() {
                    " or a device on its link"
                } else {
                    ""
                }
            ),
            (Sender::CaptureHost, _) => {
                format!("The host of {name} sent it {in_name}: {because}.")
            }
            (Sender::Between, Some(after)) => format!(
                "It {was} sent between {} and {name}{near} {in_name}: {because}.",
                after.capture
            ),
            (Sender::Between, None) => format!(
                "It {was} sent on the path to {name}{near} {in_name}, not by that host: {because}."
            ),
            (Sender::Unknown(_), _) => format!("The sender is unknown, because {because}."),
        };
        if let Some((last, next)) = reset.located.dropped {
            let dropped = if last == next {
                format!(" The host of {} did not forward it.", self.name(last))
            } else {
                format!(
                    " It was lost or dropped between {} and {}, which covers that time and does not contain it.",
                    self.name(last),
                    self.name(next)
                )
            };
            sentence.push_str(&dropped);
        }
        sentence
    }

    /// What a proxy's reset has to do with what happened on the other leg.
    fn across(&self, reset: &Reset, all: &[Reset]) -> Option<(EvidenceKind, String)> {
        let side = reset.passage.side;
        let MadeBy::Proxy { .. } = self.end(reset.leg, side) else {
            return None;
        };
        if reset.located.location.sender != Sender::Alleged {
            return None;
        }
        // The leg on the proxy's other side, and the direction in which its far end sends.
        let other = if side == 1 {
            reset.leg + 1
        } else {
            reset.leg.checked_sub(1)?
        };
        let far = self.end(other, side);
        let seen = self.times(reset);
        let fins_of = |side: usize| -> Vec<(usize, i64)> {
            let lives = self.legs[other].connection.all(self.all.digests);
            lives
                .filter_map(|(capture, life)| {
                    Some((capture, nanos(life.streams[side].fins.first()?.time.0)))
                })
                .collect()
        };
        // What its far end did after the proxy had closed that leg is an answer, by the clock of one capture.
        let closed = fins_of(1 - side);
        let is_answer = |(capture, time): &(usize, i64)| {
            closed
                .iter()
                .any(|(its, fin)| its == capture && fin <= time)
        };
        let mut answered = false;
        let mut ended: Vec<(i64, i64, &str)> = Vec::new();
        for end in all
            .iter()
            .filter(|end| end.leg == other && end.passage.side == side)
        {
            if end.located.location.sender == Sender::Alleged {
                let times = self.times(end);
                if times.iter().any(is_answer) {
                    answered = true;
                    continue;
                }
                let gap = self.gap(&seen, &times);
                ended.extend(gap.map(|(gap, half)| (gap, half, "reset")));
            }
        }
        let mut fins = fins_of(side);
        if fins.iter().any(is_answer) {
            answered = true;
            fins.clear();
        }
        let gap = self.gap(&seen, &fins);
        ended.extend(gap.map(|(gap, half)| (gap, half, "closed (FIN)")));
        if ended
            .iter()
            .any(|&(gap, half, _)| gap.unsigned_abs() <= half.unsigned_abs())
        {
            return None;
        }
        // What a capture that ended before does not hold may have happened.
        let lasts: Vec<_> = self.legs[other]
            .captures
            .iter()
            .filter_map(|&capture| {
                let last = self.all.digests.get(capture)?.last?;
                Some((capture, nanos(last.0)))
            })
            .collect();
        let covered = lasts.iter().any(|last| {
            self.gap(&seen, std::slice::from_ref(last))
                .is_some_and(|(gap, half)| gap <= half.saturating_neg())
        });
        let before = ended
            .iter()
            .filter(|(gap, ..)| *gap > 0)
            .max_by_key(|(gap, ..)| *gap);
        match before {
            Some((gap, _, how)) => Some((
                EvidenceKind::Propagated,
                format!(
                    "{} had {how} its connection {} earlier; the load balancer propagated this.",
                    capital(&who(&far)),
                    delay(Duration::from_nanos(gap.unsigned_abs()))
                ),
            )),
            None if !covered => None,
            None => {
                let silence = self.silence();
                let quiet = silence.map_or_else(String::new, |silence| {
                    format!(" after an idle time of {}", words::seconds(silence))
                });
                let far = who(&far);
                let first = if answered {
                    format!("The load balancer had closed its connection to {far} first")
                } else {
                    format!("{} had not closed its connection before", capital(&far))
                };
                Some((
                    EvidenceKind::OwnDecision,
                    format!("{first}: the load balancer reset the connection on its own{quiet}."),
                ))
            }
        }
    }

    /// Captures and times of a reset's sightings.
    fn times(&self, reset: &Reset) -> Vec<(usize, i64)> {
        self.stations(reset)
            .map(|(station, seen)| (station.capture, nanos(seen.time.0)))
            .collect()
    }

    /// How long one event was after another, and how sure that is: by the clock of one capture that has both, else by the two
    /// that are known best against each other.
    fn gap(&self, later: &[(usize, i64)], earlier: &[(usize, i64)]) -> Option<(i64, i64)> {
        let pairs = later
            .iter()
            .flat_map(|a| earlier.iter().map(move |b| (a, b)));
        pairs
            .filter_map(|(&(a, at), &(b, time))| {
                let offset = self.all.clocks.between(a, b)?;
                let half = if offset.contradictory {
                    i64::MAX
                } else {
                    offset.half_at(at)
                };
                Some((at.saturating_sub(offset.to_a(time)), half))
            })
            .min_by_key(|(_, half)| *half)
    }

    fn alone(&self, reset: &Reset) -> Vec<Alone> {
        self.stations(reset)
            .filter_map(|(station, seen)| {
                let frame = seen.frame;
                let file = self.name(station.capture);
                let record = self.all.records.get(&(file.as_str(), frame))?;
                // "Somebody between" is what the comparison says better.
                let verdict = &record.verdict;
                (verdict.cause != Cause::Unknown).then(|| Alone {
                    file,
                    frame,
                    cause: verdict.cause,
                    summary: verdict.summary().to_owned(),
                    advice: verdict.advice().to_vec(),
                })
            })
            .collect()
    }

    /// Why the first and the last capture do not show the same.
    fn disagreement(
        &self,
        told: &[ResetComparison],
        points: &[Point],
        kind: PathKind,
    ) -> Option<String> {
        let files = [&points.first()?.file, &points.last()?.file];
        if files[0] == files[1] {
            return None;
        }
        let at = |file: &Word| {
            told.iter().find(|reset| {
                reset
                    .sightings
                    .iter()
                    .any(|s| points.get(s.point).is_some_and(|p| p.file == *file))
            })
        };
        let shown = |file: &Word, reset: &ResetComparison| {
            let point = reset
                .sightings
                .iter()
                .filter_map(|s| points.get(s.point))
                .find(|point| point.file == *file);
            point.map(|point| match reset.direction {
                Toward::Server => point.opener.clone(),
                Toward::Client => point.asked.clone(),
            })
        };
        let (Some(near), Some(far)) = (at(files[0]), at(files[1])) else {
            let (has, lacks, reset) = match (at(files[0]), at(files[1])) {
                (Some(reset), None) => (files[0], files[1], reset),
                (None, Some(reset)) => (files[1], files[0], reset),
                _ => return None,
            };
            let source = address(&shown(has, reset)?);
            return Some(format!(
                "{has} shows a reset from {source}, {lacks} shows none: {}.",
                self.maker(&reset.made_by)
            ));
        };
        let (a, b) = (shown(files[0], near)?, shown(files[1], far)?);
        let both = format!(
            "{} shows the reset from {}, {} shows it from {}",
            files[0],
            address(&a),
            files[1],
            address(&b)
        );
        if near.seq == far.seq && near.time == far.time && near.direction == far.direction {
            return (a != b && kind == PathKind::Translated)
                .then(|| format!("{both}: it is the same reset with translated addresses."));
        }
        let same_maker = near.made_by == far.made_by && near.made_by != MadeBy::Unknown;
        let proxies = matches!(
            (&near.made_by, &far.made_by),
            (MadeBy::Proxy { .. }, MadeBy::Proxy { .. })
        ) && (near.leg + 1 == far.leg);
        let doubtful = |reset: &ResetComparison| reset.confidence == Confidence::Possible;
        if doubtful(near) || doubtful(far) {
            return Some(format!(
                "{both}: two different resets; their senders are uncertain."
            ));
        }
        let other_way = same_maker && near.direction != far.direction;
        Some(if other_way || same_gap(&near.made_by, &far.made_by) {
            format!(
                "{both}: {} sent both, one with the address of each end.",
                maker_subject(&far.made_by)
            )
        } else if proxies {
            format!("{both}: the load balancer sent both, one on each of its two connections.")
        } else if same_maker {
            format!(
                "{both}: two resets, both sent by {}.",
                maker_subject(&near.made_by)
            )
        } else {
            format!(
                "{both}: two different resets; for the one in {}, {}; for the one in {}, {}.",
                files[0],
                self.maker(&near.made_by),
                files[1],
                self.maker(&far.made_by)
            )
        })
    }

    fn maker(&self, made_by: &MadeBy) -> String {
        match made_by {
            MadeBy::Unknown => "the sender is unknown".to_owned(),
            known => format!("the sender is {}", maker_subject(known)),
        }
    }
}

/// Both were made between the same two places, each in the name of the other's end.
fn same_gap(a: &MadeBy, b: &MadeBy) -> bool {
    let gap = |made_by: &MadeBy| match made_by {
        MadeBy::Between {
            after: Some(after),
            before,
        } => Some((after.clone(), before.clone())),
        _ => None,
    };
    match (gap(a), gap(b)) {
        (Some((after, before)), Some(other)) => (before, after) == other,
        _ => false,
    }
}

/// `the server 203.0.113.3:8080`.
fn who(made_by: &MadeBy) -> String {
    match made_by {
        MadeBy::Client { host } => format!("the client {}", address(host)),
        MadeBy::Server { host } => format!("the server {}", address(host)),
        MadeBy::Proxy { host } => format!("the load balancer {}", address(host)),
        other => maker_subject(other),
    }
}

/// As [`who`], with the address that was seen where it is another.
fn whose(claimed: &MadeBy, source: SocketAddr) -> String {
    let seen = endpoint(Some(source));
    match claimed {
        MadeBy::Client { host } | MadeBy::Server { host } | MadeBy::Proxy { host }
            if *host != seen =>
        {
            format!("{} (as {})", who(claimed), address(&seen))
        }
        claimed => who(claimed),
    }
}

fn maker_subject(made_by: &MadeBy) -> String {
    match made_by {
        MadeBy::CaptureHost { file } => format!("the host of {file}"),
        MadeBy::Between {
            after: Some(after),
            before,
        } => format!("a device between {after} and {before}"),
        MadeBy::Between {
            after: None,
            before,
        } => format!("a device on the path to {before}"),
        MadeBy::Unknown => "an unknown host".to_owned(),
        known => who(known),
    }
}

fn capital(text: &str) -> String {
    let mut all = text.chars();
    let first = all.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(all).collect()
}

fn toward(side: usize) -> Toward {
    if side == 0 {
        Toward::Server
    } else {
        Toward::Client
    }
}

fn endpoint(address: Option<SocketAddr>) -> Endpoint {
    let address = address.unwrap_or_else(|| (std::net::Ipv4Addr::UNSPECIFIED, 0).into());
    Endpoint {
        address: address.ip().to_canonical(),
        port: address.port(),
    }
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`.
pub(super) fn address(endpoint: &Endpoint) -> String {
    SocketAddr::new(endpoint.address, endpoint.port).to_string()
}

/// RFC 3339, UTC, nanoseconds.
fn timestamp(nanos: i64) -> String {
    let time = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap_or_default();
    format!("{time:.9}")
}
