//! Distribution of idle times before resets, and matching timeouts.
//!
//! Buckets are of about equal width on a logarithmic scale, named by times that people set. Each begins 3 % before its name, so
//! that resets at a timeout of five minutes are in one bucket although some came at 299.9 s and some at 300.1 s.

use super::leg::Leg;
use crate::hash::{self, LruCache};
use crate::record::{Basis, Cause, Record, Word};

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
    /// The timeouts that resets name, the shortest first.
    pub timeouts: Vec<Timeout>,
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
    pub count: u64,
    /// How many of them came before what is called an idle timeout.
    pub idle: u64,
    /// The timeouts in it, those that most records name first.
    pub marks: Vec<Mark>,
}

/// A timeout, with all devices and settings that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeout {
    /// Seconds: the setting, else the learned value.
    pub seconds: f64,
    /// How many resets name it, each counted once.
    pub resets: u64,
    pub marks: Vec<Mark>,
}

/// A timeout that records name.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The timeout, seconds.
    pub timeout: f64,
    /// Whose: a device, or how it was learned.
    pub label: Word,
    pub source: Source,
    /// How many resets name it.
    pub records: u64,
    /// The most resets that it was learned from; 0 if it was not.
    pub samples: u64,
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

/// Counts idle times: each reset once, from the first record of its ends.
#[derive(Clone, Debug)]
pub struct Counter {
    counts: [u64; NAMES.len()],
    idle: [u64; NAMES.len()],
    timeouts: Vec<Timeout>,
    marks: usize,
    counted: LruCache<Leg, ()>,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            counts: [0; NAMES.len()],
            idle: [0; NAMES.len()],
            timeouts: Vec::new(),
            marks: 0,
            counted: hash::lru(MOST_OPEN),
        }
    }
}

/// Timeouts that are distinguished; further ones are left out.
const MOST_MARKS: usize = 256;
/// Resets whose other ends may still come.
const MOST_OPEN: usize = 8_192;

impl Counter {
    /// A silence, seconds; what is no length of time is left out.
    pub fn silence(&mut self, seconds: f64, is_idle: bool) {
        if let Some(at) = bucket_of(seconds) {
            self.counts[at] += 1;
            self.idle[at] += u64::from(is_idle);
        }
    }

    /// Counts the idle time before a reset, and the timeouts of its record. Returns false if the idle time is not known, or if
    /// another end of the reset was counted before.
    pub fn record(&mut self, record: &Record) -> bool {
        let Some((idle, quiet)) = record
            .idle
            .as_ref()
            .and_then(|idle| Some((idle, idle.quiet_before?)))
        else {
            return false;
        };
        if !self.is_new(record) {
            return false;
        }
        self.silence(quiet, record.verdict.cause == Cause::IdleTimeout);
        let mut named = Vec::new();
        if let Some(learned) = &idle.learned {
            let label = Word::new_static("learned");
            self.named(
                (learned.timeout, &label, Source::Learned),
                learned.samples,
                &mut named,
            );
        }
        for candidate in &idle.candidates {
            let source = match candidate.basis {
                Basis::Known => Source::Known,
                Basis::Configured => Source::Configured,
                Basis::Host => Source::Host,
            };
            self.named(
                (candidate.timeout, &candidate.device, source),
                0,
                &mut named,
            );
        }
        true
    }

    fn is_new(&mut self, record: &Record) -> bool {
        let Some(leg) = Leg::of(record) else {
            return true;
        };
        let is_new = !self.counted.contains(&leg);
        if is_new {
            self.counted.put(leg, ());
        }
        is_new
    }

    /// A timeout, seconds, that a reset names.
    pub fn timeout(&mut self, seconds: f64, label: &Word, source: Source) {
        self.named((seconds, label, source), 0, &mut Vec::new());
    }

    /// `named`: what the same reset has named so far.
    fn named(
        &mut self,
        (seconds, label, source): (f64, &Word, Source),
        samples: u64,
        named: &mut Vec<(usize, usize)>,
    ) {
        if !seconds.is_finite() || bucket_of(seconds).is_none() {
            return;
        }
        // Learned ones differ by fractions of a second from record to record.
        let near = |other: &Timeout| {
            (other.seconds - seconds).abs() <= (other.seconds * 0.01).max(seconds.min(0.25))
        };
        let (at, index) = match self.timeouts.iter().position(near) {
            Some(at) => {
                let marks = &self.timeouts[at].marks;
                let same = |mark: &Mark| mark.label == *label && mark.source == source;
                (at, marks.iter().position(same))
            }
            None => (self.timeouts.len(), None),
        };
        if index.is_none() && self.marks >= MOST_MARKS {
            return;
        }
        if at == self.timeouts.len() {
            self.timeouts.push(Timeout {
                seconds,
                resets: 0,
                marks: Vec::new(),
            });
        }
        let timeout = &mut self.timeouts[at];
        let index = index.unwrap_or_else(|| {
            self.marks += 1;
            timeout.marks.push(Mark {
                timeout: seconds,
                label: label.clone(),
                source,
                records: 0,
                samples: 0,
            });
            timeout.marks.len() - 1
        });
        if !named.iter().any(|(known, _)| *known == at) {
            timeout.resets += 1;
        }
        let mark = &mut timeout.marks[index];
        mark.samples = mark.samples.max(samples);
        if !named.contains(&(at, index)) {
            mark.records += 1;
            named.push((at, index));
        }
    }

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
                idle: self.idle[at],
                marks: Vec::new(),
            })
            .collect();
        let mut timeouts = self.timeouts.clone();
        for timeout in &mut timeouts {
            timeout.marks.sort_by(order);
            // The setting takes precedence over the learned value.
            let set = timeout.marks.iter().find(|it| it.source != Source::Learned);
            if let Some(mark) = set.or(timeout.marks.first()) {
                timeout.seconds = mark.timeout;
            }
            for mark in &timeout.marks {
                let at = bucket_of(mark.timeout).unwrap_or(0);
                buckets[at].marks.push(mark.clone());
            }
        }
        timeouts.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        for bucket in &mut buckets {
            bucket.marks.sort_by(order);
        }
        let used = |bucket: &Bucket| bucket.count > 0 || !bucket.marks.is_empty();
        let first = buckets.iter().position(used).unwrap_or(0);
        let last = buckets.iter().rposition(used).unwrap_or(0);
        Histogram {
            buckets: buckets.drain(first..=last).collect(),
            timeouts,
        }
    }
}

fn order(a: &Mark, b: &Mark) -> std::cmp::Ordering {
    a.source
        .cmp(&b.source)
        .then(b.records.cmp(&a.records))
        .then(a.timeout.total_cmp(&b.timeout))
        .then(a.label.cmp(&b.label))
}

impl Histogram {
    pub fn total(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The place of a length of time where buckets stand side by side: 0 where the first begins, 1 where the last ends; `None` beside them.
    pub fn place(&self, seconds: f64) -> Option<f64> {
        let holds = |bucket: &Bucket| bucket.from <= seconds && seconds < bucket.to;
        let at = self.buckets.iter().position(holds)?;
        let Bucket { from, to, .. } = self.buckets[at];
        // The last bucket has no end.
        let part = if to.is_finite() {
            (seconds - from) / (to - from)
        } else {
            0.5
        };
        Some((at as f64 + part) / self.buckets.len() as f64)
    }
}

/// What to call a length of time that people set: `0`, `3 ms`, `7.5 s`, `5 min`, `350 s`, `2 h`.
pub fn name(seconds: f64) -> String {
    let whole = |part: f64| (seconds / part).fract() == 0.0;
    match seconds {
        0.0 => "0".to_owned(),
        _ if seconds < 0.1 => format!("{} ms", (seconds * 1_000.0).round()),
        _ if seconds >= 3_600.0 && whole(3_600.0) => format!("{} h", seconds / 3_600.0),
        _ if seconds >= 60.0 && whole(60.0) => format!("{} min", seconds / 60.0),
        _ => format!("{seconds} s"),
    }
}

/// As precisely as a timeout is worth telling: whole seconds where there are many, else tenths.
pub fn rounded(seconds: f64) -> f64 {
    if seconds >= 10.0 {
        seconds.round()
    } else if seconds >= 0.1 {
        (seconds * 10.0).round() / 10.0
    } else {
        seconds
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
    use crate::record::{Link, LinkRole};

    fn histogram(silences: &[f64]) -> Histogram {
        let mut counter = Counter::default();
        silences
            .iter()
            .for_each(|silence| counter.silence(*silence, false));
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
            "../../../tests/data/records/idle_timeout_middlebox.json"
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

    fn idle(number: u64) -> Record {
        let text = include_str!("../../../tests/data/records/idle_timeout_middlebox.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        record.id.number = number;
        record
    }

    #[test]
    fn both_ends_of_a_reset_are_one_silence() {
        let mut sent = idle(1);
        sent.link = Some(Link {
            id: 7,
            role: LinkRole::Sender,
        });
        let mut received = sent.clone();
        received.id.number = 2;
        std::mem::swap(&mut received.local, &mut received.remote);
        received.link = Some(Link {
            id: 7,
            role: LinkRole::Receiver,
        });
        let mut counter = Counter::default();
        assert!(counter.record(&sent));
        assert!(!counter.record(&received));
        assert_eq!(counter.histogram().total(), 1);
        // Another connection of the same chain is another reset.
        received.remote.port = 9;
        counter.record(&received);
        assert_eq!(counter.histogram().total(), 2);
    }

    #[test]
    fn learned_timeouts_that_differ_by_a_percent_are_one() {
        let mut counter = Counter::default();
        for timeout in [300.0, 299.8, 301.2, 300.4] {
            let mut record = idle(1);
            let idle = record.idle.as_mut().unwrap();
            idle.candidates.clear();
            idle.learned.as_mut().unwrap().timeout = timeout;
            counter.record(&record);
        }
        let found = counter.histogram();
        assert_eq!(found.timeouts.len(), 1);
        assert_eq!(found.timeouts[0].resets, 4);
    }

    #[test]
    fn a_reset_that_names_a_timeout_twice_is_counted_once() {
        let record = idle(1);
        let idle = record.idle.as_ref().unwrap();
        assert!(idle.learned.is_some() && !idle.candidates.is_empty());
        let mut counter = Counter::default();
        counter.record(&record);
        let found = counter.histogram();
        assert!(found.timeouts.iter().any(|it| it.marks.len() > 1));
        assert!(found.timeouts.iter().all(|it| it.resets == 1), "{found:?}");
    }

    #[test]
    fn a_timeout_stands_in_the_bucket_that_counts_it() {
        let found = histogram(&[5.0, 300.0, 900.0]);
        let place = found.place(300.0).unwrap() * found.buckets.len() as f64;
        assert_eq!(found.buckets[place as usize].name, 300.0);
        assert_eq!(found.place(1e6), None);
    }

    #[test]
    fn numbers_that_are_no_times_do_no_harm() {
        for timeout in [f64::MAX, -1.0, f64::NAN, f64::INFINITY, 0.0] {
            let mut record = idle(1);
            let idle = record.idle.as_mut().unwrap();
            idle.quiet_before = Some(f64::MAX);
            idle.candidates[0].timeout = timeout;
            let mut counter = Counter::default();
            counter.record(&record);
            let found = counter.histogram();
            assert_eq!(found.total(), 1);
            let inside = found
                .timeouts
                .iter()
                .all(|it| found.place(it.seconds).is_some_and(|it| it <= 1.0));
            assert!(inside, "{found:?}");
        }
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
