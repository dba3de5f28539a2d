//! Whether a reset is described or only counted, see `rsttrace_common::flood`.
//!
//! All that is seen of one reset has to go the same way, or what is missing of it would look like a fact. So who sees it
//! first decides, and the others follow, found by the flow and by which end sends it. Who follows without finding a
//! decision (addresses were translated, or the slot was taken) decides for itself, which is counted.

use rsttrace_common::Flow;
use rsttrace_common::flood::{
    BUCKET_ANY_NETWORK, BUCKET_ANY_PORT, BUCKET_PORT_IS_REMOTE, BUCKET_REST_NS, BUCKETS as COUNT,
    Bucket, BucketKey, Class, DECISIONS as DECISION_SLOTS, MULTIPLIER, NARROW, REFUSALS_EACH, WIDE,
    WIDEST, class_of, hash_of, mix, words_of,
};
use rsttrace_common::flow::V4_MAPPED_PREFIX;

use crate::emit::{Slot, now};
use crate::knobs::{DETAIL_INTERVAL_NS, get};
use crate::maps::{BUCKETS, CLASS_BUCKETS, CLASS_COUNTS, DECISIONS, KEYS, REFUSALS, count};
use crate::words;
use rsttrace_common::counters::DECIDED_ANEW;

/// Which port stands for the service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The local one.
    Local,
    /// The lower one.
    Lower,
}

/// The other end and the service, as far as that can be told.
pub struct Party {
    network: [u64; 2],
    port: u16,
    side: u32,
}

impl Party {
    /// Of a flow from this host's point of view.
    #[inline(always)]
    pub fn of(flow: &Flow, service: Service) -> Self {
        let remote = service == Service::Lower && flow.remote_port < flow.local_port;
        Self {
            network: network_of(&flow.remote_address),
            port: if remote {
                flow.remote_port
            } else {
                flow.local_port
            },
            side: if remote { BUCKET_PORT_IS_REMOTE } else { 0 },
        }
    }

    /// Of the flow of a segment that leaves: its destination stands as `local`.
    #[inline(always)]
    pub fn of_leaving(flow: &Flow) -> Self {
        let remote = flow.local_port < flow.remote_port;
        Self {
            network: network_of(&flow.local_address),
            port: if remote {
                flow.local_port
            } else {
                flow.remote_port
            },
            side: if remote { BUCKET_PORT_IS_REMOTE } else { 0 },
        }
    }
}

/// Who sees a reset.
#[derive(Clone, Copy)]
pub enum Observer {
    /// The TCP stack sends it: once for each reset.
    Sender,
    /// The TCP stack accepts it: once for each reset.
    Receiver,
    /// A device, by a number of its own: a reset passes each one once.
    Device(u64),
}

impl Observer {
    /// A device in a namespace.
    #[inline(always)]
    pub fn device(ifindex: u32, egress: bool, netns_cookie: u64) -> Self {
        let place = u64::from(ifindex) << 1 | u64::from(egress);
        let number = mix(mix(MULTIPLIER, netns_cookie), place) >> 32;
        // Not 0, which stands for none.
        let number = number & DEVICE_MASK;
        Self::Device(if number == 0 { 1 } else { number })
    }

    /// What this one leaves in a decision.
    #[inline(always)]
    fn mark(self) -> u64 {
        match self {
            Self::Sender => BY_SENDER,
            Self::Receiver => BY_RECEIVER,
            Self::Device(number) => number << DEVICE_SHIFT,
        }
    }
}

/// Adds to the exact counts of a class.
#[inline(always)]
pub fn count_class(class: Class, admitted: bool) {
    if let Some(counts) = CLASS_COUNTS.get_ptr_mut(u32::from(class_of(class))) {
        // SAFETY: this CPU's own element.
        let counts = unsafe { &mut *counts };
        counts.seen += 1;
        counts.suppressed += u64::from(!admitted);
    }
}

/// Is this reset described?
#[derive(Clone, Copy)]
pub struct Question {
    /// The slot of its flow, and what tells it from others there.
    index: u32,
    tag: u64,
    now: u64,
}

impl Question {
    /// About a reset that the local end sends.
    #[inline(always)]
    pub fn about_sent(flow: &Flow) -> Self {
        Self::new(|| {
            let from = end(&flow.local_address, flow.local_port);
            (from, end(&flow.remote_address, flow.remote_port))
        })
    }

    /// About a reset that the remote end sends, or whose source stands as `remote`.
    #[inline(always)]
    pub fn about_coming(flow: &Flow) -> Self {
        Self::new(|| {
            let from = end(&flow.remote_address, flow.remote_port);
            (from, end(&flow.local_address, flow.local_port))
        })
    }

    /// The two ends are told apart: when ports are used again soon, the other one may send the next reset.
    #[inline(always)]
    fn new(ends: impl FnOnce() -> (u64, u64)) -> Self {
        if !is_limited() {
            return Self {
                index: 0,
                tag: 0,
                now: 0,
            };
        }
        let (from, to) = ends();
        let hash = mix(MULTIPLIER, from.wrapping_sub(to));
        Self {
            index: (hash >> 40) as u32 & (DECISION_SLOTS - 1),
            tag: hash & TAG_MASK,
            now: now(),
        }
    }

    /// How it was decided when others saw it a moment ago; `None`: they saw none, or not this one.
    #[inline(always)]
    pub fn decided(&self, observer: Observer) -> Option<bool> {
        if !is_limited() {
            return Some(true);
        }
        let place = DECISIONS.get_ptr_mut(self.index)?;
        // SAFETY: a slot of the table; others may write it, too, whole words.
        let word = unsafe { place.read_volatile() };
        if !self.is_about(word) {
            return None;
        }
        // Who has seen it already sees another one now.
        let mark = observer.mark();
        let word = match observer {
            Observer::Sender | Observer::Receiver if word & mark != 0 => return None,
            Observer::Sender | Observer::Receiver => word | mark,
            Observer::Device(_) => {
                let first = word & (DEVICE_MASK << DEVICE_SHIFT);
                if first == mark || word & FOLLOWERS == 0 {
                    return None;
                }
                let followed = word - FOLLOWER;
                if first == 0 {
                    followed | mark
                } else {
                    followed
                }
            }
        };
        // SAFETY: as above.
        unsafe { place.write_volatile(word) };
        Some(word & ADMITTED != 0)
    }

    /// Decides, if nobody has seen it before.
    #[inline(always)]
    pub fn decide(
        &self,
        slot: Slot,
        observer: Observer,
        class: Class,
        netns_cookie: u64,
        party: &Party,
    ) -> bool {
        if !is_limited() {
            return true;
        }
        let slot = slot as u32;
        if let Some(key) = KEYS.get_ptr_mut(slot) {
            // SAFETY: this CPU's own element, and this program's.
            let key = unsafe { &mut *key };
            key.class = class_of(class);
            key.netns_cookie = netns_cookie;
            narrow_to(key, party.network, party.port, party.side);
        }
        let admitted = has_room(slot, self.now) != 0;
        if let Some(place) = DECISIONS.get_ptr_mut(self.index) {
            // SAFETY: a slot of the table; others may write it, too, whole words.
            let before = unsafe { place.read_volatile() };
            // Whoever is still to see the reset before this one follows the wrong decision.
            let differs = !admitted || before & ADMITTED == 0;
            if differs && self.is_about(before) {
                count(DECIDED_ANEW);
            }
            let verdict = if admitted { ADMITTED } else { 0 };
            let rest = observer.mark() | FOLLOWERS | verdict | self.tag;
            // SAFETY: a slot of the table; others may write it, too, whole words.
            unsafe { place.write_volatile((self.moment() << MOMENT_SHIFT) | rest) };
        }
        admitted
    }

    /// Whether a decision is on a reset of this flow, a moment ago.
    #[inline(always)]
    fn is_about(&self, word: u64) -> bool {
        let age = self.moment().wrapping_sub(word >> MOMENT_SHIFT) & MOMENT_MASK;
        word & TAG_MASK == self.tag && age <= LIFE
    }

    /// Units of 16.8 ms, a full turn takes 4.6 minutes.
    #[inline(always)]
    fn moment(&self) -> u64 {
        (self.now >> 24) & MOMENT_MASK
    }
}

#[inline(always)]
fn is_limited() -> bool {
    get(&DETAIL_INTERVAL_NS) != 0
}

// A decision: its moment, the first device that saw the reset, how many more may follow it, whether its sender and its
// receiver have, whether it was to admit, and a part of the flow's hash.
const MOMENT_SHIFT: u32 = 50;
const MOMENT_MASK: u64 = (1 << (64 - MOMENT_SHIFT)) - 1;
const DEVICE_SHIFT: u32 = 34;
const DEVICE_MASK: u64 = 0xffff;
const FOLLOWERS: u64 = 0x1f << 29;
const FOLLOWER: u64 = 1 << 29;
const BY_SENDER: u64 = 1 << 28;
const BY_RECEIVER: u64 = 1 << 27;
const ADMITTED: u64 = 1 << 26;
const TAG_MASK: u64 = ADMITTED - 1;
/// Observations of one reset lie within 150 ms; in units of [`Question::moment`].
const LIFE: u64 = 9;

#[inline(always)]
fn end(address: &[u8; 16], port: u16) -> u64 {
    let [high, low] = words_of(address);
    mix(mix(mix(MULTIPLIER, high), low), u64::from(port))
}

/// Takes a token of each level for the narrow key in a slot of `KEYS`, or counts the reset at the first that has none.
///
/// A function of its own, as are those it calls: in the place of each call they would take more stack than there is, and
/// the verifier's patience. 1 or 0.
#[inline(never)]
fn has_room(slot: u32, now: u64) -> u64 {
    let Some(key) = KEYS.get_ptr_mut(slot) else {
        return 1;
    };
    // SAFETY: this CPU's own element, and this program's.
    let key = unsafe { &mut *key };
    let (network, port, side) = (words_of(&key.network), key.port, key.flags);
    let class = u32::from(key.class);
    let Some(all) = CLASS_BUCKETS.get_ptr_mut(class) else {
        return 1;
    };
    // SAFETY: an element of the array; others may write it, too, whole words.
    let all = unsafe { &mut *all };
    let narrow = look(slot, NARROW.burst, NARROW.share, now);
    if narrow == REFUSED {
        return 0;
    }
    narrow_to(key, [0; 2], port, side | BUCKET_ANY_NETWORK);
    let by_port = look(slot, WIDE.burst, WIDE.share, now);
    if by_port == REFUSED {
        return 0;
    }
    narrow_to(key, network, 0, BUCKET_ANY_PORT);
    let by_network = look(slot, WIDE.burst, WIDE.share, now);
    if by_network == REFUSED {
        return 0;
    }
    if !has_token(*all, WIDEST.burst, WIDEST.share, now) {
        refuse(COUNT + class);
        return 0;
    }
    take_token(all, WIDEST.share, now);
    take(slot, by_network, WIDE.share, now);
    narrow_to(key, [0; 2], port, side | BUCKET_ANY_NETWORK);
    take(slot, by_port, WIDE.share, now);
    narrow_to(key, network, port, side);
    take(slot, narrow, NARROW.share, now);
    1
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
#[inline(never)]
fn look(slot: u32, burst: u64, share: u32, now: u64) -> u64 {
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
fn take(slot: u32, found: u64, share: u32, now: u64) {
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
fn has_token(ready: u64, burst: u64, share: u32, now: u64) -> bool {
    ready <= now.wrapping_add((get(&DETAIL_INTERVAL_NS) >> share) * (burst - 1))
}

#[inline(always)]
fn take_token(ready: &mut u64, share: u32, now: u64) {
    let from = if *ready > now { *ready } else { now };
    *ready = from.wrapping_add(get(&DETAIL_INTERVAL_NS) >> share);
}

#[inline(always)]
fn refuse(bucket: u32) {
    if let Some(counts) = REFUSALS.get_ptr_mut(bucket / REFUSALS_EACH) {
        // SAFETY: this CPU's own element.
        let counts = unsafe { &mut *counts };
        counts[(bucket % REFUSALS_EACH) as usize] += 1;
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
