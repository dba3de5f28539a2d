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

/// The hash of a key's words, by which an entry knows whose it is: two keys of one hash, of 64 bits, are not expected.
pub fn hash_of(key: &[u64]) -> u64 {
    let mut sum = Sum::new(MULTIPLIER);
    key.iter()
        .enumerate()
        .for_each(|(i, word)| sum.add(i, *word));
    sum.hash()
}

/// The checksum of an entry with this hash.
pub fn check_of(hash: u64, value: &[u64]) -> u64 {
    let mut sum = Sum::new(hash);
    value
        .iter()
        .enumerate()
        .for_each(|(i, word)| sum.add(i, *word));
    sum.check()
}

/// A sum over words, in two lanes, as each step waits for the one before it.
#[derive(Clone, Copy)]
pub struct Sum {
    even: u64,
    odd: u64,
}

impl Sum {
    /// That continues a hash.
    #[inline(always)]
    pub const fn new(hash: u64) -> Self {
        Self {
            even: hash,
            odd: !hash,
        }
    }

    /// Adds the word at an index.
    #[inline(always)]
    pub const fn add(&mut self, index: usize, word: u64) {
        if index.is_multiple_of(2) {
            self.even = step(self.even, word);
        } else {
            self.odd = step(self.odd, word);
        }
    }

    /// The sum of a key.
    #[inline(always)]
    pub const fn hash(self) -> u64 {
        step(self.even, self.odd)
    }

    /// The sum of an entry: never 0, which stands for an empty slot.
    #[inline(always)]
    pub const fn check(self) -> u64 {
        self.hash() | 1
    }
}
