//! From raw events to outputs: decode, ask the host, hand to a pipeline.

use std::collections::HashMap;

use log::{debug, warn};

use crate::decode::Decoder;
use crate::event::{BootTime, HostFacts, NetnsCookie};
use crate::host::{Enricher, NetnsNames};
use crate::idle::candidates::Hop;
use crate::pipeline::{Output, Pipeline, PipelineCounters};
use crate::sys;
use crate::verdict::timeout;

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
}

impl<N: NetnsNames> Brain<N> {
    /// Puts the parts together.
    pub fn new(decoder: Decoder, enricher: Enricher<N>, view: View) -> Self {
        Self {
            decoder,
            enricher,
            view,
            undecodable: 0,
            newest: BootTime::default(),
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

    /// What could not be done on this side of the ring, by name.
    pub fn shortfalls(&self) -> Vec<(String, u64)> {
        let sum = |of: fn(PipelineCounters) -> u64| -> u64 {
            self.pipelines()
                .map(|pipeline| of(pipeline.counters()))
                .sum()
        };
        vec![
            (
                "events that could not be decoded".to_owned(),
                self.undecodable,
            ),
            (
                "resets judged before their window was over".to_owned(),
                sum(|counters| counters.flushed_early),
            ),
            (
                "observations that fitted several resets".to_owned(),
                sum(|counters| counters.ambiguous),
            ),
            (
                "socket holders not looked up".to_owned(),
                self.enricher.holders_not_asked(),
            ),
        ]
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
}
