//! Resets after a silence: which are idle timeouts, and which are not.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::fixtures::*;
use crate::event::*;
use crate::record::{Cause, Confidence, IdleMode, IncidentRole, Origin, Record, Severity};
use crate::silence::candidates::{Hop, Kind};

const R: u8 = TcpFlags::RST;

/// A connection of 12.3 s to a peer that is 7 routers and 100 ms away.
struct Connection {
    socket: Socket,
    packet: Packet,
    received: Received,
}

fn silent(seconds: u64) -> Connection {
    let since = Some(Duration::from_secs(seconds));
    with_socket(Socket {
        since_sent: since,
        since_received: since,
        since_ack: since,
        since_transmit: since,
        ..socket(1)
    })
}

/// Silent, then a write that is not acknowledged when the reset comes `micros` later.
fn late(seconds: u64, micros: u64) -> Connection {
    let since = Some(Duration::from_secs(seconds));
    let after = Some(Duration::from_micros(micros));
    with_socket(Socket {
        since_sent: after,
        since_transmit: after,
        since_first_unacknowledged: after,
        since_received: since,
        since_ack: since,
        unacknowledged: 50,
        ..socket(1)
    })
}

fn with_socket(socket: Socket) -> Connection {
    let scene = Scene::new();
    let socket = Socket {
        rtt: Some(Duration::from_millis(101)),
        rtt_min: Some(Duration::from_millis(100)),
        ..socket
    };
    let mut packet = scene.ingress(R, 5000, 0, target(&socket));
    packet.segment.ttl = 57;
    packet.baseline = Some(Baseline {
        time: BootTime(NOW - 12_400 * MS),
        ttl: 57,
        source_mac: Some([2, 0, 0, 0, 0, 1]),
    });
    Connection {
        received: scene.received(socket.clone()),
        socket,
        packet,
    }
}

impl Connection {
    /// The reset comes with this TTL.
    fn ttl(mut self, ttl: u8) -> Self {
        self.packet.segment.ttl = ttl;
        self
    }

    fn events(self) -> Vec<Event> {
        vec![event(0, self.packet), event(1, self.received)]
    }

    fn judged(self, hops: Vec<Hop>) -> Record {
        only(judge(hops, self.events()))
    }
}

fn judge(hops: Vec<Hop>, events: Vec<Event>) -> Vec<Record> {
    let events = events
        .into_iter()
        .map(|event| (event, HostContext::default()))
        .collect();
    run_in(engine_with(host(), hops), events)
}

fn hop(mode: IdleMode, kind: Kind, seconds: u64) -> Vec<Hop> {
    vec![Hop {
        name: "edge".to_owned(),
        network: "10.0.0.0/24".parse().expect("a network"),
        port: None,
        timeout: Duration::from_secs(seconds),
        mode,
        kind,
    }]
}

fn found(record: &Record) -> (Origin, Cause, Confidence) {
    let verdict = &record.verdict;
    (verdict.origin, verdict.cause, verdict.confidence)
}

fn has(record: &Record, kind: &str) -> bool {
    record
        .verdict
        .evidence()
        .iter()
        .any(|it| it.kind.name() == kind)
}

fn mode(record: &Record) -> Option<IdleMode> {
    record.idle.as_ref().and_then(|idle| idle.mode)
}

#[test]
fn a_silence_alone_blames_no_timer() {
    for connection in [silent(3), late(3, 101_000)] {
        let record = connection.judged(Vec::new());
        assert_eq!(
            found(&record),
            (Origin::Peer, Cause::ResetByPeer, Confidence::Likely)
        );
        assert_eq!(mode(&record), None);
        assert!(has(&record, "silence"));
    }
}

#[test]
fn a_configured_device_is_named_where_silence_and_mode_fit() {
    let expiry = || hop(IdleMode::RstAtExpiry, Kind::Terminating, 3);
    let record = silent(3).judged(expiry());
    assert_eq!(
        found(&record),
        (Origin::Peer, Cause::IdleTimeout, Confidence::Likely)
    );
    assert_eq!(mode(&record), Some(IdleMode::RstAtExpiry));
    assert!(record.verdict.summary().contains("\"edge\" (3.0 s"));
    let cause = |connection: Connection, hops| connection.judged(hops).verdict.cause;
    assert_eq!(cause(silent(2), expiry()), Cause::ResetByPeer, "too early");
    assert_eq!(cause(silent(4), expiry()), Cause::ResetByPeer, "too late");
    assert_eq!(cause(late(3, 400), expiry()), Cause::ResetByPeer, "late");
    let elsewhere = vec![Hop {
        network: "10.9.0.0/24".parse().expect("a network"),
        ..expiry().remove(0)
    }];
    assert_eq!(cause(silent(3), elsewhere), Cause::ResetByPeer);
}

#[test]
fn a_transparent_device_is_a_middlebox_and_a_terminating_one_the_peer() {
    let origin = |kind| {
        let record = silent(3).judged(hop(IdleMode::RstAtExpiry, kind, 3));
        record.verdict.origin
    };
    assert_eq!(origin(Kind::Terminating), Origin::Peer);
    assert_eq!(origin(Kind::Transparent), Origin::Middlebox);
}

#[test]
fn a_device_that_forgot_answers_from_nearby() {
    // On the own link, and in less than half a round trip: three signs.
    let record = late(65, 400).ttl(64).judged(Vec::new());
    assert_eq!(
        found(&record),
        (Origin::Middlebox, Cause::IdleTimeout, Confidence::Likely)
    );
    assert_eq!(mode(&record), Some(IdleMode::LateRst));
    assert!(has(&record, "latency") && has(&record, "ttl") && has(&record, "late"));
    // Configured as well: two facts.
    let edge = || hop(IdleMode::LateRst, Kind::Transparent, 3);
    let record = late(5, 400).ttl(64).judged(edge());
    assert_eq!(
        found(&record),
        (Origin::Middlebox, Cause::IdleTimeout, Confidence::Certain)
    );
    // The answer took a round trip: the TTL still says that it came from this link, after a silence.
    let record = late(65, 101_000).ttl(64).judged(Vec::new());
    assert_eq!(record.verdict.cause, Cause::IdleTimeout);
    // After think time somebody may as well have meant it.
    let record = late(5, 400).ttl(64).judged(Vec::new());
    assert_eq!(record.verdict.cause, Cause::NotFromPeer);
    assert!(!record.verdict.advice().is_empty());
    // A peer that had gone answers with its own TTL, or nearly so after a change of route.
    for ttl in [56, 57, 58] {
        let record = late(65, 101_000).ttl(ttl).judged(Vec::new());
        assert_eq!(record.verdict.cause, Cause::ResetByPeer, "{ttl}");
        assert_eq!(record.verdict.origin, Origin::Peer, "{ttl}");
    }
    // Without a silence nothing was forgotten: two signs show another sender, one alone raises doubts.
    let record = late(0, 400).ttl(64).judged(Vec::new());
    assert_eq!(record.verdict.cause, Cause::NotFromPeer);
    let record = late(0, 101_000).ttl(64).judged(Vec::new());
    assert_eq!(record.verdict.cause, Cause::ResetByPeer);
    assert_eq!(record.verdict.confidence, Confidence::Possible);
}

#[test]
fn another_way_and_another_neighbour_are_one_sign() {
    let mut connection = late(0, 101_000).ttl(40);
    connection.packet.source_mac = Some([2, 0, 0, 0, 0, 9]);
    let record = connection.judged(Vec::new());
    assert!(has(&record, "ttl") && has(&record, "source_mac"));
    assert_eq!(
        found(&record),
        (Origin::Peer, Cause::ResetByPeer, Confidence::Possible)
    );
}

#[test]
fn a_least_round_trip_that_may_hold_a_delayed_ack_is_no_proof() {
    let mut connection = late(5, 400).ttl(40);
    connection.packet.baseline = None;
    if let Some(ownership) = &mut connection.received.ownership {
        ownership.established = None;
    }
    let record = connection.judged(Vec::new());
    assert!(has(&record, "latency"));
    assert_eq!(record.verdict.cause, Cause::ResetByPeer);
    assert_eq!(record.verdict.confidence, Confidence::Possible);
}

#[test]
fn a_fin_after_a_silence_and_the_reset_that_came_of_it() {
    let fin = |quiet: u64| {
        let mut connection = late(1, 400);
        connection.received.socket.state = TcpState::CloseWait;
        if let Some(ownership) = &mut connection.received.ownership {
            ownership.peer_finish = Some(PeerFinish {
                time: BootTime(NOW - SECOND),
                quiet: Duration::from_secs(quiet),
            });
        }
        connection
    };
    let edge = || hop(IdleMode::FinAtExpiry, Kind::Terminating, 3);
    let record = fin(3).judged(edge());
    assert_eq!(
        found(&record),
        (Origin::Peer, Cause::IdleTimeout, Confidence::Likely)
    );
    assert_eq!(mode(&record), Some(IdleMode::FinAtExpiry));
    assert_eq!(record.idle.and_then(|idle| idle.quiet_before), Some(3.0));
    assert_eq!(
        record.verdict.summary(),
        "10.0.0.2:40000 closed the connection when it had been idle for 3.0 s, and reset our write 1.0 s later; \
         this matches the idle timeout of \"edge\" (3.0 s, from the configuration)"
    );
    // The FIN came with data, or soon after it: nobody waited.
    assert_eq!(fin(0).judged(edge()).verdict.cause, Cause::ResetByPeer);
}

#[test]
fn a_path_teaches_its_timeout() {
    let reset = |index: u16, second: u64| {
        let mut connection = silent(60);
        let remote = (connection.received.flow.remote.ip(), 40_000 + index).into();
        connection.received.flow.remote = remote;
        connection.packet.source = remote;
        connection.socket.cookie = SocketCookie(u64::from(index) + 1);
        connection.received.socket.cookie = connection.socket.cookie;
        connection.packet.target = target(&connection.socket);
        connection
            .events()
            .into_iter()
            .map(move |mut event| {
                event.time = event.time.plus(Duration::from_secs(second));
                if let Body::Received(received) = &mut event.body
                    && let Some(ownership) = &mut Arc::make_mut(received).ownership
                {
                    // The service is here.
                    ownership.inherited = true;
                }
                event
            })
            .collect::<Vec<_>>()
    };
    let seconds = [0, 7, 19, 31, 44, 50];
    let events = (0..).zip(seconds).flat_map(|(index, at)| reset(index, at));
    let records = judge(Vec::new(), events.collect());
    assert_eq!(records.len(), seconds.len());
    let learned: Vec<bool> = records
        .iter()
        .map(|record| {
            record
                .idle
                .as_ref()
                .is_some_and(|idle| idle.learned.is_some())
        })
        .collect();
    assert_eq!(learned, [false, false, false, false, true, true]);
    let last = &records[5];
    assert_eq!(
        found(last),
        (Origin::Peer, Cause::IdleTimeout, Confidence::Likely)
    );
    assert!(
        last.verdict
            .summary()
            .contains("6 of 6 idle resets came at 60.0 ± 0.0 s"),
        "{}",
        last.verdict.summary()
    );
}

#[test]
fn many_connections_at_one_instant_are_no_timeout() {
    let mut events = Vec::new();
    for index in 0..8_u16 {
        let mut connection = silent(u64::from(index) * 7 + 3);
        let remote = (connection.received.flow.remote.ip(), 40_000 + index).into();
        connection.received.flow.remote = remote;
        connection.received.socket.cookie = SocketCookie(u64::from(index) + 1);
        if let Some(ownership) = &mut connection.received.ownership {
            ownership.inherited = true;
        }
        events.push(event(u64::from(index) * 100, connection.received));
    }
    let records = judge(hop(IdleMode::RstAtExpiry, Kind::Terminating, 3), events);
    assert_eq!(records.len(), 8);
    for record in &records {
        assert_eq!(record.verdict.cause, Cause::ResetByPeer);
        assert!(has(record, "burst"));
        assert_eq!(mode(record), None);
        assert!(
            record
                .verdict
                .summary()
                .contains("7 connections on this path were reset with it"),
            "{}",
            record.verdict.summary()
        );
    }
}

#[test]
fn a_peer_that_talks_on_did_not_reset() {
    let near = || {
        let mut connection = silent(0);
        connection.received.socket.rtt = Some(Duration::from_millis(20));
        connection
    };
    let connection = near();
    let scene = Scene::new();
    let mut answer = scene.answer(segment(TcpFlags::ACK | TcpFlags::PSH, 5000, 9000, 10));
    let mut former = tombstone(412, "java", TcpState::Established);
    former.error = 104;
    former.died = BootTime(NOW);
    answer.former_connection = Some(Box::new(former));
    let mut events = connection.events();
    events.push(event(60_000, answer.clone()));
    let records = judge(Vec::new(), events);
    let received = of(&records, crate::record::Direction::Received);
    assert_eq!(
        found(received),
        (Origin::Middlebox, Cause::NotFromPeer, Confidence::Certain)
    );
    let sent = of(&records, crate::record::Direction::Sent);
    assert_eq!(sent.verdict.cause, Cause::HalfOpen);
    assert!(has(sent, "peer_talks_on"));
    // What was on its way within a round trip proves nothing.
    let mut events = near().events();
    events.push(event(15_000, answer));
    let records = judge(Vec::new(), events);
    let received = of(&records, crate::record::Direction::Received);
    assert_eq!(received.verdict.cause, Cause::ResetByPeer);
}

#[test]
fn one_near_miss_is_the_peers_own_and_three_are_not() {
    let volley = |misses: u32| {
        let mut events = Vec::new();
        for n in 1..=misses {
            let mut miss = silent(0).packet;
            miss.segment.seq = 5000 + n * 100;
            events.push(event(u64::from(n), miss));
        }
        let hit = silent(0).ttl(40);
        events.push(event(10, hit.packet));
        events.push(event(11, hit.received));
        let records = judge(Vec::new(), events);
        of(&records, crate::record::Direction::Received)
            .verdict
            .cause
    };
    assert_eq!(volley(1), Cause::ResetByPeer);
    assert_eq!(volley(3), Cause::NotFromPeer);
}

#[test]
fn the_peers_reset_that_overtakes_its_data_is_the_peers() {
    let after = |ahead: &[u32], late: u32, ttl: u8| {
        let mut connection = silent(0);
        connection.received.socket.rtt = Some(Duration::from_millis(20));
        let expected = connection.packet.segment.seq;
        let mut events = Vec::new();
        for (n, ahead) in ahead.iter().enumerate() {
            let mut miss = silent(0).ttl(ttl).packet;
            miss.segment.seq = expected + ahead;
            events.push(event(n as u64, miss));
        }
        events.push(event(20_010, connection.packet));
        events.push(event(20_011, connection.received));
        // The data comes at last, far later than a round trip.
        let flags = TcpFlags::ACK | TcpFlags::PSH;
        let mut answer = Scene::new().answer(segment(flags, expected + late, 9000, 100));
        let mut former = tombstone(412, "java", TcpState::Established);
        former.error = 104;
        former.died = BootTime(NOW + 20_011_000);
        answer.former_connection = Some(Box::new(former));
        events.push(event(90_000, answer));
        judge(Vec::new(), events)
    };
    use crate::record::Direction::{Observed, Received, Sent};
    let causes = |records: &[Record]| -> Vec<Cause> {
        let told = records
            .iter()
            .filter(|record| [Observed, Received].contains(&record.direction));
        told.map(|record| record.verdict.cause).collect()
    };
    // All of the data was sent before the first reset, as its number shows.
    let records = after(&[400], 300, 57);
    assert_eq!(causes(&records), [Cause::ResetByPeer, Cause::ResetByPeer]);
    assert_eq!(of(&records, Observed).verdict.severity, Severity::Noise);
    assert!(!has(of(&records, Sent), "peer_talks_on"));
    // This was not: the peer knows nothing of its reset.
    let records = after(&[400], 400, 57);
    assert_eq!(of(&records, Received).verdict.cause, Cause::NotFromPeer);
    assert!(has(of(&records, Sent), "peer_talks_on"));
    // Of several guesses one is beyond anything.
    let (blind, foreign) = (Cause::BlindAttempt, Cause::NotFromPeer);
    let records = after(&[400, 9000], 300, 57);
    assert_eq!(causes(&records), [blind, blind, foreign]);
    // From elsewhere.
    let records = after(&[400], 300, 40);
    assert_eq!(causes(&records)[0], blind);
}

#[test]
fn a_reset_of_a_proxys_leg_is_passed_on() {
    let scene = Scene::new();
    let back = Scene {
        flow: Flow {
            local: address("10.0.0.1:50000"),
            remote: address("10.0.7.7:9000"),
        },
    };
    let leg = |received, sent, from: Socket| Socket {
        bytes_received: received,
        bytes_sent: sent,
        ..from
    };
    let mut front = scene.received(leg(100, 200, socket(1)));
    front.ownership = Some(Ownership {
        inherited: true,
        ..ownership(87, "nginx", OwnerSource::Listen)
    });
    let mut sent = back.active(Some("TCP_STATE"), leg(200, 100, closing(2)));
    if let Some(socket) = &mut sent.socket {
        socket.linger = Some(Duration::ZERO);
    }
    sent.ownership = Some(ownership(87, "nginx", OwnerSource::Connect));
    let other = {
        let mut other = sent.clone();
        other.socket = Some(leg(1, 2, closing(3)));
        other.flow.local = address("10.0.0.1:50001");
        other
    };
    for (after, limit) in [(300, Confidence::Likely), (295_000, Confidence::Possible)] {
        let events = [
            event(0, front.clone()),
            event(after, sent.clone()),
            event(after + 100, other.clone()),
        ];
        let records = judge(Vec::new(), events.into());
        let [first, passed, unrelated] = &records[..] else {
            unreachable!("three records, not {records:#?}");
        };
        assert_eq!(first.verdict.cause, Cause::ResetByPeer);
        assert_eq!(
            (passed.verdict.cause, passed.verdict.origin),
            (Cause::Propagated, Origin::Peer)
        );
        assert_eq!(passed.verdict.confidence, limit);
        // What comes late is not known yet when the first record comes out.
        let link = |record: &Record| record.link.as_ref().map(|link| link.id);
        let is_at_once = limit != Confidence::Possible;
        assert_eq!(link(first), is_at_once.then_some(first.id.number));
        assert_eq!(link(passed), Some(first.id.number));
        let incident = passed.incident.as_ref().expect("every record has one");
        assert_eq!(
            (incident.id, incident.role),
            (first.id.number, IncidentRole::Leg)
        );
        assert!(has(passed, "other_leg") && has(passed, "own_cause"));
        assert_eq!(
            passed.verdict.summary().contains("295 ms after"),
            !is_at_once
        );
        assert_ne!(unrelated.verdict.cause, Cause::Propagated);
        assert_eq!(unrelated.link, None);
    }
}
