//! Whether a reset is described or only counted, see `rsttrace_common::flood`.
//!
//! All that is seen of one reset has to go the same way, or what is missing of it would look like a fact. So who sees it
//! first decides, and the others follow, found by the flow whichever end it is seen from. Who follows without finding a
//! decision (addresses were translated, or the slot was taken) decides for itself, which is counted.

use rsttrace_common::Flow;
use rsttrace_common::flood::{
    BUCKET_ANY_NETWORK, BUCKET_ANY_PORT, BUCKET_PORT_IS_REMOTE, BUCKET_REST_NS, BUCKETS as COUNT,
    Bucket, BucketKey, Class, DECISIONS as DECISION_SLOTS, MULTIPLIER, NARROW, WIDE, WIDEST,
    class_of, hash_of, mix, words_of,
};
use rsttrace_common::flow::V4_MAPPED_PREFIX;

use crate::emit::{Slot, now};
use crate::knobs::{DETAIL_INTERVAL_NS, get};
use crate::maps::{BUCKETS, CLASS_BUCKETS, CLASS_COUNTS, DECISIONS, KEYS, REFUSALS};
use crate::words;

/// Which port stands for the service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The local one.
    Local,
    /// The lower one.
    Lower,
}

/// Whether a reset that nobody can have seen before is described. Counts it in its class.
#[inline(always)]
pub fn decide(slot: Slot, class: Class, flow: &Flow, netns_cookie: u64, service: Service) -> bool {
    let class = class_of(class);
    let admitted = !is_limited() || {
        let admitted = has_room(slot, class, flow, netns_cookie, service);
        remember(flow, admitted);
        admitted
    };
    if let Some(counts) = CLASS_COUNTS.get_ptr_mut(u32::from(class)) {
        // SAFETY: this CPU's own element.
        let counts = unsafe { &mut *counts };
        counts.seen += 1;
        counts.suppressed += u64::from(!admitted);
    }
    admitted
}

/// How it was decided on the reset of this flow that was seen a moment ago; `None`: none was.
#[inline(always)]
pub fn decided(flow: &Flow) -> Option<bool> {
    if !is_limited() {
        return Some(true);
    }
    let (index, tag) = place_of(flow);
    let place = DECISIONS.get_ptr_mut(index)?;
    // SAFETY: a slot of the table; others may write it, too, whole words.
    let word = unsafe { place.read_volatile() };
    let age = moment().wrapping_sub(word >> MOMENT_SHIFT) & MOMENT_MASK;
    if word as u32 != tag || age > LIFE {
        return None;
    }
    if word & ADMITTED == 0 {
        return Some(false);
    }
    if word & FOLLOWERS == 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { place.write_volatile(word - FOLLOWER) };
    Some(true)
}

#[inline(always)]
fn is_limited() -> bool {
    get(&DETAIL_INTERVAL_NS) != 0
}

/// A decision: its moment, how many may still follow it, whether it was to admit, and 32 bits of the flow's hash.
const MOMENT_SHIFT: u32 = 38;
const MOMENT_MASK: u64 = (1 << (64 - MOMENT_SHIFT)) - 1;
/// At most so many observations follow one that is described: the repetitions of one flow's reset must not get past the
/// buckets.
const FOLLOWERS: u64 = 0x1f << 33;
const FOLLOWER: u64 = 1 << 33;
const ADMITTED: u64 = 1 << 32;
/// Observations of one reset lie within 150 ms; in units of [`moment`].
const LIFE: u64 = 143;

/// Units of 1.05 ms, a full turn takes 19 hours.
#[inline(always)]
fn moment() -> u64 {
    (now() >> 20) & MOMENT_MASK
}

#[inline(always)]
fn remember(flow: &Flow, admitted: bool) {
    let (index, tag) = place_of(flow);
    let Some(place) = DECISIONS.get_ptr_mut(index) else {
        return;
    };
    let verdict = if admitted { FOLLOWERS | ADMITTED } else { 0 };
    let word = (moment() << MOMENT_SHIFT) | verdict | u64::from(tag);
    // SAFETY: a slot of the table; others may write it, too, whole words.
    unsafe { place.write_volatile(word) };
}

/// The slot of a flow and what tells it from others there, the same from both ends.
#[inline(always)]
fn place_of(flow: &Flow) -> (u32, u32) {
    let local = end(&flow.local_address, flow.local_port);
    let remote = end(&flow.remote_address, flow.remote_port);
    let hash = mix(MULTIPLIER, local.wrapping_add(remote));
    ((hash >> 40) as u32 & (DECISION_SLOTS - 1), hash as u32)
}

#[inline(always)]
fn end(address: &[u8; 16], port: u16) -> u64 {
    let [high, low] = words_of(address);
    mix(mix(mix(MULTIPLIER, high), low), u64::from(port))
}

/// Takes a token of each level, or counts the reset at the first that has none.
#[inline(always)]
fn has_room(slot: Slot, class: u16, flow: &Flow, netns_cookie: u64, service: Service) -> bool {
    let now = now();
    let Some(all) = CLASS_BUCKETS.get_ptr_mut(u32::from(class)) else {
        return true;
    };
    // SAFETY: an element of the array; others may write it, too, whole words.
    let all = unsafe { &mut *all };
    let Some(key) = KEYS.get_ptr_mut(slot as u32) else {
        return true;
    };
    // SAFETY: this CPU's own element, and this program's.
    let key = unsafe { &mut *key };
    let remote = service == Service::Lower && flow.remote_port < flow.local_port;
    let (port, side) = if remote {
        (flow.remote_port, BUCKET_PORT_IS_REMOTE)
    } else {
        (flow.local_port, 0)
    };
    key.class = class;
    key.netns_cookie = netns_cookie;
    narrow_to(key, network_of(&flow.remote_address), port, side);
    let narrow = look(slot as u32, NARROW.burst, NARROW.share, now);
    if narrow == REFUSED {
        return false;
    }
    narrow_to(key, [0; 2], port, side | BUCKET_ANY_NETWORK);
    let by_port = look(slot as u32, WIDE.burst, WIDE.share, now);
    if by_port == REFUSED {
        return false;
    }
    narrow_to(key, network_of(&flow.remote_address), 0, BUCKET_ANY_PORT);
    let by_network = look(slot as u32, WIDE.burst, WIDE.share, now);
    if by_network == REFUSED {
        return false;
    }
    if !has_token(*all, WIDEST.burst, WIDEST.share, now) {
        refuse(COUNT + u32::from(class));
        return false;
    }
    take_token(all, WIDEST.share, now);
    take(slot as u32, by_network, WIDE.share, now);
    narrow_to(key, [0; 2], port, side | BUCKET_ANY_NETWORK);
    take(slot as u32, by_port, WIDE.share, now);
    narrow_to(key, network_of(&flow.remote_address), port, side);
    take(slot as u32, narrow, NARROW.share, now);
    true
}

#[inline(always)]
fn narrow_to(key: &mut BucketKey, network: [u64; 2], port: u16, flags: u32) {
    // SAFETY: any bytes are valid on both sides, and the sizes agree.
    key.network = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(network) };
    key.port = port;
    key.flags = flags;
}

/// Answers of [`look`]: the bucket has no token; the key has no bucket, and none is free; else the bucket's index, and
/// whether it is free to be taken for this key.
const REFUSED: u64 = u64::MAX;
const CROWDED: u64 = u64::MAX - 1;
const FREE: u64 = 1 << 32;

/// Looks for the bucket of the key in a slot of `KEYS`. If it has no token, the reset is counted there.
///
/// A function of its own, as all of this in the place of each call takes more stack than there is.
#[inline(never)]
fn look(slot: u32, burst: u64, share: u64, now: u64) -> u64 {
    let Some(key) = KEYS.get_ptr(slot) else {
        return CROWDED;
    };
    // SAFETY: this CPU's own element, and this program's.
    let check = hash_of(unsafe { &*key });
    let index = (check >> 32) as u32 & (COUNT - 1);
    let (Some(first), Some(second)) = (bucket_at(index), bucket_at(index ^ 1)) else {
        return CROWDED;
    };
    let (index, bucket) = if first.check == check {
        (index, first)
    } else if second.check == check {
        (index ^ 1, second)
    } else if is_free(first, now) {
        return u64::from(index) | FREE;
    } else if is_free(second, now) {
        return u64::from(index ^ 1) | FREE;
    } else {
        return CROWDED;
    };
    if !has_token(bucket.ready_ns, burst, share, now) {
        refuse(index);
        return REFUSED;
    }
    u64::from(index)
}

/// Takes a token from the bucket that was found for the key in a slot of `KEYS`.
#[inline(never)]
fn take(slot: u32, found: u64, share: u64, now: u64) {
    if found == CROWDED {
        return;
    }
    let (Some(bucket), Some(key)) = (bucket_at(found as u32), KEYS.get_ptr(slot)) else {
        return;
    };
    if found & FREE != 0 {
        // SAFETY: this CPU's own element, and this program's.
        let key = unsafe { &*key };
        bucket.check = 0;
        words::copy(key, &mut bucket.key);
        bucket.ready_ns = now;
        bucket.check = hash_of(key);
    }
    take_token(&mut bucket.ready_ns, share, now);
}

#[inline(always)]
fn bucket_at(index: u32) -> Option<&'static mut Bucket> {
    // SAFETY: an element of the array; what others write meanwhile makes a bucket imprecise at worst.
    unsafe { BUCKETS.get_ptr_mut(index)?.as_mut() }
}

#[inline(always)]
fn is_free(bucket: &Bucket, now: u64) -> bool {
    bucket.ready_ns.wrapping_add(BUCKET_REST_NS) < now
}

#[inline(always)]
fn has_token(ready: u64, burst: u64, share: u64, now: u64) -> bool {
    ready <= now.wrapping_add(get(&DETAIL_INTERVAL_NS) / share * (burst - 1))
}

#[inline(always)]
fn take_token(ready: &mut u64, share: u64, now: u64) {
    let from = if *ready > now { *ready } else { now };
    *ready = from.wrapping_add(get(&DETAIL_INTERVAL_NS) / share);
}

#[inline(always)]
fn refuse(bucket: u32) {
    if let Some(count) = REFUSALS.get_ptr_mut(bucket) {
        // SAFETY: this CPU's own element.
        unsafe { *count += 1 };
    }
}

/// The network of a remote address, as words.
#[inline(always)]
fn network_of(address: &[u8; 16]) -> [u64; 2] {
    let [high, low] = words_of(address);
    if high == 0 && low as u32 == MAPPED {
        [high, low & LAST_BYTE_OFF]
    } else {
        [high, 0]
    }
}

/// The third word of a v4-mapped address, as loaded.
const MAPPED: u32 = u32::from_ne_bytes([
    V4_MAPPED_PREFIX[8],
    V4_MAPPED_PREFIX[9],
    V4_MAPPED_PREFIX[10],
    V4_MAPPED_PREFIX[11],
]);
const LAST_BYTE_OFF: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
