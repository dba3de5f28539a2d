//! Hash function of tables that every event uses.
//!
//! One that is fast and still keyed: addresses and ports come from the network, and nobody there can know which of them
//! would meet in one place, since the keys are drawn at each start.

use std::hash::Hash;
use std::num::NonZeroUsize;

/// See the module.
pub use ahash::RandomState;

/// A table with it.
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A table with it that holds a limited number of entries: when full, the least recently used one goes.
pub type LruCache<K, V> = lru::LruCache<K, V, RandomState>;

/// An empty [`LruCache`] for at most `entries`, at least one; it takes memory as they come.
pub fn lru<K: Eq + Hash, V>(entries: usize) -> LruCache<K, V> {
    let mut cache = LruCache::unbounded_with_hasher(RandomState::default());
    cache.resize(NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN));
    cache
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_in_use_survive_a_flood_of_others() {
        let mut cache = lru(8);
        cache.put(0, "kept");
        for key in 1..1000 {
            cache.put(key, "flood");
            assert_eq!(cache.get(&0), Some(&"kept"));
            assert!(cache.len() <= 8);
        }
        assert_eq!(cache.get(&1), None);
    }
}
