//! Tables by flow that forget: what the slot of a flow held before is overwritten.
//!
//! A flow has two slots, neighbours, so that two flows that meet do not cost each other their memory while there is room.
//! An LRU hash costs 600 to 800 ns an update, which each connection would pay four times; a slot costs its memory alone.
//! Nothing locks a slot, so each entry carries a checksum over its key and value: one that two CPUs wrote at once, or that
//! is read while it is written, does not add up and counts as absent.

use aya_ebpf::maps::Array;
use rsttrace_common::FlowKey;
use rsttrace_common::table::{MULTIPLIER, index_of, step};

use crate::maps::count;
use crate::words;

/// One place in a table.
#[repr(C)]
pub struct Entry<V, K = FlowKey> {
    /// Over key and value; 0: never written.
    check: u64,
    key: K,
    value: V,
}

/// Writes a value, over whatever has the same slot; `evicted` counts the entries of other flows that this cost.
///
/// The checksum is over the caller's own copy: over the slot it would bless what another CPU has just written there.
#[inline(always)]
pub fn write<V: Copy>(table: &Array<Entry<V>>, slots: u32, key: &FlowKey, value: &V, evicted: u32) {
    let hash = hash_of(key);
    let index = index_of(hash, slots);
    let (Some(first), Some(second)) = (table.get_ptr_mut(index), table.get_ptr_mut(index ^ 1))
    else {
        return;
    };
    // SAFETY: a slot of the table.
    let second_is = state_of(unsafe { &*second }, key);
    // SAFETY: as above.
    let first_is = state_of(unsafe { &*first }, key);
    let take_second =
        second_is == State::Same || (second_is == State::Empty && first_is == State::Other);
    let (entry, was) = if take_second {
        (second, second_is)
    } else {
        (first, first_is)
    };
    // SAFETY: a slot of the table; others may write it, too, which the checksum finds out.
    let entry = unsafe { &mut *entry };
    if was == State::Other {
        count(evicted);
    }
    entry.check = 0;
    words::copy(key, &mut entry.key);
    words::copy(value, &mut entry.value);
    entry.check = check_of(hash, value);
}

/// Copies the value of a flow into `into`; `false`: there is none, and what `into` holds means nothing.
#[inline(always)]
pub fn read<V: Copy>(table: &Array<Entry<V>>, slots: u32, key: &FlowKey, into: &mut V) -> bool {
    let hash = hash_of(key);
    let index = index_of(hash, slots);
    read_slot(table, index, hash, key, into) || read_slot(table, index ^ 1, hash, key, into)
}

/// Copies a part of a flow's value; `false`: there is none, and what `into` holds means nothing.
#[inline(always)]
pub fn read_part<V: Copy, P: Copy>(
    table: &Array<Entry<V>>,
    slots: u32,
    key: &FlowKey,
    part: fn(&V) -> &P,
    into: &mut P,
) -> bool {
    let hash = hash_of(key);
    let first = index_of(hash, slots);
    for index in [first, first ^ 1] {
        let Some(entry) = table.get_ptr(index) else {
            return false;
        };
        // SAFETY: as in `read_slot`.
        let entry = unsafe { &*entry };
        if entry.check == 0 || !is_same(&entry.key, key) {
            continue;
        }
        words::copy(part(&entry.value), into);
        return check_of(hash, &entry.value) == entry.check;
    }
    false
}

/// Writes a value into a table whose entries have one slot each; `resolve` sees the value of the same key that is overwritten.
#[inline(always)]
pub fn write_single<V: Copy, K: Copy>(
    table: &Array<Entry<V, K>>,
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
    if entry.check != 0 && is_same(&entry.key, key) {
        resolve(&entry.value, value);
    }
    entry.check = 0;
    words::copy(key, &mut entry.key);
    words::copy(value, &mut entry.value);
    entry.check = check_of(hash, value);
}

/// Copies the value of a key out of such a table; `false`: as for [`read`].
#[inline(always)]
pub fn read_single<V: Copy, K: Copy>(
    table: &Array<Entry<V, K>>,
    slots: u32,
    key: &K,
    into: &mut V,
) -> bool {
    let hash = hash_of(key);
    read_slot(table, index_of(hash, slots), hash, key, into)
}

#[inline(always)]
fn read_slot<V: Copy, K: Copy>(
    table: &Array<Entry<V, K>>,
    index: u32,
    hash: u64,
    key: &K,
    into: &mut V,
) -> bool {
    let Some(entry) = table.get_ptr(index) else {
        return false;
    };
    // SAFETY: a slot of the table; what others write meanwhile, the checksum finds out.
    let entry = unsafe { &*entry };
    let check = entry.check;
    if check == 0 || !is_same(&entry.key, key) {
        return false;
    }
    words::copy(&entry.value, into);
    check_of(hash, into) == check
}

/// What a slot holds, seen from a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Same,
    Other,
}

#[inline(always)]
fn state_of<V>(entry: &Entry<V>, key: &FlowKey) -> State {
    if entry.check == 0 {
        State::Empty
    } else if is_same(&entry.key, key) {
        State::Same
    } else {
        State::Other
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
    mix(MULTIPLIER, key, size_of::<K>() / 8)
}

/// Never 0.
#[inline(always)]
fn check_of<V>(hash: u64, value: &V) -> u64 {
    const { assert!(size_of::<V>().is_multiple_of(8) && align_of::<V>() == 8) };
    mix(hash, value, size_of::<V>() / 8) | 1
}

/// In two lanes, as each step waits for the one before it.
#[inline(always)]
fn mix<T>(hash: u64, value: &T, words: usize) -> u64 {
    let (mut even, mut odd) = (hash, !hash);
    for i in 0..words / 2 {
        even = step(even, word(value, 2 * i));
        odd = step(odd, word(value, 2 * i + 1));
    }
    if words % 2 == 1 {
        even = step(even, word(value, words - 1));
    }
    step(even, odd)
}

#[inline(always)]
fn word<T>(value: &T, i: usize) -> u64 {
    let place = core::ptr::from_ref(value).cast::<u64>().wrapping_add(i);
    // SAFETY: every caller counts the words of `T`, which has no padding and is aligned to 8 bytes.
    unsafe { place.read_volatile() }
}
