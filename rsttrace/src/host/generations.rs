//! Bounded map that drops entries not used recently.

use std::hash::Hash;

use crate::hash::HashMap;

/// Two generations: entries in use move to the young one; when that is full, the old one is dropped.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Of one generation.
    limit: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// A map of at most `capacity` entries, at least 2.
    pub fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            limit: (capacity / 2).max(1),
        }
    }

    /// The entry, which counts as a use of it.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get(key)
    }

    /// Adds or replaces an entry.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.limit && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn entries_in_use_survive_a_flood_of_others() {
        let mut map = Generations::new(8);
        map.insert(0, "kept");
        for key in 1..1000 {
            map.insert(key, "flood");
            assert_eq!(map.get(&0), Some(&"kept"));
            assert!(map.len() <= 8);
        }
        assert_eq!(map.get(&1), None);
    }
}
