//! Tests with many connections at several places.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::order::Clocks;
use super::super::proxy_legs::{Join, Joins};
use super::super::report::{Comparison, PathKind};
use super::super::{All, Digest, MOST_LEGS, compare, matching, narrative};
use super::scene::{MS, Scene, client, server};
use super::{HOUR, only};
use crate::capture::{CaptureTime, Overlay, Segment, TcpOptions};
use crate::event::TcpFlags;

const DAYS: i64 = 72 * HOUR;
const START: i64 = 1_800_000_000_000_000_000;

/// What one place sees.
struct Place {
    digest: Digest,
    frame: u64,
}

impl Place {
    fn new(name: &str) -> Self {
        Self {
            digest: Digest::new(name.to_owned()),
            frame: 0,
        }
    }

    /// A segment of this side.
    fn see(
        &mut self,
        when: i64,
        ends: [SocketAddr; 2],
        side: usize,
        numbers: [u32; 2],
        flags: u8,
        payload: &[u8],
    ) {
        self.frame += 1;
        self.digest.see(&Segment {
            time: CaptureTime((START + when) as u64),
            frame: self.frame,
            interface: 0,
            overlay: Overlay(0),
            source: ends[side],
            destination: ends[1 - side],
            seq: numbers[0],
            ack: numbers[1],
            flags: TcpFlags(flags),
            window: 500,
            options: TcpOptions::default(),
            payload_len: payload.len() as u32,
            payload,
            ttl: 64,
            ip_id: Some(self.frame as u16),
            dont_fragment: Some(true),
            source_mac: None,
            way: None,
        });
    }

    /// A whole connection: question, answer after so long, and a reset of who was asked.
    fn serve(
        &mut self,
        when: i64,
        (from, to): (&str, &str),
        isn: u32,
        said: [&[u8]; 2],
        takes: i64,
    ) {
        let ends: [SocketAddr; 2] = [from.parse().unwrap(), to.parse().unwrap()];
        let (mine, yours) = (isn, isn ^ 0x5555_5555);
        let asked = mine.wrapping_add(1 + said[0].len() as u32);
        let answered = yours.wrapping_add(1 + said[1].len() as u32);
        let ack = TcpFlags::ACK;
        let next = [mine.wrapping_add(1), yours.wrapping_add(1)];
        self.see(when - 3 * MS, ends, 0, [mine, 0], TcpFlags::SYN, b"");
        self.see(
            when - 2 * MS,
            ends,
            1,
            [yours, next[0]],
            TcpFlags::SYN | ack,
            b"",
        );
        self.see(when - MS, ends, 0, next, ack, b"");
        self.see(when, ends, 0, next, ack, said[0]);
        self.see(when + takes, ends, 1, [next[1], asked], ack, said[1]);
        self.see(when + takes + MS, ends, 0, [asked, answered], ack, b"");
        self.see(
            when + takes + 9 * MS,
            ends,
            1,
            [answered, asked],
            TcpFlags::RST | ack,
            b"",
        );
    }
}

/// Requests through a proxy, at the client and, by another clock, at the server.
fn proxied(
    number: u32,
    asked: impl Fn(u32) -> String,
    answered: &str,
    hosts: [&str; 2],
    ahead: i64,
) -> Comparison {
    let (mut near, mut far) = (Place::new("client"), Place::new("server"));
    for nth in 0..number {
        let when = i64::from(nth) * 20 * MS;
        let (asked, port) = (asked(nth), 20_000 + nth);
        let said = [asked.as_bytes(), answered.as_bytes()];
        let [front, back] = hosts;
        let (client, proxy) = (format!("192.0.2.1:{port}"), format!("{back}:{}", port + 7));
        let front = format!("{front}:80");
        near.serve(when, (&client, &front), 1_000 * nth + 7, said, 10 * MS);
        let far_when = when + ahead + 4 * MS;
        far.serve(
            far_when,
            (&proxy, "203.0.113.3:80"),
            900_000_000 + 1_000 * nth,
            said,
            2 * MS,
        );
    }
    compare(vec![near.digest, far.digest], &[])
}

fn joined(found: &Comparison) -> usize {
    let paths = found.connections.iter();
    paths.filter(|c| c.path == PathKind::Terminated).count()
}

fn request(nth: u32) -> String {
    format!("GET /thing/{nth} HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: something\r\n\r\n";

#[test]
fn a_proxys_legs_are_joined_without_a_common_clock_if_it_is_on_both() {
    for number in [1, 2, 200] {
        for ahead in [0, -HOUR, DAYS] {
            let hosts = ["198.51.100.2"; 2];
            let found = proxied(number, request, ANSWER, hosts, ahead);
            assert_eq!(joined(&found), number as usize, "{ahead}");
            let offset = found.captures[1].offset.unwrap();
            let within = found.captures[1].within.unwrap() + 1e-9;
            assert!(
                (offset - ahead as f64 / 1e9).abs() <= within,
                "{offset} {within}"
            );
        }
    }
}

#[test]
fn without_a_clock_or_a_host_on_both_legs_bytes_are_not_enough() {
    // Another address behind than before, and what everybody says.
    let short = |_: u32| "PING\r\n".to_owned();
    for (found, what) in [
        (
            proxied(1, request, ANSWER, ["198.51.100.2", "203.0.113.9"], DAYS),
            "hosts",
        ),
        (
            proxied(1, short, "+PONG\r\n", ["198.51.100.2"; 2], DAYS),
            "bytes",
        ),
        (
            proxied(1, short, "+PONG\r\n", ["198.51.100.2", "203.0.113.9"], DAYS),
            "both",
        ),
    ] {
        assert_eq!(joined(&found), 0, "{what}");
        assert_eq!(found.connections.len(), 2);
        assert_eq!(found.captures[1].offset, None, "{what}");
    }
}

#[test]
fn what_a_proxys_header_says_counts_as_a_host_on_both_legs() {
    for (port, expected) in [(20_000, 1), (20_001, 0)] {
        let (mut near, mut far) = (Place::new("client"), Place::new("server"));
        let asked = request(1);
        let passed = format!("PROXY TCP4 192.0.2.1 198.51.100.2 {port} 80\r\n{asked}");
        let ends = ("192.0.2.1:20000", "198.51.100.2:80");
        near.serve(0, ends, 7, [asked.as_bytes(), ANSWER.as_bytes()], 10 * MS);
        let ends = ("203.0.113.9:5000", "203.0.113.3:80");
        let said = [passed.as_bytes(), ANSWER.as_bytes()];
        far.serve(DAYS + 4 * MS, ends, 900, said, 2 * MS);
        let found = compare(vec![near.digest, far.digest], &[]);
        assert_eq!(joined(&found), expected, "{port}");
    }
}

#[test]
fn an_hour_on_a_proxy_is_joined_whatever_the_clocks_drift() {
    for drift in [0.0, 40e-6, -40e-6] {
        let (mut near, mut far) = (Place::new("client"), Place::new("server"));
        let asked = request(1);
        let said = [asked.as_bytes(), ANSWER.as_bytes()];
        let shown = |when: i64| DAYS + when + (when as f64 * drift) as i64;
        let takes = 3_600_000 * MS;
        near.serve(
            0,
            ("192.0.2.1:20000", "198.51.100.2:80"),
            7,
            said,
            takes + 4 * MS,
        );
        let begun = shown(MS);
        let takes = shown(MS + takes) - begun;
        far.serve(
            begun,
            ("198.51.100.2:5000", "203.0.113.3:80"),
            900,
            said,
            takes,
        );
        let found = compare(vec![near.digest, far.digest], &[]);
        assert_eq!(joined(&found), 1, "{drift}");
    }
}

#[test]
fn one_join_by_chance_does_not_set_the_clock_against_many() {
    let (mut near, mut far) = (Place::new("client"), Place::new("server"));
    for nth in 0..20_u32 {
        // The first question was asked again three days later, and its own leg is not captured.
        let when = i64::from(nth) * 20 * MS;
        let ahead = if nth == 0 { DAYS } else { HOUR };
        let asked = request(nth);
        let said = [asked.as_bytes(), ANSWER.as_bytes()];
        let port = 20_000 + nth;
        let client = format!("192.0.2.1:{port}");
        let proxy = format!("198.51.100.2:{}", port + 7);
        near.serve(
            when,
            (&client, "198.51.100.2:80"),
            1_000 * nth + 7,
            said,
            10 * MS,
        );
        far.serve(
            when + ahead + 4 * MS,
            (&proxy, "203.0.113.3:80"),
            900_000_000 + 1_000 * nth,
            said,
            2 * MS,
        );
    }
    let found = compare(vec![near.digest, far.digest], &[]);
    assert_eq!(joined(&found), 19);
    let clock = &found.captures[1];
    assert!(
        (clock.offset.unwrap() - 3_600.0).abs() < 0.01 && !clock.contradictory,
        "{clock:?}"
    );
}

#[test]
fn thousands_of_requests_that_begin_alike_are_told_apart() {
    let hosts = ["198.51.100.2"; 2];
    let found = proxied(2_100, request, ANSWER, hosts, HOUR);
    assert_eq!(joined(&found), 2_100);
}

#[test]
fn a_scan_with_one_sequence_number_is_as_many_connections() {
    let began = Instant::now();
    let number = 2_000;
    let (mut near, mut far) = (Place::new("scanner"), Place::new("scanned"));
    for nth in 0..number {
        let ends = [
            "192.0.2.1:40000".parse().unwrap(),
            SocketAddr::from(([203, 0, 113, 3], 1_000 + nth)),
        ];
        let when = i64::from(nth) * MS / 10;
        for (place, ahead) in [(&mut near, 0), (&mut far, MS)] {
            place.see(when + ahead, ends, 0, [77, 0], TcpFlags::SYN, b"");
            let shut = TcpFlags::RST | TcpFlags::ACK;
            // One port is open.
            if nth == 80 {
                place.see(
                    when + 2 * MS - ahead,
                    ends,
                    1,
                    [5, 78],
                    TcpFlags::SYN | TcpFlags::ACK,
                    b"",
                );
            }
            place.see(when + 2 * MS - ahead, ends, 1, [0, 78], shut, b"");
        }
    }
    let found = compare(vec![near.digest, far.digest], &[]);
    assert_eq!(found.connections.len(), usize::from(number));
    for connection in &found.connections {
        assert_eq!(connection.path, PathKind::Direct, "{connection:#?}");
        assert_eq!(connection.points.len(), 2);
    }
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_syn_that_a_balancer_passes_on_is_one_even_if_nobody_answers_it() {
    let mut scene = Scene::transparent();
    scene.send(0, client().syn());
    scene.send(5 * MS, server().reset());
    scene.aside(2_000 * MS);
    let found = scene.compare();
    assert_eq!(only(&found).path, PathKind::Translated);
    assert_eq!(only(&found).points.len(), 4);
}

#[test]
fn legs_that_go_round_or_on_for_ever_are_told_once_each() {
    for (number, round) in [(3, true), (300, false), (300, true)] {
        let mut place = Place::new("a");
        for nth in 0..number {
            let from = format!("192.0.2.1:{}", 1_000 + nth);
            place.serve(
                i64::from(nth) * 100 * MS,
                (&from, "192.0.2.2:80"),
                nth * 1_000,
                [b"a", b"b"],
                MS,
            );
        }
        let mut digests = vec![place.digest];
        let (connections, _) = matching::connections(&mut digests);
        let last = connections.len() - usize::from(!round);
        let joined = (0..last).map(|client| Join {
            client,
            server: (client + 1) % connections.len(),
            common: 1,
        });
        let joins = Joins {
            joined: joined.collect(),
            ambiguous: HashSet::new(),
        };
        let clocks = Clocks::of(&connections, &digests);
        let all = All {
            digests: &digests,
            connections: &connections,
            clocks: &clocks,
            joins: &joins,
            records: narrative::index(&[]),
        };
        let chains = all.chains();
        assert!(chains.iter().all(|chain| chain.legs.len() <= MOST_LEGS));
        let told: usize = chains.iter().map(|chain| chain.legs.len()).sum();
        assert_eq!(told, number as usize);
        for chain in &chains {
            let _ = all.tell(chain);
        }
    }
}

#[test]
fn parts_of_one_capture_are_told() {
    let part = |begins: Option<i64>, ends: Option<i64>| {
        let mut scene = Scene::transparent();
        scene.only_tap("client");
        if let Some(at) = begins {
            scene.begins("client", at);
        }
        if let Some(at) = ends {
            scene.ends("client", at);
        }
        scene.talk(0);
        for tenth in 1..8 {
            scene.send(tenth * 100 * MS, client().data(b"a question"));
            scene.send(tenth * 100 * MS + 20 * MS, server().data(b"an answer"));
        }
        scene.send(900 * MS, server().reset());
        scene.digests().remove(0)
    };
    let found = compare(
        vec![part(None, Some(450 * MS)), part(Some(450 * MS), None)],
        &[],
    );
    assert!(
        found
            .captures
            .iter()
            .all(|c| c.lacks[0].contains("mergecap")),
        "{found:#?}"
    );
    // Two captures of the same time, and by clocks that differ.
    for ahead in [0, DAYS] {
        let mut scene = Scene::transparent();
        scene.without("balancer");
        scene.clock("server", ahead, 0.0);
        scene.begins("server", 250 * MS);
        scene.talk(0);
        for tenth in 1..8 {
            scene.send(tenth * 100 * MS, client().data(b"a question"));
            scene.send(tenth * 100 * MS + 20 * MS, server().data(b"an answer"));
        }
        scene.send(900 * MS, server().reset());
        let found = scene.compare();
        assert!(found.captures.iter().all(|c| c.lacks.is_empty()));
    }
}

#[test]
fn several_captures_share_the_room() {
    let mut place = Place::new("a");
    place.digest = place.digest.among(1_000);
    let room = place.digest.most_lives;
    for nth in 0..2 * room as u32 {
        let ends = [
            format!("192.0.2.1:{}", 1 + nth).parse().unwrap(),
            "192.0.2.2:80".parse().unwrap(),
        ];
        place.see(i64::from(nth) * MS, ends, 0, [nth, 0], TcpFlags::SYN, b"");
    }
    assert!(place.digest.lives.len() <= room && place.digest.forgotten > 0);
    assert!(Digest::new("b").most_lives > 16 * room);
}
