//! Tables by flow that forget: what the slot of a flow held before is overwritten.
//!
//! A flow has two slots, neighbours, so that two flows that meet do not cost each other their memory while there is room.
//! An LRU hash costs 600 to 800 ns an update, which each connection would pay four times; a slot costs its memory alone.
//! Nothing locks a slot, so each entry carries a checksum over the hash of its key and its value: one that two CPUs wrote at once, or
//! that is read while it is written, does not add up and counts as absent.

use aya_ebpf::maps::Array;
use rsttrace_common::table::{MULTIPLIER, Sum, index_of};

use crate::maps::count;

/// One place in a table.
#[repr(C)]
pub struct Entry<V> {
    /// Over the hash of the key and the value; 0: never written.
    check: u64,
    value: V,
}

/// The hashes of what two neighbours hold, 0 for an empty one. They are apart from the entries, which are written without being read:
/// of a large table no more than the hashes stays in the processor's cache.
pub type Hashes = Array<[u64; 2]>;

/// Writes a value, over whatever has the same slot; `evicted` counts the entries of other keys that this cost.
#[inline(always)]
pub fn write<K, V: Copy>(
    table: (&Array<Entry<V>>, &Hashes),
    slots: u32,
    key: &K,
    value: &V,
    evicted: u32,
) {
    write_parts(table, slots, key, (value, &()), evicted);
}

/// The same for a value that is in two places.
#[inline(always)]
pub fn write_parts<K, V, A, B>(
    (table, hashes): (&Array<Entry<V>>, &Hashes),
    slots: u32,
    key: &K,
    parts: (&A, &B),
    evicted: u32,
) {
    let hash = hash_of(key);
    let index = index_of(hash, slots);
    let Some(pair) = hashes.get_ptr_mut(index / 2) else {
        return;
    };
    // SAFETY: a pair of the table. Others may change it at once: then two keys meet in one slot, and one is lost.
    let pair = unsafe { &mut *pair };
    let (own, other) = if index.is_multiple_of(2) {
        (pair[0], pair[1])
    } else {
        (pair[1], pair[0])
    };
    let takes_other = other == hash || (other == 0 && own != 0 && own != hash);
    if !takes_other && own != 0 && own != hash {
        count(evicted);
    }
    let index = index ^ u32::from(takes_other);
    if index.is_multiple_of(2) {
        pair[0] = hash;
    } else {
        pair[1] = hash;
    }
    let Some(entry) = table.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: a slot of the table; others may write it, too, which the checksum finds out.
    unsafe { &mut *entry }.fill(hash, parts);
}

/// Copies the value of a key into `into`; `false`: there is none, and what `into` holds means nothing.
#[inline(always)]
pub fn read<K, V: Copy>(table: &Array<Entry<V>>, slots: u32, key: &K, into: &mut V) -> bool {
    let hash = hash_of(key);
    let index = index_of(hash, slots);
    read_slot(table, index, hash, into) || read_slot(table, index ^ 1, hash, into)
}

/// Writes a value into a table whose entries have one slot each; `resolve` sees the value of the same key that is overwritten.
#[inline(always)]
pub fn write_single<K, V: Copy>(
    table: &Array<Entry<V>>,
    slots: u32,
    key: &K,
    value: &mut V,
    resolve: impl FnOnce(&V, &mut V),
) {
    let hash = hash_of(key);
    let Some(entry) = table.get_ptr_mut(index_of(hash, slots)) else {
        return;
    };
    // SAFETY: a slot of the table; others may write it, too, which the checksum finds out.
    let entry = unsafe { &mut *entry };
    if entry.is_of(hash) {
        resolve(&entry.value, value);
    }
    entry.fill(hash, (value, &()));
}

/// Copies the value of a key out of such a table; `false`: as for [`read`].
#[inline(always)]
pub fn read_single<K, V: Copy>(table: &Array<Entry<V>>, slots: u32, key: &K, into: &mut V) -> bool {
    let hash = hash_of(key);
    read_slot(table, index_of(hash, slots), hash, into)
}

#[inline(always)]
fn read_slot<V>(table: &Array<Entry<V>>, index: u32, hash: u64, into: &mut V) -> bool {
    let Some(entry) = table.get_ptr(index) else {
        return false;
    };
    // SAFETY: a slot of the table; what others write meanwhile, the checksum finds out.
    let entry = unsafe { &*entry };
    let check = entry.check;
    if check == 0 {
        return false;
    }
    let mut sum = Sum::new(hash);
    copy(&entry.value, into, 0, &mut sum);
    sum.check() == check
}

impl<V> Entry<V> {
    /// Whether it is whole and of the key with this hash.
    #[inline(always)]
    fn is_of(&self, hash: u64) -> bool {
        let mut sum = Sum::new(hash);
        for i in 0..size_of::<V>() / 8 {
            sum.add(i, word(&self.value, i));
        }
        self.check == sum.check()
    }

    /// Writes value and checksum, which is over what is written, not over the slot: another CPU may write there at once.
    #[inline(always)]
    fn fill<A, B>(&mut self, hash: u64, (head, tail): (&A, &B)) {
        const { assert!(size_of::<A>() + size_of::<B>() == size_of::<V>()) };
        let check = &raw mut self.check;
        // SAFETY: this entry's.
        unsafe { check.write_volatile(0) };
        let mut sum = Sum::new(hash);
        let value = &raw mut self.value;
        let words = size_of::<A>() / 8;
        copy(head, value.cast::<A>(), 0, &mut sum);
        copy(
            tail,
            value.cast::<u64>().wrapping_add(words).cast::<B>(),
            words,
            &mut sum,
        );
        // SAFETY: as above.
        unsafe { check.write_volatile(sum.check()) };
    }
}

/// Copies words, the first of which has this index in the sum over them.
#[inline(always)]
fn copy<T>(from: &T, into: *mut T, first: usize, sum: &mut Sum) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    for i in 0..size_of::<T>() / 8 {
        let word = word(from, i);
        sum.add(first + i, word);
        let place = into.cast::<u64>().wrapping_add(i);
        // SAFETY: within the value, which has whole words.
        unsafe { place.write_volatile(word) };
    }
}

/// Whether two values are equal, word by word.
#[inline(always)]
pub fn is_same<K>(one: &K, other: &K) -> bool {
    const { assert!(size_of::<K>().is_multiple_of(8) && align_of::<K>() == 8) };
    let mut difference = 0;
    for i in 0..size_of::<K>() / 8 {
        difference |= word(one, i) ^ word(other, i);
    }
    difference == 0
}

#[inline(always)]
fn hash_of<K>(key: &K) -> u64 {
    const { assert!(size_of::<K>().is_multiple_of(8) && align_of::<K>() == 8) };
    let mut sum = Sum::new(MULTIPLIER);
    for i in 0..size_of::<K>() / 8 {
        sum.add(i, word(key, i));
    }
    sum.hash()
}

#[inline(always)]
fn word<T>(value: &T, i: usize) -> u64 {
    let place = core::ptr::from_ref(value).cast::<u64>().wrapping_add(i);
    // SAFETY: every caller counts the words of `T`, which has no padding and is aligned to 8 bytes.
    unsafe { place.read_volatile() }
}
