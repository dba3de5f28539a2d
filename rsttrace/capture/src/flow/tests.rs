//! Whole conversations, played to the tracker and judged by the pipeline.

mod hard;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::capture::{TcpOptions, Way};
use crate::engine::{Config, Engine, Input};
use crate::record::Output;
use crate::record::{Cause, Confidence, Direction, IdleMode, Origin, Record, Severity, Vantage};

const CLIENT: &str = "10.0.0.7:43122";
const SERVER: &str = "10.0.1.1:8080";

/// A capture as it is written: each end's numbers are kept.
struct Play {
    now: u64,
    frame: u64,
    segments: Vec<Segment<'static>>,
    ends: [Actor; 2],
}

#[derive(Clone, Copy)]
struct Actor {
    address: SocketAddr,
    seq: u32,
    ttl: u8,
    way: Option<Way>,
}

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Client = 0,
    Server = 1,
}
use Who::{Client, Server};

fn judge(segments: &[Segment<'_>]) -> Vec<Record> {
    let mut tracker = Tracker::new([]);
    let mut engine = Engine::new(Config::of_capture(&"test.pcap".into(), Vec::new()));
    let mut resets = Vec::new();
    for segment in segments {
        tracker.see(segment, &mut resets);
    }
    tracker.finish(&mut resets);
    for reset in resets {
        engine.captured(reset, &"test.pcap".into());
    }
    engine.push(Input::Finish);
    std::iter::from_fn(|| engine.poll_output())
        .filter_map(|output| match output {
            Output::Reset(record) => Some(*record),
            _ => None,
        })
        .collect()
}

impl Play {
    /// Captured seven routers from the server and at the client, unless told otherwise.
    fn at_client() -> Self {
        Self::with_ttls(64, 57)
    }

    fn at_server() -> Self {
        Self::with_ttls(57, 64)
    }

    fn with_ttls(client: u8, server: u8) -> Self {
        let actor = |address: &str, seq, ttl| Actor {
            address: address.parse().expect("an address"),
            seq,
            ttl,
            way: None,
        };
        Self {
            now: 1_700_000_000_000_000_000,
            frame: 0,
            segments: Vec::new(),
            ends: [
                actor(CLIENT, 1_000, client),
                actor(SERVER, 4_294_967_000, server),
            ],
        }
    }

    fn wait(mut self, milliseconds: u64) -> Self {
        self.now += milliseconds * 1_000_000;
        self
    }

    fn segment(&mut self, who: Who, flags: u8, payload: u32) -> Segment<'static> {
        self.frame += 1;
        let me = self.ends[who as usize];
        let other = self.ends[1 - who as usize];
        Segment {
            time: CaptureTime(self.now),
            frame: self.frame,
            interface: 0,
            overlay: Overlay(0),
            source: me.address,
            destination: other.address,
            seq: me.seq,
            ack: if flags & TcpFlags::ACK != 0 {
                other.seq
            } else {
                0
            },
            flags: TcpFlags(flags),
            window: 500,
            options: TcpOptions {
                timestamps: Some((7, 7)),
                window_scale: None,
                any: true,
                cut: false,
            },
            payload_len: payload,
            payload: &[],
            ttl: me.ttl,
            ip_id: None,
            dont_fragment: None,
            source_mac: None,
            way: me.way,
        }
    }

    /// Sends it and waits 10 ms, half a round trip.
    fn send(mut self, who: Who, flags: u8, payload: u32) -> Self {
        let segment = self.segment(who, flags, payload);
        let flags = u32::from(flags & (TcpFlags::SYN | TcpFlags::FIN) != 0);
        let seq = &mut self.ends[who as usize].seq;
        *seq = seq.wrapping_add(payload + flags);
        self.segments.push(segment);
        self.wait(10)
    }

    fn handshake(self) -> Self {
        self.send(Client, TcpFlags::SYN, 0)
            .send(Server, TcpFlags::SYN | TcpFlags::ACK, 0)
            .send(Client, TcpFlags::ACK, 0)
    }

    /// A request and its answer.
    fn exchange(self) -> Self {
        self.send(Client, TcpFlags::PSH | TcpFlags::ACK, 100)
            .send(Server, TcpFlags::PSH | TcpFlags::ACK, 2_000)
            .send(Client, TcpFlags::ACK, 0)
    }

    /// A reset on a socket.
    fn active(self, who: Who) -> Self {
        self.send(who, TcpFlags::RST | TcpFlags::ACK, 0)
    }

    /// The answer to the last segment of the other end.
    fn passive(mut self, who: Who) -> Self {
        let mut segment = self.segment(who, TcpFlags::RST, 0);
        segment.window = 0;
        segment.options = TcpOptions::default();
        if self
            .segments
            .last()
            .is_some_and(|last| last.flags.0 == TcpFlags::SYN)
        {
            segment.flags = TcpFlags(TcpFlags::RST | TcpFlags::ACK);
            segment.ack = self.ends[1 - who as usize].seq;
            segment.seq = 0;
        }
        self.segments.push(segment);
        self.wait(10)
    }

    fn last(mut self, change: impl FnOnce(&mut Segment<'static>)) -> Self {
        change(self.segments.last_mut().expect("a segment"));
        self
    }

    fn records(&self) -> Vec<Record> {
        judge(&self.segments)
    }

    fn only(&self) -> Record {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }
}

fn blame(record: &Record) -> (Origin, Cause, Severity) {
    let verdict = &record.verdict;
    (verdict.origin, verdict.cause, verdict.severity)
}

fn kinds(record: &Record) -> Vec<&str> {
    record
        .verdict
        .evidence()
        .iter()
        .map(|it| it.kind.name())
        .collect()
}

#[test]
fn at_the_client_a_balancer_that_resets_at_its_timeout_is_not_the_peer() {
    let mut play = Play::at_client().handshake().exchange().wait(300_000);
    play.ends[1].ttl = 63;
    let record = play.active(Server).only();
    assert_eq!(record.direction, Direction::Received);
    assert_eq!(record.local.port, 43_122);
    let idle = record.idle.as_ref().expect("clocks");
    assert!(
        (idle.quiet_before.expect("known") - 300.0).abs() < 0.1,
        "{idle:?}"
    );
    assert!(kinds(&record).contains(&"ttl"), "{record:#?}");
    assert_eq!(
        record.capture.as_ref().map(|at| at.vantage),
        Some(Some(Vantage::Destination))
    );
}

#[test]
fn a_forgotten_connection_is_answered_too_soon_and_with_another_ttl() {
    let mut play = Play::at_client().handshake().exchange().wait(350_000).send(
        Client,
        TcpFlags::PSH | TcpFlags::ACK,
        10,
    );
    play.now -= 9_800_000;
    play.ends[1].ttl = 64;
    let record = play.passive(Server).only();
    assert_eq!(
        blame(&record),
        (Origin::Middlebox, Cause::IdleTimeout, Severity::Fault)
    );
    assert_eq!(
        record.idle.as_ref().and_then(|idle| idle.mode),
        Some(IdleMode::LateRst)
    );
    assert!(kinds(&record).contains(&"latency"), "{record:#?}");
}

#[test]
fn the_same_answer_by_the_server_itself_is_the_servers() {
    let record = Play::at_client()
        .handshake()
        .exchange()
        .wait(20_000)
        .send(Client, TcpFlags::PSH | TcpFlags::ACK, 10)
        .wait(10)
        .passive(Server)
        .only();
    assert_eq!(
        blame(&record),
        (Origin::Peer, Cause::ResetByPeer, Severity::Fault)
    );
}

#[test]
fn at_its_own_host_an_active_reset_is_the_applications_and_how_is_not_known() {
    let record = Play::at_server()
        .handshake()
        .send(Client, TcpFlags::PSH | TcpFlags::ACK, 100)
        .active(Server)
        .only();
    assert_eq!(
        blame(&record),
        (Origin::LocalProcess, Cause::Unknown, Severity::Fault)
    );
    assert_eq!(record.direction, Direction::Sent);
    assert!(
        record.verdict.summary().contains("100 bytes"),
        "{}",
        record.verdict.summary()
    );
}

#[test]
fn unanswered_probes_before_it_are_a_keepalive_timeout() {
    let mut play = Play::at_server().handshake().exchange().wait(60_000);
    for _ in 0..3 {
        let mut probe = play.segment(Server, TcpFlags::ACK, 0);
        probe.seq = probe.seq.wrapping_sub(1);
        play.segments.push(probe);
        play = play.wait(10_000);
    }
    let record = play.active(Server).only();
    assert_eq!(
        blame(&record),
        (
            Origin::LocalKernel,
            Cause::KeepaliveTimeout,
            Severity::Fault
        )
    );
}

#[test]
fn data_for_an_end_that_had_closed_is_answered_by_its_kernel() {
    let record = Play::at_server()
        .handshake()
        .exchange()
        .send(Server, TcpFlags::FIN | TcpFlags::ACK, 0)
        .send(Client, TcpFlags::PSH | TcpFlags::ACK, 50)
        .passive(Server)
        .only();
    assert_eq!(
        blame(&record),
        (Origin::LocalKernel, Cause::DataAfterClose, Severity::Fault)
    );
}

#[test]
fn a_connect_that_was_turned_away_is_no_more_than_that() {
    let play = |play: Play| play.send(Client, TcpFlags::SYN, 0).passive(Server).only();
    let record = play(Play::at_client());
    assert_eq!(
        blame(&record),
        (Origin::Peer, Cause::ConnectionRefused, Severity::Refused)
    );
    let record = play(Play::at_server());
    assert_eq!(
        blame(&record),
        (Origin::LocalKernel, Cause::PortClosed, Severity::Refused)
    );
    assert_eq!(record.verdict.confidence, Confidence::Possible);
}

#[test]
fn a_reset_without_anything_around_it_is_unknown() {
    let record = Play::at_client().active(Server).only();
    assert_eq!(
        blame(&record),
        (Origin::Unknown, Cause::Unknown, Severity::Fault)
    );
    assert!(record.verdict.summary().contains("cause unknown: "));
}

#[test]
fn a_capture_that_began_in_the_middle_still_tells_the_silence() {
    let record = Play::at_client()
        .exchange()
        .wait(77_000)
        .active(Server)
        .only();
    assert_eq!(
        blame(&record),
        (Origin::Peer, Cause::ResetByPeer, Severity::Fault)
    );
    let quiet = record.idle.as_ref().and_then(|idle| idle.quiet_before);
    assert!(
        quiet.is_some_and(|quiet| (quiet - 77.0).abs() < 0.1),
        "{quiet:?}"
    );
}

#[test]
fn last_words_before_a_fin_do_not_end_the_silence() {
    let closed_after = |silence, bytes, later| {
        let record = Play::at_client()
            .handshake()
            .exchange()
            .wait(silence)
            .send(Server, TcpFlags::PSH | TcpFlags::ACK, bytes)
            .wait(later)
            .send(Server, TcpFlags::FIN | TcpFlags::ACK, 0)
            .send(Client, TcpFlags::PSH | TcpFlags::ACK, 50)
            .passive(Server)
            .only();
        let quiet = record.idle.and_then(|idle| idle.quiet_before);
        quiet.map_or(0, |quiet| quiet.round() as u32)
    };
    // A TLS close_notify, an error message.
    assert_eq!(closed_after(4_000, 24, 0), 4);
    assert_eq!(closed_after(60_000, 120, 5), 60);
    // A slow answer, a long message, one that was said before.
    assert_eq!(closed_after(4_000, 120, 0), 0);
    assert_eq!(closed_after(60_000, 1_400, 0), 0);
    assert_eq!(closed_after(60_000, 120, 3_000), 3);
}

#[test]
fn a_peer_that_speaks_on_did_not_send_the_reset() {
    let mut play = Play::at_client().handshake().exchange();
    let mut forged = play.segment(Server, TcpFlags::RST, 0);
    forged.ttl = 60;
    play.segments.push(forged);
    let record = play
        .wait(200)
        .send(Server, TcpFlags::PSH | TcpFlags::ACK, 700)
        .only();
    assert_eq!(
        blame(&record),
        (Origin::Middlebox, Cause::NotFromPeer, Severity::Fault)
    );
    assert_eq!(record.verdict.confidence, Confidence::Certain);
}

#[test]
fn data_that_was_on_its_way_is_no_speaking_on() {
    let record = Play::at_client()
        .handshake()
        .exchange()
        .active(Server)
        .last(|reset| reset.time = CaptureTime(reset.time.0 + 1_000_000))
        .send(Server, TcpFlags::PSH | TcpFlags::ACK, 700)
        .only();
    assert_eq!(record.verdict.cause, Cause::ResetByPeer);
}

#[test]
fn a_reset_that_misses_a_connection_that_lives_is_noise() {
    let record = Play::at_client()
        .handshake()
        .exchange()
        .active(Server)
        .last(|reset| {
            reset.seq = reset.seq.wrapping_add(200);
            reset.ttl = 50;
        })
        .send(Client, TcpFlags::ACK, 0)
        .wait(100)
        .exchange()
        .only();
    assert_eq!(
        blame(&record),
        (Origin::Middlebox, Cause::BlindAttempt, Severity::Noise)
    );
}

#[test]
fn several_guesses_at_the_number_are_not_the_peers() {
    // As some firewalls do: the second and third lie where the end's next segments would.
    let mut play = Play::at_client().handshake().exchange();
    for (ahead, ttl) in [(0, 61), (1_460, 62), (4_380, 63)] {
        let mut forged = play.segment(Server, TcpFlags::RST, 0);
        (forged.seq, forged.ttl) = (forged.seq.wrapping_add(ahead), ttl);
        play.segments.push(forged);
        play.now += 50_000;
    }
    let records = play.records();
    assert_eq!(records.len(), 3);
    assert_eq!(
        blame(&records[0]),
        (Origin::Middlebox, Cause::NotFromPeer, Severity::Fault)
    );
    for record in &records[1..] {
        assert_eq!(record.verdict.origin, Origin::Unknown, "{record:#?}");
        assert_eq!(record.verdict.severity, Severity::Noise);
    }
}

#[test]
fn answers_to_what_was_on_its_way_are_the_peers_and_no_guesses() {
    let mut play = Play::at_client().handshake().exchange();
    let answers = [0, 10, 20].map(|ahead| {
        let mut answer = play.segment(Server, TcpFlags::RST, 0);
        answer.seq = answer.seq.wrapping_add(ahead);
        answer.window = 0;
        answer.options = TcpOptions::default();
        answer
    });
    play = play.send(Client, TcpFlags::PSH | TcpFlags::ACK, 10);
    for mut answer in answers {
        play.now += 20_000;
        answer.time = CaptureTime(play.now);
        play.segments.push(answer);
    }
    for record in play.records() {
        assert_eq!(record.verdict.origin, Origin::Peer, "{record:#?}");
    }
}

#[test]
fn a_pair_of_resets_on_the_link_is_not_called_the_applications() {
    let mut play = Play::at_server().handshake().exchange().active(Server);
    play.now -= 9_950_000;
    let records = play.active(Client).records();
    assert_eq!(records[0].verdict.origin, Origin::Unknown, "{records:#?}");
    assert!(kinds(&records[0]).contains(&"both_ways"));
}

#[test]
fn one_reset_seen_at_several_devices_is_one() {
    let play = Play::at_client().handshake().exchange().active(Server);
    let mut segments = play.segments.clone();
    let mut again = *segments.last().expect("a reset");
    again.time = again.time.plus(Duration::from_micros(30));
    again.ttl -= 1;
    again.frame += 1;
    segments.push(again);
    assert_eq!(judge(&segments).len(), 1);
}

#[test]
fn every_segment_twice_changes_nothing_but_frames() {
    let play = Play::at_client()
        .handshake()
        .exchange()
        .wait(300_000)
        .active(Server);
    let twice: Vec<_> = play
        .segments
        .iter()
        .flat_map(|segment| {
            let mut again = *segment;
            again.time = again.time.plus(Duration::from_micros(3));
            [*segment, again]
        })
        .collect();
    let mut records = judge(&twice);
    assert_eq!(records.len(), 1);
    let single = play.only();
    records[0].capture = single.capture.clone();
    let quiet = |record: &Record| record.idle.as_ref().and_then(|idle| idle.quiet_before);
    assert!((quiet(&records[0]).unwrap_or(0.0) - quiet(&single).unwrap_or(1.0)).abs() < 1e-3);
    assert_eq!(records[0].verdict, single.verdict);
}

#[test]
fn what_the_file_says_of_the_way_goes_before_the_ttls() {
    let mut play = Play::with_ttls(64, 64);
    play.ends[0].way = Some(Way::In);
    play.ends[1].way = Some(Way::Out);
    let record = play.handshake().exchange().active(Server).only();
    assert_eq!(record.direction, Direction::Sent);
    let neighbours = Play::with_ttls(64, 64)
        .handshake()
        .exchange()
        .active(Server)
        .only();
    assert_eq!(neighbours.direction, Direction::Observed);
    assert_eq!(neighbours.capture.and_then(|at| at.vantage), None);
}

#[test]
fn a_new_handshake_on_the_same_ports_is_another_connection() {
    let mut play = Play::at_client()
        .handshake()
        .exchange()
        .active(Server)
        .wait(5_000);
    play.ends[0].seq = 77_000;
    play.ends[1].seq = 99_000;
    let records = play.handshake().exchange().active(Server).records();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record.verdict.severity, Severity::Fault, "{record:#?}");
    }
}

#[test]
fn resets_in_both_directions_at_once_speak_against_the_ends() {
    let mut play = Play::with_ttls(60, 57)
        .handshake()
        .exchange()
        .wait(300_000)
        .active(Server);
    play.now -= 9_900_000;
    let records = play.active(Client).records();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert!(kinds(record).contains(&"both_ways"), "{record:#?}");
        assert_eq!(record.direction, Direction::Observed);
    }
}

#[test]
fn the_table_of_connections_is_bounded() {
    let mut tracker = Tracker::new([]);
    let mut out = Vec::new();
    let template = Play::at_client().send(Client, TcpFlags::SYN, 0).segments[0];
    for number in 0..(MAX_CONNECTIONS as u32 + 10) {
        let mut segment = template;
        segment.source = SocketAddr::new(std::net::Ipv4Addr::from(number).into(), 9);
        segment.time = CaptureTime(u64::from(number));
        tracker.see(&segment, &mut out);
    }
    assert!(tracker.connections.len() <= MAX_CONNECTIONS);
    assert!(tracker.counts().forgotten > 0);
    assert!(out.is_empty());
}

prop_compose! {
    fn any_segment()(
        time in 0_u64..10_000_000_000,
        from_client: bool,
        seq in prop_oneof![0_u32..50, any::<u32>()],
        ack in prop_oneof![0_u32..50, any::<u32>()],
        flags: u8,
        payload_len in prop_oneof![0_u32..30, any::<u32>()],
        ttl: u8,
        window: u16,
        scale in proptest::option::of(any::<u8>()),
        way in 0_u8..4,
    ) -> Segment<'static> {
        let mut segment = Play::at_client().segment(if from_client { Client } else { Server }, flags, payload_len);
        segment.time = CaptureTime(time);
        (segment.seq, segment.ack, segment.ttl, segment.window) = (seq, ack, ttl, window);
        segment.options.window_scale = scale;
        segment.way = [None, Some(Way::In), Some(Way::Out), Some(Way::By)][usize::from(way)];
        segment
    }
}

proptest! {
    #[test]
    fn no_sequence_of_segments_panics_and_each_reset_makes_one_record(
        segments in proptest::collection::vec(any_segment(), 0..60)
    ) {
        let mut tracker = Tracker::new([]);
        let mut out = Vec::new();
        for segment in &segments {
            tracker.see(segment, &mut out);
        }
        tracker.finish(&mut out);
        let resets = segments.iter().filter(|segment| segment.flags.has(TcpFlags::RST)).count() as u64;
        prop_assert_eq!(out.len() as u64 + tracker.counts().repeated, resets);
        let records = judge(&segments);
        prop_assert_eq!(records.len(), out.len());
        for record in records {
            // Who gets a reset is not the kernel that sends it.
            prop_assert!(
                record.verdict.cause != Cause::ResetByPeer
                    || record.verdict.origin != Origin::LocalKernel,
                "{:?}", record
            );
        }
    }
}
