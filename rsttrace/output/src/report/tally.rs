//! Resets by severity, and the most frequent causes, processes and peers.

use crate::summary::tally;

/// Resets of each severity, worst first.
pub(super) type Counts = [u64; 3];

pub(super) type Tally<K> = tally::Tally<K, 3, 8192>;

pub(super) fn total(counts: Counts) -> u64 {
    counts.iter().fold(0, |sum, more| sum.saturating_add(*more))
}
