//! Who owns a socket: a record in a slot by the socket's address.
//!
//! A record begins when a process connects, or when a child of a listener is born, and stays after the socket's end until its slot
//! is needed: a reset may leave later. Addresses are recycled, but every socket that can be reset begins in one of these two ways,
//! and its record is cleared then.

use rsttrace_common::counters::OWNER_EVICTED;
use rsttrace_common::socket::{Ownership, TCP_CLOSE};

use crate::kernel::{Typed, load};
use crate::knobs::{OWNER_SLOTS, get as knob, offset};
use crate::maps::{ADDRESS, OWNERS, count};
use crate::words;

/// A record in its slot, where `cookie` is the address of its socket.
pub type Record = Ownership;

/// The record of a socket that may be reset now: not one that a former socket left at its address.
#[inline(always)]
pub fn get(sk: Typed) -> Option<&'static mut Record> {
    let record = find(sk as u64)?;
    let state: u8 = load(sk, offset!(skc_state)).unwrap_or(0);
    // What has closed stays so.
    (record.state_before_close == 0 || state == TCP_CLOSE).then_some(record)
}

/// The same; begun if there is none.
#[inline(always)]
pub fn get_or_begin(sk: Typed) -> Option<&'static mut Record> {
    if let Some(record) = get(sk) {
        return Some(record);
    }
    begin(sk as u64)
}

/// A new record for the socket at an address.
#[inline(always)]
pub fn begin(address: u64) -> Option<&'static mut Record> {
    let index = index_of(address)?;
    let (first, second) = (slot(index)?, slot(index ^ 1)?);
    let is_first_taken = is_taken(first, address);
    let take_second = second.cookie == address || (is_first_taken && !is_taken(second, address));
    let record = if take_second { second } else { first };
    if is_first_taken && !take_second {
        count(OWNER_EVICTED);
    }
    words::clear(record);
    record.cookie = address;
    Some(record)
}

/// Fills in what is remembered of a socket; all zero if nothing is.
#[inline(always)]
pub fn copy(record: Option<&Record>, into: &mut Ownership) {
    match record {
        Some(record) => {
            words::copy(record, into);
            into.cookie = 0;
        }
        None => words::clear(into),
    }
}

/// Whether the socket at an address has an owner.
#[inline(always)]
pub fn is_known(address: u64) -> bool {
    find(address).is_some_and(|it| it.state_before_close == 0 && it.owner.pid != 0)
}

#[inline(always)]
fn find(address: u64) -> Option<&'static mut Record> {
    let index = index_of(address)?;
    let first = slot(index)?;
    if first.cookie == address {
        return Some(first);
    }
    let second = slot(index ^ 1)?;
    (second.cookie == address).then_some(second)
}

/// Whether a slot has the record of another socket that is open.
#[inline(always)]
fn is_taken(record: &Record, address: u64) -> bool {
    record.cookie != address && record.cookie != 0 && record.state_before_close == 0
}

#[inline(always)]
fn slot(index: u32) -> Option<&'static mut Record> {
    // SAFETY: a slot of the table. Two sockets rarely share one, and then the address tells whose it is.
    unsafe { OWNERS.get_ptr_mut(index)?.as_mut() }
}

/// Odd, its bits evenly mixed (2^64 divided by the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The first slot of an address. The verifier allows no arithmetic on typed pointers, so the address becomes a number by way of
/// memory. Should a run that interrupts this one write there, too, the slot is a wrong one, and has another address.
#[inline(always)]
fn index_of(address: u64) -> Option<u32> {
    let place = ADDRESS.get_ptr_mut(0)?;
    // SAFETY: this CPU's own element.
    unsafe { place.write_volatile(address) };
    // SAFETY: as above.
    let number = unsafe { place.read_volatile() };
    let mixed = number.wrapping_mul(MULTIPLIER) >> 32;
    Some(mixed as u32 & knob(&OWNER_SLOTS).wrapping_sub(1))
}
