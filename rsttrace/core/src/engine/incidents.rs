//! Incidents: which records belong to the same end of a connection.
//!
//! A record joins an incident by its link, which the correlator and the proxies give (the other end, another leg), else by its
//! connection: segments in flight when a connection ends are answered one by one. Connections that end at one instant by the same cause
//! are one incident, too. At most one record of an incident is a fault.

use std::time::Duration;

use super::bursts::Burst;
use crate::event::{BootTime, NetnsCookie};
use crate::hash::{self, HashMap, LruCache};
use crate::record::{
    Cause, Direction, Endpoint, FailureRecord, Incident, IncidentRole, Origin, Record, Severity,
};
use crate::thresholds::{LONGEST_END, SAME_END, TALKS_ON};

/// Incidents kept; in a storm the oldest are dropped, and what belongs to them opens new ones.
const MAX_INCIDENTS: usize = 8_192;

/// Bursts kept.
const MAX_BURSTS: usize = 64;

/// Both ends, the lower one first, and the overlay of a capture.
type Connection = (Endpoint, Endpoint, NetnsCookie);

/// The incidents of the last seconds.
#[derive(Debug)]
pub struct Incidents {
    open: LruCache<u64, Open>,
    by_connection: LruCache<Connection, u64>,
    by_link: LruCache<u64, u64>,
    by_burst: LruCache<(Burst, Cause), u64>,
    /// Resets that are judged and wait for their turn.
    waiting: HashMap<Connection, usize>,
}

#[derive(Clone, Debug)]
struct Open {
    began: BootTime,
    last: BootTime,
    severity: Severity,
    /// The connection of the first record.
    connection: Connection,
    link: Option<u64>,
    /// The number that answers the SYN, of a connect that failed.
    attempt: Option<u32>,
    /// The first verdict names an end of the connection, and has not been corrected.
    names_an_end: bool,
}

/// What only the engine knows of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Of a capture with several overlays: which one.
    pub overlay: NetnsCookie,
    /// It shows that an accepted reset did not come from the peer.
    pub refutes: bool,
    /// It is the first record of its reset.
    pub is_counted: bool,
    /// Without a link of its own it may be the first of a chain.
    pub leads: bool,
    /// The burst of connections that it belongs to.
    pub burst: Option<Burst>,
}

impl Default for Incidents {
    fn default() -> Self {
        Self {
            open: hash::lru(MAX_INCIDENTS),
            by_connection: hash::lru(MAX_INCIDENTS),
            by_link: hash::lru(MAX_INCIDENTS),
            by_burst: hash::lru(MAX_BURSTS),
            waiting: HashMap::default(),
        }
    }
}

impl Incidents {
    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> [(&'static str, usize, Option<usize>); 1] {
        [("incidents", self.open.len(), Some(MAX_INCIDENTS))]
    }

    /// Takes notice of a judged record that waits for its turn.
    pub fn expect(&mut self, record: &Record, about: About) {
        if about.is_counted {
            let connection = connection(record, about.overlay);
            *self.waiting.entry(connection).or_default() += 1;
        }
    }

    /// Gives a numbered record its incident; the severity stays with one record of it. Records come in order of time. `unjudged`
    /// counts the resets of its connection that have been seen and not judged, and is called for the first record only.
    pub fn place(
        &mut self,
        record: &mut Record,
        time: BootTime,
        about: About,
        unjudged: impl FnOnce(&Record) -> usize,
    ) {
        let judged = record.verdict.severity;
        let connection = connection(record, about.overlay);
        let waiting = self.waiting(&connection, about);
        let link = record.link.as_ref().map(|link| link.id);
        let linked = link.and_then(|link| self.by_link.peek(&link).copied());
        let burst = about.burst.map(|burst| (burst, record.verdict.cause));
        let joined = linked
            .or_else(|| self.of_connection(&connection, record, time, about))
            .or_else(|| self.by_burst.peek(&burst?).copied());
        let (id, role) = match joined.and_then(|id| Some((id, self.open.get_mut(&id)?))) {
            Some((id, open)) => {
                let role = open.role(record, &connection, about);
                open.join(record, role, time);
                (id, role)
            }
            None => {
                let id = record.id.number;
                let open = Open {
                    began: time,
                    last: time,
                    severity: judged,
                    connection: connection.clone(),
                    link: link.or_else(|| about.leads.then_some(id)),
                    attempt: attempt(record),
                    names_an_end: names_an_end(record),
                };
                self.open.put(id, open);
                (id, IncidentRole::First)
            }
        };
        if let Some(link) = link.or_else(|| about.leads.then_some(record.id.number)) {
            self.by_link.put(link, id);
        }
        if let Some(burst) = burst {
            self.by_burst.put(burst, id);
        }
        self.by_connection.put(connection, id);
        let further = (role == IncidentRole::First)
            .then(|| waiting.saturating_add(unjudged(record)) as u64)
            .filter(|further| *further > 0);
        record.incident = Some(Incident {
            id,
            role,
            severity: self.open.peek(&id).map_or(judged, |open| open.severity),
            further,
        });
    }

    /// Gives a numbered failure its incident, which later answers to segments of that connection join and, if it `leads`, the resets
    /// that its process sends because of it.
    pub fn place_failure(&mut self, failure: &mut FailureRecord, time: BootTime, leads: bool) {
        let (Some(local), Some(remote)) = (failure.local.clone(), failure.remote.clone()) else {
            return;
        };
        let judged = failure.verdict.severity;
        let connection = ordered(local, remote, NetnsCookie::default());
        let joined = self.by_connection.peek(&connection).copied();
        let joined = joined.and_then(|id| Some((id, self.open.get_mut(&id)?)));
        let goes_on = |open: &Open| {
            let is_new = failure.syns.is_some() || judged < open.severity;
            !is_new && time.since(open.last) <= SAME_END && time.since(open.began) <= LONGEST_END
        };
        let (id, role, severity) = match joined.filter(|(_, open)| goes_on(open)) {
            Some((id, open)) => {
                open.last = open.last.max(time);
                failure.verdict.severity = Severity::Noise;
                (id, IncidentRole::Consequence, open.severity)
            }
            None => {
                let id = failure.id.number;
                let open = Open {
                    began: time,
                    last: time,
                    severity: judged,
                    connection: connection.clone(),
                    link: leads.then_some(id),
                    attempt: failure.syns.map(|_| 0),
                    names_an_end: false,
                };
                self.open.put(id, open);
                (id, IncidentRole::First, judged)
            }
        };
        self.by_connection.put(connection, id);
        if leads {
            self.by_link.put(failure.id.number, id);
        }
        failure.incident = Some(Incident {
            id,
            role,
            severity,
            further: None,
        });
    }

    /// How many resets of the connection wait behind this one, which does no longer.
    fn waiting(&mut self, connection: &Connection, about: About) -> usize {
        let Some(count) = self.waiting.get_mut(connection) else {
            return 0;
        };
        *count -= usize::from(about.is_counted);
        let left = *count;
        if left == 0 {
            self.waiting.remove(connection);
        }
        left
    }

    /// The incident that the end of this very connection is, if it still goes on.
    fn of_connection(
        &self,
        connection: &Connection,
        record: &Record,
        time: BootTime,
        about: About,
    ) -> Option<u64> {
        let id = *self.by_connection.peek(connection)?;
        let open = self.open.peek(&id)?;
        let reach = if about.refutes { TALKS_ON } else { SAME_END };
        let goes_on = time.since(open.last) <= reach && time.since(open.began) <= LONGEST_END;
        let is_another = attempt(record) != open.attempt || is_younger(record, time, open.began);
        // The first real loss after resets that harmed nothing is not their consequence.
        let is_worse = record.verdict.severity < open.severity && !about.refutes;
        (goes_on && !is_another && !is_worse).then_some(id)
    }
}

impl Open {
    fn role(&self, record: &Record, connection: &Connection, about: About) -> IncidentRole {
        let link = record.link.as_ref().map(|link| link.id);
        if about.refutes && self.names_an_end {
            IncidentRole::Correction
        } else if link.is_none() || link != self.link {
            IncidentRole::Consequence
        } else if *connection == self.connection && record.direction != Direction::Forwarded {
            IncidentRole::OtherEnd
        } else {
            IncidentRole::Leg
        }
    }

    fn join(&mut self, record: &mut Record, role: IncidentRole, time: BootTime) {
        self.last = self.last.max(time);
        if role == IncidentRole::Correction {
            self.names_an_end = false;
        }
        // Worse goes before less bad.
        if record.verdict.severity < self.severity && role != IncidentRole::Correction {
            self.severity = record.verdict.severity;
        } else {
            record.verdict.severity = Severity::Noise;
        }
    }
}

fn connection(record: &Record, overlay: NetnsCookie) -> Connection {
    ordered(record.local.clone(), record.remote.clone(), overlay)
}

fn ordered(local: Endpoint, remote: Endpoint, overlay: NetnsCookie) -> Connection {
    let is_ordered = (local.address, local.port) <= (remote.address, remote.port);
    if is_ordered {
        (local, remote, overlay)
    } else {
        (remote, local, overlay)
    }
}

/// The number that answers the SYN, where the reset ended an attempt to connect: another attempt has another one.
fn attempt(record: &Record) -> Option<u32> {
    let is_attempt = record.verdict.severity == Severity::Refused
        || matches!(
            record.verdict.cause,
            Cause::PortClosed | Cause::ConnectionRefused | Cause::LateSynack
        );
    let acknowledged = record.packet.as_ref().and_then(|packet| packet.ack);
    is_attempt.then(|| acknowledged.unwrap_or_default())
}

/// The connection was opened after that moment: the ports are in use again.
fn is_younger(record: &Record, time: BootTime, began: BootTime) -> bool {
    let age = record.socket.as_ref().and_then(|socket| socket.age);
    let age = age.and_then(|age| Duration::try_from_secs_f64(age).ok());
    age.is_some_and(|age| time.before(age) > began)
}

/// The verdict blames an end of the connection for a reset that this host accepted.
fn names_an_end(record: &Record) -> bool {
    record.direction == Direction::Received && record.verdict.origin == Origin::Peer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Link, LinkRole, sample};

    const MS: u64 = 1_000_000;

    /// Places records one after another, each with its number.
    #[derive(Default)]
    struct Feed {
        incidents: Incidents,
        number: u64,
    }

    impl Feed {
        fn place(&mut self, ms: u64, mut record: Record, about: About) -> Record {
            self.number += 1;
            record.id.number = self.number;
            // No connection here is older than the trace of a test.
            self.incidents.place(
                &mut record,
                BootTime(3_600_000 * MS + ms * MS),
                about,
                |_| 0,
            );
            record
        }

        fn role(&mut self, ms: u64, record: Record) -> (u64, IncidentRole, Severity) {
            let placed = self.place(ms, record, About::default());
            let incident = placed.incident.expect("every record has one");
            (incident.id, incident.role, placed.verdict.severity)
        }
    }

    /// The peer reset an established connection.
    fn received() -> Record {
        let mut record = sample();
        record.verdict.origin = Origin::Peer;
        record.verdict.cause = Cause::ResetByPeer;
        record.link = None;
        record
    }

    /// This host answered a segment for it.
    fn answer() -> Record {
        let mut record = received();
        record.direction = Direction::Sent;
        record.verdict.origin = Origin::LocalKernel;
        record.verdict.cause = Cause::HalfOpen;
        record.socket = None;
        record
    }

    fn linked(mut record: Record, id: u64, role: LinkRole) -> Record {
        record.link = Some(Link { id, role });
        record
    }

    #[test]
    fn answers_to_segments_in_flight_are_its_consequences() {
        let mut feed = Feed::default();
        assert_eq!(
            feed.role(0, received()),
            (1, IncidentRole::First, Severity::Fault)
        );
        for ms in 1..70 {
            let consequence = (1, IncidentRole::Consequence, Severity::Noise);
            assert_eq!(feed.role(ms, answer()), consequence);
        }
        // Another connection between the same hosts.
        let mut other = received();
        other.remote.port += 1;
        let own = (71, IncidentRole::First, Severity::Fault);
        assert_eq!(feed.role(80, other), own);
        // Long after.
        let later = (72, IncidentRole::First, Severity::Fault);
        assert_eq!(feed.role(2_100, answer()), later);
    }

    #[test]
    fn a_connection_that_reuses_the_ports_has_its_own_end() {
        let mut feed = Feed::default();
        let aged = |age| {
            let mut record = received();
            record.socket.as_mut().expect("a socket").age = Some(age);
            record
        };
        feed.role(0, aged(300.0));
        assert_eq!(feed.role(900, aged(0.5)).1, IncidentRole::First);
        // The same one, seen by its other end.
        assert_eq!(feed.role(950, aged(1.2)).1, IncidentRole::Consequence);
    }

    #[test]
    fn both_ends_and_legs_are_found_by_their_link_whatever_their_addresses() {
        let mut feed = Feed::default();
        let front = linked(answer(), 1, LinkRole::Sender);
        assert_eq!(feed.role(0, front).1, IncidentRole::First);
        let back = linked(received(), 1, LinkRole::Receiver);
        let other_end = (1, IncidentRole::OtherEnd, Severity::Noise);
        assert_eq!(feed.role(0, back), other_end);
        let mut leg = linked(received(), 1, LinkRole::Sender);
        (leg.local.port, leg.remote.port) = (51_000, 9_000);
        let as_leg = (1, IncidentRole::Leg, Severity::Noise);
        assert_eq!(feed.role(1, leg.clone()), as_leg);
        // What follows on the leg follows from it, and so does its other end.
        leg.link = None;
        let consequence = (1, IncidentRole::Consequence, Severity::Noise);
        assert_eq!(
            feed.role(2, linked(leg.clone(), 4, LinkRole::Sender)),
            consequence
        );
        assert_eq!(
            feed.role(2, linked(leg, 4, LinkRole::Receiver)),
            consequence
        );
    }

    #[test]
    fn each_refused_attempt_is_an_incident_and_its_repetition_is_not() {
        let mut feed = Feed::default();
        let refused = |ack| {
            let mut record = received();
            record.verdict.cause = Cause::ConnectionRefused;
            record.verdict.severity = Severity::Refused;
            record.socket = None;
            record.packet.as_mut().expect("a packet").ack = Some(ack);
            record
        };
        assert_eq!(
            feed.role(0, refused(1001)),
            (1, IncidentRole::First, Severity::Refused)
        );
        assert_eq!(
            feed.role(500, refused(1001)),
            (1, IncidentRole::Consequence, Severity::Noise)
        );
        assert_eq!(feed.role(600, refused(7001)).1, IncidentRole::First);
        // The next attempt succeeded, and its connection was reset.
        assert_eq!(
            feed.role(700, received()),
            (4, IncidentRole::First, Severity::Fault)
        );
    }

    #[test]
    fn resets_that_harmed_nothing_absorb_no_fault() {
        let mut feed = Feed::default();
        let mut miss = received();
        miss.direction = Direction::Observed;
        miss.verdict.cause = Cause::BlindAttempt;
        miss.verdict.severity = Severity::Noise;
        feed.role(0, miss.clone());
        assert_eq!(feed.role(1, miss.clone()).1, IncidentRole::Consequence);
        let own = (3, IncidentRole::First, Severity::Fault);
        assert_eq!(feed.role(2, received()), own);
        let consequence = (3, IncidentRole::Consequence, Severity::Noise);
        assert_eq!(feed.role(3, miss), consequence);
    }

    #[test]
    fn a_peer_that_keeps_sending_corrects_the_verdict_once() {
        let refutes = About {
            refutes: true,
            ..About::default()
        };
        let mut feed = Feed::default();
        feed.role(0, received());
        for (ms, role) in [
            (500, IncidentRole::Correction),
            (900, IncidentRole::Consequence),
        ] {
            let placed = feed.place(ms, answer(), refutes);
            assert_eq!(placed.verdict.severity, Severity::Noise);
            assert_eq!(placed.impact(), Severity::Fault);
            assert_eq!(placed.is_noise(false), role != IncidentRole::Correction);
            assert_eq!(placed.incident.map(|it| it.role), Some(role));
        }
        // There is nothing to correct.
        let mut feed = Feed::default();
        let mut box_made_it = received();
        box_made_it.verdict.origin = Origin::Middlebox;
        feed.role(0, box_made_it);
        let placed = feed.place(500, answer(), refutes);
        assert_eq!(
            placed.incident.map(|it| it.role),
            Some(IncidentRole::Consequence)
        );
    }

    #[test]
    fn the_first_record_says_how_many_follow() {
        let counted = About {
            is_counted: true,
            ..About::default()
        };
        let mut feed = Feed::default();
        for _ in 0..3 {
            feed.incidents.expect(&received(), counted);
        }
        let further = |record: Record| record.incident.and_then(|incident| incident.further);
        assert_eq!(further(feed.place(0, received(), counted)), Some(2));
        assert_eq!(further(feed.place(1, answer(), counted)), None);
        assert_eq!(further(feed.place(2, answer(), counted)), None);
        assert!(feed.incidents.waiting.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut feed = Feed::default();
        for number in 0..=u16::MAX {
            let mut record = received();
            record.remote.port = number;
            feed.role(
                u64::from(number) / 100,
                linked(record, number.into(), LinkRole::Receiver),
            );
        }
        assert_eq!(feed.incidents.open.len(), MAX_INCIDENTS);
        assert_eq!(feed.incidents.by_connection.len(), MAX_INCIDENTS);
        assert_eq!(feed.incidents.by_link.len(), MAX_INCIDENTS);
    }
}
