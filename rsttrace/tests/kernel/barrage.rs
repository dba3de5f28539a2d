//! Many segments that belong to no connection, from sources that need not exist.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rsttrace_lab::{Flags, Injector, Segment};

/// A SYN that seems to come from elsewhere.
pub fn syn(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), seq: u32) -> Segment {
    let (from, to) = (SocketAddr::from(from), SocketAddr::from(to));
    Segment {
        window: 64_240,
        ttl: 57,
        ..Segment::new(from, to, Flags::SYN).numbered(seq, 0)
    }
}

/// Sends the segments of these numbers, in the calling thread's namespace.
pub fn volley(numbers: std::ops::Range<u32>, segment: impl Fn(u32) -> Segment) {
    let injector = injector();
    for number in numbers {
        injector.send(&segment(number)).unwrap();
    }
}

/// Sends this many a second until `stop`, and counts them.
pub fn sustain(rate: u32, stop: &AtomicBool, sent: &AtomicU64, segment: impl Fn(u32) -> Segment) {
    let injector = injector();
    let begin = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        // Not all that is late is sent later.
        number = number.max(due.saturating_sub(rate / 20));
        while number < due {
            injector.send(&segment(number)).unwrap();
            sent.fetch_add(1, Ordering::Relaxed);
            number += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn injector() -> Injector {
    Injector::new((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap()
}
