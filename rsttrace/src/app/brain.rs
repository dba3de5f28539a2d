//! From raw events to outputs: decode, ask the host, hand to a pipeline.

use std::collections::HashMap;

use log::{debug, warn};

use crate::decode::Decoder;
use crate::event::{Body, BootTime, Event, HostFacts, NetnsCookie};
use crate::flood::{Flood, Refused, SumNames, Suppressed};
use crate::host::{Enricher, NetnsNames};
use crate::idle::candidates::Hop;
use crate::pipeline::{Output, Pipeline, PipelineCounters};
use crate::record::{Cause, Direction};
use crate::sys;
use crate::verdict::{self, timeout};
use crate::vitals::{Shortfalls, TableVitals};

/// Who sees what.
pub enum View {
    /// One pipeline sees the whole host, so the ends of one reset are linked.
    Host(Box<Pipeline>),
    /// Each network namespace is judged as if it were a host of its own: nothing from another one can leak into its
    /// verdicts.
    EachNamespace {
        /// What each pipeline starts with.
        host: HostFacts,
        /// The devices that each is told of.
        hops: Vec<Hop>,
        /// By namespace.
        pipelines: HashMap<NetnsCookie, Pipeline>,
    },
}

/// Decodes, enriches and judges.
pub struct Brain<N> {
    decoder: Decoder,
    enricher: Enricher<N>,
    view: View,
    undecodable: u64,
    newest: BootTime,
    /// Absent where each reset is described.
    flood: Option<Flood>,
}

impl<N: NetnsNames> Brain<N> {
    /// Puts the parts together.
    pub fn new(decoder: Decoder, enricher: Enricher<N>, view: View, flood: Option<Flood>) -> Self {
        Self {
            decoder,
            enricher,
            view,
            undecodable: 0,
            newest: BootTime::default(),
            flood,
        }
    }

    /// Takes in one event as it came from the kernel.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<Output>) {
        let event = match self.decoder.decode(bytes) {
            Ok(event) => event,
            Err(error) => {
                if self.undecodable == 0 {
                    warn!(
                        "an event of the kernel cannot be decoded, it counts as lost: {error}; report this with the output of `rsttrace doctor`"
                    );
                }
                self.undecodable += 1;
                debug!("an event that cannot be decoded: {error}");
                self.note_loss(self.newest, 1);
                return;
            }
        };
        self.newest = self.newest.max(event.time);
        self.note_cause(bytes, &event);
        let facts = self.enricher.facts(&event);
        match &mut self.view {
            View::Host(pipeline) => pipeline.handle(event, facts, out),
            View::EachNamespace {
                host,
                hops,
                pipelines,
            } => {
                let pipeline = pipelines
                    .entry(event.netns)
                    .or_insert_with(|| Pipeline::with_hops(host.clone(), hops.clone()));
                pipeline.handle(event, facts, out);
            }
        }
    }

    /// What sent resets of the event's class are, for the sums of those that are not described.
    fn note_cause(&mut self, bytes: &[u8], event: &Event) {
        if let Some(flood) = &mut self.flood
            && let Body::Sent(sent) = &event.body
            && let Some(class) = Decoder::class(bytes)
        {
            let cause = verdict::rule(sent).cause;
            flood.described(class, cause, event.time);
        }
    }

    /// The same of what was judged: to be told once of each output.
    pub fn note_verdicts(&mut self, outputs: &[Output]) {
        let Some(flood) = &mut self.flood else { return };
        for output in outputs {
            let Output::Reset(record) = output else {
                continue;
            };
            let cause = record.verdict.cause;
            match (record.direction, &record.kernel) {
                (Direction::Sent, _) if cause == Cause::Propagated => {
                    flood.overruled(self.newest);
                }
                (Direction::Received, Some(kernel)) => {
                    if let Some(class) = kernel.state.as_deref().and_then(Decoder::received) {
                        flood.described(class, cause, self.newest);
                    }
                }
                _ => {}
            }
        }
    }

    /// Name of a reason of the kernel's; absent if it gives none.
    pub fn reason(&self, number: u32) -> Option<String> {
        self.decoder.reason(number).map(String::from)
    }

    /// Nothing was counted without being described.
    pub fn flood_rests(&mut self, now: BootTime) {
        if let Some(flood) = &mut self.flood {
            flood.rests(now);
        }
    }

    /// Takes in what was counted without being described; `finish`: nothing will follow. Whether something is held back.
    pub fn refused(
        &mut self,
        now: BootTime,
        refused: &[Refused],
        finish: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(flood) = &mut self.flood else {
            return false;
        };
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
                netns: sum.kind.netns.and_then(|netns| self.enricher.inode(netns)),
            };
            let host = match &self.view {
                View::Host(pipeline) => pipeline.host(),
                View::EachNamespace { host, .. } => host,
            };
            let record = Pipeline::suppressed(&sum, names, host);
            out.push(Output::Suppressed(Box::new(record)));
        }
        is_pending
    }

    /// Observations around `at` were counted and not described.
    pub fn note_suppressed(&mut self, at: BootTime, suppressed: Suppressed) {
        self.each(|pipeline| pipeline.note_suppressed(at, suppressed));
    }

    /// The time of the newest event so far.
    pub fn newest(&self) -> BootTime {
        self.newest
    }

    /// Emits what is due at `now`.
    pub fn advance(&mut self, now: BootTime, out: &mut Vec<Output>) {
        self.each(|pipeline| pipeline.advance(now, out));
    }

    /// Emits all that is left.
    pub fn finish(&mut self, out: &mut Vec<Output>) {
        self.each(|pipeline| pipeline.finish(out));
    }

    /// Gives back the memory that a flood took. To be asked while nothing happens.
    pub fn rest(&mut self) {
        self.each(Pipeline::rest);
        sys::give_back_memory();
    }

    /// Events were lost around `at`.
    pub fn note_loss(&mut self, at: BootTime, lost: u64) {
        self.each(|pipeline| pipeline.note_loss(at, lost));
    }

    /// When something will be due next.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.pipelines().filter_map(Pipeline::next_deadline).min()
    }

    /// What could not be done on this side of the ring; what the kernel side could not do is left at 0.
    pub fn shortfalls(&self) -> Shortfalls {
        let sum = |of: fn(PipelineCounters) -> u64| -> u64 {
            self.pipelines()
                .map(|pipeline| of(pipeline.counters()))
                .sum()
        };
        Shortfalls {
            undecodable: self.undecodable,
            judged_early: sum(|counters| counters.flushed_early),
            ambiguous: sum(|counters| counters.ambiguous),
            holders_not_asked: self.enricher.holders_not_asked(),
            ..Shortfalls::default()
        }
    }

    /// How full the tables are; of several pipelines the sums.
    pub fn tables(&self) -> Vec<TableVitals> {
        let mut tables: Vec<TableVitals> = self.enricher.tables().into();
        for table in self.pipelines().flat_map(Pipeline::tables) {
            match tables.iter_mut().find(|known| known.name == table.name) {
                Some(known) => {
                    let sum = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
                    known.entries = sum(known.entries, table.entries);
                    known.capacity = sum(known.capacity, table.capacity);
                }
                None => tables.push(table),
            }
        }
        tables
    }

    /// Timeouts that the resets so far have shown, each as a sentence.
    pub fn lessons(&self) -> Vec<String> {
        self.pipelines()
            .flat_map(Pipeline::lessons)
            .map(|lesson| timeout::path_lesson(&lesson))
            .collect()
    }

    /// Events that came in, by kind.
    pub fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for counters in self.pipelines().map(Pipeline::counters) {
            counted.sent += counters.sent_events;
            counted.received += counters.received_events;
            counted.packets += counters.packet_events;
            counted.timed_out += counters.timed_out_events;
        }
        counted
    }

    fn pipelines(&self) -> impl Iterator<Item = &Pipeline> {
        let (host, namespaces) = match &self.view {
            View::Host(pipeline) => (Some(&**pipeline), None),
            View::EachNamespace { pipelines, .. } => (None, Some(pipelines.values())),
        };
        host.into_iter().chain(namespaces.into_iter().flatten())
    }

    fn each(&mut self, mut work: impl FnMut(&mut Pipeline)) {
        match &mut self.view {
            View::Host(pipeline) => work(pipeline),
            View::EachNamespace { pipelines, .. } => pipelines.values_mut().for_each(work),
        }
    }
}

/// Events that reached the pipeline, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// `tcp_send_reset`.
    pub sent: u64,
    /// `tcp_receive_reset`.
    pub received: u64,
    /// Classifiers.
    pub packets: u64,
    /// Connections that died without a reset.
    pub timed_out: u64,
}
