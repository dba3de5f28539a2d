//! Most frequent keys in bounded memory.

use std::borrow::Borrow;
use std::hash::Hash;

use crate::hash::HashMap;

/// Keys kept when there are twice as many.
const KEPT: usize = 1024;

/// Counts by key, of which the rare ones are forgotten when there are too many: their numbers go to the others, so the
/// total stays right and each count is a lower bound.
#[derive(Clone, Debug)]
pub(super) struct Tally<K> {
    counts: HashMap<K, u64>,
    /// All that was counted.
    pub total: u64,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self {
            counts: HashMap::default(),
            total: 0,
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Tally<K> {
    /// One more of `key`.
    pub fn add<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.total += 1;
        if let Some(count) = self.counts.get_mut(key) {
            *count += 1;
            return;
        }
        self.counts.insert(key.to_owned(), 1);
        if self.counts.len() >= 2 * KEPT {
            self.counts = self.sorted().into_iter().take(KEPT).collect();
        }
    }

    fn sorted(&self) -> Vec<(K, u64)> {
        let mut all: Vec<_> = self
            .counts
            .iter()
            .map(|(key, number)| (key.clone(), *number))
            .collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    /// The `most` frequent, and how many belong to none of them.
    pub fn top(&self, most: usize) -> (Vec<(K, u64)>, u64) {
        let mut top = self.sorted();
        top.truncate(most);
        let shown: u64 = top.iter().map(|(_, number)| number).sum();
        (top, self.total - shown)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_keys_keeps_the_frequent_ones_and_the_total() {
        let mut tally = Tally::default();
        for number in 0..100_000_u32 {
            tally.add(&number);
            tally.add(&7);
        }
        assert!(tally.counts.len() < 2 * KEPT);
        let (top, others) = tally.top(1);
        assert_eq!(top, [(7, 100_001)]);
        assert_eq!(others, 99_999);
    }
}
