//! Inputs and outputs of the pure core.
//!
//! Everything that affects a trace comes in as [`Input`]s, in order: the bytes of events with facts about the host, the time, losses
//! and counts. The same inputs give the same outputs, byte for byte; a recording is
//! a sequence of them (`rsttrace-capture::recording`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::causes::{path_lesson, rules};
use crate::decode::{DecodeError, Decoder, KernelFacts};
use crate::event::{Body, BootTime, Event, Facts, HostFacts, NetnsCookie};
use crate::flood::{Flood, Refused, SumNames, Suppressed};
use crate::idle::candidates::Hop;
use crate::pipeline::Pipeline;
use crate::record::Output;
use crate::record::{Cause, Direction};
use crate::vitals::{Shortfalls, TableVitals};

/// Namespaces whose inodes are kept for sums; no host has so many at once.
const MOST_NAMESPACES: usize = 16_384;

/// What does not change from input to input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Premises {
    /// For decoding.
    pub kernel: KernelFacts,
    /// The host that is traced.
    pub host: HostFacts,
    /// Devices around it, as configured.
    pub hops: Vec<Hop>,
    /// In a flood resets may be counted and not described.
    pub floods: bool,
}

/// One thing that goes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'a> {
    /// An event came out of the kernel.
    Event {
        /// As it was in the ring: the wire format of `rsttrace_common`, in the byte order of the machine.
        bytes: &'a [u8],
        /// What the host knew then. Not looked at where the bytes cannot be decoded.
        facts: Facts,
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
    /// Nothing happens, and memory is given back.
    Rest,
    /// The end: all that is open is judged.
    Finish,
}

/// Decodes and judges. No files, no clock.
pub struct Judge {
    decoder: Decoder,
    host: HostFacts,
    pipeline: Pipeline,
    undecodable: u64,
    newest: BootTime,
    /// Absent where each reset is described.
    flood: Option<Flood>,
    /// Inode numbers of namespaces that sums may name.
    inodes: BTreeMap<NetnsCookie, u32>,
}

impl Judge {
    /// For a trace that begins.
    pub fn new(premises: Premises) -> Self {
        let Premises {
            kernel,
            host,
            hops,
            floods,
        } = premises;
        Self {
            decoder: Decoder::new(kernel),
            pipeline: Pipeline::with_hops(host.clone(), hops),
            host,
            undecodable: 0,
            newest: BootTime::default(),
            flood: floods.then(Flood::default),
            inodes: BTreeMap::new(),
        }
    }

    /// Takes in one input; what is ready is added to `out`.
    pub fn take(&mut self, input: Input<'_>, out: &mut Vec<Output>) {
        let before = out.len();
        match input {
            Input::Event { bytes, facts } => match self.decode(bytes) {
                Ok(event) => self.decoded(bytes, event, facts, out),
                Err(_) => self.undecodable(),
            },
            Input::Advance(now) => self.pipeline.advance(now, out),
            Input::Lost(lost) => self.lost(lost),
            Input::Suppressed(suppressed) => {
                self.pipeline.note_suppressed(self.newest, suppressed);
            }
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
                self.refused(now, &refused, finish, out);
            }
            Input::Rest => self.pipeline.rest(),
            Input::Finish => self.pipeline.finish(out),
        }
        self.note_verdicts(out.get(before..).unwrap_or_default());
    }

    /// What bytes of the kernel say; the first half of [`Input::Event`], for whoever has to ask the host before the second.
    pub fn decode(&self, bytes: &[u8]) -> Result<Event, DecodeError> {
        self.decoder.decode(bytes)
    }

    /// The second half of [`Input::Event`]: what [`Self::decode`] gave for `bytes`, and what the host knows about it.
    pub fn event(&mut self, bytes: &[u8], event: Event, facts: Facts, out: &mut Vec<Output>) {
        let before = out.len();
        self.decoded(bytes, event, facts, out);
        self.note_verdicts(out.get(before..).unwrap_or_default());
    }

    /// The second half of [`Input::Event`] where the first failed: it counts as lost.
    pub fn undecodable(&mut self) {
        self.undecodable += 1;
        self.lost(1);
    }

    fn decoded(&mut self, bytes: &[u8], event: Event, facts: Facts, out: &mut Vec<Output>) {
        self.newest = self.newest.max(event.time);
        self.note_cause(bytes, &event);
        self.pipeline.handle(event, facts, out);
    }

    fn lost(&mut self, lost: u64) {
        self.pipeline.note_loss(self.newest, lost);
    }

    fn refused(&mut self, now: BootTime, refused: &[Refused], finish: bool, out: &mut Vec<Output>) {
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
            let record = Pipeline::suppressed(&sum, names, &self.host);
            out.push(Output::Suppressed(Box::new(record)));
        }
        if !is_pending {
            self.inodes.clear();
        }
    }

    /// What sent resets of the event's class are, for the sums of those that are not described.
    fn note_cause(&mut self, bytes: &[u8], event: &Event) {
        if let Some(flood) = &mut self.flood
            && let Body::Sent(sent) = &event.body
            && let Some(class) = Decoder::class(bytes)
        {
            let cause = rules::of_sent(sent).cause;
            flood.described(class, cause, event.time);
        }
    }

    /// The same of what was judged.
    fn note_verdicts(&mut self, outputs: &[Output]) {
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

    /// When something will be due next. Before that [`Input::Advance`] changes nothing.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.pipeline.next_deadline()
    }

    /// Resets that are not judged yet, and records that wait for their turn.
    pub fn open(&self) -> usize {
        self.pipeline.open()
    }

    /// What could not be done here; what only others know is left at 0.
    pub fn shortfalls(&self) -> Shortfalls {
        let counters = self.pipeline.counters();
        Shortfalls {
            undecodable: self.undecodable,
            judged_early: counters.flushed_early,
            ambiguous: counters.ambiguous,
            ..Shortfalls::default()
        }
    }

    /// How full the tables are.
    pub fn tables(&self) -> impl Iterator<Item = TableVitals> {
        self.pipeline.tables()
    }

    /// Timeouts that the resets so far have shown, each as a sentence.
    pub fn lessons(&self) -> Vec<String> {
        self.pipeline.lessons().iter().map(path_lesson).collect()
    }

    /// Events that came in, by kind.
    pub fn counted(&self) -> Counted {
        let counters = self.pipeline.counters();
        Counted {
            sent: counters.sent_events,
            received: counters.received_events,
            packets: counters.packet_events,
            timed_out: counters.timed_out_events,
        }
    }
}

/// Events that reached the pipeline, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
