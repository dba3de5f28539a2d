//! State kept between resets: idle times of paths, TTLs of peers, segments after a reset, rejected resets.
//!
//! Pure and bounded, fed with each event as it comes; asked when a reset is judged, after its window.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::bursts::{Burst, Bursts};
use super::devices::Devices;
use super::endings::{AT_ONCE, Endings};
use super::recurrence::Sources;
use super::surroundings::Surroundings;
use crate::captured::{CapturedReset, TalksOn};
use crate::classes::Recurrence;
use crate::correlate::{Origin, accepts, is_passive_form};
use crate::event::{
    Body, BootTime, Flow, HostContext, NetFinding, NetnsCookie, Packet, ProgramTimers, Received,
    Segment, Sent, Target, TcpFlags,
};
use crate::hash::{self, LruCache};
use crate::record::{Basis, Candidate, Confidence, IdleMode};
use crate::silence::candidates::{
    self, ClosingEnd, ClosingProcess, Hop, Knowledge, Match, Silence,
};
use crate::silence::clocks::{self, Quiet};
use crate::silence::learned::{Lesson, MAX_PATHS, Memory, Path};
use crate::silence::software::Program;
use crate::thresholds::{IDLE, LEAST_FORGETFUL, REORDERED, TALKS_ON, VOLLEY, known_tolerance};
use crate::verdict::{self, Around, Arrived, NoTimer, OtherReset, OwnTimer, Side, Together};

/// Entries of each kind.
const MAX_RECENT: usize = 4096;
/// The socket of a connection that was reset may still be found for so long.
const JUST: Duration = Duration::from_millis(10);
/// The longest tick of a kernel clock in use, 100 Hz.
const TICK: Duration = Duration::from_millis(10);
/// Connections of a peer whose TTL is kept.
const TTLS_OF_A_PEER: usize = 4;

type Connection = (NetnsCookie, Flow);

/// See the module.
#[derive(Debug)]
pub struct Recent {
    knowledge: Knowledge,
    memory: Memory,
    /// Silences after which processes of this host closed.
    own: Memory,
    last_closed: Option<Flow>,
    endings: Endings,
    bursts: Bursts,
    timers: LruCache<(u32, BootTime), ProgramTimers>,
    ttls: LruCache<(NetnsCookie, IpAddr), Vec<(Flow, u8)>>,
    talks: LruCache<Connection, (BootTime, u8)>,
    misses: LruCache<Connection, Vec<(BootTime, u32)>>,
    /// The last close of the peer.
    aborts: LruCache<Connection, (BootTime, Segment)>,
    accepted: LruCache<Connection, Ending>,
    sources: Sources,
    surroundings: Surroundings,
    devices: Devices,
}

/// How tcp_reset() ended a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Ending {
    time: BootTime,
    rtt: Duration,
    /// No reset had come: the kernel tidied up after late data.
    tidied: bool,
}

impl Recent {
    /// Replaces the devices that the user named.
    pub fn set_hops(&mut self, hops: Vec<Hop>) {
        self.knowledge.hops = hops;
    }

    /// An empty one.
    pub fn new(knowledge: Knowledge) -> Self {
        Self {
            knowledge,
            memory: Memory::default(),
            own: Memory::default(),
            last_closed: None,
            endings: Endings::default(),
            bursts: Bursts::default(),
            timers: hash::lru(MAX_RECENT),
            ttls: hash::lru(MAX_RECENT),
            talks: hash::lru(MAX_RECENT),
            misses: hash::lru(MAX_RECENT),
            aborts: hash::lru(MAX_RECENT),
            accepted: hash::lru(MAX_RECENT),
            sources: Sources::default(),
            surroundings: Surroundings::default(),
            devices: Devices::default(),
        }
    }

    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, usize, Option<usize>)> {
        let own = [
            ("paths", self.memory.entries(), Some(MAX_PATHS)),
            ("own_paths", self.own.entries(), Some(MAX_PATHS)),
            ("peer_ttls", self.ttls.len(), Some(MAX_RECENT)),
            ("talks", self.talks.len(), Some(MAX_RECENT)),
            ("misses", self.misses.len(), Some(MAX_RECENT)),
            ("aborts", self.aborts.len(), Some(MAX_RECENT)),
            ("accepted", self.accepted.len(), Some(MAX_RECENT)),
        ];
        own.into_iter()
            .chain(self.sources.tables())
            .chain(self.surroundings.tables())
            .chain(self.devices.tables())
            .chain(self.endings.tables())
            .chain(self.bursts.tables())
    }

    /// Takes notice of an event, with what the host knows about it.
    pub fn see(&mut self, at: Origin, body: &Body, facts: &HostContext) {
        self.endings
            .note(at.netns, at.time, body, facts.holder.as_ref());
        self.bursts.note(at, body);
        match body {
            Body::Received(received) => {
                self.sources.received(at, received);
                self.accepted(at, received);
            }
            Body::Sent(sent) => {
                self.sources.sent(at, sent);
                self.answered(at, sent);
                self.closed(at, sent);
            }
            Body::Packet(packet) => {
                self.sources.arrived(at, packet);
                self.sighted(at, packet);
            }
            Body::Failed(_) => {}
        }
    }

    /// What is known around a reset that was accepted at `time`; `closing`: the process of this host that sent it.
    pub fn around(
        &self,
        netns: NetnsCookie,
        received: &Received,
        arrived: Option<&Arrived>,
        closing: ClosingProcess,
        time: BootTime,
    ) -> Around {
        let quiet = clocks::before_received(received, time);
        let path = path(netns, received);
        let burst = self.memory.burst(path, time);
        let long = quiet.filter(|quiet| burst.is_none() && quiet.silence() >= IDLE);
        let connection = (netns, received.flow);
        let rtt = received.socket.rtt.unwrap_or_default();
        Around {
            quiet,
            burst,
            together: self
                .bursts
                .received(netns, time, received)
                .map(|(_, together)| together),
            learned: long
                .as_ref()
                .and_then(|quiet| self.memory.learned(path, quiet)),
            matches: long.map_or_else(Vec::new, |quiet| {
                let closing = ClosingEnd {
                    listened: clocks::is_outgoing(received.ownership.as_ref()),
                    process: closing,
                };
                self.matches(&quiet, received.flow.remote.ip(), path.service, closing)
            }),
            talks_on: self.talks.peek(&connection).and_then(|&(later, ttl)| {
                let after = later.since(time);
                (after > rtt.max(REORDERED) && after <= TALKS_ON).then_some(TalksOn { after, ttl })
            }),
            peer_ttl: self.peer_ttl(netns, &received.flow),
            abort: self
                .aborts
                .peek(&connection)
                .filter(|(at, _)| at.since(time) <= JUST && time.since(*at) <= JUST)
                .map(|(_, segment)| *segment),
            both_ways: None,
            segment_ttl: None,
            route: self.surroundings.route(netns, received.flow),
            in_cloud: self.knowledge.environment.is_some(),
            known_device: arrived
                .and_then(|arrived| self.devices.like(netns, arrived.sighting.as_deref()?, time)),
            resolution: TICK,
            recurrence: self.recurrence(
                netns,
                received.flow.remote.ip(),
                received.flow.local.port(),
            ),
            side: Side::Ours,
            near_misses: self.misses.peek(&connection).map_or(0, |misses| {
                let accepted = arrived.map(|arrived| arrived.segment.seq);
                misses
                    .iter()
                    .filter(|(at, seq)| time.since(*at) <= VOLLEY && Some(*seq) != accepted)
                    .count()
            }),
        }
    }

    /// The burst that a reset belongs to, by the event of the end that sent it, else of the one that accepted it.
    pub fn burst(
        &self,
        sent: Option<(NetnsCookie, BootTime, &Sent)>,
        accepted: Option<(NetnsCookie, BootTime, &Received)>,
    ) -> Option<(Burst, Together)> {
        match (sent, accepted) {
            (Some((netns, time, sent)), _) => self.bursts.sent(netns, time, sent),
            (None, Some((netns, time, received))) => self.bursts.received(netns, time, received),
            (None, None) => None,
        }
    }

    /// What is known of the source of a connection to this service.
    pub fn recurrence(&self, netns: NetnsCookie, source: IpAddr, service: u16) -> Recurrence {
        self.sources.of(netns, source, service)
    }

    /// Takes notice of a captured reset.
    pub fn see_captured(&mut self, captured: &CapturedReset) {
        let at = Origin {
            time: captured.time,
            netns: captured.overlay,
            inode: None,
        };
        self.sighted(at, &captured.packet);
        if let Some(received) = &captured.received
            && captured.is_expected()
            && !captured.was_ended_by_it()
        {
            self.sources.received(at, received);
            self.accepted(at, received);
        }
    }

    /// What is known around a captured reset; nothing, if the capture holds nothing else of its connection.
    pub fn around_captured(&self, captured: &CapturedReset) -> Around {
        let Some(received) = &captured.received else {
            return Around::default();
        };
        let arrived = Arrived::seen(&captured.packet);
        let unknown = ClosingProcess::Unknown;
        let around = self.around(
            captured.overlay,
            received,
            Some(&arrived),
            unknown,
            captured.time,
        );
        Around {
            talks_on: captured.talks_on,
            both_ways: captured.other_way,
            segment_ttl: captured.usual_ttl,
            resolution: Duration::ZERO,
            side: verdict::side(captured),
            near_misses: around.near_misses + captured.volley,
            ..around
        }
    }

    /// Devices whose timeout fits a silence.
    fn matches(
        &self,
        quiet: &Quiet,
        remote: IpAddr,
        service: u16,
        closing: ClosingEnd,
    ) -> Vec<Match> {
        let silence = Silence {
            wire: quiet.wire,
            application: quiet.application,
        };
        let knowledge = &self.knowledge;
        let mut found = candidates::find(quiet.mode, silence, remote, service, closing, knowledge);
        if quiet.mode == IdleMode::LateRst && quiet.wire < LEAST_FORGETFUL {
            found.retain(|found| found.candidate.basis == Basis::Configured);
        }
        found
    }

    /// A reset that was accepted at `time` did not look like the peer's.
    pub fn blame_device(&mut self, netns: NetnsCookie, received: &Received, time: BootTime) {
        self.memory
            .blame_device(path(netns, received), received.flow, time);
    }

    /// A reset did not come from its peer, as its verdict says.
    pub fn note_device(
        &mut self,
        netns: NetnsCookie,
        packet: &Packet,
        confidence: Confidence,
        time: BootTime,
    ) {
        self.devices.note(netns, packet, confidence, time);
    }

    /// Every timeout learned so far.
    pub fn lessons(&self) -> Vec<Lesson> {
        self.memory.lessons()
    }

    /// Whether a socket of this connection accepted another reset around this time.
    pub fn other_reset(
        &self,
        netns: NetnsCookie,
        flow: Flow,
        time: BootTime,
    ) -> Option<OtherReset> {
        let connection = (netns, flow);
        let ending = self.accepted.peek(&connection)?;
        if ending.tidied {
            return None;
        }
        let at = ending.time;
        if at <= time {
            return (time.since(at) <= JUST).then_some(OtherReset::JustBefore);
        }
        let later = at.since(time);
        let missed = self.misses.peek(&connection).map_or(0, Vec::len);
        if missed == 1 && later <= VOLLEY {
            Some(OtherReset::SoonAfter)
        } else {
            (later <= JUST).then_some(OtherReset::SameBurst)
        }
    }

    /// Whether this end closed the connection around that time.
    pub fn is_closed(&self, netns: NetnsCookie, flow: Flow, time: BootTime) -> bool {
        self.endings.is_closed(netns, flow, time)
    }

    /// How long after "its" reset the peer speaks on, where that was not on its way before.
    pub fn talks_on(&self, netns: NetnsCookie, sent: &Sent, time: BootTime) -> Option<Duration> {
        let (cause, former) = sent.speaks_after_reset()?;
        let connection = (netns, sent.flow);
        let ending = self.accepted.peek(&connection).copied().unwrap_or_default();
        if ending.tidied {
            return None;
        }
        let after = time.since(former.died);
        let late = after > ending.rtt.max(REORDERED);
        (late && !self.was_overtaken(&connection, cause)).then_some(after)
    }

    /// A reset that came too early had a number beyond this data, so the peer had sent the data first. Of several such numbers
    /// none need be the peer's.
    fn was_overtaken(&self, connection: &Connection, cause: Segment) -> bool {
        let end = cause.seq.wrapping_add(cause.payload_len);
        let early = self.misses.peek(connection).map(Vec::as_slice);
        cause.payload_len > 0
            && matches!(early, Some([(_, number)]) if number.wrapping_sub(end) < 1 << 31)
    }

    fn accepted(&mut self, at: Origin, received: &Received) {
        let socket = &received.socket;
        let ending = Ending {
            time: at.time,
            rtt: socket.rtt.unwrap_or_default(),
            tidied: received.reset_came() == Some(false),
        };
        self.accepted.put((at.netns, received.flow), ending);
        if ending.tidied {
            return;
        }
        // Closed already: nobody's loss, and perhaps the kernel's own tidying up.
        let closed = socket.orphaned || (socket.send_shutdown && socket.receive_shutdown);
        if !socket.state.is_synchronized() || closed {
            return;
        }
        let quiet = clocks::before_received(received, at.time);
        let path = path(at.netns, received);
        self.memory.note(path, received.flow, at.time, quiet);
    }

    /// A process of this host closed after a silence.
    fn closed(&mut self, at: Origin, sent: &Sent) {
        if let Some(quiet) = clocks::before_sent(sent, at.time)
            && quiet.application >= IDLE
            && !sent.ended_by().0
            // Each segment that comes after the close is answered with a reset.
            && self.last_closed.replace(sent.flow) != Some(sent.flow)
        {
            self.own
                .note(service(at.netns, sent), sent.flow, at.time, Some(quiet));
        }
    }

    /// Takes notice of the configuration of a process.
    pub fn timers(&mut self, timers: ProgramTimers) {
        self.timers.put((timers.pid, timers.start), timers);
    }

    /// Takes notice of the network around the next event.
    pub fn found(&mut self, finding: NetFinding) {
        self.surroundings.found(finding);
    }

    /// What was found of the network around connections.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// The timers that are set for the process that closed.
    fn timers_of(&self, sent: &Sent) -> Option<&ProgramTimers> {
        let task = clocks::closer(sent)?;
        self.timers.peek(&(task.pid, task.start))
    }

    /// Why the close that this reset comes from is at no timer of its process.
    pub fn no_timer(
        &self,
        netns: NetnsCookie,
        at: BootTime,
        sent: &Sent,
        quiet: &Quiet,
        facts: &HostContext,
    ) -> Option<NoTimer> {
        self.endings.no_timer(netns, at, sent).or_else(|| {
            let ends_at_once = !sent.ended_by().0
                && is_gone(sent, facts) == Some(true)
                && quiet.after.is_some_and(|after| after <= AT_ONCE)
                && self.own.learned(service(netns, sent), quiet).is_none();
            if ends_at_once {
                return Some(NoTimer::Ending);
            }
            let known = self.timers_of(sent).filter(|known| known.complete)?;
            let fits = fitting(known, quiet, clocks::opened_here(sent));
            fits.is_empty().then_some(NoTimer::NotSet)
        })
    }

    /// The timer of `program` that may have closed after this silence: one that earlier closes of the service have shown, a default,
    /// or that of a proxy, whatever it is set to.
    pub fn own_timer(
        &self,
        netns: NetnsCookie,
        sent: &Sent,
        quiet: &Quiet,
        program: Option<&'static Program>,
        facts: &HostContext,
    ) -> Option<OwnTimer> {
        let learned = self.own.learned(service(netns, sent), quiet);
        let outgoing = clocks::opened_here(sent);
        let set = self
            .timers_of(sent)
            .map_or_else(Vec::new, |known| fitting(known, quiet, outgoing));
        let fits = if set.is_empty() {
            program.map_or_else(Vec::new, |program| {
                let port = Path::of(netns, &sent.flow, outgoing).service;
                let closing = ClosingEnd {
                    listened: outgoing.map(|outgoing| !outgoing),
                    process: ClosingProcess::Of(Some(program)),
                };
                self.matches(quiet, sent.flow.remote.ip(), port, closing)
                    .into_iter()
                    .filter(|found| found.candidate.basis == Basis::Known)
                    .map(|found| found.candidate)
                    .collect()
            })
        } else {
            set
        };
        // A worker that has gone since may have closed because it was to go.
        let is_proxy =
            program.is_some_and(|program| program.is_proxy) && is_gone(sent, facts) == Some(false);
        (learned.is_some() || !fits.is_empty() || is_proxy).then_some(OwnTimer {
            quiet: *quiet,
            learned,
            fits,
        })
    }

    /// The peer spoke on a connection that a reset had ended here.
    fn answered(&mut self, at: Origin, sent: &Sent) {
        if let Some((cause, _)) = sent.speaks_after_reset() {
            let connection = (at.netns, sent.flow);
            if self.was_overtaken(&connection, cause) {
                return;
            }
            self.talks.put(connection, (at.time, cause.ttl));
        }
    }

    fn sighted(&mut self, at: Origin, packet: &Packet) {
        if packet.egress {
            return;
        }
        let flow = Flow {
            local: packet.destination,
            remote: packet.source,
        };
        if let Some(baseline) = packet.baseline {
            self.note_ttl(at.netns, flow, baseline.ttl);
        }
        // A closing kernel may answer what comes in before it says that it closes.
        let acknowledges = packet.segment.flags.has(TcpFlags::RST | TcpFlags::ACK);
        if acknowledges && !is_passive_form(packet) {
            let abort = (at.time, packet.segment);
            self.aborts.put((at.netns, flow), abort);
        }
        if let Target::Socket { state, rcv_nxt, .. } = packet.target
            && state.is_synchronized()
            && !accepts(state, rcv_nxt, packet.segment.seq)
            && !answers_an_older_ack(packet, rcv_nxt)
        {
            let seq = packet.segment.seq;
            let missed = self.misses.get_or_insert_mut((at.netns, flow), Vec::new);
            missed.retain(|(seen, known)| at.time.since(*seen) <= VOLLEY && *known != seq);
            if missed.len() < MAX_MISSES {
                missed.push((at.time, seq));
            }
        }
    }

    fn note_ttl(&mut self, netns: NetnsCookie, flow: Flow, ttl: u8) {
        let peer = (netns, flow.remote.ip());
        let known = self.ttls.get_or_insert_mut(peer, Vec::new);
        known.retain(|(other, _)| *other != flow);
        if known.len() == TTLS_OF_A_PEER {
            known.remove(0);
        }
        known.push((flow, ttl));
    }

    /// The TTL of the peer's other connections; absent if none was seen, or they differ.
    fn peer_ttl(&self, netns: NetnsCookie, flow: &Flow) -> Option<u8> {
        let known = self.ttls.peek(&(netns, flow.remote.ip()))?;
        let mut others = known
            .iter()
            .filter(|(other, _)| other != flow)
            .map(|(_, ttl)| *ttl);
        let first = others.next()?;
        others.all(|ttl| ttl == first).then_some(first)
    }
}

/// The peer has gone and answers each acknowledgement that was on its way with that one's number.
fn answers_an_older_ack(packet: &Packet, rcv_nxt: u32) -> bool {
    is_passive_form(packet) && rcv_nxt.wrapping_sub(packet.segment.seq) < 1 << 31
}

/// Sequence numbers kept of one connection.
const MAX_MISSES: usize = 16;

/// The path of a connection that was reset.
pub fn path(netns: NetnsCookie, received: &Received) -> Path {
    let outgoing = clocks::is_outgoing(received.ownership.as_ref());
    Path::of(netns, &received.flow, outgoing)
}

/// The process that closed has ended since. Of a live process there is a description; absent for one that `/proc` does not show.
fn is_gone(sent: &Sent, facts: &HostContext) -> Option<bool> {
    let is_live = facts.netns_inode.is_some();
    match clocks::closer(sent) {
        Some(task) if is_live && task.outside => None,
        Some(task) if is_live => Some(!facts.processes.iter().any(|process| process.is_of(task))),
        Some(_) | None => Some(false),
    }
}

/// How much later than it is set a timer may fire: Redis counts whole seconds, and gunicorn looks once a second.
fn lateness(setting: &str) -> Duration {
    match setting {
        "timeout" | "--keep-alive" => Duration::from_millis(1_100),
        _ => Duration::ZERO,
    }
}

fn fitting(known: &ProgramTimers, quiet: &Quiet, outgoing: Option<bool>) -> Vec<Candidate> {
    let fits = |is_set: bool| {
        known
            .timers
            .iter()
            .filter(move |timer| timer.place.is_some() == is_set)
            .filter(|timer| timer.listened.is_none() || timer.listened != outgoing)
            .filter(|timer| {
                let latest = timer.timeout + lateness(&timer.setting);
                let is_late = (timer.timeout..=latest).contains(&quiet.application);
                let distance = quiet.application.abs_diff(timer.timeout);
                is_late || distance <= known_tolerance(timer.timeout)
            })
            .map(|timer| Candidate {
                device: match &timer.place {
                    Some(place) => format!("{} ({place})", timer.setting).into(),
                    None => format!("{} (default)", timer.setting).into(),
                },
                timeout: timer.timeout.as_secs_f64(),
                mode: Some(quiet.mode),
                basis: Basis::Host,
            })
            .collect::<Vec<_>>()
    };
    let set = fits(true);
    if set.is_empty() { fits(false) } else { set }
}

/// The service of a connection that this host reset, whoever the peer is: a timer of the program is the same for all.
fn service(netns: NetnsCookie, sent: &Sent) -> Path {
    Path {
        network: IpNet::default(),
        ..Path::of(netns, &sent.flow, clocks::opened_here(sent))
    }
}
