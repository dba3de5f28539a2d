//! Most frequent keys in bounded memory.

use std::borrow::Borrow;
use std::hash::Hash;

use crate::hash::HashMap;

/// Counts by key, each in `N` columns. Keys that are twice as many as `KEPT` become `KEPT`: the rare ones are forgotten and
/// their numbers go to the others, so the total stays right and each count is a lower bound.
#[derive(Clone, Debug)]
pub struct Tally<K, const N: usize, const KEPT: usize> {
    counts: HashMap<K, [u64; N]>,
    total: [u64; N],
}

impl<K, const N: usize, const KEPT: usize> Default for Tally<K, N, KEPT> {
    fn default() -> Self {
        Self {
            counts: HashMap::default(),
            total: [0; N],
        }
    }
}

impl<K: Clone + Eq + Hash + Ord, const N: usize, const KEPT: usize> Tally<K, N, KEPT> {
    /// One more of `key` in a column.
    pub fn add<Q>(&mut self, key: &Q, column: usize)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.total[column] += 1;
        if let Some(counts) = self.counts.get_mut(key) {
            counts[column] += 1;
            return;
        }
        let mut counts = [0; N];
        counts[column] = 1;
        self.counts.insert(key.to_owned(), counts);
        if self.counts.len() >= 2 * KEPT {
            let kept = self.sorted().into_iter().take(KEPT);
            self.counts = kept.map(|(key, counts)| (key.clone(), counts)).collect();
        }
    }

    /// All that was counted, by column.
    pub fn total(&self) -> [u64; N] {
        self.total
    }

    /// The `most` frequent, and how many belong to none of them.
    pub fn top(&self, most: usize) -> (Vec<(&K, [u64; N])>, [u64; N]) {
        let mut top = self.sorted();
        top.truncate(most);
        let mut others = self.total;
        for (_, counts) in &top {
            for (others, shown) in others.iter_mut().zip(counts) {
                *others -= shown;
            }
        }
        (top, others)
    }

    fn sorted(&self) -> Vec<(&K, [u64; N])> {
        let mut all: Vec<_> = self.counts.iter().map(|(key, it)| (key, *it)).collect();
        let sum = |counts: &[u64; N]| counts.iter().sum::<u64>();
        all.sort_by(|a, b| sum(&b.1).cmp(&sum(&a.1)).then_with(|| a.0.cmp(b.0)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_counted_with_the_others() {
        let mut tally = Tally::<String, 2, 8>::default();
        for (key, column) in [("b", 0), ("a", 1), ("c", 0), ("a", 0)] {
            tally.add(key, column);
        }
        let (top, others) = tally.top(2);
        assert_eq!(top, [(&"a".into(), [1, 1]), (&"b".into(), [1, 0])]);
        assert_eq!((others, tally.total()), ([1, 0], [3, 1]));
    }

    #[test]
    fn a_flood_of_keys_keeps_the_frequent_ones_and_the_total() {
        let mut tally = Tally::<u32, 1, 1024>::default();
        for number in 0..100_000 {
            tally.add(&number, 0);
            tally.add(&7, 0);
        }
        assert!(tally.counts.len() < 2048);
        let (top, others) = tally.top(1);
        assert_eq!(top, [(&7, [100_001])]);
        assert_eq!(others, [99_999]);
    }
}
