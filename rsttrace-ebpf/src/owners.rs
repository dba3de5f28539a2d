//! Who owns a socket: a record in a slot by the socket's address.
//!
//! A record begins when a process connects, or when a child of a listener is born, and stays after the socket's end until its slot
//! is needed: a reset may leave later. Addresses are recycled, but every socket that can be reset begins in one of these two ways,
//! and its record is cleared then.

use rsttrace_common::counters::OWNER_EVICTED;
use rsttrace_common::packet::Baseline;
use rsttrace_common::socket::{OWNERSHIP_TTL_SHIFT, Ownership, TCP_CLOSE};
use rsttrace_common::table::{self, MULTIPLIER};

use crate::kernel::{Typed, load};
use crate::knobs::{OWNER_SLOTS, get as knob, offset};
use crate::maps::{ADDRESS, OWNERS, count};
use crate::words;

/// SYNs are sent again for so long, with the usual sysctls.
const LONGEST_HANDSHAKE_NS: u64 = 130_000_000_000;

/// A record in its slot, where `cookie` is the address of its socket.
pub type Record = Ownership;

/// The record of a socket that may be reset now: not one that a former socket left at its address.
#[inline(always)]
pub fn get(sk: Typed) -> Option<&'static mut Record> {
    let record = find(number(sk)?)?;
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
    begin(sk)
}

/// A new record for a socket.
#[inline(always)]
pub fn begin(sk: Typed) -> Option<&'static mut Record> {
    let Some(address) = number(sk) else {
        count(OWNER_EVICTED);
        return None;
    };
    let index = index_of(address);
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

/// The socket of a record has closed from a state: the record stays until its slot is needed.
#[inline(always)]
pub fn release(sk: Typed, record: &mut Record, old: u8) {
    // An open socket may have taken the slot meanwhile.
    if Some(record.cookie) == number(sk) {
        record.state_before_close = old;
    }
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

/// Remembers the handshake of an established socket for as long as it lives: the table of handshakes may need its slot before.
#[inline(always)]
pub fn keep_handshake(record: &mut Record, baseline: &Baseline) {
    // An older one is of a former connection.
    if record.established_ns.wrapping_sub(baseline.seen_ns) < LONGEST_HANDSHAKE_NS {
        record.flags |= u32::from(baseline.ttl) << OWNERSHIP_TTL_SHIFT;
    }
}

/// Fills in what is remembered of it: time and TTL.
#[inline(always)]
pub fn handshake(sk: Typed, into: &mut Baseline) {
    let Some(record) = get(sk) else { return };
    let ttl = (record.flags >> OWNERSHIP_TTL_SHIFT) as u8;
    if ttl != 0 {
        into.seen_ns = record.established_ns;
        into.ttl = ttl;
    }
}

/// Whether a socket has an owner.
#[inline(always)]
pub fn is_known(sk: Typed) -> bool {
    let record = number(sk).and_then(find);
    record.is_some_and(|it| it.state_before_close == 0 && it.owner.pid != 0)
}

#[inline(always)]
fn find(address: u64) -> Option<&'static mut Record> {
    let index = index_of(address);
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

/// The first slot of an address.
#[inline(always)]
fn index_of(address: u64) -> u32 {
    table::index_of(address.wrapping_mul(MULTIPLIER), knob(&OWNER_SLOTS))
}

/// A socket's address. The verifier allows no arithmetic on typed pointers, nor that a helper reads them from the stack, so the
/// address becomes a number by way of memory. `None`: a run that interrupts this one wrote there, too.
#[inline(always)]
pub fn number(sk: Typed) -> Option<u64> {
    let place = ADDRESS.get_ptr_mut(0)?;
    // SAFETY: this CPU's own element.
    unsafe { place.write_volatile(sk as u64) };
    // SAFETY: as above.
    let number = unsafe { place.read_volatile() };
    // Opaque, or the compiler takes the pointer, which is equal.
    let opaque = core::hint::black_box(number);
    (number == sk as u64).then_some(opaque)
}
