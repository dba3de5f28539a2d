//! Where an entry is in a table of slots, for both sides: the programs write it, user space looks it up.

/// Odd, its bits evenly mixed (2^64 divided by the golden ratio).
pub const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes one more word into a hash.
#[inline(always)]
pub const fn step(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 29)
}

/// The slot of a hash in a table of so many slots, a power of two. Where a key has two slots, the other is the neighbor
/// (`index ^ 1`).
#[inline(always)]
pub const fn index_of(hash: u64, slots: u32) -> u32 {
    (hash >> 32) as u32 & slots.wrapping_sub(1)
}

/// The hash of a key's words, and the checksum of an entry if continued over its value's words with [`check_of`].
pub fn hash_of(key: &[u64]) -> u64 {
    mix(MULTIPLIER, key)
}

/// The checksum of an entry: never 0, which stands for an empty slot.
pub fn check_of(hash: u64, value: &[u64]) -> u64 {
    mix(hash, value) | 1
}

/// In two lanes, as each step waits for the one before it.
fn mix(hash: u64, words: &[u64]) -> u64 {
    let (mut even, mut odd) = (hash, !hash);
    let mut pairs = words.chunks_exact(2);
    for pair in &mut pairs {
        even = step(even, pair[0]);
        odd = step(odd, pair[1]);
    }
    if let [last] = pairs.remainder() {
        even = step(even, *last);
    }
    step(even, odd)
}
