//! From raw events to the engine, with host facts, and to the recorder.

use std::collections::BTreeMap;

use log::{debug, warn};
use tokio::time::Instant;

use super::recorder::{Recorded, Recorder};
use crate::engine::{Engine, Input};
use crate::event::{BootTime, HostContext, NetnsCookie};
use crate::flood::{Kind, Refused, Suppressed};
use crate::host::full::Full;
use crate::host::{Enricher, NetnsNames};
use crate::recording::End;
use crate::self_stats::{Shortfalls, TableVitals};
use crate::sys;

/// The engine, what the host adds to its events, and the recording of both.
pub struct Intake<N> {
    pub engine: Engine,
    enricher: Enricher<N>,
    recorder: Option<Recorder>,
    undecodable: bool,
}

impl<N: NetnsNames> Intake<N> {
    pub fn new(engine: Engine, enricher: Enricher<N>, recorder: Option<Recorder>) -> Self {
        Self {
            engine,
            enricher,
            recorder,
            undecodable: false,
        }
    }

    /// Takes in one event as it came from the kernel. `read_losses` is called before resets are judged because of it.
    pub fn event(&mut self, bytes: &[u8], read_losses: impl FnOnce(&mut Self)) {
        let (decoded, facts) = match self.engine.decode(bytes) {
            Ok(event) => {
                if self.engine.settles(event.time) {
                    read_losses(self);
                }
                let mut facts = self.enricher.facts(&event);
                for finding in self.enricher.network(&event, &mut facts) {
                    self.push(Input::Found(finding));
                }
                (Some(event), facts)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.undecodable, true) {
                    warn!(
                        "cannot decode a kernel event, counted as lost: {error}; please report this with the output of `rsttrace doctor`"
                    );
                }
                debug!("cannot decode a kernel event: {error}");
                (None, HostContext::default())
            }
        };
        self.take_timers();
        self.push(Input::Event {
            bytes,
            decoded,
            facts,
        });
    }

    /// Takes in what counters of the host say.
    pub fn full(&mut self, full: Full) {
        match full {
            Full::Queue(queue, holder) => {
                let facts = self.enricher.listener(&queue, holder);
                self.push(Input::QueueFull { queue, facts });
            }
            Full::Table(table) => self.push(Input::TableFull(table)),
        }
    }

    /// What configurations of processes say, as far as they have been read.
    fn take_timers(&mut self) {
        while let Some(timers) = self.enricher.timers() {
            self.push(Input::Timers(timers));
        }
    }

    pub fn push(&mut self, input: Input<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&input);
        }
        self.engine.push(input);
    }

    /// Nothing was counted without being described until then.
    pub fn flood_rests(&mut self, now: BootTime) {
        if self.engine.knows_floods() {
            self.push(Input::FloodRests(now));
        }
    }

    /// Takes in what was counted without being described; `finish`: nothing will follow. Whether something is held back.
    pub fn refused(&mut self, now: BootTime, refused: Vec<Refused>, finish: bool) -> bool {
        if !self.engine.knows_floods() {
            return false;
        }
        let cookies = refused.iter().filter_map(|refused| match refused.kind {
            Kind::Bucket(key) => Some((NetnsCookie(key.netns_cookie), ())),
            Kind::Class(_) | Kind::Unclear => None,
        });
        let cookies: BTreeMap<_, _> = cookies.collect();
        let inode = |cookie| Some((cookie, self.enricher.inode(cookie)?));
        let namespaces = cookies.into_keys().filter_map(inode).collect();
        self.push(Input::Refused {
            now,
            refused,
            namespaces,
            finish,
        });
        self.engine.holds_sums()
    }

    /// Observations around the newest event were counted and not described.
    pub fn note_suppressed(&mut self, suppressed: Suppressed) {
        if suppressed != Suppressed::default() {
            self.push(Input::Suppressed(suppressed));
        }
    }

    /// Has the engine give out what is due at `now`.
    pub fn advance(&mut self, now: BootTime) {
        if self.engine.deadline().is_some_and(|due| due <= now) {
            self.take_timers();
            self.push(Input::Advance(now));
        }
    }

    /// Gives back the memory that a flood took. To be asked while nothing happens.
    pub fn rest(&mut self) {
        self.push(Input::Rest);
        sys::give_back_memory();
    }

    /// When [`Self::flush`] is due; absent while nothing waits.
    pub fn flush_due(&self) -> Option<Instant> {
        self.recorder.as_ref().and_then(Recorder::due)
    }

    /// Writes what has waited long enough to be recorded.
    pub fn flush(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.flush();
        }
    }

    /// Ends the recording, if there is one.
    pub fn end_recording(&mut self, end: &End) -> Option<Recorded> {
        self.recorder.take().map(|recorder| recorder.finish(end))
    }

    /// What could not be done on this side of the ring; what the kernel side could not do is left at 0.
    pub fn shortfalls(&self) -> Shortfalls {
        Shortfalls {
            holders_not_asked: self.enricher.holders_not_asked(),
            network_not_asked: self.enricher.network_not_asked(),
            ..self.engine.stats().shortfalls
        }
    }

    /// How full the tables are.
    pub fn tables(&self) -> Vec<TableVitals> {
        let mut tables: Vec<TableVitals> = self.enricher.tables().into();
        tables.extend(self.engine.stats().tables);
        tables
    }
}
