//! Simulated traffic as seen by client, load balancer and server, each with its own clock.

use std::net::SocketAddr;

use super::super::{Comparison, Digest, compare};
use crate::capture::{CaptureTime, Overlay, Segment, TcpOptions, Way};
use crate::event::TcpFlags;

/// Nanoseconds.
pub const US: i64 = 1_000;
/// Nanoseconds.
pub const MS: i64 = 1_000_000;

/// When the scenes play.
const EPOCH: i64 = 1_800_000_000_000_000_000;
/// The places, from the client to the server: capture, interface, time on the way from the client, routers passed.
const TAPS: [(&str, u32, i64, u8); 4] = [
    ("client", 0, 0, 0),
    ("balancer", 1, MS, 0),
    ("balancer", 2, MS + 50 * US, 1),
    ("server", 0, 2 * MS + 50 * US, 1),
];

/// Whether a capture holds such a segment.
pub type Filter = fn(&Segment<'_>) -> bool;

/// What an end, or somebody in its name, sends.
#[derive(Clone, Debug)]
pub struct Shot {
    side: usize,
    flags: u8,
    payload: Vec<u8>,
    by_balancer: bool,
    lost_at_balancer: bool,
    unseen: Vec<&'static str>,
    other_interface: bool,
    not_coming_in: bool,
    ttl: Option<u8>,
}

/// The client sends.
pub fn client() -> Shot {
    Shot {
        side: 0,
        flags: TcpFlags::ACK,
        payload: Vec::new(),
        by_balancer: false,
        lost_at_balancer: false,
        unseen: Vec::new(),
        other_interface: false,
        not_coming_in: false,
        ttl: None,
    }
}

/// The server sends.
pub fn server() -> Shot {
    Shot {
        side: 1,
        ..client()
    }
}

impl Shot {
    pub fn syn(mut self) -> Self {
        self.flags = if self.side == 0 {
            TcpFlags::SYN
        } else {
            TcpFlags::SYN | TcpFlags::ACK
        };
        self
    }

    pub fn fin(mut self) -> Self {
        self.flags = TcpFlags::FIN | TcpFlags::ACK;
        self
    }

    pub fn reset(mut self) -> Self {
        self.flags = TcpFlags::RST | TcpFlags::ACK;
        self
    }

    pub fn acknowledge(self) -> Self {
        self
    }

    pub fn data(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The balancer makes it, in this end's name.
    pub fn by_balancer(mut self) -> Self {
        self.by_balancer = true;
        self
    }

    /// The balancer does not pass it on.
    pub fn lost_at_balancer(mut self) -> Self {
        self.lost_at_balancer = true;
        self
    }

    /// It passed, and this capture does not have it.
    pub fn unseen(mut self, capture: &'static str) -> Self {
        self.unseen.push(capture);
        self
    }

    /// The balancer's capture has it leaving only.
    pub fn unseen_coming_in(mut self) -> Self {
        self.not_coming_in = true;
        self
    }

    /// With this TTL, wherever it is seen.
    pub fn with_ttl(mut self, ttl: u8) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// It came to the balancer by another interface than usual.
    pub fn by_other_interface(mut self) -> Self {
        self.other_interface = true;
        self
    }
}

/// A connection at the taps it passes.
#[derive(Clone, Debug)]
struct Wire {
    taps: Vec<usize>,
    /// At each of them: who opened it, who was asked.
    ends: Vec<[SocketAddr; 2]>,
    next: [u32; 2],
}

/// A segment at a tap.
#[derive(Clone, Debug)]
struct Taken {
    time: i64,
    interface: u32,
    way: Option<Way>,
    ends: [SocketAddr; 2],
    ttl: u8,
    seq: u32,
    ack: u32,
    flags: u8,
    timestamps: (u32, u32),
    payload: Vec<u8>,
}

/// Captures, and what goes on.
#[derive(Debug)]
pub struct Scene {
    wires: Vec<Wire>,
    active: usize,
    taken: Vec<(&'static str, Taken)>,
    clocks: Vec<(&'static str, i64, f64)>,
    step: Option<(&'static str, i64, i64)>,
    begins: Option<(&'static str, i64)>,
    ends: Option<(&'static str, i64)>,
    without: Vec<&'static str>,
    carried: [&'static [u8]; 2],
    /// What the balancer puts before it.
    header: &'static [u8],
    turns: u16,
    ways: bool,
    bridge: bool,
    filter: Option<(&'static str, Filter)>,
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Scene {
    fn of(wires: Vec<Wire>, carried: [&'static [u8]; 2]) -> Self {
        Self {
            wires,
            active: 0,
            taken: Vec::new(),
            clocks: Vec::new(),
            step: None,
            begins: None,
            ends: None,
            without: Vec::new(),
            carried,
            header: b"",
            turns: 0,
            ways: false,
            bridge: false,
            filter: None,
        }
    }

    /// A balancer that rewrites the destination.
    pub fn transparent() -> Self {
        Self::of(
            vec![translated("198.51.100.2:80", "203.0.113.3:8080")],
            [b"a question", b"an answer"],
        )
    }

    /// A balancer that ends the client's connection and opens one to the server.
    pub fn terminating(asked: &'static [u8], answered: &'static [u8]) -> Self {
        Self::of(legs(0), [asked, answered])
    }

    /// The captures of the ends tell which way segments went.
    pub fn with_ways(&mut self) {
        self.ways = true;
    }

    /// The balancer lowers no TTL.
    pub fn bridged(&mut self) {
        self.bridge = true;
    }

    /// That capture holds only such segments.
    pub fn filtered(&mut self, capture: &'static str, by: Filter) {
        self.filter = Some((capture, by));
    }

    /// Handshake, question and answer, from this time on.
    pub fn talk(&mut self, from: i64) {
        self.send(from, client().syn());
        self.send(from + 5 * MS, server().syn());
        self.send(from + 10 * MS, client().acknowledge());
        let [asked, answered] = self.carried;
        self.send(from + 40 * MS, client().data(asked));
        self.send(from + 60 * MS, server().data(answered));
        self.send(from + 70 * MS, client().acknowledge());
    }

    /// The same through a terminating balancer; the server's leg is the active one afterwards.
    pub fn serve(&mut self, from: i64) {
        let [asked, answered] = self.carried;
        let (near, far) = (self.wires.len() - 2, self.wires.len() - 1);
        for (wire, shift) in [(near, 0), (far, 12 * MS)] {
            self.active = wire;
            self.send(from + shift, client().syn());
            self.send(from + shift + 5 * MS, server().syn());
            self.send(from + shift + 10 * MS, client().acknowledge());
        }
        self.active = near;
        self.send(from + 40 * MS, client().data(asked));
        self.active = far;
        let passed_on = [self.header, asked].concat();
        self.send(from + 42 * MS, client().data(&passed_on));
        self.send(from + 60 * MS, server().data(answered));
        self.active = near;
        self.send(from + 62 * MS, server().data(answered));
        self.active = far;
    }

    /// The balancer puts this before what the client says.
    pub fn with_header(&mut self, header: &'static [u8]) {
        self.header = header;
    }

    /// What follows is on the client's leg.
    pub fn first_leg(&mut self) {
        self.active = self.wires.len() - 2;
    }

    /// What follows is of another client.
    pub fn second_pair(&mut self) {
        self.turns += 1;
        self.wires.extend(legs(self.turns));
    }

    /// What follows is with another service.
    pub fn another_server(&mut self) {
        self.wires
            .push(translated("198.51.100.9:80", "203.0.113.9:8080"));
        self.active = self.wires.len() - 1;
        self.wires[self.active].next = [900_000, 700_000];
    }

    /// The same addresses, new sequence numbers.
    pub fn begin_anew(&mut self, isn: u32) {
        self.wires[self.active].next = [isn, isn + 9_000_000];
    }

    /// Something else that every capture has.
    pub fn aside(&mut self, from: i64) {
        let ends = [at("192.0.2.1:55555"), at("203.0.113.3:22")];
        let active = self.active;
        self.wires.insert(
            0,
            Wire {
                taps: vec![0, 1, 2, 3],
                ends: vec![ends; 4],
                next: [5, 6],
            },
        );
        self.active = 0;
        let carried = std::mem::replace(&mut self.carried, [b"aside: question", b"aside: reply"]);
        self.talk(from);
        self.carried = carried;
        self.wires.remove(0);
        self.active = active;
    }

    /// This capture's clock is ahead, and faster.
    pub fn clock(&mut self, capture: &'static str, ahead: i64, drift: f64) {
        self.clocks.push((capture, ahead, drift));
    }

    /// This capture's clock is set forward at a time.
    pub fn step(&mut self, capture: &'static str, when: i64, by: i64) {
        self.step = Some((capture, when, by));
    }

    /// It has nothing from before.
    pub fn begins(&mut self, capture: &'static str, when: i64) {
        self.begins = Some((capture, when));
    }

    /// It has nothing from after.
    pub fn ends(&mut self, capture: &'static str, when: i64) {
        self.ends = Some((capture, when));
    }

    /// That capture is not given.
    pub fn without(&mut self, capture: &'static str) {
        self.without = vec![capture];
    }

    /// Only that capture is given.
    pub fn only_tap(&mut self, capture: &'static str) {
        let all = ["client", "balancer", "server"];
        self.without = all.into_iter().filter(|name| *name != capture).collect();
    }

    /// On the active connection.
    pub fn send(&mut self, when: i64, shot: Shot) {
        let wire = &mut self.wires[self.active];
        let side = shot.side;
        let (seq, ack) = (wire.next[side], wire.next[1 - side]);
        let begins = shot.flags & (TcpFlags::SYN | TcpFlags::FIN) != 0;
        // A SYN that got lost is sent again as it was.
        if shot.unseen.is_empty() || shot.flags & TcpFlags::SYN == 0 {
            wire.next[side] = seq.wrapping_add(shot.payload.len() as u32 + u32::from(begins));
        }
        let wire = wire.clone();
        let opener = u32::from(wire.ends[0][0].port());
        let whole = wire.taps.len() == TAPS.len();
        let first = *if side == 0 {
            wire.taps.first()
        } else {
            wire.taps.last()
        }
        .unwrap();
        for (tap, ends) in wire.taps.iter().zip(&wire.ends) {
            let (capture, interface, delay, routers) = TAPS[*tap];
            // The balancer is between the second and the third tap.
            let passed = if side == 0 { *tap > 1 } else { *tap < 2 };
            if shot.unseen.contains(&capture)
                || shot.by_balancer && !passed
                || shot.lost_at_balancer && passed
            {
                continue;
            }
            let way = if side == 0 {
                delay - TAPS[first].2
            } else {
                TAPS[first].2 - delay
            };
            let hops = if whole && !shot.by_balancer && !self.bridge {
                routers.abs_diff(TAPS[first].3)
            } else {
                0
            };
            let inward = match capture {
                "client" => side == 1,
                "server" => side == 0,
                _ => (interface == 1) == (side == 0),
            };
            let direction = match (interface, inward) {
                (0, _) if !self.ways => None,
                (_, true) => Some(Way::In),
                (_, false) => Some(Way::Out),
            };
            if shot.not_coming_in && capture == "balancer" && direction == Some(Way::In) {
                continue;
            }
            let other = shot.other_interface && direction == Some(Way::In);
            let millis = ((when / MS) as u32).wrapping_add(7 + side as u32 * 1_000_000);
            let mut ends = *ends;
            if side == 1 {
                ends.reverse();
            }
            self.taken.push((
                capture,
                Taken {
                    time: when + way,
                    interface: if other { 9 } else { interface },
                    way: direction,
                    ends,
                    ttl: shot.ttl.unwrap_or(64 - hops),
                    seq,
                    ack: if shot.flags & TcpFlags::ACK == 0 {
                        0
                    } else {
                        ack
                    },
                    flags: shot.flags,
                    timestamps: (millis.wrapping_add(opener), 1),
                    payload: shot.payload.clone(),
                },
            ));
        }
    }

    /// The captures, digested.
    pub fn digests(&self) -> Vec<Digest> {
        let names = ["client", "balancer", "server"];
        let given = names.iter().filter(|name| !self.without.contains(name));
        given.map(|name| self.digest(name)).collect()
    }

    fn digest(&self, name: &str) -> Digest {
        let mut all: Vec<_> = self
            .taken
            .iter()
            .filter(|(capture, taken)| {
                *capture == name
                    && self
                        .begins
                        .is_none_or(|(of, from)| of != name || taken.time >= from)
                    && self
                        .ends
                        .is_none_or(|(of, until)| of != name || taken.time <= until)
            })
            .map(|(_, taken)| taken)
            .collect();
        all.sort_by_key(|taken| taken.time);
        let mut digest = Digest::new(name);
        for (frame, taken) in (1..).zip(all) {
            let segment = Segment {
                time: CaptureTime((EPOCH + self.by_clock(name, taken.time)) as u64),
                frame,
                interface: taken.interface,
                overlay: Overlay(0),
                source: taken.ends[0],
                destination: taken.ends[1],
                seq: taken.seq,
                ack: taken.ack,
                flags: TcpFlags(taken.flags),
                window: 500,
                options: TcpOptions {
                    timestamps: (taken.flags & TcpFlags::RST == 0).then_some(taken.timestamps),
                    ..TcpOptions::default()
                },
                payload_len: taken.payload.len() as u32,
                payload: &taken.payload,
                ttl: taken.ttl,
                ip_id: Some(0),
                dont_fragment: Some(true),
                source_mac: None,
                way: taken.way,
            };
            let passes = self
                .filter
                .is_none_or(|(of, passes)| of != name || passes(&segment));
            if passes {
                digest.see(&segment);
            }
        }
        digest
    }

    fn by_clock(&self, name: &str, time: i64) -> i64 {
        let mut shown = time;
        for (capture, ahead, drift) in &self.clocks {
            if *capture == name {
                shown += ahead + (time as f64 * drift) as i64;
            }
        }
        match self.step {
            Some((capture, when, by)) if capture == name && time >= when => shown + by,
            _ => shown,
        }
    }

    /// What they say together.
    pub fn compare(&self) -> Comparison {
        compare(self.digests(), &[])
    }
}

fn translated(vip: &str, server: &str) -> Wire {
    let client = at("192.0.2.1:40000");
    let (before, after) = ([client, at(vip)], [client, at(server)]);
    Wire {
        taps: vec![0, 1, 2, 3],
        ends: vec![before, before, after, after],
        next: [1_000, 5_000_000],
    }
}

fn legs(number: u16) -> Vec<Wire> {
    let client: SocketAddr = (at("192.0.2.1:0").ip(), 40_000 + number).into();
    let proxy: SocketAddr = (at("203.0.113.254:0").ip(), 50_000 + number).into();
    let near = [client, at("198.51.100.2:80")];
    let far = [proxy, at("203.0.113.3:8080")];
    let isn = u32::from(number) * 100_000;
    vec![
        Wire {
            taps: vec![0, 1],
            ends: vec![near; 2],
            next: [1_000 + isn, 5_000_000 + isn],
        },
        Wire {
            taps: vec![2, 3],
            ends: vec![far; 2],
            next: [9_000_000 + isn, 70_000_000 + isn],
        },
    ]
}
