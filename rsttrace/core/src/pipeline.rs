//! Events in, explained resets out: join, attribute, judge, in event order and within a fixed time.
//!
//! Pure: the time comes in with the events and with [`Pipeline::advance`]. Memory is bounded: at most
//! [`MAX_PENDING`] resets wait for more observations, and as many records for their turn.

mod assemble;
#[cfg(test)]
pub(crate) mod fixtures;
mod form;
mod ledger;
mod proxy;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::captured::Captured;
use crate::event::{Body, BootTime, Event, Facts, HostFacts, SocketCookie, TimedOut};
use crate::flood::{Sum, SumNames, Suppressed};
use crate::hash::HashMap;
use crate::idle::candidates::{Hop, Knowledge};
use crate::idle::memory::Lesson;
use crate::join::{self, Chain, Join};
use crate::record::{Direction, Id, Origin, Output, Record, Severity, SuppressedRecord, Word};
use crate::verdict::{Context, Reason};
use crate::vitals::TableVitals;
use ledger::Ledger;
use proxy::Proxies;

/// Most resets that wait for further observations.
pub const MAX_PENDING: usize = 65_536;

/// How long after its event a record comes out.
pub const WINDOW: Duration = join::WINDOW;

/// Events come out of order across CPUs, but not by more than this.
const DISORDER: Duration = Duration::from_millis(50);

/// Losses are noticed by polling: one noted at an instant may be this far away.
const LOSS_REACH: Duration = Duration::from_millis(1_500);

/// Records of one chain come out within this.
const LINK_LIFE: Duration = Duration::from_secs(2);

/// Losses remembered.
const MAX_LOSSES: usize = 64;

/// The pure core.
pub struct Pipeline {
    host: HostFacts,
    join: Join,
    ledger: Ledger,
    proxies: Proxies,
    ready: BinaryHeap<Reverse<Ready>>,
    /// Chains with several records: the number of the first, once it is out.
    links: HashMap<u64, Option<u64>>,
    /// When each of them began, the oldest first.
    links_by_age: VecDeque<(BootTime, u64)>,
    losses: VecDeque<(BootTime, u64)>,
    suppressions: VecDeque<(BootTime, Suppressed)>,
    next_number: u64,
    serial: u64,
    counters: PipelineCounters,
}

/// What the pipeline has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipelineCounters {
    /// `tcp_send_reset` events.
    pub sent_events: u64,
    /// `tcp_receive_reset` events.
    pub received_events: u64,
    /// Packet events.
    pub packet_events: u64,
    /// Connections that died without a reset.
    pub timed_out_events: u64,
    /// Observations that fitted several resets by their numbers and so were joined to none.
    pub ambiguous: u64,
    /// Resets judged before their window was over, for want of room.
    pub flushed_early: u64,
}

/// A record that waits for its turn.
struct Ready {
    time: BootTime,
    serial: u64,
    link: Option<u64>,
    output: Output,
}

impl Pipeline {
    /// A pipeline for this host, with no device configured.
    pub fn new(host: HostFacts) -> Self {
        Self::with_hops(host, Vec::new())
    }

    /// A pipeline for this host and these devices around it.
    pub fn with_hops(host: HostFacts, hops: Vec<Hop>) -> Self {
        let started = i128::from(host.started.0).saturating_add(host.realtime_offset_ns);
        Self {
            // Microseconds of real time: a later start begins with a higher number than any given before.
            next_number: u64::try_from(started / 1_000).unwrap_or_default(),
            ledger: Ledger::new(Knowledge {
                hops,
                environment: host.environment,
            }),
            proxies: Proxies::default(),
            host,
            join: Join::default(),
            ready: BinaryHeap::new(),
            links: HashMap::default(),
            links_by_age: VecDeque::new(),
            losses: VecDeque::new(),
            suppressions: VecDeque::new(),
            serial: 0,
            counters: PipelineCounters::default(),
        }
    }

    /// Takes in one event with what the edge knows about it.
    pub fn handle(&mut self, event: Event, facts: Facts, out: &mut Vec<Output>) {
        let at = join::Origin {
            time: event.time,
            netns: event.netns,
            inode: event.netns_inode.or(facts.netns_inode),
        };
        self.ledger.see(at, &event.body);
        match event.body {
            Body::Sent(sent) => {
                self.counters.sent_events += 1;
                self.proxies.sent(&sent, at.time);
                self.join.sent(at, sent, facts);
            }
            Body::Received(received) => {
                self.counters.received_events += 1;
                self.join.received(at, received, facts);
            }
            Body::Packet(packet) => {
                self.counters.packet_events += 1;
                self.join.packet(at, packet, facts);
            }
            Body::TimedOut(timed_out) => {
                self.counters.timed_out_events += 1;
                self.timed_out(at, &timed_out, &facts);
            }
        }
        while self.join.open_chains() > MAX_PENDING {
            self.counters.flushed_early += 1;
            match self.join.close(None) {
                Some(chain) => self.judge(chain),
                None => break,
            }
        }
        while self.ready.len() > MAX_PENDING {
            self.emit(out);
        }
        let settled = at.time.before(DISORDER);
        self.advance(settled, out);
    }

    /// Takes in a reset of the capture that is called `file`. Those of one capture come in order of time.
    pub fn captured(&mut self, captured: Captured, file: &Word, out: &mut Vec<Output>) {
        self.ledger.see_captured(&captured);
        let context = Context {
            coverage: self.host.coverage,
            lost_nearby: 0,
            suppressed_nearby: Suppressed::default(),
            environment: self.host.environment,
        };
        let (time, overlay) = (captured.time, captured.overlay);
        let received = captured.received.clone();
        let record = assemble::captured(captured, file, &self.host, &context, &self.ledger);
        if record.verdict.origin == Origin::Middlebox
            && let Some(received) = &received
        {
            self.ledger.blame_device(overlay, received, time);
        }
        self.push(time, None, Output::Reset(record));
        self.advance(time.before(DISORDER), out);
    }

    /// Emits every record whose window was over at `now`, in event order.
    ///
    /// `now` is an instant up to which every event has been handed in: with a backlog the time of the newest event
    /// handed in, not the clock's, or what belongs together is torn apart.
    pub fn advance(&mut self, now: BootTime, out: &mut Vec<Output>) {
        while let Some(chain) = self.join.close(Some(now)) {
            self.judge(chain);
        }
        while self
            .ready
            .peek()
            .is_some_and(|Reverse(ready)| ready.time.plus(WINDOW) <= now)
        {
            self.emit(out);
        }
    }

    /// Emits all that is left.
    pub fn finish(&mut self, out: &mut Vec<Output>) {
        while let Some(chain) = self.join.close(None) {
            self.judge(chain);
        }
        while !self.ready.is_empty() {
            self.emit(out);
        }
    }

    /// Resets that were counted and not described, as a record.
    pub fn suppressed(sum: &Sum, names: SumNames, host: &HostFacts) -> SuppressedRecord {
        form::suppressed(sum, names, host)
    }

    /// Observations were counted and not handed in around `at`: a verdict that rests on the absence of one near it is less
    /// sure.
    pub fn note_suppressed(&mut self, at: BootTime, suppressed: Suppressed) {
        if suppressed == Suppressed::default() {
            return;
        }
        if self.suppressions.len() == MAX_LOSSES {
            self.suppressions.pop_front();
        }
        self.suppressions.push_back((at, suppressed));
    }

    /// Gives back the room that a flood took. To be asked while nothing happens.
    pub fn rest(&mut self) {
        self.join.rest();
        if self.ready.is_empty() && self.join.open_chains() == 0 {
            self.ready = BinaryHeap::new();
        }
    }

    /// Events were lost around `at`: a verdict that rests on the absence of one near it is less sure.
    pub fn note_loss(&mut self, at: BootTime, lost: u64) {
        if lost == 0 {
            return;
        }
        if self.losses.len() == MAX_LOSSES {
            self.losses.pop_front();
        }
        self.losses.push_back((at, lost));
    }

    /// When there will be something to emit next.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let ready = self
            .ready
            .peek()
            .map(|Reverse(ready)| ready.time.plus(WINDOW));
        match (self.join.next_deadline(), ready) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// What has been done so far.
    pub fn counters(&self) -> PipelineCounters {
        PipelineCounters {
            ambiguous: self.join.ambiguous(),
            ..self.counters
        }
    }

    fn judge(&mut self, mut chain: Chain) {
        assemble::drop_echo(&mut chain);
        let context = Context {
            coverage: self.host.coverage,
            lost_nearby: self.lost_near(chain.first),
            suppressed_nearby: self.suppressed_near(chain.first),
            environment: self.host.environment,
        };
        let reason = chain
            .sent()
            .and_then(|sent| self.proxies.reason(&sent.event));
        let drafts = assemble::records(&chain, &self.host, &context, &self.ledger, reason.as_ref());
        let passed_on = self.passed_on(&chain, &drafts);
        let linked = reason.is_some() || !passed_on.is_empty() || drafts.len() > 1;
        let link = linked.then(|| reason.map_or_else(|| self.new_link(chain.first), |it| it.link));
        if let Some(link) = link {
            for (leg, reason) in passed_on {
                self.proxies.explain(leg, Reason { link, ..reason });
            }
        }
        for (time, record) in drafts {
            self.push(time, link, Output::Reset(record));
        }
    }

    /// Notes who reset an accepted chain, and gives the legs its process reset because of that, their link still to be set.
    fn passed_on(
        &mut self,
        chain: &Chain,
        drafts: &[(BootTime, Box<Record>)],
    ) -> Vec<(SocketCookie, Reason)> {
        let Some((netns, received)) = chain.accepted() else {
            return Vec::new();
        };
        let Some((_, record)) = drafts
            .iter()
            .find(|(_, record)| record.direction == Direction::Received)
        else {
            return Vec::new();
        };
        if record.verdict.origin == Origin::Middlebox {
            self.ledger
                .blame_device(netns, &received.event, received.time);
        }
        // A leg that its own process had closed is the end of a chain, not its beginning.
        let socket = &received.event.socket;
        if record.verdict.severity != Severity::Fault || socket.orphaned || socket.send_shutdown {
            return Vec::new();
        }
        let process = record.process.as_ref();
        self.proxies
            .passed_on(&received.event, received.time, process)
            .into_iter()
            .map(|passed| {
                let reason = Reason {
                    link: 0,
                    verdict: record.verdict.clone(),
                    after: passed.after,
                    confidence: passed.confidence.max(record.verdict.confidence),
                };
                (passed.to, reason)
            })
            .collect()
    }

    /// A chain of records that will share a number.
    fn new_link(&mut self, began: BootTime) -> u64 {
        while let Some(&(oldest, link)) = self.links_by_age.front()
            && began.since(oldest) > LINK_LIFE
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

    /// Resets whose window is open, and records that wait for their turn.
    pub fn open(&self) -> usize {
        self.join.open_chains() + self.ready.len()
    }

    /// How full the tables are.
    pub fn tables(&self) -> impl Iterator<Item = TableVitals> {
        let own = [
            ("open_chains", self.join.open_chains(), Some(MAX_PENDING)),
            ("ready_records", self.ready.len(), Some(MAX_PENDING)),
            ("links", self.links.len(), None),
        ];
        own.into_iter()
            .chain(self.proxies.tables())
            .chain(self.ledger.tables())
            .map(|(name, entries, capacity)| TableVitals {
                name,
                entries: Some(entries as u64),
                capacity: capacity.map(|most| most as u64),
                evictions: None,
            })
    }

    /// Timeouts that resets so far have shown.
    pub fn lessons(&self) -> Vec<Lesson> {
        self.ledger.lessons()
    }

    fn timed_out(&mut self, at: join::Origin, event: &TimedOut, facts: &Facts) {
        let record = form::timed_out(at, event, facts, &self.host);
        self.push(at.time, None, Output::TimedOut(Box::new(record)));
    }

    fn push(&mut self, time: BootTime, link: Option<u64>, output: Output) {
        self.ready.push(Reverse(Ready {
            time,
            serial: self.serial,
            link,
            output,
        }));
        self.serial += 1;
    }

    /// Numbers the oldest ready record and puts it out.
    fn emit(&mut self, out: &mut Vec<Output>) {
        let Some(Reverse(mut ready)) = self.ready.pop() else {
            return;
        };
        let number = self.next_number;
        self.next_number += 1;
        let id = Id {
            boot: self.host.boot_id.clone(),
            number,
        };
        match &mut ready.output {
            Output::TimedOut(record) => record.id = id,
            Output::Suppressed(_) => {}
            Output::Reset(record) => {
                record.id = id;
                let first = ready.link.map_or(number, |link| self.linked(link, number));
                match record.link.as_mut() {
                    Some(link) if ready.link.is_some() => link.id = first,
                    _ => record.link = None,
                }
            }
        }
        out.push(ready.output);
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

/// Whether two instants are close enough for what was missed at the one to matter at the other.
fn is_near(one: BootTime, other: BootTime) -> bool {
    one.since(other).max(other.since(one)) <= LOSS_REACH
}

impl Ready {
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
