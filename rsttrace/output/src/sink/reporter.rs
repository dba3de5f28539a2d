//! Filters, groups and counts records in front of a sink.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::Sink;
use crate::filter::Filter;
use crate::hash::{self, LruCache};
use crate::record::FailureRecord;
use crate::record::Output;
use crate::record::{Cause, Record, Severity, SuppressedRecord};
use crate::summary::{Summary, Totals, View};

/// Which records of those that the filter wants are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// One of each incident that harmed somebody.
    Incidents,
    /// All of these incidents.
    Resets,
    /// All.
    Noise,
}

/// The filter, the counter and the `--count` limit in front of a sink.
pub struct Reporter {
    sink: Box<dyn Sink + Send>,
    filter: Filter,
    shown: Shown,
    /// Incidents of which a record was shown.
    incidents: LruCache<u64, ()>,
    /// Records still to be shown; `None`: no end.
    left: Option<u64>,
    summary: Summary,
    is_detailed: bool,
}

impl Reporter {
    /// Shows what `filter` wants, at most `count` records.
    pub fn new(
        sink: Box<dyn Sink + Send>,
        filter: Filter,
        shown: Shown,
        count: Option<u64>,
    ) -> Self {
        Self {
            sink,
            filter,
            shown,
            incidents: hash::lru(MAX_INCIDENTS),
            left: count,
            summary: Summary::default(),
            is_detailed: false,
        }
    }

    /// The same, with all counts in the summary if `is_detailed`.
    #[must_use]
    pub fn with_details(mut self, is_detailed: bool) -> Self {
        self.is_detailed = is_detailed;
        self.summary = Summary::new(is_detailed);
        self
    }

    /// Shows what this filter wants from now on.
    pub fn select(&mut self, filter: Filter, shown: Shown) {
        self.filter = filter;
        self.shown = shown;
    }

    /// Whatever was judged. Breaks when it was the last one wanted.
    pub fn output(&mut self, now: Instant, output: &Output) -> io::Result<ControlFlow<()>> {
        match output {
            Output::Reset(record) => return self.record(now, record),
            Output::Failure(failure) => self.failure(now, failure)?,
            Output::Suppressed(sum) => self.suppressed(now, sum)?,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// An explained reset. Breaks when it was the last one wanted; those given after that are ignored.
    pub fn record(&mut self, now: Instant, record: &Record) -> io::Result<ControlFlow<()>> {
        if self.left == Some(0) {
            return Ok(ControlFlow::Break(()));
        }
        if !self.filter.matches(record) {
            self.summary.left_out();
            return Ok(ControlFlow::Continue(()));
        }
        let view = self.view(record);
        self.summary.record(record, view);
        if view == View::Hidden {
            return Ok(ControlFlow::Continue(()));
        }
        if let Some(incident) = &record.incident {
            self.incidents.put(incident.id, ());
        }
        self.sink.record(now, record)?;
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A failure without a reset. The limit is one of resets.
    pub fn failure(&mut self, now: Instant, failure: &FailureRecord) -> io::Result<()> {
        if self.left == Some(0) {
            return Ok(());
        }
        if !self.filter.matches_failure(failure) {
            self.summary.left_out();
            return Ok(());
        }
        let hidden = match self.shown {
            Shown::Incidents => failure.is_noise(),
            Shown::Resets => failure.impact() == Severity::Noise,
            Shown::Noise => false,
        };
        self.summary.failure(failure, hidden);
        if hidden {
            return Ok(());
        }
        if let Some(incident) = &failure.incident {
            self.incidents.put(incident.id, ());
        }
        self.sink.failure(now, failure)
    }

    /// A count of resets without details. It passes a filter on fields that it does not have.
    pub fn suppressed(&mut self, now: Instant, sum: &SuppressedRecord) -> io::Result<()> {
        let wanted = self.filter.may_match(sum);
        self.summary
            .suppressed(sum.count, wanted, self.filter.is_empty());
        let is_noise = sum.cause.is_some_and(is_always_noise) && self.shown != Shown::Noise;
        if !wanted || is_noise || self.left == Some(0) {
            return Ok(());
        }
        self.sink.suppressed(now, sum)
    }

    /// When [`Reporter::tick`] is due; `None` if nothing is held back.
    pub fn deadline(&self) -> Option<Instant> {
        self.sink.deadline()
    }

    /// Writes what was held back and is due, and hands it to the reader.
    pub fn tick(&mut self, now: Instant) -> io::Result<()> {
        self.sink.tick(now)?;
        self.sink.flush()
    }

    /// Hands everything written to its reader: after each batch.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// Shows a status after this time of tracing, with this many events lost, where the output has a place for one.
    pub fn status(&mut self, duration: Duration, lost: u64) -> io::Result<()> {
        let text = self.summary.status(duration, lost);
        self.sink.status(&text)
    }

    fn view(&self, record: &Record) -> View {
        if self.hides(record) {
            View::Hidden
        } else if self.shown == Shown::Incidents
            && record.verdict.severity == Severity::Noise
            && !record.is_correction()
        {
            View::ForIncident
        } else {
            View::Shown
        }
    }

    fn hides(&self, record: &Record) -> bool {
        match self.shown {
            Shown::Incidents => {
                record.is_noise(!self.filter.is_empty()) || self.is_shown_already(record)
            }
            Shown::Resets => record.impact() == Severity::Noise && !record.is_correction(),
            Shown::Noise => false,
        }
    }

    /// Another record speaks for the same incident.
    fn is_shown_already(&self, record: &Record) -> bool {
        let incident = record.incident.as_ref();
        record.verdict.severity == Severity::Noise
            && !record.is_correction()
            && incident.is_some_and(|incident| self.incidents.contains(&incident.id))
    }

    /// The summary counts only these, instead of everything so far: the same reset may have come several times.
    pub fn count_again(&mut self, records: &[Record]) {
        self.summary = Summary::new(self.is_detailed);
        for record in records {
            if self.filter.matches(record) {
                let view = self.view(record);
                self.summary.record(record, view);
            } else {
                self.summary.left_out();
            }
        }
    }

    /// The counts of what has come in this time, on one line.
    pub fn headline(&self, duration: Duration) -> String {
        self.summary.headline(duration)
    }

    /// The summary of what has come so far.
    pub fn so_far(&self, totals: Totals) -> String {
        let mut summary = self.summary.clone();
        summary.total(totals);
        summary.render()
    }

    /// Before the end: writes what was held back.
    pub fn end(&mut self) -> io::Result<()> {
        self.sink.end()
    }

    /// The end: what was held back, then the summary, which is printed even if the reader of the records has gone.
    pub fn finish(mut self, totals: Totals) -> io::Result<()> {
        self.summary.total(totals);
        self.sink.finish(&self.summary)
    }
}

/// Incidents that are remembered: other ends and legs follow at once.
const MAX_INCIDENTS: usize = 1_024;

/// Resets of such a cause never cost anybody anything.
fn is_always_noise(cause: Cause) -> bool {
    matches!(cause, Cause::BlindAttempt | Cause::LateSynack)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::filter::{Ports, Terms};

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<(usize, String)>>);

    impl Sink for Seen {
        fn record(&mut self, _: Instant, _: &Record) -> io::Result<()> {
            self.0.lock().unwrap().0 += 1;
            Ok(())
        }
        fn suppressed(&mut self, _: Instant, _: &SuppressedRecord) -> io::Result<()> {
            Ok(())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn finish(&mut self, summary: &Summary) -> io::Result<()> {
            self.0.lock().unwrap().1 = summary.render();
            Ok(())
        }
    }

    fn fault() -> Record {
        let text = include_str!("../../../tests/data/records/close_with_unread_data.json");
        serde_json::from_str(text).unwrap()
    }

    fn noise() -> Record {
        let mut record = fault();
        record.remote.port += 1;
        record.verdict.severity = Severity::Noise;
        record
    }

    #[test]
    fn noise_is_counted_and_not_shown() {
        let seen = Seen::default();
        let mut reporter = Reporter::new(
            Box::new(seen.clone()),
            Filter::default(),
            Shown::Incidents,
            Some(2),
        );
        let now = Instant::now();
        assert!(reporter.record(now, &noise()).unwrap().is_continue());
        assert!(reporter.record(now, &fault()).unwrap().is_continue());
        reporter.finish(Totals::default()).unwrap();
        let seen = seen.0.lock().unwrap();
        assert_eq!(seen.0, 1);
        assert!(seen.1.contains("2 resets"), "{}", seen.1);
        assert!(seen.1.contains("--noise"), "{}", seen.1);
    }

    #[test]
    fn the_count_is_of_shown_records_and_never_exceeded() {
        let seen = Seen::default();
        let mut reporter = Reporter::new(
            Box::new(seen.clone()),
            Filter::default(),
            Shown::Incidents,
            Some(2),
        );
        let now = Instant::now();
        assert!(reporter.record(now, &noise()).unwrap().is_continue());
        assert!(reporter.record(now, &fault()).unwrap().is_continue());
        assert!(reporter.record(now, &fault()).unwrap().is_break());
        assert!(reporter.record(now, &fault()).unwrap().is_break());
        assert_eq!(seen.0.lock().unwrap().0, 2);
    }

    #[test]
    fn an_incident_has_one_line_whichever_of_its_records_the_filter_wants() {
        use crate::record::{Incident, IncidentRole, Role};
        let record = |role, severity, name: &str| {
            let mut record = fault();
            record.verdict.severity = severity;
            record.incident = Some(Incident {
                id: 7,
                role,
                severity: Severity::Fault,
                further: None,
            });
            let mut process = record.process.take().unwrap();
            process.comm = name.into();
            process.exe = None;
            process.role = Role::Owner;
            record.process = Some(process);
            record
        };
        let records = [
            record(IncidentRole::First, Severity::Fault, "nginx"),
            record(IncidentRole::OtherEnd, Severity::Noise, "java"),
            record(IncidentRole::Leg, Severity::Noise, "java"),
            record(IncidentRole::Consequence, Severity::Noise, "java"),
            record(IncidentRole::Correction, Severity::Noise, "java"),
        ];
        let shown = |processes: &[&str], shown| {
            let seen = Seen::default();
            let only = Terms {
                processes: processes
                    .iter()
                    .map(|name| crate::filter::ProcessTerm::Name((*name).to_owned()))
                    .collect(),
                ..Terms::default()
            };
            let filter = Filter {
                only,
                ..Filter::default()
            };
            let mut reporter = Reporter::new(Box::new(seen.clone()), filter, shown, None);
            for record in &records {
                let _ = reporter.record(Instant::now(), record).unwrap();
            }
            let shown = seen.0.lock().unwrap().0;
            reporter.finish(Totals::default()).unwrap();
            let summary = &seen.0.lock().unwrap().1;
            assert!(summary.contains("1 fault"), "{summary}");
            assert!(summary.contains("findings, worst first"), "{summary}");
            shown
        };
        // The correction is always shown.
        assert_eq!(shown(&[], Shown::Incidents), 2);
        assert_eq!(shown(&["nginx"], Shown::Incidents), 1);
        assert_eq!(shown(&["java"], Shown::Incidents), 2);
        assert_eq!(shown(&["java", "nginx"], Shown::Incidents), 2);
        assert_eq!(shown(&[], Shown::Resets), 5);
    }

    #[test]
    fn what_is_left_out_by_a_filter_is_said() {
        let seen = Seen::default();
        let filter = Filter {
            only: Terms {
                ports: vec![Ports { first: 1, last: 1 }],
                ..Terms::default()
            },
            ..Filter::default()
        };
        let mut reporter = Reporter::new(Box::new(seen.clone()), filter, Shown::Incidents, None);
        let _ = reporter.record(Instant::now(), &fault()).unwrap();
        reporter.finish(Totals::default()).unwrap();
        let seen = seen.0.lock().unwrap();
        assert_eq!(seen.0, 0);
        assert!(seen.1.contains("1 more excluded"), "{}", seen.1);
    }

    #[test]
    fn sums_that_cannot_be_wanted_are_left_out() {
        let sum: SuppressedRecord =
            serde_json::from_str(include_str!("../../../tests/data/suppressed.json")).unwrap();
        let port = |port| Terms {
            ports: vec![Ports {
                first: port,
                last: port,
            }],
            ..Terms::default()
        };
        let network = |net: &str| Terms {
            addresses: vec![net.parse().unwrap()],
            ..Terms::default()
        };
        // (only, except, wanted)
        let cases = [
            (Terms::default(), Terms::default(), true),
            (port(9999), Terms::default(), true),
            (port(80), Terms::default(), false),
            (Terms::default(), port(9999), false),
            // A count does not have this end's address.
            (network("10.0.0.0/8"), Terms::default(), true),
            (Terms::default(), network("203.0.0.0/16"), false),
        ];
        for (only, except, wanted) in cases {
            let filter = Filter {
                only,
                except,
                ..Filter::default()
            };
            assert_eq!(filter.may_match(&sum), wanted, "{filter:?}");
        }
    }
}
