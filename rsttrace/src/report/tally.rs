//! Most frequent causes, processes and peers in bounded memory.

use std::collections::BTreeMap;

use crate::record::Severity;

/// Resets of each severity, worst first.
pub(super) type Counts = [u64; 3];

/// The place of a severity in [`Counts`].
pub(super) fn rank(severity: Severity) -> usize {
    match severity {
        Severity::Fault => 0,
        Severity::Refused => 1,
        Severity::Noise => 2,
    }
}

/// Names in one table; those that come later are put together.
const MOST: usize = 16_384;

/// Counts by name.
#[derive(Clone, Debug)]
pub(super) struct Tally<K> {
    counts: BTreeMap<K, Counts>,
    others: Counts,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            others: Counts::default(),
        }
    }
}

impl<K: Ord + Clone> Tally<K> {
    /// One more.
    pub fn add(&mut self, key: K, severity: Severity) {
        let full = self.counts.len() >= MOST;
        let counts = if full && !self.counts.contains_key(&key) {
            &mut self.others
        } else {
            self.counts.entry(key).or_default()
        };
        counts[rank(severity)] += 1;
    }

    /// Those with most, and all the others together.
    pub fn top(&self, number: usize) -> (Vec<(&K, Counts)>, Counts) {
        let mut all: Vec<_> = self.counts.iter().map(|(key, it)| (key, *it)).collect();
        all.sort_by(|a, b| total(b.1).cmp(&total(a.1)).then_with(|| a.0.cmp(b.0)));
        let mut others = self.others;
        for (_, counts) in all.drain(number.min(all.len())..) {
            add(&mut others, counts);
        }
        (all, others)
    }
}

/// All severities.
pub(super) fn total(counts: Counts) -> u64 {
    counts.iter().fold(0, |sum, more| sum.saturating_add(*more))
}

pub(super) fn add(sum: &mut Counts, more: Counts) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_counted_with_the_others() {
        let mut tally = Tally::default();
        for key in ["b", "a", "c", "a"] {
            tally.add(key, Severity::Fault);
        }
        let (top, others) = tally.top(2);
        assert_eq!(top, [(&"a", [2, 0, 0]), (&"b", [1, 0, 0])]);
        assert_eq!(others, [1, 0, 0]);
    }
}
