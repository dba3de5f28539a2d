//! After which silences do resets come, and which timeouts are near?
//!
//! Buckets are of about equal width on a logarithmic scale, named by times that people set. Each begins 3 % before its name, so
//! that resets at a timeout of five minutes are in one bucket although some came at 299.9 s and some at 300.1 s.

use crate::record::{Basis, Record, Word};

/// Where buckets begin by name, seconds.
const NAMES: [f64; 30] = [
    0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0,
    60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 350.0, 450.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0,
];

/// Part of its name that a bucket begins before it.
const EARLY: f64 = 0.03;

/// Silences by length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The shortest silences first, without gaps, from the first bucket with a silence or a mark to the last; empty without any silence.
    pub buckets: Vec<Bucket>,
}

/// Silences of about one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    /// What to call it: seconds, a round number.
    pub name: f64,
    /// From here on, seconds.
    pub from: f64,
    /// To here, seconds, not included; infinite for the last there is.
    pub to: f64,
    /// How many.
    pub count: u64,
    /// The timeouts in it, those that most records name first.
    pub marks: Vec<Mark>,
}

/// A timeout that records name.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The timeout, seconds.
    pub timeout: f64,
    /// Whose: a device, or how it was learned.
    pub label: Word,
    /// How it is known.
    pub source: Source,
    /// How many records name it.
    pub records: u64,
}

/// How a timeout is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// From resets of the same path.
    Learned,
    /// The configuration file names it.
    Configured,
    /// A setting of this host.
    Host,
    /// A device of that kind has it by default.
    Known,
}

/// Counts silences as they come.
#[derive(Clone, Debug)]
pub struct Counter {
    counts: [u64; NAMES.len()],
    marks: Vec<Mark>,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            counts: [0; NAMES.len()],
            marks: Vec::new(),
        }
    }
}

/// Timeouts that are told apart; further ones are left out.
const MOST_MARKS: usize = 256;

impl Counter {
    /// A silence, seconds; what is no length of time is left out.
    pub fn silence(&mut self, seconds: f64) {
        if let Some(count) = bucket_of(seconds).and_then(|at| self.counts.get_mut(at)) {
            *count += 1;
        }
    }

    /// A timeout, seconds, that a record names.
    pub fn timeout(&mut self, timeout: f64, label: &Word, source: Source) {
        if bucket_of(timeout).is_none() {
            return;
        }
        // Learned ones differ by fractions of a second from record to record.
        let same = |mark: &Mark| {
            mark.label == *label
                && mark.source == source
                && (mark.timeout - timeout).abs() <= (timeout * 0.01).max(0.25)
        };
        if let Some(at) = self.marks.iter().position(same) {
            self.marks[at].records += 1;
        } else if self.marks.len() < MOST_MARKS {
            self.marks.push(Mark {
                timeout,
                label: label.clone(),
                source,
                records: 1,
            });
        }
    }

    /// The silence before a reset and the timeouts that it names; nothing if the silence is not known.
    pub fn record(&mut self, record: &Record) {
        let Some(idle) = &record.idle else { return };
        let Some(quiet) = idle.quiet_before else {
            return;
        };
        self.silence(quiet);
        if let Some(learned) = &idle.learned {
            self.timeout(
                learned.timeout,
                &Word::new_static("learned"),
                Source::Learned,
            );
        }
        for candidate in &idle.candidates {
            let source = match candidate.basis {
                Basis::Known => Source::Known,
                Basis::Configured => Source::Configured,
                Basis::Host => Source::Host,
            };
            self.timeout(candidate.timeout, &candidate.device, source);
        }
    }

    /// What was counted.
    pub fn histogram(&self) -> Histogram {
        if self.counts.iter().all(|count| *count == 0) {
            return Histogram::default();
        }
        let mut buckets: Vec<Bucket> = (0..NAMES.len())
            .map(|at| Bucket {
                name: NAMES[at],
                from: begin(at),
                to: begin(at + 1),
                count: self.counts[at],
                marks: Vec::new(),
            })
            .collect();
        for mark in &self.marks {
            let at = bucket_of(mark.timeout).unwrap_or(0);
            buckets[at].marks.push(mark.clone());
        }
        for bucket in &mut buckets {
            bucket.marks.sort_by(|a, b| {
                a.source
                    .cmp(&b.source)
                    .then(b.records.cmp(&a.records))
                    .then(a.timeout.total_cmp(&b.timeout))
                    .then(a.label.cmp(&b.label))
            });
        }
        let used = |bucket: &Bucket| bucket.count > 0 || !bucket.marks.is_empty();
        let first = buckets.iter().position(used).unwrap_or(0);
        let last = buckets.iter().rposition(used).unwrap_or(0);
        Histogram {
            buckets: buckets.drain(first..=last).collect(),
        }
    }
}

/// Where a bucket begins, seconds.
fn begin(at: usize) -> f64 {
    NAMES
        .get(at)
        .map_or(f64::INFINITY, |name| name * (1.0 - EARLY))
}

/// `None`: no length of time.
fn bucket_of(seconds: f64) -> Option<usize> {
    (seconds >= 0.0).then(|| (0..NAMES.len()).rfind(|at| begin(*at) <= seconds))?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(silences: &[f64]) -> Histogram {
        let mut counter = Counter::default();
        silences
            .iter()
            .for_each(|silence| counter.silence(*silence));
        counter.histogram()
    }

    #[test]
    fn resets_at_one_timeout_are_in_one_bucket() {
        for timeout in [60.0, 300.0, 350.0, 900.0, 3_600.0] {
            let found = histogram(&[
                timeout * 0.99,
                timeout - 0.1,
                timeout,
                timeout + 0.1,
                timeout * 1.01,
            ]);
            assert_eq!(found.buckets.len(), 1, "{timeout}");
            assert_eq!(found.buckets[0].name, timeout);
        }
        assert_eq!(histogram(&[300.0, 350.0]).buckets.len(), 2);
    }

    #[test]
    fn there_are_no_gaps_and_nothing_around() {
        let found = histogram(&[59.0, 300.0]);
        let names: Vec<_> = found.buckets.iter().map(|bucket| bucket.name).collect();
        assert_eq!(names, [60.0, 90.0, 120.0, 180.0, 240.0, 300.0]);
        assert_eq!(histogram(&[]).buckets, []);
    }

    #[test]
    fn a_record_marks_what_it_names() {
        let record: Record = serde_json::from_str(include_str!(
            "../../tests/data/records/idle_timeout_middlebox.json"
        ))
        .unwrap();
        let mut counter = Counter::default();
        counter.record(&record);
        counter.record(&record);
        let found = counter.histogram();
        let marks: Vec<_> = found
            .buckets
            .iter()
            .flat_map(|bucket| &bucket.marks)
            .collect();
        assert!(!marks.is_empty());
        assert!(marks.iter().all(|mark| mark.records == 2), "{marks:?}");
    }

    #[test]
    fn what_is_no_time_is_left_out() {
        assert_eq!(histogram(&[-1.0, f64::NAN]).buckets, []);
        assert_eq!(histogram(&[f64::INFINITY, 1e300]).buckets[0].count, 2);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_between_buckets(silences in prop::collection::vec(0.0_f64..1e6, 0..50)) {
            let found = histogram(&silences);
            let total: u64 = found.buckets.iter().map(|bucket| bucket.count).sum();
            prop_assert_eq!(total as usize, silences.len());
            for pair in found.buckets.windows(2) {
                prop_assert_eq!(pair[0].to, pair[1].from);
            }
        }
    }
}
