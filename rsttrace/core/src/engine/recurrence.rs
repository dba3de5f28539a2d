//! Sources that open connections again and again: health checkers and port scanners.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smallvec::SmallVec;

use crate::classes::{self, Recurrence, Scan};
use crate::correlate::Origin;
use crate::event::{BootTime, NetnsCookie, Packet, Received, Sent, TcpFlags};
use crate::hash::{self, LruCache};
use crate::thresholds::{SCAN, SCANNED_PORTS, period_tolerance};

/// Sources kept of each kind.
const MAX_SOURCES: usize = 1_024;

/// Moments that show a period: three intervals of the same length are no accident.
const MOMENTS: usize = 4;

/// One checker, and the service that it checks.
type Checker = (NetnsCookie, IpAddr, u16);

/// See the module.
#[derive(Debug)]
pub struct Sources {
    checks: LruCache<Checker, SmallVec<[BootTime; MOMENTS]>>,
    attempts: LruCache<(NetnsCookie, IpAddr), Attempts>,
}

#[derive(Debug)]
struct Attempts {
    first: BootTime,
    last: BootTime,
    count: u32,
    /// Different ones, up to [`SCANNED_PORTS`].
    ports: SmallVec<[u16; SCANNED_PORTS]>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            checks: hash::lru(MAX_SOURCES),
            attempts: hash::lru(MAX_SOURCES),
        }
    }
}

impl Sources {
    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> [(&'static str, usize, Option<usize>); 2] {
        [
            ("checkers", self.checks.len(), Some(MAX_SOURCES)),
            ("scanners", self.attempts.len(), Some(MAX_SOURCES)),
        ]
    }

    /// Takes notice of a sent reset.
    pub fn sent(&mut self, at: Origin, sent: &Sent) {
        let remote = sent.flow.remote;
        let answers_syn = sent
            .cause
            .is_some_and(|cause| cause.flags.has(TcpFlags::SYN) && !cause.flags.has(TcpFlags::ACK));
        if sent.passive && answers_syn {
            self.attempt(at, remote.ip(), sent.flow.local.port());
        } else if let Some(left) = classes::opener_left_empty(sent, at.time) {
            self.check(at.netns, remote, left);
        }
    }

    /// Takes notice of an accepted reset.
    pub fn received(&mut self, at: Origin, received: &Received) {
        if let Some(left) = classes::listener_left_empty(received, at.time) {
            let (source, port) = (received.flow.remote.ip(), received.flow.local.port());
            self.check(at.netns, SocketAddr::new(source, port), left);
            self.attempt(at, source, port);
        }
    }

    /// Takes notice of a reset on the wire.
    pub fn arrived(&mut self, at: Origin, packet: &Packet) {
        if !packet.egress && classes::aborts_attempt(packet) {
            let (source, port) = (packet.source.ip(), packet.destination.port());
            self.check(at.netns, SocketAddr::new(source, port), at.time);
            self.attempt(at, source, port);
        }
    }

    /// What is known of `source` as far as this service is concerned.
    pub fn of(&self, netns: NetnsCookie, source: IpAddr, service: u16) -> Recurrence {
        let moments = self.checks.peek(&(netns, source, service));
        let attempts = self.attempts.peek(&(netns, source));
        Recurrence {
            period: moments.and_then(|moments| period(moments)),
            scan: attempts
                .filter(|attempts| attempts.ports.len() >= SCANNED_PORTS)
                .map(|attempts| Scan {
                    attempts: attempts.count,
                    within: attempts.last.since(attempts.first),
                }),
        }
    }

    /// The other end of the check, with the port of the service.
    fn check(&mut self, netns: NetnsCookie, other: SocketAddr, left: BootTime) {
        let checker = (netns, other.ip(), other.port());
        let moments = self.checks.get_or_insert_mut(checker, SmallVec::new);
        // Each segment that comes after the close is answered.
        if moments.contains(&left) {
            return;
        }
        if moments.len() == MOMENTS {
            moments.remove(0);
        }
        moments.push(left);
    }

    fn attempt(&mut self, at: Origin, source: IpAddr, port: u16) {
        let fresh = || Attempts {
            first: at.time,
            last: at.time,
            count: 0,
            ports: SmallVec::new(),
        };
        let attempts = self.attempts.get_or_insert_mut((at.netns, source), fresh);
        if at.time.since(attempts.last) > SCAN {
            *attempts = fresh();
        }
        attempts.last = attempts.last.max(at.time);
        attempts.count = attempts.count.saturating_add(1);
        if attempts.ports.len() < SCANNED_PORTS && !attempts.ports.contains(&port) {
            attempts.ports.push(port);
        }
    }
}

/// The interval of moments that are evenly spaced.
fn period(moments: &[BootTime]) -> Option<Duration> {
    let (first, last) = (moments.first()?, moments.last()?);
    let intervals = u32::try_from(moments.len().checked_sub(1)?).ok()?;
    if moments.len() < MOMENTS {
        return None;
    }
    let mean = last.since(*first) / intervals;
    moments
        .windows(2)
        .all(|pair| pair[1].since(pair[0]).abs_diff(mean) <= period_tolerance(mean))
        .then_some(mean)
}
