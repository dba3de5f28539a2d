//! From raw events to outputs: ask the host, keep what goes in if that is wanted, judge.

use std::collections::BTreeMap;

use log::{debug, warn};
use tokio::time::Instant;

use super::recorder::{Recorded, Recorder};
use crate::event::{BootTime, Facts, NetnsCookie};
use crate::flood::{Kind, Refused, Suppressed};
use crate::host::{Enricher, NetnsNames};
use crate::judge::{Counted, Input, Judge};
use crate::record::Output;
use crate::recording::End;
use crate::sys;
use crate::vitals::{Shortfalls, TableVitals};

/// Puts what the host knows beside each event; all else is judged as it comes.
pub struct Brain<N> {
    judge: Judge,
    enricher: Enricher<N>,
    recorder: Option<Recorder>,
    undecodable: bool,
}

impl<N: NetnsNames> Brain<N> {
    /// Puts the parts together.
    pub fn new(judge: Judge, enricher: Enricher<N>, recorder: Option<Recorder>) -> Self {
        Self {
            judge,
            enricher,
            recorder,
            undecodable: false,
        }
    }

    /// Takes in one event as it came from the kernel.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<Output>) {
        let decoded = self.judge.decode(bytes);
        let facts = match &decoded {
            Ok(event) => self.enricher.facts(event),
            Err(_) => Facts::default(),
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.event(bytes, &facts);
        }
        match decoded {
            Ok(event) => self.judge.event(bytes, event, facts, out),
            Err(error) => {
                if !std::mem::replace(&mut self.undecodable, true) {
                    warn!(
                        "cannot decode a kernel event, counted as lost: {error}; please report this with the output of `rsttrace doctor`"
                    );
                }
                debug!("cannot decode a kernel event: {error}");
                self.judge.undecodable();
            }
        }
    }

    /// Anything that is no event.
    fn give(&mut self, input: Input<'_>, out: &mut Vec<Output>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&input);
        }
        self.judge.take(input, out);
    }

    /// Nothing was counted without being described.
    pub fn flood_rests(&mut self, now: BootTime, out: &mut Vec<Output>) {
        if self.judge.knows_floods() {
            self.give(Input::FloodRests(now), out);
        }
    }

    /// Takes in what was counted without being described; `finish`: nothing will follow. Whether something is held back.
    pub fn refused(
        &mut self,
        now: BootTime,
        refused: Vec<Refused>,
        finish: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        if !self.judge.knows_floods() {
            return false;
        }
        let cookies = refused.iter().filter_map(|refused| match refused.kind {
            Kind::Bucket(key) => Some((NetnsCookie(key.netns_cookie), ())),
            Kind::Class(_) | Kind::Unclear => None,
        });
        let cookies: BTreeMap<_, _> = cookies.collect();
        let inode = |cookie| Some((cookie, self.enricher.inode(cookie)?));
        let namespaces = cookies.into_keys().filter_map(inode).collect();
        let input = Input::Refused {
            now,
            refused,
            namespaces,
            finish,
        };
        self.give(input, out);
        self.judge.holds_sums()
    }

    /// Observations around the newest event were counted and not described.
    pub fn note_suppressed(&mut self, suppressed: Suppressed, out: &mut Vec<Output>) {
        if suppressed != Suppressed::default() {
            self.give(Input::Suppressed(suppressed), out);
        }
    }

    /// The time of the newest event so far.
    pub fn newest(&self) -> BootTime {
        self.judge.newest()
    }

    /// Emits what is due at `now`.
    pub fn advance(&mut self, now: BootTime, out: &mut Vec<Output>) {
        if self.next_deadline().is_some_and(|due| due <= now) {
            self.give(Input::Advance(now), out);
        }
    }

    /// Emits all that is left.
    pub fn finish(&mut self, out: &mut Vec<Output>) {
        self.give(Input::Finish, out);
    }

    /// Gives back the memory that a flood took. To be asked while nothing happens.
    pub fn rest(&mut self, out: &mut Vec<Output>) {
        self.give(Input::Rest, out);
        sys::give_back_memory();
    }

    /// Events were lost around the newest one.
    pub fn note_loss(&mut self, lost: u64, out: &mut Vec<Output>) {
        self.give(Input::Lost(lost), out);
    }

    /// When something will be due next.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.judge.next_deadline()
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
            ..self.judge.shortfalls()
        }
    }

    /// How full the tables are.
    pub fn tables(&self) -> Vec<TableVitals> {
        let mut tables: Vec<TableVitals> = self.enricher.tables().into();
        tables.extend(self.judge.tables());
        tables
    }

    /// Name of a reason of the kernel's; absent if it gives none.
    pub fn reason(&self, number: u32) -> Option<String> {
        self.judge.reason(number)
    }

    /// Timeouts that the resets so far have shown, each as a sentence.
    pub fn lessons(&self) -> Vec<String> {
        self.judge.lessons()
    }

    /// Events that came in, by kind.
    pub fn counted(&self) -> Counted {
        self.judge.counted()
    }
}
