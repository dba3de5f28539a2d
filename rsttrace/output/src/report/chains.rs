//! Paths of resets: sender, forwarders, receivers.
//!
//! A path is what the records of one incident show, the answers to segments in flight aside. They follow each other within seconds, so
//! only the last incidents are held open. Paths of one shape are counted, and the first of them is drawn.

use std::collections::BTreeMap;

use crate::findings::rank;
use crate::hash::{self, LruCache};
use crate::record::{
    Cause, Confidence, Direction, Endpoint, IncidentRole, Origin, Process, Record, Word,
};

/// Incidents that may still grow.
const MOST_OPEN: usize = 1_024;
/// Records of one chain.
const MOST_RECORDS: usize = 16;
/// Shapes that are distinguished.
const MOST_SHAPES: usize = 256;

/// A place on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Station {
    /// A process of this host, or a device; absent for another host's end.
    pub process: Option<Word>,
    pub pid: Option<u32>,
    pub addresses: Vec<String>,
    /// `client`, `server`, `proxy`, `device`.
    pub part: &'static str,
    /// The reset was sent here, with this confidence; absent for other stations, and if unknown.
    pub made: Option<Confidence>,
}

/// From one station to the next.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leg {
    /// What is known of the segment: `TTL 63`, `TTL 63, handshake 57`.
    pub label: String,
    /// The reset went there; else this is the connection as it was.
    pub reset: bool,
}

/// A drawing: one station more than legs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    pub stations: Vec<Station>,
    pub legs: Vec<Leg>,
    /// What happened, in the record's words.
    pub summary: String,
    pub cause: Cause,
    pub severity: usize,
    pub count: u64,
}

/// Shape: severity, and each record's cause, direction and process.
type Shape = (usize, Vec<(Cause, Direction, Option<Word>)>);

#[derive(Debug)]
pub(super) struct Chains {
    open: LruCache<(Word, u64), Vec<Record>>,
    shapes: BTreeMap<Shape, (u64, Vec<Record>)>,
}

impl Default for Chains {
    fn default() -> Self {
        Self {
            open: hash::lru(MOST_OPEN),
            shapes: BTreeMap::new(),
        }
    }
}

impl Chains {
    /// One more record.
    pub fn add(&mut self, record: &Record) {
        let incident = match &record.incident {
            Some(incident) => match incident.role {
                IncidentRole::First | IncidentRole::OtherEnd | IncidentRole::Leg => incident.id,
                IncidentRole::Consequence | IncidentRole::Correction => return,
            },
            None => record.id.number,
        };
        let key = (record.id.boot.clone(), incident);
        if let Some(chain) = self.open.peek_mut(&key) {
            if chain.len() < MOST_RECORDS {
                chain.push(record.clone());
            }
            return;
        }
        if let Some((_, oldest)) = self.open.push(key, vec![record.clone()]) {
            self.close(oldest);
        }
    }

    fn close(&mut self, chain: Vec<Record>) {
        let is_drawn = chain.len() > 1 || chain.iter().any(is_blamed);
        if !is_drawn {
            return;
        }
        let worst = chain.iter().map(|it| rank(it.verdict.severity)).min();
        let parts = chain.iter().map(|record| {
            let process = record.process.as_ref().map(|it| it.comm.clone());
            (record.verdict.cause, record.direction, process)
        });
        let shape = (worst.unwrap_or_default(), parts.collect());
        if self.shapes.len() >= MOST_SHAPES && !self.shapes.contains_key(&shape) {
            return;
        }
        self.shapes.entry(shape).or_insert((0, chain)).0 += 1;
    }

    /// The drawings, most telling first: devices and proxies before plain ends, then the worst, then the most.
    pub fn finish(mut self, most: usize) -> Vec<Chain> {
        while let Some((_, oldest)) = self.open.pop_lru() {
            self.close(oldest);
        }
        let shapes = self.shapes.into_iter();
        let mut all: Vec<_> = shapes
            .filter_map(|((severity, _), (count, records))| {
                let chain = draw(records, severity, count)?;
                let telling = chain.stations.len() > 2;
                Some((!telling, severity, std::cmp::Reverse(count), chain))
            })
            .collect();
        all.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
        all.into_iter().take(most).map(|it| it.3).collect()
    }
}

/// A device on the way made the reset. Near misses name an address, but nobody knows whose they are.
fn is_blamed(record: &Record) -> bool {
    record.verdict.origin == Origin::Middlebox && record.verdict.cause != Cause::BlindAttempt
}

/// How sure it is that the reset was made where it says it comes from: by what its first record tells.
fn is_its_source(records: &[Record]) -> Option<Confidence> {
    let verdict = &records.first()?.verdict;
    let known = match verdict.origin {
        Origin::LocalProcess | Origin::LocalKernel | Origin::Peer => {
            !matches!(verdict.cause, Cause::RawSocket | Cause::Unknown)
        }
        // In its name, not by it.
        Origin::LocalFirewall | Origin::Middlebox | Origin::Forwarded | Origin::Unknown => false,
    };
    known.then_some(verdict.confidence)
}

/// A connection of the chain: the records of its ends.
struct Connection {
    source: Endpoint,
    destination: Endpoint,
    records: Vec<Record>,
}

fn draw(mut records: Vec<Record>, severity: usize, count: u64) -> Option<Chain> {
    records.sort_by(|a, b| a.time.cmp(&b.time));
    let first = records.first()?;
    let (summary, cause) = (first.verdict.summary().to_owned(), first.verdict.cause);
    let mut connections: Vec<Connection> = Vec::new();
    for record in records {
        let (source, destination) = (record.source().clone(), record.destination().clone());
        let known = connections
            .iter_mut()
            .find(|it| it.source == source && it.destination == destination);
        match known {
            Some(known) => known.records.push(record),
            None => connections.push(Connection {
                source,
                destination,
                records: vec![record],
            }),
        }
    }
    let mut stations: Vec<Station> = Vec::new();
    let mut legs = Vec::new();
    for connection in &connections {
        let begin = station(connection, true);
        match stations.last_mut() {
            // The process that got the one reset made the next.
            Some(last) => {
                last.part = "proxy";
                last.addresses.extend(begin.addresses);
                last.process = last.process.take().or(begin.process);
                last.pid = last.pid.or(begin.pid);
            }
            None => stations.push(begin),
        }
        if let Some(blamed) = connection.records.iter().find(|it| is_blamed(it)) {
            let handshake = blamed.packet.as_ref().and_then(|it| it.expected_ttl);
            legs.push(Leg {
                label: handshake.map_or_else(String::new, |ttl| format!("handshake TTL {ttl}")),
                reset: false,
            });
            stations.push(Station {
                part: "device on the path",
                made: Some(blamed.verdict.confidence),
                ..Station::default()
            });
        } else if stations.len() == 1
            && let Some(maker) = stations.first_mut()
        {
            maker.made = is_its_source(&connection.records);
        }
        let ttl = |direction| {
            let mut there = connection.records.iter();
            there
                .find(|it| it.direction == direction)
                .and_then(|it| it.packet.as_ref()?.ttl)
        };
        let label = match (ttl(Direction::Sent), ttl(Direction::Received)) {
            (Some(sent), Some(received)) if sent != received => {
                format!("RST, TTL {sent} → {received}")
            }
            (Some(ttl), _) | (None, Some(ttl)) => format!("RST, TTL {ttl}"),
            (None, None) => "RST".to_owned(),
        };
        legs.push(Leg { label, reset: true });
        stations.push(station(connection, false));
    }
    Some(Chain {
        stations,
        legs,
        summary,
        cause,
        severity,
        count,
    })
}

/// One end of a connection, as its own record or the other end's tells it.
fn station(connection: &Connection, source: bool) -> Station {
    let (end, other) = if source {
        (&connection.source, &connection.destination)
    } else {
        (&connection.destination, &connection.source)
    };
    let own = connection.records.iter().find(|record| {
        record.direction
            == if source {
                Direction::Sent
            } else {
                Direction::Received
            }
    });
    let process: Option<&Process> = own.and_then(|record| record.process.as_ref());
    Station {
        process: process.map(|it| it.comm.clone()),
        pid: process.map(|it| it.pid),
        addresses: vec![end.to_string()],
        part: if end.port <= other.port {
            "server"
        } else {
            "client"
        },
        made: None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::sample as record;
    use crate::record::{Incident, Severity};

    fn of_incident(mut record: Record, id: u64, role: IncidentRole) -> Record {
        record.incident = Some(Incident {
            id,
            role,
            severity: Severity::Fault,
            further: None,
        });
        record
    }

    fn drawn(records: &[Record]) -> Vec<Chain> {
        let mut chains = Chains::default();
        records.iter().for_each(|record| chains.add(record));
        chains.finish(9)
    }

    #[test]
    fn a_device_stands_between_the_ends() {
        let first = |id| of_incident(record(), id, IncidentRole::First);
        let found = drawn(&[first(1), first(2)]);
        assert_eq!((found.len(), found[0].count), (1, 2));
        let parts: Vec<_> = found[0].stations.iter().map(|it| it.part).collect();
        assert_eq!(parts, ["client", "device on the path", "server"]);
        assert_eq!(found[0].stations[1].made, Some(Confidence::Likely));
        assert_eq!(found[0].legs[0].label, "handshake TTL 57");
        assert_eq!(found[0].legs[1].label, "RST, TTL 63");
    }

    #[test]
    fn a_proxy_joins_two_connections() {
        let mut back = record();
        back.verdict.origin = Origin::Peer;
        back.verdict.cause = Cause::ResetByPeer;
        back.remote.port = 80;
        back.local.port = 40_000;
        let mut front = back.clone();
        front.direction = Direction::Sent;
        front.verdict.cause = Cause::Propagated;
        front.local.port = 443;
        front.remote = Endpoint {
            address: [192, 0, 2, 9].into(),
            port: 55_000,
        };
        front.time = "2026-01-05T12:03:42.000000000Z".to_owned();
        let answer = of_incident(back.clone(), 1, IncidentRole::Consequence);
        let back = of_incident(back, 1, IncidentRole::First);
        let front = of_incident(front, 1, IncidentRole::Leg);
        let found = drawn(&[back, answer, front]);
        let parts: Vec<_> = found[0].stations.iter().map(|it| it.part).collect();
        assert_eq!(parts, ["server", "proxy", "client"]);
        assert!(found[0].stations[0].made.is_some());
        assert_eq!(found[0].stations[1].addresses.len(), 2);
    }
}
