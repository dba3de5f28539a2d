//! Resets that a process of this host passed on from one of its connections to another.
//!
//! A proxy has accepted one leg and connected the other, and what came in by one went out by the other. So a leg that its
//! process resets within [`PASS_THROUGH`] of a reset it got on another is passed on only where the numbers of bytes say that
//! the two belong together: a busy process resets one connection and gets a reset on another all the time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::event::{BootTime, Received, Sent, Socket, SocketCookie, TcpState};
use crate::hash::{self, LruCache};
use crate::record::{Confidence, Process, Quality};
use crate::silence::clocks;
use crate::verdict::Reason;

/// Bytes on a leg that a pairing rests on, at least: health checks carry fewer, and all the same.
const LEAST_BYTES: u64 = 128;

/// Longest time from a reset on one leg to the one on the other. Shorter than the window of the join, so that both are known
/// when the first is judged.
pub const PASS_THROUGH: Duration = Duration::from_millis(100);

/// Legs kept: at 40,000 resets a second those of the last tenth.
const MAX_LEGS: usize = 4096;

/// Legs that one reset is compared with: in a storm nothing is passed on for sure.
const MAX_COMPARED: usize = 256;

/// One connection of a process at the moment of its reset.
#[derive(Clone, Debug)]
struct Leg {
    time: BootTime,
    cookie: SocketCookie,
    pid: u32,
    comm: String,
    /// The process is the listener's, a worker of which may be meant.
    is_inherited: bool,
    outgoing: bool,
    /// Payload bytes received and sent.
    received: u64,
    sent: u64,
}

/// A leg that was reset because of another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// The leg it was passed on to.
    pub to: SocketCookie,
    /// From one reset to the other.
    pub after: Duration,
    /// How well the bytes agree.
    pub confidence: Confidence,
}

/// Resets that processes sent, by leg, and those that were found to be passed on.
#[derive(Debug)]
pub struct Proxies {
    sent: VecDeque<Leg>,
    reasons: LruCache<SocketCookie, Option<Reason>>,
}

impl Default for Proxies {
    fn default() -> Self {
        Self {
            sent: VecDeque::new(),
            reasons: hash::lru(MAX_LEGS),
        }
    }
}

impl Proxies {
    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> [(&'static str, usize, Option<usize>); 1] {
        [("legs", self.sent.len(), Some(MAX_LEGS))]
    }

    /// Takes notice of a reset that a process sent.
    pub fn sent(&mut self, sent: &Sent, at: BootTime) {
        // It is found again by its cookie, which the classifier makes at the latest. The leg it answers for may have none.
        let known = sent.socket.as_ref().filter(|it| it.cookie.is_known());
        let (Some(actor), Some(socket)) = (sent.actor(), known) else {
            return;
        };
        let task = &actor.task;
        let Some(leg) = leg(
            socket,
            clocks::is_outgoing(sent.ownership.as_ref()),
            at,
            (task.pid, &task.comm),
        ) else {
            return;
        };
        if self.sent.len() >= MAX_LEGS {
            self.sent.pop_front();
        }
        // Events of several CPUs may come a little out of order; the search below needs them in it.
        let place = self.sent.partition_point(|other| other.time <= leg.time);
        self.sent.insert(place, leg);
    }

    /// The leg that `process` reset because this one was; `None` if several could be it.
    pub fn passed_on(
        &self,
        received: &Received,
        at: BootTime,
        process: Option<&Process>,
    ) -> Option<Passed> {
        let outgoing = clocks::is_outgoing(received.ownership.as_ref());
        let first = process.and_then(|process| {
            let owner = (process.pid, process.comm.as_str());
            let leg = leg(&received.socket, outgoing, at, owner)?;
            Some(Leg {
                is_inherited: process.quality == Quality::Inherited,
                ..leg
            })
        })?;
        let begin = self.sent.partition_point(|other| other.time < at);
        let fitting = self
            .sent
            .range(begin..)
            .take_while(|other| other.time.since(at) <= PASS_THROUGH)
            .take(MAX_COMPARED)
            .filter(|other| other.cookie != first.cookie)
            .filter_map(|other| {
                let passed = Passed {
                    to: other.cookie,
                    after: other.time.since(at),
                    confidence: first.fits(other)?,
                };
                Some((other.pid == first.pid, passed))
            });
        // A leg of this very process goes before those of namesakes.
        let (mut own, mut of_namesakes) = (Vec::new(), Vec::new());
        for (is_own, passed) in fitting {
            if is_own {
                own.push(passed);
            } else {
                of_namesakes.push(passed);
            }
        }
        let mut found = if own.is_empty() { of_namesakes } else { own };
        found.pop().filter(|_| found.is_empty())
    }

    /// Keeps why a leg was reset, until that reset is judged. Two reasons are none.
    pub fn explain(&mut self, leg: SocketCookie, reason: Reason) {
        let reason = (!self.reasons.contains(&leg)).then_some(reason);
        self.reasons.put(leg, reason);
    }

    /// Why a process reset this leg, if it was because of another; given once.
    pub fn reason(&mut self, sent: &Sent) -> Option<Reason> {
        let cookie = sent.socket.as_ref().filter(|_| !sent.passive)?.cookie;
        self.reasons.pop(&cookie)?
    }
}

fn leg(socket: &Socket, outgoing: Option<bool>, time: BootTime, who: (u32, &str)) -> Option<Leg> {
    let moved = socket.bytes_received > 0 || socket.bytes_sent > 0;
    if !moved || !lived(socket.state) {
        return None;
    }
    Some(Leg {
        time,
        cookie: socket.cookie,
        pid: who.0,
        comm: who.1.to_owned(),
        is_inherited: false,
        outgoing: outgoing?,
        received: socket.bytes_received,
        sent: socket.bytes_sent,
    })
}

/// A closing socket is in CLOSE already.
fn lived(state: TcpState) -> bool {
    state.is_synchronized() || state == TcpState::Close
}

impl Leg {
    /// Whether what came in by one leg went out by the other: in both directions surely, in one likely, if the other has
    /// only something left to pass on.
    fn fits(&self, other: &Self) -> Option<Confidence> {
        // A worker of a server whose master is recorded.
        let is_worker = self.is_inherited && self.comm == other.comm;
        if self.outgoing == other.outgoing || (self.pid != other.pid && !is_worker) {
            return None;
        }
        let enough = self.received + self.sent >= LEAST_BYTES;
        let forth = self.received == other.sent;
        let back = other.received == self.sent;
        let moved = (forth && self.received > 0) || (back && self.sent > 0);
        let left_over = other.sent <= self.received && self.sent <= other.received;
        match (forth, back) {
            (true, true) if moved && enough && self.pid == other.pid => Some(Confidence::Certain),
            (true, true) if moved && enough => Some(Confidence::Likely),
            (true, _) | (_, true) if moved && enough && left_over && self.pid == other.pid => {
                Some(Confidence::Likely)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{MS, NOW, Scene, closing, ownership, socket};
    use crate::event::OwnerSource;
    use crate::record::Role;

    const AT: BootTime = BootTime(NOW);

    fn proxy(pid: u32) -> Process {
        Process {
            pid,
            comm: "nginx".into(),
            exe: None,
            cmdline: None,
            uid: None,
            container_id: None,
            unit: None,
            pod_uid: None,
            cgroup: None,
            role: Role::Owner,
            quality: if pid == 87 {
                Quality::Recorded
            } else {
                Quality::Inherited
            },
        }
    }

    /// The leg that was reset by its peer: accepted, 100 bytes in, 200 out.
    fn first() -> Received {
        let mut received = Scene::new().received(Socket {
            bytes_received: 100,
            bytes_sent: 200,
            ..socket(1)
        });
        received.ownership = Some(crate::event::Ownership {
            inherited: true,
            ..ownership(87, "nginx", OwnerSource::Listen)
        });
        received
    }

    /// The leg that nginx[87] reset: connected.
    fn second(received: u64, sent: u64) -> Sent {
        let mut event = Scene::new().active(
            Some("TCP_STATE"),
            Socket {
                bytes_received: received,
                bytes_sent: sent,
                ..closing(2)
            },
        );
        event.ownership = Some(ownership(87, "nginx", OwnerSource::Connect));
        event
    }

    fn passed(sent: &Sent, after: u64, pid: u32) -> Option<Confidence> {
        let mut proxies = Proxies::default();
        proxies.sent(sent, BootTime(NOW + after));
        let process = proxy(pid);
        proxies
            .passed_on(&first(), AT, Some(&process))
            .map(|passed| passed.confidence)
    }

    #[test]
    fn two_that_fit_are_none() {
        let mut proxies = Proxies::default();
        proxies.sent(&second(200, 100), BootTime(NOW + MS));
        let mut other = second(200, 100);
        if let Some(socket) = &mut other.socket {
            socket.cookie = SocketCookie(3);
        }
        proxies.sent(&other, BootTime(NOW + 2 * MS));
        assert_eq!(proxies.passed_on(&first(), AT, Some(&proxy(87))), None);
        // One leg with two reasons.
        let reason = |link| Reason {
            link,
            verdict: crate::record::sample().verdict,
            after: PASS_THROUGH,
            confidence: Confidence::Certain,
        };
        let leg = SocketCookie(2);
        proxies.explain(leg, reason(1));
        assert_eq!(proxies.reason(&second(200, 100)), Some(reason(1)));
        proxies.explain(leg, reason(1));
        proxies.explain(leg, reason(2));
        assert_eq!(proxies.reason(&second(200, 100)), None);
    }

    #[test]
    fn a_leg_is_passed_on_where_bytes_and_process_agree() {
        assert_eq!(passed(&second(200, 100), MS, 87), Some(Confidence::Certain));
        // 60 bytes of the answer had not gone out yet.
        assert_eq!(passed(&second(260, 100), MS, 87), Some(Confidence::Likely));
        // A worker, known by name only, with all bytes.
        assert_eq!(passed(&second(200, 100), MS, 86), Some(Confidence::Likely));
        assert_eq!(passed(&second(260, 100), MS, 86), None);
    }

    #[test]
    fn a_leg_of_the_same_process_goes_before_that_of_a_namesake() {
        let mut namesake = second(200, 100);
        if let (Some(current), Some(socket)) = (&mut namesake.current, &mut namesake.socket) {
            current.task.pid = 5;
            socket.cookie = SocketCookie(3);
        }
        let mut inherited = proxy(87);
        inherited.quality = Quality::Inherited;
        let mut proxies = Proxies::default();
        proxies.sent(&second(200, 100), BootTime(NOW + MS));
        proxies.sent(&namesake, BootTime(NOW + MS));
        let passed = proxies.passed_on(&first(), AT, Some(&inherited));
        assert_eq!(passed.map(|passed| passed.to), Some(SocketCookie(2)));
        // Two namesakes: either may be a worker of it.
        inherited.pid = 6;
        assert_eq!(proxies.passed_on(&first(), AT, Some(&inherited)), None);
    }

    #[test]
    fn only_the_leg_that_is_found_again_needs_a_cookie() {
        let mut proxies = Proxies::default();
        proxies.sent(&second(200, 100), BootTime(NOW + MS));
        let mut first = first();
        first.socket.cookie = SocketCookie(0);
        let passed = proxies.passed_on(&first, AT, Some(&proxy(87)));
        assert_eq!(passed.map(|passed| passed.to), Some(SocketCookie(2)));
        let mut unknown = second(200, 100);
        if let Some(socket) = &mut unknown.socket {
            socket.cookie = SocketCookie(0);
        }
        let mut proxies = Proxies::default();
        proxies.sent(&unknown, BootTime(NOW + MS));
        assert_eq!(proxies.passed_on(&first, AT, Some(&proxy(87))), None);
    }

    #[test]
    fn what_only_happens_at_the_same_time_is_not_passed_on() {
        assert_eq!(passed(&second(120, 300), MS, 87), None, "other bytes");
        assert_eq!(passed(&second(200, 100), 200 * MS, 87), None, "too late");
        let mut accepted = second(200, 100);
        accepted.ownership = first().ownership;
        assert_eq!(passed(&accepted, MS, 87), None, "both legs accepted");
        assert_eq!(passed(&second(0, 0), MS, 87), None, "nothing moved");
        let mut other = second(200, 100);
        if let Some(current) = &mut other.current {
            current.task.comm = "java".into();
            current.task.pid = 5;
        }
        assert_eq!(passed(&other, MS, 87), None, "another process");
    }
}
