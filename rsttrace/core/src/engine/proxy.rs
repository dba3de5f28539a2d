//! Ends of connections that a process of this host passed on to another of its connections.
//!
//! A proxy has accepted one leg and connected the other. When one of them ends without its doing (a reset, a refused connect, a peer
//! that does not answer), it resets the other: at once, or when it next looks. A busy process ends connections all the time, so two legs
//! belong together only if their bytes or ages agree, or if the process had nothing else to do with each other's direction.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::build_records::Draft;
use super::place_by_time;
use crate::causes::{definition, rules};
use crate::classes::{self, Recurrence};
use crate::event::{BootTime, Failed, Ownership, Received, Sent, Socket, SocketCookie, TcpState};
use crate::hash::{self, LruCache};
use crate::record::{
    Cause, Class, Confidence, EvidenceKind, Process, ProcessId, Quality, Severity, Verdict, Word,
};
use crate::silence::clocks;
use crate::verdict::{Likeness, Reason};
use crate::words;

/// Bytes on two legs that are the same by more than chance, at least: health checks carry fewer, and all the same.
const LEAST_BYTES: u64 = 128;

/// Longest time from the end of one leg to the reset of the other, where the two surely belong together. Shorter than the window of
/// the correlation, so that both are known when the first is judged.
pub const PASS_THROUGH: Duration = Duration::from_millis(100);

/// A relay that connects when it has accepted is refused within this time.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(1);

/// A proxy that notices the end of a leg later, at its next event, resets the other leg within this time.
pub const PASS_LATE: Duration = Duration::from_secs(3);

/// Two legs of one connection through a proxy begin within this time.
const SAME_AGE: Duration = Duration::from_millis(100);

/// A process that is forked for a connection starts within this time after it was accepted.
const FORKED: Duration = Duration::from_millis(20);

/// Age of two legs at least, for what they have in common to be no chance: of connections that live shorter, all are of one age.
const LEAST_AGE: Duration = Duration::from_millis(500);

/// Most bytes by which a proxy that rewrites headers changes a request or an answer.
const REWRITTEN: u64 = 4_096;

/// Legs kept: at 40,000 resets a second those of the last tenth.
const MAX_LEGS: usize = 4096;

/// Ended legs kept with their verdicts.
const MAX_ENDED: usize = 1024;

/// Legs that one end is compared with: in a storm nothing is passed on for sure.
const MAX_COMPARED: usize = 256;

/// One connection of a process at the moment of its end.
#[derive(Clone, Debug)]
pub struct Leg {
    time: BootTime,
    cookie: SocketCookie,
    remote: SocketAddr,
    process: ProcessId,
    comm: Word,
    /// The process is the listener's, a worker of which may be meant.
    is_inherited: bool,
    outgoing: bool,
    /// End of the handshake; absent if not known, or if there was none.
    established: Option<BootTime>,
    /// Start of the process; absent if another one is recorded for the socket.
    born: Option<BootTime>,
    /// Payload bytes received and sent; absent if not known, or if there was no connection.
    moved: Option<(u64, u64)>,
    /// Absent of a leg that its process did not end.
    reset: Option<Reset>,
}

/// The leg that a process reset because another one had ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PassedOn {
    remote: SocketAddr,
    process: String,
    after: Duration,
    is_sure: bool,
    cost: Severity,
    /// It closed the leg, and what came later was answered with the reset.
    closed: bool,
}

impl PassedOn {
    /// A connect that was refused has cost a client its connection, too: the records of the refusal say so, and are the fault.
    pub fn cost(&self, refusal: &mut [Draft]) {
        let is_loss = self.is_sure && self.cost == Severity::Fault;
        let refused = |draft: &Draft| is_loss && draft.record.verdict.severity == Severity::Refused;
        if !refusal.iter().any(refused) {
            return;
        }
        let advice = |draft: &Draft| draft.record.verdict.advice().to_vec();
        let mut advice = refusal.iter().map(advice);
        let advice = advice.find(|advice| !advice.is_empty());
        for draft in refusal.iter_mut().filter(|draft| refused(draft)) {
            let verdict = &mut draft.record.verdict;
            verdict.severity = self.cost;
            verdict.edit(|explanation| {
                explanation.summary.push_str("; ");
                explanation.summary.push_str(&self.sentence());
                explanation.add(EvidenceKind::OtherLeg, self.sentence());
                if explanation.advice.is_empty() {
                    explanation
                        .advice
                        .extend(advice.clone().unwrap_or_default());
                }
            });
        }
    }

    /// `socat[41] reset its connection with 192.0.2.1:40000 because of it, 0.9 ms later`.
    fn sentence(&self) -> String {
        format!(
            "{} {} its connection with {} because of it, {} later",
            self.process,
            if self.closed { "closed" } else { "reset" },
            self.remote,
            words::span(self.after)
        )
    }
}

/// How its process ended a leg.
#[derive(Clone, Copy, Debug)]
struct Reset {
    cost: Severity,
    /// The process closed the leg with a FIN, and the reset answers data that came later. The time of the leg is that of the close.
    is_answer: bool,
}

/// A leg that its process did not end.
#[derive(Debug)]
struct Ended {
    leg: Leg,
    link: u64,
    verdict: Verdict,
}

/// How well two legs fit, the best first.
type Grade = (Confidence, Likeness);

/// Legs that processes reset, those that ended before, and why they were reset.
#[derive(Debug)]
pub struct Proxies {
    sent: VecDeque<Leg>,
    ended: VecDeque<Ended>,
    reasons: LruCache<SocketCookie, Found>,
}

/// Why a leg was reset.
#[derive(Debug)]
struct Found {
    /// Absent if there are two.
    reason: Option<Reason>,
    /// The end that could not be reached for it, if that is the reason.
    attempt: Option<SocketAddr>,
}

impl Default for Proxies {
    fn default() -> Self {
        Self {
            sent: VecDeque::new(),
            ended: VecDeque::new(),
            reasons: hash::lru(MAX_LEGS),
        }
    }
}

impl Proxies {
    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> [(&'static str, usize, Option<usize>); 2] {
        [
            ("legs", self.sent.len(), Some(MAX_LEGS)),
            ("ended_legs", self.ended.len(), Some(MAX_ENDED)),
        ]
    }

    /// Takes notice of a reset that a process sent.
    pub fn sent(&mut self, sent: &Sent, at: BootTime) {
        let Some(leg) = Leg::reset(sent, at) else {
            return;
        };
        if self.sent.len() >= MAX_LEGS {
            self.sent.pop_front();
        }
        // Events of several CPUs may come a little out of order; the searches below need them in it.
        let place = place_by_time(&self.sent, leg.time, |it| it.time);
        // Each segment that comes after a close is answered.
        let before = place.checked_sub(1).and_then(|last| self.sent.get(last));
        if before.is_none_or(|it| (it.time, it.cookie) != (leg.time, leg.cookie)) {
            self.sent.insert(place, leg);
        }
    }

    /// Takes notice of a leg that its process did not end, with its verdict. The leg that the process reset at once because of that, which
    /// is then part of the chain `link`.
    pub fn ended(&mut self, leg: Leg, link: u64, verdict: Verdict) -> Option<PassedOn> {
        if verdict.class.is_some_and(|class| !is_passed_on(class)) {
            return None;
        }
        let begin = self.sent.partition_point(|other| other.time < leg.time);
        let fitting = self
            .sent
            .range(begin..)
            .take_while(|other| other.time.since(leg.time) <= PASS_THROUGH)
            .take(MAX_COMPARED)
            .filter_map(|other| Some((leg.fits(other)?, other.process != leg.process, other)));
        if let Some((grade, other)) = only_best(fitting) {
            let reason = reason(&leg, other, grade, link, &verdict);
            // A connect that was made when the other leg had just been accepted was made for it.
            let is_for_it = leg.is_connect_for(other, LONGEST_ATTEMPT);
            let passed_on = PassedOn {
                remote: other.remote,
                process: words::name(&other.comm, other.process.pid),
                after: reason.after,
                is_sure: is_for_it
                    && reason.confidence != Confidence::Possible
                    && verdict.confidence != Confidence::Possible,
                cost: other.reset.map_or(Severity::Noise, |reset| reset.cost),
                closed: other.reset.is_some_and(|reset| reset.is_answer),
            };
            let other = other.cookie;
            let Some(known) = self.reasons.get_mut(&other) else {
                let found = Found {
                    reason: Some(reason),
                    attempt: leg.moved.is_none().then_some(leg.remote),
                };
                self.reasons.put(other, found);
                return Some(passed_on);
            };
            // It tried several addresses of one service before it gave up.
            let is_retry = is_for_it
                && known
                    .attempt
                    .is_some_and(|it| it.port() == leg.remote.port());
            // What agrees in its bytes is no chance.
            let is_worse = known
                .reason
                .as_ref()
                .is_some_and(|it| it.likeness == Likeness::Bytes && grade.1 != Likeness::Bytes);
            // Two reasons are none.
            if !is_retry && !is_worse {
                known.reason = None;
            }
            return None;
        }
        while self.ended.len() >= MAX_ENDED
            || (self.ended.front())
                .is_some_and(|first| leg.time.since(first.leg.time) > PASS_LATE * 2)
        {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { leg, link, verdict });
        None
    }

    /// Why a process reset this leg, if it was because another one had ended; given once.
    pub fn reason(&mut self, sent: &Sent, at: BootTime) -> Option<Reason> {
        let leg = Leg::reset(sent, at)?;
        match self.reasons.pop(&leg.cookie) {
            Some(found) => found.reason,
            None => self.late_reason(&leg),
        }
    }

    /// The same for a process that was late to notice.
    fn late_reason(&mut self, leg: &Leg) -> Option<Reason> {
        let mut fitting: Vec<(Grade, bool, usize)> = Vec::new();
        let recent = self.ended.iter().enumerate().rev().take(MAX_COMPARED);
        for (index, ended) in recent {
            let first = &ended.leg;
            if first.time > leg.time || leg.time.since(first.time) > PASS_LATE {
                continue;
            }
            let Some(grade) = first.fits(leg) else {
                continue;
            };
            // Of several attempts to reach one server the last counts.
            let is_retried = first.moved.is_none()
                && fitting
                    .iter()
                    .any(|&(.., later)| self.ended[later].leg.is_retry_of(first));
            if !is_retried {
                fitting.push((grade, first.process != leg.process, index));
            }
        }
        let (grade, index) = only_best(fitting.into_iter())?;
        let first = &self.ended[index].leg;
        let begin = self.sent.partition_point(|other| other.time < first.time);
        let end = leg.time.max(first.time.plus(PASS_THROUGH));
        let is_ambiguous = self
            .sent
            .range(begin..)
            .take_while(|other| other.time <= end)
            .take(MAX_COMPARED)
            .any(|other| {
                other.cookie != leg.cookie && first.fits(other).is_some_and(|it| it <= grade)
            });
        if is_ambiguous {
            return None;
        }
        let Ended {
            leg: first,
            link,
            verdict,
        } = self.ended.remove(index)?;
        Some(reason(&first, leg, grade, link, &verdict))
    }
}

fn reason(first: &Leg, other: &Leg, grade: Grade, link: u64, verdict: &Verdict) -> Reason {
    Reason {
        link,
        verdict: verdict.clone(),
        after: other.time.since(first.time),
        confidence: grade.0,
        likeness: grade.1,
    }
}

/// The one that fits best; `None` if several do. A leg of this very process goes before those of namesakes.
fn only_best<T>(fitting: impl Iterator<Item = (Grade, bool, T)>) -> Option<(Grade, T)> {
    let mut best: Option<(Grade, bool, T)> = None;
    let mut rivals = false;
    for (grade, is_namesake, it) in fitting {
        let rank = (is_namesake, grade);
        match &best {
            Some((known, is_known_namesake, _)) if (*is_known_namesake, *known) < rank => {}
            Some((known, is_known_namesake, _)) if (*is_known_namesake, *known) == rank => {
                rivals = true;
            }
            Some(_) | None => {
                best = Some((grade, is_namesake, it));
                rivals = false;
            }
        }
    }
    best.filter(|_| !rivals).map(|(grade, _, it)| (grade, it))
}

impl Leg {
    /// A leg that was reset by its peer, or could not be connected.
    pub fn received(received: &Received, time: BootTime, process: &Process) -> Option<Self> {
        let lived = received.socket.state.is_synchronized();
        let outgoing = clocks::is_outgoing(received.ownership.as_ref());
        let leg = Self::of(
            &received.socket,
            received.flow.remote,
            outgoing,
            time,
            process,
        )?;
        Some(Self {
            established: received.ownership.as_ref().and_then(|it| it.established),
            born: born(received.ownership.as_ref(), process),
            moved: leg.moved.filter(|_| lived),
            ..leg
        })
    }

    /// A leg that the kernel gave up and reset, because the peer did not answer.
    pub fn given_up(sent: &Sent, time: BootTime, process: &Process) -> Option<Self> {
        let outgoing = clocks::is_outgoing(sent.ownership.as_ref());
        let socket = sent.socket.as_ref().filter(|_| !sent.passive)?;
        let leg = Self::of(socket, sent.flow.remote, outgoing, time, process)?;
        Some(Self {
            established: sent.ownership.as_ref().and_then(|it| it.established),
            ..leg
        })
    }

    /// A leg that failed without a reset; absent if its process gave it up.
    pub fn failed(died: &Failed, time: BootTime, process: &Process) -> Option<Self> {
        if died.error == 0 || died.unsent {
            return None;
        }
        let ownership = died.ownership.as_ref()?;
        Some(Self {
            time,
            cookie: SocketCookie(0),
            remote: died.flow.remote,
            process: process.id(),
            comm: process.comm.clone(),
            is_inherited: process.quality == Quality::Inherited,
            outgoing: clocks::is_outgoing(Some(ownership))?,
            established: ownership.established,
            born: born(Some(ownership), process),
            moved: None,
            reset: None,
        })
    }

    /// A leg that its process reset, or closed and then answered with a reset. It is found again by its cookie, which the classifier
    /// makes at the latest.
    fn reset(sent: &Sent, time: BootTime) -> Option<Self> {
        if sent.passive {
            return Self::closed(sent, time);
        }
        let task = &sent.actor()?.task;
        let lived = |state: TcpState| state.is_synchronized() || state == TcpState::Close;
        let socket = sent
            .socket
            .as_ref()
            .filter(|it| it.cookie.is_known() && lived(it.state))?;
        Some(Self {
            time,
            cookie: socket.cookie,
            remote: sent.flow.remote,
            process: task.id(),
            comm: task.comm.clone(),
            is_inherited: false,
            outgoing: clocks::is_outgoing(sent.ownership.as_ref())?,
            established: sent.ownership.as_ref().and_then(|it| it.established),
            born: Some(task.start),
            moved: Some((socket.bytes_received, socket.bytes_sent)),
            reset: Some(Reset {
                cost: definition(rules::of_sent(sent).cause).cost(sent),
                is_answer: false,
            }),
        })
    }

    /// A leg that its process had closed before the last data came.
    fn closed(sent: &Sent, time: BootTime) -> Option<Self> {
        let former = sent.former_connection.as_ref();
        let ownership = sent.remembered()?;
        let closer = ownership.closer.as_ref().filter(|it| !it.kernel_thread)?;
        let cookie = sent.socket.as_ref().map(|socket| socket.cookie);
        let cookie = cookie.or(former.and_then(|former| former.cookie))?;
        let cause = rules::of_sent(sent).cause;
        let class = classes::of_sent(sent, cause, time, Recurrence::default());
        if cause != Cause::DataAfterClose || class.is_some() {
            return None;
        }
        Some(Self {
            time: closer.time?,
            cookie: Some(cookie).filter(|cookie| cookie.is_known())?,
            remote: sent.flow.remote,
            process: closer.task.id(),
            comm: closer.task.comm.clone(),
            is_inherited: false,
            outgoing: clocks::is_outgoing(Some(ownership))?,
            established: ownership.established,
            born: Some(closer.task.start),
            moved: None,
            reset: Some(Reset {
                cost: definition(cause).cost(sent),
                is_answer: true,
            }),
        })
    }

    fn of(
        socket: &Socket,
        remote: SocketAddr,
        outgoing: Option<bool>,
        time: BootTime,
        process: &Process,
    ) -> Option<Self> {
        Some(Self {
            time,
            cookie: socket.cookie,
            remote,
            process: process.id(),
            comm: process.comm.clone(),
            is_inherited: process.quality == Quality::Inherited,
            outgoing: outgoing?,
            established: None,
            born: None,
            moved: Some((socket.bytes_received, socket.bytes_sent)),
            reset: None,
        })
    }

    fn is_retry_of(&self, other: &Self) -> bool {
        self.moved.is_none() && self.process == other.process && self.remote == other.remote
    }

    /// Whether its process reset `other` because of this end.
    fn fits(&self, other: &Self) -> Option<Grade> {
        // A worker of a server whose master is recorded.
        let is_worker = self.is_inherited && self.comm == other.comm;
        let is_forked = self.comm == other.comm && self.is_of_child_for(other);
        let is_own =
            self.process == other.process || is_worker && other.is_of_child_for(self) || is_forked;
        let is_same_socket = self.cookie.is_known() && self.cookie == other.cookie;
        // What was opened after this end has another purpose: a health check, or another request.
        let is_younger = other.established.is_some_and(|opened| opened > self.time);
        if self.outgoing == other.outgoing || !(is_own || is_worker) || is_same_socket || is_younger
        {
            return None;
        }
        let is_soon = other.time.since(self.time) <= PASS_THROUGH;
        // Processes close connections all the time: only what belongs together from the start is closed because of this end.
        let is_pair = is_own && self.is_old_and_of_same_age(other);
        if other.reset.is_some_and(|reset| reset.is_answer)
            && !(is_soon && (is_pair || self.is_connect_for(other, PASS_THROUGH)))
        {
            return None;
        }
        let likeness = self.likeness(other)?;
        let confidence = match (likeness, is_soon) {
            // Of two children of one parent that were forked together either may be meant.
            (Likeness::Bytes, true) if is_own && !is_forked => Confidence::Certain,
            (Likeness::Bytes, true) => Confidence::Likely,
            (Likeness::Process | Likeness::PartOfBytes, true) if is_own => Confidence::Likely,
            (Likeness::Process, true) => Confidence::Possible,
            (
                Likeness::Bytes | Likeness::PartOfBytes | Likeness::Rewritten | Likeness::Process,
                _,
            ) if is_own => Confidence::Possible,
            (
                Likeness::Bytes | Likeness::PartOfBytes | Likeness::Rewritten | Likeness::Process,
                _,
            ) => return None,
        };
        Some((confidence, likeness))
    }

    /// It is a connect that failed, right after `other` had been accepted.
    fn is_connect_for(&self, other: &Self, within: Duration) -> bool {
        let accepted = other.established;
        self.moved.is_none() && accepted.is_some_and(|it| self.time.since(it) <= within)
    }

    /// The two were opened together, as far as known.
    fn is_of_same_age(&self, other: &Self) -> bool {
        (self.established.zip(other.established))
            .is_some_and(|(one, other)| one.since(other).max(other.since(one)) <= SAME_AGE)
    }

    /// The two were opened together, long before they ended.
    fn is_old_and_of_same_age(&self, other: &Self) -> bool {
        let is_old =
            |leg: &Self| (leg.established).is_some_and(|it| self.time.since(it) >= LEAST_AGE);
        is_old(self) && is_old(other) && self.is_of_same_age(other)
    }

    /// Its process was forked for the connection `front`, which the parent had accepted.
    fn is_of_child_for(&self, front: &Self) -> bool {
        (front.established.zip(self.born)).is_some_and(|(accepted, born)| {
            !front.outgoing && born >= accepted && born.since(accepted) <= FORKED
        })
    }

    /// What the two have in common, as far as what came in by one went out by the other.
    fn likeness(&self, other: &Self) -> Option<Likeness> {
        let (Some((received, sent)), Some((other_received, other_sent))) =
            (self.moved, other.moved)
        else {
            return Some(Likeness::Process);
        };
        let forth = received == other_sent;
        let back = other_received == sent;
        let has_moved = (forth && received > 0) || (back && sent > 0);
        let is_no_chance =
            has_moved && (received + sent >= LEAST_BYTES || self.is_of_same_age(other));
        // Something may be left to pass on.
        let left_over = other_sent <= received && sent <= other_received;
        if forth && back && is_no_chance {
            return Some(Likeness::Bytes);
        }
        if (forth || back) && left_over && is_no_chance {
            return Some(Likeness::PartOfBytes);
        }
        let (front, behind) = if self.outgoing {
            (other, self)
        } else {
            (self, other)
        };
        front.is_rewritten_by(behind).then_some(Likeness::Rewritten)
    }

    /// A proxy passed the requests of this leg on by `behind`, and answers back, with other headers.
    fn is_rewritten_by(&self, behind: &Self) -> bool {
        let (Some((request, answer)), Some((from_server, to_server))) = (self.moved, behind.moved)
        else {
            return false;
        };
        let opened_for_it = (self.established.zip(behind.established))
            .is_some_and(|(front, behind)| front <= behind);
        opened_for_it
            && request >= LEAST_REQUEST
            && to_server >= LEAST_REQUEST
            && request.abs_diff(to_server) <= REWRITTEN
            && answer <= from_server.saturating_add(REWRITTEN)
    }
}

/// Start of the process that has the connection, if that is the one in question.
fn born(ownership: Option<&Ownership>, process: &Process) -> Option<BootTime> {
    let owner = ownership?.owner.as_ref()?;
    (owner.id() == process.id()).then_some(owner.start)
}

/// A request with a header, at least.
const LEAST_REQUEST: u64 = 16;

/// Whether a process ends its other leg because of such an end: a goodbye or a check is no reason, a client that leaves is.
fn is_passed_on(class: Class) -> bool {
    match class {
        Class::CompleteExchange => true,
        Class::HealthCheck
        | Class::EmptyConnection
        | Class::PortScan
        | Class::TlsClose
        | Class::TlsTickets => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{
        MS, NOW, Scene, closer, closing, ownership, segment, socket, tombstone,
    };
    use crate::event::{Closer, OwnerSource, Ownership, TcpFlags};
    use crate::record::Role;

    const AT: BootTime = BootTime(NOW);

    fn proxy(pid: u32) -> Process {
        Process {
            pid,
            outside: false,
            comm: "nginx".into(),
            exe: None,
            cmdline: None,
            uid: None,
            container_id: None,
            unit: None,
            pod_uid: None,
            workload: None,
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
        received.ownership = Some(Ownership {
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

    /// The end of the first leg, and the reset of the other so long after it, as they are judged.
    fn judged(first: Leg, sent: &Sent, after: u64) -> Option<(Confidence, Likeness)> {
        let mut proxies = Proxies::default();
        proxies.sent(sent, BootTime(NOW + after));
        proxies.ended(first, 1, crate::record::sample().verdict);
        let reason = proxies.reason(sent, BootTime(NOW + after))?;
        assert_eq!(reason.after, Duration::from_nanos(after));
        assert_eq!(proxies.reason(sent, BootTime(NOW + after)), None, "once");
        Some((reason.confidence, reason.likeness))
    }

    fn first_leg(pid: u32) -> Leg {
        Leg::received(&first(), AT, &proxy(pid)).expect("a leg")
    }

    fn passed(sent: &Sent, after: u64, pid: u32) -> Option<Confidence> {
        judged(first_leg(pid), sent, after).map(|(confidence, _)| confidence)
    }

    /// The other leg with few bytes, or opened at another time.
    fn aged(mut sent: Sent, ms_later: u64) -> Sent {
        if let Some(ownership) = &mut sent.ownership {
            let begun = ownership.established.expect("it was established");
            ownership.established = Some(begun.plus(Duration::from_millis(ms_later)));
        }
        sent
    }

    #[test]
    fn two_that_fit_are_none() {
        let mut other = second(200, 100);
        if let Some(socket) = &mut other.socket {
            socket.cookie = SocketCookie(3);
        }
        for ms in [1, 300] {
            let mut proxies = Proxies::default();
            let at = BootTime(NOW + ms * MS);
            proxies.sent(&second(200, 100), at);
            proxies.sent(&other, at);
            let verdict = crate::record::sample().verdict;
            let passed_on = proxies.ended(first_leg(87), 1, verdict.clone());
            assert_eq!(passed_on, None, "{ms}");
            assert_eq!(proxies.reason(&other, at), None, "{ms}");
            // One leg with two reasons.
            let mut proxies = Proxies::default();
            proxies.sent(&second(200, 100), at);
            let mut twin = first_leg(87);
            twin.cookie = SocketCookie(4);
            proxies.ended(first_leg(87), 1, verdict.clone());
            proxies.ended(twin, 2, verdict);
            assert_eq!(proxies.reason(&second(200, 100), at), None, "{ms}");
        }
    }

    #[test]
    fn a_leg_is_passed_on_where_bytes_and_process_agree() {
        let bytes = Some((Confidence::Certain, Likeness::Bytes));
        assert_eq!(judged(first_leg(87), &second(200, 100), MS), bytes);
        // 60 bytes of the answer had not gone out yet.
        assert_eq!(passed(&second(260, 100), MS, 87), Some(Confidence::Likely));
        // A worker, known by name only, with all bytes.
        assert_eq!(passed(&second(200, 100), MS, 86), Some(Confidence::Likely));
        assert_eq!(passed(&second(260, 100), MS, 86), None);
    }

    #[test]
    fn few_bytes_are_enough_for_legs_of_the_same_age() {
        let short = |cookie| Socket {
            bytes_received: 5,
            bytes_sent: 7,
            ..socket(cookie)
        };
        let mut received = first();
        received.socket = short(1);
        let leg = Leg::received(&received, AT, &proxy(87)).expect("a leg");
        let certain = Some((Confidence::Certain, Likeness::Bytes));
        assert_eq!(judged(leg.clone(), &second(7, 5), MS), certain);
        let possible = Some((Confidence::Possible, Likeness::Bytes));
        assert_eq!(judged(leg.clone(), &second(7, 5), 295 * MS), possible);
        assert_eq!(judged(leg, &aged(second(7, 5), 5_000), MS), None);
    }

    #[test]
    fn a_proxy_that_notices_late_passes_on_possibly() {
        for (after, expected) in [
            (295, Some(Confidence::Possible)),
            (2_900, Some(Confidence::Possible)),
            (3_100, None),
        ] {
            assert_eq!(passed(&second(200, 100), after * MS, 87), expected);
            assert_eq!(passed(&second(200, 100), after * MS, 86), None);
        }
    }

    #[test]
    fn rewritten_headers_make_it_possible_at_most() {
        let rewritten = Some((Confidence::Possible, Likeness::Rewritten));
        for after in [MS, 295 * MS] {
            assert_eq!(judged(first_leg(87), &second(240, 160), after), rewritten);
            // More came from the server than the client got, but not less.
            assert_eq!(
                judged(first_leg(87), &second(80_000, 160), after),
                rewritten
            );
            assert_eq!(judged(first_leg(87), &second(240, 9_000), after), None);
        }
        let mut older = second(240, 160);
        if let Some(ownership) = &mut older.ownership {
            ownership.established = Some(BootTime(1));
        }
        assert_eq!(judged(first_leg(87), &older, MS), None, "opened before");
    }

    #[test]
    fn a_connect_that_fails_ends_the_leg_that_waits_for_it() {
        let refused = |remote: &str, ms: u64| {
            let mut received = first();
            received.socket.state = TcpState::SynSent;
            received.flow.remote = remote.parse().expect("an address");
            received.ownership = Some(ownership(87, "nginx", OwnerSource::Connect));
            let at = BootTime(NOW + ms * MS);
            Leg::received(&received, at, &proxy(87)).expect("a leg")
        };
        let mut waiting = second(300, 0);
        waiting.ownership = first().ownership;
        let server = "203.0.113.3:80";
        let likely = Some((Confidence::Likely, Likeness::Process));
        assert_eq!(judged(refused(server, 0), &waiting, 2 * MS), likely);
        let possible = Some((Confidence::Possible, Likeness::Process));
        assert_eq!(judged(refused(server, 0), &waiting, 300 * MS), possible);
        // The first of several attempts counts where all of it is known, later the last; of two servers neither.
        for (accepted, port, expected) in [
            (20, 80, Some((1, Duration::from_nanos(8 * MS)))),
            (20, 81, None),
            (5_000, 80, None),
        ] {
            let mut waiting = waiting.clone();
            if let Some(ownership) = &mut waiting.ownership {
                ownership.established = Some(BootTime(NOW - accepted * MS));
            }
            let mut proxies = Proxies::default();
            let verdict = crate::record::sample().verdict;
            proxies.sent(&waiting, BootTime(NOW + 8 * MS));
            let first = format!("[2001:db8::1]:{port}");
            let first = proxies.ended(refused(&first, 0), 1, verdict.clone());
            assert_eq!(first.map(|it| it.is_sure), Some(accepted < 1_000));
            assert_eq!(proxies.ended(refused(server, 5), 2, verdict), None);
            let reason = proxies.reason(&waiting, BootTime(NOW + 8 * MS));
            assert_eq!(reason.map(|it| (it.link, it.after)), expected);
        }
        // A refused connect takes nothing from a leg whose bytes agree.
        let mut proxies = Proxies::default();
        let verdict = crate::record::sample().verdict;
        proxies.sent(&second(200, 100), BootTime(NOW + 8 * MS));
        proxies.ended(first_leg(87), 1, verdict.clone());
        let mut attempt = refused(server, 5);
        attempt.outgoing = first_leg(87).outgoing;
        assert_eq!(proxies.ended(attempt, 2, verdict), None);
        let reason = proxies.reason(&second(200, 100), BootTime(NOW + 8 * MS));
        assert_eq!(reason.map(|it| it.likeness), Some(Likeness::Bytes));
        for (other, expected) in [(server, Some(3 * MS)), ("203.0.113.4:80", None)] {
            let mut proxies = Proxies::default();
            let verdict = crate::record::sample().verdict;
            proxies.ended(refused(server, 0), 1, verdict.clone());
            proxies.ended(refused(other, 5), 2, verdict);
            let at = BootTime(NOW + 8 * MS);
            let reason = proxies.reason(&waiting, at);
            let expected = expected.map(Duration::from_nanos);
            assert_eq!(reason.map(|reason| reason.after), expected);
        }
    }

    #[test]
    fn a_leg_of_the_same_process_goes_before_that_of_a_namesake() {
        let mut namesake = second(200, 100);
        if let (Some(current), Some(socket)) = (&mut namesake.current, &mut namesake.socket) {
            current.task.pid = 5;
            socket.cookie = SocketCookie(3);
        }
        for (pid, passes_on) in [(87, true), (6, false)] {
            // Of two namesakes either may be a worker of it.
            let leg = Leg {
                is_inherited: true,
                ..first_leg(pid)
            };
            let mut proxies = Proxies::default();
            let at = BootTime(NOW + MS);
            proxies.sent(&second(200, 100), at);
            proxies.sent(&namesake, at);
            proxies.ended(leg, 1, crate::record::sample().verdict);
            assert_eq!(proxies.reason(&second(200, 100), at).is_some(), passes_on);
            assert_eq!(proxies.reason(&namesake, at), None);
        }
    }

    #[test]
    fn a_leg_that_is_closed_before_its_data_comes_has_the_same_age_or_a_connect_that_failed() {
        // The client was accepted some ms before the other end, and is closed some ms after it; its request comes 2 s later.
        let judged_at = |connected: u64, accepted: u64, closed: u64, lived: bool, flags: u8| {
            let mut first = first();
            first.ownership = Some(Ownership {
                established: Some(BootTime(NOW - connected * MS)),
                ..ownership(87, "nginx", OwnerSource::Connect)
            });
            if !lived {
                first.socket.state = TcpState::SynSent;
            }
            let first = Leg::received(&first, AT, &proxy(87)).expect("a leg");
            let mut former = tombstone(87, "nginx", TcpState::FinWait2);
            former.ownership = Ownership {
                established: Some(BootTime(NOW - accepted * MS)),
                closer: Some(Closer {
                    time: Some(BootTime(NOW + closed * MS)),
                    ..closer(87, "nginx")
                }),
                ..ownership(87, "nginx", OwnerSource::Accept)
            };
            let mut late = Scene::new().answer(segment(TcpFlags::ACK | flags, 1, 2, 24));
            late.reason = Some("TCP_TIMEWAIT_SOCKET".into());
            late.former_connection = Some(Box::new(former));
            let mut proxies = Proxies::default();
            let at = BootTime(NOW + 2_000 * MS);
            // Each segment is answered.
            proxies.sent(&late, at);
            proxies.sent(&late, at.plus(Duration::from_micros(5)));
            proxies.ended(first, 1, crate::record::sample().verdict);
            let reason = proxies.reason(&late, at)?;
            Some((reason.confidence, reason.likeness, reason.after.as_millis()))
        };
        let judged =
            |accepted, closed, lived, flags| judged_at(12_300, accepted, closed, lived, flags);
        let likely = Some((Confidence::Likely, Likeness::Process, 3));
        assert_eq!(judged(2, 3, false, 0), likely);
        // An older client, one that is closed later, one that only says goodbye, and another connection that ended.
        assert_eq!(judged(5_000, 3, false, 0), None);
        assert_eq!(judged(2, 300, false, 0), None);
        assert_eq!(judged(2, 3, false, TcpFlags::FIN), None);
        assert_eq!(judged(2, 3, true, 0), None);
        // Both are 12.3 s old, and are closed together, or not.
        assert_eq!(judged(12_300, 3, true, 0), likely);
        assert_eq!(judged(12_300, 300, true, 0), None);
        assert_eq!(judged(12_300, 3, true, TcpFlags::FIN), None);
        assert_eq!(judged(12_100, 3, true, 0), None);
        // Two clients at once, whose connections live shortly.
        assert_eq!(judged_at(90, 92, 3, true, 0), None);
        assert_eq!(judged_at(499, 505, 3, true, 0), None);
        assert_eq!(judged_at(505, 506, 3, true, 0), likely);
    }

    #[test]
    fn a_child_that_is_forked_for_a_connection_is_the_process_that_accepted_it() {
        let opened = first_leg(86).established.expect("it was established");
        // 60 bytes of the answer had not gone out yet.
        let reset_by = |start: BootTime, comm: &str| {
            let mut sent = second(260, 100);
            if let Some(current) = &mut sent.current {
                (current.task.start, current.task.comm) = (start, comm.into());
            }
            passed(&sent, MS, 86)
        };
        let likely = Some(Confidence::Likely);
        assert_eq!(
            reset_by(opened.plus(Duration::from_millis(5)), "nginx"),
            likely
        );
        // A worker from before, one for a later connection, and another program.
        assert_eq!(
            reset_by(opened.before(Duration::from_secs(5)), "nginx"),
            None
        );
        assert_eq!(reset_by(opened.plus(Duration::from_secs(5)), "nginx"), None);
        assert_eq!(
            reset_by(opened.plus(Duration::from_millis(5)), "java"),
            None
        );
    }

    #[test]
    fn a_parent_that_closes_what_its_child_serves_closes_it_because_of_the_child() {
        let opened = BootTime(NOW - 3 * MS);
        // The child connects to a port that nobody listens on. The parent has the accepted socket, too, and is the last to close it.
        let judged = |start: BootTime, comm: &str| {
            let mut attempt = first();
            attempt.socket.state = TcpState::SynSent;
            let mut connecting = ownership(90, comm, OwnerSource::Connect);
            if let Some(owner) = &mut connecting.owner {
                owner.start = start;
            }
            attempt.ownership = Some(connecting);
            let child = Process {
                comm: comm.into(),
                quality: Quality::Recorded,
                ..proxy(90)
            };
            let mut accepted = second(0, 0);
            accepted.ownership = Some(Ownership {
                established: Some(opened),
                ..ownership(87, "nginx", OwnerSource::Accept)
            });
            let leg = Leg::received(&attempt, AT, &child).expect("a leg");
            judged(leg, &accepted, MS).map(|(confidence, _)| confidence)
        };
        let after = |millis| opened.plus(Duration::from_millis(millis));
        assert_eq!(judged(after(1), "nginx"), Some(Confidence::Likely));
        // A worker from before, a child for a later connection, and another program.
        assert_eq!(judged(opened.before(Duration::from_secs(5)), "nginx"), None);
        assert_eq!(judged(after(25), "nginx"), None);
        assert_eq!(judged(after(1), "java"), None);
    }

    #[test]
    fn only_the_leg_that_is_found_again_needs_a_cookie() {
        let mut leg = first_leg(87);
        leg.cookie = SocketCookie(0);
        assert!(judged(leg, &second(200, 100), MS).is_some());
        let mut unknown = second(200, 100);
        if let Some(socket) = &mut unknown.socket {
            socket.cookie = SocketCookie(0);
        }
        assert_eq!(passed(&unknown, MS, 87), None);
    }

    #[test]
    fn what_only_happens_at_the_same_time_is_not_passed_on() {
        assert_eq!(passed(&second(120, 9_000), MS, 87), None, "other bytes");
        assert_eq!(passed(&second(120, 9_000), 200 * MS, 87), None);
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

    #[test]
    fn a_client_that_leaves_after_its_answer_is_passed_on() {
        let mut proxies = Proxies::default();
        let at = BootTime(NOW + MS);
        let mut verdict = crate::record::sample().verdict;
        verdict.class = Some(Class::CompleteExchange);
        proxies.sent(&second(200, 100), at);
        assert!(proxies.ended(first_leg(87), 1, verdict).is_some());
    }

    #[test]
    fn a_leg_opened_later_or_after_a_harmless_end_is_not_passed_on() {
        let opened = |at: u64| {
            let mut other = second(200, 100);
            if let Some(ownership) = &mut other.ownership {
                ownership.established = Some(BootTime(at));
            }
            passed(&other, 50 * MS, 87)
        };
        assert!(opened(NOW - MS).is_some());
        assert_eq!(opened(NOW + MS), None, "a health check");
        let mut proxies = Proxies::default();
        let at = BootTime(NOW + MS);
        let mut verdict = crate::record::sample().verdict;
        verdict.class = Some(Class::TlsClose);
        proxies.sent(&second(200, 100), at);
        assert_eq!(proxies.ended(first_leg(87), 1, verdict), None);
        assert_eq!(proxies.reason(&second(200, 100), at), None);
    }
}
