//! Many segments that belong to no connection, from sources that need not exist.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, Socket, Type};

/// A segment, by what is to differ from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    /// Where it seems to come from.
    pub from: (Ipv4Addr, u16),
    /// Where it goes.
    pub to: (Ipv4Addr, u16),
    /// Whether it is a SYN; else an ACK.
    pub syn: bool,
    /// Its sequence number.
    pub seq: u32,
}

/// Sends segments of the calling thread's namespace.
pub struct Barrage {
    socket: Socket,
}

impl Barrage {
    /// Nothing is sent yet.
    pub fn new() -> Self {
        // IPPROTO_RAW: the header comes with the packet.
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        Self { socket }
    }

    /// Sends it.
    pub fn fire(&self, shot: Shot) {
        let ip = PacketBuilder::ipv4(shot.from.0.octets(), shot.to.0.octets(), 57);
        let tcp = ip.tcp(shot.from.1, shot.to.1, shot.seq, 64_240);
        let tcp = if shot.syn { tcp.syn() } else { tcp.ack(77) };
        let mut packet = Vec::with_capacity(tcp.size(0));
        tcp.write(&mut packet, &[]).unwrap();
        let to = SocketAddr::from((shot.to.0, 0));
        self.socket.send_to(&packet, &to.into()).unwrap();
    }

    /// Sends the shots of these numbers.
    pub fn volley(&self, numbers: std::ops::Range<u32>, shot: impl Fn(u32) -> Shot) {
        for number in numbers {
            self.fire(shot(number));
        }
    }

    /// Sends so many a second until it is told to stop; counts them.
    pub fn sustain(
        &self,
        rate: u32,
        stop: &AtomicBool,
        fired: &AtomicU64,
        shot: impl Fn(u32) -> Shot,
    ) {
        let begin = Instant::now();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u32;
            // Whoever was late does not make up for all of it.
            number = number.max(due.saturating_sub(rate / 20));
            while number < due {
                self.fire(shot(number));
                fired.fetch_add(1, Ordering::Relaxed);
                number += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
