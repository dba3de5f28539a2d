//! Tables by flow that forget: what the slot of a flow held before is overwritten.
//!
//! A flow has two slots, neighbours, so that two flows that meet do not cost each other their memory while there is room.
//! An LRU hash costs 600 to 800 ns an update, which each connection would pay four times; a slot costs its memory alone.
//! An entry has no key but a checksum over key and value, with a tag of the key in its upper half. Nothing locks a slot: an entry that
//! two CPUs wrote at once, that is read while it is written, or that is another flow's, does not add up and counts as absent.

use aya_ebpf::maps::Array;
use rsttrace_common::FlowKey;

use crate::maps::count;
use crate::words;

/// One place in a table.
#[repr(C)]
pub struct Entry<V> {
    /// Tag of the key in the upper half, never 0, and sum over key and value in the lower; 0: never written.
    check: u64,
    value: V,
}

/// Odd, its bits evenly mixed (2^64 divided by the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const KEY_WORDS: usize = size_of::<FlowKey>() / 8;

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
    let second_is = state_of(unsafe { &*second }, hash);
    // SAFETY: as above.
    let first_is = state_of(unsafe { &*first }, hash);
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
    words::copy(value, &mut entry.value);
    entry.check = check_of(hash, value);
}

/// Copies the value of a flow into `into`; `false`: there is none, and what `into` holds means nothing.
#[inline(always)]
pub fn read<V: Copy>(table: &Array<Entry<V>>, slots: u32, key: &FlowKey, into: &mut V) -> bool {
    let hash = hash_of(key);
    let index = index_of(hash, slots);
    read_slot(table, index, hash, into) || read_slot(table, index ^ 1, hash, into)
}

#[inline(always)]
fn read_slot<V: Copy>(table: &Array<Entry<V>>, index: u32, hash: u64, into: &mut V) -> bool {
    let Some(entry) = table.get_ptr(index) else {
        return false;
    };
    // SAFETY: a slot of the table; what others write meanwhile, the checksum finds out.
    let entry = unsafe { &*entry };
    let check = entry.check;
    if tag_of(check) != tag_of(check_of_key(hash)) {
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
fn state_of<V>(entry: &Entry<V>, hash: u64) -> State {
    if entry.check == 0 {
        State::Empty
    } else if tag_of(entry.check) == tag_of(check_of_key(hash)) {
        State::Same
    } else {
        State::Other
    }
}

#[inline(always)]
fn index_of(hash: u64, slots: u32) -> u32 {
    (hash >> 32) as u32 & slots.wrapping_sub(1)
}

#[inline(always)]
fn hash_of(key: &FlowKey) -> u64 {
    mix(MULTIPLIER, key, KEY_WORDS)
}

/// The tag's half of a check: of bits of the hash that do not choose the slot. Never 0.
#[inline(always)]
fn check_of_key(hash: u64) -> u64 {
    (hash << 32) | (1 << 63)
}

#[inline(always)]
fn tag_of(check: u64) -> u32 {
    (check >> 32) as u32
}

#[inline(always)]
fn check_of<V>(hash: u64, value: &V) -> u64 {
    const { assert!(size_of::<V>().is_multiple_of(8) && align_of::<V>() == 8) };
    check_of_key(hash) | (mix(hash, value, size_of::<V>() / 8) >> 32)
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
fn step(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 29)
}

#[inline(always)]
fn word<T>(value: &T, i: usize) -> u64 {
    let place = core::ptr::from_ref(value).cast::<u64>().wrapping_add(i);
    // SAFETY: every caller counts the words of `T`, which has no padding and is aligned to 8 bytes.
    unsafe { place.read_volatile() }
}
