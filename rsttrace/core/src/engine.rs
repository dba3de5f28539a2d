//! The engine: events in, explained resets out, in event order and within a fixed time.
//!
//! Everything that affects a trace comes in as [`Input`]s, in order: the bytes of events with facts about the host, the time, losses
//! and counts. The same inputs give the same outputs, byte for byte; a
//! recording is a sequence of them (`rsttrace-capture::recording`). No files, no clock, no task: whoever drives it pushes inputs, takes
//! outputs, and pushes the time again when [`Engine::deadline`] has come. Memory is bounded: at most [`MAX_PENDING`] resets wait for
//! more observations, and as many records for their turn.

mod build_records;
mod bursts;
mod devices;
mod endings;
mod failures;
#[cfg(test)]
pub(crate) mod fixtures;
mod incidents;
mod proxy;
mod recent;
mod record_fields;
mod recurrence;
mod surroundings;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::captured::CapturedReset;
use crate::causes::{path_lesson, rules};
use crate::correlate::{self, Correlator, NamespaceView, ResetGroup};
use crate::decode::{DecodeError, Decoder, KernelFacts};
use crate::event::{
    Body, BootTime, Event, Failed, FullQueue, FullTable, HostContext, HostFacts, NetFinding,
    NetnsCookie, ProgramTimers, TcpState,
};
use crate::flood::{Flood, Refused, SumNames, Suppressed};
use crate::hash::HashMap;
use crate::record::{Cause, Direction, Endpoint, Id, Origin, Output, Severity, Verdict, Word};
use crate::self_stats::{Shortfalls, TableVitals};
use crate::silence::candidates::{Hop, Knowledge};
use crate::verdict::{self, Context};
use build_records::Draft;
use bursts::Burst;
use incidents::{About, Incidents};
use proxy::{Leg, Proxies};
use recent::Recent;

/// Most resets that wait for further observations.
pub const MAX_PENDING: usize = 65_536;
/// Records of a capture that wait to be put in order: its resets are nearly in order, and each of its records keeps what it rests on.
const MAX_CAPTURED: usize = 1_024;

/// How long after its event a record comes out.
pub const WINDOW: Duration = correlate::WINDOW;

/// Events come out of order across CPUs, but not by more than this.
const DISORDER: Duration = Duration::from_millis(50);

/// Losses are noticed by polling: one noted at an instant may be this far away.
const LOSS_REACH: Duration = Duration::from_millis(1_500);

/// Records of one chain come out within this.
const LINK_LIFE: Duration = Duration::from_secs(5);

/// Losses remembered.
const MAX_LOSSES: usize = 64;

/// Namespaces whose inodes are kept for sums; no host has so many at once.
const MOST_NAMESPACES: usize = 16_384;

/// What does not change from input to input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// For decoding.
    pub kernel: KernelFacts,
    /// The host that is traced.
    pub host: HostFacts,
    /// Devices around it, as configured.
    pub hops: Vec<Hop>,
    /// In a flood resets may be counted and not described.
    pub floods: bool,
}

impl Config {
    /// For the resets of one capture, with these devices around its hosts.
    pub fn of_capture(name: &Word, hops: Vec<Hop>) -> Self {
        Self {
            kernel: KernelFacts::default(),
            host: HostFacts::of_capture(name),
            hops,
            floods: false,
        }
    }
}

/// One thing that goes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'a> {
    /// An event came out of the kernel.
    Event {
        /// As it was in the ring: the wire format of `rsttrace_common`, in the byte order of the machine.
        bytes: &'a [u8],
        /// What they say, where somebody had to decode them to ask the host ([`Engine::decode`]); else they are decoded here.
        decoded: Option<Event>,
        /// What the host knew then. Not looked at where the bytes cannot be decoded.
        facts: HostContext,
    },
    /// It is so late: every event up to then has come in.
    Advance(BootTime),
    /// So many events were lost around the newest one.
    Lost(u64),
    /// Observations around the newest event were counted and not described.
    Suppressed(Suppressed),
    /// Nothing was counted without being described until then.
    FloodRests(BootTime),
    /// The kernel's buckets were read.
    Refused {
        /// When.
        now: BootTime,
        /// All that have refused since the start.
        refused: Vec<Refused>,
        /// Inode numbers of the namespaces they name, as far as they are known.
        namespaces: Vec<(NetnsCookie, u32)>,
        /// Nothing will follow.
        finish: bool,
    },
    /// The configuration of a process was read.
    Timers(ProgramTimers),
    /// The network around the next event.
    Found(NetFinding),
    /// A listener dropped handshakes.
    QueueFull {
        /// What its counters say.
        queue: FullQueue,
        /// Who listens.
        facts: HostContext,
    },
    /// Connection tracking dropped packets.
    TableFull(FullTable),
    /// Nothing happens, and memory is given back.
    Rest,
    /// The end: all that is open is judged.
    Finish,
}

/// See the module.
pub struct Engine {
    decoder: Decoder,
    host: HostFacts,
    join: Correlator,
    recent: Recent,
    proxies: Proxies,
    incidents: Incidents,
    ready: BinaryHeap<Reverse<Ready>>,
    outputs: VecDeque<Output>,
    /// Chains with several records: the number of the first, once it is out.
    links: HashMap<u64, Option<u64>>,
    /// When each of them began, the oldest first.
    links_by_age: VecDeque<(BootTime, u64)>,
    losses: VecDeque<(BootTime, u64)>,
    suppressions: VecDeque<(BootTime, Suppressed)>,
    next_number: u64,
    serial: u64,
    newest: BootTime,
    /// Absent where each reset is described.
    flood: Option<Flood>,
    /// Inode numbers of namespaces that sums may name.
    inodes: BTreeMap<NetnsCookie, u32>,
    counted: Counted,
    undecodable: u64,
    judged_early: u64,
}

/// Events that came in, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// `tcp_send_reset`.
    pub sent: u64,
    /// `tcp_receive_reset`.
    pub received: u64,
    /// Classifiers.
    pub packets: u64,
    /// Connects and connections that failed without a reset.
    pub failed: u64,
}

/// What has been done so far, and how full the tables are.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Events that came in.
    pub counted: Counted,
    /// What could not be done here; what only others know is left at 0.
    pub shortfalls: Shortfalls,
    /// How full the tables are.
    pub tables: Vec<TableVitals>,
}

/// A record that waits for its turn.
struct Ready {
    time: BootTime,
    serial: u64,
    link: Option<u64>,
    /// The chain it begins, or may begin.
    chained: Option<u64>,
    about: About,
    /// The state of the socket that accepted the reset.
    accepted_in: Option<TcpState>,
    output: Output,
}

impl Engine {
    /// An engine for a trace that begins.
    pub fn new(config: Config) -> Self {
        let Config {
            kernel,
            host,
            hops,
            floods,
        } = config;
        let started = i128::from(host.started.0).saturating_add(host.realtime_offset_ns);
        Self {
            decoder: Decoder::new(kernel),
            // Microseconds of real time: a later start begins with a higher number than any given before.
            next_number: u64::try_from(started / 1_000).unwrap_or_default(),
            recent: Recent::new(Knowledge {
                hops,
                environment: host.environment,
            }),
            proxies: Proxies::default(),
            incidents: Incidents::default(),
            host,
            join: Correlator::default(),
            ready: BinaryHeap::new(),
            outputs: VecDeque::new(),
            links: HashMap::default(),
            links_by_age: VecDeque::new(),
            losses: VecDeque::new(),
            suppressions: VecDeque::new(),
            serial: 0,
            newest: BootTime::default(),
            flood: floods.then(Flood::default),
            inodes: BTreeMap::new(),
            counted: Counted::default(),
            undecodable: 0,
            judged_early: 0,
        }
    }

    /// Replaces the devices that the user named, for resets judged from now on. It is no input: a recorded trace keeps those of its
    /// start.
    pub fn set_hops(&mut self, hops: Vec<Hop>) {
        self.recent.set_hops(hops);
    }

    /// Takes in one input. What is ready then is to be had by [`Self::poll_output`].
    pub fn push(&mut self, input: Input<'_>) {
        match input {
            Input::Event {
                bytes,
                decoded,
                facts,
            } => match decoded.map_or_else(|| self.decode(bytes), Ok) {
                Ok(event) => self.event(bytes, event, facts),
                Err(_) => {
                    self.undecodable += 1;
                    self.lost(1);
                }
            },
            Input::Advance(now) => self.advance(now),
            Input::Lost(lost) => self.lost(lost),
            Input::Suppressed(suppressed) => self.suppressed(suppressed),
            Input::FloodRests(now) => {
                if let Some(flood) = &mut self.flood {
                    flood.rests(now);
                }
            }
            Input::Refused {
                now,
                refused,
                namespaces,
                finish,
            } => {
                for (netns, inode) in namespaces {
                    if self.inodes.len() < MOST_NAMESPACES || self.inodes.contains_key(&netns) {
                        self.inodes.insert(netns, inode);
                    }
                }
                self.refused(now, &refused, finish);
            }
            Input::Timers(timers) => self.recent.timers(timers),
            Input::Found(finding) => self.recent.found(finding),
            Input::QueueFull { queue, facts } => {
                let record = failures::of_queue(&queue, &facts, &self.host);
                self.wait(Ready::new(queue.time, Output::Failure(Box::new(record))));
            }
            Input::TableFull(table) => {
                let record = failures::of_table(&table, &self.host);
                self.wait(Ready::new(table.time, Output::Failure(Box::new(record))));
            }
            Input::Rest => self.rest(),
            Input::Finish => self.finish(),
        }
    }

    /// The next output that is ready.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When something will be due next. Before that [`Input::Advance`] changes nothing.
    pub fn deadline(&self) -> Option<BootTime> {
        let ready = self
            .ready
            .peek()
            .map(|Reverse(ready)| ready.time.plus(WINDOW));
        match (self.join.next_deadline(), ready) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// What bytes of the kernel say, for whoever has to ask the host before [`Input::Event`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Event, DecodeError> {
        self.decoder.decode(bytes)
    }

    /// Name of a reason of the kernel's; absent if it gives none.
    pub fn reason(&self, number: u32) -> Option<String> {
        self.decoder.reason(number).map(|reason| reason.to_string())
    }

    /// Whether resets may be counted and not described.
    pub fn knows_floods(&self) -> bool {
        self.flood.is_some()
    }

    /// Whether sums of what was not described are held back.
    pub fn holds_sums(&self) -> bool {
        self.flood.as_ref().is_some_and(Flood::is_pending)
    }

    /// The time of the newest event so far; 0 before the first.
    pub fn newest(&self) -> BootTime {
        self.newest
    }

    /// Whether an event of this time makes resets due: every loss before it has to be handed in first.
    pub fn settles(&self, time: BootTime) -> bool {
        self.deadline()
            .is_some_and(|due| due <= time.before(DISORDER))
    }

    /// Resets that are not judged yet, and records that wait for their turn.
    pub fn open(&self) -> usize {
        self.join.open_chains() + self.ready.len()
    }

    /// Timeouts that the resets so far have shown, each as a sentence.
    pub fn learned_timeouts(&self) -> Vec<String> {
        self.recent.lessons().iter().map(path_lesson).collect()
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        Stats {
            counted: self.counted,
            shortfalls: Shortfalls {
                undecodable: self.undecodable,
                judged_early: self.judged_early,
                ambiguous: self.join.ambiguous(),
                ..Shortfalls::default()
            },
            tables: self.tables().collect(),
        }
    }

    fn tables(&self) -> impl Iterator<Item = TableVitals> {
        let own = [
            ("open_chains", self.join.open_chains(), Some(MAX_PENDING)),
            ("ready_records", self.ready.len(), Some(MAX_PENDING)),
            ("links", self.links.len(), Some(MAX_PENDING)),
        ];
        own.into_iter()
            .chain(self.proxies.tables())
            .chain(self.recent.tables())
            .chain(self.incidents.tables())
            .map(|(name, entries, capacity)| TableVitals {
                name,
                entries: Some(entries as u64),
                capacity: capacity.map(|most| most as u64),
                evictions: None,
            })
    }

    fn event(&mut self, bytes: &[u8], event: Event, facts: HostContext) {
        self.newest = self.newest.max(event.time);
        // What sent resets of the event's class are, for the sums of those that are not described.
        if let Some(flood) = &mut self.flood
            && let Body::Sent(sent) = &event.body
            && let Some(class) = Decoder::class(bytes)
        {
            flood.described(class, rules::of_sent(sent).cause, event.time);
        }
        self.handle(event, facts);
    }

    /// Takes in one event with what the edge knows about it.
    pub(crate) fn handle(&mut self, event: Event, facts: HostContext) {
        let at = correlate::Origin {
            time: event.time,
            netns: event.netns,
            inode: event.netns_inode.or(facts.netns_inode),
        };
        self.recent.see(at, &event.body, &facts);
        match event.body {
            Body::Sent(sent) => {
                self.counted.sent += 1;
                self.proxies.sent(&sent, at.time);
                self.join.sent(at, sent, facts);
            }
            Body::Received(received) => {
                self.counted.received += 1;
                self.join.received(at, received, facts);
            }
            Body::Packet(packet) => {
                self.counted.packets += 1;
                self.join.packet(at, packet, facts);
            }
            Body::Failed(failed) => {
                self.counted.failed += 1;
                self.failed(at, &failed, &facts);
            }
        }
        while self.join.open_chains() > MAX_PENDING {
            self.judged_early += 1;
            match self.join.close(None) {
                Some(chain) => self.judge(chain),
                None => break,
            }
        }
        while self.ready.len() > MAX_PENDING {
            self.emit();
        }
        self.advance(at.time.before(DISORDER));
    }

    /// Takes in a reset of the capture that is called `file`. Those of one capture come in order of time.
    pub fn captured(&mut self, captured: CapturedReset, file: &Word) {
        self.recent.see_captured(&captured);
        let context = Context {
            coverage: self.host.coverage,
            lost_nearby: 0,
            suppressed_nearby: Suppressed::default(),
            environment: self.host.environment,
        };
        let (time, overlay) = (captured.time, captured.overlay);
        let (received, packet) = (captured.received.clone(), Arc::clone(&captured.packet));
        let record = build_records::captured(captured, file, &self.host, &context, &self.recent);
        if record.verdict.origin == Origin::Middlebox
            && let Some(received) = &received
        {
            self.recent.blame_device(overlay, received, time);
            self.recent
                .note_device(overlay, &packet, record.verdict.confidence, time);
        }
        let about = About {
            overlay,
            is_counted: true,
            ..About::default()
        };
        self.incidents.expect(&record, about);
        self.wait(Ready {
            about,
            ..Ready::new(time, Output::Reset(record))
        });
        while self.ready.len() > MAX_CAPTURED {
            self.emit();
        }
        self.advance(time.before(DISORDER));
    }

    /// Emits every record whose window was over at `now`, in event order.
    ///
    /// `now` is an instant up to which every event and every loss has been handed in: with a backlog a time of its events, not the
    /// clock's, or what belongs together is torn apart.
    fn advance(&mut self, now: BootTime) {
        while let Some(chain) = self.join.close(Some(now)) {
            self.judge(chain);
        }
        while self
            .ready
            .peek()
            .is_some_and(|Reverse(ready)| ready.time.plus(WINDOW) <= now)
        {
            self.emit();
        }
    }

    /// Emits all that is left.
    fn finish(&mut self) {
        while let Some(chain) = self.join.close(None) {
            self.judge(chain);
        }
        while !self.ready.is_empty() {
            self.emit();
        }
    }

    /// Observations were counted and not handed in around the newest event: a verdict that rests on the absence of one near it is
    /// less sure.
    fn suppressed(&mut self, suppressed: Suppressed) {
        if suppressed == Suppressed::default() {
            return;
        }
        if self.suppressions.len() == MAX_LOSSES {
            self.suppressions.pop_front();
        }
        self.suppressions.push_back((self.newest, suppressed));
    }

    /// Gives back the room that a flood took.
    fn rest(&mut self) {
        self.join.rest();
        if self.ready.is_empty() && self.join.open_chains() == 0 {
            self.ready = BinaryHeap::new();
            self.outputs.shrink_to_fit();
        }
    }

    /// Events were lost around the newest one.
    fn lost(&mut self, lost: u64) {
        self.note_loss(self.newest, lost);
    }

    /// Events were lost around `at`: a verdict that rests on the absence of one near it is less sure.
    pub(crate) fn note_loss(&mut self, at: BootTime, lost: u64) {
        if lost == 0 {
            return;
        }
        if self.losses.len() == MAX_LOSSES {
            self.losses.pop_front();
        }
        self.losses.push_back((at, lost));
    }

    fn refused(&mut self, now: BootTime, refused: &[Refused], finish: bool) {
        let Some(flood) = &mut self.flood else { return };
        let mut sums = flood.read(now, refused);
        if finish {
            sums.extend(flood.finish(now));
        }
        let is_pending = flood.is_pending();
        for sum in sums {
            let names = SumNames {
                reason: sum
                    .kind
                    .reason()
                    .and_then(|reason| self.decoder.reason(reason)),
                state: sum.kind.state().and_then(Decoder::state),
                netns: sum
                    .kind
                    .netns
                    .and_then(|netns| self.inodes.get(&netns).copied()),
            };
            let record = record_fields::suppressed(&sum, names, &self.host);
            self.outputs.push_back(Output::Suppressed(Box::new(record)));
        }
        if !is_pending {
            self.inodes.clear();
        }
    }

    fn judge(&mut self, mut chain: ResetGroup) {
        build_records::drop_echo(&mut chain);
        let context = Context {
            coverage: self.host.coverage,
            lost_nearby: self.lost_near(chain.first),
            suppressed_nearby: self.suppressed_near(chain.first),
            environment: self.host.environment,
        };
        let reason = chain
            .sent()
            .and_then(|sent| self.proxies.reason(&sent.event, sent.time));
        let mut drafts =
            build_records::records(&chain, &self.host, &context, &self.recent, reason.as_ref());
        let ended = self.ended_leg(&chain, &drafts);
        let began = reason.as_ref().map(|reason| reason.link);
        let linked = began.is_some() || drafts.len() > 1;
        let chained = (linked || ended.is_some())
            .then(|| began.unwrap_or_else(|| self.new_link(chain.first)));
        let passed_on = ended
            .zip(chained)
            .and_then(|((leg, verdict), link)| self.proxies.ended(leg, link, verdict));
        let link = chained.filter(|_| linked || passed_on.is_some());
        let burst = self.burst(&chain);
        let accepted_in = chain.received().map(|seen| seen.event.socket.state);
        if let Some(passed_on) = passed_on {
            passed_on.cost(&mut drafts);
        }
        for (position, draft) in drafts.into_iter().enumerate() {
            let about = About {
                refutes: draft.refutes,
                is_counted: position == 0,
                leads: link.is_none() && chained.is_some(),
                burst,
                ..About::default()
            };
            self.incidents.expect(&draft.record, about);
            let accepted_in = accepted_in.filter(|_| draft.record.direction == Direction::Received);
            self.wait(Ready {
                link,
                chained,
                about,
                accepted_in,
                ..Ready::new(draft.time, Output::Reset(draft.record))
            });
        }
    }

    /// The burst of connections that this one ended with.
    fn burst(&self, chain: &ResetGroup) -> Option<Burst> {
        let mut parts = chain.parts.iter();
        let sent = parts.find_map(|part| Some((part.netns, part.sent.as_ref()?)));
        let sent = sent.map(|(netns, seen)| (netns, seen.time, &*seen.event));
        let accepted = chain.accepted();
        let accepted = accepted.map(|(netns, seen)| (netns, seen.time, &*seen.event));
        self.recent.burst(sent, accepted).map(|(burst, _)| burst)
    }

    /// Notes who reset an accepted chain. The leg that ended, if its process did not end it, with its verdict.
    fn ended_leg(&mut self, chain: &ResetGroup, drafts: &[Draft]) -> Option<(Leg, Verdict)> {
        let of = |direction| {
            let mut records = drafts.iter().map(|draft| &draft.record);
            records.find(move |record| record.direction == direction)
        };
        if let Some((netns, received)) = chain.accepted()
            && let Some(record) = of(Direction::Received)
        {
            if record.verdict.origin == Origin::Middlebox {
                self.recent
                    .blame_device(netns, &received.event, received.time);
                let part = chain.parts.iter().find(|part| part.netns == netns);
                if let Some(arrived) = part.and_then(NamespaceView::first_ingress) {
                    let (packet, sure) = (&arrived.event, record.verdict.confidence);
                    self.recent.note_device(netns, packet, sure, received.time);
                }
            }
            // A leg that its own process had closed is the end of a chain, not its beginning.
            let socket = &received.event.socket;
            let is_harmless =
                record.verdict.severity == Severity::Noise && record.verdict.class.is_none();
            let is_closed = socket.orphaned || socket.send_shutdown;
            let process = record.process.as_ref()?;
            if !is_harmless && !is_closed {
                let leg = Leg::received(&received.event, received.time, process)?;
                return Some((leg, record.verdict.clone()));
            }
        }
        let sent = chain.sent()?;
        let record =
            of(Direction::Sent).filter(|it| it.verdict.cause == Cause::KeepaliveTimeout)?;
        let leg = Leg::given_up(&sent.event, sent.time, record.process.as_ref()?)?;
        Some((leg, record.verdict.clone()))
    }

    /// A chain of records that will share a number.
    fn new_link(&mut self, began: BootTime) -> u64 {
        while let Some(&(oldest, link)) = self.links_by_age.front()
            && (began.since(oldest) > LINK_LIFE || self.links_by_age.len() >= MAX_PENDING)
        {
            self.links_by_age.pop_front();
            self.links.remove(&link);
        }
        let link = self.serial;
        self.serial += 1;
        self.links.insert(link, None);
        self.links_by_age.push_back((began, link));
        link
    }

    fn failed(&mut self, at: correlate::Origin, event: &Failed, facts: &HostContext) {
        let Some(record) = failures::of_event(at, event, facts, &self.host) else {
            return;
        };
        let leg = record.process.as_ref();
        let leg = leg.and_then(|process| Leg::failed(event, at.time, process));
        let chained = leg.map(|leg| {
            let link = self.new_link(at.time);
            self.proxies
                .ended(leg, link, verdict::of_failure(&record.verdict));
            link
        });
        self.wait(Ready {
            chained,
            ..Ready::new(at.time, Output::Failure(Box::new(record)))
        });
    }

    fn wait(&mut self, mut ready: Ready) {
        ready.serial = self.serial;
        self.serial += 1;
        self.ready.push(Reverse(ready));
    }

    /// Numbers the oldest ready record and puts it out.
    fn emit(&mut self) {
        let Some(Reverse(mut ready)) = self.ready.pop() else {
            return;
        };
        let number = self.next_number;
        self.next_number += 1;
        let id = Id {
            boot: self.host.boot_id.clone(),
            number,
        };
        let first = ready
            .chained
            .map_or(number, |link| self.linked(link, number));
        match &mut ready.output {
            Output::Failure(record) => {
                record.id = id;
                let leads = ready.chained.is_some();
                self.incidents.place_failure(record, ready.time, leads);
            }
            Output::Suppressed(_) => {}
            Output::Reset(record) => {
                record.id = id;
                match record.link.as_mut() {
                    Some(link) if ready.link.is_some() => link.id = first,
                    Some(_) | None => record.link = None,
                }
                let join = &self.join;
                self.incidents
                    .place(record, ready.time, ready.about, |record| {
                        let ends = |end: &Endpoint| SocketAddr::new(end.address, end.port);
                        join.open_between(ends(&record.local), ends(&record.remote))
                    });
            }
        }
        self.note_verdict(&ready);
        self.outputs.push_back(ready.output);
    }

    /// What the resets of a class are, for the sums of those that are not described.
    fn note_verdict(&mut self, ready: &Ready) {
        let (Some(flood), Output::Reset(record)) = (&mut self.flood, &ready.output) else {
            return;
        };
        let cause = record.verdict.cause;
        if record.direction == Direction::Sent && cause == Cause::Propagated {
            flood.overruled(self.newest);
        }
        if let Some(state) = ready.accepted_in {
            flood.described(Decoder::class_of_accepted(state), cause, self.newest);
        }
    }

    /// The number of a chain's first record, which is `number` if none came before.
    fn linked(&mut self, link: u64, number: u64) -> u64 {
        self.links
            .get_mut(&link)
            .map_or(number, |first| *first.get_or_insert(number))
    }

    fn lost_near(&self, time: BootTime) -> u64 {
        self.losses
            .iter()
            .filter(|(at, _)| is_near(*at, time))
            .fold(0, |sum, (_, lost)| sum.saturating_add(*lost))
    }

    fn suppressed_near(&self, time: BootTime) -> Suppressed {
        let near = self.suppressions.iter();
        near.filter(|(at, _)| is_near(*at, time))
            .fold(Suppressed::default(), |sum, (_, more)| sum.plus(*more))
    }
}

/// Where an event of this time belongs in a queue in the order of time: near its end.
fn place_by_time<T>(queue: &VecDeque<T>, time: BootTime, of: impl Fn(&T) -> BootTime) -> usize {
    let newest_first = queue.iter().rev();
    queue.len() - newest_first.take_while(|it| of(it) > time).count()
}

/// Whether two instants are close enough for what was missed at the one to matter at the other.
fn is_near(one: BootTime, other: BootTime) -> bool {
    one.since(other).max(other.since(one)) <= LOSS_REACH
}

impl Ready {
    fn new(time: BootTime, output: Output) -> Self {
        Self {
            time,
            serial: 0,
            link: None,
            chained: None,
            about: About::default(),
            accepted_in: None,
            output,
        }
    }

    fn key(&self) -> (BootTime, u64) {
        (self.time, self.serial)
    }
}

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Ready {}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
